//! Groups that come from another gateway, with the times that they have there.
//!
//! ```text
//! import ──▶ lane of the body's size ──▶ reader, nice level 6 ──▶ blocking pool, nice level 0
//!            (bounded)                   reads the body           restores group by group
//! ```
//!
//! As with large pushes, no thread of low priority enters the door of a job. The bodies take their
//! room in the lanes of large pushes, so that memory is bounded.
//!
//! How bodies are read is decided by the code that starts the gateway: [`ImportReader`].

use super::Gateway;
use super::body_pieces::BodyPieces;
use crate::store::Store;
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::oneshot;

/// Reads the body of an import completely, without changing anything.
///
/// The error says what is wrong with the body, and where.
pub type ImportReader = fn(&[u8]) -> Result<RestoreJob, String>;

/// Brings the groups that were read into the store.
pub type RestoreJob = Box<dyn FnOnce(&Store) -> ImportSummary + Send>;

/// At most this many groups and families that are left out are listed one by one.
const LISTED_MAX: usize = 100;

/// What became of the groups of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Groups that are in the store.
    pub n_groups: usize,
    /// Groups that the store has in a state that is as new.
    pub n_outdated: usize,
    /// Groups that were left out.
    pub n_left_out_groups: usize,
    /// Families of other groups that were left out.
    pub n_left_out_families: usize,
    /// What was left out: the first hundred.
    pub left_out: Vec<LeftOut>,
}

/// A group or a family that was left out of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// The labels of the group, such as `{job="backup"}`.
    pub group: String,
    /// The family; `None` if the whole group was left out.
    pub family: Option<String>,
    /// Why.
    pub reason: String,
}

impl ImportSummary {
    /// Notes that a group was left out.
    pub fn leave_out_group(&mut self, group: &dyn Display, reason: &dyn Display) {
        self.n_left_out_groups += 1;
        self.list(group, None, reason);
    }

    /// Notes that a family was left out.
    pub fn leave_out_family(&mut self, group: &dyn Display, family: &str, reason: &dyn Display) {
        self.n_left_out_families += 1;
        self.list(group, Some(family.to_owned()), reason);
    }

    fn list(&mut self, group: &dyn Display, family: Option<String>, reason: &dyn Display) {
        if self.left_out.len() < LISTED_MAX {
            self.left_out.push(LeftOut {
                group: group.to_string(),
                family,
                reason: reason.to_string(),
            });
        }
    }
}

/// Why nothing of a body was imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportRefusal {
    /// Too many large bodies wait.
    QueueFull,
    /// The body cannot be read.
    Malformed(String),
    /// Reading or restoring panicked, which is a bug.
    Failed,
}

impl Gateway {
    /// Reads a body and brings its groups into the store. The groups have the times that the body
    /// says. A group that the store has in a state that is as new stays as it is.
    ///
    /// The work is done away from the runtime's workers. If this future is dropped, because the
    /// client has gone, what has begun is finished.
    ///
    /// # Errors
    ///
    /// Nothing of the body is imported.
    pub(crate) async fn import(
        self: &Arc<Self>,
        body: BodyPieces,
    ) -> Result<ImportSummary, ImportRefusal> {
        let (done, is_read) = oneshot::channel();
        let read = self.import_reader;
        // The room is kept until the groups are restored: they take about as much memory.
        let _room = self
            .ingester
            .run_for_large_body(body.len(), move || {
                // An error says that the client has gone.
                let _ = done.send(read(&body.into_bytes()));
            })
            .ok_or(ImportRefusal::QueueFull)?;
        let restore = match is_read.await {
            Ok(Ok(restore)) => restore,
            Ok(Err(reason)) => return Err(ImportRefusal::Malformed(reason)),
            Err(_) => return Err(ImportRefusal::Failed),
        };
        let gateway = Arc::clone(self);
        tokio::task::spawn_blocking(move || restore(gateway.store()))
            .await
            .map_err(|_| ImportRefusal::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_counts_everything_and_lists_the_first_hundred() {
        let mut summary = ImportSummary::default();
        for n in 0..LISTED_MAX {
            summary.leave_out_family(&"{job=\"a\"}", &format!("f{n}"), &"too new");
        }
        summary.leave_out_group(&"{job=\"b\"}", &"too old");
        assert_eq!(
            (summary.n_left_out_families, summary.n_left_out_groups),
            (LISTED_MAX, 1)
        );
        assert_eq!(summary.left_out.len(), LISTED_MAX);
        assert_eq!(
            summary.left_out[1],
            LeftOut {
                group: "{job=\"a\"}".to_owned(),
                family: Some("f1".to_owned()),
                reason: "too new".to_owned(),
            }
        );
    }
}
