//! A blocking HTTP client, for scrapers and for clients that push large bodies: each of them has
//! its own thread.

use crate::answer::{Answer, AnswerReader};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long the client waits for the server to send or to take anything.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A client with one connection, which is opened by the first request and after failures.
pub struct BlockingClient {
    address: SocketAddr,
    stream: Option<TcpStream>,
    reader: AnswerReader,
    buffer: Box<[u8]>,
}

impl BlockingClient {
    /// A client of the server at `address`. Does not connect yet.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            stream: None,
            reader: AnswerReader::default(),
            buffer: vec![0; 256 << 10].into(),
        }
    }

    /// Sends a request, reads the answer and returns its status. The body is thrown away.
    ///
    /// # Errors
    ///
    /// There is no valid answer. The next request opens a new connection.
    pub fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        self.request_to_end(request, |_| ())
            .map(|answer| answer.status)
    }

    /// Sends a GET request. Returns the complete body, and the time from the request to the body's
    /// first byte. `headers` are complete lines, each with its line end.
    ///
    /// # Errors
    ///
    /// There is no valid answer, or its status is not 200.
    pub fn get(&mut self, path: &str, headers: &str) -> io::Result<(Vec<u8>, Duration)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\n{headers}\r\n");
        let (began, mut first_byte, mut body) = (Instant::now(), None, Vec::with_capacity(1 << 16));
        let answer = self.request_to_end(request.as_bytes(), |bytes| {
            first_byte.get_or_insert_with(|| began.elapsed());
            body.extend_from_slice(bytes);
        })?;
        if answer.status != 200 {
            return Err(io::Error::other(format!(
                "the scrape was answered {}",
                answer.status
            )));
        }
        Ok((body, first_byte.unwrap_or_else(|| began.elapsed())))
    }

    /// Sends a request and reads the answer; `body` is called with the pieces of the body. Closes
    /// the connection if the request failed or the server closes.
    fn request_to_end(&mut self, request: &[u8], body: impl FnMut(&[u8])) -> io::Result<Answer> {
        let result = self.try_request_to_end(request, body);
        if !matches!(result, Ok(Answer { closes: false, .. })) {
            self.stream = None;
        }
        result
    }

    fn try_request_to_end(
        &mut self,
        request: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> io::Result<Answer> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(connect(self.address)?),
        };
        self.reader.reset();
        stream.write_all(request)?;
        loop {
            match stream.read(&mut self.buffer)? {
                0 => return self.reader.on_close().map_err(io::Error::other),
                n => {
                    if let Some(answer) = self
                        .reader
                        .read(&self.buffer[..n], &mut body)
                        .map_err(io::Error::other)?
                    {
                        return Ok(answer);
                    }
                }
            }
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}
