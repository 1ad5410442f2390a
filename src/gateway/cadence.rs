//! When the assembler works without being asked to.
//!
//! Scrapes come at even intervals. Shortly before the next one is due, a round brings what was
//! pushed by then into the exposition, so that the scrape itself waits only for the rest. Where
//! pushes come so fast that the rest is as much again, that is work done twice, and left alone for
//! a while. And if nobody scrapes, a round now and then keeps deleted groups, and the list of slots
//! to look at, from piling up.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// After this long without a scrape nobody is expected.
const EXPECTED_MS: u64 = 60_000;
/// Scrapes that follow each other faster than this are no interval.
const INTERVAL_MS_MIN: u64 = 1_000;
/// Work ahead begins at least so long before a scrape is due.
const LEAD_MS_MIN: u64 = 20;
/// Work ahead is worthwhile if by its end not more than this part of it has changed again.
const WORTHWHILE: usize = 8;
/// For how many scrapes work ahead is left alone if it was not.
const PASSED_OVER: u32 = 3;
/// How often what was pushed is looked at if nobody scrapes.
const UNASKED_MS: u64 = 10_000;

/// The times of scrapes. All figures are milliseconds of one clock.
///
/// Relaxed throughout: a guess, of which only the moment of some work depends.
#[derive(Debug, Default)]
pub(crate) struct Cadence {
    last: AtomicU64,
    interval: AtomicU64,
}

/// What the assembler has done of its own accord.
#[derive(Debug, Default)]
pub(crate) struct Unasked {
    /// The scrape after which it last worked ahead.
    ahead_of: u64,
    /// When it last looked.
    looked_at: u64,
    /// That was ahead of a scrape.
    was_ahead: bool,
    /// For so many scrapes to come it does not work ahead.
    n_passed_over: u32,
}

impl Unasked {
    /// How much a round took, which nobody had asked for, and how much had changed again by its
    /// end.
    pub fn note_round(&mut self, n_taken: usize, n_changed_again: usize) {
        if self.was_ahead && n_changed_again > n_taken / WORTHWHILE {
            self.n_passed_over = PASSED_OVER;
        }
    }
}

impl Cadence {
    /// A scrape came.
    pub fn note(&self, now: u64) {
        let last = self.last.swap(now, Relaxed);
        let interval = now.saturating_sub(last);
        self.interval.store(
            if last > 0 && interval >= INTERVAL_MS_MIN {
                interval
            } else {
                0
            },
            Relaxed,
        );
    }

    /// How long the assembler may rest before it works without being asked; 0 for now, and then it
    /// is noted as done. A large round lately took `round_ms`.
    pub fn rest(&self, unasked: &mut Unasked, now: u64, round_ms: u64) -> u64 {
        let (last, interval) = (self.last.load(Relaxed), self.interval.load(Relaxed));
        let mut rest = (unasked.looked_at.max(last) + UNASKED_MS).saturating_sub(now);
        let mut is_ahead = false;
        let is_expected =
            interval > 0 && last != unasked.ahead_of && now.saturating_sub(last) < EXPECTED_MS;
        if is_expected {
            let lead = (round_ms * 2).clamp(LEAD_MS_MIN, interval / 2);
            let until_ahead = (last + interval - lead).saturating_sub(now);
            if until_ahead > 0 {
                rest = rest.min(until_ahead);
            } else {
                unasked.ahead_of = last;
                match unasked.n_passed_over.checked_sub(1) {
                    Some(left) => unasked.n_passed_over = left,
                    None => (rest, is_ahead) = (0, true),
                }
            }
        }
        if rest == 0 {
            (unasked.looked_at, unasked.was_ahead) = (now, is_ahead);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_shortly_before_the_next_scrape_and_once() {
        let (cadence, mut unasked) = (Cadence::default(), Unasked::default());
        cadence.note(1_000);
        cadence.note(6_000);
        assert_eq!(
            cadence.rest(&mut unasked, 6_000, 50),
            4_900,
            "twice the time of a round before 11,000"
        );
        assert_eq!(cadence.rest(&mut unasked, 10_900, 50), 0);
        assert_eq!(cadence.rest(&mut unasked, 10_901, 50), 9_999);
    }

    #[test]
    fn work_that_would_be_done_twice_is_passed_over_for_a_while() {
        let (cadence, mut unasked) = (Cadence::default(), Unasked::default());
        let mut n_ahead = 0;
        for n in 1..100 {
            cadence.note(n * 5_000);
            unasked.looked_at = n * 5_000;
            if cadence.rest(&mut unasked, n * 5_000 + 4_990, 1) == 0 {
                n_ahead += 1;
                unasked.note_round(800, 101);
            }
        }
        assert_eq!(n_ahead, 25);
        unasked.note_round(800, 100);
        assert_eq!(unasked.n_passed_over, 2);
    }

    #[test]
    fn nobody_is_expected_without_an_interval_or_after_a_while() {
        let (cadence, mut unasked) = (
            Cadence::default(),
            Unasked {
                looked_at: 100_000,
                ..Unasked::default()
            },
        );
        cadence.note(100_000);
        assert_eq!(cadence.rest(&mut unasked, 100_001, 5), 9_999);
        cadence.note(100_100);
        assert_eq!(cadence.rest(&mut unasked, 100_101, 5), 9_999);
        // What nobody asked for is brought in now and then, and says nothing about working ahead.
        assert_eq!(cadence.rest(&mut unasked, 110_100, 5), 0);
        unasked.note_round(800, 800);
        assert_eq!(unasked.n_passed_over, 0);
        cadence.note(105_100);
        let mut much_later = Unasked {
            looked_at: 200_000,
            ..Unasked::default()
        };
        assert_eq!(cadence.rest(&mut much_later, 200_000, 5), 10_000);
    }
}
