//! The thread that brings large pushes and wipes into effect.
//!
//! The push was parsed and prepared by a thread of low priority. This one has the priority of the
//! runtime's workers: small pushes to the same job wait while it is behind the door of the job.
//!
//! A wipe deletes many groups. The thread deletes some of them at a time, and admits pushes in between.
//!
//! A push that finds the store busy holds nothing. The thread keeps it, tries the others, and backs
//! off when all of them are busy.

use super::back_off::BackOff;
use super::parse_pool::ReservedRoom;
use super::wipe::{Wipe, WipeFailed, WipeStep};
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
    /// Each is told when its wipe is complete.
    wipes: Sender<oneshot::Sender<()>>,
    release: Sender<()>,
}

/// Where the thread takes its work from.
struct AdmitterQueues {
    prepared: Receiver<PreparedPush>,
    wipes: Receiver<oneshot::Sender<()>>,
    release_requests: Receiver<()>,
}

impl Admitter {
    /// Starts the thread, which lives as long as this.
    ///
    /// # Errors
    ///
    /// The thread cannot be started.
    pub fn start(store: Arc<Store>, release_memory: fn()) -> std::io::Result<Self> {
        let (prepared, prepared_receiver) = unbounded();
        let (wipes, wipe_receiver) = unbounded();
        let (release, release_requests) = bounded(1);
        let queues = AdmitterQueues {
            prepared: prepared_receiver,
            wipes: wipe_receiver,
            release_requests,
        };
        std::thread::Builder::new()
            .name("admitter".to_owned())
            .spawn(move || run(&store, &queues, release_memory))?;
        Ok(Self {
            prepared,
            wipes,
            release,
        })
    }

    /// Deletes every group that exists when this is called. The wipe goes on if this is dropped.
    ///
    /// # Errors
    ///
    /// A bug has ended the wipe.
    pub async fn wipe(&self) -> Result<(), WipeFailed> {
        let (done, is_done) = oneshot::channel();
        self.wipes.send(done).map_err(|_| WipeFailed)?;
        is_done.await.map_err(|_| WipeFailed)
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

fn run(store: &Store, queues: &AdmitterQueues, release_memory: fn()) {
    let mut waiting: Vec<PreparedPush> = Vec::new();
    let mut wipe: Option<Wipe> = None;
    let mut back_off = BackOff::default();
    let mut has_freed = false;
    loop {
        if waiting.is_empty() && wipe.is_none() {
            match next_work(queues, has_freed) {
                AdmitterWork::Push(push) => waiting.push(push),
                AdmitterWork::Wipe(done) => wipe = Some(Wipe::new(done)),
                AdmitterWork::Release => {
                    release_memory();
                    has_freed = false;
                    continue;
                }
                AdmitterWork::End => return,
            }
        }
        waiting.extend(queues.prepared.try_iter());
        let n_before = waiting.len();
        waiting = waiting
            .into_iter()
            .filter_map(|push| try_admit(store, push))
            .collect();
        has_freed = true;
        let mut is_busy = waiting.len() == n_before;
        if wipe.is_none() {
            wipe = queues.wipes.try_recv().ok().map(Wipe::new);
        }
        if let Some(current) = wipe.take() {
            // A wipe that a bug has ended is dropped without an answer.
            wipe = match current.step(store) {
                Some(WipeStep::Busy(left)) => Some(left),
                Some(WipeStep::Deleted(left)) => {
                    is_busy = false;
                    Some(left)
                }
                Some(WipeStep::Complete) | None => {
                    is_busy = false;
                    None
                }
            };
        }
        if is_busy {
            back_off.wait_on_thread();
        } else {
            back_off = BackOff::default();
        }
    }
}

/// What the thread does next when nothing waits.
#[expect(
    clippy::large_enum_variant,
    reason = "the only caller takes it apart at once"
)]
enum AdmitterWork {
    Push(PreparedPush),
    Wipe(oneshot::Sender<()>),
    /// Give memory back to the system.
    Release,
    /// Nothing will come any more.
    End,
}

/// Waits for work. If memory was freed, it is given back when nothing has come for a while.
fn next_work(queues: &AdmitterQueues, has_freed: bool) -> AdmitterWork {
    let (prepared, wipes) = (&queues.prepared, &queues.wipes);
    let release_requests = &queues.release_requests;
    if has_freed {
        select! {
            recv(prepared) -> push => push.map_or(AdmitterWork::End, AdmitterWork::Push),
            recv(wipes) -> done => done.map_or(AdmitterWork::End, AdmitterWork::Wipe),
            default(IDLE_BEFORE_RELEASE) => AdmitterWork::Release,
        }
    } else {
        select! {
            recv(prepared) -> push => push.map_or(AdmitterWork::End, AdmitterWork::Push),
            recv(wipes) -> done => done.map_or(AdmitterWork::End, AdmitterWork::Wipe),
            recv(release_requests) -> request => {
                request.map_or(AdmitterWork::End, |()| AdmitterWork::Release)
            }
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
