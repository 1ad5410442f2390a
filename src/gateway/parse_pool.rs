//! A few threads for large bodies, so that small pushes keep flowing on the runtime's workers.
//!
//! The threads have a lower priority than the workers: where cores are scarce, a worker that has
//! just been woken for a small push does not wait until a parser's time slice ends.

use crossbeam::channel::{Sender, unbounded};
use tokio::sync::oneshot;

/// Bodies from this size on are large: they are parsed here.
pub(crate) const LARGE_BODY_BYTES: usize = 256 << 10;

/// The nice level of the threads. Level 6 is about a quarter of the CPU share of a normal thread.
#[cfg(target_os = "linux")]
const NICE: i32 = 6;

type Job = Box<dyn FnOnce() + Send>;

/// The threads, and their queue of jobs, which has no bound.
pub(crate) struct ParsePool(Sender<Job>);

impl ParsePool {
    /// Starts the threads, at most half as many as there are cores. They live as long as the
    /// process.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start() -> std::io::Result<Self> {
        let n_threads = std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1));
        let (sender, receiver) = unbounded::<Job>();
        for _ in 0..n_threads {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name("parser".to_owned())
                .spawn(move || {
                    // On Linux this changes the calling thread alone; on other systems it would
                    // change the whole process.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::process::nice(NICE);
                    for job in receiver {
                        // A parser that panics has a bug. That costs the push, but not the thread.
                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                    }
                })?;
        }
        Ok(Self(sender))
    }

    /// Runs `job` on one of the threads, after those that were queued before; none if it panicked.
    /// The job is run even if this future is dropped.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // An error says that this future was dropped, because the client has gone.
            let _ = done.send(job());
        });
        self.0
            .send(job)
            .expect("the threads live as long as the pool");
        result.await.ok()
    }
}
