//! Where scrapes and the assembler meet: the current exposition, whether it is complete, and which
//! formats are asked for.
//!
//! Promise: a scrape gets every push and delete that was answered before the scrape came. For plain
//! text the assembler may publish earlier than for compressed text, so there are two expositions.
//!
//! | field          | written by            | read by                 | what it carries           |
//! |----------------|-----------------------|-------------------------|---------------------------|
//! | `current`      | assembler (1)         | scrapes, compressed     | last round's exposition   |
//! | `plain`        | assembler (1), (2)    | scrapes, plain text     | the same, or that of a    |
//! |                |                       |                         | running round             |
//! | `rounds`       | assembler             | scrapes                 | whether they are complete |
//! | `requested_ms` | scrapes, before fence | assembler, behind fence | time of the last request  |
//!
//! (1) Before `Rounds::end`. (2) Before `Rounds::show_plain`; this one is not compressed.

use super::exposition::Exposition;
use super::format::Format;
use super::round::Rounds;
use crate::store::{Consumer, Store};
use crate::sync::{AtomicU64, Published, fence};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// How long a format is kept after the last scrape that asked for it: 10 minutes.
const FORMAT_KEPT_MS: u64 = 10 * 60 * 1000;

/// What scrapes share with the assembler.
pub struct Rendezvous {
    pub(super) rounds: Rounds,
    /// For scrapes of compressed text: the exposition of the last round.
    current: Published<Exposition>,
    /// For scrapes of plain text: the same exposition, or a newer one that is not compressed yet.
    plain: Published<Exposition>,
    /// When each format was last asked for, as `[plain, compressed]`: milliseconds of the callers'
    /// clock, 0 for never.
    requested_ms: [[AtomicU64; 2]; Format::COUNT],
}

/// The formats that scrapes have asked for in the last 10 minutes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WantedViews {
    plain: [bool; Format::COUNT],
    gzip: [bool; Format::COUNT],
}

impl WantedViews {
    /// Whether the format is wanted, plain or compressed.
    pub fn has(&self, format: Format) -> bool {
        self.plain[format.index()] || self.gzip[format.index()]
    }

    /// Whether the format is wanted compressed.
    pub fn has_gzip(&self, format: Format) -> bool {
        self.gzip[format.index()]
    }

    /// Whether the format is wanted without compression.
    pub fn has_plain(&self, format: Format) -> bool {
        self.plain[format.index()]
    }

    /// Whether any format is wanted.
    pub fn any(&self) -> bool {
        Format::all().any(|format| self.has(format))
    }
}

impl Rendezvous {
    /// No exposition yet: [`Rendezvous::try_current`] returns none before a round has run.
    pub fn new() -> Self {
        let empty = Arc::new(Exposition::default());
        Self {
            rounds: Rounds::new(),
            current: Published::new(Arc::clone(&empty)),
            plain: Published::new(empty),
            requested_ms: std::array::from_fn(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
        }
    }

    /// The current exposition, if it is *complete* for this scrape: it shows every push and delete
    /// that was answered before this call, and keeps the format that is asked for.
    ///
    /// Also notes that the format is wanted, see [`Rendezvous::request_format`].
    ///
    /// # Errors
    ///
    /// Otherwise the count of rounds to wait for: wake the assembler so that it runs a round, and
    /// when [`Rendezvous::has_reached`] returns true for this count, [`Rendezvous::current`] is
    /// complete.
    pub fn try_current(
        &self,
        store: &Store,
        format: Format,
        gzip: bool,
        now_ms: u64,
    ) -> Result<Arc<Exposition>, u64> {
        self.request_format(format, gzip, now_ms);
        // SeqCst fence, paired with the one in `Rounds::begin`: either the round sees this request,
        // or this scrape sees that the round has begun and waits for a later one. Here the request
        // is stored before the fence and the count of rounds is loaded behind it; the assembler
        // stores the count before its fence and loads the requests behind it.
        fence(SeqCst);
        let complete = self
            .rounds
            .check_complete(!gzip, || !store.has_marked(Consumer::Assembler));
        match complete {
            Err(round) => Err(round),
            Ok(next_round) => {
                let current = self.current(gzip);
                if current.view(format, gzip).is_some() {
                    Ok(current)
                } else {
                    Err(next_round)
                }
            }
        }
    }

    /// Notes that a format is wanted, plain or compressed (`gzip`). From the next round on it is
    /// kept, until no scrape has asked for it for 10 minutes. `now_ms` are milliseconds of a clock
    /// that does not go back; all calls use the same clock.
    pub fn request_format(&self, format: Format, gzip: bool, now_ms: u64) {
        // Relaxed: `try_current`, which needs the next round to see this, has a fence behind it.
        self.requested_ms[format.index()][usize::from(gzip)].store(now_ms.max(1), Relaxed);
    }

    /// Whether rounds have come to the count that [`Rendezvous::try_current`] returned: what was
    /// missing then is shown.
    pub fn has_reached(&self, count: u64) -> bool {
        self.rounds.has_reached(count)
    }

    /// The current exposition: with `gzip` that of the last round that ended, otherwise that of a
    /// running round if it has published its plain text already.
    pub fn current(&self, gzip: bool) -> Arc<Exposition> {
        Arc::clone(&if gzip { &self.current } else { &self.plain }.load())
    }

    /// Publishes an exposition for all scrapes.
    pub(super) fn publish(&self, exposition: Exposition) {
        let exposition = Arc::new(exposition);
        self.current.store(Arc::clone(&exposition));
        self.plain.store(exposition);
    }

    /// Publishes an exposition that is not compressed yet, for scrapes of plain text.
    pub(super) fn publish_plain(&self, exposition: Exposition) {
        self.plain.store(Arc::new(exposition));
    }

    /// The formats that are wanted at `now_ms`.
    pub(super) fn wanted(&self, now_ms: u64) -> WantedViews {
        let mut wanted = WantedViews::default();
        for (index, [plain, gzip]) in self.requested_ms.iter().enumerate() {
            // Relaxed: the assembler calls this behind the fence in `Rounds::begin`.
            let is_wanted = |requested_ms: &AtomicU64| match requested_ms.load(Relaxed) {
                0 => false,
                requested_ms => now_ms.saturating_sub(requested_ms) < FORMAT_KEPT_MS,
            };
            wanted.plain[index] = is_wanted(plain);
            wanted.gzip[index] = is_wanted(gzip);
        }
        wanted
    }
}

impl Default for Rendezvous {
    fn default() -> Self {
        Self::new()
    }
}
