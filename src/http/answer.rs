//! Answers, before they are put into HTTP's terms.

use super::body::Body;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A status, headers and a body.
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Body,
    is_unread: bool,
}

/// Marks a response to a request that was not read whole.
#[derive(Clone, Copy)]
pub(super) struct Unread;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Empty,
            is_unread: false,
        }
    }

    /// A body of this type.
    pub fn of(status: u16, content_type: HeaderValue, body: Body) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            body,
            is_unread: false,
        }
    }

    /// A line of text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::of(status, TEXT, Body::bytes(text.into()))
    }

    /// An error as the reference writes it: a line, which no browser may take for anything else.
    pub fn error(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::text(status, text).with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
    }

    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The connection ends with this answer.
    pub fn closing(self) -> Self {
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// The connection cannot go on: the rest of the request was not read.
    pub fn unread(mut self) -> Self {
        self.is_unread = true;
        self.closing()
    }

    /// Whether it is nothing but its status.
    pub fn is_bare(&self) -> bool {
        self.headers.is_empty() && matches!(self.body, Body::Empty)
    }

    /// Writes status and headers but for the date, as hyper does. Not for answers that close the
    /// connection by themselves.
    pub fn write_head(&self, is_last: bool, out: &mut impl Extend<u8>) {
        debug_assert!(
            !self.is_unread
                && self
                    .headers
                    .iter()
                    .all(|(name, _)| name != header::CONNECTION)
        );
        let status = self.status_code();
        let head = format!(
            "HTTP/1.1 {} {}\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default()
        );
        out.extend(head.bytes());
        for (name, value) in &self.headers {
            out.extend(
                name.as_str()
                    .bytes()
                    .chain(*b": ")
                    .chain(value.as_bytes().iter().copied())
                    .chain(*b"\r\n"),
            );
        }
        if is_last {
            out.extend(*b"connection: close\r\n");
        }
        out.extend(format!("content-length: {}\r\n", self.body.as_bytes().len()).bytes());
    }

    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).expect("status codes are written in this crate")
    }

    pub fn into_response(self) -> Response<Body> {
        let status = self.status_code();
        let mut response = Response::new(self.body);
        *response.status_mut() = status;
        response.headers_mut().extend(self.headers);
        if self.is_unread {
            response.extensions_mut().insert(Unread);
        }
        response
    }
}
