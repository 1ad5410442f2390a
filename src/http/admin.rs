//! Wiping everything, and shutting down on request.

use super::answer::Answer;
use super::gateway::Gateway;
use crate::telemetry::Method;

/// Answers `/-/quit`.
pub(super) fn quit(gateway: &Gateway, method: Method) -> Answer {
    if method == Method::Get {
        return Answer::text(405, "Only POST or PUT requests allowed.");
    }
    if !gateway.options.is_lifecycle_enabled {
        return Answer::text(403, "Lifecycle API is not enabled.");
    }
    tracing::info!("termination was requested over HTTP");
    gateway.request_shutdown();
    Answer::text(200, "Requesting termination... Goodbye!")
}

/// Deletes all groups; done when it is answered.
pub(super) async fn wipe(gateway: &Gateway) -> Answer {
    gateway.wipe().await;
    Answer::empty(202)
}
