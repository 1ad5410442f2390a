//! The log lines of refused pushes, with the reference's levels, messages and keys where the
//! reference has such lines.
//!
//! | refused because                         | level   | message                                        |
//! |-----------------------------------------|---------|------------------------------------------------|
//! | it contradicts others, or itself        | `error` | `pushed metrics are invalid or inconsistent …` |
//! | the same, with the check switched off   | `warn`  | `push accepted but not exposed …`              |
//! | a limit, or a full queue                | `warn`  | `push refused because of a limit`              |
//! | the body does not parse                 | `debug` | `failed to parse text`, also for protobuf      |
//! | the path names no group                 | `debug` | `failed to parse URL`                          |
//! | the body does not arrive                | `debug` | `failed to receive the body`                   |
//!
//! Each client is given some lines for each reason ([`LineLimiter`]); how many more there were is
//! logged every [`PERIOD`]. A push that is accepted does nothing here.

use crate::gateway::PushMode;
use crate::model::ShortText;
use crate::telemetry::{Endpoint, LineLimiter};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tracing::Level;

/// How long lines that are left out are counted before their number is logged.
const PERIOD: Duration = Duration::from_secs(10);

/// Why a push was refused, as far as its log line depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalKind {
    /// The push contradicts other groups or itself, and the client is told so.
    Contradiction,
    /// The push contradicts others, and the client is told nothing.
    UnannouncedContradiction,
    /// The push is over a limit, or one of the gateway's queues is full.
    Limit,
    /// The body is not what its headers say.
    Body,
    /// The path names no group.
    Path,
    /// The body does not arrive.
    Incomplete,
}

impl RefusalKind {
    fn level(self) -> Level {
        match self {
            Self::Contradiction => Level::ERROR,
            Self::UnannouncedContradiction | Self::Limit => Level::WARN,
            Self::Body | Self::Path | Self::Incomplete => Level::DEBUG,
        }
    }
}

/// Logs refused pushes.
#[derive(Default)]
pub(super) struct RefusalLog(Arc<LineLimiter>);

impl RefusalLog {
    /// Logs that a push of `client` to `group` was refused, unless there are too many such lines.
    /// `reason` is the label of `pushgateway_pushes_refused_total`.
    pub fn log(
        &self,
        (mode, client): (PushMode, &Endpoint),
        group: impl fmt::Display,
        kind: RefusalKind,
        reason: &'static str,
        error: impl fmt::Display,
    ) {
        if kind.level() > tracing::level_filters::LevelFilter::current() {
            return;
        }
        let admission = self.0.admit(client, reason);
        if admission.begins_period {
            let limiter = Arc::clone(&self.0);
            tokio::spawn(async move {
                tokio::time::sleep(PERIOD).await;
                log_left_out(&limiter);
            });
        }
        if !admission.is_allowed {
            return;
        }
        let method = match mode {
            PushMode::Replace => "PUT",
            PushMode::Merge => "POST",
        };
        let (group, err) = (ShortText::of(group), ShortText::of(error));
        macro_rules! log {
            ($level:expr, $message:literal) => {
                tracing::event!($level, method, logged_source = %client, group, reason, err, $message)
            };
        }
        match kind {
            RefusalKind::Contradiction => log!(
                Level::ERROR,
                "pushed metrics are invalid or inconsistent with existing metrics"
            ),
            RefusalKind::UnannouncedContradiction => log!(
                Level::WARN,
                "push accepted but not exposed, because it contradicts others"
            ),
            RefusalKind::Limit => log!(Level::WARN, "push refused because of a limit"),
            RefusalKind::Body => log!(Level::DEBUG, "failed to parse text"),
            RefusalKind::Path => log!(Level::DEBUG, "failed to parse URL"),
            RefusalKind::Incomplete => log!(Level::DEBUG, "failed to receive the body"),
        }
    }

    /// Logs how many lines were left out so far: the process is about to end.
    pub fn finish(&self) {
        log_left_out(&self.0);
    }
}

fn log_left_out(limiter: &LineLimiter) {
    for left_out in limiter.end_period() {
        let client = left_out.source.client;
        let client = client.map_or_else(|| "other clients".to_owned(), |client| client.to_string());
        tracing::warn!(
            logged_source = client,
            reason = left_out.source.reason,
            lines = left_out.n_lines,
            "lines about refused pushes were left out"
        );
    }
}
