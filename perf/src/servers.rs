//! The servers that the harness itself provides: `floor` shows what a gateway on hyper costs at
//! least, and `sink` costs next to nothing, so that it shows what the generator costs.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// Prints the address for the process that started this one (`target::start` reads it).
fn announce(address: SocketAddr) -> io::Result<()> {
    println!("listening {address}");
    io::stdout().flush()
}

/// The server `floor`: bare hyper with the gateway's settings. Reads bodies, answers 200, and
/// serves a fixed body of `metrics_bytes` bytes to scrapes. No gateway that leaves its requests to
/// hyper can be faster. Runs until it is killed.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn floor(listen: &str, metrics_bytes: usize) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    announce(listener.local_addr()?)?;
    let line = b"floor{instance=\"node-0000000\",job=\"fleet\"} 1234567890.1234567\n";
    let metrics = Bytes::from(
        line.iter()
            .copied()
            .cycle()
            .take(metrics_bytes)
            .collect::<Vec<u8>>(),
    );
    loop {
        let (stream, _) = listener.accept().await?;
        let metrics = metrics.clone();
        tokio::spawn(async move {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let service = service_fn(move |request: Request<Incoming>| {
                let metrics = metrics.clone();
                async move {
                    let is_scrape = request.method() == Method::GET;
                    // Read the complete body, then throw it away.
                    let _ = request.into_body().collect().await;
                    let body = if is_scrape { metrics } else { Bytes::new() };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(150))
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The answer to every request.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// The number by which epoll reports the listener. Connections are numbered from 0.
const LISTENER: u64 = u64::MAX;

/// The server `sink`: answers every request with the same bytes as soon as its body has arrived, on
/// one thread. Costs as little as possible. Runs until it is killed.
///
/// # Errors
///
/// The address cannot be listened on.
pub fn sink(listen: &str) -> io::Result<()> {
    let listener = std::net::TcpListener::bind(listen)?;
    announce(listener.local_addr()?)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(
        &epoll,
        &listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let (mut connections, mut free): (Vec<Option<SinkConnection>>, Vec<usize>) =
        (Vec::new(), Vec::new());
    let (mut buffer, mut events) = (vec![0; 64 << 10], Vec::with_capacity(256));
    loop {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for &epoll::Event { data, .. } in &events {
            if data.u64() != LISTENER {
                let n = usize::try_from(data.u64()).expect("the number of a connection");
                if connections[n]
                    .as_mut()
                    .is_some_and(|connection| connection.receive_and_answer(&mut buffer).is_none())
                {
                    connections[n] = None;
                    free.push(n);
                }
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                if stream
                    .set_nodelay(true)
                    .and_then(|()| stream.set_nonblocking(true))
                    .is_err()
                {
                    continue;
                }
                let n = free.pop().unwrap_or_else(|| {
                    connections.push(None);
                    connections.len() - 1
                });
                epoll::add(
                    &epoll,
                    &stream,
                    EventData::new_u64(n as u64),
                    EventFlags::IN,
                )?;
                connections[n] = Some(SinkConnection {
                    stream,
                    head: Vec::new(),
                    body_left: 0,
                });
            }
        }
    }
}

/// A connection of the server `sink`.
struct SinkConnection {
    stream: std::net::TcpStream,
    /// The beginning of a head that has not arrived completely.
    head: Vec<u8>,
    /// Bytes of the current body that have not arrived yet.
    body_left: usize,
}

impl SinkConnection {
    /// Reads what has arrived and answers the requests that it completes. `None` if the connection
    /// is to be closed.
    fn receive_and_answer(&mut self, buffer: &mut [u8]) -> Option<()> {
        let n = match self.stream.read(buffer) {
            Ok(0) => return None,
            Ok(n) => n,
            Err(error) => return (error.kind() == io::ErrorKind::WouldBlock).then_some(()),
        };
        for _ in 0..self.count_requests(&buffer[..n])? {
            self.stream.write_all(ANSWER).ok()?;
        }
        Some(())
    }

    /// Returns how many requests are completed by these bytes; `None` if they are not valid
    /// requests.
    fn count_requests(&mut self, mut bytes: &[u8]) -> Option<usize> {
        let mut n_requests = 0;
        while !bytes.is_empty() {
            if self.body_left == 0 {
                let n_before = self.head.len();
                let parsed = if n_before == 0 {
                    parse_head(bytes)
                } else {
                    self.head.extend_from_slice(bytes);
                    parse_head(&self.head)
                };
                let (head_len, body_len) = match parsed {
                    ParsedHead::Complete { head_len, body_len } => (head_len, body_len),
                    ParsedHead::Incomplete => {
                        if n_before == 0 {
                            self.head.extend_from_slice(bytes);
                        }
                        return Some(n_requests);
                    }
                    ParsedHead::Malformed => return None,
                };
                bytes = &bytes[head_len - n_before..];
                self.head.clear();
                self.body_left = body_len;
            }
            let n = self.body_left.min(bytes.len());
            bytes = &bytes[n..];
            self.body_left -= n;
            n_requests += usize::from(self.body_left == 0);
        }
        Some(n_requests)
    }
}

/// What the bytes at the beginning of a request are.
enum ParsedHead {
    /// A head of `head_len` bytes, followed by a body of `body_len` bytes.
    Complete { head_len: usize, body_len: usize },
    /// The beginning of a head.
    Incomplete,
    /// Not a head, or its Content-Length is not a number.
    Malformed,
}

fn parse_head(bytes: &[u8]) -> ParsedHead {
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut fields);
    let head_len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return ParsedHead::Incomplete,
        Err(_) => return ParsedHead::Malformed,
    };
    let length = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("content-length"));
    let body_len = match length {
        None => Some(0),
        Some(field) => std::str::from_utf8(field.value)
            .ok()
            .and_then(|text| text.parse().ok()),
    };
    match body_len {
        Some(body_len) => ParsedHead::Complete { head_len, body_len },
        None => ParsedHead::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bytes = b"PUT /a HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /a HTTP/1.1\r\n\r\nPUT /a HTTP/1.1\r\ncontent-length: 3\r\n\r\nxyz";
        for size in 1..=bytes.len() {
            let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut connection = SinkConnection {
                stream,
                head: Vec::new(),
                body_left: 0,
            };
            let n: usize = bytes
                .chunks(size)
                .map(|piece| connection.count_requests(piece).unwrap())
                .sum();
            assert_eq!(n, 3, "pieces of {size}");
            assert_eq!(connection.count_requests(b"no request\r\n\r\n"), None);
        }
    }
}
