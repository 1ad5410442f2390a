//! A scrape client that does not keep what it reads, so large bodies cost it little.

use crate::load;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Read timeout. Longer than any scrape of this scenario takes.
const TIMEOUT: Duration = Duration::from_secs(600);

/// The duration and size of one scrape.
pub(super) struct TimedScrape {
    /// From the request to the first byte of the head.
    pub(super) first_byte: Duration,
    /// From the request to the last byte of the body.
    pub(super) last_byte: Duration,
    /// Bytes of the body as they were sent.
    pub(super) bytes: u64,
}

/// A kept connection and the buffer that it reads into.
pub(super) struct ScrapeClient {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl ScrapeClient {
    /// Connects to a server.
    pub(super) fn new(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("{address}: {error}"))?;
        stream
            .set_nodelay(true)
            .and_then(|()| stream.set_read_timeout(Some(TIMEOUT)))
            .map_err(|error| error.to_string())?;
        Ok(Self {
            stream,
            buffer: vec![0; 1 << 20].into(),
        })
    }

    /// Scrapes `path` and throws the body away.
    pub(super) fn get(&mut self, path: &str, gzip: bool) -> Result<TimedScrape, String> {
        self.get_into(path, gzip, |_| ())
    }

    /// Scrapes `path` and calls `take` with each piece of the body. The answer must have status 200
    /// and a Content-Length.
    pub(super) fn get_into(
        &mut self,
        path: &str,
        gzip: bool,
        mut take: impl FnMut(&[u8]),
    ) -> Result<TimedScrape, String> {
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let encoding = if gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        };
        let began = Instant::now();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: bench\r\n{}{encoding}\r\n",
            load::ACCEPT
        );
        self.stream.write_all(request.as_bytes()).map_err(failed)?;
        let (mut n, mut first_byte) = (0, None);
        let head = loop {
            n += match self.stream.read(&mut self.buffer[n..]).map_err(failed)? {
                0 => return Err(format!("{path}: no answer")),
                n => n,
            };
            first_byte.get_or_insert_with(|| began.elapsed());
            if let Some(head) = self.buffer[..n]
                .windows(4)
                .position(|window| window == b"\r\n\r\n")
            {
                break head;
            }
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let len: Option<u64> = text
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.trim().parse().ok());
        let len = len
            .filter(|_| text.starts_with("http/1.1 200"))
            .ok_or_else(|| format!("{path}: {text}"))?;
        take(&self.buffer[head + 4..n]);
        let mut got = (n - head - 4) as u64;
        while got < len {
            let n = self.stream.read(&mut self.buffer).map_err(failed)?;
            if n == 0 {
                return Err(format!("{path}: the body ends early"));
            }
            take(&self.buffer[..n]);
            got += n as u64;
        }
        Ok(TimedScrape {
            first_byte: first_byte.expect("a head was read"),
            last_byte: began.elapsed(),
            bytes: len,
        })
    }
}
