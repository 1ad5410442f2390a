//! One connection, from the moment it is accepted to its end.

use super::answer::{Answer, Unread};
use super::closing::{IDLE_TIMEOUT, linger, until_closing};
use super::date;
use super::dispatch;
use super::fast_path::{self, ConnectionEnd};
use super::front_end::FrontEnd;
use super::handed_over_stream::HandedOverStream;
use super::silence::{ConnectionActivity, SILENCE_TIMEOUT, until_silent};
use crate::gateway::catch::{Panicked, catch_in};
use crate::telemetry::Endpoint;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Instant, SystemTime};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

/// After a request that was refused before it was read to its end, at most this many times the
/// largest allowed body is read and thrown away, so that the client gets to see the answer.
const DISCARDED_BODIES_MAX: u64 = 4;
/// At least this many bytes may be thrown away, however small the limit on bodies is.
const DISCARDED_BYTES_MIN: u64 = 16 << 20;

/// How the last request of a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastRequest {
    /// It was read to its end, or the client has given it up.
    Complete,
    /// It was answered and not read to its end. The client may still be sending.
    Unread,
}

/// Serves the connection of `client` until it ends, or until it is idle and `closing` says that connections are
/// to be closed. Holds `_connection` as long as that takes.
pub(super) async fn serve(
    mut stream: TcpStream,
    client: Endpoint,
    front_end: Arc<FrontEnd>,
    mut closing: watch::Receiver<bool>,
    _connection: mpsc::Sender<Infallible>,
) {
    let last_request = match fast_path::serve(&front_end, &client, &mut stream, &mut closing).await
    {
        ConnectionEnd::Closed => LastRequest::Complete,
        ConnectionEnd::ClosedUnread => LastRequest::Unread,
        // On the heap, here and below: idle connections on the fast path keep no room for these
        // futures.
        ConnectionEnd::HandedOver {
            unanswered,
            head_deadline,
        } => {
            Box::pin(serve_with_hyper(
                &mut stream,
                unanswered,
                head_deadline,
                &client,
                &front_end,
                &mut closing,
            ))
            .await
        }
    };
    if last_request == LastRequest::Unread {
        let discard_bytes_max = front_end
            .body_bytes_max()
            .saturating_mul(DISCARDED_BODIES_MAX)
            .max(DISCARDED_BYTES_MIN);
        let idle_timeout = if front_end.is_draining() {
            SILENCE_TIMEOUT
        } else {
            IDLE_TIMEOUT
        };
        Box::pin(linger(stream, discard_bytes_max, idle_timeout)).await;
    }
}

/// Serves a connection with hyper until it is to be closed. `unanswered` was read from it before.
/// If that is the beginning of a head that the client takes too long to send, `head_deadline` says
/// when the rest must have arrived.
pub(super) async fn serve_with_hyper(
    stream: &mut TcpStream,
    unanswered: Bytes,
    head_deadline: Option<Instant>,
    client: &Endpoint,
    front_end: &FrontEnd,
    closing: &mut watch::Receiver<bool>,
) -> LastRequest {
    // Relaxed wherever these two are used: only the task of this connection uses them.
    let is_unread = AtomicBool::new(false);
    let has_read_head = AtomicBool::new(false);
    let service = service_fn(|request| {
        has_read_head.store(true, Relaxed);
        let is_unread = &is_unread;
        async move {
            let answered = catch_in(dispatch::answer(front_end, client, request)).await;
            let response = answered.unwrap_or_else(|Panicked| {
                front_end.gateway.telemetry.count_panic();
                // What the request has not read of its body is unknown.
                Answer::panicked().unread().into_response()
            });
            if response.extensions().get::<Unread>().is_some() {
                is_unread.store(true, Relaxed);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let activity = ConnectionActivity::default();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // hyper panics over a date that cannot be written.
        .auto_date_header(date::is_writable(SystemTime::now()))
        .header_read_timeout(front_end.head_timeout)
        // A client that has sent its whole request may close its side, as `nc -N` does, and is
        // still answered.
        .half_close(true)
        .serve_connection(
            TokioIo::new(HandedOverStream::new(stream, unanswered, &activity)),
            service,
        );
    tokio::pin!(connection);
    let must_close = until_closing(closing);
    tokio::pin!(must_close);
    let mut is_registered = false;
    // hyper's timer begins anew. This one goes on with what the fast path has measured.
    let mut head_timer =
        head_deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into())));
    let result = std::future::poll_fn(|context| {
        // First: what has arrived is read before the connection may count as idle.
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        if let Some(timer) = &mut head_timer {
            if has_read_head.load(Relaxed) {
                head_timer = None;
            } else if timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(Some(Ok(())));
            }
        }
        // `must_close` wakes this task once it was polled. Draining begins before connections are
        // closed, so until then there is no need to poll it again with every request.
        if std::mem::replace(&mut is_registered, true) && !front_end.is_draining() {
            return Poll::Pending;
        }
        must_close.as_mut().poll(context).map(|()| None)
    })
    .await;
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            match until_silent(connection, &activity).await {
                Some(result) => result,
                None => {
                    tracing::debug!("connection broken: the client was silent for too long");
                    return LastRequest::Complete;
                }
            }
        }
    };
    let Err(error) = result else {
        return if is_unread.load(Relaxed) {
            LastRequest::Unread
        } else {
            LastRequest::Complete
        };
    };
    tracing::debug!(err = %error, "connection broken");
    if error.is_parse() {
        // hyper has answered a request that it does not understand.
        LastRequest::Unread
    } else {
        LastRequest::Complete
    }
}
