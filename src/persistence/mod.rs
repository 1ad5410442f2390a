//! The state on disk: restored when the process starts, written while it runs.
//!
//! All state lives in memory. The disk holds the latest state of every group, in one SQLite database. One
//! thread restores it and then writes what changes; requests never touch the disk.
//!
//! | file             | subject                                                             |
//! |------------------|---------------------------------------------------------------------|
//! | `mod.rs`         | the thread, from the start of the process to its end                 |
//! | `startup`        | which file the state comes from; brings it into the store            |
//! | `import_log`     | which file of the reference was imported                             |
//! | `imported_groups`| brings groups of the reference into the store                        |
//! | `state_file`     | the state of a stopped gateway, for the command line                |
//! | `writer`         | writes what has changed, batch by batch                              |
//! | `rows`           | which rows the file has                                              |
//! | `record`         | a group as bytes                                                     |
//! | `database`       | the file: an SQLite database of rows and named values                |
//! | `reference_file` | the file of the reference Pushgateway                                |

pub mod database;
mod import_log;
mod imported_groups;
pub mod record;
pub mod reference_file;
mod rows;
mod startup;
mod state_file;
mod writer;

pub use imported_groups::read_import;
pub use startup::{ImportChoice, StartError};
pub use state_file::StateFile;

use crate::gateway::Gateway;
use crate::gateway::catch;
use crate::gateway::service_state::Impediment;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use writer::Writer;

/// The nice level of the thread where pushes do not wait for it. Level 6 is about a quarter of the CPU
/// share of a normal thread.
const NICE: i32 = 6;

/// What the operator decides about the state on disk.
#[derive(Clone, Debug)]
pub struct PersistenceOptions {
    /// The file that the operator names. It is never written: it may be the reference's. The state is in a
    /// file beside it, with `.db` appended to the name.
    pub file: PathBuf,
    /// The longest that an answered push may be in memory only.
    pub interval: Duration,
    /// What to do about the reference's file.
    pub import: ImportChoice,
    /// Whether pushes wait for the disk: then the thread has the priority of those that serve them.
    pub is_push_durable: bool,
}

/// The thread that restores the state and writes it.
pub struct Persistence {
    gateway: Arc<Gateway>,
    thread: JoinHandle<Result<(), String>>,
    failed: Option<oneshot::Receiver<StartError>>,
    restored: mpsc::Receiver<()>,
    must_stop: Arc<AtomicBool>,
}

impl Persistence {
    /// Starts the thread. The gateway was started with [`GatewayOptions::disk`]. It answers no push and no
    /// scrape until the state is restored.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    ///
    /// [`GatewayOptions::disk`]: crate::gateway::GatewayOptions::disk
    pub fn start(gateway: Arc<Gateway>, options: PersistenceOptions) -> std::io::Result<Self> {
        let (report, failed) = oneshot::channel();
        let (has_restored, restored) = mpsc::channel();
        let must_stop = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&gateway), Arc::clone(&must_stop));
        let thread = std::thread::Builder::new()
            .name("disk-writer".to_owned())
            .spawn(move || {
                let mut result = Ok(());
                // Without the writer no push would ever reach the disk.
                catch::run_or_exit("the disk writer", || {
                    result = run(&shared, &options, &stop, report, has_restored);
                });
                result
            })?;
        if let Some(disk) = &gateway.disk {
            disk.bind_thread(thread.thread().clone());
        }
        Ok(Self {
            gateway,
            thread,
            failed: Some(failed),
            restored,
            must_stop,
        })
    }

    /// Waits until the state is restored, until that has failed, or for `timeout`. Blocks.
    ///
    /// A process that begins to accept connections afterwards refuses no request while it restores a
    /// small state: connections wait to be accepted for that time.
    pub fn wait_until_restored(&self, timeout: Duration) {
        // An error says that the time is over, or that the thread has given up.
        let _ = self.restored.recv_timeout(timeout);
    }

    /// Completes with the reason why the state cannot be restored. Never completes if it is restored.
    pub async fn failure(&mut self) -> StartError {
        if let Some(failed) = self.failed.take()
            && let Ok(error) = failed.await
        {
            return error;
        }
        std::future::pending().await
    }

    /// Has the thread write everything that was pushed so far, and waits until it has. For the end of the
    /// process, when no push comes any more. Blocks.
    ///
    /// # Errors
    ///
    /// The state cannot be written: a message for the operator.
    pub fn finish(self) -> Result<(), String> {
        // Relaxed: the wake-up orders it before the look of the thread.
        self.must_stop.store(true, Relaxed);
        if let Some(disk) = &self.gateway.disk {
            disk.wake_writer();
        }
        self.thread
            .join()
            .unwrap_or_else(|_| Err("the disk writer failed; this is a bug".to_owned()))
    }
}

/// The life of the thread.
fn run(
    gateway: &Arc<Gateway>,
    options: &PersistenceOptions,
    must_stop: &AtomicBool,
    report: oneshot::Sender<StartError>,
    has_restored: mpsc::Sender<()>,
) -> Result<(), String> {
    // Relaxed: see `Persistence::finish`.
    let must_stop = || must_stop.load(Relaxed);
    let restored = match startup::restore(gateway, options, must_stop) {
        Ok(restored) => restored,
        Err(StartError::Stopped) => return Ok(()),
        Err(error) => {
            // An error says that the process ends already.
            let _ = report.send(error);
            return Ok(());
        }
    };
    if !options.is_push_durable {
        // Fails only for levels below 0.
        let _ = rustix::process::nice(NICE);
    }
    let mut writer = Writer::new(Arc::clone(gateway), restored, options.interval);
    if let Err(error) = writer.write_imported() {
        let _ = report.send(StartError::Import(error));
        return Ok(());
    }
    gateway.service.clear(Impediment::Restoring);
    // An error says that nobody waits any more.
    let _ = has_restored.send(());
    drop(has_restored);
    writer.run(must_stop)
}
