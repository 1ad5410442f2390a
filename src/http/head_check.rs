//! What a head must not say, checked behind hyper. The fast path leaves all such requests to hyper.

use super::answer::Answer;
use super::head::is_host;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;

/// Refuses a request whose head says something that the gateway cannot comply with. The connection
/// ends with the answer.
pub(super) fn check_head(parts: &Parts) -> Option<Answer> {
    check_transfer_encoding(&parts.headers)
        .or_else(|| check_host(parts))
        .or_else(|| check_expectation(&parts.headers))
        .map(Answer::unread)
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub(super) fn expects_continue(headers: &HeaderMap) -> bool {
    expectations(headers).next().is_some()
}

/// Refuses any coding but a single `chunked`. A list that does not end with `chunked` is refused by
/// hyper: nobody knows where such a body ends.
fn check_transfer_encoding(headers: &HeaderMap) -> Option<Answer> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let first = codings.next()?;
    let is_chunked = first.as_bytes().eq_ignore_ascii_case(b"chunked");
    (!is_chunked || codings.next().is_some())
        .then(|| Answer::text(501, "Unsupported transfer encoding"))
}

/// Refuses a request that has not exactly one `Host` header (RFC 9112, section 3.2), or a malformed
/// one.
fn check_host(parts: &Parts) -> Option<Answer> {
    let refused = |what: &str| Some(Answer::text(400, format!("400 Bad Request: {what}")));
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if parts.version >= hyper::Version::HTTP_11 => {
            refused("missing required Host header")
        }
        (Some(_), Some(_)) => refused("too many Host headers"),
        (Some(host), None) if !is_host(host.as_bytes()) => refused("malformed Host header"),
        (Some(_) | None, _) => None,
    }
}

/// Refuses any expectation but `100-continue`.
fn check_expectation(headers: &HeaderMap) -> Option<Answer> {
    expectations(headers)
        .any(|expectation| !expectation.eq_ignore_ascii_case(b"100-continue"))
        .then(|| Answer::empty(417))
}

/// What the client expects of the gateway: the members of all `Expect` headers.
fn expectations(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers
        .get_all(header::EXPECT)
        .iter()
        .map(HeaderValue::as_bytes)
        .flat_map(|value| value.split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|expectation| !expectation.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    #[test]
    fn heads_that_the_gateway_cannot_comply_with_are_refused() {
        let check = |headers: &[(&str, &str)]| {
            let mut request = Request::builder();
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).expect("a request").into_parts();
            check_head(&parts).map(|answer| answer.status)
        };
        const HOST: (&str, &str) = ("host", "h");
        const TE: &str = "transfer-encoding";
        for (headers, expected) in [
            (&[HOST][..], None),
            (&[], Some(400)),
            (&[HOST, HOST], Some(400)),
            (&[("host", "a b")], Some(400)),
            (&[HOST, (TE, "chunked")], None),
            (&[HOST, (TE, "Chunked")], None),
            (&[HOST, (TE, "gzip, chunked")], Some(501)),
            (&[HOST, (TE, "chunked, chunked")], Some(501)),
            (&[HOST, (TE, "gzip"), (TE, "chunked")], Some(501)),
            (&[HOST, (TE, "chunked"), (TE, "chunked")], Some(501)),
            (&[HOST, ("expect", "100-Continue")], None),
            (&[HOST, ("expect", "100-continue, ,100-continue")], None),
            (&[HOST, ("expect", "")], None),
            (&[HOST, ("expect", "a-miracle")], Some(417)),
            (&[HOST, ("expect", "100-continue, a-miracle")], Some(417)),
            (
                &[HOST, ("expect", "a-miracle"), ("expect", "100-continue")],
                Some(417),
            ),
        ] {
            assert_eq!(check(headers), expected, "{headers:?}");
        }
    }
}
