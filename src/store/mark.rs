//! Who still has to look at a slot.
//!
//! A push that was published *marks* its slot for the consumer; the consumer takes marked slots
//! from a queue. The word says whether the slot is in the queue, so that a group that is pushed a
//! thousand times between two rounds stands there once.
//!
//! | field   | written by                                          | what it carries                                        |
//! |---------|-----------------------------------------------------|--------------------------------------------------------|
//! | `word`  | `mark`, `begin_look`: read-modify-writes, AcqRel    | epoch, QUEUED, MARKED; and the snapshot before the mark |
//!
//! Invariant: after `mark` has returned, a look at the snapshot that begins later is still to come
//! or has seen it. A mark always writes, even if the slot is queued: the consumer's own write then
//! carries it.

use crate::sync::Word;

const MARKED: u64 = 1;
const QUEUED: u64 = 2;
const EPOCH: u64 = 4;

/// A slot's word for one consumer.
#[derive(Debug)]
pub struct Mark(Word);

impl Mark {
    /// Not marked, not queued.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// Marks; `push` puts the slot into the queue and is called if it may not be there.
    pub fn mark(&self, push: impl FnOnce()) {
        let word = self.0.set_bits(MARKED) | MARKED;
        if word & QUEUED == 0 {
            push();
            // Fails if the consumer has been here meanwhile: then the slot may stand in the queue
            // twice, which costs a look.
            let _ = self.0.replace(word, word | QUEUED);
        }
    }

    /// The consumer took the slot from the queue and is about to look at its snapshot.
    pub fn begin_look(&self) {
        let Ok(_) = self
            .0
            .update::<std::convert::Infallible>(|word| Ok((word / EPOCH + 1) * EPOCH));
    }
}

impl Default for Mark {
    fn default() -> Self {
        Self::new()
    }
}
