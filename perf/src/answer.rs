//! Parses HTTP answers incrementally, from pieces of any size.
//!
//! ```text
//! answer = *( informational head ) head [ body ]                       (RFC 9112)
//! head   = status-line *( field CRLF ) CRLF
//! body   = Content-Length bytes | *chunk "0" CRLF *( trailer CRLF ) CRLF | bytes until the connection closes
//! chunk  = size [ ";" extension ] CRLF bytes CRLF
//! ```
//!
//! Invariant: between two answers the reader is in the same state as a new one.

use std::fmt;
use std::mem::MaybeUninit;

/// A longer head is an error. Far above what any target sends.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// A longer line with the size of a chunk, or with a trailer, is an error.
const LINE_BYTES_MAX: usize = 8 << 10;
/// Number of header fields in a head.
const FIELDS_MAX: usize = 64;

/// An answer that was read completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Whether the server closes the connection after this answer.
    pub closes: bool,
}

/// Why bytes are not a valid answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerError {
    /// The head is malformed.
    Head(httparse::Error),
    /// The head is longer than [`HEAD_BYTES_MAX`].
    HeadTooLong,
    /// Content-Length is not a number, or is given twice with different numbers.
    Length,
    /// A chunk has no valid size, or does not end where its size says.
    Chunk,
    /// There are bytes after the answer, although no other request was sent.
    Excess,
    /// The connection closed before the first byte of the answer.
    Closed,
    /// The connection closed before the last byte of the answer.
    Truncated,
}

impl fmt::Display for AnswerError {
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

impl std::error::Error for AnswerError {}

/// What the reader expects next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum ReadState {
    #[default]
    Head,
    /// This many more bytes of a body with a Content-Length; 0 means that the answer is complete.
    Bytes(u64),
    /// The line with the size of a chunk.
    ChunkSize,
    /// This many more bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// A trailer line, or the empty line that ends the answer.
    Trailer,
    /// Bytes of a body that ends when the connection closes.
    UntilClose,
}

/// Reads the answers of one connection.
#[derive(Debug, Default)]
pub struct AnswerReader {
    state: ReadState,
    /// The beginning of a head or line whose end has not arrived yet.
    incomplete: Vec<u8>,
    status: u16,
    closes: bool,
}

/// A parsed head.
struct AnswerHead {
    /// Length of the head in bytes, the empty line included.
    len: usize,
    status: u16,
    closes: bool,
    /// How the body is read.
    body: ReadState,
}

impl AnswerReader {
    /// Reads the next bytes of the connection. Returns the answer if they complete it. Calls `body`
    /// with each piece of the body, without the framing of chunks.
    ///
    /// # Errors
    ///
    /// The bytes are not a valid answer. The connection cannot be used any more.
    pub fn read(
        &mut self,
        mut bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<Option<Answer>, AnswerError> {
        loop {
            match self.state {
                ReadState::Head => {
                    let Some(head) = self.read_head(&mut bytes)? else {
                        return Ok(None);
                    };
                    // An informational head (1xx) is followed by another head.
                    if !(100..200).contains(&head.status) {
                        (self.status, self.closes, self.state) =
                            (head.status, head.closes, head.body);
                    }
                    if bytes.is_empty() && !self.is_complete() {
                        return Ok(None);
                    }
                }
                ReadState::Bytes(left) | ReadState::Chunk(left) => {
                    let n = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, rest) = bytes.split_at(n);
                    body(now);
                    bytes = rest;
                    let left = left - n as u64;
                    self.state = match self.state {
                        ReadState::Chunk(_) if left == 0 => ReadState::ChunkEnd,
                        ReadState::Chunk(_) => ReadState::Chunk(left),
                        _ => ReadState::Bytes(left),
                    };
                }
                ReadState::ChunkSize | ReadState::ChunkEnd | ReadState::Trailer => {
                    let Some(line_len) = self.read_line(&mut bytes)? else {
                        return Ok(None);
                    };
                    let line = &self.incomplete[..line_len];
                    self.state = match self.state {
                        ReadState::ChunkSize => match chunk_size(line).ok_or(AnswerError::Chunk)? {
                            0 => ReadState::Trailer,
                            size => ReadState::Chunk(size),
                        },
                        ReadState::ChunkEnd if line.is_empty() => ReadState::ChunkSize,
                        ReadState::ChunkEnd => return Err(AnswerError::Chunk),
                        _ if line.is_empty() => ReadState::Bytes(0),
                        _ => ReadState::Trailer,
                    };
                    self.incomplete.clear();
                }
                ReadState::UntilClose => {
                    body(bytes);
                    return Ok(None);
                }
            }
            if self.is_complete() {
                let answer = self.finish();
                return if bytes.is_empty() {
                    Ok(Some(answer))
                } else {
                    Err(AnswerError::Excess)
                };
            }
            if bytes.is_empty() {
                return Ok(None);
            }
        }
    }

    /// To be called when the server has closed the connection. Returns the answer if it ends with
    /// the connection.
    ///
    /// # Errors
    ///
    /// The answer is incomplete.
    pub fn on_close(&mut self) -> Result<Answer, AnswerError> {
        match self.state {
            ReadState::UntilClose => Ok(self.finish()),
            ReadState::Head if self.incomplete.is_empty() => Err(AnswerError::Closed),
            _ => Err(AnswerError::Truncated),
        }
    }

    /// Forgets an incomplete answer, so that the reader can be used for a new connection.
    pub fn reset(&mut self) {
        self.incomplete.clear();
        self.state = ReadState::Head;
    }

    fn is_complete(&self) -> bool {
        self.state == ReadState::Bytes(0)
    }

    fn finish(&mut self) -> Answer {
        self.state = ReadState::Head;
        Answer {
            status: self.status,
            closes: self.closes,
        }
    }

    /// Reads a head and removes it from the front of `bytes`. Returns `None` if its end has not
    /// arrived yet.
    fn read_head(&mut self, bytes: &mut &[u8]) -> Result<Option<AnswerHead>, AnswerError> {
        // The usual case: the complete head arrives at once and is parsed without copying.
        if self.incomplete.is_empty() {
            let head = parse_head(bytes)?;
            match &head {
                Some(head) => *bytes = &bytes[head.len..],
                None => self.incomplete.extend_from_slice(bytes),
            }
            return Ok(head);
        }
        let n_before = self.incomplete.len();
        self.incomplete.extend_from_slice(bytes);
        let head = parse_head(&self.incomplete)?;
        if let Some(head) = &head {
            *bytes = &bytes[head.len - n_before..];
            self.incomplete.clear();
        } else if self.incomplete.len() > HEAD_BYTES_MAX {
            return Err(AnswerError::HeadTooLong);
        }
        Ok(head)
    }

    /// Moves a line from the front of `bytes` to `incomplete`. Returns its length without the line
    /// end; `None` if the end has not arrived yet.
    fn read_line(&mut self, bytes: &mut &[u8]) -> Result<Option<usize>, AnswerError> {
        let n = bytes
            .iter()
            .position(|&byte| byte == b'\n')
            .map_or(bytes.len(), |at| at + 1);
        self.incomplete.extend_from_slice(&bytes[..n]);
        *bytes = &bytes[n..];
        if self.incomplete.len() > LINE_BYTES_MAX {
            return Err(AnswerError::Chunk);
        }
        match self.incomplete.strip_suffix(b"\r\n") {
            Some(line) => Ok(Some(line.len())),
            None if self.incomplete.ends_with(b"\n") => Err(AnswerError::Chunk),
            None => Ok(None),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<AnswerHead>, AnswerError> {
    let mut fields = [const { MaybeUninit::uninit() }; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config
        .parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields)
        .map_err(AnswerError::Head)?
    {
        httparse::Status::Complete(len) => len,
        httparse::Status::Partial => return Ok(None),
    };
    let (mut length, mut is_chunked, mut has_transfer_encoding) = (None, false, false);
    let mut closes = parsed.version == Some(0);
    for field in parsed.headers.iter() {
        let name = field.name;
        if name.eq_ignore_ascii_case("content-length") {
            let given = parse_number(field.value, 10).ok_or(AnswerError::Length)?;
            if length.replace(given).is_some_and(|before| before != given) {
                return Err(AnswerError::Length);
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            has_transfer_encoding = true;
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
    let status = parsed.code.expect("the head is complete");
    let body = match length {
        _ if matches!(status, 100..200 | 204 | 304) => ReadState::Bytes(0),
        _ if is_chunked => ReadState::ChunkSize,
        Some(length) if !has_transfer_encoding => ReadState::Bytes(length),
        _ => ReadState::UntilClose,
    };
    Ok(Some(AnswerHead {
        len,
        status,
        closes: closes || body == ReadState::UntilClose,
        body,
    }))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

fn parse_number(digits: &[u8], radix: u32) -> Option<u64> {
    // `from_str_radix` accepts a plus sign, which HTTP does not allow.
    let digits = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| !digits.starts_with('+'))?;
    u64::from_str_radix(digits, radix).ok()
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    parse_number(line.split(|&byte| byte == b';').next()?.trim_ascii(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    type ReadResult = Result<(Answer, Vec<u8>), AnswerError>;

    /// Reads these pieces, and then the end of the connection.
    fn read(pieces: &[&[u8]]) -> ReadResult {
        let (mut reader, mut body) = (AnswerReader::default(), Vec::new());
        for (n, piece) in pieces.iter().enumerate() {
            if let Some(answer) = reader.read(piece, |bytes| body.extend_from_slice(bytes))? {
                assert_eq!(n, pieces.len() - 1, "an answer before its last byte");
                assert_eq!(
                    (reader.state, reader.incomplete.len()),
                    (ReadState::Head, 0)
                );
                return Ok((answer, body));
            }
        }
        reader.on_close().map(|answer| (answer, body))
    }

    /// Checks that the result is the same however the bytes are cut into pieces.
    fn check(bytes: &str, expected: ReadResult) {
        let bytes = bytes.as_bytes();
        assert_eq!(read(&[bytes]), expected, "whole");
        for at in 1..bytes.len() {
            // Excess bytes are only detected if they arrive together with the last byte of the
            // answer. If they arrive later, they count as the beginning of the next answer.
            if expected != Err(AnswerError::Excess) {
                assert_eq!(read(&[&bytes[..at], &bytes[at..]]), expected, "cut at {at}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        if expected != Err(AnswerError::Excess) {
            assert_eq!(read(&single), expected, "byte by byte");
        }
    }

    fn ok(status: u16, closes: bool, body: &str) -> ReadResult {
        Ok((Answer { status, closes }, body.as_bytes().to_vec()))
    }

    #[test]
    fn a_body_with_a_length_is_read() {
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
    fn a_chunked_body_is_read() {
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
        check(&format!("{head}x\r\nabc\r\n"), Err(AnswerError::Chunk));
        check(
            &format!("{head}2\r\nabc\r\n0\r\n\r\n"),
            Err(AnswerError::Chunk),
        );
        check(&format!("{head}3\r\nabc\r\n"), Err(AnswerError::Truncated));
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
    fn invalid_answers_are_reported_by_kind() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab",
            Err(AnswerError::Excess),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
            Err(AnswerError::Truncated),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde",
            Err(AnswerError::Length),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
            Err(AnswerError::Length),
        );
        check("HTTP/1.1 200 OK\r\nContent-Le", Err(AnswerError::Truncated));
        check(
            "nonsense\r\n\r\n",
            Err(AnswerError::Head(httparse::Error::Version)),
        );
        assert_eq!(read(&[]), Err(AnswerError::Closed));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX));
        assert_eq!(
            read(&[b"HTTP/1.1 ", &endless.as_bytes()[9..]]),
            Err(AnswerError::HeadTooLong)
        );
    }
}
