//! Threads and tasks that sleep until another thread wakes them: stand-ins on loom's types, with
//! the promises that the table in `wake.rs` lists and no others.

use loom::sync::atomic::{AtomicBool, AtomicUsize};
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The product's `Flag` on loom's atomic.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Flag {
    pub fn raise(&self) {
        self.0.swap(true, Release);
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Acquire)
    }
}

/// `loom::sync::Notify` keeps one token, establishes acquire and release, and wakes for no reason
/// now and then: the pattern of `park` and `unpark`. `loom::thread::park` is no stand-in: there
/// `unpark` is not a step that loom reorders, and it shows the woken thread everything at once,
/// even before that thread parks.
#[derive(Debug, Default)]
pub struct Parker(loom::sync::Notify);

impl Parker {
    /// Without a timeout: a model in which a wake-up is missed ends in a deadlock, which loom
    /// reports, instead of waiting for the time to pass.
    pub fn park_timeout(&self, _: Duration) {
        self.0.wait();
    }

    pub fn unpark(&self) {
        self.0.notify();
    }
}

/// Stands for `tokio::sync::Notify`, as far as `notify_waiters` goes.
///
/// The number of calls says which `Notified` are notified. The wakers lie behind a standard mutex
/// that loom does not see: between a look at the number and the registering of a waker, and between
/// counting a call and taking the wakers, loom switches to no other thread, as tokio does both with
/// its list locked.
#[derive(Debug, Default)]
pub struct Notify {
    n_calls: AtomicUsize,
    /// A compare-exchange on this that changes nothing makes loom try a creation before and after a
    /// call, although the creation only loads the number of calls and the same thread changes it
    /// later (see `Turn` in `loomed.rs`).
    turn: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Notify {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn notified(&self) -> Notified<'_> {
        self.take_turn();
        Notified {
            notify: self,
            // Acquire: as in tokio.
            n_calls: self.n_calls.load(Acquire),
        }
    }

    pub fn notify_waiters(&self) {
        self.take_turn();
        // Release: pairs with the Acquire of `notified` and of `poll`.
        self.n_calls.fetch_add(1, Release);
        let wakers = std::mem::take(&mut *self.wakers.lock().unwrap());
        wakers.into_iter().for_each(Waker::wake);
    }

    fn take_turn(&self) {
        let _ = self
            .turn
            .compare_exchange(usize::MAX, usize::MAX, Relaxed, Relaxed);
    }
}

#[derive(Debug)]
pub struct Notified<'a> {
    notify: &'a Notify,
    /// How many calls there were when this was created.
    n_calls: usize,
}

impl Future for Notified<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // An exchange that changes nothing, because it cannot miss a call that has taken the
        // wakers: tokio looks again with its list locked. Acquire: pairs with the Release of the
        // call.
        let n_calls =
            self.notify
                .n_calls
                .compare_exchange(usize::MAX, usize::MAX, Acquire, Acquire);
        if n_calls != Err(self.n_calls) {
            return Poll::Ready(());
        }
        let mut wakers = self.notify.wakers.lock().unwrap();
        if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            wakers.push(context.waker().clone());
        }
        Poll::Pending
    }
}
