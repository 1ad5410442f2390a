//! The query API: groups and flags as JSON, exactly as the reference writes them.

use super::answer::Answer;
use super::answer_body::AnswerBody;
use super::front_end::FrontEnd;
use crate::exposition::json;
use crate::gateway::{Gateway, Snapshot, unix_ns};
use crate::telemetry::build_labels;
use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use std::sync::Arc;

/// About how many bytes of an answer are made at a time, when the connection has room for them.
const CHUNK_BYTES: usize = 64 << 10;

const CORS: [(HeaderName, HeaderValue); 5] = [
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Accept, Authorization, Content-Type, Origin"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("GET, POST, DELETE, OPTIONS"),
    ),
    (
        header::ACCESS_CONTROL_ALLOW_ORIGIN,
        HeaderValue::from_static("*"),
    ),
    (
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("Date"),
    ),
    (
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-store, must-revalidate"),
    ),
];

fn with_cors(answer: Answer) -> Answer {
    CORS.into_iter()
        .fold(answer, |answer, (name, value)| answer.with(name, value))
}

fn json_answer(status: u16, body: AnswerBody) -> Answer {
    with_cors(Answer::with_body(
        status,
        HeaderValue::from_static("application/json"),
        body,
    ))
}

/// Answers OPTIONS of any path of the API.
pub(super) fn options() -> Answer {
    with_cors(Answer::empty(200))
}

/// Answers `/api/v1/status`.
pub(super) fn status(front_end: &FrontEnd) -> Answer {
    let label = |name: &str| {
        build_labels()
            .into_iter()
            .find(|(known, _)| *known == name)
            .map_or("", |(_, value)| value)
    };
    let build = [
        ("branch", label("branch")),
        ("buildDate", ""),
        ("buildUser", ""),
        ("goVersion", ""),
        ("revision", label("revision")),
        ("version", label("version")),
    ];
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"status\":\"success\",\"data\":{\"build_information\":");
    json::write_object(build.into_iter(), &mut out);
    out.extend_from_slice(b",\"flags\":");
    let mut flags: Vec<(&str, &str)> = front_end
        .options
        .flags
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    flags.sort_unstable();
    json::write_object(flags.into_iter(), &mut out);
    out.extend_from_slice(b",\"start_time\":");
    json::write_time(unix_ns(front_end.gateway.clock.started_at), &mut out);
    out.extend_from_slice(b"}}");
    json_answer(200, AnswerBody::bytes(out))
}

/// Answers `/api/v1/metrics` with all groups, those of a job, or those of a job and instance.
pub(super) fn metrics(gateway: &Gateway, job: Option<&str>, instance: Option<&str>) -> Answer {
    let is_wanted = |group: &Arc<Snapshot>| {
        job.is_none_or(|job| group.key().job() == job)
            && instance.is_none_or(|instance| {
                group.key().labels().get("instance").unwrap_or_default() == instance
            })
    };
    let mut groups: Vec<Arc<Snapshot>> = gateway.groups().into_iter().filter(is_wanted).collect();
    if let Some(job) = job
        && groups.is_empty()
    {
        let mut out = b"{\"status\":\"error\",\"errorType\":\"not_found\",\"error\":".to_vec();
        let and_instance = instance
            .map(|instance| format!(" and instance {instance:?}"))
            .unwrap_or_default();
        json::write_string(
            &format!("there is no group with job {job:?}{and_instance}"),
            &mut out,
        );
        out.push(b'}');
        return json_answer(404, AnswerBody::bytes(out));
    }
    groups.sort_by(|a, b| a.key().labels().cmp(b.key().labels()));
    let mut groups = groups.into_iter();
    let mut is_first = true;
    let mut is_done = false;
    let chunks = std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let mut out = Vec::with_capacity(CHUNK_BYTES + (CHUNK_BYTES >> 2));
        if is_first {
            out.extend_from_slice(b"{\"status\":\"success\",\"data\":[");
        }
        while out.len() < CHUNK_BYTES {
            let Some(group) = groups.next() else {
                out.extend_from_slice(b"]}");
                is_done = true;
                break;
            };
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            json::write_group(&json_group(&group), &mut out);
        }
        Some(Bytes::from(out))
    });
    json_answer(200, AnswerBody::Chunks(Box::new(chunks)))
}

/// A group in the words of [`json`].
fn json_group(group: &Snapshot) -> json::ShownGroup<'_> {
    json::ShownGroup {
        labels: group.key().labels(),
        families: group
            .layout()
            .families_by_name()
            .map(|family| (family, group.family_time(family.index())))
            .collect(),
        values: &group.values,
        extras: &group.extras,
        push_time: group.push_time,
        failure_time: group.failure_time,
        first_time: group.first_time,
    }
}
