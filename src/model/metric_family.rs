//! Metric families as a push carries them, without a tree of small strings.
//!
//! A push is two things: what stays the same from one push of a job to the next (names, types,
//! helps, label sets, bounds: the [`Skeleton`]) and its numbers. The skeleton is a handful of flat
//! arrays that can be compared as they lie; the numbers are one array in the skeleton's order. So
//! "is this push like the last one?" is a comparison of memory.
//!
//! Numbers of a metric, by the type of its family, each one `u64` in `values`:
//!
//! | type                         | numbers                                                                    |
//! |------------------------------|----------------------------------------------------------------------------|
//! | counter, gauge, untyped      | the value, as the bits of an `f64`                                         |
//! | summary                      | count (an integer), sum (`f64` bits), then a value (`f64` bits) a quantile |
//! | histogram, gauge histogram   | count (an integer), sum (`f64` bits), then a cumulative count a bound      |
//!
//! Counts of a histogram with [`MetricFlags::FLOAT_COUNTS`] are `f64` bits. Bounds are kept as they
//! were pushed, in that order: a `+Inf` bucket that was not pushed is not there.
//!
//! Invariants: families have unique names, metrics of a family lie together, the labels of a metric
//! are sorted by name (stable; names may repeat: whoever keeps the families refuses that). All text
//! is UTF-8.

use super::BodyForm;
use std::fmt;

/// What a metric family is. The numbers are those of `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// A sum that only grows.
    Counter = 0,
    /// A number that goes up and down.
    Gauge = 1,
    /// Count, sum and quantiles.
    Summary = 2,
    /// Nothing is known about it.
    Untyped = 3,
    /// Count, sum and buckets, classic or native.
    Histogram = 4,
    /// A histogram whose buckets go up and down.
    GaugeHistogram = 5,
}

impl MetricType {
    /// As on a `# TYPE` line; the text format 0.0.4 has no gauge histogram and shows it as
    /// `histogram`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
            Self::Histogram | Self::GaugeHistogram => "histogram",
        }
    }

    /// As protobuf's text form spells it: `GAUGE_HISTOGRAM`.
    pub fn as_proto_str(self) -> &'static str {
        match self {
            Self::Counter => "COUNTER",
            Self::Gauge => "GAUGE",
            Self::Summary => "SUMMARY",
            Self::Untyped => "UNTYPED",
            Self::Histogram => "HISTOGRAM",
            Self::GaugeHistogram => "GAUGE_HISTOGRAM",
        }
    }

    /// The type with this number in `io.prometheus.client.MetricType`.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            _ => return None,
        })
    }

    /// Histograms of both kinds: they expose `_bucket`, `_sum` and `_count`.
    pub fn is_histogram(self) -> bool {
        matches!(self, Self::Histogram | Self::GaugeHistogram)
    }

    /// How many numbers a metric of this type has before those of its bounds.
    pub fn n_fixed_values(self) -> usize {
        match self {
            Self::Counter | Self::Gauge | Self::Untyped => 1,
            Self::Summary | Self::Histogram | Self::GaugeHistogram => 2,
        }
    }
}

/// What was said about a metric beside its labels and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MetricFlags(u8);

impl MetricFlags {
    /// A summary or histogram came with a count.
    pub const HAS_COUNT: Self = Self(1);
    /// A summary or histogram came with a sum.
    pub const HAS_SUM: Self = Self(2);
    /// The counts of this histogram are floats.
    pub const FLOAT_COUNTS: Self = Self(4);

    /// The flags of a summary or histogram that came with or without a count and a sum.
    #[inline]
    pub(crate) fn of_presence(has_count: bool, has_sum: bool) -> Self {
        let mut flags = Self::default();
        if has_count {
            flags |= Self::HAS_COUNT;
        }
        if has_sum {
            flags |= Self::HAS_SUM;
        }
        flags
    }

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for MetricFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for MetricFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A stretch of [`Skeleton::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
struct Span {
    start: u32,
    end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FamilyRecord {
    name: Span,
    help: Span,
    has_help: bool,
    metric_type: MetricType,
    metrics_end: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MetricRecord {
    labels_end: u32,
    bounds_end: u32,
    values_end: u32,
    flags: MetricFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct LabelRecord {
    name: Span,
    value: Span,
}

/// What stays the same from push to push: equal skeletons have their numbers in the same places.
///
/// Equality is that of the memory: two skeletons that say the same in another order are different
/// ones, see [`Family::same_layout`] for the meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skeleton {
    families: Vec<FamilyRecord>,
    metrics: Vec<MetricRecord>,
    labels: Vec<LabelRecord>,
    /// Upper bounds of buckets and ranks of quantiles, as the bits of an `f64`.
    bounds: Vec<u64>,
    text: String,
}

impl Skeleton {
    /// How many families there are.
    pub fn n_families(&self) -> usize {
        self.families.len()
    }

    /// How many metrics there are in all families.
    pub fn n_metrics(&self) -> usize {
        self.metrics.len()
    }

    /// How many numbers belong to it.
    pub fn n_values(&self) -> usize {
        self.metrics
            .last()
            .map_or(0, |metric| metric.values_end as usize)
    }

    /// The family at `index`, counted in the order of the push.
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

    /// The metric at `index`, counted over all families.
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

    fn text(&self, span: Span) -> &str {
        &self.text[span.start as usize..span.end as usize]
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

    /// Its place in the order of the push.
    pub fn index(self) -> usize {
        self.index
    }

    /// The name as it was pushed, not escaped.
    pub fn name(self) -> &'a str {
        self.skeleton.text(self.record().name)
    }

    /// The help, if the push had one; it may be empty.
    pub fn help(self) -> Option<&'a str> {
        self.record()
            .has_help
            .then(|| self.skeleton.text(self.record().help))
    }

    /// The type; untyped where the push named none in text.
    pub fn metric_type(self) -> MetricType {
        self.record().metric_type
    }

    /// The range of its metrics among those of all families.
    pub fn metric_range(self) -> std::ops::Range<usize> {
        let start = if self.index == 0 {
            0
        } else {
            self.skeleton.families[self.index - 1].metrics_end as usize
        };
        start..self.record().metrics_end as usize
    }

    /// Its metrics in the order of the push.
    pub fn metrics(self) -> impl ExactSizeIterator<Item = Metric<'a>> + Clone {
        let skeleton = self.skeleton;
        self.metric_range()
            .map(move |index| Metric { skeleton, index })
    }

    /// The range of its numbers in the values of the push.
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

    /// Whether `other` has the same name, type, help, label sets and bounds, so that its numbers
    /// fit here.
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

    fn before(self) -> Option<&'a MetricRecord> {
        self.index
            .checked_sub(1)
            .map(|before| &self.skeleton.metrics[before])
    }

    /// Its place among the metrics of all families.
    pub fn index(self) -> usize {
        self.index
    }

    /// Its own labels, sorted by name.
    pub fn labels(self) -> impl ExactSizeIterator<Item = (&'a str, &'a str)> + Clone {
        let start = self.before().map_or(0, |m| m.labels_end as usize);
        let skeleton = self.skeleton;
        skeleton.labels[start..self.record().labels_end as usize]
            .iter()
            .map(move |label| (skeleton.text(label.name), skeleton.text(label.value)))
    }

    /// Upper bounds of its buckets, or ranks of its quantiles, as the bits of an `f64`, in the
    /// order of the push.
    pub fn bounds_bits(self) -> &'a [u64] {
        let start = self.before().map_or(0, |m| m.bounds_end as usize);
        &self.skeleton.bounds[start..self.record().bounds_end as usize]
    }

    /// Like [`Metric::bounds_bits`], as numbers.
    pub fn bounds(self) -> impl ExactSizeIterator<Item = f64> + Clone + 'a {
        self.bounds_bits().iter().map(|&bits| f64::from_bits(bits))
    }

    /// The range of its numbers in the values of the push.
    pub fn value_range(self) -> std::ops::Range<usize> {
        self.before().map_or(0, |m| m.values_end as usize)..self.record().values_end as usize
    }

    /// What was said about it beside its labels and numbers.
    pub fn flags(self) -> MetricFlags {
        self.record().flags
    }
}

/// What the text format cannot carry of one metric: native histogram, exemplars, created timestamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricExtra {
    /// The metric's place among those of all families.
    pub metric: u32,
    /// The value field of the pushed `io.prometheus.client.Metric` (`gauge`, `counter`, `summary`,
    /// `untyped` or `histogram`: the body of that sub-message, without its tag and length), as it
    /// was pushed, unknown fields included.
    pub body: Box<[u8]>,
}

/// Those of one family's metrics among `extras`, which are in the order of metrics.
pub fn extras_of<'a>(extras: &'a [MetricExtra], family: Family<'_>) -> &'a [MetricExtra] {
    let metrics = family.metric_range();
    let place_of = |metric: usize| extras.partition_point(|extra| (extra.metric as usize) < metric);
    &extras[place_of(metrics.start)..place_of(metrics.end)]
}

/// A pushed body can be read but breaks a rule that concerns more than its grammar. The gateway
/// refuses it, and the group's failure time says so.
#[derive(Clone, Debug, PartialEq)]
pub enum Invalid {
    /// A sample carries a time stamp.
    Timestamp,
    /// A metric of a protobuf family lacks the value that the type demands. `metric` is the index
    /// of the metric.
    NotOfType {
        /// The place of the metric among those of all families.
        metric: u32,
        /// What the metric carries instead, in protobuf's text form; empty for nothing.
        found: String,
    },
    /// A label name or value of a protobuf metric is not UTF-8. The metric keeps what could be read
    /// of it, replaced.
    LabelNotUtf8 {
        /// The place of the metric among those of all families.
        metric: u32,
        /// The label's name, replacement characters for what is not UTF-8.
        label: String,
        /// Whether it is the name rather than the value.
        in_name: bool,
    },
}

/// A push, parsed: skeleton, numbers, and what the text format cannot carry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Families {
    /// What stays the same from push to push.
    pub skeleton: Skeleton,
    /// The numbers in the skeleton's order.
    pub values: Vec<u64>,
    /// Sorted by metric; empty for nearly every push.
    pub extras: Vec<MetricExtra>,
    /// The first rule that the push breaks.
    pub invalid: Option<Invalid>,
    /// How it was written, where the parser was asked to keep that.
    pub form: Option<Box<BodyForm>>,
}

impl Families {
    /// The numbers of a metric.
    pub fn values_of(&self, metric: Metric<'_>) -> &[u64] {
        &self.values[metric.value_range()]
    }
}

/// The text of a push, or its numbers, would be over 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more than 4 GiB of labels in one push")
    }
}

/// Builds [`Families`] family by family, metric by metric.
///
/// The order of calls is `family`, then for each metric its `label`s, `bound`s and `value`s in any
/// order and `end_metric`.
#[derive(Debug, Default)]
pub struct FamiliesBuilder {
    families: Families,
    too_large: bool,
}

impl FamiliesBuilder {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Room for the text of a body of `n_bytes`, so that building does not copy it over and over.
    /// The numbers grow as they come.
    pub fn with_capacity(n_bytes: usize) -> Self {
        let mut builder = Self::default();
        builder.families.skeleton.text.reserve(n_bytes);
        builder
    }

    /// Begins a family. The caller takes care that names are unique.
    pub fn family(&mut self, name: &str, metric_type: MetricType, help: Option<&str>) {
        let (name, help_span) = (self.intern(name), self.intern(help.unwrap_or_default()));
        let skeleton = &mut self.families.skeleton;
        skeleton.families.push(FamilyRecord {
            name,
            help: help_span,
            has_help: help.is_some(),
            metric_type,
            metrics_end: u32::try_from(skeleton.metrics.len()).unwrap_or(u32::MAX),
        });
    }

    /// Adds a label to the metric being built.
    pub fn label(&mut self, name: &str, value: &str) {
        let label = LabelRecord {
            name: self.intern(name),
            value: self.intern(value),
        };
        self.families.skeleton.labels.push(label);
    }

    /// Adds a bucket's upper bound or a quantile's rank to the metric being built.
    pub fn bound(&mut self, bound: f64) {
        self.families.skeleton.bounds.push(bound.to_bits());
    }

    /// Adds a number to the metric being built: see the table at the head of this file.
    pub fn value(&mut self, bits: u64) {
        self.families.values.push(bits);
    }

    /// Ends the metric being built and sorts its labels; returns its index.
    pub fn end_metric(&mut self, flags: MetricFlags) -> u32 {
        let skeleton = &mut self.families.skeleton;
        let start = skeleton.metrics.last().map_or(0, |m| m.labels_end as usize);
        let text = &skeleton.text;
        let name = |label: &LabelRecord| &text[label.name.start as usize..label.name.end as usize];
        let labels = &mut skeleton.labels[start..];
        if !labels.is_sorted_by(|a, b| name(a) <= name(b)) {
            labels.sort_by(|a, b| name(a).cmp(name(b)));
        }
        let index = u32::try_from(skeleton.metrics.len());
        let ends = [
            skeleton.labels.len(),
            skeleton.bounds.len(),
            self.families.values.len(),
        ]
        .map(u32::try_from);
        let (Ok(index), [Ok(labels_end), Ok(bounds_end), Ok(values_end)]) = (index, ends) else {
            self.too_large = true;
            return 0;
        };
        skeleton.metrics.push(MetricRecord {
            labels_end,
            bounds_end,
            values_end,
            flags,
        });
        let family = skeleton
            .families
            .last_mut()
            .expect("a metric belongs to a family");
        family.metrics_end = index + 1;
        index
    }

    /// Keeps what the text format cannot carry of the metric that `end_metric` just ended.
    pub fn extra(&mut self, metric: u32, body: &[u8]) {
        self.families.extras.push(MetricExtra {
            metric,
            body: body.into(),
        });
    }

    /// How many numbers were added so far.
    pub fn n_values(&self) -> usize {
        self.families.values.len()
    }

    /// Whether a broken rule was noted.
    pub fn is_invalid(&self) -> bool {
        self.families.invalid.is_some()
    }

    /// Notes a broken rule; the first one stays.
    pub fn invalid(&mut self, invalid: Invalid) {
        self.families.invalid.get_or_insert(invalid);
    }

    /// Appends a family of other families, with its numbers and extras.
    pub fn copy_family(&mut self, from: &Families, family: Family<'_>) {
        self.copy_parts(&from.values, &from.extras, family);
    }

    /// Like [`FamiliesBuilder::copy_family`] where numbers and extras are kept apart from the
    /// skeleton.
    pub fn copy_parts(&mut self, values: &[u64], extras: &[MetricExtra], family: Family<'_>) {
        self.family(family.name(), family.metric_type(), family.help());
        let mut extras = extras_of(extras, family).iter().peekable();
        for metric in family.metrics() {
            for (name, value) in metric.labels() {
                self.label(name, value);
            }
            self.families
                .skeleton
                .bounds
                .extend_from_slice(metric.bounds_bits());
            self.families
                .values
                .extend_from_slice(&values[metric.value_range()]);
            let index = self.end_metric(metric.flags());
            if let Some(extra) = extras.next_if(|e| e.metric as usize == metric.index()) {
                self.extra(index, &extra.body);
            }
        }
    }

    /// The families built.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] if offsets no longer fit 32 bits.
    pub fn finish(self) -> Result<Families, TooLarge> {
        if self.too_large {
            Err(TooLarge)
        } else {
            Ok(self.families)
        }
    }

    fn intern(&mut self, text: &str) -> Span {
        let skeleton = &mut self.families.skeleton;
        let start = u32::try_from(skeleton.text.len());
        skeleton.text.push_str(text);
        let end = u32::try_from(skeleton.text.len());
        match (start, end) {
            (Ok(start), Ok(end)) => Span { start, end },
            _ => {
                self.too_large = true;
                Span::default()
            }
        }
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    fn build(labels: &[(&str, &str)], value: f64) -> Families {
        let mut builder = FamiliesBuilder::new();
        builder.family("up", MetricType::Gauge, Some("help"));
        for (name, label_value) in labels {
            builder.label(name, label_value);
        }
        builder.value(value.to_bits());
        builder.end_metric(MetricFlags::default());
        builder.family("latency", MetricType::Histogram, None);
        for bound in [0.1, 1.0] {
            builder.bound(bound);
        }
        for number in [3, 1.5f64.to_bits(), 1, 2] {
            builder.value(number);
        }
        let metric = builder.end_metric(MetricFlags::HAS_COUNT | MetricFlags::HAS_SUM);
        builder.extra(metric, b"exemplar");
        builder.finish().unwrap()
    }

    #[test]
    fn labels_are_sorted_within_a_metric() {
        let families = build(&[("b", "1"), ("a", "2")], 1.0);
        assert_eq!(
            families.skeleton.metric(0).labels().collect::<Vec<_>>(),
            [("a", "2"), ("b", "1")]
        );
    }

    #[test]
    fn skeletons_are_equal_whatever_the_numbers() {
        assert_eq!(
            build(&[("a", "1")], 1.0).skeleton,
            build(&[("a", "1")], 2.0).skeleton
        );
        assert_ne!(
            build(&[("a", "1")], 1.0).skeleton,
            build(&[("a", "2")], 1.0).skeleton
        );
    }

    #[test]
    fn a_family_finds_its_numbers() {
        let families = build(&[("a", "1")], 4.0);
        let latency = families.skeleton.family(1);
        assert_eq!(latency.value_range(), 1..5);
        assert_eq!(
            latency
                .metrics()
                .next()
                .unwrap()
                .bounds()
                .collect::<Vec<_>>(),
            [0.1, 1.0]
        );
        assert_eq!(
            families.values_of(families.skeleton.metric(0)),
            [4f64.to_bits()]
        );
    }

    #[test]
    fn a_copied_family_equals_its_origin() {
        let families = build(&[("a", "2"), ("b", "1")], 4.0);
        let mut builder = FamiliesBuilder::new();
        for family in families.skeleton.families() {
            builder.copy_family(&families, family);
        }
        let copy = builder.finish().unwrap();
        assert_eq!(copy, families);
        assert!(
            copy.skeleton
                .family(1)
                .same_layout(families.skeleton.family(1))
        );
        assert!(
            !copy
                .skeleton
                .family(0)
                .same_layout(families.skeleton.family(1))
        );
    }
}
