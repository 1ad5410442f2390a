//! One connection, from the moment it is accepted to its end.

use super::answer::{Answer, Unread};
use super::closing::{ConnectionState, LingeringStream, closed, until_silent};
use super::date;
use super::dispatch;
use super::fast_path::{self, ConnectionEnd};
use super::front_end::FrontEnd;
use super::head::HEAD_TIMEOUT;
use crate::gateway::catch::{Panicked, catch_in};
use crate::telemetry::Endpoint;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// After a request that was refused before it was read to its end, at most this many times the
/// largest allowed body is read and thrown away, so that the client gets to see the answer.
const DISCARDED_BODIES_MAX: u64 = 4;
/// At least this many bytes may be thrown away, however small the limit on bodies is.
const DISCARDED_BYTES_MIN: u64 = 16 << 20;

/// Serves the connection of `client` until it ends, or until it is idle and `closing` says that connections are
/// to be closed. Holds `_connection` as long as that takes.
pub(super) async fn serve(
    mut stream: TcpStream,
    client: Endpoint,
    front_end: Arc<FrontEnd>,
    mut closing: watch::Receiver<bool>,
    _connection: mpsc::Sender<Infallible>,
) {
    match fast_path::serve(&front_end, &client, &mut stream, &mut closing).await {
        ConnectionEnd::Closed => {}
        // On the heap: idle connections on the fast path keep no room for this future.
        ConnectionEnd::HandedOver(unanswered) => {
            Box::pin(serve_with_hyper(
                stream,
                unanswered,
                &client,
                &front_end,
                &mut closing,
            ))
            .await
        }
    }
}

/// Serves a connection with hyper until it ends. `unanswered` was read from it before.
async fn serve_with_hyper(
    stream: TcpStream,
    unanswered: Bytes,
    client: &Endpoint,
    front_end: &FrontEnd,
    closing: &mut watch::Receiver<bool>,
) {
    let state = ConnectionState::default();
    let service = service_fn(|request| {
        let state = &state;
        async move {
            let answered = catch_in(dispatch::answer(front_end, client, request)).await;
            let response = answered.unwrap_or_else(|Panicked| {
                front_end.gateway.telemetry.count_panic();
                // What the request has not read of its body is unknown.
                Answer::panicked().unread().into_response()
            });
            if response.extensions().get::<Unread>().is_some() {
                state.note_unread();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let discarded_bytes_max = front_end
        .body_bytes_max()
        .saturating_mul(DISCARDED_BODIES_MAX)
        .max(DISCARDED_BYTES_MIN);
    let stream = LingeringStream::new(stream, unanswered, &state, discarded_bytes_max);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper panics over a date that cannot be written.
        .auto_date_header(date::is_writable(SystemTime::now()))
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that has sent its whole request may close its side, as `nc -N` does, and is
        // still answered.
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
        // `closed` wakes this task once it was polled. Draining begins before connections are
        // closed, so until then there is no need to poll it again with every request.
        if std::mem::replace(&mut is_registered, true) && !front_end.is_draining() {
            return Poll::Pending;
        }
        closed.as_mut().poll(context).map(|()| None)
    })
    .await;
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            match until_silent(connection, &state).await {
                Some(result) => result,
                None => {
                    return tracing::debug!(
                        "connection broken: the client was silent for too long"
                    );
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(err = %error, "connection broken");
    }
}
