//! What is answered to a request, before hyper or the fast path writes it.

use super::answer_body::AnswerBody;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// The answer to a request.
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub body: AnswerBody,
    /// The request was not read to its end.
    is_unread: bool,
}

/// Marks a response to a request that was not read to its end.
#[derive(Clone, Copy)]
pub(super) struct Unread;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

impl Answer {
    /// No body.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: AnswerBody::Empty,
            is_unread: false,
        }
    }

    /// A body of this content type.
    pub fn with_body(status: u16, content_type: HeaderValue, body: AnswerBody) -> Self {
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, content_type)],
            body,
            is_unread: false,
        }
    }

    /// Plain text.
    pub fn text(status: u16, text: impl Into<String>) -> Self {
        Self::with_body(status, TEXT, AnswerBody::bytes(text.into()))
    }

    /// An error as the reference writes it: a line of text, with a header that keeps browsers from
    /// taking it for anything else.
    pub fn error(status: u16, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.push('\n');
        Self::text(status, text).with(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        )
    }

    /// The answer to a request for a large answer while too many others wait for theirs.
    pub fn too_many_answers() -> Self {
        Self::error(
            503,
            "too many large answers are being built, try again later",
        )
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// The answer to a request that a bug has ended.
    pub fn panicked() -> Self {
        Self::error(500, "the gateway failed to answer; this is a bug")
    }

    /// This answer with one more header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// This answer as the last one of its connection.
    pub fn closing(self) -> Self {
        if self.is_closing() {
            return self;
        }
        self.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// This answer to a request that was not read to its end, so that the connection cannot go on.
    pub fn unread(mut self) -> Self {
        self.is_unread = true;
        self.closing()
    }

    fn is_closing(&self) -> bool {
        let mut names = self.headers.iter().map(|(name, _)| name);
        names.any(|name| name == header::CONNECTION)
    }

    /// Whether this is nothing but a status.
    pub fn is_status_only(&self) -> bool {
        self.headers.is_empty() && matches!(self.body, AnswerBody::Empty)
    }

    /// Writes the status line and all headers but the date to `out`, as hyper would. `is_last` says
    /// that the client wants the connection to end; not for answers that end it themselves.
    pub fn write_head(&self, is_last: bool, out: &mut impl Extend<u8>) {
        debug_assert!(!self.is_unread && !self.is_closing());
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

    /// The response for hyper, with [`Unread`] among its extensions if the request was not read to
    /// its end.
    pub fn into_response(self) -> Response<AnswerBody> {
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
