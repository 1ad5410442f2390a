//! The gateway without HTTP: from the content of a request to an outcome.
//!
//! [`Gateway`] is what all requests share. So far only `http` calls it. Persistence, imports,
//! batches and replicas are to call the same functions.
//!
//! | file                 | what it does                                                       |
//! |----------------------|--------------------------------------------------------------------|
//! | `ingest.rs`          | a push, from its bytes into the store                              |
//! | `grouping_labels.rs` | the labels by which a push names its group                         |
//! | `body_pieces.rs`     | a received body, in the pieces in which it came                    |
//! | `decode.rs`          | decompresses bodies, within limits                                 |
//! | `parse_pool.rs`      | threads that parse large bodies, and their queues                  |
//! | `admitter.rs`        | the thread that brings large pushes and wipes into effect          |
//! | `wipe.rs`            | deletes all groups, some at a time                                 |
//! | `back_off.rs`        | how long a push waits before it tries again                        |
//! | `answer_pool.rs`     | a thread for large answers, and bounds on them                     |
//! | `catch.rs`           | panics of single requests                                          |
//! | `driver.rs`          | decides when the assembler runs a round; scrapes wait here         |
//! | `disk.rs`            | how pushes and the thread that writes to disk meet                 |
//! | `batches.rs`         | which batch of that thread holds a push                            |
//! | `import.rs`          | groups that come from another gateway with their times             |
//! | `service_state.rs`   | what keeps the gateway from answering in the usual way             |
//! | `wakeup.rs`          | the handshake between waiting scrapes and the assembler's thread   |
//! | `cadence.rs`         | foresees the next scrape                                           |
//! | `clock.rs`           | the gateway's clocks                                               |
//!
//! No push takes a lock of the gateway's own, and none waits for I/O, for a scrape or for another
//! client. crossbeam's queue and papaya's map, which a push uses, may wait for a step of another
//! thread. A scrape that waits for a round sleeps.

mod admitter;
pub(crate) mod answer_pool;
mod back_off;
mod batches;
pub(crate) mod body_pieces;
mod cadence;
pub(crate) mod catch;
mod clock;
pub(crate) mod decode;
pub(crate) mod disk;
mod driver;
pub(crate) mod grouping_labels;
pub(crate) mod import;
pub(crate) mod ingest;
mod parse_pool;
pub(crate) mod service_state;
mod wakeup;
mod wipe;

pub use decode::BodyLimits;
pub use disk::Durability;
pub use import::{ImportReader, ImportSummary, LeftOut, RestoreJob};
pub use ingest::IngestOptions;

pub(crate) use crate::store::{PushMode, Refusal, Snapshot};
pub(crate) use clock::unix_ns;

use crate::model::{Families, GroupingKey, MetricType};
use crate::scrape::{Exposition, Format};
use crate::store::{self, Consumer, Outcome, Store};
use crate::telemetry::{DiskCondition, OWN_FAMILIES, Telemetry};
use answer_pool::AnswerPool;
use back_off::BackOff;
use clock::Clock;
use disk::DiskProgress;
use driver::AssemblerDriver;
use ingest::Ingester;
use service_state::{Impediment, ServiceState};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use wipe::WipeFailed;

/// What the operator decides, but for what only concerns HTTP.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// What pushes may be like.
    pub ingest: IngestOptions,
    /// How many sets of grouping label names the groups of one job may have.
    pub shapes_per_job_max: usize,
    /// How many bytes of text one group may be exposed with: see
    /// [`store::Config::exposition_bytes_max`].
    pub exposition_bytes_max: u64,
    /// Whether the state is kept on disk, and when pushes are answered then. The gateway answers no
    /// push and no scrape until the state is restored from there.
    pub disk: Option<Durability>,
    /// Reads the bodies of imports.
    pub import_reader: ImportReader,
    /// Makes the allocator return to the system what the calling thread has freed. Called on the
    /// threads that build the exposition and on those for large pushes, after they or other threads
    /// have freed much of what they had allocated.
    pub release_memory: fn(),
    /// Asks the threads of the caller, such as those of its runtime, to do the same. Called after
    /// large pushes, whose bodies these threads have received.
    pub request_release: fn(),
}

/// What all requests share: the groups, the exposition, the gateway's own metrics, its clocks, and
/// whether the process is to end.
pub struct Gateway {
    pub(crate) ingester: Ingester,
    pub(crate) telemetry: Arc<Telemetry>,
    pub(crate) answers: AnswerPool,
    pub(crate) clock: Clock,
    pub(crate) service: ServiceState,
    /// `None` if the state is kept in memory only.
    pub(crate) disk: Option<DiskProgress>,
    store: Arc<Store>,
    driver: AssemblerDriver,
    import_reader: ImportReader,
    is_shutdown_requested: watch::Sender<bool>,
}

/// The families that every gateway exposes about itself: see [`store::Config::own_families`].
pub(crate) fn own_families() -> Vec<(String, MetricType)> {
    let families = OWN_FAMILIES.iter();
    families
        .map(|&(name, metric_type)| (name.to_owned(), metric_type))
        .collect()
}

/// The state cannot be written to disk at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotOnDisk;

/// What became of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteOutcome {
    /// There is no such group, whether there was one or not. Every later scrape shows that.
    Deleted,
    /// A push is about to decide something that the deletion depends on. Nothing is held: yield,
    /// then try again.
    Busy,
}

impl Gateway {
    /// Makes a gateway without groups and starts its threads, which live as long as the process.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(options: GatewayOptions) -> std::io::Result<Arc<Self>> {
        let store = Arc::new(Store::new(store::Config {
            shapes_per_job_max: options.shapes_per_job_max,
            exposition_bytes_max: options.exposition_bytes_max,
            own_families: own_families(),
            consumers: match options.disk {
                None => vec![Consumer::Assembler],
                Some(_) => vec![Consumer::Assembler, Consumer::DiskWriter],
            },
        }));
        let telemetry = Arc::new(Telemetry::new());
        let gateway = Arc::new(Self {
            ingester: Ingester::start(
                Arc::clone(&store),
                Arc::clone(&telemetry),
                options.ingest,
                options.release_memory,
            )?,
            answers: AnswerPool::start(Arc::clone(&telemetry))?,
            telemetry,
            clock: Clock::start(),
            service: ServiceState::default(),
            disk: options.disk.map(DiskProgress::new),
            store,
            driver: AssemblerDriver::new(),
            import_reader: options.import_reader,
            is_shutdown_requested: watch::Sender::new(false),
        });
        if gateway.disk.is_some() {
            gateway.service.raise(Impediment::Restoring);
        }
        let shared = Arc::clone(&gateway);
        let assembler = std::thread::Builder::new()
            .name("assembler".to_owned())
            .spawn(move || {
                let run = || {
                    shared.driver.run(
                        &shared.store,
                        &shared.telemetry,
                        shared.clock,
                        options.release_memory,
                        || {
                            if shared.ingester.request_release() {
                                (options.request_release)();
                            }
                        },
                    )
                };
                // Without the assembler every scrape would wait for ever.
                catch::run_or_exit("the assembler", run);
            })?;
        gateway.driver.bind_thread(assembler.thread().clone());
        Ok(gateway)
    }

    /// The exposition in a format, showing every push and deletion that was answered before this
    /// call. Sleeps until a round has run, if the last one does not show all of them.
    pub(crate) async fn current_exposition(&self, format: Format, gzip: bool) -> Arc<Exposition> {
        self.driver
            .current_exposition(&self.store, format, gzip, self.clock.now_ms())
            .await
    }

    /// The gateway's own families, as they are now, with those that describe `exposition`.
    pub(crate) fn own_families(&self, exposition: &Exposition) -> Families {
        let now_ms = self.clock.now_ms();
        let condition = self.disk.as_ref().map(|_| {
            let is_healthy = !self.service.has(Impediment::DiskFailed);
            let is_behind = !is_healthy || self.store.has_marked(Consumer::DiskWriter);
            let committed_at_ms = self.telemetry.disk.committed_at_ms.get();
            let lag_ms = if is_behind {
                now_ms.saturating_sub(committed_at_ms)
            } else {
                0
            };
            DiskCondition {
                is_healthy,
                lag: Duration::from_millis(lag_ms),
            }
        });
        self.telemetry.families(exposition, condition, now_ms)
    }

    /// The groups, for code that restores them or follows them.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Whether a push is answered only when it is on disk.
    #[inline]
    pub(crate) fn is_push_durable(&self) -> bool {
        matches!(&self.disk, Some(disk) if disk.durability == Durability::Push)
    }

    /// If pushes are answered only when they are on disk, completes when everything is there that
    /// the caller has done so far.
    ///
    /// # Errors
    ///
    /// The state cannot be written to disk at present: what the caller has done is in effect, and may
    /// be lost if the process ends.
    pub(crate) async fn wait_until_durable(&self) -> Result<(), NotOnDisk> {
        let Some(disk) = self.disk.as_ref().filter(|_| self.is_push_durable()) else {
            return Ok(());
        };
        let batch = disk.batches.next();
        let has_failed = || self.service.has(Impediment::DiskFailed);
        disk.wait_for_commit(batch, has_failed).await;
        if disk.batches.is_committed(batch) {
            Ok(())
        } else {
            Err(NotOnDisk)
        }
    }

    /// How many groups there are.
    pub(crate) fn n_groups(&self) -> u64 {
        self.store.n_groups()
    }

    /// The groups, in no order. Not a cut: each group has the state that it had when it was read.
    pub(crate) fn groups(&self) -> Vec<Arc<Snapshot>> {
        self.store.groups()
    }

    /// The keys of the groups that `is_wanted`, in the order of their labels.
    pub(crate) fn sorted_keys(
        &self,
        is_wanted: impl Fn(&GroupingKey) -> bool,
    ) -> Vec<Arc<GroupingKey>> {
        let mut keys: Vec<Arc<GroupingKey>> = self
            .groups()
            .iter()
            .map(|group| group.key())
            .filter(|key| is_wanted(key))
            .map(Arc::clone)
            .collect();
        keys.sort_by(|a, b| a.labels().cmp(b.labels()));
        keys
    }

    /// The group with this key as it is now.
    pub(crate) fn group(&self, key: &GroupingKey) -> Option<Arc<Snapshot>> {
        self.store.group(key)
    }

    /// Deletes the group with exactly this key, if there is one.
    pub(crate) fn try_delete(&self, key: &GroupingKey) -> DeleteOutcome {
        match self.store.delete(key) {
            Outcome::Busy => DeleteOutcome::Busy,
            Outcome::Done => DeleteOutcome::Deleted,
            Outcome::Refused(_) => unreachable!("a deletion contradicts nothing"),
        }
    }

    /// Deletes the group with exactly this key, if there is one, and yields to other tasks while a
    /// push is in the way.
    pub(crate) async fn delete(&self, key: &GroupingKey) {
        let mut back_off = BackOff::default();
        while self.try_delete(key) == DeleteOutcome::Busy {
            back_off.wait().await;
        }
    }

    /// Deletes every group that exists when this is called. What is pushed meanwhile may be deleted
    /// as well, or stay.
    ///
    /// # Errors
    ///
    /// A bug has ended the wipe before all groups were deleted.
    pub(crate) async fn wipe(&self) -> Result<(), WipeFailed> {
        self.ingester.admitter().wipe().await
    }

    /// Asks for the end of the process, as a signal does.
    pub fn request_shutdown(&self) {
        self.is_shutdown_requested.send_replace(true);
    }

    /// Completes once the end of the process was asked for.
    pub async fn shutdown_requested(&self) {
        let mut receiver = self.is_shutdown_requested.subscribe();
        // An error would say that the sender is gone, and `self` holds it.
        let _ = receiver.wait_for(|&is_requested| is_requested).await;
    }
}
