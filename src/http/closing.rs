//! The end of a connection whose last request was not read whole.
//!
//! A socket that is closed while there is something left to read is reset, and a reset takes the
//! answer away from a client that still sends: many send a whole body before they look for an
//! answer. So the sending side is closed first, and what comes is read and thrown away until the
//! client closes its side, too; within bounds.

use bytes::Bytes;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long nothing may come.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long it may take in all.
const TIME_MAX: Duration = Duration::from_secs(30);
/// Bytes that are read at a time.
const READ_BYTES: usize = 32 << 10;

/// Completes when connections are to be closed, also if that was so before.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    while !*closing.borrow_and_update() {
        if closing.changed().await.is_err() {
            return;
        }
    }
}

/// A connection that ends politely.
pub(super) struct Lingering<'a> {
    stream: TcpStream,
    /// What was read before, and is to be read again.
    again: Bytes,
    /// The last request was not read whole.
    is_unread: &'a AtomicBool,
    /// How much is thrown away at most.
    bytes_left: u64,
    /// Since the sending side was closed.
    wait: Option<Wait>,
}

struct Wait {
    end: Instant,
    timer: Pin<Box<Sleep>>,
}

impl<'a> Lingering<'a> {
    /// Ends `stream` politely, of which `again` was read already.
    pub fn new(
        stream: TcpStream,
        again: Bytes,
        is_unread: &'a AtomicBool,
        discard_bytes_max: u64,
    ) -> Self {
        Self {
            stream,
            again,
            is_unread,
            bytes_left: discard_bytes_max,
            wait: None,
        }
    }
}

impl AsyncRead for Lingering<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.again.is_empty() {
            let n = self.again.len().min(buf.remaining());
            buf.put_slice(&self.again.split_to(n));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Lingering<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Relaxed: set and read by the connection's task.
        if !this.is_unread.load(Relaxed) {
            return Pin::new(&mut this.stream).poll_shutdown(cx);
        }
        let wait = match &mut this.wait {
            Some(wait) => wait,
            none => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                let now = Instant::now();
                none.insert(Wait {
                    end: now + TIME_MAX,
                    timer: Box::pin(sleep_until(now + IDLE_MAX)),
                })
            }
        };
        let mut scratch = [MaybeUninit::uninit(); READ_BYTES];
        loop {
            let mut read = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut this.stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() && this.bytes_left > 0 => {
                    this.bytes_left = this.bytes_left.saturating_sub(read.filled().len() as u64);
                    wait.timer
                        .as_mut()
                        .reset(wait.end.min(Instant::now() + IDLE_MAX));
                }
                // The client has closed or gone away, or sends for ever.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return wait.timer.as_mut().poll(cx).map(Ok),
            }
        }
    }
}
