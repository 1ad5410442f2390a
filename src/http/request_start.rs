//! The beginning of the bytes that a client has sent: a request of the usual form, or something
//! else.
//!
//! ```text
//! request = head body            of which only what has arrived whole is read here
//! head    = method SP path SP "HTTP/1.1" CRLF { header CRLF } CRLF
//! method  = "PUT" | "POST" | "DELETE"
//! path    = that of a group, without a query
//! header  = "Host", once | "Content-Length", at most once
//!         | "Connection" with "keep-alive" or "close"
//!         | any header that changes neither the framing of the request nor its answer
//! body    = as many bytes as announced; none for a DELETE
//! ```

use super::head::{alphanumeric_and, head_size, header_size, is_host};
use std::mem::MaybeUninit;

/// A request that arrives in several pieces is waited for up to this size. With every piece it is
/// looked at again from its beginning.
pub(super) const PARTIAL_BYTES_MAX: usize = 16 << 10;
/// A request with more headers is left to hyper. Pushers send a handful.
const HEADERS_MAX: usize = 32;

/// What the bytes that a client has sent begin with.
pub(super) enum RequestStart<'a> {
    /// A whole request of the usual form.
    Whole(WholeRequest<'a>),
    /// What may become one when more bytes have arrived.
    Partial,
    /// Something else.
    Other,
}

/// A request of the usual form that has arrived whole.
pub(super) struct WholeRequest<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// The first header of this name.
    pub content_type: Option<&'a [u8]>,
    /// The first header of this name.
    pub content_encoding: Option<&'a [u8]>,
    /// Whether the client wants the connection to end with the answer.
    pub is_last: bool,
    pub body: &'a [u8],
    /// How many bytes head and body have.
    pub len: usize,
    /// The size as the reference counts it, in bytes.
    pub size: u64,
}

impl<'a> RequestStart<'a> {
    /// Reads the first request of `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Self {
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
        Self::of_head(&head, bytes, head_len).unwrap_or(Self::Other)
    }

    /// Reads a request whose head has `head_len` bytes; none for [`Self::Other`].
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
            // By length first: most headers are none of these.
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
                    body_len = parse_length(value)?;
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
            return (len <= PARTIAL_BYTES_MAX).then_some(Self::Partial);
        };
        size += body_len as u64;
        Some(Self::Whole(WholeRequest {
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

/// The bytes that may stand in the path of a usual request: every HTTP library reads a path of
/// these in the same way.
const PATH_BYTES: [bool; 256] = alphanumeric_and(b"/-_.~@=%+:,;!$&'()*");

/// The value of a `Content-Length` of at most five digits: a request of the usual form is no larger
/// than one read.
fn parse_length(digits: &[u8]) -> Option<usize> {
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

    /// The method, path and body of a whole request; otherwise whether it may become one when more
    /// bytes have come.
    fn read(bytes: &[u8]) -> Result<(&str, &str, &[u8]), bool> {
        match RequestStart::parse(bytes) {
            RequestStart::Whole(request) => Ok((request.method, request.path, request.body)),
            RequestStart::Partial => Err(true),
            RequestStart::Other => Err(false),
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
    fn headers_are_read_as_hyper_reads_them() {
        let more = "Connection: Close\r\nContent-type: a\r\nCONTENT-TYPE: b\r\ncontent-encoding: gzip\r\nX: y\r\n\r\nx 1\n";
        let request = format!("{HEAD}{more}");
        let RequestStart::Whole(request) = RequestStart::parse(request.as_bytes()) else {
            panic!("not a whole request")
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
    fn any_other_request_is_left_to_hyper() {
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
