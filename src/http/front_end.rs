//! What all connections share: the gateway, and what only HTTP needs to know.

use super::head::HEAD_TIMEOUT;
use super::refusal_log::RefusalLog;
use super::router::Routes;
use crate::gateway::Gateway;
use crate::gateway::service_state::Impediment;
use std::sync::Arc;
use std::time::Duration;

/// What the operator decides about HTTP.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// The paths of the gateway's pages.
    pub routes: Routes,
    /// Whether the client of a push that contradicts other groups is told so, with 400, and that of
    /// an accepted push with 200. Otherwise every push is answered with 202. Pushes that contradict
    /// others are exposed in neither case.
    pub is_check_announced: bool,
    /// Whether `/-/quit` ends the process.
    pub is_lifecycle_enabled: bool,
    /// How long requests may take to be answered once the process is to end.
    pub drain_timeout: Duration,
    /// Names and values of the flags, as the API and the status page show them.
    pub flags: Vec<(String, String)>,
}

/// A gateway that answers HTTP.
pub(super) struct FrontEnd {
    pub gateway: Arc<Gateway>,
    pub options: HttpOptions,
    /// [`HEAD_TIMEOUT`], but in tests.
    pub head_timeout: Duration,
    pub refusal_log: RefusalLog,
}

impl FrontEnd {
    pub fn new(gateway: Arc<Gateway>, options: HttpOptions) -> Self {
        Self {
            gateway,
            options,
            head_timeout: HEAD_TIMEOUT,
            refusal_log: RefusalLog::default(),
        }
    }

    /// How large a body may be as it is sent, in bytes (`--limit.body-bytes`).
    pub fn body_bytes_max(&self) -> u64 {
        self.gateway.ingester.options().body_limits.body_bytes_max
    }

    /// Whether the process is about to end, so that every answer is the last of its connection.
    pub fn is_draining(&self) -> bool {
        self.gateway.service.has(Impediment::Draining)
    }

    /// Has every answer from now on close its connection.
    pub fn begin_draining(&self) {
        // A connection that is woken to be closed sees this, because it is noted before the message
        // to close is sent.
        self.gateway.service.raise(Impediment::Draining);
    }
}
