//! `POST /api/v1/admin/import`: groups of another gateway, which keep their times.
//!
//! The body is a file of the reference. Either all of it is read, or nothing of it is imported.

use super::answer::Answer;
use super::answer_body::AnswerBody;
use super::front_end::FrontEnd;
use super::push;
use super::request_body;
use crate::exposition::json::write_string;
use crate::gateway::ImportSummary;
use crate::gateway::import::ImportRefusal;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use std::io::Write as _;

/// The content type of the body.
const OCTET_STREAM: &str = "application/octet-stream";

/// Receives the body, imports its groups and answers.
pub(super) async fn import(front_end: &FrontEnd, headers: &HeaderMap, body: Incoming) -> Answer {
    // Pages of other sites cannot have a browser send this content type without being asked first.
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if !content_type.is_some_and(|value| value.eq_ignore_ascii_case(OCTET_STREAM.as_bytes())) {
        let text = format!("the body has to be a file of the reference, sent as {OCTET_STREAM}");
        return Answer::error(415, text).unread();
    }
    let body = match request_body::receive(body, front_end.body_bytes_max()).await {
        Ok(body) => body,
        Err(error) => return push::body_error_answer(&error),
    };
    match front_end.gateway.import(body).await {
        Ok(summary) => {
            let answer = Answer::with_body(
                200,
                HeaderValue::from_static("application/json"),
                AnswerBody::bytes(summary_json(&summary)),
            );
            push::durable_answer(front_end, answer).await
        }
        Err(ImportRefusal::QueueFull) => {
            let text = "too many large bodies are waiting to be read; try again in a second";
            Answer::error(503, text).with(RETRY_AFTER, HeaderValue::from_static("1"))
        }
        Err(ImportRefusal::Malformed(reason)) => Answer::error(
            400,
            format!("the body is not a file of the reference: {reason}"),
        ),
        Err(ImportRefusal::Failed) => {
            front_end.gateway.telemetry.count_panic();
            Answer::panicked()
        }
    }
}

/// The summary as the client reads it.
fn summary_json(summary: &ImportSummary) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "{{\"status\":\"success\",\"data\":{{\"restored\":{},\"outdated\":{},\"left_out_groups\":{},\"left_out_families\":{},\"left_out\":[",
        summary.n_groups,
        summary.n_outdated,
        summary.n_left_out_groups,
        summary.n_left_out_families,
    );
    for (n, left_out) in summary.left_out.iter().enumerate() {
        out.extend_from_slice(if n == 0 {
            b"{\"group\":"
        } else {
            b",{\"group\":"
        });
        write_string(&left_out.group, &mut out);
        if let Some(family) = &left_out.family {
            out.extend_from_slice(b",\"family\":");
            write_string(family, &mut out);
        }
        out.extend_from_slice(b",\"reason\":");
        write_string(&left_out.reason, &mut out);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}}");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_lists_what_was_left_out_and_why() {
        let mut summary = ImportSummary {
            n_groups: 3,
            n_outdated: 2,
            ..ImportSummary::default()
        };
        summary.leave_out_group(&"{job=\"a\"}", &"it is too large");
        summary.leave_out_family(&"{job=\"b\"}", "up", &"it is a gauge");
        assert_eq!(
            String::from_utf8(summary_json(&summary)).unwrap(),
            r#"{"status":"success","data":{"restored":3,"outdated":2,"left_out_groups":1,"left_out_families":1,"left_out":[{"group":"{job=\"a\"}","reason":"it is too large"},{"group":"{job=\"b\"}","family":"up","reason":"it is a gauge"}]}}"#
        );
    }
}
