//! What is known of a push before its body is read.

use super::group_path::{GroupPath, grouping_labels};
use crate::gateway::PushMode;
use crate::model::NameScheme;
use crate::telemetry::Endpoint;
use std::fmt;

/// The head of a push.
#[derive(Clone, Copy)]
pub(super) struct PushRequest<'a> {
    pub mode: PushMode,
    pub path: &'a GroupPath<'a>,
    /// Who sends the push.
    pub client: &'a Endpoint,
}

impl<'a> PushRequest<'a> {
    /// Displays the group of the push as log lines show it; the path itself if it names none.
    pub fn group(&self, names: NameScheme) -> impl fmt::Display + use<'a> {
        GroupOfPath(self.path, names)
    }
}

struct GroupOfPath<'a>(&'a GroupPath<'a>, NameScheme);

impl fmt::Display for GroupOfPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(path, names) = self;
        match grouping_labels(path, *names) {
            Ok(labels) => labels.key().fmt(f),
            Err(_) => write!(
                f,
                "{}{}",
                String::from_utf8_lossy(&path.job),
                String::from_utf8_lossy(&path.labels)
            ),
        }
    }
}
