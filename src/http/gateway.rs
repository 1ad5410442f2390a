//! What all requests share: the groups, the exposition and the thread that assembles it.

use super::cadence::{Cadence, Unasked};
use super::parse_pool::ParsePool;
use super::request_body::Limits;
use super::router::Routes;
use crate::exposition;
use crate::model::NameScheme;
use crate::scrape::{Assembler, Assembly, Effort, Exposition, Format, Sizes};
use crate::store::{self, Consumer, Outcome, Store};
use crate::telemetry::{OWN_FAMILIES, Telemetry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, watch};

/// Bytes of a page, the unit in which the exposition is rendered and compressed: with its reference
/// counts, a line more, or numbers that have become a little longer, below 6 KiB, which is a size
/// that the allocator has.
const PAGE_BYTES: usize = (6 << 10) - 128;

/// What an operator decides.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the pages are.
    pub routes: Routes,
    /// Which names pushes may use.
    pub names: NameScheme,
    /// Whether contradicting pushes are told so (400); else every push is answered 202. They are
    /// checked all the same.
    pub is_check_announced: bool,
    /// `/-/quit` works.
    pub is_lifecycle_enabled: bool,
    /// Bytes of a body as it is sent. Up to 1 GiB, as those of a decoded one: what of it is exposed
    /// as it came has to fit, with the rest of its family, into offsets of 32 bits.
    pub body_bytes_max: u64,
    /// Bytes of a body after it was decompressed.
    pub decoded_bytes_max: u64,
    /// How many times its size a body may decompress to, above a mebibyte.
    pub decoded_ratio_max: u64,
    /// How much a body may hold.
    pub limits: exposition::Limits,
    /// How many sets of grouping label names the groups of a job may have.
    pub shapes_per_job_max: usize,
    /// Bytes of text that a group may be exposed with: see [`store::Config`].
    pub exposition_bytes_max: u64,
    /// Flags and their values, as the API shows them.
    pub flags: Vec<(String, String)>,
    /// Has the allocator give back what the calling thread has freed: called after much was
    /// replaced.
    pub release_memory: fn(),
}

/// A round that built so many pages leaves memory that the next one may not need.
const UNTIDY_PAGES: usize = 256;
/// How long after such a round memory is given back: by then the scrapes that waited for it are
/// over.
const TIDY_MS: u64 = 500;

/// How long after a scrape had to wait what was compressed fast for it is compressed better.
const POLISH_MS: u64 = 1_000;
/// A push changes so many pages, about: where much of what would be compressed better has changed
/// again, it is not worth it.
const PAGES_PER_PUSH: usize = 64;

/// A gateway without its sockets.
pub struct Gateway {
    pub(crate) options: Options,
    pub(crate) store: Arc<Store>,
    pub(crate) telemetry: Telemetry,
    pub(super) parse_pool: ParsePool,
    assembly: Assembly,
    /// Somebody waits for a round.
    is_round_wanted: AtomicBool,
    round_shown: Notify,
    cadence: Cadence,
    assembler: std::sync::OnceLock<Thread>,
    started: Instant,
    pub(crate) started_at: SystemTime,
    shutdown: watch::Sender<bool>,
    is_draining: AtomicBool,
}

impl Gateway {
    /// Makes an empty gateway and starts its threads, which live as long as the process.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(options: Options) -> std::io::Result<Arc<Self>> {
        let own_families = OWN_FAMILIES
            .iter()
            .map(|&(name, metric_type)| (name.to_owned(), metric_type))
            .collect();
        let (shapes_per_job_max, exposition_bytes_max) =
            (options.shapes_per_job_max, options.exposition_bytes_max);
        let config = store::Config {
            shapes_per_job_max,
            exposition_bytes_max,
            own_families,
            consumers: vec![Consumer::Assembler],
        };
        let gateway = Arc::new(Self {
            options,
            store: Arc::new(Store::new(config)),
            telemetry: Telemetry::new(),
            parse_pool: ParsePool::new()?,
            assembly: Assembly::new(),
            is_round_wanted: AtomicBool::new(false),
            round_shown: Notify::new(),
            cadence: Cadence::default(),
            assembler: std::sync::OnceLock::new(),
            started: Instant::now(),
            started_at: SystemTime::now(),
            shutdown: watch::Sender::new(false),
            is_draining: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&gateway);
        let thread = std::thread::Builder::new()
            .name("assembler".to_owned())
            .spawn(move || {
                let run = std::panic::AssertUnwindSafe(|| of_thread.assemble());
                if std::panic::catch_unwind(run).is_err() {
                    // Without it every scrape would wait for ever, and groups would never be shown
                    // again.
                    tracing::error!("the assembler failed; this is a bug");
                    std::process::exit(1);
                }
            })?;
        gateway
            .assembler
            .set(thread.thread().clone())
            .expect("set once");
        Ok(gateway)
    }

    fn assemble(&self) {
        let n_threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut assembler = Assembler::new(
            OWN_FAMILIES.iter().map(|&(name, _)| name),
            Sizes {
                target: PAGE_BYTES,
                n_threads,
            },
        );
        let (mut unasked, mut round_ms) = (Unasked::default(), 0);
        let (mut tidy_at, mut polish_at, mut n_polished) = (None, None, 0);
        loop {
            // Acquire: pairs with the Release of whoever wants a round.
            let mut is_asked = true;
            while !self.is_round_wanted.swap(false, Acquire) {
                let now_ms = self.now_ms();
                if tidy_at.is_some_and(|at| at <= now_ms) {
                    tidy_at = None;
                    assembler.tidy(self.options.release_memory);
                }
                if polish_at.is_some_and(|at| at <= now_ms) {
                    let n_fast = assembler.n_fast_pages();
                    if n_fast == 0 {
                        polish_at = None;
                    } else if self.store.n_marked(Consumer::Assembler) <= n_fast / PAGES_PER_PUSH {
                        n_polished += assembler.polish(&self.assembly);
                        if n_polished >= UNTIDY_PAGES {
                            n_polished = 0;
                            tidy_at = Some(now_ms + TIDY_MS);
                        }
                    } else {
                        polish_at = Some(now_ms + POLISH_MS);
                    }
                }
                match self.cadence.rest(&mut unasked, now_ms, round_ms) {
                    0 if self.store.has_marked(Consumer::Assembler) => {
                        is_asked = false;
                        break;
                    }
                    rest => {
                        let until = [tidy_at, polish_at]
                            .into_iter()
                            .flatten()
                            .map(|at| at.saturating_sub(now_ms))
                            .fold(rest, u64::min);
                        std::thread::park_timeout(Duration::from_millis(until));
                    }
                }
            }
            let began = Instant::now();
            let effort = if is_asked {
                Effort::Fast
            } else {
                Effort::Usual
            };
            let on_shown = || self.round_shown.notify_waiters();
            let report =
                assembler.run_round(&self.store, &self.assembly, self.now_ms(), effort, on_shown);
            let took = began.elapsed();
            if report.n_pages >= UNTIDY_PAGES || report.n_marked >= UNTIDY_PAGES {
                tidy_at = Some(self.now_ms() + TIDY_MS);
            }
            // Ahead of a scrape at once, else when scrapes that follow this one would be over.
            polish_at = Some(self.now_ms() + if is_asked { POLISH_MS } else { 0 });
            if !is_asked {
                unasked.note_round(report.n_marked, self.store.n_marked(Consumer::Assembler));
            }
            // What the next large one may take: small ones lie between, of what a round ahead of a
            // scrape left.
            round_ms = u64::try_from(took.as_millis())
                .unwrap_or(u64::MAX)
                .max(round_ms - round_ms / 8);
            self.telemetry.count_assembly(took, report.n_pages);
            for conflict in report.help_conflicts {
                let (family, exposed, pushed) =
                    (conflict.family, conflict.exposed, conflict.pushed);
                tracing::info!(
                    family,
                    exposed,
                    pushed,
                    "a family was pushed with another help than the one that is exposed"
                );
            }
        }
    }

    /// The exposition in a format, showing everything that was answered before this call.
    pub(super) async fn current_exposition(&self, format: Format, gzip: bool) -> Arc<Exposition> {
        let now_ms = self.now_ms();
        self.cadence.note(now_ms);
        let assembler = self.assembler.get().expect("set before anything is served");
        let round = match self.assembly.try_current(&self.store, format, gzip, now_ms) {
            Ok(exposition) => {
                // It rests until what it expects; now it may expect something else.
                assembler.unpark();
                return exposition;
            }
            Err(round) => round,
        };
        let mut has_asked = false;
        loop {
            let ended = self.round_shown.notified();
            tokio::pin!(ended);
            // From here on a round that ends is noticed.
            ended.as_mut().enable();
            if self.assembly.has_come_to(round) {
                return self.assembly.current(gzip);
            }
            if !has_asked {
                // Release: pairs with the Acquire of the assembler. A round that begins after this
                // is the one that is waited for.
                self.is_round_wanted.store(true, Release);
                assembler.unpark();
                has_asked = true;
            }
            ended.await;
        }
    }

    /// Deletes every group that is there now.
    pub(super) async fn wipe(&self) {
        for (n, group) in self.store.groups().into_iter().enumerate() {
            // What was pushed after the wipe was asked for may stay, and does if its key is written
            // otherwise.
            while self.store.delete(group.key()) == Outcome::Busy {
                tokio::task::yield_now().await;
            }
            if n % 256 == 255 {
                tokio::task::yield_now().await;
            }
        }
    }

    /// How large a body may be.
    pub(super) fn body_limits(&self) -> Limits {
        Limits {
            body_bytes_max: self.options.body_bytes_max,
            decoded_bytes_max: self.options.decoded_bytes_max,
            decoded_ratio_max: self.options.decoded_ratio_max,
        }
    }

    /// Nanoseconds since the epoch, for the times of pushes.
    pub(super) fn now_ns(&self) -> i64 {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Milliseconds of a clock that does not go back.
    pub(super) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// The same at a moment that was noted.
    pub(super) fn ms_at(&self, moment: Instant) -> u64 {
        let since = moment - self.started;
        // In 64 bits, where dividing is one instruction: every push asks.
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }

    /// Has the process end, as a signal would.
    pub fn request_shutdown(&self) {
        self.shutdown.send_replace(true);
    }

    /// Completes when a shutdown was requested.
    pub async fn shutdown_requested(&self) {
        let mut receiver = self.shutdown.subscribe();
        // The sender lives as long as this call.
        let _ = receiver.wait_for(|&is_requested| is_requested).await;
    }

    /// Connections are being closed.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Acquire)
    }

    pub(super) fn begin_draining(&self) {
        self.is_draining.store(true, Release);
    }
}
