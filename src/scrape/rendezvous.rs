//! Where scrapes and the assembler meet: the current exposition, whether it is complete, and which
//! formats are asked for.
//!
//! | field     | written by                    | read by                          | what it carries                        |
//! |-----------|-------------------------------|----------------------------------|----------------------------------------|
//! | `current` | the assembler, before `end`   | scrapes                          | the exposition                         |
//! | `plain`   | the same, and before `show_plain` | scrapes that want plain text | the same, or one that is not compressed yet |
//! | `rounds`  | the assembler                 | scrapes                          | whether these can be complete          |
//! | `requested_ms`  | scrapes, before their fence   | the assembler, behind its fence  | when a format was last asked for       |

use super::exposition::Exposition;
use super::format::Format;
use super::round::Rounds;
use crate::store::{Consumer, Store};
use crate::sync::{AtomicU64, Published, fence};
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

/// A format is kept as long as somebody asks for it at least this often, in milliseconds.
const FORMAT_KEPT_MS: u64 = 10 * 60 * 1000;

/// What scrapes share with the assembler.
pub struct Rendezvous {
    pub(super) rounds: Rounds,
    current: Published<Exposition>,
    plain: Published<Exposition>,
    /// By format, plain and compressed: milliseconds of the caller's clock, 0 for never.
    requested_ms: [[AtomicU64; 2]; Format::COUNT],
}

/// The formats that somebody asks for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WantedViews {
    plain: [bool; Format::COUNT],
    gzip: [bool; Format::COUNT],
}

impl WantedViews {
    pub fn has(&self, format: Format) -> bool {
        self.plain[format.index()] || self.gzip[format.index()]
    }

    pub fn has_gzip(&self, format: Format) -> bool {
        self.gzip[format.index()]
    }

    pub fn has_plain(&self, format: Format) -> bool {
        self.plain[format.index()]
    }

    /// Whether any format is asked for.
    pub fn any(&self) -> bool {
        Format::all().any(|format| self.has(format))
    }
}

impl Rendezvous {
    /// With an empty exposition, which nobody may send before a round was run.
    pub fn new() -> Self {
        let empty = Arc::new(Exposition::default());
        Self {
            rounds: Rounds::new(),
            current: Published::new(Arc::clone(&empty)),
            plain: Published::new(empty),
            requested_ms: std::array::from_fn(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
        }
    }

    /// The exposition, if it shows everything that was answered before this call and has the format
    /// asked for.
    ///
    /// # Errors
    ///
    /// Else the count to wait for: wake the assembler, and when [`Rendezvous::has_reached`] says that
    /// it is there, [`Rendezvous::current`] is it.
    pub fn try_current(
        &self,
        store: &Store,
        format: Format,
        gzip: bool,
        now_ms: u64,
    ) -> Result<Arc<Exposition>, u64> {
        self.request_format(format, gzip, now_ms);
        // SeqCst fence: "it is asked for" is visible before the rounds are looked at;
        // `Rounds::begin` has the twin, behind which the assembler looks at what is asked for.
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

    /// Has a format kept for the time being, from the next round on.
    pub fn request_format(&self, format: Format, gzip: bool, now_ms: u64) {
        // Relaxed: whoever needs the next round to see it has a fence behind it.
        self.requested_ms[format.index()][usize::from(gzip)].store(now_ms.max(1), Relaxed);
    }

    /// Whether rounds have come to the count that [`Rendezvous::try_current`] named: what was asked
    /// for is shown.
    pub fn has_reached(&self, count: u64) -> bool {
        self.rounds.has_reached(count)
    }

    /// The exposition of the last round, for those that send it compressed; for others that of a
    /// round that runs if it shows it already.
    pub fn current(&self, gzip: bool) -> Arc<Exposition> {
        Arc::clone(&if gzip { &self.current } else { &self.plain }.load())
    }

    /// For all scrapes.
    pub(super) fn publish(&self, exposition: Exposition) {
        let exposition = Arc::new(exposition);
        self.current.store(Arc::clone(&exposition));
        self.plain.store(exposition);
    }

    /// For scrapes that want plain text: it is not compressed yet.
    pub(super) fn publish_plain(&self, exposition: Exposition) {
        self.plain.store(Arc::new(exposition));
    }

    pub(super) fn wanted(&self, now_ms: u64) -> WantedViews {
        let mut wanted = WantedViews::default();
        for (index, [plain, gzip]) in self.requested_ms.iter().enumerate() {
            // Relaxed: the caller is behind the fence of `Rounds::begin`.
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
