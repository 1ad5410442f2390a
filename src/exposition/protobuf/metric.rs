//! Reads one `Metric` message: labels, timestamp, and the field with the value.

use super::error::ParseError;
use super::metric_value::read_value;
use super::native_histogram_check::{ExposedBuckets, NativeHistogram, without_buckets};
use super::series_budget::SeriesBudget;
use super::to_text::metric_value_text;
use super::value_fields::check_value_fields;
use super::wire::{FieldValue, Fields};
use crate::exposition::limits::TooManyLabels;
use crate::model::{BrokenRule, FamiliesBuilder, MetricType};
use std::borrow::Cow;

/// Reads the metric in `message`, a `Metric`, and adds it to the family being built. Notes the
/// first rule that the metric breaks in the builder.
///
/// # Errors
///
/// If the message is malformed or exceeds the limits.
#[inline]
pub(super) fn read_metric(
    message: &[u8],
    metric_type: MetricType,
    builder: &mut FamiliesBuilder,
    budget: &mut SeriesBudget,
) -> Result<(), ParseError> {
    budget.spend(1)?;
    let mut value: Option<Cow<'_, [u8]>> = None;
    let mut labels = LabelReader {
        labels_max: budget.labels_max(),
        n_labels: 0,
        has_nameless: false,
        not_utf8: None,
    };
    for field in Fields::new(message) {
        match field? {
            (1, FieldValue::Bytes(label)) => labels.read(label, builder)?,
            (6, FieldValue::Varint(_)) => builder.note_broken_rule(BrokenRule::Timestamp),
            (field, FieldValue::Bytes(body)) if field == value_field(metric_type) => {
                match &mut value {
                    None => value = Some(Cow::Borrowed(body)),
                    // If a message field occurs twice, the message is both of them, concatenated.
                    Some(value) => value.to_mut().extend_from_slice(body),
                }
            }
            _ => {}
        }
    }
    let value_body = value.as_deref().unwrap_or_default();
    let read = read_value(value_body, metric_type, builder, budget)?;
    let metric = builder.end_metric(read.flags);
    if read.has_more {
        keep_whole_value(value_body, metric_type, metric, builder, budget)?;
    }
    // Making the text is costly. Only the first broken rule of a push is reported, so the text is
    // made only if this is the first.
    if value.is_none() && !builder.breaks_rule() {
        builder.note_broken_rule(BrokenRule::NotOfType {
            metric,
            found: metric_value_text(message),
        });
    }
    if let Some((label, in_name)) = labels.not_utf8 {
        builder.note_broken_rule(BrokenRule::LabelNotUtf8 {
            metric,
            label,
            in_name,
        });
    }
    Ok(())
}

/// Keeps a value that says more than its numbers do, so that it is exposed as it was pushed. Checks
/// whether Prometheus can read the value, and notes in the builder if it cannot.
///
/// # Errors
///
/// If a field of the value is malformed or has the wrong wire type.
#[inline(never)]
fn keep_whole_value(
    value_body: &[u8],
    metric_type: MetricType,
    metric: u32,
    builder: &mut FamiliesBuilder,
    budget: &mut SeriesBudget,
) -> Result<(), ParseError> {
    check_value_fields(value_body, metric_type)?;
    let mut exposed = Cow::Borrowed(value_body);
    if matches!(
        metric_type,
        MetricType::Histogram | MetricType::GaugeHistogram
    ) {
        match NativeHistogram::read(value_body)?.check(&mut budget.gap_moves) {
            Ok(ExposedBuckets::Pushed) => {}
            Ok(ExposedBuckets::Omitted) => exposed = Cow::Owned(without_buckets(value_body)?),
            Err(_) if builder.breaks_rule() => {}
            Err(defect) => builder.note_broken_rule(BrokenRule::NativeHistogram {
                metric,
                defect: defect.to_string(),
            }),
        }
    }
    builder.extra(metric, &exposed);
    Ok(())
}

/// The field of `Metric` that carries the value of a metric of this type.
fn value_field(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Gauge => 2,
        MetricType::Counter => 3,
        MetricType::Summary => 4,
        MetricType::Untyped => 5,
        MetricType::Histogram | MetricType::GaugeHistogram => 7,
    }
}

/// Reads the labels of one metric.
struct LabelReader {
    labels_max: usize,
    n_labels: usize,
    /// Whether a label without a name was read.
    has_nameless: bool,
    /// The name of the first label that is not UTF-8, and whether that is because of its name.
    not_utf8: Option<(String, bool)>,
}

impl LabelReader {
    /// Reads a `LabelPair` message and adds the label to the metric being built.
    #[inline]
    fn read(&mut self, label: &[u8], builder: &mut FamiliesBuilder) -> Result<(), ParseError> {
        self.n_labels += 1;
        let labels_max = self.labels_max;
        if self.n_labels > labels_max {
            return Err(ParseError::TooManyLabels(TooManyLabels { labels_max }));
        }
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in Fields::new(label) {
            match field? {
                (1, FieldValue::Bytes(bytes)) => name = bytes,
                (2, FieldValue::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        // The push will be refused because of its first label without a name. Further ones are not
        // kept: each is two bytes of the body but sixteen bytes of memory.
        if name.is_empty() && std::mem::replace(&mut self.has_nameless, true) {
            return Ok(());
        }
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        // Text is borrowed if it is UTF-8, and owned if something had to be replaced.
        for (text, in_name) in [(&name, true), (&value, false)] {
            if let Cow::Owned(_) = text {
                self.not_utf8
                    .get_or_insert((name.clone().into_owned(), in_name));
            }
        }
        builder.label(&name, &value);
        Ok(())
    }
}
