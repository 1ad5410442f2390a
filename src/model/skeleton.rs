//! What stays the same from one push of a job to the next: families, metrics, labels and bounds.
//!
//! A [`Skeleton`] is five flat lists instead of a tree of small strings. So two pushes are compared
//! by comparing the memory of five lists. The numbers of a push are kept apart, in
//! `Families::values`.
//!
//! Invariants: family names are unique. The metrics of a family lie together. The labels of a
//! metric are sorted by name; a name may be repeated (`store` refuses that), and labels of the same
//! name keep the order of the push. All text is UTF-8.

use super::metric_type::{MetricFlags, MetricType};

/// Where a name, label value or help text lies in [`Skeleton::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct TextRange {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// A family. Its metrics begin where those of the family before end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FamilyRecord {
    pub(super) name: TextRange,
    pub(super) help: TextRange,
    pub(super) has_help: bool,
    pub(super) metric_type: MetricType,
    pub(super) metrics_end: u32,
}

/// A metric. Its labels, bounds and values begin where those of the metric before end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MetricRecord {
    pub(super) labels_end: u32,
    pub(super) bounds_end: u32,
    pub(super) values_end: u32,
    pub(super) flags: MetricFlags,
}

/// A label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LabelRecord {
    pub(super) name: TextRange,
    pub(super) value: TextRange,
}

/// What stays the same from one push of a job to the next. Pushes with equal skeletons have the
/// same number of values, with the same meanings.
///
/// Two skeletons are equal if their lists are. If two pushes have the same families in another
/// order, their skeletons differ; [`Family::same_layout`] compares single families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skeleton {
    pub(super) families: Vec<FamilyRecord>,
    pub(super) metrics: Vec<MetricRecord>,
    pub(super) labels: Vec<LabelRecord>,
    /// Upper bounds of buckets and ranks of quantiles, as the bits of an `f64`.
    pub(super) bounds: Vec<u64>,
    /// All names, label values and help texts, one after the other.
    pub(super) text: String,
}

impl Skeleton {
    /// The number of families.
    pub fn n_families(&self) -> usize {
        self.families.len()
    }

    /// The number of metrics in all families.
    pub fn n_metrics(&self) -> usize {
        self.metrics.len()
    }

    /// The number of values of a push with this skeleton.
    pub fn n_values(&self) -> usize {
        self.metrics
            .last()
            .map_or(0, |metric| metric.values_end as usize)
    }

    /// The family with this index, in the order of the push.
    ///
    /// # Panics
    ///
    /// If there is no such family.
    pub fn family(&self, index: usize) -> Family<'_> {
        assert!(
            index < self.families.len(),
            "family {index} of {}",
            self.families.len()
        );
        Family {
            skeleton: self,
            index,
        }
    }

    /// All families in the order of the push.
    pub fn families(&self) -> impl ExactSizeIterator<Item = Family<'_>> + Clone {
        (0..self.families.len()).map(|index| Family {
            skeleton: self,
            index,
        })
    }

    /// The metric with this index, counted over all families.
    ///
    /// # Panics
    ///
    /// If there is no such metric.
    pub fn metric(&self, index: usize) -> Metric<'_> {
        assert!(
            index < self.metrics.len(),
            "metric {index} of {}",
            self.metrics.len()
        );
        Metric {
            skeleton: self,
            index,
        }
    }

    fn text(&self, range: TextRange) -> &str {
        &self.text[range.start as usize..range.end as usize]
    }
}

/// One family of a [`Skeleton`].
#[derive(Clone, Copy)]
pub struct Family<'a> {
    skeleton: &'a Skeleton,
    index: usize,
}

impl<'a> Family<'a> {
    fn record(self) -> &'a FamilyRecord {
        &self.skeleton.families[self.index]
    }

    /// The family's index in the skeleton, in the order of the push.
    pub fn index(self) -> usize {
        self.index
    }

    /// The name, as it was pushed: not escaped.
    pub fn name(self) -> &'a str {
        self.skeleton.text(self.record().name)
    }

    /// The help text, if the push had one. The text may be empty.
    pub fn help(self) -> Option<&'a str> {
        self.record()
            .has_help
            .then(|| self.skeleton.text(self.record().help))
    }

    /// The type. Untyped if the push is text and has no TYPE line for the family.
    pub fn metric_type(self) -> MetricType {
        self.record().metric_type
    }

    /// The indices of the family's metrics in the skeleton.
    pub fn metric_range(self) -> std::ops::Range<usize> {
        let start = if self.index == 0 {
            0
        } else {
            self.skeleton.families[self.index - 1].metrics_end as usize
        };
        start..self.record().metrics_end as usize
    }

    /// The family's metrics, in the order of the push.
    pub fn metrics(self) -> impl ExactSizeIterator<Item = Metric<'a>> + Clone {
        let skeleton = self.skeleton;
        self.metric_range()
            .map(move |index| Metric { skeleton, index })
    }

    /// The indices of the family's numbers in the values of the push.
    pub fn value_range(self) -> std::ops::Range<usize> {
        let metrics = self.metric_range();
        let start = self
            .skeleton
            .metrics
            .get(metrics.start.wrapping_sub(1))
            .map_or(0, |m| m.values_end as usize);
        let end = self
            .skeleton
            .metrics
            .get(metrics.end.wrapping_sub(1))
            .map_or(0, |m| m.values_end as usize);
        start..end
    }

    /// Whether `other` has the same name, type, help text, labels and bounds. If so, the numbers of
    /// the two families have the same meanings.
    pub fn same_layout(self, other: Family<'_>) -> bool {
        self.name() == other.name()
            && self.metric_type() == other.metric_type()
            && self.help() == other.help()
            && self.metrics().len() == other.metrics().len()
            && self.metrics().zip(other.metrics()).all(|(a, b)| {
                a.flags() == b.flags()
                    && a.bounds_bits() == b.bounds_bits()
                    && a.labels().eq(b.labels())
            })
    }
}

/// One metric of a [`Skeleton`].
#[derive(Clone, Copy)]
pub struct Metric<'a> {
    skeleton: &'a Skeleton,
    index: usize,
}

impl<'a> Metric<'a> {
    fn record(self) -> &'a MetricRecord {
        &self.skeleton.metrics[self.index]
    }

    /// The record of the metric before, if there is one. It says where this metric's lists begin.
    fn before(self) -> Option<&'a MetricRecord> {
        self.index
            .checked_sub(1)
            .map(|before| &self.skeleton.metrics[before])
    }

    /// The metric's index in the skeleton, counted over all families.
    pub fn index(self) -> usize {
        self.index
    }

    /// The metric's own labels, sorted by name. The labels of the grouping key are not among them.
    pub fn labels(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone {
        let start = self.before().map_or(0, |m| m.labels_end as usize);
        let skeleton = self.skeleton;
        skeleton.labels[start..self.record().labels_end as usize]
            .iter()
            .map(move |label| (skeleton.text(label.name), skeleton.text(label.value)))
    }

    /// The upper bounds of the metric's buckets, or the ranks of its quantiles, as the bits of an
    /// `f64`, in the order of the push.
    pub fn bounds_bits(self) -> &'a [u64] {
        let start = self.before().map_or(0, |m| m.bounds_end as usize);
        &self.skeleton.bounds[start..self.record().bounds_end as usize]
    }

    /// The [bounds](Metric::bounds_bits) as numbers.
    pub fn bounds(self) -> impl ExactSizeIterator<Item = f64> + Clone + 'a {
        self.bounds_bits().iter().map(|&bits| f64::from_bits(bits))
    }

    /// The indices of the metric's numbers in the values of the push.
    pub fn value_range(self) -> std::ops::Range<usize> {
        self.before().map_or(0, |m| m.values_end as usize)..self.record().values_end as usize
    }

    /// What the push said about the metric besides its labels and numbers.
    pub fn flags(self) -> MetricFlags {
        self.record().flags
    }
}
