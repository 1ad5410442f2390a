//! Writes messages in protobuf's text form, for people who look at an exposition with a browser and
//! for error texts.

use super::wire::{FieldValue, Fields, read_varint};
use crate::exposition::text::write_float;
use crate::model::SHOWN_BYTES_MAX;
use std::fmt::Write as _;

/// How the value of a field is shown.
#[derive(Clone, Copy)]
enum FieldKind {
    Text,
    Double,
    /// A varint that is an unsigned integer.
    Unsigned,
    /// A varint that is a signed integer in zigzag encoding.
    Signed,
    /// A varint that is a signed integer in two's complement.
    Integer,
    MetricType,
    Message(&'static MessageFields),
}

/// The numbers, names and kinds of a message's fields, in the order in which the message declares
/// them.
type MessageFields = [(u64, &'static str, FieldKind)];

const LABEL: &MessageFields = &[(1, "name", FieldKind::Text), (2, "value", FieldKind::Text)];
const TIMESTAMP: &MessageFields = &[
    (1, "seconds", FieldKind::Integer),
    (2, "nanos", FieldKind::Integer),
];
const EXEMPLAR: &MessageFields = &[
    (1, "label", FieldKind::Message(LABEL)),
    (2, "value", FieldKind::Double),
    (3, "timestamp", FieldKind::Message(TIMESTAMP)),
];
const NUMBER: &MessageFields = &[(1, "value", FieldKind::Double)];
const COUNTER: &MessageFields = &[
    (1, "value", FieldKind::Double),
    (2, "exemplar", FieldKind::Message(EXEMPLAR)),
    (3, "created_timestamp", FieldKind::Message(TIMESTAMP)),
];
const QUANTILE: &MessageFields = &[
    (1, "quantile", FieldKind::Double),
    (2, "value", FieldKind::Double),
];
const SUMMARY: &MessageFields = &[
    (1, "sample_count", FieldKind::Unsigned),
    (2, "sample_sum", FieldKind::Double),
    (3, "quantile", FieldKind::Message(QUANTILE)),
    (4, "created_timestamp", FieldKind::Message(TIMESTAMP)),
];
const BUCKET: &MessageFields = &[
    (1, "cumulative_count", FieldKind::Unsigned),
    (4, "cumulative_count_float", FieldKind::Double),
    (2, "upper_bound", FieldKind::Double),
    (3, "exemplar", FieldKind::Message(EXEMPLAR)),
];
const SPAN: &MessageFields = &[
    (1, "offset", FieldKind::Signed),
    (2, "length", FieldKind::Unsigned),
];
const HISTOGRAM: &MessageFields = &[
    (1, "sample_count", FieldKind::Unsigned),
    (4, "sample_count_float", FieldKind::Double),
    (2, "sample_sum", FieldKind::Double),
    (3, "bucket", FieldKind::Message(BUCKET)),
    (15, "created_timestamp", FieldKind::Message(TIMESTAMP)),
    (5, "schema", FieldKind::Signed),
    (6, "zero_threshold", FieldKind::Double),
    (7, "zero_count", FieldKind::Unsigned),
    (8, "zero_count_float", FieldKind::Double),
    (9, "negative_span", FieldKind::Message(SPAN)),
    (10, "negative_delta", FieldKind::Signed),
    (11, "negative_count", FieldKind::Double),
    (12, "positive_span", FieldKind::Message(SPAN)),
    (13, "positive_delta", FieldKind::Signed),
    (14, "positive_count", FieldKind::Double),
    (16, "exemplars", FieldKind::Message(EXEMPLAR)),
];
const METRIC: &MessageFields = &[
    (1, "label", FieldKind::Message(LABEL)),
    (2, "gauge", FieldKind::Message(NUMBER)),
    (3, "counter", FieldKind::Message(COUNTER)),
    (4, "summary", FieldKind::Message(SUMMARY)),
    (5, "untyped", FieldKind::Message(NUMBER)),
    (7, "histogram", FieldKind::Message(HISTOGRAM)),
    (6, "timestamp_ms", FieldKind::Integer),
];
const FAMILY: &MessageFields = &[
    (1, "name", FieldKind::Text),
    (2, "help", FieldKind::Text),
    (3, "type", FieldKind::MetricType),
    (4, "metric", FieldKind::Message(METRIC)),
    (5, "unit", FieldKind::Text),
];

/// Converts an exposition of delimited messages to text: indented, or, if `is_compact`, with each
/// family on one line. The messages must come from this program.
pub(crate) fn to_text(mut delimited: &[u8], is_compact: bool) -> String {
    let mut out = String::with_capacity(delimited.len() * 3);
    while let Ok((len, len_len)) = read_varint(delimited) {
        let end = len_len + usize::try_from(len).expect("the exposition fits memory");
        let mut writer = TextFormWriter {
            out: &mut out,
            is_compact,
            depth: 0,
            bytes_max: usize::MAX,
        };
        writer.message(&delimited[len_len..end], FAMILY);
        out.push('\n');
        delimited = &delimited[end..];
    }
    out
}

/// What a `Metric` message carries besides its labels, on one line. The text can be dozens of times
/// as long as the message, so no field begins after [`SHOWN_BYTES_MAX`] bytes of text.
pub(super) fn metric_value_text(metric: &[u8]) -> String {
    let mut out = String::new();
    // The first field of `METRIC` is the labels.
    TextFormWriter {
        out: &mut out,
        is_compact: true,
        depth: 0,
        bytes_max: SHOWN_BYTES_MAX,
    }
    .message(metric, &METRIC[1..]);
    out
}

struct TextFormWriter<'a> {
    out: &'a mut String,
    is_compact: bool,
    depth: usize,
    /// No field begins if the text has this many bytes already.
    bytes_max: usize,
}

impl TextFormWriter<'_> {
    fn message(&mut self, message: &[u8], descriptor: &MessageFields) {
        let mut is_first = true;
        for &(number, name, kind) in descriptor {
            for field in Fields::new(message) {
                let Ok((found, value)) = field else { break };
                if found != number {
                    continue;
                }
                for value in unpacked(value, kind) {
                    if self.out.len() >= self.bytes_max {
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

    fn field(&mut self, name: &str, value: FieldValue<'_>, kind: FieldKind) {
        self.out.push_str(name);
        self.out.push_str(if self.is_compact { ":" } else { ": " });
        // Writing to a String cannot fail.
        let _ = match (kind, value) {
            (FieldKind::Message(descriptor), FieldValue::Bytes(message)) => {
                self.out.push_str(if self.is_compact { "{" } else { "{\n" });
                self.depth += 1;
                self.message(message, descriptor);
                self.depth -= 1;
                if !self.is_compact {
                    (0..self.depth).for_each(|_| self.out.push_str("  "));
                }
                self.out.write_char('}')
            }
            (_, FieldValue::Bytes(text)) => self.text(text),
            (_, FieldValue::Fixed64(bits)) => self.double(f64::from_bits(bits)),
            (FieldKind::Signed, FieldValue::Varint(value)) => {
                write!(
                    self.out,
                    "{}",
                    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
                )
            }
            (FieldKind::Integer, FieldValue::Varint(value)) => {
                write!(self.out, "{}", value.cast_signed())
            }
            (FieldKind::MetricType, FieldValue::Varint(value)) => {
                match crate::model::MetricType::from_number(value) {
                    Some(known) => self.out.write_str(known.as_proto_str()),
                    None => write!(self.out, "{value}"),
                }
            }
            (_, FieldValue::Varint(value)) => write!(self.out, "{value}"),
            (_, FieldValue::Other) => Ok(()),
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
        let text = &text[..text.len().min(self.bytes_max)];
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

/// The values of a field: several if the field has numbers packed into bytes, else one.
fn unpacked(value: FieldValue<'_>, kind: FieldKind) -> impl Iterator<Item = FieldValue<'_>> {
    let (mut single, mut packed) = match (value, kind) {
        (FieldValue::Bytes(_), FieldKind::Text | FieldKind::Message(_)) => (Some(value), &[][..]),
        (FieldValue::Bytes(packed), _) => (None, packed),
        _ => (Some(value), &[][..]),
    };
    std::iter::from_fn(move || {
        if let Some(single) = single.take() {
            return Some(single);
        }
        let (value, len) = match kind {
            FieldKind::Double => (
                FieldValue::Fixed64(u64::from_le_bytes(*packed.first_chunk()?)),
                8,
            ),
            _ => read_varint(packed)
                .map(|(value, len)| (FieldValue::Varint(value), len))
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
    fn messages_are_written_indented_or_on_one_line() {
        // The gauge `g{l="v\n"} -2.5`.
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

    /// A packed delta takes one byte of the body and 17 bytes of the text.
    #[test]
    fn the_text_of_a_long_metric_is_cut() {
        let mut histogram = Vec::new();
        write_bytes(13, &[0; 1 << 20], &mut histogram);
        let mut metric = Vec::new();
        write_bytes(7, &histogram, &mut metric);
        let text = metric_value_text(&metric);
        assert!(text.starts_with("histogram:{positive_delta:0 positive_delta:0"));
        assert!(text.len() < SHOWN_BYTES_MAX + 100, "{}", text.len());
    }

    #[test]
    fn packed_and_signed_numbers_are_shown() {
        let histogram = [0x28, 1, 0x4a, 2, 0x08, 3, 0x52, 2, 4, 1];
        let mut text = String::new();
        TextFormWriter {
            out: &mut text,
            is_compact: true,
            depth: 0,
            bytes_max: usize::MAX,
        }
        .message(&histogram, HISTOGRAM);
        assert_eq!(
            text,
            "schema:-1 negative_span:{offset:-2} negative_delta:2 negative_delta:-1"
        );
    }
}
