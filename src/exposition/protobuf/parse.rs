//! Parses a body of delimited `io.prometheus.client.MetricFamily` messages.
//!
//! ```text
//! body    = { length message }     length: a varint, the number of bytes of the message
//! message = { field }              a MetricFamily; the fields are listed at the head of `mod.rs`
//! ```
//!
//! As everywhere in protobuf, fields may come in any order. If a number or string occurs several
//! times, the last one counts; if a message does, the message is all of them, concatenated. A field
//! with the wrong wire type counts as unknown, except below the values of metrics, where it is an
//! error. Unknown fields are skipped. If several messages have the same family name, the last
//! message counts, as in the reference.
//!
//! A body is read twice: first to find the last message of each family, then to read the metrics.
//! The messages are not listed in between, because a message can be as short as one byte. Memory is
//! never allocated because a length says so: a length that exceeds the body is an error. Everything
//! that takes memory (metrics, buckets, quantiles, labels) is counted while it is read.

use super::error::ParseError;
use super::message::{DelimitedMessages, FamilyHeader};
use super::metric::read_metric;
use super::series_budget::SeriesBudget;
use super::wire::{FieldValue, Fields};
use crate::exposition::limits::ParseLimits;
use crate::model::{Families, FamiliesBuilder};
use ahash::AHashMap;

/// Parses a body whose sender is trusted not to send too much: there are no limits.
///
/// # Errors
///
/// The first error in the body.
///
/// # Examples
///
/// ```
/// use pushgateway::exposition::protobuf;
/// use pushgateway::model::MetricType;
///
/// let body = [
///     &b"\x15"[..],                          // the length of the message: 21 bytes
///     b"\x0a\x04rows",                       // name
///     b"\x18\x01",                           // type: GAUGE
///     b"\x22\x0b",                           // metric: 11 bytes
///     b"\x12\x09\x09", &42f64.to_le_bytes(), //   gauge: value
/// ]
/// .concat();
/// let families = protobuf::parse(&body)?;
/// let family = families.skeleton.family(0);
/// assert_eq!((family.name(), family.metric_type()), ("rows", MetricType::Gauge));
/// assert_eq!(families.values, [42f64.to_bits()]);
///
/// let truncated = &body[..20];
/// assert_eq!(protobuf::parse(truncated), Err(protobuf::ParseError::UnexpectedEnd));
/// # Ok::<(), protobuf::ParseError>(())
/// ```
pub fn parse(body: &[u8]) -> Result<Families, ParseError> {
    parse_within(body, ParseLimits::NONE)
}

/// Parses a pushed body within limits.
///
/// # Errors
///
/// The first error in the body, or the first thing that exceeds `limits`.
pub(crate) fn parse_within(body: &[u8], limits: ParseLimits) -> Result<Families, ParseError> {
    let last_messages = find_last_messages(body, limits)?;
    let mut budget = SeriesBudget::new(limits);
    let mut builder = FamiliesBuilder::with_capacity(body.len());
    for message in DelimitedMessages::new(body) {
        let (place, message) = message?;
        let header = FamilyHeader::read(message)?;
        // A message that does not count is read all the same, because it may have errors.
        let mut ignored = FamiliesBuilder::new();
        let builder = if last_messages[header.name] == place {
            &mut builder
        } else {
            &mut ignored
        };
        builder.family(
            header.name,
            header.metric_type,
            header.help.map(String::from_utf8_lossy).as_deref(),
        );
        for field in Fields::new(message) {
            if let (4, FieldValue::Bytes(metric)) = field? {
                read_metric(metric, header.metric_type, builder, &mut budget)?;
            }
        }
    }
    builder.finish().map_err(|_| ParseError::TooLarge)
}

/// Reads every message without its metrics. Returns the offset of each family's last message.
fn find_last_messages(
    body: &[u8],
    limits: ParseLimits,
) -> Result<AHashMap<&str, usize>, ParseError> {
    let mut last_messages = AHashMap::new();
    for (n, message) in DelimitedMessages::new(body).enumerate() {
        let (place, message) = message?;
        let header = FamilyHeader::read(message)?;
        limits.check_room(n)?;
        last_messages.insert(header.name, place);
    }
    Ok(last_messages)
}

#[cfg(test)]
mod tests {
    use super::super::wire::{write_bytes, write_double, write_varint, write_varint_field};
    use super::*;
    use crate::exposition::limits::{TooManyLabels, TooManySeries};
    use crate::model::{BrokenRule, MetricFlags, MetricType};

    fn message(fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        fields(&mut out);
        out
    }

    fn delimited(messages: &[Vec<u8>]) -> Vec<u8> {
        message(|out| {
            for message in messages {
                write_varint(message.len() as u64, out);
                out.extend_from_slice(message);
            }
        })
    }

    fn gauge(value: f64) -> Vec<u8> {
        let number = message(|out| write_double(1, value.to_bits(), out));
        let label = message(|out| {
            write_bytes(1, b"l", out);
            write_bytes(2, b"v", out);
        });
        message(|out| {
            write_bytes(2, &number, out);
            write_bytes(1, &label, out);
        })
    }

    fn family(name: &str, metric_type: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
        message(|out| {
            metrics
                .iter()
                .for_each(|metric| write_bytes(4, metric, out));
            write_varint_field(3, metric_type, out);
            write_bytes(1, name.as_bytes(), out);
        })
    }

    #[test]
    fn families_are_read_whatever_the_order_of_fields() {
        let families = parse(&delimited(&[family("g", 1, &[gauge(2.5)])])).unwrap();
        let family = families.skeleton.family(0);
        assert_eq!(
            (family.name(), family.metric_type(), family.help()),
            ("g", MetricType::Gauge, None)
        );
        assert_eq!(
            families.skeleton.metric(0).labels().collect::<Vec<_>>(),
            [("l", "v")]
        );
        assert_eq!(families.values, [2.5f64.to_bits()]);
        assert_eq!((families.extras.len(), families.broken_rule), (0, None));
    }

    #[test]
    fn the_last_of_several_messages_of_a_family_counts() {
        let body = delimited(&[
            family("g", 1, &[gauge(1.0)]),
            family("h", 1, &[]),
            family("g", 1, &[gauge(2.0)]),
        ]);
        let families = parse(&body).unwrap();
        assert_eq!(
            families
                .skeleton
                .families()
                .map(|f| f.name())
                .collect::<Vec<_>>(),
            ["h", "g"]
        );
        assert_eq!(families.values, [2f64.to_bits()]);
    }

    #[test]
    fn a_native_histogram_is_kept_beside_its_classic_buckets() {
        let bucket = message(|out| {
            write_varint_field(1, 3, out);
            write_double(2, 1f64.to_bits(), out);
        });
        let histogram = message(|out| {
            write_varint_field(1, 5, out);
            write_double(2, 4.5f64.to_bits(), out);
            write_bytes(3, &bucket, out);
            write_varint_field(5, 6, out);
        });
        let metric = message(|out| write_bytes(7, &histogram, out));
        let families = parse(&delimited(&[family("h", 4, &[metric])])).unwrap();
        assert_eq!(families.values, [5, 4.5f64.to_bits(), 3]);
        assert_eq!(
            families.skeleton.metric(0).bounds().collect::<Vec<_>>(),
            [1.0]
        );
        assert_eq!(&*families.extras[0].body, histogram);
    }

    /// As Prometheus' parser decides.
    #[test]
    fn a_histogram_is_native_if_it_has_a_span_or_a_zero_bucket() {
        let is_native = |write: &dyn Fn(&mut Vec<u8>)| {
            let histogram = message(|out| write(out));
            let metric = message(|out| write_bytes(7, &histogram, out));
            let families = parse(&delimited(&[family("h", 4, &[metric])])).unwrap();
            let flags = families.skeleton.metric(0).flags();
            flags.has(MetricFlags::NATIVE)
        };
        let threshold =
            |number: f64| move |out: &mut Vec<u8>| write_double(6, number.to_bits(), out);
        assert!(is_native(&threshold(1e-300)));
        assert!(!is_native(&threshold(-1.0)) && !is_native(&threshold(f64::NAN)));
        // The last of several numbers counts.
        assert!(!is_native(&|out| [1.0, 0.0]
            .map(|n| threshold(n)(out))
            .into_iter()
            .collect()));
        assert!(is_native(&|out| write_varint_field(7, 1, out)));
        assert!(!is_native(&|out| write_varint_field(7, 0, out)));
        assert!(!is_native(&|out| write_double(8, 1f64.to_bits(), out)));
        assert!(is_native(&|out| write_bytes(9, &[], out)));
        assert!(is_native(&|out| write_bytes(12, &[], out)));
        assert!(!is_native(&|out| write_varint_field(5, 2, out)));
    }

    #[test]
    fn one_float_count_makes_all_counts_of_a_histogram_floats() {
        let histogram = message(|out| {
            write_double(4, 2.5f64.to_bits(), out);
            write_bytes(3, &message(|out| write_varint_field(1, 1, out)), out);
        });
        let metric = message(|out| write_bytes(7, &histogram, out));
        let families = parse(&delimited(&[family("h", 4, &[metric])])).unwrap();
        assert_eq!(families.values, [2.5f64.to_bits(), 0, 1f64.to_bits()]);
        assert!(
            families
                .skeleton
                .metric(0)
                .flags()
                .has(MetricFlags::FLOAT_COUNTS | MetricFlags::HAS_COUNT)
        );
    }

    #[test]
    fn the_first_broken_rule_is_noted() {
        let invalid = |metric_type, metric: Vec<u8>| {
            parse(&delimited(&[family("x", metric_type, &[metric])]))
                .unwrap()
                .broken_rule
        };
        assert_eq!(
            invalid(0, gauge(1.0)),
            Some(BrokenRule::NotOfType {
                metric: 0,
                found: "gauge:{value:1}".to_owned()
            })
        );
        assert_eq!(
            invalid(1, [gauge(1.0), vec![0x30, 0]].concat()),
            Some(BrokenRule::Timestamp)
        );
        let label = message(|out| {
            write_bytes(1, b"a", out);
            write_bytes(2, b"\xff", out);
        });
        let metric = [gauge(1.0), message(|out| write_bytes(1, &label, out))].concat();
        assert_eq!(
            invalid(1, metric),
            Some(BrokenRule::LabelNotUtf8 {
                metric: 0,
                label: "a".to_owned(),
                in_name: false
            })
        );
    }

    /// Regression test: Prometheus drops the target because of the first, and ends because of the
    /// second.
    #[test]
    fn native_histograms_that_prometheus_cannot_read_break_a_rule() {
        for (body, defect) in [
            (
                &include_bytes!("../../../tests/cases/native-count-mismatch.pb")[..],
                "its count is 6, but its buckets hold 7 observations",
            ),
            (
                include_bytes!("../../../tests/cases/native-more-deltas-than-spans.pb"),
                "its positive spans need 4 buckets, but there are 6",
            ),
        ] {
            assert_eq!(
                parse(body).unwrap().broken_rule,
                Some(BrokenRule::NativeHistogram {
                    metric: 0,
                    defect: defect.to_owned()
                })
            );
        }
    }

    /// Regression test: six bytes that announce a message of 64 GiB made the reference's process
    /// end.
    #[test]
    fn no_memory_is_allocated_for_a_length_that_the_body_does_not_have() {
        for length in [1 << 20, 1 << 36, 1 << 40, 1 << 62, u64::MAX] {
            let mut body = Vec::new();
            write_varint(length, &mut body);
            assert_eq!(parse(&body), Err(ParseError::UnexpectedEnd));
        }
        assert_eq!(parse(&[0xff; 11]), Err(ParseError::LengthOverflow));
        assert_eq!(parse(&[0x80]), Err(ParseError::UnexpectedEnd));
        assert_eq!(parse(&[2, 0x0a, 5]), Err(ParseError::Malformed));
    }

    #[test]
    fn reading_stops_at_the_limits() {
        let parse = |body: &[u8]| {
            parse_within(
                body,
                ParseLimits {
                    series_max: 3,
                    labels_max: 2,
                },
            )
            .map(|families| families.values.len())
        };
        let too_many = Err(ParseError::TooManySeries(TooManySeries { series_max: 3 }));
        assert_eq!(
            parse(&delimited(&[family(
                "g",
                1,
                &[gauge(1.0), gauge(2.0), gauge(3.0)]
            )])),
            Ok(3)
        );
        assert_eq!(
            parse(&delimited(&[
                family("g", 1, &[vec![], vec![]]),
                family("h", 1, &[vec![], vec![]])
            ])),
            too_many
        );
        // Empty messages count, too: three are allowed, four are not.
        assert_eq!(parse(&[0; 3]), Ok(0));
        assert_eq!(parse(&[0; 4]), too_many);
        // Empty quantiles and buckets count, too: the metric and two of them make three series.
        for (metric_type, field) in [(2, 4), (4, 7), (5, 7)] {
            let with = |n: usize| {
                delimited(&[family(
                    "x",
                    metric_type,
                    &[message(|out| write_bytes(field, &[0x1a, 0].repeat(n), out))],
                )])
            };
            assert_eq!(
                (parse(&with(2)), parse(&with(3))),
                (Ok(4), too_many.clone())
            );
        }
        let labelled = |n: usize| {
            delimited(&[family(
                "g",
                1,
                &[[gauge(1.0), [0x0a, 0].repeat(n)].concat()],
            )])
        };
        assert_eq!(parse(&labelled(1)), Ok(1));
        assert_eq!(
            parse(&labelled(2)),
            Err(ParseError::TooManyLabels(TooManyLabels { labels_max: 2 }))
        );
        // The error that comes first in the body is reported: the fourth message cannot be read.
        assert_eq!(parse(&[0, 0, 0, 9]), Err(ParseError::UnexpectedEnd));
    }

    #[test]
    fn only_the_first_label_without_a_name_is_kept() {
        let families = parse(&delimited(&[family(
            "g",
            1,
            &[[gauge(1.0), [0x0a, 0].repeat(1000)].concat()],
        )]))
        .unwrap();
        assert_eq!(
            families.skeleton.metric(0).labels().collect::<Vec<_>>(),
            [("", ""), ("l", "v")]
        );
    }

    #[test]
    fn unknown_types_and_family_names_that_are_not_utf8_are_refused() {
        assert_eq!(
            parse(&delimited(&[family("x", 9, &[])])),
            Err(ParseError::UnknownType {
                family: "x".to_owned(),
                number: 9
            })
        );
        let bad = delimited(&[message(|out| write_bytes(1, b"x\xff", out))]);
        assert_eq!(
            parse(&bad),
            Err(ParseError::NameNotUtf8("\"x\\xff\"".to_owned()))
        );
    }

    #[test]
    fn random_bodies_do_not_panic() {
        let body = delimited(&[family("g", 1, &[gauge(1.0)]), family("h", 4, &[gauge(2.0)])]);
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..200_000 {
            let mut body = body.clone();
            for _ in 0..random.usize(1..4) {
                let at = random.usize(..body.len());
                body[at] = random.u8(..);
            }
            body.truncate(random.usize(..=body.len()));
            let _ = parse(&body);
        }
    }
}
