//! Whether the last exposition is complete, told by a count of rounds.
//!
//! | field    | written by                  | read by                     | what it carries                                     |
//! |----------|-----------------------------|-----------------------------|-----------------------------------------------------|
//! | `rounds` | `begin` and `end`, AcqRel   | scrapes, Acquire            | odd: a round runs; even: the exposition of the last |
//!
//! A scrape that finds no round running and no marked slot, with the same count before and after, has the exposition that shows
//! every push answered before it. Else it waits: a round that *begins* after its look shows them.

use crate::sync::{Word, fence};
use std::sync::atomic::Ordering::SeqCst;

/// How many times a round began or ended.
#[derive(Debug)]
pub struct Rounds(Word);

impl Rounds {
    /// None has run.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// A round begins; the assembler alone calls this. What it takes from the queue it takes after this.
    pub fn begin(&self) -> u64 {
        let round = self.0.add(1) + 1;
        debug_assert!(round % 2 == 1, "rounds do not overlap");
        // SeqCst fence: "a round runs" is visible before the round looks at which formats are asked for. Its twin stands in
        // `Assembly::try_current`, between asking and looking at the count: a scrape is not told to wait for a round that misses it.
        fence(SeqCst);
        round
    }

    /// The round that `begin` named ends; its exposition is published.
    pub fn end(&self, round: u64) {
        let before = self.0.add(1);
        debug_assert!(before == round, "rounds do not overlap");
    }

    /// Whether the exposition of the last round shows all that was answered before; `is_queue_empty` says that no slot is marked, and
    /// acquires what the pop that emptied the queue released. If so, the round that a scrape waits for who wants another one.
    ///
    /// # Errors
    ///
    /// Else the round to wait for.
    pub fn try_complete(&self, is_queue_empty: impl FnOnce() -> bool) -> Result<u64, u64> {
        let before = self.0.load();
        // If the queue is empty because a round took what was in it, that round's `begin` stands before the pop, and is seen below.
        let is_empty = is_queue_empty();
        let after = self.0.load();
        let is_running = !before.is_multiple_of(2);
        // The next round to begin ends at this count.
        let next = before + if is_running { 3 } else { 2 };
        // Nothing has ever been assembled: an empty store needs a first round, too.
        if before == after && !is_running && is_empty && before > 0 { Ok(next) } else { Err(next) }
    }

    /// Whether the count has come to `round`.
    pub fn has_run(&self, round: u64) -> bool {
        self.0.load() >= round
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self::new()
    }
}
