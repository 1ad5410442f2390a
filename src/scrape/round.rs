//! The count of rounds, by which a scrape finds out whether the current exposition is complete:
//! shows every push and delete that was answered before the scrape came.
//!
//! | field    | written by            | read by          | what it carries                       |
//! |----------|-----------------------|------------------|---------------------------------------|
//! | the word | the assembler, AcqRel | scrapes, Acquire | 4 × rounds that ended, plus the stage |
//!
//! | stage | the round                                                                        |
//! |-------|----------------------------------------------------------------------------------|
//! | 0     | has ended; none runs                                                             |
//! | 1     | has begun                                                                        |
//! | 2     | has published its plain text and compresses it now; small rounds skip this stage |
//!
//! A scrape loads the count, looks whether slots are marked, and loads the count again. If no round
//! runs, no slot is marked and both counts are the same, the current exposition is complete. If a
//! scrape wants plain text, a round that has published its plain text is as good as one that has
//! ended. Otherwise the scrape waits for a round that *begins* after the look: that one takes
//! everything that was marked before.

use crate::sync::{Word, fence};
use std::sync::atomic::Ordering::SeqCst;

/// How many rounds have ended, and the stage of the running one.
#[derive(Debug)]
pub(super) struct Rounds(Word);

/// By how much a whole round increases the count.
const ROUND: u64 = 4;
/// By how much a round has increased the count when it has published its plain text.
const PLAIN: u64 = 2;

impl Rounds {
    /// No round has begun.
    pub fn new() -> Self {
        Self(Word::new(0))
    }

    /// Begins a round and returns the count. Only the assembler calls this, and takes marked slots
    /// and looks at the wanted formats afterwards.
    pub fn begin(&self) -> u64 {
        let round = self.0.add(1) + 1;
        debug_assert!(round % ROUND == 1, "rounds do not overlap");
        // SeqCst fence, paired with the one in `Rendezvous::try_current`: either this round sees
        // that a format is asked for, or the scrape sees that this round has begun and does not
        // wait for it. Here the count is stored before the fence and the requests are loaded behind
        // it.
        fence(SeqCst);
        round
    }

    /// Notes that the round has published its plain text. `round` is what [`Rounds::begin`]
    /// returned.
    pub fn show_plain(&self, round: u64) {
        let before = self.0.add(PLAIN - 1);
        debug_assert!(before == round, "a round shows its plain text once");
    }

    /// Ends the round, whose exposition is published. `round` is what [`Rounds::begin`] returned.
    pub fn end(&self, round: u64) {
        let so_far = self.0.load() % ROUND;
        let before = self.0.add(ROUND - so_far);
        debug_assert!(before - so_far == round - 1, "rounds do not overlap");
    }

    /// Checks whether the current exposition is complete; with `is_plain`, whether the one
    /// published for scrapes of plain text is. If so, returns the count to wait for should the
    /// scrape need another round all the same, because the format that it wants is not kept.
    ///
    /// `is_queue_empty` returns whether no slot is marked, and has to acquire what the pop that
    /// emptied the queue has released.
    ///
    /// # Errors
    ///
    /// If it is not complete, the count to wait for.
    pub fn check_complete(
        &self,
        is_plain: bool,
        is_queue_empty: impl FnOnce() -> bool,
    ) -> Result<u64, u64> {
        let before = self.0.load();
        // If the queue is empty because a round took what was in it, that round called `begin`
        // before the pop. `is_queue_empty` acquires the pop, so the load below sees that the round
        // began.
        let is_empty = is_queue_empty();
        let after = self.0.load();
        let so_far = before % ROUND;
        // The next round to begin is the first that certainly shows what is missing.
        let begins_after = if so_far == 0 {
            before
        } else {
            before - so_far + ROUND
        };
        let next = begins_after + if is_plain { PLAIN } else { ROUND };
        // A round has taken everything from the queue before it publishes plain text.
        let is_shown = so_far == 0 || (is_plain && so_far == PLAIN);
        // The count is 0 before the first round, which even an empty store needs.
        if before == after && is_shown && is_empty && before > 0 {
            Ok(next)
        } else {
            Err(next)
        }
    }

    /// Whether the rounds have come to `count`.
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
        // For a scrape of plain text, then for a compressed one: complete or not, and the count to
        // wait for.
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
        // A round that publishes nothing early.
        let round = rounds.begin();
        check([Err(10), Err(12)]);
        rounds.end(round);
        check([Ok(10), Ok(12)]);
    }
}
