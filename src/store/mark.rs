//! Whether a consumer still has to look at a slot.
//!
//! A push publishes its snapshot and then *marks* the slot for each consumer. The consumer takes
//! marked slots from its queue. The mark says whether the slot is in the queue already, so that a
//! group that is pushed a thousand times between two looks is queued once.
//!
//! ```text
//! word = epoch (62 bits) | QUEUED | MARKED
//! ```
//!
//! | field  | written by                   | what it carries                               |
//! |--------|------------------------------|-----------------------------------------------|
//! | `word` | `mark`, `begin_look`: AcqRel | the snapshot that was published before `mark` |
//!
//! Invariant: when `mark` has returned, the consumer has seen the published snapshot or a newer
//! one, or the slot is in its queue. `mark` always writes the word, even if the slot is queued: the
//! `begin_look` that follows then acquires the snapshot.

use crate::sync::Word;

const MARKED: u64 = 1;
const QUEUED: u64 = 2;
const EPOCH: u64 = 4;

/// A slot's mark for one consumer.
#[derive(Debug)]
pub struct Mark(Word);

impl Mark {
    /// Neither marked nor queued.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// Marks the slot. `push`, which puts the slot into the consumer's queue, is called if the slot
    /// may not be there.
    pub fn mark(&self, push: impl FnOnce()) {
        // Released here: the published snapshot, to `begin_look`.
        let word = self.0.set_bits(MARKED) | MARKED;
        if word & QUEUED == 0 {
            push();
            // Fails if the word has changed: the consumer has taken the slot already (another
            // epoch), or another push has queued it as well. A slot that is queued twice costs one
            // look.
            let _ = self.0.replace(word, word | QUEUED);
        }
    }

    /// The consumer has taken the slot from its queue, and looks at the snapshot next.
    pub fn begin_look(&self) {
        // Acquired here: the snapshots of all pushes that have marked the slot so far.
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

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn a_slot_is_queued_once_between_two_looks() {
        let (mark, n_queued) = (Mark::new(), Cell::new(0));
        let push = || n_queued.set(n_queued.get() + 1);
        (0..3).for_each(|_| mark.mark(push));
        assert_eq!(n_queued.get(), 1);
        mark.begin_look();
        (0..3).for_each(|_| mark.mark(push));
        assert_eq!(n_queued.get(), 2);
    }

    #[test]
    fn a_mark_after_a_look_that_overtook_the_queueing_queues_the_slot_again() {
        let (mark, n_queued) = (Mark::new(), Cell::new(0));
        mark.mark(|| {
            // The consumer takes the slot before `mark` has noted that it is queued.
            mark.begin_look();
        });
        mark.mark(|| n_queued.set(1));
        assert_eq!(n_queued.get(), 1);
    }
}
