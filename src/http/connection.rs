//! One connection, from when it is accepted to its end.

use super::answer::Unread;
use super::closing::{Lingering, closed};
use super::dispatch;
use super::fast_path::{self, End};
use super::gateway::Gateway;
use super::head::HEAD_TIMEOUT;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// Of a body that is refused for its size, so many times the limit is still read, and at least so
/// many bytes: its client gets the answer.
const DISCARD_BODIES: u64 = 4;
const DISCARD_BYTES: u64 = 16 << 20;

pub(super) async fn serve(
    mut stream: TcpStream,
    gateway: Arc<Gateway>,
    mut closing: watch::Receiver<bool>,
    _connection: mpsc::Sender<Infallible>,
) {
    // Answers are small and whole: nothing to wait for.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match fast_path::serve(&gateway, &mut stream, &mut closing).await {
        End::Closed => {}
        // On the heap: connections that are idle keep no room for it.
        End::HandedOver(again) => {
            Box::pin(serve_with_hyper(stream, again, &gateway, &mut closing)).await
        }
    }
}

/// Serves a connection of which `again` was read already, to its end.
async fn serve_with_hyper(
    stream: TcpStream,
    again: Bytes,
    gateway: &Gateway,
    closing: &mut watch::Receiver<bool>,
) {
    let is_unread = AtomicBool::new(false);
    let service = service_fn(|request| {
        let is_unread = &is_unread;
        async move {
            let response = dispatch::answer(gateway, request).await;
            if response.extensions().get::<Unread>().is_some() {
                // Relaxed: of this task alone.
                is_unread.store(true, Relaxed);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let discard_bytes_max = gateway
        .options
        .body_bytes_max
        .saturating_mul(DISCARD_BODIES)
        .max(DISCARD_BYTES);
    let stream = Lingering::new(stream, again, &is_unread, discard_bytes_max);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that has sent its request whole may close its side, as `nc -N` does, and is
        // answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let closed = closed(closing);
    tokio::pin!(closed);
    let mut is_registered = false;
    let result = std::future::poll_fn(|context| {
        // First: what has arrived is read before the connection may count as idle.
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        // Once it was polled it wakes this task, and draining begins before that: no need to poll
        // it with every request.
        if std::mem::replace(&mut is_registered, true) && !gateway.is_draining() {
            return Poll::Pending;
        }
        closed.as_mut().poll(context).map(|()| None)
    })
    .await;
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(err = %error, "connection broken");
    }
}
