//! Clients that are silent in the middle of their requests while the process ends.
//!
//! A process that ends waits for the requests that were sent by then. A client that has sent half a
//! request, and then nothing for [`SILENCE_TIMEOUT`], is not waited for any longer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a client may be silent in the middle of its request once the process is to end.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);

/// What moves on a connection. The stream notes it, and the code that serves the connection looks at
/// it.
///
/// Relaxed throughout: only the task of the connection uses it.
#[derive(Debug, Default)]
pub(super) struct ConnectionActivity {
    /// The last thing that happened is that nothing could be read yet. While a request is being
    /// answered nothing is read, so this says that the rest of a request is awaited, or the next one.
    is_client_awaited: AtomicBool,
    /// How often something was read or written.
    n_moves: AtomicU64,
}

impl ConnectionActivity {
    /// Notes that something was written.
    pub fn note_write(&self) {
        self.is_client_awaited.store(false, Relaxed);
        self.n_moves.fetch_add(1, Relaxed);
    }

    /// Notes how an attempt to read has ended.
    pub fn note_read<T>(&self, read: &Poll<T>) {
        self.is_client_awaited.store(read.is_pending(), Relaxed);
        if read.is_ready() {
            self.n_moves.fetch_add(1, Relaxed);
        }
    }
}

/// Waits until `connection` ends, or until the client has been awaited for [`SILENCE_TIMEOUT`]
/// without sending anything; then returns `None`. For connections that the process closes.
pub(super) async fn until_silent<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    activity: &ConnectionActivity,
) -> Option<T> {
    let mut silence = pin!(sleep_until(Instant::now() + SILENCE_TIMEOUT));
    let mut n_moves = activity.n_moves.load(Relaxed);
    poll_fn(|context| {
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        let n_moves_before = std::mem::replace(&mut n_moves, activity.n_moves.load(Relaxed));
        if n_moves != n_moves_before {
            silence.as_mut().reset(Instant::now() + SILENCE_TIMEOUT);
        }
        while silence.as_mut().poll(context).is_ready() {
            if activity.is_client_awaited.load(Relaxed) {
                return Poll::Ready(None);
            }
            // The request is being answered.
            silence.as_mut().reset(Instant::now() + SILENCE_TIMEOUT);
        }
        Poll::Pending
    })
    .await
}
