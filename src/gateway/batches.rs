//! Which batch of the disk writer holds a push.
//!
//! | field       | written by                          | read by                        | what it carries          |
//! |-------------|-------------------------------------|--------------------------------|--------------------------|
//! | `begun`     | the writer, before it takes a cut   | pushes, after they mark a slot | the marks of the push    |
//! | `committed` | the writer, after the commit        | pushes that wait               | nothing                  |
//!
//! A push that has marked its slot asks for the number of the batch after the last one that has begun.
//! That batch takes its cut later, so the cut has the push. A batch that cannot be written is tried
//! again together with what has come since, under the next number: the numbers that are committed may
//! have gaps, and a batch stands for all before it. `loom-tests/tests/batches.rs` explores this file.

use crate::sync::Word;

/// The numbers of batches.
#[derive(Debug)]
pub struct Batches {
    begun: Word,
    committed: Word,
}

impl Batches {
    /// No batch has begun.
    pub fn new() -> Self {
        Self {
            begun: Word::new(0),
            committed: Word::new(0),
        }
    }

    /// The number of the first batch that certainly has what the caller has done so far.
    pub fn next(&self) -> u64 {
        // A read-modify-write, which changes nothing: the writer's next `begin` acquires from it what
        // this thread did before. With a load the writer could begin, find the slot unmarked, and
        // still be counted as later.
        self.begun.add(0) + 1
    }

    /// Begins a batch and returns its number. Only the writer calls this, and takes its cut
    /// afterwards.
    pub fn begin(&self) -> u64 {
        self.begun.add(1) + 1
    }

    /// Notes that the batch `n`, and with it every batch before, is on disk.
    pub fn commit(&self, n: u64) {
        let Ok(before) = self.committed.update::<std::convert::Infallible>(|_| Ok(n));
        debug_assert!(before < n, "batches are committed in their order");
    }

    /// Whether the batch `n` is on disk.
    pub fn is_committed(&self, n: u64) -> bool {
        self.committed.load() >= n
    }
}

impl Default for Batches {
    fn default() -> Self {
        Self::new()
    }
}
