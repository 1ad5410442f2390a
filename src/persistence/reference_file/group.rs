//! A group as the reference's file has it.

use super::go_time::GoTime;

/// A group of the reference.
///
/// Names and values are bytes, because the reference keeps groups with labels that are not UTF-8: it
/// refuses a push to such a group but notes its failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceGroup {
    /// The labels of the grouping key, sorted by name, each name once.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// The families, each name once, in no particular order. `push_time_seconds` and
    /// `push_failure_time_seconds` are among them.
    pub families: Vec<ReferenceFamily>,
}

/// A metric family of the reference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferenceFamily {
    /// The name under which the family is kept. The message has the name as well.
    pub name: Vec<u8>,
    /// When the family was pushed.
    pub pushed_at: GoTime,
    /// An encoded `io.prometheus.client.MetricFamily`, whose metrics have the labels of the group.
    pub message: Vec<u8>,
}
