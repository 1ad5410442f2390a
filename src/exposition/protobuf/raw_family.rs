//! Takes the messages of an exposition apart without reading the values of its metrics, and puts
//! messages together from such parts: for groups that move from one gateway to another with
//! everything that was pushed.

use super::error::ParseError;
use super::message::{DelimitedMessages, FamilyHeader};
use super::wire::{FieldValue, Fields, write_bytes, write_double, write_varint_field};
use super::write::{write_family_fields, write_label};
use crate::model::{Escaping, MetricType};
use std::borrow::Cow;

/// A message of an exposition.
pub(crate) struct RawFamily<'a> {
    /// The name of the family.
    pub name: &'a str,
    /// The help text.
    pub help: Option<Cow<'a, str>>,
    /// The type of the family.
    pub metric_type: MetricType,
    /// The unit.
    pub unit: Option<&'a [u8]>,
    /// The metrics.
    pub metrics: Vec<RawMetric<'a>>,
}

/// A metric as it is encoded.
pub(crate) struct RawMetric<'a> {
    /// The message.
    pub message: Cow<'a, [u8]>,
}

/// The messages of an exposition. Iterating ends after an error.
pub(crate) fn raw_families(body: &[u8]) -> impl Iterator<Item = Result<RawFamily<'_>, ParseError>> {
    let mut messages = DelimitedMessages::new(body);
    let mut has_failed = false;
    std::iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let family = messages.next()?.and_then(|(_, message)| read(message));
        has_failed = family.is_err();
        Some(family)
    })
}

fn read(message: &[u8]) -> Result<RawFamily<'_>, ParseError> {
    let FamilyHeader {
        name,
        help,
        metric_type,
    } = FamilyHeader::read(message)?;
    let mut family = RawFamily {
        name,
        help: help.map(String::from_utf8_lossy),
        metric_type,
        unit: None,
        metrics: Vec::new(),
    };
    for field in Fields::new(message) {
        match field? {
            (4, FieldValue::Bytes(metric)) => family.metrics.push(RawMetric {
                message: Cow::Borrowed(metric),
            }),
            (5, FieldValue::Bytes(unit)) => family.unit = Some(unit),
            _ => {}
        }
    }
    Ok(family)
}

impl RawFamily<'_> {
    /// The family as one message, without a length.
    pub fn message(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let help = self.help.as_deref();
        write_family_fields(
            self.name,
            help,
            self.metric_type,
            Escaping::AllowUtf8,
            &mut out,
        );
        for metric in &self.metrics {
            write_bytes(4, &metric.message, &mut out);
        }
        if let Some(unit) = self.unit {
            write_bytes(5, unit, &mut out);
        }
        out
    }
}

impl RawMetric<'_> {
    /// The labels in the order of the message; `None` if they cannot be read.
    pub fn labels(&self) -> Option<Vec<(&str, &str)>> {
        let mut labels = Vec::new();
        for field in Fields::new(&self.message) {
            if let (1, FieldValue::Bytes(label)) = field.ok()? {
                let (mut name, mut value) = ("", "");
                for part in Fields::new(label) {
                    match part.ok()? {
                        (1, FieldValue::Bytes(bytes)) => name = str::from_utf8(bytes).ok()?,
                        (2, FieldValue::Bytes(bytes)) => value = str::from_utf8(bytes).ok()?,
                        _ => {}
                    }
                }
                labels.push((name, value));
            }
        }
        Some(labels)
    }

    /// The value, if the metric is a gauge.
    pub fn gauge_value(&self) -> Option<f64> {
        let mut value = None;
        for field in Fields::new(&self.message) {
            if let (2, FieldValue::Bytes(gauge)) = field.ok()? {
                // A number that is left out is 0.
                value = Some(0.0);
                for part in Fields::new(gauge) {
                    if let (1, FieldValue::Fixed64(bits)) = part.ok()? {
                        value = Some(f64::from_bits(bits));
                    }
                }
            }
        }
        value
    }
}

/// The value of a metric without anything that only protobuf has.
pub(crate) enum PlainValue {
    /// Of a counter, a gauge or an untyped metric.
    Number(f64),
    /// Of a summary.
    Summary {
        /// The number of observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// Quantiles and their values.
        quantiles: Vec<(f64, f64)>,
    },
    /// Of a histogram with integer or float counts.
    Histogram {
        /// The number of observations.
        count: f64,
        /// Their sum.
        sum: f64,
        /// Upper bounds and cumulative counts.
        buckets: Vec<(f64, f64)>,
    },
}

impl RawMetric<'static> {
    /// A metric with these labels and this value.
    pub fn new<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        metric_type: MetricType,
        value: &PlainValue,
    ) -> Self {
        let mut message = Vec::new();
        for (name, label) in labels {
            write_label(name, label, &mut message);
        }
        let mut body = Vec::new();
        match value {
            PlainValue::Number(number) => write_double(1, number.to_bits(), &mut body),
            PlainValue::Summary {
                count,
                sum,
                quantiles,
            } => {
                write_varint_field(1, *count, &mut body);
                write_double(2, sum.to_bits(), &mut body);
                for (quantile, value) in quantiles {
                    let mut pair = Vec::new();
                    write_double(1, quantile.to_bits(), &mut pair);
                    write_double(2, value.to_bits(), &mut pair);
                    write_bytes(3, &pair, &mut body);
                }
            }
            PlainValue::Histogram {
                count,
                sum,
                buckets,
            } => {
                let counts = || [*count].into_iter().chain(buckets.iter().map(|b| b.1));
                let is_integer = counts().all(|count| count.fract() == 0.0 && count >= 0.0);
                let write_count = |of: (u8, u8), count: f64, out: &mut Vec<u8>| {
                    if is_integer {
                        write_varint_field(of.0, count as u64, out);
                    } else {
                        write_double(of.1, count.to_bits(), out);
                    }
                };
                write_count((1, 4), *count, &mut body);
                write_double(2, sum.to_bits(), &mut body);
                for (bound, count) in buckets {
                    let mut bucket = Vec::new();
                    write_count((1, 4), *count, &mut bucket);
                    write_double(2, bound.to_bits(), &mut bucket);
                    write_bytes(3, &bucket, &mut body);
                }
            }
        }
        let field = match metric_type {
            MetricType::Gauge => 2,
            MetricType::Counter => 3,
            MetricType::Summary => 4,
            MetricType::Untyped => 5,
            MetricType::Histogram | MetricType::GaugeHistogram => 7,
        };
        write_bytes(field, &body, &mut message);
        Self {
            message: Cow::Owned(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, write_delimited};
    use super::*;

    fn delimited(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_delimited(message, &mut out);
        out
    }

    #[test]
    fn a_message_taken_apart_and_put_together_is_the_same() {
        let labels = [("a", "\u{e4}"), ("b", "")];
        let histogram = PlainValue::Histogram {
            count: 3.0,
            sum: 1.5,
            buckets: vec![(1.0, 2.0), (f64::INFINITY, 3.0)],
        };
        let family = RawFamily {
            name: "h",
            help: Some("Sizes.".into()),
            metric_type: MetricType::Histogram,
            unit: Some(b"bytes"),
            metrics: vec![RawMetric::new(labels, MetricType::Histogram, &histogram)],
        };
        let body = delimited(&family.message());
        let read = raw_families(&body).next().unwrap().unwrap();
        assert_eq!(read.metrics[0].labels().unwrap(), labels);
        assert_eq!(read.metrics[0].gauge_value(), None);
        assert_eq!(delimited(&read.message()), body);
        let families = parse(&body).unwrap();
        assert_eq!(families.values, [3, 1.5f64.to_bits(), 2, 3]);
        assert!(
            raw_families(&body[..body.len() - 1])
                .next()
                .unwrap()
                .is_err()
        );
    }

    #[test]
    fn plain_values_are_read_as_the_values_of_their_types() {
        let check = |metric_type, value: PlainValue, values: &[u64]| {
            let family = RawFamily {
                name: "x",
                help: None,
                metric_type,
                unit: None,
                metrics: vec![RawMetric::new([], metric_type, &value)],
            };
            let families = parse(&delimited(&family.message())).unwrap();
            assert_eq!((&families.values[..], families.broken_rule), (values, None));
        };
        let two = 2f64.to_bits();
        for metric_type in [MetricType::Counter, MetricType::Gauge, MetricType::Untyped] {
            check(metric_type, PlainValue::Number(2.0), &[two]);
        }
        let summary = PlainValue::Summary {
            count: 7,
            sum: 2.0,
            quantiles: vec![(0.5, 2.0)],
        };
        check(MetricType::Summary, summary, &[7, two, two]);
        let histogram = PlainValue::Histogram {
            count: 2.5,
            sum: 2.0,
            buckets: vec![(1.0, 2.0)],
        };
        let values = [2.5f64.to_bits(), two, two];
        check(MetricType::Histogram, histogram, &values);
        let gauge = RawMetric::new([], MetricType::Gauge, &PlainValue::Number(2.0));
        assert_eq!(gauge.gauge_value(), Some(2.0));
    }
}
