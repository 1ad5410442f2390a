//! The metric families of a push: a skeleton and numbers.
//!
//! The [skeleton](Skeleton) is what stays the same from one push of a job to the next. The numbers
//! are a list of `u64` in the order of the skeleton's metrics. `f64` bits are the bits of an `f64`,
//! an integer is the number itself. Each metric has these numbers:
//!
//! | type of the family         | numbers of a metric                                                |
//! |----------------------------|--------------------------------------------------------------------|
//! | counter, gauge, untyped    | value (`f64` bits)                                                 |
//! | summary                    | count (integer), sum (`f64` bits), value (`f64` bits) per quantile |
//! | histogram, gauge histogram | count (integer), sum (`f64` bits), cumulative count per bound      |
//!
//! The counts of a histogram with [`MetricFlags::FLOAT_COUNTS`](super::MetricFlags::FLOAT_COUNTS)
//! are `f64` bits. Bounds and quantiles are kept as they were pushed, in the order of the push: a
//! histogram that was pushed without a `+Inf` bucket has none.

use super::body_form::BodyForm;
use super::skeleton::{Family, Metric, Skeleton};

/// What the text format cannot carry of a metric: a native histogram, exemplars, a created
/// timestamp, unknown fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricExtra {
    /// The index of the metric, counted over all families.
    pub metric: u32,
    /// The value of the pushed `io.prometheus.client.Metric`: the message in its field `gauge`,
    /// `counter`, `summary`, `untyped` or `histogram`, as it was pushed, without tag and length.
    pub body: Box<[u8]>,
}

/// The extras of one family's metrics. `extras` are those of all families, sorted by metric.
pub(crate) fn extras_of<'a>(extras: &'a [MetricExtra], family: Family<'_>) -> &'a [MetricExtra] {
    let metrics = family.metric_range();
    let place_of = |metric: usize| extras.partition_point(|extra| (extra.metric as usize) < metric);
    &extras[place_of(metrics.start)..place_of(metrics.end)]
}

/// A rule for pushes that a body breaks although it follows the grammar. The gateway refuses such a
/// push, and notes the time of the failure in the group.
#[derive(Clone, Debug, PartialEq)]
pub enum BrokenRule {
    /// A sample has a timestamp.
    Timestamp,
    /// A metric of a protobuf family has no value of the family's type.
    NotOfType {
        /// The index of the metric, counted over all families.
        metric: u32,
        /// What the metric has instead, in protobuf's text form; empty if it has nothing.
        found: String,
    },
    /// The name or the value of a label of a protobuf metric is not UTF-8. In the parsed metric,
    /// replacement characters take the place of the bytes that are not.
    LabelNotUtf8 {
        /// The index of the metric, counted over all families.
        metric: u32,
        /// The label's name, with replacement characters.
        label: String,
        /// Whether the name is not UTF-8; else the value is not.
        in_name: bool,
    },
    /// A native histogram is not what Prometheus can read.
    NativeHistogram {
        /// The index of the metric, counted over all families.
        metric: u32,
        /// What is wrong with the histogram.
        defect: String,
    },
}

/// The metric families of a parsed push.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families {
    /// Names, types, labels and bounds: what stays the same from push to push.
    pub skeleton: Skeleton,
    /// The numbers, metric by metric. The table at the head of this module says what they mean.
    pub values: Vec<u64>,
    /// What the text format cannot carry, sorted by metric. Empty for nearly every push.
    pub extras: Vec<MetricExtra>,
    /// The first rule that the push breaks, if any.
    pub broken_rule: Option<BrokenRule>,
    /// The form of the body, if the parser was asked to keep it and the body has one.
    pub form: Option<Box<BodyForm>>,
}

impl Families {
    /// The numbers of a metric of this push.
    pub fn values_of(&self, metric: Metric<'_>) -> &[u64] {
        &self.values[metric.value_range()]
    }

    /// Takes the form of the body out of the families, if there is one.
    pub fn take_form(&mut self) -> Option<BodyForm> {
        self.form.take().map(|form| *form)
    }
}
