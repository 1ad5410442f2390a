//! Wiping everything, and ending the process on request.

use super::answer::Answer;
use super::front_end::FrontEnd;
use super::push;
use crate::telemetry::Method;

/// Answers `/-/quit`.
pub(super) fn quit(front_end: &FrontEnd, method: Method) -> Answer {
    if method == Method::Get {
        return Answer::text(405, "Only POST or PUT requests allowed.");
    }
    if !front_end.options.is_lifecycle_enabled {
        return Answer::text(403, "Lifecycle API is not enabled.");
    }
    tracing::info!("termination was requested over HTTP");
    front_end.gateway.request_shutdown();
    Answer::text(200, "Requesting termination... Goodbye!")
}

/// Deletes all groups, then answers.
pub(super) async fn wipe(front_end: &FrontEnd) -> Answer {
    match front_end.gateway.wipe().await {
        Ok(()) => push::durable_answer(front_end, Answer::empty(202)).await,
        Err(_) => Answer::panicked(),
    }
}
