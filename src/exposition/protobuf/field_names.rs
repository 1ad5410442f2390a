//! Names and kinds of the fields that protobuf's text form shows.

/// How the value of a field is shown.
#[derive(Clone, Copy)]
pub(super) enum FieldKind {
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
pub(super) type MessageFields = [(u64, &'static str, FieldKind)];

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
pub(super) const HISTOGRAM: &MessageFields = &[
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
pub(super) const METRIC: &MessageFields = &[
    (1, "label", FieldKind::Message(LABEL)),
    (2, "gauge", FieldKind::Message(NUMBER)),
    (3, "counter", FieldKind::Message(COUNTER)),
    (4, "summary", FieldKind::Message(SUMMARY)),
    (5, "untyped", FieldKind::Message(NUMBER)),
    (7, "histogram", FieldKind::Message(HISTOGRAM)),
    (6, "timestamp_ms", FieldKind::Integer),
];
pub(super) const FAMILY: &MessageFields = &[
    (1, "name", FieldKind::Text),
    (2, "help", FieldKind::Text),
    (3, "type", FieldKind::MetricType),
    (4, "metric", FieldKind::Message(METRIC)),
    (5, "unit", FieldKind::Text),
];
