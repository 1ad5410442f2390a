//! Reads the value field of a `Metric` message: a number, a summary or a histogram.
//!
//! The numbers that the text format can carry become values of the families. Everything else
//! (native histograms, exemplars, created timestamps, unknown fields) is only noticed: the caller
//! keeps the whole field if there is any.

use super::error::ParseError;
use super::series_budget::SeriesBudget;
use super::wire::{FieldValue, Fields};
use crate::model::{FamiliesBuilder, MetricFlags, MetricType};

/// What is known of a metric's value when it was read, besides its numbers.
pub(super) struct ReadValue {
    pub(super) flags: MetricFlags,
    /// Whether the field says more than the numbers do.
    pub(super) has_more: bool,
}

/// Reads the value field of a metric of this type and adds the numbers to the metric being built.
/// `body` is the field's message, empty if the metric has no such field.
///
/// # Errors
///
/// If the message is malformed or exceeds the limits.
#[inline]
pub(super) fn read_value(
    body: &[u8],
    metric_type: MetricType,
    builder: &mut FamiliesBuilder,
    budget: &mut SeriesBudget,
) -> Result<ReadValue, ParseError> {
    match metric_type {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => read_number(body, builder),
        MetricType::Summary => read_summary(body, builder, budget),
        MetricType::Histogram | MetricType::GaugeHistogram => read_histogram(body, builder, budget),
    }
}

#[inline]
fn read_number(body: &[u8], builder: &mut FamiliesBuilder) -> Result<ReadValue, ParseError> {
    let (mut value, mut has_more) = (None, false);
    for field in Fields::new(body) {
        match field? {
            (1, FieldValue::Fixed64(bits)) => value = Some(bits),
            _ => has_more = true,
        }
    }
    builder.value(value.unwrap_or(0));
    // A missing value is exposed as 0. The number 0 alone does not say that it was missing.
    Ok(ReadValue {
        flags: MetricFlags::default(),
        has_more: has_more || value.is_none(),
    })
}

fn read_summary(
    body: &[u8],
    builder: &mut FamiliesBuilder,
    budget: &mut SeriesBudget,
) -> Result<ReadValue, ParseError> {
    let (mut count, mut sum, mut quantiles) = (None, None, Vec::new());
    let mut has_more = false;
    for field in Fields::new(body) {
        match field? {
            (1, FieldValue::Varint(value)) => count = Some(value),
            (2, FieldValue::Fixed64(bits)) => sum = Some(bits),
            (3, FieldValue::Bytes(quantile)) => {
                budget.spend(1)?;
                let (mut rank, mut value) = (0, 0);
                for field in Fields::new(quantile) {
                    match field? {
                        (1, FieldValue::Fixed64(bits)) => rank = bits,
                        (2, FieldValue::Fixed64(bits)) => value = bits,
                        _ => has_more = true,
                    }
                }
                quantiles.push((rank, value));
            }
            _ => has_more = true,
        }
    }
    builder.value(count.unwrap_or(0));
    builder.value(sum.unwrap_or(0));
    for (rank, value) in quantiles {
        builder.bound(f64::from_bits(rank));
        builder.value(value);
    }
    Ok(ReadValue {
        flags: MetricFlags::of_presence(count.is_some(), sum.is_some()),
        has_more,
    })
}

/// A count of a histogram, which may come as an integer, as a float, or as both. If it is both, the
/// float counts if it is not zero, as in the reference's writer of text and in Prometheus.
#[derive(Clone, Copy, Default)]
struct HistogramCount {
    integer: Option<u64>,
    float: Option<f64>,
}

impl HistogramCount {
    /// The float, if that is what counts.
    fn effective_float(self) -> Option<f64> {
        self.float
            .filter(|&float| float != 0.0 || self.integer.is_none())
    }

    /// The count as a value of the families: the bits of an `f64` if `is_float`, else an integer.
    fn bits(self, is_float: bool) -> u64 {
        let integer = self.integer.unwrap_or(0);
        match (self.effective_float(), is_float) {
            (Some(float), true) => float.to_bits(),
            (None, true) => (integer as f64).to_bits(),
            (_, false) => integer,
        }
    }
}

fn read_histogram(
    body: &[u8],
    builder: &mut FamiliesBuilder,
    budget: &mut SeriesBudget,
) -> Result<ReadValue, ParseError> {
    let (mut count, mut sum, mut buckets) = (HistogramCount::default(), None, Vec::new());
    let (mut zero_threshold, mut zero_count, mut has_spans) = (0, 0, false);
    let mut has_more = false;
    for field in Fields::new(body) {
        match field? {
            (1, FieldValue::Varint(value)) => count.integer = Some(value),
            (4, FieldValue::Fixed64(bits)) => count.float = Some(f64::from_bits(bits)),
            (2, FieldValue::Fixed64(bits)) => sum = Some(bits),
            (3, FieldValue::Bytes(bucket)) => {
                budget.spend(1)?;
                let (mut bound, mut count) = (0, HistogramCount::default());
                for field in Fields::new(bucket) {
                    match field? {
                        (1, FieldValue::Varint(value)) => count.integer = Some(value),
                        (4, FieldValue::Fixed64(bits)) => count.float = Some(f64::from_bits(bits)),
                        (2, FieldValue::Fixed64(bits)) => bound = bits,
                        _ => has_more = true,
                    }
                }
                buckets.push((bound, count));
            }
            (field, value) => {
                has_more = true;
                match (field, value) {
                    (6, FieldValue::Fixed64(bits)) => zero_threshold = bits,
                    (7, FieldValue::Varint(value)) => zero_count = value,
                    (9 | 12, FieldValue::Bytes(_)) => has_spans = true,
                    _ => {}
                }
                budget.spend(native_buckets_max(field, value))?;
            }
        }
    }
    let is_float = count.effective_float().is_some()
        || buckets
            .iter()
            .any(|(_, count)| count.effective_float().is_some());
    // If one count is a float, all are kept as floats. These do not say which counts came as
    // integers and which came as both, so the field is kept.
    has_more |= count.float.is_some() || buckets.iter().any(|(_, count)| count.float.is_some());
    builder.value(count.bits(is_float));
    builder.value(sum.unwrap_or(0));
    for (bound, count) in buckets {
        builder.bound(f64::from_bits(bound));
        builder.value(count.bits(is_float));
    }
    let has_count = count.integer.is_some() || count.float.is_some();
    let mut flags = MetricFlags::of_presence(has_count, sum.is_some());
    if is_float {
        flags |= MetricFlags::FLOAT_COUNTS;
    }
    // The same test as in Prometheus' parser and in `NativeHistogram::check`.
    if has_spans || zero_count > 0 || f64::from_bits(zero_threshold) > 0.0 {
        flags |= MetricFlags::NATIVE;
    }
    Ok(ReadValue { flags, has_more })
}

/// The largest number of buckets of a native histogram that a field can bring.
fn native_buckets_max(field: u64, value: FieldValue<'_>) -> usize {
    match (field, value) {
        // Packed differences: at least one byte each.
        (10 | 13, FieldValue::Bytes(packed)) => packed.len(),
        // Packed counts: eight bytes each.
        (11 | 14, FieldValue::Bytes(packed)) => packed.len() / 8,
        // A span, or a single difference or count.
        (9..=14, _) => 1,
        _ => 0,
    }
}
