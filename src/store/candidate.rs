//! A state that waits for admission.

use super::early_series_check::EarlySeriesCheck;
use super::snapshot::{GroupContent, GroupState, Snapshot};
use crate::model::GroupingKey;

/// The state that a push or deletion would give its group.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// The key of the group, as the push wrote it.
    pub key: &'a GroupingKey,
    /// The state that the group has now.
    pub base: &'a Snapshot,
    /// What the group would expose.
    pub content: &'a GroupContent,
    /// Whether there would be a group.
    pub state: GroupState,
    /// What was compared before the push entered the door of its job.
    pub early_check: Option<&'a EarlySeriesCheck>,
}

/// What a structural push or deletion would make of its group.
pub(super) struct StructuralChange<'a> {
    /// Whether there would be a group.
    pub state: GroupState,
    /// What the group would expose.
    pub content: GroupContent,
    /// What was compared before the push entered the door of its job.
    pub early_check: Option<&'a EarlySeriesCheck>,
}
