//! A connection as hyper sees it, after the fast path has read from it.

use super::silence::ConnectionActivity;
use bytes::Bytes;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection from which bytes were read before. Is not shut down by hyper but by
/// [`connection`](super::connection), which knows how.
pub(super) struct HandedOverStream<'a> {
    stream: &'a mut TcpStream,
    /// Bytes that were read from the stream before, and are read again first.
    unanswered: Bytes,
    activity: &'a ConnectionActivity,
}

impl<'a> HandedOverStream<'a> {
    /// Wraps a stream from which `unanswered` was read before. Notes in `activity` what moves.
    pub fn new(
        stream: &'a mut TcpStream,
        unanswered: Bytes,
        activity: &'a ConnectionActivity,
    ) -> Self {
        Self {
            stream,
            unanswered,
            activity,
        }
    }
}

impl AsyncRead for HandedOverStream<'_> {
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
        let read = Pin::new(&mut *self.stream).poll_read(cx, buf);
        self.activity.note_read(&read);
        read
    }
}

impl AsyncWrite for HandedOverStream<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.activity.note_write();
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.note_write();
        Pin::new(&mut *self.stream).poll_write_vectored(cx, bytes)
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
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::time::Duration;
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
    async fn flush_until_woken(mut accepted: TcpStream) -> io::Result<()> {
        let activity = ConnectionActivity::default();
        let mut stream = HandedOverStream::new(&mut accepted, Bytes::new(), &activity);
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
