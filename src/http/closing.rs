//! How connections end: waiting until the process closes its connections, and closing a connection
//! so that the client still gets its last answer.
//!
//! If a socket is closed while it has unread bytes, the kernel resets the connection, and a client
//! that is still sending loses the answer. Many clients send a whole body before they read the
//! answer. So after a request that was not read to its end, [`LingeringStream`] closes only the
//! sending side. Then it reads and throws away what the client sends, until the client closes its
//! side, too, or sends nothing for [`IDLE_TIMEOUT`], or has sent for too long or too much.
//!
//! While the process ends, a client that is silent in the middle of its request, or while its bytes
//! are thrown away, is waited for only for [`SILENCE_TIMEOUT`]: see [`until_silent`].

use bytes::Bytes;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long the client may send nothing before the connection is closed for good.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gateway reads and throws away at most, whatever the client does.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may be silent in the middle of its request once the process is to end.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(2);
/// How many bytes are read and thrown away at a time.
const DISCARD_BYTES: usize = 32 << 10;

/// Completes when `closing` says that connections are to be closed; at once if it says so already.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    while !*closing.borrow_and_update() {
        if closing.changed().await.is_err() {
            return;
        }
    }
}

/// What the stream of a connection shares with the code that serves it.
///
/// Relaxed throughout: only the task of the connection uses it.
#[derive(Default)]
pub(super) struct ConnectionState {
    /// The last request was not read to its end.
    is_unread: AtomicBool,
    /// The last thing that happened is that nothing could be read yet. While a request is being
    /// answered nothing is read, so this says that the rest of a request is awaited, or the next
    /// one, or the end of what is thrown away.
    is_client_awaited: AtomicBool,
    /// How often something was read or written.
    n_moves: AtomicU64,
}

impl ConnectionState {
    /// Notes that the last request was not read to its end.
    pub fn note_unread(&self) {
        self.is_unread.store(true, Relaxed);
    }

    fn note_move(&self) {
        self.is_client_awaited.store(false, Relaxed);
        self.n_moves.fetch_add(1, Relaxed);
    }

    /// Notes how an attempt to read has ended.
    fn note_read<T>(&self, read: &Poll<T>) {
        if read.is_ready() {
            self.note_move();
        } else {
            self.is_client_awaited.store(true, Relaxed);
        }
    }
}

/// Waits until `connection` ends, or until the client has been awaited for [`SILENCE_TIMEOUT`]
/// without sending anything; then returns `None`. For connections that the process closes.
pub(super) async fn until_silent<T>(
    mut connection: Pin<&mut impl Future<Output = T>>,
    state: &ConnectionState,
) -> Option<T> {
    let mut silence = pin!(sleep_until(Instant::now() + SILENCE_TIMEOUT));
    let mut n_moves = state.n_moves.load(Relaxed);
    poll_fn(|context| {
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        let n_moves_before = std::mem::replace(&mut n_moves, state.n_moves.load(Relaxed));
        if n_moves != n_moves_before {
            silence.as_mut().reset(Instant::now() + SILENCE_TIMEOUT);
        }
        while silence.as_mut().poll(context).is_ready() {
            if state.is_client_awaited.load(Relaxed) {
                return Poll::Ready(None);
            }
            // The request is being answered.
            silence.as_mut().reset(Instant::now() + SILENCE_TIMEOUT);
        }
        Poll::Pending
    })
    .await
}

/// A connection whose shutdown lets the client read the last answer.
pub(super) struct LingeringStream<'a> {
    stream: TcpStream,
    /// Bytes that were read from the stream before, and are read again first.
    unanswered: Bytes,
    state: &'a ConnectionState,
    /// How many bytes may still be thrown away.
    n_discards_left: u64,
    /// The timers, once the sending side was closed.
    linger: Option<LingerTimers>,
}

struct LingerTimers {
    /// When the connection is closed whatever the client does.
    end: Instant,
    /// Fires when the client has sent nothing for [`IDLE_TIMEOUT`], or at `end`.
    idle: Pin<Box<Sleep>>,
}

impl<'a> LingeringStream<'a> {
    /// Wraps a stream from which `unanswered` was read before. At the end at most
    /// `discarded_bytes_max` bytes are thrown away.
    pub fn new(
        stream: TcpStream,
        unanswered: Bytes,
        state: &'a ConnectionState,
        discarded_bytes_max: u64,
    ) -> Self {
        Self {
            stream,
            unanswered,
            state,
            n_discards_left: discarded_bytes_max,
            linger: None,
        }
    }
}

impl AsyncRead for LingeringStream<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unanswered.is_empty() {
            let n = self.unanswered.len().min(buf.remaining());
            buf.put_slice(&self.unanswered.split_to(n));
            return Poll::Ready(Ok(()));
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.state.note_read(&read);
        read
    }
}

impl AsyncWrite for LingeringStream<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state.note_move();
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.state.note_move();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // While a request is being answered hyper does not read, because a client may close its
        // side after it has sent its request. It flushes whenever it is polled. So this is where a
        // client that has gone, as the connection was reset, is noticed: the connection ends, and
        // with it the request.
        let mut peeked = [0];
        if let Poll::Ready(Err(error)) = self.stream.poll_peek(cx, &mut ReadBuf::new(&mut peeked)) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.state.is_unread.load(Relaxed) {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        let linger = match &mut this.linger {
            Some(linger) => linger,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                let now = Instant::now();
                none.insert(LingerTimers {
                    end: now + LINGER_TIMEOUT,
                    idle: Box::pin(sleep_until(now + IDLE_TIMEOUT)),
                })
            }
        };
        let mut scratch = [MaybeUninit::uninit(); DISCARD_BYTES];
        loop {
            let mut read = ReadBuf::uninit(&mut scratch);
            let discarded = Pin::new(&mut this.stream).poll_read(cx, &mut read);
            this.state.note_read(&discarded);
            match discarded {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && this.n_discards_left > 0 => {
                    let n_read = read.filled().len() as u64;
                    this.n_discards_left = this.n_discards_left.saturating_sub(n_read);
                    let idle_end = Instant::now() + IDLE_TIMEOUT;
                    linger.idle.as_mut().reset(linger.end.min(idle_end));
                }
                // The client has closed its side, has gone away, or has sent too much.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return linger.idle.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// A client's stream, and the gateway's end of it.
    async fn connect() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    }

    /// Polls for a flush, as hyper does while a request is being answered, until there is an error
    /// or the client's stream is readable.
    async fn flush_until_woken(accepted: TcpStream) -> io::Result<()> {
        let state = ConnectionState::default();
        let mut stream = LingeringStream::new(accepted, Bytes::new(), &state, 0);
        let mut n_polls = 0;
        poll_fn(|cx| {
            let flushed = Pin::new(&mut stream).poll_flush(cx);
            n_polls += 1;
            match flushed {
                Poll::Ready(Ok(())) if n_polls == 1 => Poll::Pending,
                flushed => flushed,
            }
        })
        .await
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_reset_connection_is_noticed_while_its_request_is_answered() {
        let (client, accepted) = connect().await;
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        let (flushed, ()) = tokio::join!(flush_until_woken(accepted), async { drop(client) });
        assert!(flushed.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_client_that_closes_its_side_is_still_answered() {
        let (mut client, accepted) = connect().await;
        let (flushed, closed) = tokio::join!(flush_until_woken(accepted), client.shutdown());
        assert!(flushed.is_ok() && closed.is_ok());
    }
}
