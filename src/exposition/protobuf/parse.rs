//! Delimited messages to families.
//!
//! Nothing is ever allocated because a length says so: a length that the body does not have is an
//! error. Of two messages with one family name the last counts, as with the reference. Fields of
//! the wrong wire type count as unknown, as everywhere in protobuf; a message field that stands
//! twice is the two put together.
//!
//! A body is read twice: first which message of a family is the last, then what it says. No list of
//! messages is kept in between: one of them may be a single byte. What is kept of metrics, buckets
//! and labels is counted as it comes.

use super::to_text::metric_value_text;
use super::wire::{Fields, Malformed, NoVarint, Value, read_varint};
use crate::exposition::go_quote::quote;
use crate::exposition::{ParseLimits, TooManyLabels, TooManySeries};
use crate::model::{Families, FamiliesBuilder, Invalid, MetricFlags, MetricType};
use ahash::AHashMap;
use std::borrow::Cow;
use std::fmt;

/// Why a body is no sequence of metric families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The body ends within a message or its length.
    UnexpectedEnd,
    /// A length does not fit 64 bits.
    LengthOverflow,
    /// A message is not in the wire format.
    Malformed,
    /// A family's name is not UTF-8.
    NameNotUtf8(String),
    /// A family has a type that does not exist.
    UnknownType {
        /// The family's name.
        family: String,
        /// The number that stands for its type.
        number: u64,
    },
    /// More text than can be addressed.
    TooLarge,
    /// There is more than a push may hold.
    TooManySeries(TooManySeries),
    /// A metric has more labels than it may.
    TooManyLabels(TooManyLabels),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("unexpected EOF"),
            Self::LengthOverflow => f.write_str("proto: variable length integer overflow"),
            Self::Malformed => f.write_str("proto: cannot parse invalid wire-format data"),
            Self::NameNotUtf8(name) => write!(f, "invalid metric name {name}"),
            Self::UnknownType { family, number } => {
                write!(f, "unknown type {number} of metric family {family:?}")
            }
            Self::TooLarge => f.write_str("more than 4 GiB of labels in one push"),
            Self::TooManySeries(too_many) => too_many.fmt(f),
            Self::TooManyLabels(too_many) => too_many.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

impl From<Malformed> for ParseError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Parses a body from somebody who is trusted not to send too much.
///
/// # Errors
///
/// [`ParseError`] at the first message that cannot be read.
pub fn parse(body: &[u8]) -> Result<Families, ParseError> {
    parse_within(body, ParseLimits::NONE)
}

/// Parses a pushed body.
///
/// # Errors
///
/// [`ParseError`] at the first message that cannot be read, or with which there is more than
/// `limits` allow.
pub fn parse_within(body: &[u8], limits: ParseLimits) -> Result<Families, ParseError> {
    let last = last_of_each_family(body, limits)?;
    let mut tally = Tally {
        limits,
        n_series: 0,
    };
    let mut builder = FamiliesBuilder::with_capacity(body.len());
    for message in Messages::new(body) {
        let (place, message) = message?;
        let header = header_of(message)?;
        // Even what is not kept has to be in the format.
        let mut ignored = FamiliesBuilder::new();
        let builder = if last[header.name] == place {
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
            if let (4, Value::Bytes(metric)) = field? {
                parse_metric(metric, header.metric_type, builder, &mut tally)?;
            }
        }
    }
    builder.finish().map_err(|_| ParseError::TooLarge)
}

/// Looks at every message but not into its metrics; returns where the last one of each family
/// begins.
fn last_of_each_family(
    body: &[u8],
    limits: ParseLimits,
) -> Result<AHashMap<&str, usize>, ParseError> {
    let mut last = AHashMap::new();
    for (n, message) in Messages::new(body).enumerate() {
        let (place, message) = message?;
        let header = header_of(message)?;
        if n >= limits.series_max {
            return Err(too_many_series(limits));
        }
        last.insert(header.name, place);
    }
    Ok(last)
}

/// The messages of a body, and where each begins.
struct Messages<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Messages<'a> {
    fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    fn next_message(&mut self) -> Result<(usize, &'a [u8]), ParseError> {
        let (place, rest) = (self.at, &self.body[self.at..]);
        let (len, len_len) = read_varint(rest).map_err(|no| match no {
            NoVarint::End => ParseError::UnexpectedEnd,
            NoVarint::Overflow => ParseError::LengthOverflow,
        })?;
        let len = usize::try_from(len).map_err(|_| ParseError::UnexpectedEnd)?;
        let (message, _) = rest[len_len..]
            .split_at_checked(len)
            .ok_or(ParseError::UnexpectedEnd)?;
        self.at += len_len + len;
        Ok((place, message))
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<(usize, &'a [u8]), ParseError>;

    /// Whoever gets an error goes on no further.
    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.body.len()).then(|| self.next_message())
    }
}

/// What a message says beside its metrics.
struct Header<'a> {
    name: &'a str,
    help: Option<&'a [u8]>,
    metric_type: MetricType,
}

fn header_of(message: &[u8]) -> Result<Header<'_>, ParseError> {
    let (mut name, mut help, mut number) = (&[][..], None, 0);
    for field in Fields::new(message) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => help = Some(bytes),
            (3, Value::Varint(value)) => number = value,
            _ => {}
        }
    }
    let name = std::str::from_utf8(name).map_err(|_| ParseError::NameNotUtf8(quote(name)))?;
    // A family without a type is a counter: the number's default.
    let metric_type = MetricType::from_number(number).ok_or_else(|| ParseError::UnknownType {
        family: name.to_owned(),
        number,
    })?;
    Ok(Header {
        name,
        help,
        metric_type,
    })
}

/// How much of the push was read.
struct Tally {
    limits: ParseLimits,
    /// Metrics, buckets and quantiles.
    n_series: usize,
}

impl Tally {
    /// One more metric, bucket or quantile.
    fn series(&mut self) -> Result<(), ParseError> {
        self.many_series(1)
    }

    /// So many more.
    fn many_series(&mut self, n: usize) -> Result<(), ParseError> {
        self.n_series += n;
        if self.n_series > self.limits.series_max {
            Err(too_many_series(self.limits))
        } else {
            Ok(())
        }
    }
}

fn too_many_series(limits: ParseLimits) -> ParseError {
    ParseError::TooManySeries(TooManySeries {
        series_max: limits.series_max,
    })
}

/// The field of `Metric` that carries the value of a type.
fn value_field(metric_type: MetricType) -> u64 {
    match metric_type {
        MetricType::Gauge => 2,
        MetricType::Counter => 3,
        MetricType::Summary => 4,
        MetricType::Untyped => 5,
        MetricType::Histogram | MetricType::GaugeHistogram => 7,
    }
}

fn parse_metric(
    bytes: &[u8],
    metric_type: MetricType,
    builder: &mut FamiliesBuilder,
    tally: &mut Tally,
) -> Result<(), ParseError> {
    tally.series()?;
    let mut value: Option<Cow<'_, [u8]>> = None;
    let mut labels = Labels {
        labels_max: tally.limits.labels_max,
        n: 0,
        has_nameless: false,
        bad: None,
    };
    for field in Fields::new(bytes) {
        match field? {
            (1, Value::Bytes(label)) => labels.add(label, builder)?,
            (6, Value::Varint(_)) => builder.invalid(Invalid::Timestamp),
            (field, Value::Bytes(body)) if field == value_field(metric_type) => match &mut value {
                None => value = Some(Cow::Borrowed(body)),
                Some(value) => value.to_mut().extend_from_slice(body),
            },
            _ => {}
        }
    }
    let parsed = parse_value(
        value.as_deref().unwrap_or_default(),
        metric_type,
        builder,
        tally,
    )?;
    let metric = builder.end_metric(parsed.flags);
    if parsed.has_more {
        builder.extra(metric, value.as_deref().unwrap_or_default());
    }
    // The first rule that is broken is the one that is told.
    if value.is_none() && !builder.is_invalid() {
        builder.invalid(Invalid::NotOfType {
            metric,
            found: metric_value_text(bytes),
        });
    }
    if let Some((label, in_name)) = labels.bad {
        builder.invalid(Invalid::LabelNotUtf8 {
            metric,
            label,
            in_name,
        });
    }
    Ok(())
}

/// The labels of a metric as they come.
struct Labels {
    labels_max: usize,
    n: usize,
    has_nameless: bool,
    /// The name of the first one that is not UTF-8, and whether the name itself is not.
    bad: Option<(String, bool)>,
}

impl Labels {
    fn add(&mut self, label: &[u8], builder: &mut FamiliesBuilder) -> Result<(), ParseError> {
        self.n += 1;
        if self.n > self.labels_max {
            return Err(ParseError::TooManyLabels(TooManyLabels {
                labels_max: self.labels_max,
            }));
        }
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in Fields::new(label) {
            match field? {
                (1, Value::Bytes(bytes)) => name = bytes,
                (2, Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        // One is enough for a refusal, and another one is two bytes of the body but sixteen of
        // memory.
        if name.is_empty() && std::mem::replace(&mut self.has_nameless, true) {
            return Ok(());
        }
        let (name, value) = (
            String::from_utf8_lossy(name),
            String::from_utf8_lossy(value),
        );
        // What is UTF-8 is borrowed.
        for (text, in_name) in [(&name, true), (&value, false)] {
            if let Cow::Owned(_) = text {
                self.bad.get_or_insert((name.clone().into_owned(), in_name));
            }
        }
        builder.label(&name, &value);
        Ok(())
    }
}

struct Parsed {
    flags: MetricFlags,
    /// There is more in the message than the numbers say.
    has_more: bool,
}

fn parse_value(
    body: &[u8],
    metric_type: MetricType,
    builder: &mut FamiliesBuilder,
    tally: &mut Tally,
) -> Result<Parsed, ParseError> {
    match metric_type {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
            parse_number(body, builder)
        }
        MetricType::Summary => parse_summary(body, builder, tally),
        MetricType::Histogram | MetricType::GaugeHistogram => parse_histogram(body, builder, tally),
    }
}

fn parse_number(body: &[u8], builder: &mut FamiliesBuilder) -> Result<Parsed, ParseError> {
    let (mut value, mut has_more) = (None, false);
    for field in Fields::new(body) {
        match field? {
            (1, Value::Fixed64(bits)) => value = Some(bits),
            _ => has_more = true,
        }
    }
    builder.value(value.unwrap_or(0));
    // That there is no value is something that the number does not say.
    Ok(Parsed {
        flags: MetricFlags::default(),
        has_more: has_more || value.is_none(),
    })
}

fn parse_summary(
    body: &[u8],
    builder: &mut FamiliesBuilder,
    tally: &mut Tally,
) -> Result<Parsed, ParseError> {
    let (mut count, mut sum, mut quantiles) = (None, None, Vec::new());
    let mut has_more = false;
    for field in Fields::new(body) {
        match field? {
            (1, Value::Varint(value)) => count = Some(value),
            (2, Value::Fixed64(bits)) => sum = Some(bits),
            (3, Value::Bytes(quantile)) => {
                tally.series()?;
                let (mut rank, mut value) = (0, 0);
                for field in Fields::new(quantile) {
                    match field? {
                        (1, Value::Fixed64(bits)) => rank = bits,
                        (2, Value::Fixed64(bits)) => value = bits,
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
    Ok(Parsed {
        flags: MetricFlags::of_presence(count.is_some(), sum.is_some()),
        has_more,
    })
}

/// A count that is an integer, a float, or both: then the float counts if it is above zero, as the
/// reference's text writer has it.
#[derive(Clone, Copy, Default)]
struct Count {
    integer: Option<u64>,
    float: Option<f64>,
}

impl Count {
    fn float(self) -> Option<f64> {
        self.float
            .filter(|&float| float > 0.0 || self.integer.is_none())
    }

    fn bits(self, is_float: bool) -> u64 {
        let integer = self.integer.unwrap_or(0);
        match (self.float(), is_float) {
            (Some(float), true) => float.to_bits(),
            (None, true) => (integer as f64).to_bits(),
            (_, false) => integer,
        }
    }
}

fn parse_histogram(
    body: &[u8],
    builder: &mut FamiliesBuilder,
    tally: &mut Tally,
) -> Result<Parsed, ParseError> {
    let (mut count, mut sum, mut buckets) = (Count::default(), None, Vec::new());
    let mut has_more = false;
    for field in Fields::new(body) {
        match field? {
            (1, Value::Varint(value)) => count.integer = Some(value),
            (4, Value::Fixed64(bits)) => count.float = Some(f64::from_bits(bits)),
            (2, Value::Fixed64(bits)) => sum = Some(bits),
            (3, Value::Bytes(bucket)) => {
                tally.series()?;
                let (mut bound, mut count) = (0, Count::default());
                for field in Fields::new(bucket) {
                    match field? {
                        (1, Value::Varint(value)) => count.integer = Some(value),
                        (4, Value::Fixed64(bits)) => count.float = Some(f64::from_bits(bits)),
                        (2, Value::Fixed64(bits)) => bound = bits,
                        _ => has_more = true,
                    }
                }
                buckets.push((bound, count));
            }
            (field, value) => {
                has_more = true;
                tally.many_series(n_native_buckets(field, value))?;
            }
        }
    }
    let is_float =
        count.float().is_some() || buckets.iter().any(|(_, count)| count.float().is_some());
    // How floats were spelled (which are integers all the same, which counts came both ways) is
    // kept with the rest.
    has_more |= count.float.is_some() || buckets.iter().any(|(_, count)| count.float.is_some());
    builder.value(count.bits(is_float));
    builder.value(sum.unwrap_or(0));
    for (bound, count) in buckets {
        builder.bound(f64::from_bits(bound));
        builder.value(count.bits(is_float));
    }
    let mut flags = MetricFlags::of_presence(
        count.integer.is_some() || count.float.is_some(),
        sum.is_some(),
    );
    if is_float {
        flags |= MetricFlags::FLOAT_COUNTS;
    }
    Ok(Parsed { flags, has_more })
}

/// How many buckets of a native histogram a field brings, at most.
fn n_native_buckets(field: u64, value: Value<'_>) -> usize {
    match (field, value) {
        // Differences, in one byte at least; counts, in eight.
        (10 | 13, Value::Bytes(packed)) => packed.len(),
        (11 | 14, Value::Bytes(packed)) => packed.len() / 8,
        // Spans, and numbers one by one.
        (9..=14, _) => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{write_bytes, write_double, write_varint, write_varint_field};
    use super::*;

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
        assert_eq!((families.extras.len(), families.invalid), (0, None));
    }

    #[test]
    fn of_two_messages_of_a_family_the_last_counts() {
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
    fn a_histogram_keeps_what_text_cannot_carry() {
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

    #[test]
    fn float_counts_make_all_counts_floats() {
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
    fn what_breaks_a_rule_is_noted() {
        let invalid = |metric_type, metric: Vec<u8>| {
            parse(&delimited(&[family("x", metric_type, &[metric])]))
                .unwrap()
                .invalid
        };
        assert_eq!(
            invalid(0, gauge(1.0)),
            Some(Invalid::NotOfType {
                metric: 0,
                found: "gauge:{value:1}".to_owned()
            })
        );
        assert_eq!(
            invalid(1, [gauge(1.0), vec![0x30, 0]].concat()),
            Some(Invalid::Timestamp)
        );
        let label = message(|out| {
            write_bytes(1, b"a", out);
            write_bytes(2, b"\xff", out);
        });
        let metric = [gauge(1.0), message(|out| write_bytes(1, &label, out))].concat();
        assert_eq!(
            invalid(1, metric),
            Some(Invalid::LabelNotUtf8 {
                metric: 0,
                label: "a".to_owned(),
                in_name: false
            })
        );
    }

    /// Six bytes that announce 64 GiB ended the reference's process.
    #[test]
    fn an_announced_length_is_not_believed() {
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
    fn no_more_is_read_than_a_push_may_hold() {
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
        // Three messages without anything, and four.
        assert_eq!(parse(&[0; 3]), Ok(0));
        assert_eq!(parse(&[0; 4]), too_many);
        // Empty quantiles and buckets count, too.
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
        // What cannot be read is told first where it stands first.
        assert_eq!(parse(&[0, 0, 0, 9]), Err(ParseError::UnexpectedEnd));
    }

    #[test]
    fn one_label_without_a_name_stands_for_many() {
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
    fn unknown_types_and_names_that_are_not_utf8_are_refused() {
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
