//! The query API: groups and flags as JSON, exactly as the reference writes them.

use super::answer::Answer;
use super::answer_body::AnswerBody;
use super::front_end::FrontEnd;
use crate::exposition::json;
use crate::exposition::json_group::{GroupWriter, ShownGroup};
use crate::exposition::step_writer::StepWriter;
use crate::gateway::{Gateway, Snapshot, unix_ns};
use crate::model::GroupingKey;
use crate::telemetry::build_labels;
use hyper::header::{self, HeaderName, HeaderValue};
use std::sync::Arc;

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

/// Answers `/api/v1/metrics` with all groups, those of a job, or those of a job and instance. Each
/// group is shown as it is when the answer comes to it.
pub(super) async fn metrics(
    gateway: &Arc<Gateway>,
    job: Option<String>,
    instance: Option<String>,
) -> Answer {
    let Ok(slot) = gateway.answers.slot().await else {
        return with_cors(Answer::too_many_answers());
    };
    let shared = Arc::clone(gateway);
    let collected = slot.run(move || {
        let keys = shared.sorted_keys(|key| {
            job.as_deref().is_none_or(|job| key.job() == job)
                && instance.as_deref().is_none_or(|instance| {
                    key.labels().get("instance").unwrap_or_default() == instance
                })
        });
        (keys, shared, job, instance)
    });
    let Some((slot, (keys, gateway, job, instance))) = collected.await else {
        return with_cors(Answer::panicked());
    };
    if let Some(job) = job
        && keys.is_empty()
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
    let writer = GroupsWriter {
        gateway,
        keys: keys.into_iter(),
        progress: GroupsProgress::Start,
    };
    json_answer(200, AnswerBody::Stream(slot.stream(writer)))
}

/// Writes groups as JSON. Between two steps at most one group is held.
struct GroupsWriter {
    gateway: Arc<Gateway>,
    /// The keys of the groups that have not begun.
    keys: std::vec::IntoIter<Arc<GroupingKey>>,
    progress: GroupsProgress,
}

/// How far the answer is.
enum GroupsProgress {
    /// Nothing is written.
    Start,
    /// No group is written.
    NoGroup,
    /// A group has begun.
    InGroup(Arc<Snapshot>, GroupWriter),
    /// All is written.
    End,
}

impl StepWriter for GroupsWriter {
    fn write_step(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.progress {
            GroupsProgress::Start => {
                out.extend_from_slice(b"{\"status\":\"success\",\"data\":[");
                self.progress = GroupsProgress::NoGroup;
                return true;
            }
            GroupsProgress::InGroup(group, writer) => {
                if writer.write_step(&shown_group(group), out) {
                    return true;
                }
            }
            GroupsProgress::NoGroup => {}
            GroupsProgress::End => return false,
        }
        // A group that was deleted meanwhile is left out.
        let Some(group) = self.keys.find_map(|key| self.gateway.group(&key)) else {
            out.extend_from_slice(b"]}");
            self.progress = GroupsProgress::End;
            return true;
        };
        if let GroupsProgress::InGroup(..) = self.progress {
            out.push(b',');
        }
        let writer = GroupWriter::new(&shown_group(&group));
        self.progress = GroupsProgress::InGroup(group, writer);
        true
    }
}

/// What the query API shows of a group.
fn shown_group(group: &Snapshot) -> ShownGroup<'_> {
    ShownGroup {
        labels: group.key().labels(),
        skeleton: group.layout().skeleton(),
        family_times: group.family_times(),
        values: &group.values,
        extras: &group.extras,
        push_time: group.push_time,
        failure_time: group.failure_time,
        first_time: group.first_time,
    }
}
