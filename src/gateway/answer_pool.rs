//! One thread that builds large answers, so that pushes keep flowing on the runtime's workers.
//!
//! An answer is built in pieces of [`PIECE_BYTES`], each when the client has taken the one before.
//! So the thread never waits for a client, answers that are built at the same time take turns, and
//! each costs at most two pieces of memory besides what its writer keeps.
//!
//! A bounded number of answers is in progress, because each can hold an old exposition or a list of
//! all keys in memory. Each has an [`AnswerSlot`]. The slot travels with the work: it is free again
//! when the last piece is built, or when the client has gone and no job of the answer is queued or
//! running.
//!
//! The thread has a lower priority than the workers, like those of `parse_pool`.

use crate::exposition::step_writer::{StepWriter, TextPiece, TextPieces};
use crate::telemetry::Telemetry;
use bytes::Bytes;
use crossbeam::channel::{Sender, unbounded};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// How many bytes of an answer are built at a time. A piece takes well under a millisecond.
pub(crate) const PIECE_BYTES: usize = 64 << 10;
/// How many answers are built at the same time.
const IN_PROGRESS_MAX: usize = 4;
/// How many requests wait for the answers in progress. Further ones are refused.
const WAITING_MAX: usize = 64;
/// How long a client may take to receive one piece. After that its answer is given up, so that a
/// few clients that do not read cannot keep all others from getting an answer.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The nice level of the thread. Level 6 is about a quarter of the CPU share of a normal thread.
#[cfg(target_os = "linux")]
const NICE: i32 = 6;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, and the bounds on what it builds.
pub(crate) struct AnswerPool {
    /// Has at most one job for each slot.
    jobs: Sender<Job>,
    /// A permit for each answer that is in progress.
    in_progress: Arc<Semaphore>,
    /// A permit for each answer that is in progress or waits.
    admitted: Arc<Semaphore>,
    stall_timeout: Duration,
}

/// As many requests as may wait are waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooManyAnswers;

/// The right to have one answer built.
pub(crate) struct AnswerSlot {
    jobs: Sender<Job>,
    stall_timeout: Duration,
    _in_progress: OwnedSemaphorePermit,
    _admitted: OwnedSemaphorePermit,
}

impl AnswerPool {
    /// Starts the thread, which lives as long as the process. Panics of its jobs are counted.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(telemetry: Arc<Telemetry>) -> std::io::Result<Self> {
        Self::with_stall_timeout(telemetry, STALL_TIMEOUT)
    }

    fn with_stall_timeout(
        telemetry: Arc<Telemetry>,
        stall_timeout: Duration,
    ) -> std::io::Result<Self> {
        let (jobs, receiver) = unbounded::<Job>();
        std::thread::Builder::new()
            .name("answers".to_owned())
            .spawn(move || {
                // On Linux this changes the calling thread alone; on other systems it would change
                // the whole process.
                #[cfg(target_os = "linux")]
                let _ = rustix::process::nice(NICE);
                for job in receiver {
                    // A job owns what it changes, and a panic drops that: the answer is given up,
                    // the thread goes on.
                    if catch_unwind(AssertUnwindSafe(job)).is_err() {
                        telemetry.count_panic();
                    }
                }
            })?;
        Ok(Self {
            jobs,
            in_progress: Arc::new(Semaphore::new(IN_PROGRESS_MAX)),
            admitted: Arc::new(Semaphore::new(IN_PROGRESS_MAX + WAITING_MAX)),
            stall_timeout,
        })
    }

    /// Waits until another answer may be built.
    ///
    /// # Errors
    ///
    /// Too many others wait already.
    pub async fn slot(&self) -> Result<AnswerSlot, TooManyAnswers> {
        let admitted = Arc::clone(&self.admitted)
            .try_acquire_owned()
            .map_err(|_| TooManyAnswers)?;
        let in_progress = Arc::clone(&self.in_progress).acquire_owned().await;
        Ok(AnswerSlot {
            jobs: self.jobs.clone(),
            stall_timeout: self.stall_timeout,
            _in_progress: in_progress.expect("the semaphore is never closed"),
            _admitted: admitted,
        })
    }
}

impl AnswerSlot {
    /// Runs `job` on the pool's thread; none if it panicked. A job that has not begun when this
    /// future is dropped is not run.
    pub async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Option<(Self, T)> {
        let (done, result) = oneshot::channel();
        let jobs = self.jobs.clone();
        let job = Box::new(move || {
            if !done.is_closed() {
                let result = job();
                // An error says that the future was dropped, because the client has gone.
                let _ = done.send((self, result));
            }
        });
        jobs.send(job)
            .expect("the thread lives as long as the process");
        result.await.ok()
    }

    /// Builds an answer from what `writer` writes, at the pace of the stream's reader. Called on
    /// the runtime.
    pub fn stream(self, writer: impl StepWriter + Send + 'static) -> AnswerStream {
        let (sender, pieces) = mpsc::channel(1);
        tokio::spawn(build_pieces(self, TextPieces::new(writer), sender));
        AnswerStream {
            pieces,
            is_complete: false,
        }
    }
}

/// Builds each piece when the one before was taken. Ends early if the reader has gone, or takes no
/// piece for too long, or if the writer panics.
async fn build_pieces(
    mut slot: AnswerSlot,
    mut pieces: TextPieces<impl StepWriter + Send + 'static>,
    sender: mpsc::Sender<TextPiece>,
) {
    let stall_timeout = slot.stall_timeout;
    while let Ok(Ok(place)) = tokio::time::timeout(stall_timeout, sender.reserve()).await {
        let built = slot.run(move || {
            let piece = pieces.next_piece(PIECE_BYTES);
            // After the last piece the writer is dropped here: that may free an exposition.
            let is_last = piece.is_last;
            (piece, (!is_last).then_some(pieces))
        });
        let Some((returned, (piece, rest))) = built.await else {
            return;
        };
        place.send(piece);
        match rest {
            Some(rest) => (slot, pieces) = (returned, rest),
            None => return,
        }
    }
}

/// The pieces of an answer.
pub(crate) struct AnswerStream {
    pieces: mpsc::Receiver<TextPiece>,
    is_complete: bool,
}

/// An answer was given up before its end.
#[derive(Debug)]
pub(crate) struct AnswerAborted;

impl AnswerStream {
    /// The next piece; none at the end.
    pub fn poll_piece(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, AnswerAborted>>> {
        if self.is_complete {
            return Poll::Ready(None);
        }
        let piece = ready!(self.pieces.poll_recv(context));
        self.is_complete = piece.as_ref().is_none_or(|piece| piece.is_last);
        Poll::Ready(Some(piece.map(|piece| piece.bytes).ok_or(AnswerAborted)))
    }

    /// Whether nothing follows.
    pub fn is_complete(&self) -> bool {
        self.is_complete
    }
}

impl fmt::Display for AnswerAborted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client did not read, or there is a bug: the answer was given up")
    }
}

impl std::error::Error for AnswerAborted {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::time::Instant;

    /// Writes steps of 100 bytes and counts them. Each asserts the thread that it runs on.
    struct Steps {
        n_left: usize,
        n_written: Arc<AtomicUsize>,
    }

    impl StepWriter for Steps {
        fn write_step(&mut self, out: &mut Vec<u8>) -> bool {
            assert_eq!(std::thread::current().name(), Some("answers"));
            assert!(self.n_left != usize::MAX, "a panic for a test");
            if self.n_left == 0 {
                return false;
            }
            self.n_left -= 1;
            self.n_written.fetch_add(1, Relaxed);
            out.extend_from_slice(&[b'x'; 100]);
            true
        }
    }

    fn steps(n_left: usize) -> (Steps, Arc<AtomicUsize>) {
        let n_written = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&n_written);
        (Steps { n_left, n_written }, counted)
    }

    fn pool(stall_timeout: Duration) -> (AnswerPool, Arc<Telemetry>) {
        let telemetry = Arc::new(Telemetry::new());
        let pool = AnswerPool::with_stall_timeout(Arc::clone(&telemetry), stall_timeout);
        (pool.unwrap(), telemetry)
    }

    fn block_on(test: impl Future<Output = ()>) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().unwrap().block_on(test);
    }

    async fn next(stream: &mut AnswerStream) -> Option<Result<Bytes, AnswerAborted>> {
        poll_fn(|context| stream.poll_piece(context)).await
    }

    /// Gives the tasks of this thread and the pool's thread time to do all that they can.
    async fn settle() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// Waits until `condition` holds.
    ///
    /// # Panics
    ///
    /// If it does not hold within 30 s.
    async fn eventually(condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !condition() {
            assert!(Instant::now() < deadline, "the condition never came true");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn an_answer_is_built_on_the_pools_thread_no_faster_than_it_is_read() {
        block_on(async {
            let (pool, _) = pool(STALL_TIMEOUT);
            let (writer, n_written) = steps(10_000);
            let mut stream = pool.slot().await.unwrap().stream(writer);
            let mut n_read = 0;
            while let Some(piece) = next(&mut stream).await {
                let piece = piece.unwrap();
                assert!(piece.len() <= PIECE_BYTES);
                n_read += piece.len();
                settle().await;
                assert!(n_written.load(Relaxed) * 100 <= n_read + 2 * PIECE_BYTES);
            }
            assert_eq!(n_read, 1_000_000);
            assert!(stream.is_complete());
            eventually(|| pool.in_progress.available_permits() == IN_PROGRESS_MAX).await;
        });
    }

    #[test]
    fn a_bounded_number_of_answers_is_in_progress_and_waits() {
        block_on(async {
            let (pool, _) = pool(STALL_TIMEOUT);
            let pool = Arc::new(pool);
            let mut streams = Vec::new();
            for _ in 0..IN_PROGRESS_MAX {
                streams.push(pool.slot().await.unwrap().stream(steps(10_000).0));
            }
            let waiting: Vec<_> = (0..WAITING_MAX)
                .map(|_| {
                    let pool = Arc::clone(&pool);
                    tokio::spawn(async move { pool.slot().await.is_ok() })
                })
                .collect();
            settle().await;
            assert!(waiting.iter().all(|task| !task.is_finished()));
            assert!(matches!(pool.slot().await, Err(TooManyAnswers)));
            // The clients go away.
            streams.clear();
            for task in waiting {
                assert!(task.await.unwrap());
            }
            eventually(|| pool.in_progress.available_permits() == IN_PROGRESS_MAX).await;
            eventually(|| pool.admitted.available_permits() == IN_PROGRESS_MAX + WAITING_MAX).await;
        });
    }

    #[test]
    fn an_answer_that_is_not_read_is_given_up() {
        block_on(async {
            let (pool, _) = pool(Duration::from_millis(1));
            let mut stream = pool.slot().await.unwrap().stream(steps(10_000).0);
            eventually(|| pool.in_progress.available_permits() == IN_PROGRESS_MAX).await;
            assert!(next(&mut stream).await.is_some_and(|piece| piece.is_ok()));
            assert!(next(&mut stream).await.is_some_and(|piece| piece.is_err()));
            assert!(next(&mut stream).await.is_none());
        });
    }

    #[test]
    fn a_panic_ends_one_answer_and_is_counted() {
        block_on(async {
            let (pool, telemetry) = pool(STALL_TIMEOUT);
            let mut broken = pool.slot().await.unwrap().stream(steps(usize::MAX).0);
            assert!(next(&mut broken).await.is_some_and(|piece| piece.is_err()));
            // The thread counts after it has given up the answer, and before its next job.
            let (_, two) = pool.slot().await.unwrap().run(|| 2).await.unwrap();
            assert_eq!((two, telemetry.n_panics()), (2, 1));
            eventually(|| pool.in_progress.available_permits() == IN_PROGRESS_MAX).await;
        });
    }
}
