//! Builds the metric families of a push.

use super::families::{BrokenRule, Families, MetricExtra, extras_of};
use super::metric_type::{MetricFlags, MetricType};
use super::skeleton::{Family, FamilyRecord, LabelRecord, MetricRecord, TextRange};
use std::fmt;

/// The text of the families takes more than 4 GiB, or there are more than 2³² numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more than 4 GiB of labels in one push")
    }
}

/// Builds [`Families`], family by family and metric by metric.
///
/// Call [`family`](Self::family) first. Then, for each metric of the family, call
/// [`label`](Self::label), [`bound`](Self::bound) and [`value`](Self::value) as often as needed, in
/// any order, and [`end_metric`](Self::end_metric) at the end.
///
/// # Examples
///
/// ```
/// use pushgateway::model::{FamiliesBuilder, MetricFlags, MetricType};
///
/// let mut builder = FamiliesBuilder::new();
/// builder.family("rows", MetricType::Gauge, Some("Rows written."));
/// builder.label("table", "users");
/// builder.value(42f64.to_bits());
/// builder.end_metric(MetricFlags::default());
/// let families = builder.finish().expect("far below 4 GiB");
/// assert_eq!(families.skeleton.family(0).name(), "rows");
/// ```
#[derive(Debug, Default)]
pub struct FamiliesBuilder {
    families: Families,
    /// Whether an offset or an index did not fit 32 bits.
    is_too_large: bool,
}

impl FamiliesBuilder {
    /// A builder without families.
    pub fn new() -> Self {
        Self::default()
    }

    /// A builder without families, with room for `text_bytes` of names, label values and help
    /// texts. A builder without that room copies the text whenever the room has to grow. No room is
    /// reserved for numbers.
    pub(crate) fn with_capacity(text_bytes: usize) -> Self {
        let mut builder = Self::default();
        builder.families.skeleton.text.reserve(text_bytes);
        builder
    }

    /// Begins a family. The caller must not use a name twice.
    pub fn family(&mut self, name: &str, metric_type: MetricType, help: Option<&str>) {
        let (name, help_range) = (
            self.append_text(name),
            self.append_text(help.unwrap_or_default()),
        );
        let skeleton = &mut self.families.skeleton;
        skeleton.families.push(FamilyRecord {
            name,
            help: help_range,
            has_help: help.is_some(),
            metric_type,
            metrics_end: u32::try_from(skeleton.metrics.len()).unwrap_or(u32::MAX),
        });
    }

    /// Adds a label to the metric being built.
    pub fn label(&mut self, name: &str, value: &str) {
        let label = LabelRecord {
            name: self.append_text(name),
            value: self.append_text(value),
        };
        self.families.skeleton.labels.push(label);
    }

    /// Adds the upper bound of a bucket or the rank of a quantile to the metric being built.
    pub fn bound(&mut self, bound: f64) {
        self.families.skeleton.bounds.push(bound.to_bits());
    }

    /// Adds a number to the metric being built. The table at the head of `families.rs` says which
    /// numbers a metric has.
    pub fn value(&mut self, bits: u64) {
        self.families.values.push(bits);
    }

    /// Ends the metric being built, and sorts its labels by name. Returns the index of the metric,
    /// counted over all families.
    ///
    /// # Panics
    ///
    /// If no family was begun.
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
            self.is_too_large = true;
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

    /// Keeps what the text format cannot carry of the metric that was just ended. `metric` is the
    /// index that [`end_metric`](Self::end_metric) returned, `body` a [`MetricExtra::body`].
    pub fn extra(&mut self, metric: u32, body: &[u8]) {
        self.families.extras.push(MetricExtra {
            metric,
            body: body.into(),
        });
    }

    /// The number of values that were added so far.
    pub(crate) fn n_values(&self) -> usize {
        self.families.values.len()
    }

    /// Whether the push is known to break a rule.
    pub(crate) fn breaks_rule(&self) -> bool {
        self.families.broken_rule.is_some()
    }

    /// Notes that the push breaks a rule. If one was noted before, that one is kept.
    pub(crate) fn note_broken_rule(&mut self, rule: BrokenRule) {
        self.families.broken_rule.get_or_insert(rule);
    }

    /// Adds a copy of a family, with its numbers and extras, that belongs to the families `from`.
    pub(crate) fn copy_family(&mut self, from: &Families, family: Family<'_>) {
        self.copy_parts(&from.values, &from.extras, family);
    }

    /// Adds a copy of a family, as [`copy_family`](Self::copy_family) does. `values` and `extras`
    /// are the numbers and extras that belong to the family's skeleton.
    pub(crate) fn copy_parts(
        &mut self,
        values: &[u64],
        extras: &[MetricExtra],
        family: Family<'_>,
    ) {
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

    /// Returns the families.
    ///
    /// # Errors
    ///
    /// If an offset or an index did not fit 32 bits.
    pub fn finish(self) -> Result<Families, TooLarge> {
        if self.is_too_large {
            Err(TooLarge)
        } else {
            Ok(self.families)
        }
    }

    /// Appends a text to the text of the skeleton.
    fn append_text(&mut self, text: &str) -> TextRange {
        let skeleton = &mut self.families.skeleton;
        let start = u32::try_from(skeleton.text.len());
        skeleton.text.push_str(text);
        let end = u32::try_from(skeleton.text.len());
        match (start, end) {
            (Ok(start), Ok(end)) => TextRange { start, end },
            _ => {
                self.is_too_large = true;
                TextRange::default()
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
    fn numbers_do_not_make_skeletons_different() {
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
    fn a_family_knows_the_range_of_its_numbers() {
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
