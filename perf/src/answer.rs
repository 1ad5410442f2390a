//! Reads answers as they come, in pieces of any size.
//!
//! ```text
//! answer = *( informational head ) head [ body ]                       (RFC 9112)
//! head   = status-line *( field CRLF ) CRLF
//! body   = Content-Length bytes | *chunk "0" CRLF *( trailer CRLF ) CRLF | bytes until the connection closes
//! chunk  = size [ ";" extension ] CRLF bytes CRLF
//! ```
//!
//! Invariant: after an answer, and before the first byte of the next one, the reader is as it was
//! made.

use std::fmt;
use std::mem::MaybeUninit;

/// A head that is longer than this is none.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A line of a chunk's size or a trailer that is longer than this is none.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Fields of a head.
const FIELDS_MAX: usize = 64;

/// What was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Whether nothing more comes over this connection.
    pub closes: bool,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The head is none.
    Head(httparse::Error),
    /// The head does not end.
    HeadTooLong,
    /// Content-Length is no number, or two numbers.
    Length,
    /// A chunk has no size, or does not end where it should.
    Chunk,
    /// There are bytes behind the answer, though nothing more was asked.
    Excess,
    /// The connection closed before the first byte.
    Closed,
    /// The connection closed before the last byte.
    Truncated,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Head(error) => write!(f, "broken answer: {error}"),
            Self::HeadTooLong => f.write_str("broken answer: the head does not end"),
            Self::Length => f.write_str("broken answer: no such content length"),
            Self::Chunk => f.write_str("broken answer: no such chunk"),
            Self::Excess => f.write_str("broken answer: bytes behind its end"),
            Self::Closed => f.write_str("connection closed instead of an answer"),
            Self::Truncated => f.write_str("broken answer: connection closed within it"),
        }
    }
}

impl std::error::Error for Broken {}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Head,
    /// So many bytes of the body.
    Bytes(u64),
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
}

/// The answers of one connection.
#[derive(Debug, Default)]
pub struct Reader {
    part: Part,
    /// Bytes of a head or a line whose end is not there yet.
    begun: Vec<u8>,
    status: u16,
    closes: bool,
}

/// A head, and how long it is.
struct Head {
    len: usize,
    status: u16,
    closes: bool,
    body: Part,
}

impl Reader {
    /// Takes bytes as they came; the answer if they are its last ones. `body` is given the body's
    /// bytes.
    ///
    /// # Errors
    ///
    /// They are no answer. The connection is of no use any more.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<Option<Answer>, Broken> {
        loop {
            match self.part {
                Part::Head => {
                    let Some(head) = self.head(&mut bytes)? else {
                        return Ok(None);
                    };
                    // Another head follows one that only informs.
                    if !(100..200).contains(&head.status) {
                        (self.status, self.closes, self.part) =
                            (head.status, head.closes, head.body);
                    }
                    if bytes.is_empty() && !self.is_complete() {
                        return Ok(None);
                    }
                }
                Part::Bytes(left) | Part::Chunk(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, rest) = bytes.split_at(n);
                    body(now);
                    bytes = rest;
                    let left = left - n as u64;
                    self.part = match self.part {
                        Part::Chunk(_) if left == 0 => Part::ChunkEnd,
                        Part::Chunk(_) => Part::Chunk(left),
                        _ => Part::Bytes(left),
                    };
                }
                Part::ChunkSize | Part::ChunkEnd | Part::Trailer => {
                    let Some(line_len) = self.line(&mut bytes)? else {
                        return Ok(None);
                    };
                    let line = &self.begun[..line_len];
                    self.part = match self.part {
                        Part::ChunkSize => match chunk_size(line).ok_or(Broken::Chunk)? {
                            0 => Part::Trailer,
                            size => Part::Chunk(size),
                        },
                        Part::ChunkEnd if line.is_empty() => Part::ChunkSize,
                        Part::ChunkEnd => return Err(Broken::Chunk),
                        _ if line.is_empty() => Part::Bytes(0),
                        _ => Part::Trailer,
                    };
                    self.begun.clear();
                }
                Part::UntilClose => {
                    body(bytes);
                    return Ok(None);
                }
            }
            if self.is_complete() {
                let answer = self.finish();
                return if bytes.is_empty() {
                    Ok(Some(answer))
                } else {
                    Err(Broken::Excess)
                };
            }
            if bytes.is_empty() {
                return Ok(None);
            }
        }
    }

    /// The connection has closed; the answer, if that is its end.
    ///
    /// # Errors
    ///
    /// More should have come.
    pub fn close(&mut self) -> Result<Answer, Broken> {
        match self.part {
            Part::UntilClose => Ok(self.finish()),
            Part::Head if self.begun.is_empty() => Err(Broken::Closed),
            _ => Err(Broken::Truncated),
        }
    }

    /// Forgets what was begun, for a new connection.
    pub fn reset(&mut self) {
        self.begun.clear();
        self.part = Part::Head;
    }

    fn is_complete(&self) -> bool {
        self.part == Part::Bytes(0)
    }

    fn finish(&mut self) -> Answer {
        self.part = Part::Head;
        Answer {
            status: self.status,
            closes: self.closes,
        }
    }

    fn head(&mut self, bytes: &mut &[u8]) -> Result<Option<Head>, Broken> {
        // Nearly always the whole head comes at once.
        if self.begun.is_empty() {
            let head = parse_head(bytes)?;
            match &head {
                Some(head) => *bytes = &bytes[head.len..],
                None => self.begun.extend_from_slice(bytes),
            }
            return Ok(head);
        }
        let n_before = self.begun.len();
        self.begun.extend_from_slice(bytes);
        let head = parse_head(&self.begun)?;
        if let Some(head) = &head {
            *bytes = &bytes[head.len - n_before..];
            self.begun.clear();
        } else if self.begun.len() > HEAD_BYTES_MAX {
            return Err(Broken::HeadTooLong);
        }
        Ok(head)
    }

    /// Moves a line to `begun`; its length without its end, once that is there.
    fn line(&mut self, bytes: &mut &[u8]) -> Result<Option<usize>, Broken> {
        let n = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |at| at + 1);
        self.begun.extend_from_slice(&bytes[..n]);
        *bytes = &bytes[n..];
        if self.begun.len() > LINE_BYTES_MAX {
            return Err(Broken::Chunk);
        }
        match self.begun.strip_suffix(b"\r\n") {
            Some(line) => Ok(Some(line.len())),
            None if self.begun.ends_with(b"\n") => Err(Broken::Chunk),
            None => Ok(None),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<Head>, Broken> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(Broken::Head)?
    {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return Ok(None),
    };
    let (mut length, mut is_chunked, mut is_coded) = (None, false, false);
    let mut closes = parsed.version == Some(0);
    for field in parsed.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let given = number(field.value, 10).ok_or(Broken::Length)?;
            if length.replace(given).is_some_and(|before| before != given) {
                return Err(Broken::Length);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_coded = true;
            is_chunked = tokens(field.value)
                .last()
                .is_some_and(|token| token.eq_ignore_ascii_case(b"chunked"));
        } else if name.eq_ignore_ascii_case("connection") {
            for token in tokens(field.value) {
                closes |= token.eq_ignore_ascii_case(b"close");
                closes &= !token.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
    let status = parsed.code.expect("it is complete");
    let body = match length {
        _ if matches!(status, 100..200 | 204 | 304) => Part::Bytes(0),
        _ if is_chunked => Part::ChunkSize,
        Some(length) if !is_coded => Part::Bytes(length),
        _ => Part::UntilClose,
    };
    Ok(Some(Head {
        len,
        status,
        closes: closes || body == Part::UntilClose,
        body,
    }))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    // A sign is none of HTTP's.
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, radix).ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    number(line.split(|&byte| byte == b';').next()?.trim_ascii(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Read = Result<(Answer, Vec<u8>), Broken>;

    /// What is read of these bytes, if they come in such pieces and the connection closes then.
    fn read(pieces: &[&[u8]]) -> Read {
        let (mut reader, mut body) = (Reader::default(), Vec::new());
        for (n, piece) in pieces.iter().enumerate() {
            if let Some(answer) = reader.read(piece, |bytes| body.extend_from_slice(bytes))? {
                assert_eq!(n, pieces.len() - 1, "an answer before its last byte");
                assert_eq!((reader.part, reader.begun.len()), (Part::Head, 0));
                return Ok((answer, body));
            }
        }
        reader.close().map(|answer| (answer, body))
    }

    /// However the bytes are cut, the same is read.
    fn check(bytes: &str, expected: Read) {
        let bytes = bytes.as_bytes();
        assert_eq!(read(&[bytes]), expected, "whole");
        for at in 1..bytes.len() {
            // What stands behind an answer is only seen with its last byte; cut there, it belongs
            // to the next one.
            if expected != Err(Broken::Excess) {
                assert_eq!(read(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if expected != Err(Broken::Excess) {
            assert_eq!(read(&single), expected, "byte by byte");
        }
    }

    fn ok(status: u16, closes: bool, body: &str) -> Read {
        Ok((Answer { status, closes }, body.as_bytes().to_vec()))
    }

    #[test]
    fn bodies_have_their_length() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            ok(200, false, ""),
        );
        check(
            "HTTP/1.1 202 Accepted\r\ncontent-length: 7\r\nConnection: close\r\n\r\nbody ok",
            ok(202, true, "body ok"),
        );
        check(
            "HTTP/1.1 204 No Content\r\nDate: x\r\n\r\n",
            ok(204, false, ""),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
            ok(200, false, "ab"),
        );
        check(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
            ok(200, false, "a"),
        );
    }

    #[test]
    fn chunks_are_put_together() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(
            &format!("{head}3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"),
            ok(200, false, "abcde"),
        );
        check(
            &format!("{head}A\r\n0\r\n\r\n56789\r\n0\r\nTrailer: x\r\n\r\n"),
            ok(200, false, "0\r\n\r\n56789"),
        );
        check(&format!("{head}0\r\n\r\n"), ok(200, false, ""));
        check(&format!("{head}x\r\nabc\r\n"), Err(Broken::Chunk));
        check(&format!("{head}2\r\nabc\r\n0\r\n\r\n"), Err(Broken::Chunk));
        check(&format!("{head}3\r\nabc\r\n"), Err(Broken::Truncated));
    }

    #[test]
    fn a_body_may_end_with_its_connection() {
        check("HTTP/1.1 200 OK\r\n\r\nthe rest", ok(200, true, "the rest"));
        check(
            "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na",
            ok(200, true, "a"),
        );
        check(
            "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
            ok(200, false, "a"),
        );
        check(
            "HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 1\r\n\r\na",
            ok(200, true, "a"),
        );
    }

    #[test]
    fn what_is_no_answer_is_told_by_kind() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            Err(Broken::Excess),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            Err(Broken::Truncated),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde",
            Err(Broken::Length),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            Err(Broken::Length),
        );
        check("HTTP/1.1 200 OK\r\nContent-Le", Err(Broken::Truncated));
        check(
            "nonsense\r\n\r\n",
            Err(Broken::Head(httparse::Error::Version)),
        );
        assert_eq!(read(&[]), Err(Broken::Closed));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(
            read(&[b"HTTP/1.1 ", &endless.as_bytes()[9..]]),
            Err(Broken::HeadTooLong)
        );
    }
}
