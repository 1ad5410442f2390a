//! Delimited messages as protobuf's text form, for people who look.

use super::wire::{Fields, Value, read_varint};
use crate::exposition::text::write_float;
use crate::model::SHOWN_BYTES_MAX;
use std::fmt::Write as _;

/// What a field of a message is.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Double,
    /// A varint as it is.
    Unsigned,
    /// A varint in zigzag.
    Signed,
    /// A varint in two's complement.
    Integer,
    MetricType,
    Message(&'static Descriptor),
}

/// The fields of a message in the order in which they are declared.
type Descriptor = [(u64, &'static str, Kind)];

const LABEL: &Descriptor = &[(1, "name", Kind::Text), (2, "value", Kind::Text)];
const TIMESTAMP: &Descriptor = &[(1, "seconds", Kind::Integer), (2, "nanos", Kind::Integer)];
const EXEMPLAR: &Descriptor = &[
    (1, "label", Kind::Message(LABEL)),
    (2, "value", Kind::Double),
    (3, "timestamp", Kind::Message(TIMESTAMP)),
];
const NUMBER: &Descriptor = &[(1, "value", Kind::Double)];
const COUNTER: &Descriptor = &[
    (1, "value", Kind::Double),
    (2, "exemplar", Kind::Message(EXEMPLAR)),
    (3, "created_timestamp", Kind::Message(TIMESTAMP)),
];
const QUANTILE: &Descriptor = &[(1, "quantile", Kind::Double), (2, "value", Kind::Double)];
const SUMMARY: &Descriptor = &[
    (1, "sample_count", Kind::Unsigned),
    (2, "sample_sum", Kind::Double),
    (3, "quantile", Kind::Message(QUANTILE)),
    (4, "created_timestamp", Kind::Message(TIMESTAMP)),
];
const BUCKET: &Descriptor = &[
    (1, "cumulative_count", Kind::Unsigned),
    (4, "cumulative_count_float", Kind::Double),
    (2, "upper_bound", Kind::Double),
    (3, "exemplar", Kind::Message(EXEMPLAR)),
];
const SPAN: &Descriptor = &[(1, "offset", Kind::Signed), (2, "length", Kind::Unsigned)];
const HISTOGRAM: &Descriptor = &[
    (1, "sample_count", Kind::Unsigned),
    (4, "sample_count_float", Kind::Double),
    (2, "sample_sum", Kind::Double),
    (3, "bucket", Kind::Message(BUCKET)),
    (15, "created_timestamp", Kind::Message(TIMESTAMP)),
    (5, "schema", Kind::Signed),
    (6, "zero_threshold", Kind::Double),
    (7, "zero_count", Kind::Unsigned),
    (8, "zero_count_float", Kind::Double),
    (9, "negative_span", Kind::Message(SPAN)),
    (10, "negative_delta", Kind::Signed),
    (11, "negative_count", Kind::Double),
    (12, "positive_span", Kind::Message(SPAN)),
    (13, "positive_delta", Kind::Signed),
    (14, "positive_count", Kind::Double),
    (16, "exemplars", Kind::Message(EXEMPLAR)),
];
const METRIC: &Descriptor = &[
    (1, "label", Kind::Message(LABEL)),
    (2, "gauge", Kind::Message(NUMBER)),
    (3, "counter", Kind::Message(COUNTER)),
    (4, "summary", Kind::Message(SUMMARY)),
    (5, "untyped", Kind::Message(NUMBER)),
    (7, "histogram", Kind::Message(HISTOGRAM)),
    (6, "timestamp_ms", Kind::Integer),
];
const FAMILY: &Descriptor = &[
    (1, "name", Kind::Text),
    (2, "help", Kind::Text),
    (3, "type", Kind::MetricType),
    (4, "metric", Kind::Message(METRIC)),
    (5, "unit", Kind::Text),
];

/// An exposition of delimited messages (one that this program wrote) in the text form: indented, or
/// a family a line.
pub fn to_text(mut delimited: &[u8], is_compact: bool) -> String {
    let mut out = String::with_capacity(delimited.len() * 3);
    while let Ok((len, len_len)) = read_varint(delimited) {
        let end = len_len + usize::try_from(len).expect("what was written fits memory");
        let mut writer = Writer {
            out: &mut out,
            is_compact,
            depth: 0,
            len_max: usize::MAX,
        };
        writer.message(&delimited[len_len..end], FAMILY);
        out.push('\n');
        delimited = &delimited[end..];
    }
    out
}

/// What a metric carries beside its labels, on a line; that may be dozens of times as long as the
/// metric, and is cut where it is too long to be looked at.
pub(super) fn metric_value_text(metric: &[u8]) -> String {
    let mut out = String::new();
    // All but the first field, which is the labels'.
    Writer {
        out: &mut out,
        is_compact: true,
        depth: 0,
        len_max: SHOWN_BYTES_MAX,
    }
    .message(metric, &METRIC[1..]);
    out
}

struct Writer<'a> {
    out: &'a mut String,
    is_compact: bool,
    depth: usize,
    /// No field begins behind this length of the text.
    len_max: usize,
}

impl Writer<'_> {
    fn message(&mut self, message: &[u8], descriptor: &Descriptor) {
        let mut is_first = true;
        for &(number, name, kind) in descriptor {
            for field in Fields::new(message) {
                let Ok((found, value)) = field else { break };
                if found != number {
                    continue;
                }
                for value in unpacked(value, kind) {
                    if self.out.len() >= self.len_max {
                        return;
                    }
                    if !self.is_compact {
                        (0..self.depth).for_each(|_| self.out.push_str("  "));
                    } else if !std::mem::take(&mut is_first) {
                        self.out.push(' ');
                    }
                    self.field(name, value, kind);
                    if !self.is_compact {
                        self.out.push('\n');
                    }
                }
            }
        }
    }

    fn field(&mut self, name: &str, value: Value<'_>, kind: Kind) {
        self.out.push_str(name);
        self.out.push_str(if self.is_compact { ":" } else { ": " });
        // Writing to a String cannot fail.
        let _ = match (kind, value) {
            (Kind::Message(descriptor), Value::Bytes(message)) => {
                self.out.push_str(if self.is_compact { "{" } else { "{\n" });
                self.depth += 1;
                self.message(message, descriptor);
                self.depth -= 1;
                if !self.is_compact {
                    (0..self.depth).for_each(|_| self.out.push_str("  "));
                }
                self.out.write_char('}')
            }
            (_, Value::Bytes(text)) => self.text(text),
            (_, Value::Fixed64(bits)) => self.double(f64::from_bits(bits)),
            (Kind::Signed, Value::Varint(value)) => {
                write!(
                    self.out,
                    "{}",
                    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
                )
            }
            (Kind::Integer, Value::Varint(value)) => write!(self.out, "{}", value.cast_signed()),
            (Kind::MetricType, Value::Varint(value)) => {
                match crate::model::MetricType::from_number(value) {
                    Some(known) => self.out.write_str(known.as_proto_str()),
                    None => write!(self.out, "{value}"),
                }
            }
            (_, Value::Varint(value)) => write!(self.out, "{value}"),
            (_, Value::Other) => Ok(()),
        };
    }

    fn double(&mut self, value: f64) -> std::fmt::Result {
        if value.is_nan() {
            return self.out.write_str("nan");
        }
        if value.is_infinite() {
            return self.out.write_str(if value > 0.0 { "inf" } else { "-inf" });
        }
        let mut digits = Vec::new();
        write_float(value, &mut digits);
        if value == 0.0 && value.is_sign_negative() {
            self.out.push('-');
        }
        self.out
            .write_str(std::str::from_utf8(&digits).expect("digits are ASCII"))
    }

    fn text(&mut self, text: &[u8]) -> std::fmt::Result {
        let text = &text[..text.len().min(self.len_max)];
        self.out.push('"');
        for c in String::from_utf8_lossy(text).chars() {
            match c {
                '"' => self.out.write_str("\\\"")?,
                '\\' => self.out.write_str("\\\\")?,
                '\n' => self.out.write_str("\\n")?,
                '\r' => self.out.write_str("\\r")?,
                '\t' => self.out.write_str("\\t")?,
                c if c.is_ascii_control() => write!(self.out, "\\x{:02x}", u32::from(c))?,
                c => self.out.write_char(c)?,
            }
        }
        self.out.write_char('"')
    }
}

/// Repeated numbers may come packed into one field.
fn unpacked(value: Value<'_>, kind: Kind) -> impl Iterator<Item = Value<'_>> {
    let (mut single, mut packed) = match (value, kind) {
        (Value::Bytes(_), Kind::Text | Kind::Message(_)) => (Some(value), &[][..]),
        (Value::Bytes(packed), _) => (None, packed),
        _ => (Some(value), &[][..]),
    };
    std::iter::from_fn(move || {
        if let Some(single) = single.take() {
            return Some(single);
        }
        let (value, len) = match kind {
            Kind::Double => (
                Value::Fixed64(u64::from_le_bytes(*packed.first_chunk()?)),
                8,
            ),
            _ => read_varint(packed)
                .map(|(value, len)| (Value::Varint(value), len))
                .ok()?,
        };
        packed = &packed[len..];
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::super::wire::write_bytes;
    use super::*;

    #[test]
    fn messages_are_written_indented_or_on_a_line() {
        // g: a gauge with the label l="v\n" and the value -2.5.
        let mut metric = vec![0x0a, 7, 0x0a, 1, b'l', 0x12, 2, b'v', b'\n', 0x12, 9, 9];
        metric.extend_from_slice(&(-2.5f64).to_le_bytes());
        let mut family = vec![
            0x0a,
            1,
            b'g',
            0x18,
            1,
            0x22,
            u8::try_from(metric.len()).unwrap(),
        ];
        family.extend_from_slice(&metric);
        let delimited = [vec![u8::try_from(family.len()).unwrap()], family].concat();
        assert_eq!(
            to_text(&delimited, true),
            "name:\"g\" type:GAUGE metric:{label:{name:\"l\" value:\"v\\n\"} gauge:{value:-2.5}}\n"
        );
        assert_eq!(
            to_text(&delimited, false),
            "name: \"g\"\ntype: GAUGE\nmetric: {\n  label: {\n    name: \"l\"\n    value: \"v\\n\"\n  }\n  gauge: {\n    value: -2.5\n  }\n}\n\n"
        );
    }

    /// A packed delta is a byte in the body and seventeen in the text.
    #[test]
    fn a_pushed_metric_is_not_shown_without_end() {
        let mut histogram = Vec::new();
        write_bytes(13, &[0; 1 << 20], &mut histogram);
        let mut metric = Vec::new();
        write_bytes(7, &histogram, &mut metric);
        let text = metric_value_text(&metric);
        assert!(text.starts_with("histogram:{positive_delta:0 positive_delta:0"));
        assert!(text.len() < SHOWN_BYTES_MAX + 100, "{}", text.len());
    }

    #[test]
    fn packed_and_signed_numbers_are_read() {
        let histogram = [0x28, 1, 0x4a, 2, 0x08, 3, 0x52, 2, 4, 1];
        let mut text = String::new();
        Writer {
            out: &mut text,
            is_compact: true,
            depth: 0,
            len_max: usize::MAX,
        }
        .message(&histogram, HISTOGRAM);
        assert_eq!(
            text,
            "schema:-1 negative_span:{offset:-2} negative_delta:2 negative_delta:-1"
        );
    }
}
