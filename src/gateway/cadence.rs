//! Foresees the next scrape, and decides when the assembler runs a round that no scrape waits for.
//!
//! Scrapes come at even intervals. Shortly before the next one is due, a round *ahead* of the
//! scrape brings what was pushed by then into the exposition, so that the scrape waits only for the
//! rest. If pushes come so fast that the rest is as much work again, the round ahead saves nothing:
//! then the next few scrapes get no round ahead. Without scrapes, a round every
//! [`UNREQUESTED_INTERVAL_MS`] keeps deleted groups and the list of changed groups from piling up.
//!
//! All times are milliseconds of one monotonic clock, and arguments: nothing here reads a clock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// No scrape is expected any more once the last one is this long ago.
const EXPECTED_MS: u64 = 60_000;
/// The time between two scrapes is not taken for their interval if it is shorter than this: they
/// probably come from different scrapers.
const INTERVAL_MS_MIN: u64 = 1_000;
/// A round ahead begins at least this long before the scrape is due.
const LEAD_MS_MIN: u64 = 20;
/// A round ahead was worthwhile if at its end at most one in this many of the groups that it took
/// had changed again.
const WORTHWHILE_DIVISOR: usize = 8;
/// How many scrapes get no round ahead after a round ahead that was not worthwhile.
const N_SCRAPES_SKIPPED: u32 = 3;
/// Without scrapes, a round is due this long after the last one, or after the last scrape.
const UNREQUESTED_INTERVAL_MS: u64 = 10_000;

/// When the last scrapes came. Scrapes write this, the assembler's thread reads it.
///
/// Relaxed throughout: only the time of a round depends on these numbers, and a round is correct
/// whenever it runs. The two numbers may stem from different scrapes.
#[derive(Debug, Default)]
pub(super) struct ScrapeCadence {
    last_ms: AtomicU64,
    interval_ms: AtomicU64,
}

/// What is known about the scrapes at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ScrapeTimes {
    /// When the last scrape came; 0 for never.
    pub last_ms: u64,
    /// How long that was after the scrape before it; 0 if that says nothing about the next scrape.
    pub interval_ms: u64,
}

impl ScrapeCadence {
    /// Notes that a scrape came.
    pub fn note_scrape(&self, now_ms: u64) {
        let last_ms = self.last_ms.swap(now_ms, Relaxed);
        let interval_ms = now_ms.saturating_sub(last_ms);
        let is_interval = last_ms > 0 && interval_ms >= INTERVAL_MS_MIN;
        self.interval_ms
            .store(if is_interval { interval_ms } else { 0 }, Relaxed);
    }

    /// What is known about the scrapes now.
    pub fn times(&self) -> ScrapeTimes {
        ScrapeTimes {
            last_ms: self.last_ms.load(Relaxed),
            interval_ms: self.interval_ms.load(Relaxed),
        }
    }
}

/// The rounds that no scrape waits for: when the last one was due, and whether the rounds ahead are
/// worthwhile.
#[derive(Debug, Default)]
pub(super) struct UnrequestedRounds {
    /// The time of the last scrape before the last round ahead, whether that round was run or
    /// skipped. It says that the next scrape has had its one round ahead.
    ahead_after_ms: u64,
    /// When the last round was due.
    last_due_ms: u64,
    /// That round was one ahead of a scrape.
    was_ahead: bool,
    /// How many of the next scrapes get no round ahead.
    n_skipped: u32,
}

impl UnrequestedRounds {
    /// How many milliseconds from now the next round is due. If it is due now, returns 0 and notes
    /// that, so that the same round is not due again. `round_ms` is how long a large round lately
    /// took.
    pub fn ms_until_due(&mut self, scrapes: ScrapeTimes, now_ms: u64, round_ms: u64) -> u64 {
        let ScrapeTimes {
            last_ms,
            interval_ms,
        } = scrapes;
        let regular_ms = self.last_due_ms.max(last_ms) + UNREQUESTED_INTERVAL_MS;
        let mut until_due_ms = regular_ms.saturating_sub(now_ms);
        let mut is_ahead = false;
        let is_scrape_expected = interval_ms > 0
            && last_ms != self.ahead_after_ms
            && now_ms.saturating_sub(last_ms) < EXPECTED_MS;
        if is_scrape_expected {
            // Twice the time of a large round, so that this one has ended when the scrape comes.
            let lead_ms = (round_ms * 2).clamp(LEAD_MS_MIN, interval_ms / 2);
            let until_ahead_ms = (last_ms + interval_ms - lead_ms).saturating_sub(now_ms);
            if until_ahead_ms > 0 {
                until_due_ms = until_due_ms.min(until_ahead_ms);
            } else {
                self.ahead_after_ms = last_ms;
                match self.n_skipped.checked_sub(1) {
                    Some(n_left) => self.n_skipped = n_left,
                    None => (until_due_ms, is_ahead) = (0, true),
                }
            }
        }
        if until_due_ms == 0 {
            (self.last_due_ms, self.was_ahead) = (now_ms, is_ahead);
        }
        until_due_ms
    }

    /// Notes how many groups the round that was due has taken, and how many had changed again at
    /// its end.
    pub fn note_round(&mut self, n_taken: usize, n_changed_again: usize) {
        if self.was_ahead && n_changed_again > n_taken / WORTHWHILE_DIVISOR {
            self.n_skipped = N_SCRAPES_SKIPPED;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_runs_once_and_shortly_before_the_next_scrape() {
        let (cadence, mut rounds) = (ScrapeCadence::default(), UnrequestedRounds::default());
        cadence.note_scrape(1_000);
        cadence.note_scrape(6_000);
        assert_eq!(
            rounds.ms_until_due(cadence.times(), 6_000, 50),
            4_900,
            "twice the time of a round before 11,000"
        );
        assert_eq!(rounds.ms_until_due(cadence.times(), 10_900, 50), 0);
        assert_eq!(rounds.ms_until_due(cadence.times(), 10_901, 50), 9_999);
    }

    #[test]
    fn rounds_ahead_are_skipped_for_a_while_where_their_work_is_done_twice() {
        let (cadence, mut rounds) = (ScrapeCadence::default(), UnrequestedRounds::default());
        let mut n_ahead = 0;
        for n in 1..100 {
            cadence.note_scrape(n * 5_000);
            rounds.last_due_ms = n * 5_000;
            if rounds.ms_until_due(cadence.times(), n * 5_000 + 4_990, 1) == 0 {
                n_ahead += 1;
                rounds.note_round(800, 101);
            }
        }
        assert_eq!(n_ahead, 25);
        rounds.note_round(800, 100);
        assert_eq!(rounds.n_skipped, 2);
    }

    #[test]
    fn no_scrape_is_expected_without_an_interval_or_after_a_minute() {
        let mut rounds = UnrequestedRounds {
            last_due_ms: 100_000,
            ..UnrequestedRounds::default()
        };
        let cadence = ScrapeCadence::default();
        cadence.note_scrape(100_000);
        assert_eq!(rounds.ms_until_due(cadence.times(), 100_001, 5), 9_999);
        cadence.note_scrape(100_100);
        assert_eq!(rounds.ms_until_due(cadence.times(), 100_101, 5), 9_999);
        // A round while nobody scrapes says nothing about rounds ahead.
        assert_eq!(rounds.ms_until_due(cadence.times(), 110_100, 5), 0);
        rounds.note_round(800, 800);
        assert_eq!(rounds.n_skipped, 0);
        cadence.note_scrape(105_100);
        let mut much_later = UnrequestedRounds {
            last_due_ms: 200_000,
            ..UnrequestedRounds::default()
        };
        assert_eq!(much_later.ms_until_due(cadence.times(), 200_000, 5), 10_000);
    }
}
