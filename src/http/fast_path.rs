//! Pushes and deletes of the usual form, answered without the HTTP library.
//!
//! A general HTTP server spends more CPU on a request than the gateway spends on a push. So every
//! connection is first read here, and requests of the usual form ([`RequestStart`]) are parsed and
//! answered in place. At any other request the connection is handed over to hyper, with all bytes
//! that were read and not answered, and hyper serves it to its end. Such requests are mainly:
//!
//! - those that are malformed or not of the usual form;
//! - those that have not arrived completely after [`PARTIAL_BYTES_MAX`] bytes;
//! - pushes whose body is large (`BodyType::is_large`) or above the limit;
//! - all requests while the process is about to end, restores its groups or cannot write them to disk.
//!
//! The fast path answers exactly as hyper would: heads are parsed by the same library, and answers
//! are the same bytes (`tests/fast_path.rs` sends each request both ways).
//!
//! A connection between two requests keeps no buffer: all connections of a thread read into one.

use super::answer::Answer;
use super::closing::until_closing;
use super::date::with_date_line;
use super::front_end::FrontEnd;
use super::negotiation;
use super::push::{self, Reply};
use super::push_request::PushRequest;
use super::request_start::{PARTIAL_BYTES_MAX, RequestStart, WholeRequest};
use super::route::Route;
use crate::gateway::PushMode;
use crate::gateway::catch::{Panicked, catch};
use crate::telemetry::{Endpoint, Handler, Method};
use bytes::Bytes;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How many bytes of one connection are read before other connections of this worker have their
/// turn.
const BUFFER_BYTES: usize = 32 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// How the fast path leaves a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ConnectionEnd {
    /// The connection is to be closed.
    Closed,
    /// The connection is to be closed, but the client may still be sending its last request.
    ClosedUnread,
    /// hyper serves the connection from here on.
    HandedOver {
        /// What was read and not answered.
        unanswered: Bytes,
        /// By when the rest of the head has to arrive that `unanswered` is the beginning of, if
        /// that began to arrive some time ago.
        head_deadline: Option<Instant>,
    },
}

/// Serves a connection as long as its requests are of the usual form. Ends also when `closing` says
/// that connections are to be closed and no request is being answered.
pub(super) async fn serve(
    front_end: &FrontEnd,
    client: &Endpoint,
    stream: &mut TcpStream,
    closing: &mut watch::Receiver<bool>,
) -> ConnectionEnd {
    let mut connection = FastConnection {
        front_end,
        client,
        stream,
        partial: Vec::new(),
        unsent: Vec::new(),
        waiting: None,
        end: None,
        active_at: Instant::now(),
        has_read_in_this_poll: false,
    };
    let mut must_close = pin!(until_closing(closing));
    let mut timer = pin!(tokio::time::sleep(front_end.head_timeout));
    // Whether `must_close` and `timer` were polled, so that they wake this task.
    let mut are_wakers_registered = false;
    poll_fn(|context| {
        // First: what has arrived is read before the connection may count as idle.
        if let Poll::Ready(end) = connection.poll(context) {
            return Poll::Ready(end);
        }
        // `must_close` and `timer` keep the waker of their last poll, so they are not polled after
        // every request, but only if one of them may be ready: if nothing was read, or while
        // draining (which begins before connections are closed), or if the timer has elapsed.
        let has_read = std::mem::take(&mut connection.has_read_in_this_poll);
        if are_wakers_registered && has_read && !front_end.is_draining() && !timer.is_elapsed() {
            return Poll::Pending;
        }
        if connection.is_answering() {
            // The socket or the answer wakes the task.
            return Poll::Pending;
        }
        if !tokio::task::coop::has_budget_remaining() {
            // The task has used up its turn, so the socket may not have been read: try again in the
            // next turn, before the connection counts as idle.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if must_close.as_mut().poll(context).is_ready() {
            return Poll::Ready(connection.close_or_leave_body_to_hyper());
        }
        while timer.as_mut().poll(context).is_ready() {
            let deadline = connection.head_deadline();
            if deadline <= Instant::now() {
                return Poll::Ready(connection.close_or_leave_body_to_hyper());
            }
            timer.as_mut().reset(deadline.into());
        }
        are_wakers_registered = true;
        Poll::Pending
    })
    .await
}

struct FastConnection<'a> {
    front_end: &'a FrontEnd,
    client: &'a Endpoint,
    stream: &'a mut TcpStream,
    /// The beginning of a request that has not arrived completely.
    partial: Vec<u8>,
    /// Answers that the socket had no room for.
    unsent: Vec<u8>,
    /// The request that waits for another push, if there is one.
    waiting: Option<WaitingRequest<'a>>,
    /// How the connection ends once all answers are sent.
    end: Option<ConnectionEnd>,
    /// When the last request was answered or the next one began.
    active_at: Instant,
    /// The socket was read during the current poll of `serve`.
    has_read_in_this_poll: bool,
}

/// A request that waits for another push.
struct WaitingRequest<'a> {
    request: CountedRequest,
    is_last: bool,
    answer: Pin<Box<dyn Future<Output = Answer> + Send + 'a>>,
}

/// What telemetry counts of a request.
#[derive(Clone, Copy)]
struct CountedRequest {
    method: Method,
    /// In bytes, as the reference counts them.
    size: u64,
    began: Instant,
}

impl FastConnection<'_> {
    /// Reads, answers and sends as far as that is possible now. Ready when the connection ends on
    /// the fast path; pending when the socket or the waiting request will wake the task.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ConnectionEnd> {
        loop {
            while !self.unsent.is_empty() {
                match ready!(Pin::new(&mut *self.stream).poll_write(context, &self.unsent)) {
                    Ok(n) if n == self.unsent.len() => {
                        // Frees the memory: a client that was slow once may never be slow again.
                        self.unsent = Vec::new();
                        self.active_at = Instant::now();
                    }
                    Ok(n) if n > 0 => drop(self.unsent.drain(..n)),
                    Ok(_) | Err(_) => return Poll::Ready(ConnectionEnd::Closed),
                }
            }
            if let Some(waiting) = &mut self.waiting {
                let mut out = SmallVec::new();
                match catch(|| waiting.answer.as_mut().poll(context)) {
                    Ok(answer) => {
                        let answer = ready!(answer);
                        let (request, is_last) = (waiting.request, waiting.is_last);
                        self.waiting = None;
                        self.active_at = self.count(request, &answer);
                        write_answer(&answer, is_last, self.active_at, &mut out);
                    }
                    Err(Panicked) => self.answer_panic(&mut out),
                }
                self.send(&out);
                continue;
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end);
            }
            if ready!(self.poll_read(context)) {
                // The client sends without pause: other connections have their turn first.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Reads once and answers what has arrived. Returns whether there may be more to read at once:
    /// the buffer was filled, and nothing has to be sent or waited for first.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        BUFFER.with_borrow_mut(|buffer| {
            let n_before = self.partial.len();
            buffer[..n_before].copy_from_slice(&self.partial);
            let mut read = ReadBuf::new(buffer);
            read.set_filled(n_before);
            let result = ready!(Pin::new(&mut *self.stream).poll_read(context, &mut read));
            self.has_read_in_this_poll = true;
            if result.is_err() {
                self.end = Some(ConnectionEnd::Closed);
            } else if read.filled().len() == n_before {
                // The client sends no more. An incomplete request is left to hyper.
                self.end = Some(self.hand_over_or_close());
            } else {
                self.answer_all(read.filled());
            }
            let is_full = read.remaining() == 0;
            Poll::Ready(is_full && !self.is_answering() && self.end.is_none())
        })
    }

    /// Answers the requests of `bytes` one after the other, and keeps the beginning of the next
    /// one.
    fn answer_all(&mut self, bytes: &[u8]) {
        let mut out = SmallVec::new();
        // Here and not in `answer`, because one call for all requests of a read costs less.
        if catch(|| self.answer_each(bytes, &mut out)).is_err() {
            self.answer_panic(&mut out);
        }
        self.send(&out);
    }

    /// Answers a request that has panicked. The connection ends, because its state is unknown.
    fn answer_panic(&mut self, out: &mut AnswerBytes) {
        self.front_end.gateway.telemetry.count_panic();
        self.waiting = None;
        self.partial = Vec::new();
        self.active_at = Instant::now();
        // The client may still be sending the next request, and must get this answer.
        self.end = Some(ConnectionEnd::ClosedUnread);
        write_answer(&Answer::panicked(), true, self.active_at, out);
    }

    /// Writes the answers of [`answer_all`](Self::answer_all) to `out`.
    fn answer_each(&mut self, mut bytes: &[u8], out: &mut AnswerBytes) {
        while !bytes.is_empty() && self.waiting.is_none() && self.end.is_none() {
            match RequestStart::parse(bytes) {
                RequestStart::Whole(request)
                    if self.front_end.gateway.service.is_usual()
                        && self.answer(&request, bytes.len(), out) =>
                {
                    bytes = &bytes[request.len..];
                }
                RequestStart::Partial if bytes.len() <= PARTIAL_BYTES_MAX => break,
                RequestStart::Whole(_) | RequestStart::Partial | RequestStart::Other => {
                    self.hand_over(&mut bytes);
                }
            }
        }
        if self.waiting.is_some() && !bytes.is_empty() {
            // It is rare that a push has to wait, and rare that a client sends its next request
            // before it has an answer. If both happen, hyper serves the rest.
            self.hand_over(&mut bytes);
        }
        if self.partial.is_empty() && !bytes.is_empty() {
            self.active_at = Instant::now();
        }
        self.partial.clear();
        self.partial.extend_from_slice(bytes);
        if self.partial.is_empty() && self.partial.capacity() > 0 {
            self.partial = Vec::new();
        }
    }

    /// Hands the connection over to hyper, with all of `bytes`, once all answers are sent.
    fn hand_over(&mut self, bytes: &mut &[u8]) {
        let is_late = !self.partial.is_empty() && !has_whole_head(bytes);
        self.end = Some(ConnectionEnd::HandedOver {
            unanswered: Bytes::copy_from_slice(bytes),
            head_deadline: is_late.then(|| self.head_deadline()),
        });
        *bytes = &[];
    }

    /// When the client must have sent the head of the next request.
    fn head_deadline(&self) -> Instant {
        self.active_at + self.front_end.head_timeout
    }

    /// Answers a request, the first one in the `n_arrived` bytes that have arrived. Returns false,
    /// and does nothing, if the request is left to hyper.
    fn answer(
        &mut self,
        request: &WholeRequest<'_>,
        n_arrived: usize,
        out: &mut AnswerBytes,
    ) -> bool {
        let front_end = self.front_end;
        if request.body.len() as u64 > front_end.body_bytes_max()
            || (request.is_last && n_arrived > request.len)
        {
            return false;
        }
        let began = Instant::now();
        let routes = &front_end.options.routes;
        let (method, reply) = match routes.find(request.method, request.path, None) {
            Ok(Route::Push(path)) => {
                let body_type =
                    negotiation::body_type(request.content_type, request.content_encoding);
                if body_type.is_large(request.body.len()) {
                    return false;
                }
                let (method, mode) = if request.method == "PUT" {
                    (Method::Put, PushMode::Replace)
                } else {
                    (Method::Post, PushMode::Merge)
                };
                let push = PushRequest {
                    mode,
                    path: &path,
                    client: self.client,
                };
                let reply = push::push_received(front_end, push, body_type, request.body);
                (method, reply)
            }
            // A delete with a body, or with a `Content-Encoding`, is left to hyper: the reference
            // checks a body that says that it is compressed, even if it does not use it.
            Ok(Route::Delete(path))
                if request.body.is_empty() && request.content_encoding.is_none() =>
            {
                (Method::Delete, push::delete_received(front_end, &path))
            }
            _ => return false,
        };
        let counted = CountedRequest {
            method,
            size: request.size,
            began,
        };
        match reply {
            Reply::Now(answer) => {
                self.active_at = self.count(counted, &answer);
                write_answer(&answer, request.is_last, self.active_at, out);
            }
            Reply::Later(answer) => {
                self.waiting = Some(WaitingRequest {
                    request: counted,
                    is_last: request.is_last,
                    answer,
                })
            }
        }
        if request.is_last {
            self.end = Some(ConnectionEnd::Closed);
        }
        true
    }

    /// Counts an answered request; returns when it was answered.
    fn count(&self, request: CountedRequest, answer: &Answer) -> Instant {
        let CountedRequest {
            method,
            size,
            began,
        } = request;
        if method != Method::Delete {
            return push::count_push(self.front_end, method, answer, size, began);
        }
        let requests = &self.front_end.gateway.telemetry.requests;
        requests.count(Handler::Delete, method, answer.status);
        Instant::now()
    }

    /// Sends answers, and keeps what the socket has no room for.
    fn send(&mut self, answers: &[u8]) {
        if answers.is_empty() {
            return;
        }
        debug_assert!(self.unsent.is_empty(), "answers overtake each other");
        let n_sent = match self.stream.try_write(answers) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.end = Some(ConnectionEnd::Closed);
                return;
            }
        };
        self.unsent.extend_from_slice(&answers[n_sent..]);
    }

    fn is_answering(&self) -> bool {
        self.waiting.is_some() || !self.unsent.is_empty()
    }

    /// Ends the connection because the process closes its connections, or because the client has not
    /// sent a request in time. A request whose head has arrived goes to hyper, which waits for its
    /// body. An incomplete head is dropped, as hyper drops it.
    fn close_or_leave_body_to_hyper(&mut self) -> ConnectionEnd {
        if has_whole_head(&self.partial) {
            self.hand_over_or_close()
        } else {
            ConnectionEnd::Closed
        }
    }

    /// Leaves an incomplete request to hyper, and closes the connection if there is none.
    fn hand_over_or_close(&mut self) -> ConnectionEnd {
        if self.partial.is_empty() {
            ConnectionEnd::Closed
        } else {
            ConnectionEnd::HandedOver {
                unanswered: std::mem::take(&mut self.partial).into(),
                head_deadline: None,
            }
        }
    }
}

fn has_whole_head(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, b"\r\n\r\n").is_some()
}

/// The answers to the requests of one read; usually they need no memory of their own.
type AnswerBytes = SmallVec<[u8; 256]>;

/// Writes an answer as hyper writes it.
fn write_answer(answer: &Answer, is_last: bool, now: Instant, out: &mut AnswerBytes) {
    if answer.status == 200 && answer.is_status_only() && !is_last {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
    } else {
        answer.write_head(is_last, out);
    }
    with_date_line(now, |line| out.extend_from_slice(line));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(answer.body.as_bytes());
}
