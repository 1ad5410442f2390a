//! PUT, POST and DELETE of a group.

use super::answer::Answer;
use super::gateway::Gateway;
use super::negotiation::is_delimited_protobuf;
use super::parse_pool::LARGE_BODY_BYTES;
use super::request_body::{self, BodyError, Encoding, Received};
use super::router::GroupPath;
use crate::exposition::go_quote::quote;
use crate::exposition::{Limits, protobuf, text};
use crate::model::{
    Families, GroupingKey, LabelBytes, NameScheme, ShortText, is_legacy_label_name, unescape_name,
};
use crate::store::{Layout, Outcome, Push, PushMode, Refusal};
use crate::telemetry::EarlyRefusal;
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

/// Forms are kept of bodies up to this size: those that runtime workers parse. Of larger ones they
/// would take as much memory again.
const FORM_BYTES_MAX: usize = LARGE_BODY_BYTES;

/// Answers a push.
pub(super) async fn push(
    gateway: &Gateway,
    mode: PushMode,
    path: &GroupPath<'_>,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let body = match request_body::receive(body, gateway.body_limits()).await {
        Ok(body) => body,
        Err(error) => return refused(gateway, path, &PushError::Body(error)),
    };
    let format = BodyFormat::of(headers, gateway);
    if format.is_large(body.len()) {
        // On the heap: what it needs is much, and every idle connection would keep room for it.
        let answer = Box::pin(admit_large(gateway, mode, path, format, body)).await;
        return answer.unwrap_or_else(|error| refused(gateway, path, &error));
    }
    match push_whole(gateway, mode, path, &format, &body.into_bytes()) {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
    }
}

/// An answer, or one that has to wait for another push.
pub(super) enum Reply<'a> {
    Now(Answer),
    Later(Pin<Box<dyn Future<Output = Answer> + Send + 'a>>),
}

/// Answers a push that was received whole. Not for bodies that are [large](BodyFormat::is_large).
pub(super) fn push_whole<'a>(
    gateway: &'a Gateway,
    mode: PushMode,
    path: &GroupPath<'_>,
    format: &BodyFormat,
    body: &[u8],
) -> Reply<'a> {
    match read(gateway, mode, path, format, body) {
        Ok(None) => Reply::Now(Answer::empty(accepted(gateway))),
        Ok(Some(mut push)) => match try_admit(gateway, &mut push) {
            Some(answer) => Reply::Now(answer),
            None => Reply::Later(Box::pin(admit(gateway, push))),
        },
        Err(error) => Reply::Now(refused(gateway, path, &error)),
    }
}

/// Reads a push; none if it only brought numbers, and is in effect already.
fn read(
    gateway: &Gateway,
    mode: PushMode,
    path: &GroupPath<'_>,
    format: &BodyFormat,
    body: &[u8],
) -> Result<Option<Push>, PushError> {
    let labels = labels_of(gateway, path, format, body)?;
    let received_at = gateway.now_ns();
    let key = || Arc::new(labels.key());
    Ok(match known(gateway, &labels, format, body, received_at) {
        Known::Done => None,
        Known::Layout(layout, values) => {
            Some(Push::of_layout(key(), layout, values, mode, received_at))
        }
        Known::Unknown => Some(Push::new(key(), format.parse(body)?, mode, received_at)),
    })
}

fn labels_of<'a>(
    gateway: &Gateway,
    path: &'a GroupPath<'_>,
    format: &BodyFormat,
    body: &[u8],
) -> Result<PathLabels<'a>, PushError> {
    PathLabels::new(path, gateway.options.names).map_err(|text| {
        match format.check_passed_over(body) {
            Ok(()) => PushError::Path(text),
            Err(error) => PushError::Body(error),
        }
    })
}

fn refused(gateway: &Gateway, path: &GroupPath<'_>, error: &PushError) -> Answer {
    if let Some(reason) = error.reason() {
        gateway.telemetry.count_early_refusal(reason);
    }
    tracing::debug!(job = %String::from_utf8_lossy(&path.job), err = %error, "push refused");
    error.answer()
}

/// Brings a large push into effect, on a thread for such: it takes milliseconds to put it together,
/// to parse it, to compare it with what its group had, and to free it again. Small pushes do not
/// wait for that.
async fn admit_large(
    gateway: &Gateway,
    mode: PushMode,
    path: &GroupPath<'_>,
    format: BodyFormat,
    body: Received,
) -> Result<Answer, PushError> {
    let Ok(labels) = PathLabels::new(path, gateway.options.names) else {
        return Err(labels_of(gateway, path, &format, &body.into_bytes())
            .err()
            .expect("as a moment before"));
    };
    let key = Arc::new(labels.key());
    let (store, of_push, received_at) = (
        Arc::clone(&gateway.store),
        Arc::clone(&key),
        gateway.now_ns(),
    );
    let outcome = gateway.parse_pool.run(move || {
        let families = format.parse(&body.into_bytes())?;
        let mut push = Push::new(of_push, families, mode, received_at);
        loop {
            match store.push(&mut push) {
                Outcome::Busy => std::thread::yield_now(),
                outcome => return Ok(outcome),
            }
        }
    });
    let outcome = outcome.await.unwrap_or(Err(PushError::Parser))?;
    Ok(answer_to(gateway, &key, outcome).expect("it was tried until it was not busy"))
}

/// What a push is before its body is parsed as a whole.
enum Known {
    /// In effect already.
    Done,
    /// Of a layout that groups of its job have.
    Layout(Arc<Layout>, SmallVec<[u64; 12]>),
    /// Nothing that was seen before.
    Unknown,
}

/// Reads a push along the form of the group's last one, or of those of its job.
fn known(
    gateway: &Gateway,
    labels: &PathLabels<'_>,
    format: &BodyFormat,
    body: &[u8],
    received_at: i64,
) -> Known {
    if !format.may_have_form(body) {
        return Known::Unknown;
    }
    let read = |layout: &Layout| {
        let mut values = SmallVec::from_elem(0, layout.skeleton().n_values());
        layout
            .forms()
            .any(|form| text::parse_along(form, body, &mut values))
            .then_some(values)
    };
    let key = LabelBytes::new(labels.iter());
    while let Some(found) = gateway.store.find(&key) {
        let Some(values) = read(found.snapshot().layout()) else {
            break;
        };
        if gateway.store.push_numbers(&found, values, received_at) {
            return Known::Done;
        }
        // Somebody else pushed to the group meanwhile: it may have another layout now.
    }
    let (_, job) = labels.0.last().expect("there is a job");
    for layout in gateway.store.recent_layouts(job) {
        if let Some(values) = read(&layout) {
            return Known::Layout(layout, values);
        }
    }
    Known::Unknown
}

fn accepted(gateway: &Gateway) -> u16 {
    if gateway.options.is_check_announced {
        200
    } else {
        202
    }
}

/// Brings a push into effect, or says why not.
async fn admit(gateway: &Gateway, mut push: Push) -> Answer {
    loop {
        match try_admit(gateway, &mut push) {
            Some(answer) => return answer,
            None => tokio::task::yield_now().await,
        }
    }
}

/// The same, if it need not wait for another push.
fn try_admit(gateway: &Gateway, push: &mut Push) -> Option<Answer> {
    let outcome = gateway.store.push(push);
    answer_to(gateway, push.key(), outcome)
}

/// The answer to a push; none if it has to be tried again.
fn answer_to(gateway: &Gateway, key: &GroupingKey, outcome: Outcome) -> Option<Answer> {
    let answer = match outcome {
        Outcome::Busy => return None,
        Outcome::Refused(refusal) => {
            gateway.telemetry.count_refusal(&refusal);
            let text = RefusalText(&refusal);
            tracing::debug!(%key, err = ShortText::of(&text), "push refused");
            if let Refusal::ExpositionTooLarge { .. } = refusal {
                // As for a body that is too large: this is nothing that a consistency check finds.
                Answer::error(413, ShortText::of(&text))
            } else if gateway.options.is_check_announced {
                let text = format_args!(
                    "pushed metrics are invalid or inconsistent with existing metrics: {text}"
                );
                Answer::error(400, ShortText::of(text))
            } else {
                // Whoever switched the check off is told nothing by the reference either.
                tracing::warn!(%key, err = ShortText::of(&text), "push accepted but not exposed, because it contradicts others");
                Answer::empty(accepted(gateway))
            }
        }
        Outcome::Done => Answer::empty(accepted(gateway)),
    };
    Some(answer)
}

/// The text of a refusal, with the flag that sets the limit if it is about one.
struct RefusalText<'a>(&'a Refusal);

impl std::fmt::Display for RefusalText<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(refusal) = self;
        match refusal {
            Refusal::ExpositionTooLarge { .. } => {
                write!(f, "{refusal} (--limit.group-exposition-bytes)")
            }
            Refusal::TooManyShapes { .. } => write!(f, "{refusal} (--limit.shapes-per-job)"),
            _ => write!(f, "{refusal}"),
        }
    }
}

/// Answers a delete.
pub(super) async fn delete(
    gateway: &Gateway,
    path: &GroupPath<'_>,
    body: Option<Incoming>,
) -> Answer {
    // A body says nothing here, but the next request stands behind it.
    if let Some(body) = body
        && let Err(error) = request_body::receive(body, gateway.body_limits()).await
    {
        return body_error(&error);
    }
    match delete_whole(gateway, path) {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
    }
}

/// Answers a delete whose body, if it has one, was read.
pub(super) fn delete_whole<'a>(gateway: &'a Gateway, path: &GroupPath<'_>) -> Reply<'a> {
    let key = match grouping_key(path, gateway.options.names) {
        Ok(key) => key,
        Err(text) => return Reply::Now(Answer::error(400, text)),
    };
    // Deleting an unknown group succeeds: the client already has what it asked for.
    let answer = || Answer::empty(202);
    if gateway.store.delete(&key) != Outcome::Busy {
        return Reply::Now(answer());
    }
    Reply::Later(Box::pin(async move {
        while gateway.store.delete(&key) == Outcome::Busy {
            tokio::task::yield_now().await;
        }
        answer()
    }))
}

/// Why a push does not reach the store.
enum PushError {
    /// The path names no group.
    Path(String),
    /// There is no body.
    Body(BodyError),
    /// The body is not what it should be.
    Format(String),
    /// The body holds more than the limits allow.
    TooLarge(String),
    /// The parser has a bug.
    Parser,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(text) | Self::Format(text) | Self::TooLarge(text) => f.write_str(text),
            Self::Body(error) => error.fmt(f),
            Self::Parser => f.write_str("the parser failed on this body"),
        }
    }
}

impl PushError {
    /// As what it counts; a bug of ours is no refusal.
    fn reason(&self) -> Option<EarlyRefusal> {
        match self {
            Self::Path(_) => Some(EarlyRefusal::GroupingKey),
            Self::Body(
                BodyError::TooLarge { .. }
                | BodyError::DecodedTooLarge { .. }
                | BodyError::RatioTooLarge { .. },
            ) => Some(EarlyRefusal::TooLarge),
            Self::Body(BodyError::Corrupt(_)) => Some(EarlyRefusal::Encoding),
            Self::Body(BodyError::Broken(_)) => Some(EarlyRefusal::Incomplete),
            Self::Format(_) => Some(EarlyRefusal::Malformed),
            Self::TooLarge(_) => Some(EarlyRefusal::TooLarge),
            Self::Parser => None,
        }
    }

    fn answer(&self) -> Answer {
        match self {
            Self::Body(error) => body_error(error),
            Self::Path(_) | Self::Format(_) => Answer::error(400, self.to_string()),
            Self::TooLarge(_) => Answer::error(413, self.to_string()),
            Self::Parser => Answer::error(500, self.to_string()),
        }
    }
}

/// Answers a request whose body cannot be had.
pub(super) fn body_error(error: &BodyError) -> Answer {
    match error {
        BodyError::TooLarge { .. } => Answer::error(413, error.to_string()).unread(),
        BodyError::DecodedTooLarge { .. } | BodyError::RatioTooLarge { .. } => {
            Answer::error(413, error.to_string())
        }
        BodyError::Corrupt(_) => Answer::error(400, error.to_string()),
        BodyError::Broken(_) => Answer::error(400, error.to_string()).unread(),
    }
}

/// How a body is to be read.
pub(super) struct BodyFormat {
    encoding: Encoding,
    is_protobuf: bool,
    is_form: bool,
    names: NameScheme,
    body_limits: request_body::Limits,
    limits: Limits,
}

impl From<text::ParseError> for PushError {
    fn from(error: text::ParseError) -> Self {
        match error {
            text::ParseError::Line { .. } => Self::Format(error.to_string()),
            text::ParseError::TooManySeries(_) => Self::TooLarge(error.to_string()),
        }
    }
}

impl From<protobuf::ParseError> for PushError {
    fn from(error: protobuf::ParseError) -> Self {
        match error {
            protobuf::ParseError::TooManySeries(_) => Self::TooLarge(error.to_string()),
            _ => Self::Format(error.to_string()),
        }
    }
}

impl BodyFormat {
    fn of(headers: &HeaderMap, gateway: &Gateway) -> Self {
        let bytes = |name| headers.get(name).map(HeaderValue::as_bytes);
        Self::new(bytes(CONTENT_TYPE), bytes(CONTENT_ENCODING), gateway)
    }

    /// As these headers say, the first ones of their names.
    pub fn new(
        content_type: Option<&[u8]>,
        content_encoding: Option<&[u8]>,
        gateway: &Gateway,
    ) -> Self {
        let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
        let content_type = content_type
            .filter(|value| value.iter().all(is_visible))
            .unwrap_or_default();
        let content_type = std::str::from_utf8(content_type).expect("visible characters are ASCII");
        let media = content_type.split(';').next().unwrap_or_default().trim();
        Self {
            encoding: content_encoding.map_or(Encoding::Identity, Encoding::of),
            is_protobuf: is_delimited_protobuf(content_type),
            is_form: media.eq_ignore_ascii_case("application/x-www-form-urlencoded"),
            names: gateway.options.names,
            body_limits: gateway.body_limits(),
            limits: gateway.options.limits,
        }
    }

    /// Whether a body of so many bytes is to be parsed on a thread for such.
    pub fn is_large(&self, body_bytes: usize) -> bool {
        // What is compressed says little about how long it takes.
        let expected_bytes = if self.encoding == Encoding::Identity {
            body_bytes
        } else {
            body_bytes.saturating_mul(8)
        };
        expected_bytes >= LARGE_BODY_BYTES
    }

    /// The body of a push that names no group: the reference has begun to decode it by then, too,
    /// and the connection can go on.
    fn check_passed_over(&self, body: &[u8]) -> Result<(), BodyError> {
        if self.encoding == Encoding::Gzip {
            request_body::check_gzip_header(body)
        } else {
            Ok(())
        }
    }

    /// Whether the body may be like an earlier one of its group or job as it lies there.
    fn may_have_form(&self, body: &[u8]) -> bool {
        !self.is_protobuf && self.encoding == Encoding::Identity && body.len() <= FORM_BYTES_MAX
    }

    fn parse(&self, body: &[u8]) -> Result<Families, PushError> {
        let body =
            request_body::decode(body, self.encoding, self.body_limits).map_err(PushError::Body)?;
        if self.is_protobuf {
            return Ok(protobuf::parse_within(&body, self.limits)?);
        }
        let parse = if body.len() <= FORM_BYTES_MAX {
            text::parse_with_form
        } else {
            text::parse_within
        };
        parse(&body, self.names, self.limits).or_else(|error| {
            // What parses as it stands is never touched.
            let decoded = if self.is_form {
                request_body::decode_form(&body)
            } else {
                None
            };
            let families =
                decoded.and_then(|body| text::parse_within(&body, self.names, self.limits).ok());
            families.ok_or_else(|| error.into())
        })
    }
}

/// The labels that a path names, not yet sorted; the last one of a name counts, and that is the
/// job's for `job`, which is not empty.
pub(super) struct PathLabels<'a>(SmallVec<[(Cow<'a, str>, Cow<'a, str>); 4]>);

impl<'a> PathLabels<'a> {
    /// Reads a path; the error is the text of the answer.
    fn new(path: &'a GroupPath<'_>, names: NameScheme) -> Result<Self, String> {
        let job = if path.job_is_base64 {
            Cow::Owned(
                decode_base64(&path.job)
                    .map_err(|what| format!("invalid base64 encoding in job name \"\": {what}"))?,
            )
        } else {
            Cow::Borrowed(&*path.job)
        };
        let mut labels = SmallVec::new();
        // What is not UTF-8 is told only if nothing else is wrong.
        let mut not_utf8 = None;
        let mut add = |name: Cow<'a, str>, value: Cow<'a, [u8]>| {
            let text = match value {
                Cow::Borrowed(value) => std::str::from_utf8(value)
                    .map(Cow::Borrowed)
                    .map_err(|_| value.to_vec()),
                Cow::Owned(value) => String::from_utf8(value)
                    .map(Cow::Owned)
                    .map_err(std::string::FromUtf8Error::into_bytes),
            };
            match text {
                Ok(text) => labels.push((name, text)),
                Err(value) => {
                    not_utf8.get_or_insert_with(|| {
                        format!(
                            "the value of label {name:?} is not UTF-8: {}",
                            quote(&value)
                        )
                    });
                }
            }
        };
        if let Some(mut below) = path.labels.get(1..).filter(|below| !below.is_empty()) {
            let n_slashes = memchr::memchr_iter(b'/', below).count();
            if n_slashes.is_multiple_of(2) {
                return Err(format!(
                    "odd number of components in label string {}",
                    quote(&path.labels)
                ));
            }
            for _ in 0..n_slashes / 2 + 1 {
                let name = take_component(&mut below);
                let value = take_component(&mut below);
                let (name, is_base64) = match name.strip_suffix(b"@base64") {
                    Some(name) => (name, true),
                    None => (name, false),
                };
                let unescaped = label_name(name, names)
                    .ok_or_else(|| format!("improper label name {}", quote(name)))?;
                let value = if is_base64 {
                    let invalid = |what| {
                        format!(
                            "invalid base64 encoding for label {}={}: {what}",
                            String::from_utf8_lossy(name),
                            quote(value)
                        )
                    };
                    Cow::Owned(decode_base64(value).map_err(invalid)?)
                } else {
                    Cow::Borrowed(value)
                };
                add(unescaped, value);
            }
        }
        if job.is_empty() {
            return Err("job name is required".to_owned());
        }
        // The job in front wins over one among the labels.
        add(Cow::Borrowed("job"), job);
        not_utf8.map_or(Ok(Self(labels)), Err)
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The key of the group.
    fn key(&self) -> GroupingKey {
        GroupingKey::new(self.iter()).expect("there is a job")
    }
}

/// The key that a path names; the error is the text of the answer.
fn grouping_key(path: &GroupPath<'_>, names: NameScheme) -> Result<GroupingKey, String> {
    PathLabels::new(path, names).map(|labels| labels.key())
}

/// The part before the next slash, which is taken off as well.
fn take_component<'a>(path: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'/', path).unwrap_or(path.len());
    let (component, rest) = path.split_at(end);
    *path = rest.get(1..).unwrap_or_default();
    component
}

/// The label's name. What looks reserved is refused as it is written and as it is meant: the
/// reference only does the former, and then every push and scrape fails.
fn label_name(name: &[u8], names: NameScheme) -> Option<Cow<'_, str>> {
    let name = std::str::from_utf8(name).ok()?;
    let meant = match names {
        NameScheme::Legacy => is_legacy_label_name(name).then_some(Cow::Borrowed(name)),
        NameScheme::Utf8 => Some(unescape_name(name)),
    };
    meant.filter(|meant| !meant.is_empty() && !meant.starts_with("__") && !name.starts_with("__"))
}

/// Base64 with URL alphabet, padded or not, as the reference takes it: line breaks do not count.
fn decode_base64(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    let end = encoded
        .iter()
        .rposition(|&byte| byte != b'=')
        .map_or(0, |last| last + 1);
    let broken: Vec<u8> = encoded[..end]
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    engine.decode(&broken).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => illegal(at),
        base64::DecodeError::InvalidLength(len) => illegal(len - 1),
        // Not with trailing bits allowed and padding taken off.
        base64::DecodeError::InvalidLastSymbol { .. } | base64::DecodeError::InvalidPadding => {
            illegal(broken.len())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(job: &str, labels: &str, expected: Result<&str, &str>) {
        let (job, job_is_base64) = job
            .strip_prefix("base64:")
            .map_or((job, false), |job| (job, true));
        let path = GroupPath {
            job: job.as_bytes().into(),
            job_is_base64,
            labels: labels.as_bytes().into(),
        };
        let key = grouping_key(&path, NameScheme::Legacy).map(|key| key.to_string());
        assert_eq!(
            key.as_deref().map_err(String::as_str),
            expected,
            "{job} {labels}"
        );
    }

    #[test]
    fn a_path_names_a_group_as_by_the_reference() {
        check("a", "", Ok(r#"{job="a"}"#));
        check("a", "/", Ok(r#"{job="a"}"#));
        check("a", "/b/", Ok(r#"{b="",job="a"}"#));
        check("a", "/l/v/l/w", Ok(r#"{job="a",l="w"}"#));
        check("a", "/job/b", Ok(r#"{job="a"}"#));
        check(
            "base64:dGVzdC9qb2I",
            "/l@base64/YQ==/m@base64/=",
            Ok(r#"{job="test/job",l="a",m=""}"#),
        );
        check("base64:Y\r\nQ", "", Ok(r#"{job="a"}"#));
    }

    #[test]
    fn what_is_no_group_is_refused_in_the_references_words() {
        check(
            "a",
            "/b",
            Err("odd number of components in label string \"/b\""),
        );
        check(
            "a",
            "/b/c/",
            Err("odd number of components in label string \"/b/c/\""),
        );
        check("a", "/1x/b", Err("improper label name \"1x\""));
        check("a", "/__x/b", Err("improper label name \"__x\""));
        check("a", "/@base64/YQ", Err("improper label name \"\""));
        check("base64:=", "", Err("job name is required"));
        check(
            "base64:YW.j",
            "",
            Err("invalid base64 encoding in job name \"\": illegal base64 data at input byte 2"),
        );
        check(
            "base64:_-8+",
            "",
            Err("invalid base64 encoding in job name \"\": illegal base64 data at input byte 3"),
        );
        check(
            "a",
            "/l@base64/!",
            Err("invalid base64 encoding for label l=\"!\": illegal base64 data at input byte 0"),
        );
        check(
            "a",
            "/l@base64/_w",
            Err("the value of label \"l\" is not UTF-8: \"\\xff\""),
        );
    }

    #[test]
    fn escaped_names_are_unescaped_if_any_name_may_come() {
        let path = GroupPath {
            job: b"a".into(),
            job_is_base64: false,
            labels: b"/U__x_2e_y/1".into(),
        };
        let key = |names| grouping_key(&path, names).unwrap().to_string();
        assert_eq!(key(NameScheme::Legacy), r#"{U__x_2e_y="1",job="a"}"#);
        assert_eq!(key(NameScheme::Utf8), r#"{job="a",x.y="1"}"#);
        for refused in ["U__", "U______x", "U___5f__5f_x", "__x", ""] {
            let labels = format!("/{refused}/v");
            let path = GroupPath {
                job: b"a".into(),
                job_is_base64: false,
                labels: labels.as_bytes().into(),
            };
            assert_eq!(
                grouping_key(&path, NameScheme::Utf8),
                Err(format!("improper label name {refused:?}"))
            );
        }
        // One underscore is not reserved; nor is what only looks like an escape.
        for (labels, shown) in [
            ("/U____x/v", r#"{_x="v",job="a"}"#),
            ("/U__a_/v", r#"{U__a_="v",job="a"}"#),
        ] {
            let path = GroupPath {
                job: b"a".into(),
                job_is_base64: false,
                labels: labels.as_bytes().into(),
            };
            assert_eq!(
                grouping_key(&path, NameScheme::Utf8).unwrap().to_string(),
                shown
            );
        }
    }
}
