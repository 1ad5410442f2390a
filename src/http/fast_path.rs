//! Requests that a fleet sends all day, answered without the HTTP library.
//!
//! ```text
//! request = head body            of which this reads what has come whole, and nothing but
//! head    = method SP path SP "HTTP/1.1" CRLF { header CRLF } CRLF
//! method  = "PUT" | "POST" | "DELETE"
//! path    = that of a group, without a query
//! header  = "Host", once | "Content-Length", at most once | "Connection" with "keep-alive" or "close" | any that says nothing
//!           about how the request is framed or wants to be answered
//! body    = as many bytes as announced; none for a DELETE
//! ```
//!
//! A push costs less than what a general server does around it, so a connection is first read here.
//! What is not of this form, not here as a whole after [`PARTIAL_BYTES_MAX`], or not well-formed is
//! handed over to hyper with every byte that was read and not answered, and hyper serves the
//! connection from there to its end. So this part decides nothing about HTTP that hyper could
//! decide otherwise: heads are parsed by the same library, answers are the same bytes
//! (`tests/fast_path.rs` sends each request both ways).
//!
//! A connection between two requests keeps no buffer: what is read lies in one that the thread's
//! connections share.

use super::answer::Answer;
use super::closing::closed;
use super::date::with_date_line;
use super::gateway::Gateway;
use super::head::HEAD_TIMEOUT;
use super::push::{self, BodyFormat, Reply, count_push};
use super::request_start::{PARTIAL_BYTES_MAX, Received, Request};
use super::route::Route;
use crate::store::PushMode;
use crate::telemetry::{Handler, Method};
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

/// Bytes that are read at a time: after that it is the turn of other connections.
const BUFFER_BYTES: usize = 32 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER_BYTES].into());
}

/// What becomes of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It is closed.
    Closed,
    /// It goes on with these bytes, which were read and not answered.
    HandedOver(Bytes),
}

/// Serves a connection as long as its requests are of the usual form. Ends also if the process is
/// to (`closing`) and nothing is being answered.
pub(super) async fn serve(
    gateway: &Gateway,
    stream: &mut TcpStream,
    closing: &mut watch::Receiver<bool>,
) -> End {
    let mut connection = Connection {
        gateway,
        stream,
        partial: Vec::new(),
        unsent: Vec::new(),
        waiting: None,
        end: None,
        active_at: Instant::now(),
        has_read: false,
    };
    let mut must_close = pin!(closed(closing));
    let mut timer = pin!(tokio::time::sleep(HEAD_TIMEOUT));
    // Both will wake this task.
    let mut are_registered = false;
    poll_fn(|context| {
        // First: what has arrived is read before the connection may count as idle.
        if let Poll::Ready(end) = connection.poll(context) {
            return Poll::Ready(end);
        }
        // No need to look at these two with every request; but a wake-up of theirs may have come
        // together with one. Draining begins before connections are closed.
        let has_read = std::mem::take(&mut connection.has_read);
        if are_registered && has_read && !gateway.is_draining() && !timer.is_elapsed() {
            return Poll::Pending;
        }
        if connection.is_answering() {
            // The socket or the answer wakes the task.
            return Poll::Pending;
        }
        if !tokio::task::coop::has_budget_remaining() {
            // The socket was not asked: there may be something to read.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if must_close.as_mut().poll(context).is_ready() {
            return Poll::Ready(connection.close());
        }
        while timer.as_mut().poll(context).is_ready() {
            let deadline = connection.active_at + HEAD_TIMEOUT;
            if deadline <= Instant::now() {
                return Poll::Ready(connection.give_up());
            }
            timer.as_mut().reset(deadline.into());
        }
        are_registered = true;
        Poll::Pending
    })
    .await
}

struct Connection<'a> {
    gateway: &'a Gateway,
    stream: &'a mut TcpStream,
    /// The beginning of a request.
    partial: Vec<u8>,
    /// Answers that the socket had no room for.
    unsent: Vec<u8>,
    waiting: Option<Waiting<'a>>,
    /// How it ends when all answers are sent.
    end: Option<End>,
    /// When the last request was answered or the next one began.
    active_at: Instant,
    /// Something was read since this was last looked at.
    has_read: bool,
}

/// A request that waits for another push.
struct Waiting<'a> {
    request: Counted,
    is_last: bool,
    answer: Pin<Box<dyn Future<Output = Answer> + Send + 'a>>,
}

/// What is counted of a request.
#[derive(Clone, Copy)]
struct Counted {
    method: Method,
    size: u64,
    began: Instant,
}

impl Connection<'_> {
    /// Nothing more is to be done until the socket or the answer that is waited for wakes the task,
    /// or how the connection ends.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        loop {
            while !self.unsent.is_empty() {
                match ready!(Pin::new(&mut *self.stream).poll_write(context, &self.unsent)) {
                    Ok(n) if n == self.unsent.len() => {
                        // A client that was slow once: its connection keeps no room for that.
                        self.unsent = Vec::new();
                        self.active_at = Instant::now();
                    }
                    Ok(n) if n > 0 => drop(self.unsent.drain(..n)),
                    Ok(_) | Err(_) => return Poll::Ready(End::Closed),
                }
            }
            if let Some(waiting) = &mut self.waiting {
                let answer = ready!(waiting.answer.as_mut().poll(context));
                let (request, is_last) = (waiting.request, waiting.is_last);
                self.waiting = None;
                self.active_at = self.count(request, &answer);
                let mut out = SmallVec::new();
                write_answer(&answer, is_last, self.active_at, &mut out);
                self.send(&out);
                continue;
            }
            if let Some(end) = self.end.take() {
                return Poll::Ready(end);
            }
            if ready!(self.poll_read(context)) {
                // A client that sends without pause: others are next.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    /// Reads once and answers what that brings; true if there is more to read than that, and
    /// nothing to be sent or waited for first.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        BUFFER.with_borrow_mut(|buffer| {
            let n_before = self.partial.len();
            buffer[..n_before].copy_from_slice(&self.partial);
            let mut read = ReadBuf::new(buffer);
            read.set_filled(n_before);
            let result = ready!(Pin::new(&mut *self.stream).poll_read(context, &mut read));
            self.has_read = true;
            if result.is_err() {
                self.end = Some(End::Closed);
            } else if read.filled().len() == n_before {
                // The client sends no more. What hyper says of half a request is for hyper to say.
                self.end = Some(self.give_up());
            } else {
                self.answer_all(read.filled());
            }
            let is_full = read.remaining() == 0;
            Poll::Ready(is_full && !self.is_answering() && self.end.is_none())
        })
    }

    fn answer_all(&mut self, mut bytes: &[u8]) {
        let mut out = SmallVec::new();
        while !bytes.is_empty() && self.waiting.is_none() && self.end.is_none() {
            match Received::of(bytes) {
                // While the process ends, answers say that they are the last.
                Received::Whole(request)
                    if !self.gateway.is_draining()
                        && self.answer(&request, bytes.len(), &mut out) =>
                {
                    bytes = &bytes[request.len..];
                }
                Received::Partial if bytes.len() <= PARTIAL_BYTES_MAX => break,
                Received::Whole(_) | Received::Partial | Received::Other => {
                    self.end = Some(End::HandedOver(Bytes::copy_from_slice(bytes)));
                    bytes = &[];
                }
            }
        }
        if self.waiting.is_some() && !bytes.is_empty() {
            // Rare enough: what was sent behind it is not looked at here.
            self.end = Some(End::HandedOver(Bytes::copy_from_slice(bytes)));
            bytes = &[];
        }
        if self.partial.is_empty() && !bytes.is_empty() {
            self.active_at = Instant::now();
        }
        self.partial.clear();
        self.partial.extend_from_slice(bytes);
        if self.partial.is_empty() && self.partial.capacity() > 0 {
            self.partial = Vec::new();
        }
        self.send(&out);
    }

    /// Answers a request of which `n_there` bytes begin; false if it is none for here.
    fn answer(&mut self, request: &Request<'_>, n_there: usize, out: &mut Answers) -> bool {
        let gateway = self.gateway;
        if request.body.len() as u64 > gateway.options.body_bytes_max
            || (request.is_last && n_there > request.len)
        {
            return false;
        }
        let began = Instant::now();
        let (method, reply) = match gateway
            .options
            .routes
            .find(request.method, request.path, None)
        {
            Ok(Route::Push(path)) => {
                let format =
                    BodyFormat::new(request.content_type, request.content_encoding, gateway);
                if format.is_large(request.body.len()) {
                    return false;
                }
                let (method, mode) = if request.method == "PUT" {
                    (Method::Put, PushMode::Replace)
                } else {
                    (Method::Post, PushMode::Merge)
                };
                (
                    method,
                    push::push_whole(gateway, mode, &path, &format, request.body),
                )
            }
            // The reference looks at whatever says that it is compressed.
            Ok(Route::Delete(path))
                if request.body.is_empty() && request.content_encoding.is_none() =>
            {
                (Method::Delete, push::delete_whole(gateway, &path))
            }
            _ => return false,
        };
        let counted = Counted {
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
                self.waiting = Some(Waiting {
                    request: counted,
                    is_last: request.is_last,
                    answer,
                })
            }
        }
        if request.is_last {
            self.end = Some(End::Closed);
        }
        true
    }

    /// Counts an answer; returns when it was.
    fn count(&self, request: Counted, answer: &Answer) -> Instant {
        if request.method != Method::Delete {
            return count_push(
                self.gateway,
                request.method,
                answer,
                request.size,
                request.began,
            );
        }
        self.gateway
            .telemetry
            .requests
            .count(Handler::Delete, request.method, answer.status);
        Instant::now()
    }

    fn send(&mut self, answers: &[u8]) {
        if answers.is_empty() {
            return;
        }
        debug_assert!(self.unsent.is_empty(), "answers overtake each other");
        let n_sent = match self.stream.try_write(answers) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => {
                self.end = Some(End::Closed);
                return;
            }
        };
        self.unsent.extend_from_slice(&answers[n_sent..]);
    }

    fn is_answering(&self) -> bool {
        self.waiting.is_some() || !self.unsent.is_empty()
    }

    /// Ends it because the process ends: of what has begun only what has its head is waited for, as
    /// by hyper.
    fn close(&mut self) -> End {
        if memchr::memmem::find(&self.partial, b"\r\n\r\n").is_some() {
            self.give_up()
        } else {
            End::Closed
        }
    }

    /// Ends it where it is.
    fn give_up(&mut self) -> End {
        if self.partial.is_empty() {
            End::Closed
        } else {
            End::HandedOver(std::mem::take(&mut self.partial).into())
        }
    }
}

/// Room for the answers to a few requests.
type Answers = SmallVec<[u8; 256]>;

fn write_answer(answer: &Answer, is_last: bool, now: Instant, out: &mut Answers) {
    if answer.status == 200 && answer.is_bare() && !is_last {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n");
    } else {
        answer.write_head(is_last, out);
    }
    with_date_line(now, |line| out.extend_from_slice(line));
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(answer.body.as_bytes());
}
