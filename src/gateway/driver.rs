//! Drives the assembler: decides when it runs a round, and has scrapes wait for the right one.
//!
//! One thread runs the rounds ([`AssemblerDriver::run`]). What it does next is decided by
//! [`DriverSchedule::next_step`], which is a function of times and counts and touches nothing else:
//!
//! ```text
//!   a scrape waits for a round ─────────────────────────────────────→ RunRound
//!   a large round left memory behind, TIDY_DELAY_MS ago ────────────→ Tidy
//!   a round that no scrape waits for is due, and groups have changed → RunRound
//!   pages that were compressed in a hurry are due, and few groups
//!   have changed ───────────────────────────────────────────────────→ Recompress
//!   else ───────────────────────────────────────────────────────────→ Sleep until one of these
//! ```
//!
//! Scrapes reach the thread through [`RoundWakeup`], and the exposition through [`Rendezvous`].

use super::cadence::{ScrapeCadence, ScrapeTimes, UnrequestedRounds};
use super::clock::Clock;
use super::wakeup::RoundWakeup;
use crate::scrape::{Assembler, Effort, Exposition, Format, PageSizes, Rendezvous, RoundReport};
use crate::store::{Consumer, Store};
use crate::telemetry::{OWN_FAMILIES, Telemetry};
use std::sync::Arc;
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Target size of a page, the unit in which the exposition is rendered and compressed.
///
/// A page is allocated together with its reference counts, and may grow by a line, or by numbers
/// that become a little longer. With all of that it stays below 6 KiB, a size class of the
/// allocator.
const PAGE_BYTES: usize = (6 << 10) - 128;

/// A round that takes this many changed groups, or builds this many pages, leaves memory behind
/// that the next round may not need. So does recompressing this many pages.
const UNTIDY_COUNT: usize = 256;
/// A round that removes this many samples leaves such memory behind as well: about 64 samples fit on
/// a page, so these are the samples of [`UNTIDY_COUNT`] pages.
const UNTIDY_SAMPLES: u64 = 64 * UNTIDY_COUNT as u64;
/// How long after that memory is given back: by then the scrapes that waited for the round are
/// over.
const TIDY_DELAY_MS: u64 = 500;
/// How long after a scrape had to wait for a round the pages are recompressed that the round
/// compressed in a hurry: by then the scrapes that came at the same time are over. Also how long
/// recompressing is put off while many groups have changed.
const RECOMPRESS_DELAY_MS: u64 = 1_000;
/// About how many pages one push changes. Where as many pushes have come as change most of the
/// pages that would be recompressed, recompressing is not worthwhile.
const PAGES_PER_PUSH: usize = 64;

/// What the assembler's thread and the scrapes share.
pub(super) struct AssemblerDriver {
    rendezvous: Rendezvous,
    wakeup: RoundWakeup,
    cadence: ScrapeCadence,
}

impl AssemblerDriver {
    /// A driver whose thread does not run yet. Call [`bind_thread`](Self::bind_thread) before the
    /// first scrape.
    pub fn new() -> Self {
        Self {
            rendezvous: Rendezvous::new(),
            wakeup: RoundWakeup::default(),
            cadence: ScrapeCadence::default(),
        }
    }

    /// Sets the thread that calls [`run`](Self::run).
    pub fn bind_thread(&self, thread: Thread) {
        self.wakeup.bind_thread(thread);
    }

    /// The exposition in a format, showing everything that was answered before this call. If the
    /// last one does not show all of it, has a round run and waits for that.
    pub async fn current_exposition(
        &self,
        store: &Store,
        format: Format,
        gzip: bool,
        now_ms: u64,
    ) -> Arc<Exposition> {
        self.cadence.note_scrape(now_ms);
        match self.rendezvous.try_current(store, format, gzip, now_ms) {
            Ok(exposition) => {
                // The thread sleeps until the time at which it expected the next scrape; it may
                // expect that at another time now.
                self.wakeup.wake_assembler();
                exposition
            }
            Err(round) => {
                self.wakeup
                    .wait_for_round(|| self.rendezvous.has_reached(round))
                    .await;
                self.rendezvous.current(gzip)
            }
        }
    }

    /// Runs rounds for as long as the process lives. For the thread that was bound.
    ///
    /// `release_memory` makes the allocator return to the system what the calling thread has freed.
    /// `request_release` asks other threads to do the same.
    pub fn run(
        &self,
        store: &Store,
        telemetry: &Telemetry,
        clock: Clock,
        release_memory: fn(),
        request_release: impl Fn(),
    ) -> ! {
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let sizes = PageSizes {
            page_bytes: PAGE_BYTES,
        };
        let own_families = OWN_FAMILIES.iter().map(|&(name, _)| name);
        let mut assembler = Assembler::new(own_families, sizes, n_threads);
        let mut schedule = DriverSchedule::default();
        loop {
            let now_ms = clock.now_ms();
            let situation = Situation {
                is_round_requested: self.wakeup.take_request(),
                scrapes: self.cadence.times(),
                n_marked: store.n_marked(Consumer::Assembler),
                // Counting them looks at every stretch of pages.
                n_fast_pages: if schedule.is_recompressing_due(now_ms) {
                    assembler.n_fast_pages()
                } else {
                    0
                },
            };
            match schedule.next_step(now_ms, &situation) {
                DriverStep::RunRound(reason) => {
                    let effort = match reason {
                        RoundReason::Requested => Effort::Fast,
                        RoundReason::Due => Effort::Usual,
                    };
                    let began = Instant::now();
                    let report = assembler.run_round(
                        store,
                        &self.rendezvous,
                        clock.now_ms(),
                        effort,
                        || self.wakeup.notify_shown(),
                    );
                    let took = began.elapsed();
                    schedule.note_round(
                        reason,
                        &report,
                        took,
                        store.n_marked(Consumer::Assembler),
                        clock.now_ms(),
                    );
                    telemetry.count_round(took, report.n_pages);
                    log_help_conflicts(report);
                }
                DriverStep::Tidy => {
                    assembler.free_buffers(release_memory);
                    request_release();
                }
                DriverStep::Recompress => {
                    let n_pages = assembler.recompress(&self.rendezvous);
                    schedule.note_recompressed(n_pages, clock.now_ms());
                }
                DriverStep::Sleep { ms } => self.wakeup.sleep(Duration::from_millis(ms)),
            }
        }
    }
}

fn log_help_conflicts(report: RoundReport) {
    for conflict in report.help_conflicts {
        let (family, exposed, other) = (conflict.family, conflict.exposed, conflict.other);
        tracing::info!(
            family,
            exposed,
            other,
            "a family was pushed with another help than the one that is exposed"
        );
    }
}

/// Why a round is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RoundReason {
    /// A scrape waits for the round.
    Requested,
    /// [`UnrequestedRounds`] says that one is due.
    Due,
}

/// What the assembler's thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DriverStep {
    /// Run a round.
    RunRound(RoundReason),
    /// Free what the last rounds left behind, and give it back to the system.
    Tidy,
    /// Compress some of the pages better that were compressed in a hurry, a few milliseconds of
    /// work. Scrapes that come meanwhile wait for that.
    Recompress,
    /// Sleep until a scrape wakes the thread, but not longer than this.
    Sleep { ms: u64 },
}

/// What a decision about the next step rests on, but for what the schedule remembers.
#[derive(Clone, Copy, Debug)]
struct Situation {
    /// A scrape waits for a round.
    is_round_requested: bool,
    /// When scrapes came.
    scrapes: ScrapeTimes,
    /// Changes of groups that no round has taken.
    n_marked: usize,
    /// Pages that were compressed in a hurry; only looked at when recompressing is due.
    n_fast_pages: usize,
}

/// What the assembler's thread has to do, and when. All times are milliseconds of one monotonic
/// clock.
#[derive(Debug, Default)]
struct DriverSchedule {
    unrequested: UnrequestedRounds,
    /// When memory is to be tidied up, if it has to be.
    tidy_at_ms: Option<u64>,
    /// When to look whether there are pages to recompress.
    recompress_at_ms: Option<u64>,
    /// Pages recompressed since memory was last tidied up because of them.
    n_recompressed: usize,
    /// How long a large round lately took. A round ahead of a scrape leaves only a small round for
    /// the scrape itself, so large and small rounds take turns. Therefore this falls slowly, by an
    /// eighth each round.
    round_ms: u64,
}

impl DriverSchedule {
    /// Whether it is time to look whether there are pages to recompress.
    fn is_recompressing_due(&self, now_ms: u64) -> bool {
        self.recompress_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The next step at `now_ms`. [`DriverStep::Tidy`] and [`DriverStep::Sleep`] need no further
    /// note; the other steps are reported with [`note_round`](Self::note_round) and
    /// [`note_recompressed`](Self::note_recompressed).
    fn next_step(&mut self, now_ms: u64, situation: &Situation) -> DriverStep {
        if situation.is_round_requested {
            return DriverStep::RunRound(RoundReason::Requested);
        }
        if self.tidy_at_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.tidy_at_ms = None;
            return DriverStep::Tidy;
        }
        let until_round_ms =
            self.unrequested
                .ms_until_due(situation.scrapes, now_ms, self.round_ms);
        if until_round_ms == 0 && situation.n_marked > 0 {
            return DriverStep::RunRound(RoundReason::Due);
        }
        if self.is_recompressing_due(now_ms) {
            if situation.n_fast_pages == 0 {
                self.recompress_at_ms = None;
            } else if situation.n_marked <= situation.n_fast_pages / PAGES_PER_PUSH {
                return DriverStep::Recompress;
            } else {
                self.recompress_at_ms = Some(now_ms + RECOMPRESS_DELAY_MS);
            }
        }
        let until_ms = [self.tidy_at_ms, self.recompress_at_ms]
            .into_iter()
            .flatten()
            .map(|at_ms| at_ms.saturating_sub(now_ms))
            .fold(until_round_ms, u64::min);
        DriverStep::Sleep { ms: until_ms }
    }

    /// Notes that a round has ended at `now_ms`, when `n_marked` changes had come since it took its
    /// own.
    fn note_round(
        &mut self,
        reason: RoundReason,
        report: &RoundReport,
        took: Duration,
        n_marked: usize,
        now_ms: u64,
    ) {
        if report.n_pages >= UNTIDY_COUNT
            || report.n_marked >= UNTIDY_COUNT
            || report.n_removed_samples >= UNTIDY_SAMPLES
        {
            self.tidy_at_ms = Some(now_ms + TIDY_DELAY_MS);
        }
        // Ahead of a scrape at once; otherwise when the scrapes are over that waited for the round.
        self.recompress_at_ms = Some(match reason {
            RoundReason::Requested => now_ms + RECOMPRESS_DELAY_MS,
            RoundReason::Due => now_ms,
        });
        if reason == RoundReason::Due {
            self.unrequested.note_round(report.n_marked, n_marked);
        }
        self.round_ms = u64::try_from(took.as_millis())
            .unwrap_or(u64::MAX)
            .max(self.round_ms - self.round_ms / 8);
    }

    /// Notes that `n_pages` were recompressed by `now_ms`.
    fn note_recompressed(&mut self, n_pages: usize, now_ms: u64) {
        self.n_recompressed += n_pages;
        if self.n_recompressed >= UNTIDY_COUNT {
            self.n_recompressed = 0;
            self.tidy_at_ms = Some(now_ms + TIDY_DELAY_MS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DriverStep::{Recompress, RunRound, Sleep, Tidy};
    use super::RoundReason::{Due, Requested};
    use super::*;

    /// Nothing to do, at a time at which nothing is due.
    const IDLE: Situation = Situation {
        is_round_requested: false,
        scrapes: ScrapeTimes {
            last_ms: 0,
            interval_ms: 0,
        },
        n_marked: 0,
        n_fast_pages: 0,
    };

    fn marked(n_marked: usize) -> Situation {
        Situation { n_marked, ..IDLE }
    }

    fn fast(n_fast_pages: usize, n_marked: usize) -> Situation {
        Situation {
            n_fast_pages,
            n_marked,
            ..IDLE
        }
    }

    fn note_round(schedule: &mut DriverSchedule, reason: RoundReason, n_pages: usize, now_ms: u64) {
        let report = RoundReport {
            n_pages,
            n_marked: n_pages,
            ..RoundReport::default()
        };
        schedule.note_round(reason, &report, Duration::from_millis(80), 0, now_ms);
    }

    #[test]
    fn a_requested_round_comes_before_everything_else() {
        let mut schedule = DriverSchedule {
            tidy_at_ms: Some(0),
            recompress_at_ms: Some(0),
            ..DriverSchedule::default()
        };
        let requested = Situation {
            is_round_requested: true,
            ..fast(1000, 5)
        };
        assert_eq!(schedule.next_step(20_000, &requested), RunRound(Requested));
        // What was due before it is still due.
        assert_eq!(schedule.next_step(20_000, &fast(1000, 5)), Tidy);
        assert_eq!(schedule.next_step(20_000, &fast(1000, 5)), RunRound(Due));
        assert_eq!(schedule.next_step(20_000, &fast(1000, 5)), Recompress);
    }

    #[test]
    fn without_scrapes_changes_are_taken_every_ten_seconds() {
        let mut schedule = DriverSchedule::default();
        assert_eq!(schedule.next_step(1, &marked(1)), Sleep { ms: 9_999 });
        assert_eq!(schedule.next_step(10_000, &marked(1)), RunRound(Due));
        assert_eq!(schedule.next_step(10_001, &marked(1)), Sleep { ms: 9_999 });
        // Where nothing has changed no round is run, and the next look is ten seconds later.
        assert_eq!(schedule.next_step(20_000, &IDLE), Sleep { ms: 0 });
        assert_eq!(schedule.next_step(20_000, &IDLE), Sleep { ms: 10_000 });
    }

    #[test]
    fn a_round_runs_before_the_next_scrape_is_due() {
        let mut schedule = DriverSchedule::default();
        note_round(&mut schedule, Requested, 1, 15_000);
        let scrapes = ScrapeTimes {
            last_ms: 15_000,
            interval_ms: 5_000,
        };
        let situation = |n_marked| Situation {
            scrapes,
            ..marked(n_marked)
        };
        // The look for pages to recompress comes first, and finds none.
        assert_eq!(
            schedule.next_step(15_000, &situation(1)),
            Sleep { ms: 1_000 }
        );
        // Twice the 80 ms of a round before 20,000.
        assert_eq!(
            schedule.next_step(16_000, &situation(1)),
            Sleep { ms: 3_840 }
        );
        assert_eq!(schedule.next_step(19_840, &situation(1)), RunRound(Due));
        assert_eq!(
            schedule.next_step(19_840, &situation(1)),
            Sleep { ms: 10_000 }
        );
    }

    #[test]
    fn memory_is_tidied_up_once_after_a_large_round() {
        let mut schedule = DriverSchedule::default();
        note_round(&mut schedule, Due, UNTIDY_COUNT - 1, 1_000);
        assert_eq!(schedule.tidy_at_ms, None);
        note_round(&mut schedule, Due, UNTIDY_COUNT, 1_000);
        assert_eq!(schedule.next_step(1_000, &IDLE), Sleep { ms: 500 });
        assert_eq!(schedule.next_step(1_500, &IDLE), Tidy);
        assert_eq!(schedule.next_step(1_500, &IDLE), Sleep { ms: 8_500 });
    }

    #[test]
    fn memory_is_tidied_up_after_a_round_that_removed_much() {
        let mut schedule = DriverSchedule::default();
        let report = RoundReport {
            n_marked: 1,
            n_removed_samples: UNTIDY_SAMPLES,
            ..RoundReport::default()
        };
        schedule.note_round(Requested, &report, Duration::from_millis(1), 0, 1_000);
        assert_eq!(schedule.next_step(1_500, &IDLE), Tidy);
    }

    #[test]
    fn pages_are_recompressed_at_once_ahead_of_a_scrape_and_later_after_one() {
        for (reason, at_ms) in [(Due, 1_000), (Requested, 2_000)] {
            let mut schedule = DriverSchedule::default();
            note_round(&mut schedule, reason, 1, 1_000);
            if reason == Requested {
                assert_eq!(schedule.next_step(1_000, &fast(10, 0)), Sleep { ms: 1_000 });
            }
            assert_eq!(schedule.next_step(at_ms, &fast(10, 0)), Recompress);
            assert_eq!(
                schedule.next_step(at_ms, &fast(0, 0)),
                Sleep { ms: 10_000 - at_ms }
            );
            assert_eq!(schedule.recompress_at_ms, None);
        }
    }

    #[test]
    fn recompressing_is_put_off_while_much_has_changed() {
        let mut schedule = DriverSchedule::default();
        note_round(&mut schedule, Due, 1, 1_000);
        let n_pages = 10 * PAGES_PER_PUSH;
        assert_eq!(
            schedule.next_step(1_000, &fast(n_pages, 11)),
            Sleep { ms: 1_000 }
        );
        assert_eq!(
            schedule.next_step(1_999, &fast(n_pages, 10)),
            Sleep { ms: 1 }
        );
        assert_eq!(schedule.next_step(2_000, &fast(n_pages, 10)), Recompress);
    }

    #[test]
    fn recompressed_pages_leave_memory_to_be_tidied_up() {
        let mut schedule = DriverSchedule::default();
        schedule.note_recompressed(UNTIDY_COUNT - 1, 1_000);
        assert_eq!(schedule.tidy_at_ms, None);
        schedule.note_recompressed(1, 1_000);
        assert_eq!(
            (schedule.tidy_at_ms, schedule.n_recompressed),
            (Some(1_500), 0)
        );
    }

    #[test]
    fn the_time_of_a_large_round_is_forgotten_slowly() {
        let mut schedule = DriverSchedule::default();
        let report = RoundReport::default();
        let mut note = |ms| {
            schedule.note_round(Due, &report, Duration::from_millis(ms), 0, 0);
            schedule.round_ms
        };
        assert_eq!([note(80), note(1), note(1), note(90)], [80, 70, 62, 90]);
    }
}
