//! The thread that brings large pushes into effect.
//!
//! The push was parsed and prepared by a thread of low priority. This one has the priority of the
//! runtime's workers: small pushes to the same job wait while it is behind the door of the job.
//!
//! A push that finds the store busy holds nothing. The thread keeps it, tries the others, and backs
//! off when all of them are busy.

use super::back_off::BackOff;
use super::parse_pool::ReservedRoom;
use crate::store::{Outcome, Push, Refusal, Store};
use crossbeam::channel::{Receiver, Sender, bounded, select, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the thread waits for another push before it gives memory back to the system.
const IDLE_BEFORE_RELEASE: Duration = Duration::from_millis(100);

/// A push that is parsed and prepared.
pub(super) struct PreparedPush {
    pub push: Push,
    /// Gets the outcome; nothing if admission panicked. Closed if the client has gone: the push is
    /// then dropped.
    pub done: oneshot::Sender<AdmissionResult>,
    /// Given back when the push is answered.
    pub room: ReservedRoom,
}

/// Whether the push is in effect.
pub(super) type AdmissionResult = Result<(), Refusal>;

/// The queue of the thread. The lanes of the pool bound it: each push keeps its room there.
pub(super) struct Admitter {
    prepared: Sender<PreparedPush>,
    release: Sender<()>,
}

impl Admitter {
    /// Starts the thread, which lives as long as this.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(store: Arc<Store>, release_memory: fn()) -> std::io::Result<Self> {
        let (prepared, receiver) = unbounded();
        let (release, release_requests) = bounded(1);
        std::thread::Builder::new()
            .name("admitter".to_owned())
            .spawn(move || run(&store, &receiver, &release_requests, release_memory))?;
        Ok(Self { prepared, release })
    }

    /// The queue, for threads that prepare pushes.
    pub fn queue(&self) -> Sender<PreparedPush> {
        self.prepared.clone()
    }

    /// Has the thread give memory back to the system that other threads have freed meanwhile.
    pub fn request_release(&self) {
        // An error says that the thread was asked already.
        let _ = self.release.try_send(());
    }
}

fn run(
    store: &Store,
    prepared: &Receiver<PreparedPush>,
    release_requests: &Receiver<()>,
    release_memory: fn(),
) {
    let mut waiting: Vec<PreparedPush> = Vec::new();
    let mut back_off = BackOff::default();
    let mut has_freed = false;
    loop {
        if waiting.is_empty() {
            let next = if has_freed {
                select! {
                    recv(prepared) -> push => Some(push),
                    default(IDLE_BEFORE_RELEASE) => None,
                }
            } else {
                select! {
                    recv(prepared) -> push => Some(push),
                    recv(release_requests) -> request => match request {
                        Ok(()) => None,
                        Err(_) => return,
                    },
                }
            };
            match next {
                Some(Ok(push)) => waiting.push(push),
                Some(Err(_)) => return,
                None => {
                    release_memory();
                    has_freed = false;
                    continue;
                }
            }
        }
        waiting.extend(prepared.try_iter());
        let n_before = waiting.len();
        waiting = waiting
            .into_iter()
            .filter_map(|push| try_admit(store, push))
            .collect();
        has_freed = true;
        if waiting.len() < n_before {
            back_off = BackOff::default();
        } else {
            back_off.wait_on_thread();
        }
    }
}

/// Tries to bring a push into effect and answers it. Returns it if the store is busy.
fn try_admit(store: &Store, mut prepared: PreparedPush) -> Option<PreparedPush> {
    if prepared.done.is_closed() {
        return None;
    }
    // A panic is a bug. It costs the push, which is dropped without an answer, but not the thread.
    let outcome = catch_unwind(AssertUnwindSafe(|| store.push(&mut prepared.push))).ok()?;
    let result = match outcome {
        Outcome::Busy => return Some(prepared),
        Outcome::Done => Ok(()),
        Outcome::Refused(refusal) => Err(refusal),
    };
    let PreparedPush { push, done, room } = prepared;
    drop(push);
    drop(room);
    // An error says that the client has gone in this moment.
    let _ = done.send(result);
    None
}
