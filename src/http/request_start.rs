//! The beginning of what a client sends: a whole request of the usual form, or something else.

use super::head::{alphanumeric_and, head_size, header_size, is_host};
use std::mem::MaybeUninit;

/// A request that comes in several pieces is waited for up to this size. Every piece has it looked
/// at from its beginning.
pub(super) const PARTIAL_BYTES_MAX: usize = 16 << 10;
/// Pushers send a handful.
const HEADERS_MAX: usize = 32;

/// What bytes begin with.
pub(super) enum Received<'a> {
    Whole(Request<'a>),
    /// What may be one when more has come.
    Partial,
    /// Something else.
    Other,
}

/// A request that is here as a whole.
pub(super) struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub content_type: Option<&'a [u8]>,
    pub content_encoding: Option<&'a [u8]>,
    /// The client wants the connection to end with the answer.
    pub is_last: bool,
    pub body: &'a [u8],
    /// Bytes, head and body.
    pub len: usize,
    /// As the reference counts it.
    pub size: u64,
}

impl<'a> Received<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        let is_begun = |method: &[u8]| bytes.starts_with(&method[..method.len().min(bytes.len())]);
        if ![&b"PUT /"[..], b"POST /", b"DELETE /"]
            .into_iter()
            .any(is_begun)
        {
            return Self::Other;
        }
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut head = httparse::Request::new(&mut []);
        let head_len = match head.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Self::Partial,
            Err(_) => return Self::Other,
        };
        match Self::of_head(&head, bytes, head_len) {
            Some(request) => request,
            None => Self::Other,
        }
    }

    /// None for something else.
    fn of_head(head: &httparse::Request<'_, 'a>, bytes: &'a [u8], head_len: usize) -> Option<Self> {
        let (method, path) = (head.method?, head.path?);
        if head.version != Some(1) || !path.bytes().all(|byte| PATH_BYTES[usize::from(byte)]) {
            return None;
        }
        let mut size = head_size(method, path.len());
        let (mut content_type, mut content_encoding, mut is_last) = (None, None, false);
        let (mut n_hosts, mut n_lengths, mut body_len) = (0, 0, 0);
        for &httparse::Header { name, value } in &*head.headers {
            size += header_size(name, value);
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            // By their lengths: most headers are none of these.
            match name.len() {
                2 if is("te") => return None,
                4 if is("host") => {
                    n_hosts += 1;
                    if !is_host(value) {
                        return None;
                    }
                }
                6 if is("expect") => return None,
                7 if is("upgrade") || is("trailer") => return None,
                10 if is("connection") => match value {
                    _ if value.eq_ignore_ascii_case(b"keep-alive") => {}
                    _ if value.eq_ignore_ascii_case(b"close") => is_last = true,
                    _ => return None,
                },
                12 if is("content-type") => content_type = content_type.or(Some(value)),
                14 if is("content-length") => {
                    n_lengths += 1;
                    body_len = length(value)?;
                }
                16 if is("content-encoding") => content_encoding = content_encoding.or(Some(value)),
                17 if is("transfer-encoding") => return None,
                _ => {}
            }
        }
        let is_framed = n_lengths == 1 || (n_lengths == 0 && method == "DELETE");
        if n_hosts != 1 || !is_framed {
            return None;
        }
        let len = head_len + body_len;
        let Some(body) = bytes.get(head_len..len) else {
            return if len <= PARTIAL_BYTES_MAX {
                Some(Self::Partial)
            } else {
                None
            };
        };
        size += body_len as u64;
        Some(Self::Whole(Request {
            method,
            path,
            content_type,
            content_encoding,
            is_last,
            body,
            len,
            size,
        }))
    }
}

/// What any reader of paths takes for the same path.
const PATH_BYTES: [bool; 256] = alphanumeric_and(b"/-_.~@=%+:,;!$&'()*");

/// A length in decimal digits, of what may be here as a whole.
fn length(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(
        digits
            .iter()
            .fold(0, |len, digit| len * 10 + usize::from(digit - b'0')),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n";

    /// The method, path and body of a request that is answered here; an error says whether it may
    /// be when more has come.
    fn read(bytes: &[u8]) -> Result<(&str, &str, &[u8]), bool> {
        match Received::of(bytes) {
            Received::Whole(request) => Ok((request.method, request.path, request.body)),
            Received::Partial => Err(true),
            Received::Other => Err(false),
        }
    }

    #[test]
    fn a_push_is_read_once_it_is_whole() {
        let whole = format!("{HEAD}\r\nx 1\nPUT");
        for len in 0..whole.len() - 3 {
            assert_eq!(read(&whole.as_bytes()[..len]), Err(true), "{len}");
        }
        assert_eq!(
            read(whole.as_bytes()),
            Ok(("PUT", "/metrics/job/j", &b"x 1\n"[..]))
        );
        let delete = b"DELETE /metrics/job/j HTTP/1.1\r\nhost: h\r\n\r\n";
        assert_eq!(read(delete), Ok(("DELETE", "/metrics/job/j", &b""[..])));
    }

    #[test]
    fn headers_count_as_they_do_elsewhere() {
        let more = "Connection: Close\r\nContent-type: a\r\nCONTENT-TYPE: b\r\ncontent-encoding: gzip\r\nX: y\r\n\r\nx 1\n";
        let request = format!("{HEAD}{more}");
        let Received::Whole(request) = Received::of(request.as_bytes()) else {
            panic!("not taken")
        };
        assert_eq!(
            (request.content_type, request.content_encoding),
            (Some(&b"a"[..]), Some(&b"gzip"[..]))
        );
        assert!(request.is_last);
        let line = "PUT/metrics/job/jHTTP/1.1".len();
        let headers =
            "hContent-Length4ConnectionCloseContent-typeaCONTENT-TYPEbcontent-encodinggzipXy".len();
        assert_eq!(request.size, (line + headers + 4) as u64);
    }

    #[test]
    fn everything_else_is_for_hyper() {
        for header in [
            "Host: i",
            "Content-Length: 4",
            "Transfer-Encoding: chunked",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Connection: keep-alive, Upgrade",
            "TE: trailers",
            "Trailer: x",
            "no colon",
        ] {
            assert_eq!(
                read(format!("{HEAD}{header}\r\n\r\nx 1\n").as_bytes()),
                Err(false),
                "{header}"
            );
        }
        for head in [
            "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n",
            "\r\nPUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "PUT /metrics/job/j HTTP/1.0\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "PUT /metrics/job/j HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "PUT /metrics/job/j HTTP/1.1\r\nHost: a b\r\nContent-Length: 0\r\n\r\n",
            "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\n\r\n",
            "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\nx",
            "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\nx",
            "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\n\r\nx",
            "PUT /metrics/job/j?x=1 HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "PUT http://h/metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
            "\x16\x03\x01\x02",
        ] {
            assert_eq!(read(head.as_bytes()), Err(false), "{head}");
        }
    }
}
