//! Writes messages in protobuf's text form, for people who look at an exposition with a browser and
//! for error texts.

use super::field_names::{FAMILY, FieldKind, METRIC, MessageFields};
use super::wire::{FieldValue, Fields, read_varint};
use crate::exposition::step_writer::StepWriter;
use crate::exposition::text::write_float;
use crate::model::SHOWN_BYTES_MAX;
use bytes::Buf;
use std::io::{self, Write as _};
use std::ops::Range;

/// Writes an exposition of delimited `MetricFamily` messages as text, step by step: indented, or, if
/// `is_compact`, with each family on one line.
///
/// The messages must come from this program: a family's fields are in the order of their numbers.
/// Only one field of a family, which is at most one metric, is kept as a copy at a time.
pub(crate) struct TextFormWriter<B> {
    /// What is not read yet.
    delimited: B,
    /// Bytes of the open family that are not read yet; none between two families.
    family_left: Option<usize>,
    /// The field of the family that is being written, with its tag.
    field: Vec<u8>,
    writer: MessageWriter,
}

impl<B: Buf> TextFormWriter<B> {
    /// A writer that begins with the first message of `delimited`.
    pub(crate) fn new(delimited: B, is_compact: bool) -> Self {
        Self {
            delimited,
            family_left: None,
            field: Vec::new(),
            writer: MessageWriter::new(is_compact, usize::MAX),
        }
    }

    /// Copies the next field of the open family to `field`. Returns the length of the field.
    fn read_field(&mut self) -> usize {
        self.field.clear();
        let tag = self.read_varint();
        let payload_len = match tag & 7 {
            0 => {
                self.read_varint();
                0
            }
            2 => self.read_varint(),
            _ => unreachable!("this program writes families of strings, varints and messages"),
        };
        let payload_start = self.field.len();
        let payload_len = usize::try_from(payload_len).expect("a field fits into memory");
        self.field.resize(payload_start + payload_len, 0);
        self.delimited
            .copy_to_slice(&mut self.field[payload_start..]);
        self.field.len()
    }

    /// Reads a varint and appends its bytes to `field`.
    fn read_varint(&mut self) -> u64 {
        let start = self.field.len();
        loop {
            let byte = self.delimited.get_u8();
            self.field.push(byte);
            if byte & 0x80 == 0 {
                let (value, _) =
                    read_varint(&self.field[start..]).expect("this program writes valid varints");
                return value;
            }
        }
    }
}

impl<B: Buf> StepWriter for TextFormWriter<B> {
    fn write_step(&mut self, out: &mut Vec<u8>) -> bool {
        loop {
            if self.writer.write_step(&self.field, out) {
                return true;
            }
            match self.family_left {
                None if !self.delimited.has_remaining() => return false,
                None => {
                    self.field.clear();
                    let len = self.read_varint();
                    self.family_left =
                        Some(usize::try_from(len).expect("a family fits into memory"));
                    self.writer.is_first = true;
                }
                Some(0) => {
                    self.family_left = None;
                    self.field.clear();
                    out.push(b'\n');
                    return true;
                }
                Some(left) => {
                    self.family_left = Some(left - self.read_field());
                    self.writer.open(FAMILY, 0..self.field.len());
                }
            }
        }
    }
}

/// What a `Metric` message carries besides its labels, on one line. The text can be dozens of times
/// as long as the message, so no field begins after [`SHOWN_BYTES_MAX`] bytes of text.
pub(super) fn metric_value_text(metric: &[u8]) -> String {
    let mut out = Vec::new();
    let mut writer = MessageWriter::new(true, SHOWN_BYTES_MAX);
    // The first field of `METRIC` is the labels.
    writer.open(&METRIC[1..], 0..metric.len());
    while out.len() < SHOWN_BYTES_MAX && writer.write_step(metric, &mut out) {}
    writer.close_all(&mut out);
    String::from_utf8(out).expect("only whole characters are written")
}

/// Writes a message field by field. The messages that contain each other are a stack instead of
/// recursive calls, so that the writer can stop after every field.
struct MessageWriter {
    is_compact: bool,
    /// At most this many bytes of each string are shown.
    string_bytes_max: usize,
    /// The message that is being written, after those that contain it.
    open: Vec<OpenMessage>,
    /// No field of the innermost message is written yet. Outlives the outermost message, so that a
    /// family can be written as several messages of one field each.
    is_first: bool,
}

/// A message of which some fields are written.
struct OpenMessage {
    descriptor: &'static MessageFields,
    /// Where the message lies in the bytes that the writer is given.
    range: Range<usize>,
    /// The index in `descriptor` of the field that is written now.
    field: usize,
    /// Where the search for more values of this field goes on.
    at: usize,
    /// Numbers of this field that are packed into bytes and not written yet.
    packed: Range<usize>,
}

impl MessageWriter {
    fn new(is_compact: bool, string_bytes_max: usize) -> Self {
        Self {
            is_compact,
            string_bytes_max,
            open: Vec::new(),
            is_first: true,
        }
    }

    /// Begins a message that lies at `range` of the bytes that the next steps are given.
    fn open(&mut self, descriptor: &'static MessageFields, range: Range<usize>) {
        self.open.push(OpenMessage {
            descriptor,
            at: range.start,
            range,
            field: 0,
            packed: 0..0,
        });
    }

    /// Writes the next field, or its beginning if its value is a message, or ends a message.
    /// Returns false if no message is open. `bytes` are the same for all steps of a message.
    fn write_step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> bool {
        loop {
            let Some(message) = self.open.last_mut() else {
                return false;
            };
            let Some(&(number, name, kind)) = message.descriptor.get(message.field) else {
                self.close(out);
                return true;
            };
            if let Some((value, len)) = unpack(&bytes[message.packed.clone()], kind) {
                message.packed.start += len;
                self.begin_field(name, out);
                self.value(value, kind, out);
                self.end_field(out);
                return true;
            }
            message.packed = 0..0;
            let mut fields = Fields::new(&bytes[message.at..message.range.end]);
            let Some(Ok((found, value))) = fields.next() else {
                // The end, or a field that is not in the wire format.
                message.field += 1;
                message.at = message.range.start;
                continue;
            };
            message.at = message.range.end - fields.n_bytes_left();
            if found != number {
                continue;
            }
            match (kind, value) {
                (FieldKind::Message(descriptor), FieldValue::Bytes(inner)) => {
                    let range = message.at - inner.len()..message.at;
                    self.begin_field(name, out);
                    out.extend_from_slice(if self.is_compact { b"{" } else { b"{\n" });
                    self.open(descriptor, range);
                    self.is_first = true;
                    return true;
                }
                (FieldKind::Text, _)
                | (_, FieldValue::Varint(_) | FieldValue::Fixed64(_) | FieldValue::Other) => {
                    self.begin_field(name, out);
                    self.value(value, kind, out);
                    self.end_field(out);
                    return true;
                }
                (_, FieldValue::Bytes(packed)) => {
                    message.packed = message.at - packed.len()..message.at;
                }
            }
        }
    }

    /// Ends the innermost message.
    fn close(&mut self, out: &mut Vec<u8>) {
        self.open.pop();
        // The outermost message has no braces.
        if !self.open.is_empty() {
            self.indent(out);
            out.push(b'}');
            self.end_field(out);
        }
    }

    /// Ends all open messages without their remaining fields.
    fn close_all(&mut self, out: &mut Vec<u8>) {
        while !self.open.is_empty() {
            self.close(out);
        }
    }

    fn begin_field(&mut self, name: &str, out: &mut Vec<u8>) {
        if self.is_compact && !self.is_first {
            out.push(b' ');
        }
        self.indent(out);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(if self.is_compact { b":" } else { b": " });
    }

    fn end_field(&mut self, out: &mut Vec<u8>) {
        self.is_first = false;
        if !self.is_compact {
            out.push(b'\n');
        }
    }

    fn indent(&self, out: &mut Vec<u8>) {
        if !self.is_compact {
            (1..self.open.len()).for_each(|_| out.extend_from_slice(b"  "));
        }
    }

    fn value(&self, value: FieldValue<'_>, kind: FieldKind, out: &mut Vec<u8>) {
        // Writing to a vector cannot fail.
        let _ = match (kind, value) {
            (_, FieldValue::Bytes(text)) => {
                let text = &text[..text.len().min(self.string_bytes_max)];
                write_text(text, out)
            }
            (_, FieldValue::Fixed64(bits)) => {
                write_double(f64::from_bits(bits), out);
                Ok(())
            }
            (FieldKind::Signed, FieldValue::Varint(value)) => {
                let value = (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
                write!(out, "{value}")
            }
            (FieldKind::Integer, FieldValue::Varint(value)) => {
                write!(out, "{}", value.cast_signed())
            }
            (FieldKind::MetricType, FieldValue::Varint(value)) => {
                match crate::model::MetricType::from_number(value) {
                    Some(known) => write!(out, "{}", known.as_proto_str()),
                    None => write!(out, "{value}"),
                }
            }
            (_, FieldValue::Varint(value)) => write!(out, "{value}"),
            (_, FieldValue::Other) => Ok(()),
        };
    }
}

fn write_double(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    } else {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        write_float(value, out);
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.push(b'"');
    for c in String::from_utf8_lossy(text).chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if c.is_ascii_control() => write!(out, "\\x{:02x}", u32::from(c))?,
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
    Ok(())
}

/// The first of the numbers that a field of this kind has packed into bytes, and its length; none
/// at their end.
fn unpack(packed: &[u8], kind: FieldKind) -> Option<(FieldValue<'static>, usize)> {
    match kind {
        FieldKind::Double => {
            let bits = u64::from_le_bytes(*packed.first_chunk()?);
            Some((FieldValue::Fixed64(bits), 8))
        }
        _ => {
            let (value, len) = read_varint(packed).ok()?;
            Some((FieldValue::Varint(value), len))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::field_names::HISTOGRAM;
    use super::super::wire::{write_bytes, write_varint, write_varint_field};
    use super::*;
    use crate::exposition::step_writer::write_in_pieces;

    fn to_text(delimited: &[u8], is_compact: bool) -> String {
        let text = write_in_pieces(TextFormWriter::new(delimited, is_compact), 1 << 20);
        String::from_utf8(text).unwrap()
    }

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
        let mut text = Vec::new();
        let mut writer = MessageWriter::new(true, usize::MAX);
        writer.open(HISTOGRAM, 0..histogram.len());
        while writer.write_step(&histogram, &mut text) {}
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "schema:-1 negative_span:{offset:-2} negative_delta:2 negative_delta:-1"
        );
    }

    /// Two families: one with a histogram of many buckets and packed deltas, one without metrics.
    #[test]
    fn pieces_of_every_size_make_the_same_text() {
        let mut histogram = Vec::new();
        write_varint_field(1, 7, &mut histogram);
        for n in 0..40 {
            let mut bucket = Vec::new();
            write_varint_field(1, n, &mut bucket);
            write_bytes(3, &histogram[..0], &mut bucket);
            write_bytes(3, &bucket, &mut histogram);
        }
        write_bytes(13, &[2; 50], &mut histogram);
        let (mut label, mut metric, mut family) = (Vec::new(), Vec::new(), Vec::new());
        write_bytes(1, b"l", &mut label);
        write_bytes(2, "\"\u{e4}\\\x01".repeat(30).as_bytes(), &mut label);
        write_bytes(1, &label, &mut metric);
        write_bytes(7, &histogram, &mut metric);
        write_bytes(1, b"h", &mut family);
        write_varint_field(3, 4, &mut family);
        for _ in 0..3 {
            write_bytes(4, &metric, &mut family);
        }
        let mut delimited = Vec::new();
        for family in [&family[..], &[], &family[..3]] {
            write_varint(family.len() as u64, &mut delimited);
            delimited.extend_from_slice(family);
        }
        for is_compact in [false, true] {
            let whole = to_text(&delimited, is_compact);
            assert_eq!(whole.matches("bucket").count(), 3 * 40);
            assert_eq!(whole.matches("positive_delta").count(), 3 * 50);
            assert!(whole.ends_with("\n\nname: \"h\"\n\n") || whole.ends_with("\n\nname:\"h\"\n"));
            for piece_bytes in (1..200).chain([1000, 10_000]) {
                let writer = TextFormWriter::new(&delimited[..], is_compact);
                let pieces = write_in_pieces(writer, piece_bytes);
                assert!(
                    pieces == whole.as_bytes(),
                    "{piece_bytes} bytes, {is_compact}"
                );
            }
        }
    }
}
