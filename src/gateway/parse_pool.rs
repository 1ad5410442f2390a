//! A few threads for large bodies, so that small pushes keep flowing on the runtime's workers. They
//! step back for everybody else: where cores are scarce, who has just been woken for a small push
//! does not wait until they have had their slice.

use crossbeam::channel::{Sender, unbounded};
use tokio::sync::oneshot;

/// Bodies from this size on are parsed here.
pub(crate) const LARGE_BODY_BYTES: usize = 256 << 10;

/// How far: to a quarter of the share that they had.
#[cfg(target_os = "linux")]
const NICE: i32 = 6;

type Job = Box<dyn FnOnce() + Send>;

/// The threads: at most half the cores.
pub(crate) struct ParsePool(Sender<Job>);

impl ParsePool {
    pub fn start() -> std::io::Result<Self> {
        let n_threads = std::thread::available_parallelism().map_or(1, |n| (n.get() / 2).max(1));
        let (sender, receiver) = unbounded::<Job>();
        for _ in 0..n_threads {
            let receiver = receiver.clone();
            std::thread::Builder::new()
                .name("parser".to_owned())
                .spawn(move || {
                    // Of the calling thread alone, on Linux; elsewhere it would be the whole
                    // process.
                    #[cfg(target_os = "linux")]
                    let _ = rustix::process::nice(NICE);
                    for job in receiver {
                        // A parser that panics is a bug, and costs its push, not the thread.
                        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
                    }
                })?;
        }
        Ok(Self(sender))
    }

    /// Runs `job` on one of the threads; none if it panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = Box::new(move || {
            // Nobody listens if the client has gone.
            let _ = done.send(job());
        });
        self.0
            .send(job)
            .expect("the threads live as long as the pool");
        result.await.ok()
    }
}
