//! Threads and tasks that sleep until another thread wakes them: the product's types.
//!
//! A protocol may rely on what is listed here and on nothing else. The stand-ins for loom
//! (`wake_stand_ins.rs`) promise exactly the same.
//!
//! - [`Flag`]: [`take`](Flag::take) sees what every thread did before it raised the flag since the
//!   last `take`. Both are read-modify-writes, `Release` and `Acquire`, so all of these threads are
//!   in the release sequence that `take` reads from.
//! - [`Parker`] is `std::thread::park_timeout` and `unpark`. An `unpark` before the thread parks
//!   makes the next park return at once. A park that an `unpark` ends sees what happened before the
//!   `unpark`. A park may also end for no reason.
//! - [`Notify`] is tokio's. A `Notified` gets every `notify_waiters` call that follows its
//!   creation: "guaranteed to receive wakeups from `notify_waiters()` as soon as it has been
//!   created, even if it has not yet been polled". What happened before the call is visible to the
//!   task that is notified: "the synchronization details of `Notify` are similar to `thread::park`
//!   and `Thread::unpark`". A `Notified` that is created after a call sees what happened before the
//!   call; tokio 1.54 loads its state with `Acquire` there, although its documentation does not say
//!   so.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::thread::Thread;
use std::time::Duration;

pub use tokio::sync::Notify;

/// A flag that any thread raises and one thread takes down.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    /// Raises the flag.
    pub fn raise(&self) {
        // Release: pairs with the Acquire in `take`. A swap, because a store would end the release
        // sequence of the thread that raised the flag before, and `take` would not see what that
        // thread did.
        self.0.swap(true, Release);
    }

    /// Takes the flag down; returns whether it was up.
    pub fn take(&self) -> bool {
        // Acquire: pairs with the Release in `raise`.
        self.0.swap(false, Acquire)
    }
}

/// A place for one thread to sleep, from which any thread wakes it.
#[derive(Debug, Default)]
pub struct Parker(OnceLock<Thread>);

impl Parker {
    /// Sets the thread that sleeps here. Call once, before another thread calls
    /// [`unpark`](Self::unpark).
    ///
    /// # Panics
    ///
    /// If a thread was set before.
    pub fn bind(&self, thread: Thread) {
        self.0.set(thread).expect("bound once");
    }

    /// Has the calling thread, which is the one that is bound, sleep until it is woken or `timeout`
    /// has passed.
    pub fn park_timeout(&self, timeout: Duration) {
        std::thread::park_timeout(timeout);
    }

    /// Wakes the thread; if it does not sleep, its next sleep ends at once.
    ///
    /// # Panics
    ///
    /// If no thread was bound.
    pub fn unpark(&self) {
        self.0.get().expect("bound before it is woken").unpark();
    }
}
