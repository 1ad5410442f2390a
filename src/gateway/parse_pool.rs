//! The threads for large bodies, so that small pushes keep flowing on the runtime's workers.
//!
//! ```text
//! ingest_large ──▶ lane of the body's size ──▶ parser, nice level 6 ──▶ admitter, nice level 0
//!                  (bounded)                   parses and prepares      publishes and answers
//! ```
//!
//! - The parsers have a lower priority than the workers: where cores are scarce, a worker that has
//!   just been woken for a small push does not wait until a parser's time slice ends.
//! - No parser enters the door of a job or claims a name: the kernel might not run it for seconds,
//!   and pushes to the same job would wait for it. That is left to the [`Admitter`](super::admitter).
//! - Each lane has threads, so that a body of some hundred kilobytes does not wait until several of
//!   60 MB are parsed.
//! - A lane has room for a number of bodies and of bytes ([`LaneRoom`]). A push takes its room when
//!   it is queued, and gives it back when it is answered or forgotten.

use crossbeam::channel::{Receiver, Sender, bounded, select, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bodies from this size on are large: they are parsed here.
pub(crate) const LARGE_BODY_BYTES: usize = 256 << 10;

/// Bodies from this size on go to the second lane.
const HUGE_BODY_BYTES: usize = 4 << 20;

/// The nice level of the threads. Level 6 is about a quarter of the CPU share of a normal thread.
#[cfg(target_os = "linux")]
const NICE: i32 = 6;

/// How many pushes there may be in a lane.
const LANE_BODIES_MAX: usize = 256;
/// How many bytes the bodies in a lane may have: as they were sent, or, of compressed ones, eight
/// times that. Four bodies of the largest size that is allowed by default. A single body may have
/// more.
const LANE_BYTES_MAX: usize = 256 << 20;
/// The unit in which bytes are counted: permits are counted by 32 bits.
const ROOM_UNIT_BYTES: usize = 1 << 10;

/// How long a thread waits for another job before it gives memory back to the system.
const IDLE_BEFORE_RELEASE: Duration = Duration::from_millis(100);

type Job = Box<dyn FnOnce() + Send>;

/// The lanes, for large and for huge bodies.
pub(crate) struct ParsePool {
    lanes: [Lane; 2],
    /// Has each thread give memory back.
    releases: Vec<Sender<()>>,
}

struct Lane {
    jobs: Sender<Job>,
    room: LaneRoom,
}

/// How many more bodies and bytes a lane takes.
struct LaneRoom {
    bodies: Arc<Semaphore>,
    /// In units of [`ROOM_UNIT_BYTES`].
    bytes: Arc<Semaphore>,
}

/// The room of one push in its lane. Dropping it gives the room back.
#[derive(Debug)]
pub(crate) struct ReservedRoom {
    _body: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl LaneRoom {
    fn new(n_bodies: usize, n_bytes: usize) -> Self {
        Self {
            bodies: Arc::new(Semaphore::new(n_bodies)),
            bytes: Arc::new(Semaphore::new(n_bytes / ROOM_UNIT_BYTES)),
        }
    }

    /// Takes room for a body of `n_bytes`, if there is enough. A body that is larger than the lane
    /// takes all of it.
    fn reserve(&self, n_bytes: usize) -> Option<ReservedRoom> {
        let n_units = n_bytes.min(LANE_BYTES_MAX) / ROOM_UNIT_BYTES;
        let n_units = u32::try_from(n_units).expect("the lane has fewer units");
        Some(ReservedRoom {
            _body: Arc::clone(&self.bodies).try_acquire_owned().ok()?,
            _bytes: Arc::clone(&self.bytes)
                .try_acquire_many_owned(n_units)
                .ok()?,
        })
    }
}

impl ParsePool {
    /// Starts the threads: in each lane one for every four cores, at least one. They live as long
    /// as the pool. `release_memory` makes the allocator return to the system what the calling
    /// thread has freed.
    ///
    /// # Errors
    ///
    /// A thread cannot be started.
    pub fn start(release_memory: fn()) -> std::io::Result<Self> {
        let n_threads = std::thread::available_parallelism().map_or(1, |n| (n.get() / 4).max(1));
        let mut releases = Vec::new();
        let mut start_lane = || {
            let (jobs, receiver) = unbounded::<Job>();
            for _ in 0..n_threads {
                let receiver = receiver.clone();
                let (release, release_requests) = bounded(1);
                releases.push(release);
                std::thread::Builder::new()
                    .name("parser".to_owned())
                    .spawn(move || {
                        // On Linux this changes the calling thread alone; on other systems it would
                        // change the whole process.
                        #[cfg(target_os = "linux")]
                        let _ = rustix::process::nice(NICE);
                        run_jobs(&receiver, &release_requests, release_memory);
                    })?;
            }
            let room = LaneRoom::new(LANE_BODIES_MAX, LANE_BYTES_MAX);
            Ok::<_, std::io::Error>(Lane { jobs, room })
        };
        Ok(Self {
            lanes: [start_lane()?, start_lane()?],
            releases,
        })
    }

    /// Takes room for a body that is expected to have `n_bytes` when it is decompressed. `None` if
    /// the lane is full.
    pub fn reserve(&self, n_bytes: usize) -> Option<ReservedRoom> {
        self.lane(n_bytes).room.reserve(n_bytes)
    }

    /// Runs `job` on a thread of the lane, after those that were queued before.
    pub fn run(&self, n_bytes: usize, job: impl FnOnce() + Send + 'static) {
        self.lane(n_bytes)
            .jobs
            .send(Box::new(job))
            .expect("the threads live as long as the pool");
    }

    /// Has each thread give memory back to the system that other threads have freed meanwhile.
    pub fn request_release(&self) {
        for release in &self.releases {
            // An error says that the thread was asked already.
            let _ = release.try_send(());
        }
    }

    /// Keeps all threads of a lane busy until the returned values are dropped.
    #[cfg(test)]
    pub fn block_lane(&self, n_bytes: usize) -> Vec<std::sync::mpsc::Sender<()>> {
        let block_thread = |_| {
            let (unblock, is_unblocked) = std::sync::mpsc::channel::<()>();
            let (enter, is_entered) = std::sync::mpsc::channel();
            self.run(n_bytes, move || {
                let _ = enter.send(());
                let _ = is_unblocked.recv();
            });
            is_entered.recv().expect("a thread is free");
            unblock
        };
        (0..self.releases.len() / 2).map(block_thread).collect()
    }

    /// How many bodies of this size are queued or being parsed or admitted.
    #[cfg(test)]
    pub fn n_bodies(&self, n_bytes: usize) -> usize {
        LANE_BODIES_MAX - self.lane(n_bytes).room.bodies.available_permits()
    }

    fn lane(&self, n_bytes: usize) -> &Lane {
        &self.lanes[usize::from(n_bytes >= HUGE_BODY_BYTES)]
    }
}

/// Runs jobs until the pool is dropped. Gives memory back when there has been no job for a moment,
/// and when that is requested.
fn run_jobs(jobs: &Receiver<Job>, release_requests: &Receiver<()>, release_memory: fn()) {
    let mut has_freed = false;
    loop {
        let job = if has_freed {
            select! {
                recv(jobs) -> job => Some(job),
                default(IDLE_BEFORE_RELEASE) => None,
            }
        } else {
            select! {
                recv(jobs) -> job => Some(job),
                recv(release_requests) -> request => match request {
                    Ok(()) => None,
                    Err(_) => return,
                },
            }
        };
        match job {
            Some(Ok(job)) => {
                // A parser that panics has a bug. That costs the push, but not the thread.
                let _ = catch_unwind(AssertUnwindSafe(job));
                has_freed = true;
            }
            Some(Err(_)) => return,
            None => {
                release_memory();
                has_freed = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::sync::mpsc;

    static N_RELEASES: AtomicUsize = AtomicUsize::new(0);

    #[test]
    fn large_bodies_do_not_wait_for_huge_ones() {
        let pool = ParsePool::start(|| ()).unwrap();
        let blocked = pool.block_lane(HUGE_BODY_BYTES);
        let (done, is_done) = mpsc::channel();
        pool.run(HUGE_BODY_BYTES - 1, move || done.send(()).unwrap());
        is_done.recv().unwrap();
        drop(blocked);
    }

    #[test]
    fn a_lane_has_room_for_some_bodies_and_bytes() {
        let room = LaneRoom::new(3, 100 * ROOM_UNIT_BYTES);
        let most = room.reserve(90 * ROOM_UNIT_BYTES).expect("there is room");
        assert!(room.reserve(20 * ROOM_UNIT_BYTES).is_none());
        let small = [room.reserve(1), room.reserve(1)];
        assert!(small.iter().all(Option::is_some));
        assert!(room.reserve(1).is_none());
        drop((most, small));
        assert!(room.reserve(100 * ROOM_UNIT_BYTES).is_some());
    }

    #[test]
    fn a_body_that_is_larger_than_its_lane_gets_in_alone() {
        let room = LaneRoom::new(2, LANE_BYTES_MAX);
        let alone = room.reserve(LANE_BYTES_MAX * 2);
        assert!(alone.is_some() && room.reserve(ROOM_UNIT_BYTES).is_none());
        drop(alone);
        assert!(room.reserve(ROOM_UNIT_BYTES).is_some());
        assert!(room.reserve(LANE_BYTES_MAX * 2).is_some());
    }

    #[test]
    fn a_thread_gives_memory_back_after_its_jobs_and_on_request() {
        let (jobs, receiver) = unbounded::<Job>();
        let (release, requests) = bounded(1);
        jobs.send(Box::new(|| ())).unwrap();
        jobs.send(Box::new(|| panic!("a bug"))).unwrap();
        let thread = std::thread::spawn(move || {
            run_jobs(&receiver, &requests, || {
                N_RELEASES.fetch_add(1, Relaxed);
            });
        });
        while N_RELEASES.load(Relaxed) < 1 {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        while N_RELEASES.load(Relaxed) < 2 {
            std::thread::yield_now();
        }
        drop(jobs);
        thread.join().unwrap();
    }
}
