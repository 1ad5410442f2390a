//! Whether the last exposition is complete, told by a count of rounds.
//!
//! | field    | written by                  | read by                     | what it carries                                     |
//! |----------|-----------------------------|-----------------------------|-----------------------------------------------------|
//! | `rounds` | the assembler, AcqRel       | scrapes, Acquire            | four times the rounds that ended, and how far one is |
//!
//! A round begins (1), may show what it found as plain text already (2), and ends (4, which is the
//! next one's 0). A scrape that finds no round running and no marked slot, with the same count
//! before and after, has the exposition that shows every push answered before it; so has one that
//! wants plain text where the round shows that. Else it waits: a round that *begins* after its look
//! shows them.

use crate::sync::{Word, fence};
use std::sync::atomic::Ordering::SeqCst;

/// How many rounds have run, and how far the last one is.
#[derive(Debug)]
pub struct Rounds(Word);

/// What the count grows by from the beginning of a round to its end.
const ROUND: u64 = 4;
/// What it has grown by when the round shows plain text.
const PLAIN: u64 = 2;

impl Rounds {
    /// None has run.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// A round begins; the assembler alone calls this. What it takes from the queue it takes after
    /// this.
    pub fn begin(&self) -> u64 {
        let round = self.0.add(1) + 1;
        debug_assert!(round % ROUND == 1, "rounds do not overlap");
        // SeqCst fence: "a round runs" is visible before the round looks at which formats are asked
        // for. Its twin stands in `Rendezvous::try_current`, between asking and looking at the count:
        // a scrape is not told to wait for a round that misses it.
        fence(SeqCst);
        round
    }

    /// The round that `begin` named has published its plain text.
    pub fn show_plain(&self, round: u64) {
        let before = self.0.add(PLAIN - 1);
        debug_assert!(before == round, "a round shows its plain text once");
    }

    /// The round that `begin` named ends; its exposition is published.
    pub fn end(&self, round: u64) {
        let so_far = self.0.load() % ROUND;
        let before = self.0.add(ROUND - so_far);
        debug_assert!(before - so_far == round - 1, "rounds do not overlap");
    }

    /// Whether the exposition of the last round shows all that was answered before, or the plain
    /// text of one that runs does; `is_queue_empty` says that no slot is marked, and acquires what
    /// the pop that emptied the queue released. If so, the count to wait for if another round is
    /// wanted.
    ///
    /// # Errors
    ///
    /// Else the count to wait for.
    pub fn check_complete(
        &self,
        is_plain: bool,
        is_queue_empty: impl FnOnce() -> bool,
    ) -> Result<u64, u64> {
        let before = self.0.load();
        // If the queue is empty because a round took what was in it, that round's `begin` stands
        // before the pop, and is seen below.
        let is_empty = is_queue_empty();
        let after = self.0.load();
        let so_far = before % ROUND;
        // The next round to begin shows at this count what is wanted.
        let begins_after = if so_far == 0 {
            before
        } else {
            before - so_far + ROUND
        };
        let next = begins_after + if is_plain { PLAIN } else { ROUND };
        // Of a round that shows its plain text, everything that emptied the queue came before.
        let is_shown = so_far == 0 || (is_plain && so_far == PLAIN);
        // Nothing has ever been assembled: an empty store needs a first round, too.
        if before == after && is_shown && is_empty && before > 0 {
            Ok(next)
        } else {
            Err(next)
        }
    }

    /// Whether it has come to `count`.
    pub fn has_reached(&self, count: u64) -> bool {
        self.0.load() >= count
    }
}

impl Default for Rounds {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_waits_for_a_round_that_begins_after_its_look() {
        let rounds = Rounds::new();
        // Plain, then compressed: complete or not, and the count to wait for.
        let check = |expected: [Result<u64, u64>; 2]| {
            assert_eq!(
                [true, false].map(|is_plain| rounds.check_complete(is_plain, || true)),
                expected
            );
            let marked = expected.map(|result| Err(result.unwrap_or_else(|count| count)));
            assert_eq!(
                [true, false].map(|is_plain| rounds.check_complete(is_plain, || false)),
                marked
            );
        };
        check([Err(2), Err(4)]);
        let round = rounds.begin();
        check([Err(6), Err(8)]);
        rounds.show_plain(round);
        assert!(rounds.has_reached(2) && !rounds.has_reached(4));
        check([Ok(6), Err(8)]);
        rounds.end(round);
        assert!(rounds.has_reached(4));
        check([Ok(6), Ok(8)]);
        // One that shows nothing early.
        let round = rounds.begin();
        check([Err(10), Err(12)]);
        rounds.end(round);
        check([Ok(10), Ok(12)]);
    }
}
