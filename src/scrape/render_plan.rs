//! Which families the groups of one layout expose, and where in a snapshot their numbers are.

use super::page::FamilyId;
use crate::model::{Family, Metric, MetricType};
use crate::store::{Layout, Snapshot};
use std::ops::Range;
use std::sync::Arc;

/// The number of a render plan. Numbers are used again.
pub(super) type RenderPlanId = u32;

/// Where in a snapshot the numbers of one family are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValueSource {
    /// The family `push_failure_time_seconds`.
    FailureTime,
    /// The family `push_time_seconds`.
    PushTime,
    /// A family that was pushed.
    Pushed {
        /// Index of the family in the layout.
        index: usize,
        /// Indices of its values in the snapshot.
        values: Range<usize>,
        /// Indices of its metrics in the layout.
        metrics: Range<usize>,
    },
}

impl ValueSource {
    /// Whether both snapshots, which have the same layout, expose the same numbers here.
    pub fn is_same(&self, a: &Snapshot, b: &Snapshot) -> bool {
        match self {
            Self::FailureTime => a.failure_time == b.failure_time,
            Self::PushTime => a.push_time == b.push_time,
            Self::Pushed { values, .. } => {
                a.values[values.clone()] == b.values[values.clone()]
                    && ((a.extras.is_empty() && b.extras.is_empty()) || a.extras == b.extras)
            }
        }
    }
}

/// How to render groups of one layout, worked out once for all groups that share the layout.
pub(super) struct RenderPlan {
    pub layout: Arc<Layout>,
    /// The families of this layout and the two push times, in ascending order of ids. Families
    /// without metrics are left out.
    pub sources: Box<[(FamilyId, ValueSource)]>,
    /// Lines of the text format that a group with this layout exposes.
    pub n_samples: u64,
    /// How many groups have this layout.
    pub n_groups: u64,
    /// The catalog looks at the plan when the next headers are made, and at the end of the round.
    pub is_touched: bool,
    /// The types and helps of the families are also those of this plan: see
    /// [`Catalog::update_headers`](super::catalog::Catalog::update_headers).
    pub is_in_headers: bool,
}

impl RenderPlan {
    /// Whether a group with this layout exposes the family.
    pub fn has(&self, family: FamilyId) -> bool {
        self.sources
            .binary_search_by_key(&family, |&(id, _)| id)
            .is_ok()
    }
}

/// How many lines of the text format a metric takes.
pub(super) fn n_samples(family: Family<'_>, metric: Metric<'_>) -> u64 {
    let n_bounds = metric.bounds_bits().len() as u64;
    match family.metric_type() {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => 1,
        MetricType::Summary => n_bounds + 2,
        MetricType::Histogram | MetricType::GaugeHistogram => {
            n_bounds + 2 + u64::from(!metric.bounds().any(|bound| bound == f64::INFINITY))
        }
    }
}
