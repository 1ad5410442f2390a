//! The event loop of one generator thread: sends the requests of many connections when they are
//! due, and reads the answers, all with epoll.
//!
//! Invariant: a connection has at most one request in flight, and the [`RequestSource`] hears
//! exactly once how each request ended: by `on_answer` or by `on_failure`.
//!
//! Cost: a request costs one `send`, one `recv` and its share of an `epoll_wait`, which reports all
//! answers that have arrived. The clock is read once per answer: the moment at which an answer is
//! read ends one request and starts the next.

use crate::answer::AnswerError;
use crate::push_connection::PushConnection;
use rustix::event::epoll::{self, EventFlags};
use rustix::time::Timespec;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How often the loop looks for requests that have had no answer for too long.
const TIMEOUT_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long a connection waits after a failure before its next request, so that a server that is
/// not there is not asked in a busy loop.
const RETRY_DELAY: Duration = Duration::from_millis(1);
/// Number of events that one `epoll_wait` returns at most.
const EVENTS_MAX: usize = 256;
/// Bytes that one `recv` reads at most.
const BUFFER_BYTES: usize = 64 << 10;

/// What a connection without a request in flight does next.
pub enum NextStep<'a> {
    /// Sends this request now.
    Send(&'a [u8]),
    /// Waits, and asks for its next step again at this time.
    WaitUntil(Instant),
    /// Sends no more requests.
    Finished,
}

/// Decides what connections send and when, and hears how their requests ended. Connections are
/// numbered from 0.
pub trait RequestSource {
    /// Says what a connection that has no request in flight does next.
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_>;
    /// The connection's request was answered with `status`; the answer was read at `now`.
    fn on_answer(&mut self, connection: usize, status: u16, now: Instant);
    /// The connection's request got no valid answer; `why` names the kind of failure.
    fn on_failure(&mut self, connection: usize, why: String);
}

struct EventLoop<S> {
    epoll: OwnedFd,
    address: SocketAddr,
    keep_alive: bool,
    answer_timeout: Duration,
    connections: Vec<PushConnection>,
    source: S,
    /// Connections that wait, by the time at which they ask for their next step; earliest first.
    waiting: BinaryHeap<Reverse<(Instant, usize)>>,
    n_in_flight: usize,
}

/// Runs `n_connections` connections to `address` until all of them have finished, and returns the
/// source. Connections are opened when they have something to send, and without `keep_alive` closed
/// after every answer. A request that has no answer after `answer_timeout` has failed.
///
/// # Panics
///
/// If the kernel offers no epoll.
pub fn run<S: RequestSource>(
    address: SocketAddr,
    keep_alive: bool,
    answer_timeout: Duration,
    n_connections: usize,
    source: S,
) -> S {
    // Sets the timer slack to 1 µs. By default, Linux ends sleeps up to 50 µs late. If this fails,
    // the lateness in the report shows it.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1000));
    let mut this = EventLoop {
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC).expect("the kernel offers epoll"),
        address,
        keep_alive,
        answer_timeout,
        connections: (0..n_connections)
            .map(|_| PushConnection::default())
            .collect(),
        source,
        waiting: BinaryHeap::new(),
        n_in_flight: 0,
    };
    (0..n_connections).for_each(|n| this.take_next_step(n, Instant::now()));
    this.run_to_end();
    this.source
}

impl<S: RequestSource> EventLoop<S> {
    fn run_to_end(&mut self) {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let mut next_timeout_check = Instant::now() + TIMEOUT_CHECK_INTERVAL;
        while self.n_in_flight > 0 || !self.waiting.is_empty() {
            let timeout = if self.waiting.is_empty() {
                TIMEOUT_CHECK_INTERVAL
            } else {
                self.send_due_requests().min(TIMEOUT_CHECK_INTERVAL)
            };
            events.clear();
            let timeout = Timespec::try_from(timeout).expect("at most a second");
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("epoll: {error}"),
            }
            for &epoll::Event { flags, data } in &events {
                let n = usize::try_from(data.u64()).expect("the number of a connection");
                if flags.contains(EventFlags::OUT) {
                    self.send_rest(n);
                }
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                    self.receive(n, &mut buffer);
                }
            }
            // Once per sleep or batch of answers, not once per answer.
            let now = Instant::now();
            if now >= next_timeout_check {
                next_timeout_check = now + TIMEOUT_CHECK_INTERVAL;
                self.fail_overdue_requests(now);
            }
        }
    }

    /// Sends all requests that are due. Returns the time until the next one is due.
    fn send_due_requests(&mut self) -> Duration {
        let mut now = Instant::now();
        while let Some(&Reverse((due, n))) = self.waiting.peek() {
            if due > now {
                return due - now;
            }
            self.waiting.pop();
            self.take_next_step(n, now);
            now = Instant::now();
        }
        TIMEOUT_CHECK_INTERVAL
    }

    /// Asks the source what connection `n`, which has no request in flight, does next, and does it.
    fn take_next_step(&mut self, n: usize, now: Instant) {
        let connection = &mut self.connections[n];
        match self.source.next_step(n, now) {
            NextStep::Finished => {}
            NextStep::WaitUntil(due) => self.waiting.push(Reverse((due, n))),
            NextStep::Send(request) => match connection.send(&self.epoll, n, self.address, request)
            {
                Ok(()) => {
                    connection.sent_at = Some(now);
                    self.n_in_flight += 1;
                }
                Err(error) => {
                    connection.close();
                    self.source.on_failure(n, error.kind().to_string());
                    // Other connections are served before this one tries again.
                    self.waiting.push(Reverse((now + RETRY_DELAY, n)));
                }
            },
        }
    }

    /// Sends more of the request in flight on connection `n`.
    fn send_rest(&mut self, n: usize) {
        let connection = &mut self.connections[n];
        if let Err(error) = connection.send_rest(&self.epoll, n) {
            self.fail_request(n, error.kind().to_string());
        }
    }

    /// Reads what has arrived on connection `n`. If that completes an answer, reports it and takes
    /// the next step.
    fn receive(&mut self, n: usize, buffer: &mut [u8]) {
        let connection = &mut self.connections[n];
        // The connection was closed after epoll had reported the event.
        let Some(stream) = &mut connection.stream else {
            return;
        };
        let read = stream.read(buffer);
        let now = Instant::now();
        let answer = match read {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return;
            }
            Err(error) => Err(error.kind().to_string()),
            // A server may close a connection that has no request in flight.
            Ok(0) if connection.sent_at.is_none() => return connection.close(),
            Ok(0) => connection
                .reader
                .on_close()
                .map_err(|broken| broken.to_string()),
            Ok(_) if connection.sent_at.is_none() => Err(AnswerError::Excess.to_string()),
            Ok(len) => match connection.reader.read(&buffer[..len], |_| ()) {
                Ok(None) => return,
                Ok(Some(answer)) => Ok(answer),
                Err(broken) => Err(broken.to_string()),
            },
        };
        match answer {
            Ok(answer) => {
                // If the answer came before the request was sent completely, the server does not
                // want the rest, and the connection cannot be used any more.
                if answer.closes || !self.keep_alive || !connection.unsent.is_empty() {
                    connection.close();
                }
                connection.sent_at = None;
                self.n_in_flight -= 1;
                self.source.on_answer(n, answer.status, now);
                self.take_next_step(n, now);
            }
            Err(why) => self.fail_request(n, why),
        }
    }

    /// Closes connection `n` and reports its request in flight, if any, as failed.
    fn fail_request(&mut self, n: usize, why: String) {
        let connection = &mut self.connections[n];
        connection.close();
        self.source.on_failure(n, why);
        if connection.sent_at.take().is_some() {
            self.n_in_flight -= 1;
            self.waiting
                .push(Reverse((Instant::now() + RETRY_DELAY, n)));
        }
    }

    /// Fails all requests that have been in flight for longer than the timeout.
    fn fail_overdue_requests(&mut self, now: Instant) {
        for n in 0..self.connections.len() {
            if self.connections[n]
                .sent_at
                .is_some_and(|sent_at| now.saturating_duration_since(sent_at) > self.answer_timeout)
            {
                self.fail_request(n, io::ErrorKind::TimedOut.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketType};
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    /// Sends the same request `left[n]` times over connection `n`, with `gap` between due times.
    struct RepeatedRequest {
        request: Vec<u8>,
        left: Vec<u32>,
        gap: Duration,
        due: Vec<Instant>,
        statuses: BTreeMap<u16, u32>,
        failures: BTreeMap<String, u32>,
    }

    impl RequestSource for RepeatedRequest {
        fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
            if self.left[connection] == 0 {
                return NextStep::Finished;
            }
            if self.due[connection] > now {
                return NextStep::WaitUntil(self.due[connection]);
            }
            self.due[connection] += self.gap;
            self.left[connection] -= 1;
            NextStep::Send(&self.request)
        }

        fn on_answer(&mut self, _connection: usize, status: u16, _now: Instant) {
            *self.statuses.entry(status).or_default() += 1;
        }

        fn on_failure(&mut self, _connection: usize, why: String) {
            *self.failures.entry(why).or_default() += 1;
        }
    }

    fn run_repeated(
        address: SocketAddr,
        keep_alive: bool,
        request: Vec<u8>,
        n_connections: usize,
        n: u32,
        gap: Duration,
    ) -> RepeatedRequest {
        let source = RepeatedRequest {
            request,
            left: vec![n; n_connections],
            gap,
            due: vec![Instant::now(); n_connections],
            statuses: BTreeMap::new(),
            failures: BTreeMap::new(),
        };
        let timeout = Duration::from_secs(30);
        run(address, keep_alive, timeout, n_connections, source)
    }

    fn request(body_len: usize) -> Vec<u8> {
        let mut request =
            format!("PUT / HTTP/1.1\r\nContent-Length: {body_len}\r\n\r\n").into_bytes();
        request.resize(request.len() + body_len, b'x');
        request
    }

    /// Starts a server that reads requests of `request_len` bytes. For each request it calls
    /// `answer` with the number of the request over all connections, sends the pieces that `answer`
    /// returns, and closes the connection if `answer` says so. Returns the address, and a count of
    /// the connections that the server has accepted.
    fn serve(
        request_len: usize,
        answer: fn(u64) -> (Vec<Vec<u8>>, bool),
    ) -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (n_connections, n_requests) =
            (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let seen = Arc::clone(&n_connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, n_requests) = (stream.unwrap(), Arc::clone(&n_requests));
                seen.fetch_add(1, Relaxed);
                std::thread::spawn(move || {
                    let mut request = vec![0; request_len];
                    stream.set_nodelay(true).unwrap();
                    while stream.read_exact(&mut request).is_ok() {
                        let (pieces, closes) = answer(n_requests.fetch_add(1, Relaxed));
                        for piece in pieces {
                            if stream.write_all(&piece).is_err() {
                                return;
                            }
                        }
                        if closes {
                            return;
                        }
                    }
                });
            }
        });
        (address, n_connections)
    }

    fn in_one_piece(answer: &str) -> Vec<Vec<u8>> {
        vec![answer.as_bytes().to_vec()]
    }

    fn ok(_: u64) -> (Vec<Vec<u8>>, bool) {
        (
            in_one_piece("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
            false,
        )
    }

    #[test]
    fn answers_of_every_shape_are_read() {
        let answer = |n: u64| match n % 5 {
            0 => (
                b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok"
                    .chunks(1)
                    .map(<[u8]>::to_vec)
                    .collect(),
                false,
            ),
            1 => (
                in_one_piece(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                ),
                false,
            ),
            2 => (
                in_one_piece("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
                true,
            ),
            3 => (in_one_piece("HTTP/1.0 200 OK\r\n\r\nuntil it closes"), true),
            // Larger than what one `recv` reads.
            _ => (
                in_one_piece(&format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{}",
                    "x".repeat(300_000)
                )),
                false,
            ),
        };
        let (address, _) = serve(request(7).len(), answer);
        let done = run_repeated(address, true, request(7), 4, 25, Duration::ZERO);
        assert_eq!(
            (done.statuses, done.failures),
            (BTreeMap::from([(200, 80), (202, 20)]), BTreeMap::new())
        );
    }

    #[test]
    fn invalid_answers_are_counted_by_kind() {
        let answer = |n: u64| match n % 4 {
            0 => (in_one_piece("nonsense\r\n\r\n"), false),
            1 => (Vec::new(), true),
            2 => (
                in_one_piece("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"),
                true,
            ),
            _ => ok(n),
        };
        let (address, _) = serve(request(7).len(), answer);
        let done = run_repeated(address, true, request(7), 1, 40, Duration::ZERO);
        let kinds: Vec<(&str, u32)> = done
            .failures
            .iter()
            .map(|(why, &n)| (why.as_str(), n))
            .collect();
        assert_eq!(
            kinds,
            [
                ("broken answer: connection closed within it", 10),
                ("broken answer: invalid HTTP version", 10),
                ("connection closed instead of an answer", 10)
            ]
        );
        assert_eq!(done.statuses, BTreeMap::from([(200, 10)]));
    }

    #[test]
    fn a_refused_connection_is_reported() {
        // A bound socket that does not listen keeps the port free of other listeners.
        let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = rustix::net::getsockname(&socket)
            .unwrap()
            .try_into()
            .unwrap();
        let done = run_repeated(address, true, request(7), 2, 3, Duration::ZERO);
        assert_eq!(
            done.failures,
            BTreeMap::from([("connection refused".to_owned(), 6)])
        );
    }

    #[test]
    fn a_large_request_arrives_completely() {
        let large = request(20 << 20);
        let (address, _) = serve(large.len(), ok);
        let done = run_repeated(address, true, large, 2, 2, Duration::ZERO);
        assert_eq!(
            (done.statuses, done.failures),
            (BTreeMap::from([(200, 4)]), BTreeMap::new())
        );
    }

    #[test]
    fn a_connection_is_reused_only_with_keep_alive() {
        for (keep_alive, n_expected) in [(true, 3), (false, 60)] {
            let (address, n_connections) = serve(request(7).len(), ok);
            let done = run_repeated(address, keep_alive, request(7), 3, 20, Duration::ZERO);
            assert_eq!(
                (done.statuses, n_connections.load(Relaxed)),
                (BTreeMap::from([(200, 60)]), n_expected)
            );
        }
    }

    #[test]
    fn a_server_may_close_between_requests() {
        let answer = |n: u64| (ok(n).0, true);
        let (address, _) = serve(request(7).len(), answer);
        let done = run_repeated(address, true, request(7), 2, 5, Duration::from_millis(20));
        assert_eq!(
            (done.statuses, done.failures),
            (BTreeMap::from([(200, 10)]), BTreeMap::new())
        );
    }

    #[test]
    fn nothing_is_sent_before_it_is_due() {
        let (address, _) = serve(request(7).len(), ok);
        let began = Instant::now();
        let done = run_repeated(address, true, request(7), 2, 11, Duration::from_millis(5));
        assert_eq!(done.statuses, BTreeMap::from([(200, 22)]));
        assert!(began.elapsed() >= Duration::from_millis(50));
    }
}
