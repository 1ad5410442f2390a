//! A lean HTTP/1.1 client: writes prepared bytes, and reads no more of an answer than has to be read.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection, made when it is needed.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Clone, Copy, Debug)]
struct Head {
    status: u16,
    len: usize,
    body: Option<usize>,
    is_chunked: bool,
    closes: bool,
}

impl Connection {
    /// To a server.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(4096) }
    }

    /// Sends a request and reads the answer; its status.
    ///
    /// # Errors
    ///
    /// There is none. The next request goes over a new connection.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let result = tokio::time::timeout(PATIENCE, self.try_exchange(request)).await;
        let result = result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if result.is_err() {
            self.stream = None;
        }
        result
    }

    async fn connected(&mut self) -> io::Result<&mut TcpStream> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        Ok(self.stream.as_mut().expect("just made"))
    }

    async fn try_exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let stream = self.connected().await?;
        stream.write_all(request).await?;
        let head = read_head(stream, &mut buffer).await?;
        if head.is_chunked {
            while !buffer.ends_with(b"0\r\n\r\n") {
                read_more(stream, &mut buffer).await?;
            }
        } else {
            while buffer.len() < head.len + head.body.unwrap_or(0) {
                read_more(stream, &mut buffer).await?;
            }
        }
        if head.closes {
            self.stream = None;
        }
        self.buffer = buffer;
        Ok(head.status)
    }

    /// Gets a body whole; also how long after the request its first byte came.
    ///
    /// # Errors
    ///
    /// There is none, or its status is not 200.
    pub async fn get(&mut self, path: &str, headers: &str) -> io::Result<(Vec<u8>, Duration)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
        let began = std::time::Instant::now();
        let stream = self.connected().await?;
        stream.write_all(request.as_bytes()).await?;
        let mut buffer = Vec::with_capacity(1 << 16);
        let head = read_head(stream, &mut buffer).await?;
        let first_byte = began.elapsed();
        match head.body {
            Some(len) => {
                buffer.reserve(len);
                while buffer.len() < head.len + len {
                    read_more(stream, &mut buffer).await?;
                }
            }
            None if head.is_chunked => {
                while !buffer.ends_with(b"\r\n0\r\n\r\n") {
                    read_more(stream, &mut buffer).await?;
                }
            }
            None => {
                stream.read_to_end(&mut buffer).await?;
            }
        }
        if head.closes || head.body.is_none() {
            self.stream = None;
        }
        if head.status != 200 {
            return Err(io::Error::other(format!("the scrape was answered {}", head.status)));
        }
        let body = buffer.split_off(head.len);
        Ok((if head.is_chunked { unchunk(&body)? } else { body }, first_byte))
    }
}

async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<()> {
    if stream.read_buf(buffer).await? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Head> {
    loop {
        read_more(stream, buffer).await?;
        if let Some(head) = parse_head(buffer)? {
            return Ok(head);
        }
    }
}

fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut lines = text.split("\r\n");
    let status = lines.next().and_then(|line| line.get(9..12)).and_then(|code| code.parse().ok());
    let mut head =
        Head { status: status.ok_or(io::ErrorKind::InvalidData)?, len: end + 4, body: None, is_chunked: false, closes: false };
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            head.body = value.trim().parse().ok();
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            head.is_chunked = value.trim().eq_ignore_ascii_case("chunked");
        } else if name.eq_ignore_ascii_case("connection") {
            head.closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    // These have none.
    if matches!(head.status, 204 | 304) {
        head.body = Some(0);
    }
    Ok(Some(head))
}

fn unchunk(mut rest: &[u8]) -> io::Result<Vec<u8>> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let mut body = Vec::with_capacity(rest.len());
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or_else(invalid)?;
        let size = std::str::from_utf8(&rest[..end]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.ok_or_else(invalid)?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size).ok_or_else(invalid)?);
        rest = rest.get(end + 4 + size..).ok_or_else(invalid)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read() {
        let head = parse_head(b"HTTP/1.1 202 Accepted\r\ncontent-length: 7\r\nConnection: close\r\n\r\nbody").unwrap().unwrap();
        assert_eq!((head.status, head.body, head.closes, head.is_chunked), (202, Some(7), true, false));
        assert!(parse_head(b"HTTP/1.1 200 OK\r\n").unwrap().is_none());
        assert!(parse_head(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn chunks_are_put_together() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n").unwrap(), b"abcde");
        assert!(unchunk(b"5\r\nabc").is_err());
    }
}
