//! Checks the fields of metric values that are exposed as they were pushed.
//!
//! Protobuf takes a known field with the wrong wire type for an unknown one. Prometheus' decoder
//! does not: it fails the scrape. It also decodes every message within a value, and packed doubles
//! by eights. So everything that it decodes is checked here, at every depth.

use super::error::ParseError;
use super::wire::{FieldValue, Fields, read_varint};
use crate::model::MetricType;

/// What a field of a message contains.
enum FieldType {
    Varint,
    Double,
    Text,
    /// Varints, packed or one by one.
    Varints,
    /// Doubles, packed or one by one.
    Doubles,
    Message(&'static MessageType),
}

/// A type of messages.
struct MessageType {
    name: &'static str,
    /// The fields that the format description lists, by number.
    fields: &'static [(u64, FieldType)],
}

use FieldType::{Double, Doubles, Message, Text, Varint, Varints};

static NUMBER: MessageType = MessageType {
    name: "Gauge or Untyped",
    fields: &[(1, Double)],
};
static COUNTER: MessageType = MessageType {
    name: "Counter",
    fields: &[
        (1, Double),
        (2, Message(&EXEMPLAR)),
        (3, Message(&TIMESTAMP)),
    ],
};
static SUMMARY: MessageType = MessageType {
    name: "Summary",
    fields: &[
        (1, Varint),
        (2, Double),
        (3, Message(&QUANTILE)),
        (4, Message(&TIMESTAMP)),
    ],
};
static QUANTILE: MessageType = MessageType {
    name: "Quantile",
    fields: &[(1, Double), (2, Double)],
};
static HISTOGRAM: MessageType = MessageType {
    name: "Histogram",
    fields: &[
        (1, Varint),
        (2, Double),
        (3, Message(&BUCKET)),
        (4, Double),
        (5, Varint),
        (6, Double),
        (7, Varint),
        (8, Double),
        (9, Message(&BUCKET_SPAN)),
        (10, Varints),
        (11, Doubles),
        (12, Message(&BUCKET_SPAN)),
        (13, Varints),
        (14, Doubles),
        (15, Message(&TIMESTAMP)),
        (16, Message(&EXEMPLAR)),
    ],
};
static BUCKET: MessageType = MessageType {
    name: "Bucket",
    fields: &[
        (1, Varint),
        (2, Double),
        (3, Message(&EXEMPLAR)),
        (4, Double),
    ],
};
static BUCKET_SPAN: MessageType = MessageType {
    name: "BucketSpan",
    fields: &[(1, Varint), (2, Varint)],
};
static EXEMPLAR: MessageType = MessageType {
    name: "Exemplar",
    fields: &[
        (1, Message(&LABEL_PAIR)),
        (2, Double),
        (3, Message(&TIMESTAMP)),
    ],
};
static LABEL_PAIR: MessageType = MessageType {
    name: "LabelPair",
    fields: &[(1, Text), (2, Text)],
};
static TIMESTAMP: MessageType = MessageType {
    name: "Timestamp",
    fields: &[(1, Varint), (2, Varint)],
};

/// Checks the value of a metric of this type.
///
/// # Errors
///
/// [`ParseError::Malformed`] or [`ParseError::WrongWireType`].
pub(super) fn check_value_fields(body: &[u8], metric_type: MetricType) -> Result<(), ParseError> {
    let message_type = match metric_type {
        MetricType::Gauge | MetricType::Untyped => &NUMBER,
        MetricType::Counter => &COUNTER,
        MetricType::Summary => &SUMMARY,
        MetricType::Histogram | MetricType::GaugeHistogram => &HISTOGRAM,
    };
    check_fields(body, message_type)
}

/// Checks the fields of a message. The types are at most four deep, so the recursion is, too.
fn check_fields(message: &[u8], message_type: &MessageType) -> Result<(), ParseError> {
    for field in Fields::new(message) {
        let (number, value) = field?;
        let of_number = |&&(known, _): &&(u64, FieldType)| known == number;
        let Some((_, field_type)) = message_type.fields.iter().find(of_number) else {
            continue;
        };
        match (field_type, value) {
            (Varint | Varints, FieldValue::Varint(_))
            | (Double | Doubles, FieldValue::Fixed64(_))
            | (Text, FieldValue::Bytes(_)) => {}
            (Varints, FieldValue::Bytes(packed)) => check_packed_varints(packed)?,
            (Doubles, FieldValue::Bytes(packed)) if packed.len() % 8 == 0 => {}
            (Doubles, FieldValue::Bytes(_)) => return Err(ParseError::Malformed),
            (Message(inner), FieldValue::Bytes(inner_message)) => {
                check_fields(inner_message, inner)?;
            }
            _ => {
                return Err(ParseError::WrongWireType {
                    message: message_type.name,
                    field: number,
                });
            }
        }
    }
    Ok(())
}

fn check_packed_varints(mut packed: &[u8]) -> Result<(), ParseError> {
    while !packed.is_empty() {
        let (_, len) = read_varint(packed).map_err(|_| ParseError::Malformed)?;
        packed = &packed[len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each known field of each message with each wire type. The table gives the types that are
    /// allowed: V varint, F 8 bytes, L bytes.
    #[test]
    fn a_known_field_has_its_wire_type() {
        let tables: [(&MessageType, &[&str]); 10] = [
            (&NUMBER, &["F"]),
            (&COUNTER, &["F", "L", "L"]),
            (&SUMMARY, &["V", "F", "L", "L"]),
            (&QUANTILE, &["F", "F"]),
            (
                &HISTOGRAM,
                &[
                    "V", "F", "L", "F", "V", "F", "V", "F", "L", "VL", "FL", "L", "VL", "FL", "L",
                    "L",
                ],
            ),
            (&BUCKET, &["V", "F", "L", "F"]),
            (&BUCKET_SPAN, &["V", "V"]),
            (&EXEMPLAR, &["L", "F", "L"]),
            (&LABEL_PAIR, &["L", "L"]),
            (&TIMESTAMP, &["V", "V"]),
        ];
        for (message_type, allowed) in tables {
            // Field numbers that the type does not have may have any wire type.
            for number in 1..=17u8 {
                let allowed = allowed.get(usize::from(number - 1));
                for (letter, wire_type, value) in [
                    ('V', 0, &[0][..]),
                    ('F', 1, &[0; 8]),
                    ('L', 2, &[0]),
                    ('-', 5, &[0; 4]),
                ] {
                    let mut message = Vec::new();
                    super::super::wire::write_varint(
                        u64::from(number) << 3 | wire_type,
                        &mut message,
                    );
                    message.extend_from_slice(value);
                    let is_allowed = allowed.is_none_or(|allowed| allowed.contains(letter));
                    let expected = if is_allowed {
                        Ok(())
                    } else {
                        Err(ParseError::WrongWireType {
                            message: message_type.name,
                            field: number.into(),
                        })
                    };
                    assert_eq!(
                        check_fields(&message, message_type),
                        expected,
                        "{} {number} {letter}",
                        message_type.name
                    );
                }
            }
        }
    }

    #[test]
    fn messages_within_a_value_are_checked_at_every_depth() {
        let check = |body: &[u8], expected| {
            assert_eq!(
                check_value_fields(body, MetricType::Histogram),
                expected,
                "{body:?}"
            );
        };
        let wrong = |message, field| Err(ParseError::WrongWireType { message, field });
        // A bucket with an exemplar with a timestamp.
        check(&[0x1a, 6, 0x1a, 4, 0x1a, 2, 0x08, 5], Ok(()));
        check(
            &[0x1a, 7, 0x1a, 5, 0x1a, 3, 0x0a, 1, 0],
            wrong("Timestamp", 1),
        );
        check(
            &[0x1a, 6, 0x1a, 4, 0x1a, 2, 0x08, 0x80],
            Err(ParseError::Malformed),
        );
        // A known field that comes as a group.
        check(&[0x63, 0x64], wrong("Histogram", 12));
        // Spans, labels of exemplars and created timestamps that are malformed.
        for field in [9, 12, 15, 16] {
            let mut body = Vec::new();
            super::super::wire::write_varint(field << 3 | 2, &mut body);
            check(
                &[&body[..], &[1, 0x0a]].concat(),
                Err(ParseError::Malformed),
            );
        }
        // Packed doubles by eights, and packed varints that end within one or are too long.
        check(&[&[0x72, 16][..], &[0; 16]].concat(), Ok(()));
        check(
            &[&[0x72, 9][..], &[0; 9]].concat(),
            Err(ParseError::Malformed),
        );
        check(&[0x6a, 3, 0x80, 1, 0], Ok(()));
        check(&[0x6a, 2, 0, 0x80], Err(ParseError::Malformed));
        check(
            &[&[0x6a, 11][..], &[0x80; 10], &[0]].concat(),
            Err(ParseError::Malformed),
        );
    }
}
