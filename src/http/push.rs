//! PUT, POST and DELETE of a group: from a request to the gateway, and from the outcome to an
//! answer.
//!
//! The status code of every refused push is chosen here, in [`refusal_answer`] for what the gateway
//! refuses and in [`body_error_answer`] for bodies that do not arrive.

use super::answer::Answer;
use super::front_end::FrontEnd;
use super::group_path::{GroupPath, grouping_labels};
use super::negotiation;
use super::push_request::PushRequest;
use super::refusal_log::RefusalKind;
use super::request_body::{self, BodyError};
use crate::exposition::{protobuf, text};
use crate::gateway::body_pieces::BodyPieces;
use crate::gateway::decode::{BodyEncoding, BodyType, DecodeError, check_gzip_header};
use crate::gateway::ingest::{IncomingPush, IngestOutcome, LargePush, PushRefusal};
use crate::gateway::{DeleteOutcome, NotOnDisk, PushMode, Refusal};
use crate::model::ShortText;
use crate::telemetry::{EarlyRefusal, Endpoint, Handler, Method};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

/// An answer, or the future of one that has to wait for another push.
pub(super) enum Reply<'a> {
    Now(Answer),
    Later(Pin<Box<dyn Future<Output = Answer> + Send + 'a>>),
}

/// Receives the body of a push, brings the push into effect, and answers it.
pub(super) async fn push(
    front_end: &FrontEnd,
    request: PushRequest<'_>,
    headers: &HeaderMap,
    body: Incoming,
) -> Answer {
    let body = match request_body::receive(body, front_end.body_bytes_max()).await {
        Ok(body) => body,
        Err(error) => {
            let (kind, reason) = match error {
                BodyError::TooLarge { .. } => (RefusalKind::Limit, EarlyRefusal::TooLarge),
                BodyError::Broken(_) => (RefusalKind::Incomplete, EarlyRefusal::Incomplete),
            };
            note_early_refusal(front_end, request, kind, reason, &error);
            return body_error_answer(&error);
        }
    };
    let header = |name| headers.get(name).map(HeaderValue::as_bytes);
    let body_type = negotiation::body_type(header(CONTENT_TYPE), header(CONTENT_ENCODING));
    if body_type.is_large(body.len()) {
        // On the heap: this future is large, and every idle connection would keep room for it.
        return Box::pin(push_large(front_end, request, body_type, body)).await;
    }
    match push_received(front_end, request, body_type, &body.into_bytes()) {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
    }
}

/// Brings a push into effect whose body was received, and answers it. Not for bodies that are
/// [large](BodyType::is_large).
pub(super) fn push_received<'a>(
    front_end: &'a FrontEnd,
    request: PushRequest<'_>,
    body_type: BodyType,
    body: &[u8],
) -> Reply<'a> {
    #[cfg(test)]
    assert!(request.path.job.as_ref() != b"panics", "a panic for a test");
    let ingester = &front_end.gateway.ingester;
    let labels = match grouping_labels(request.path, ingester.options().names) {
        Ok(labels) => labels,
        Err(text) => return Reply::Now(refuse_path(front_end, request, text, body_type, body)),
    };
    let outcome = ingester.ingest(&IncomingPush {
        mode: request.mode,
        labels: &labels,
        body_type,
        body,
        received_at_ns: front_end.gateway.clock.now_ns(),
    });
    match outcome {
        IngestOutcome::Accepted => when_durable(front_end, accepted_answer(front_end)),
        IngestOutcome::Refused(refusal) => {
            let group = request.group(ingester.options().names);
            let sender = (request.mode, request.client);
            Reply::Now(refuse(front_end, sender, &group, &refusal))
        }
        IngestOutcome::Busy(pending) => {
            let (mode, client) = (request.mode, *request.client);
            Reply::Later(Box::pin(async move {
                match ingester.admit_when_free(pending).await {
                    Ok(()) => durable_answer(front_end, accepted_answer(front_end)).await,
                    // Refused by the store, whose refusals name the group.
                    Err(refusal) => refuse(front_end, (mode, &client), &"", &refusal),
                }
            }))
        }
    }
}

/// Does the same for a large body, away from the runtime's workers.
async fn push_large(
    front_end: &FrontEnd,
    request: PushRequest<'_>,
    body_type: BodyType,
    body: BodyPieces,
) -> Answer {
    let ingester = &front_end.gateway.ingester;
    let key = match grouping_labels(request.path, ingester.options().names) {
        Ok(labels) => Arc::new(labels.key()),
        Err(text) => {
            return refuse_path(front_end, request, text, body_type, &body.into_bytes());
        }
    };
    let large = LargePush {
        mode: request.mode,
        key: Arc::clone(&key),
        body_type,
        body,
        received_at_ns: front_end.gateway.clock.now_ns(),
    };
    match ingester.ingest_large(large).await {
        Ok(()) => durable_answer(front_end, accepted_answer(front_end)).await,
        Err(refusal) => refuse(front_end, (request.mode, request.client), &key, &refusal),
    }
}

/// Refuses a push whose path names no group; `text` says why. The reference has begun to decompress
/// the body by then: a body that is not what its `Content-Encoding` says is refused for that.
fn refuse_path(
    front_end: &FrontEnd,
    request: PushRequest<'_>,
    text: String,
    body_type: BodyType,
    body: &[u8],
) -> Answer {
    let checked = match body_type.encoding {
        BodyEncoding::Gzip => check_gzip_header(body),
        BodyEncoding::Identity | BodyEncoding::Snappy => Ok(()),
    };
    let (kind, reason, text) = match checked {
        Ok(()) => (RefusalKind::Path, EarlyRefusal::GroupingKey, text),
        Err(error) => (RefusalKind::Body, EarlyRefusal::Encoding, error.to_string()),
    };
    note_early_refusal(front_end, request, kind, reason, &text);
    Answer::error(400, text)
}

/// Counts and logs a push that was refused before it was read.
fn note_early_refusal(
    front_end: &FrontEnd,
    request: PushRequest<'_>,
    kind: RefusalKind,
    reason: EarlyRefusal,
    error: &dyn fmt::Display,
) {
    let gateway = &front_end.gateway;
    let (sender, reason) = ((request.mode, request.client), reason.reason());
    gateway.telemetry.count_refusal(reason);
    let group = request.group(gateway.ingester.options().names);
    front_end
        .refusal_log
        .log(sender, group, kind, reason, error);
}

/// Logs and answers a push of `sender` to `group` that the gateway refused.
#[cold]
fn refuse(
    front_end: &FrontEnd,
    sender: (PushMode, &Endpoint),
    group: &dyn fmt::Display,
    refusal: &PushRefusal,
) -> Answer {
    let kind = match refusal {
        PushRefusal::Decode(DecodeError::TooLarge { .. } | DecodeError::RatioTooLarge { .. })
        | PushRefusal::Text(
            text::ParseError::TooManySeries(_) | text::ParseError::TooManyLabels { .. },
        )
        | PushRefusal::Protobuf(
            protobuf::ParseError::TooManySeries(_) | protobuf::ParseError::TooManyLabels(_),
        )
        | PushRefusal::QueueFull
        | PushRefusal::Store {
            refusal: Refusal::ExpositionTooLarge { .. },
            ..
        } => RefusalKind::Limit,
        PushRefusal::Store { .. } if front_end.options.is_check_announced => {
            RefusalKind::Contradiction
        }
        PushRefusal::Store { .. } => RefusalKind::UnannouncedContradiction,
        PushRefusal::Decode(_)
        | PushRefusal::Text(_)
        | PushRefusal::Protobuf(_)
        | PushRefusal::ParserFailed => RefusalKind::Body,
    };
    let group: &dyn fmt::Display = match refusal {
        PushRefusal::Store { key, .. } => key,
        _ => group,
    };
    // A bug of the gateway's is logged when it is counted.
    if let Some(reason) = refusal.reason() {
        let error = ClientText(refusal);
        front_end
            .refusal_log
            .log(sender, group, kind, reason, error);
    }
    refusal_answer(front_end, refusal)
}

/// The answer to a push or deletion that is in effect: `answer`, as soon as it may be given.
fn when_durable(front_end: &FrontEnd, answer: Answer) -> Reply<'_> {
    if front_end.gateway.is_push_durable() {
        Reply::Later(Box::pin(durable_answer(front_end, answer)))
    } else {
        Reply::Now(answer)
    }
}

/// Completes with `answer` when it may be given: at once, or when the state is on disk.
pub(super) async fn durable_answer(front_end: &FrontEnd, answer: Answer) -> Answer {
    match front_end.gateway.wait_until_durable().await {
        Ok(()) => answer,
        Err(NotOnDisk) => {
            let telemetry = &front_end.gateway.telemetry;
            telemetry.count_refusal(EarlyRefusal::NotOnDisk.reason());
            not_on_disk_answer("the change is in effect, but could not be written to disk")
        }
    }
}

/// The answer to a push or deletion whose fate the disk decides.
pub(super) fn not_on_disk_answer(what: &str) -> Answer {
    let text = format!("{what}: see the log of the gateway (--persistence.durability=push)");
    Answer::error(503, text).with(RETRY_AFTER, HeaderValue::from_static("1"))
}

fn accepted_answer(front_end: &FrontEnd) -> Answer {
    Answer::empty(if front_end.options.is_check_announced {
        200
    } else {
        202
    })
}

/// The answer to a push that the gateway refused.
fn refusal_answer(front_end: &FrontEnd, refusal: &PushRefusal) -> Answer {
    let text = ClientText(refusal);
    let status = match refusal {
        PushRefusal::Decode(DecodeError::TooLarge { .. } | DecodeError::RatioTooLarge { .. })
        | PushRefusal::Text(text::ParseError::TooManySeries(_))
        | PushRefusal::Protobuf(protobuf::ParseError::TooManySeries(_)) => 413,
        PushRefusal::Decode(DecodeError::Corrupt(_))
        | PushRefusal::Text(_)
        | PushRefusal::Protobuf(_) => 400,
        PushRefusal::ParserFailed => {
            front_end.gateway.telemetry.count_panic();
            500
        }
        PushRefusal::QueueFull => {
            return Answer::error(503, text.to_string())
                .with(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        PushRefusal::Store { refusal, .. } => {
            return if let Refusal::ExpositionTooLarge { .. } = refusal {
                // Like a body that is too large: not something that a consistency check finds.
                Answer::error(413, ShortText::of(&text))
            } else if front_end.options.is_check_announced {
                let text = format_args!(
                    "pushed metrics are invalid or inconsistent with existing metrics: {text}"
                );
                Answer::error(400, ShortText::of(text))
            } else {
                // With the check switched off the reference tells the client nothing either.
                accepted_answer(front_end)
            };
        }
    };
    Answer::error(status, text.to_string())
}

/// Why a push was refused, as the client reads it: followed by the flag that sets the limit, where
/// the push is over one, so that the client can tell the operator which limit to raise.
struct ClientText<'a>(&'a PushRefusal);

impl fmt::Display for ClientText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let flag = match self.0 {
            PushRefusal::Decode(DecodeError::TooLarge { .. }) => "--limit.decoded-body-bytes",
            PushRefusal::Decode(DecodeError::RatioTooLarge { .. }) => "--limit.decoded-ratio",
            PushRefusal::Text(text::ParseError::TooManySeries(_))
            | PushRefusal::Protobuf(protobuf::ParseError::TooManySeries(_)) => {
                "--limit.series-per-push"
            }
            PushRefusal::Text(text::ParseError::TooManyLabels { .. })
            | PushRefusal::Protobuf(protobuf::ParseError::TooManyLabels(_)) => {
                "--limit.labels-per-series"
            }
            PushRefusal::Store {
                refusal: Refusal::ExpositionTooLarge { .. },
                ..
            } => "--limit.group-exposition-bytes",
            PushRefusal::Store {
                refusal: Refusal::TooManyShapes { .. },
                ..
            } => "--limit.shapes-per-job",
            _ => return Ok(()),
        };
        write!(f, " ({flag})")
    }
}

/// The answer to a request whose body does not arrive.
pub(super) fn body_error_answer(error: &BodyError) -> Answer {
    let status = match error {
        BodyError::TooLarge { .. } => 413,
        BodyError::Broken(_) => 400,
    };
    Answer::error(status, error.to_string()).unread()
}

/// Counts a push of `size` bytes (as the reference counts them) that began at `began`; returns when
/// it ended.
pub(super) fn count_push(
    front_end: &FrontEnd,
    method: Method,
    answer: &Answer,
    size: u64,
    began: Instant,
) -> Instant {
    let ended = Instant::now();
    let gateway = &front_end.gateway;
    let requests = &gateway.telemetry.requests;
    requests.count(Handler::Push, method, answer.status);
    requests.count_push(method, size, ended - began, gateway.clock.ms_at(ended));
    ended
}

/// Receives the body of a DELETE, if there is one, deletes the group, and answers.
pub(super) async fn delete(
    front_end: &FrontEnd,
    path: &GroupPath<'_>,
    body: Option<Incoming>,
) -> Answer {
    // The body is ignored, but it has to be read: the next request comes after it.
    if let Some(body) = body
        && let Err(error) = request_body::receive(body, front_end.body_bytes_max()).await
    {
        return body_error_answer(&error);
    }
    match delete_received(front_end, path) {
        Reply::Now(answer) => answer,
        Reply::Later(answer) => answer.await,
    }
}

/// Deletes a group and answers; the body of the request was received.
pub(super) fn delete_received<'a>(front_end: &'a FrontEnd, path: &GroupPath<'_>) -> Reply<'a> {
    let gateway = &front_end.gateway;
    let key = match grouping_labels(path, gateway.ingester.options().names) {
        Ok(labels) => labels.key(),
        Err(text) => return Reply::Now(Answer::error(400, text)),
    };
    // A group that does not exist is deleted with success: the client has what it asked for.
    match gateway.try_delete(&key) {
        DeleteOutcome::Deleted => when_durable(front_end, Answer::empty(202)),
        DeleteOutcome::Busy => Reply::Later(Box::pin(async move {
            gateway.delete(&key).await;
            durable_answer(front_end, Answer::empty(202)).await
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::ParseLimits;
    use crate::model::NameScheme;

    #[test]
    fn a_refusal_because_of_a_limit_names_the_flag_of_the_limit() {
        let limits = ParseLimits {
            series_max: 1,
            labels_max: 1,
        };
        let text = |body: &[u8]| {
            let error = text::parse_within(body, NameScheme::Legacy, limits).unwrap_err();
            ClientText(&PushRefusal::Text(error)).to_string()
        };
        let protobuf = |body: &[u8]| {
            let error = protobuf::parse_within(body, limits).unwrap_err();
            ClientText(&PushRefusal::Protobuf(error)).to_string()
        };
        let series = "the push has more than 1 series or families, which is the limit (--limit.series-per-push)";
        let labels =
            "a metric has more than 1 labels, which is the limit (--limit.labels-per-series)";
        assert_eq!(text(b"a 1\na 2\n"), series);
        assert_eq!(protobuf(&[0, 0]), series);
        assert_eq!(
            text(b"x{a=\"1\",b=\"1\"} 1\n"),
            format!("text format parsing error in line 1: {labels}")
        );
        assert_eq!(protobuf(&[6, 0x22, 4, 0x0a, 0, 0x0a, 0]), labels);
    }
}
