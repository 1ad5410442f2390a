//! Why a body is refused as a sequence of metric families.

use super::wire::MalformedMessage;
use crate::exposition::limits::{TooManyLabels, TooManySeries};
use std::fmt;

/// Why a body is refused as a sequence of metric families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The body ends within a message or within the length in front of one.
    UnexpectedEnd,
    /// The length in front of a message does not fit 64 bits.
    LengthOverflow,
    /// A message is not in the wire format.
    Malformed,
    /// A field of a metric's value, or of a message within, has another wire type than the format
    /// description gives it. For protobuf that is an unknown field, but Prometheus fails the whole
    /// scrape.
    WrongWireType {
        /// The name of the message's type.
        message: &'static str,
        /// The number of the field.
        field: u64,
    },
    /// The name of a family is not UTF-8. The text is the name in quotes.
    NameNotUtf8(String),
    /// A family has a type that does not exist.
    UnknownType {
        /// The family's name.
        family: String,
        /// The number of the type.
        number: u64,
    },
    /// The text of the families takes more than 4 GiB.
    TooLarge,
    /// The body has more samples or more messages than the limit allows.
    TooManySeries(TooManySeries),
    /// A metric has more labels than the limit allows.
    TooManyLabels(TooManyLabels),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("unexpected EOF"),
            Self::LengthOverflow => f.write_str("proto: variable length integer overflow"),
            Self::Malformed => f.write_str("proto: cannot parse invalid wire-format data"),
            Self::WrongWireType { message, field } => {
                write!(
                    f,
                    "proto: field {field} of {message} has the wrong wire type"
                )
            }
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

impl From<MalformedMessage> for ParseError {
    fn from(_: MalformedMessage) -> Self {
        Self::Malformed
    }
}

impl From<TooManySeries> for ParseError {
    fn from(too_many: TooManySeries) -> Self {
        Self::TooManySeries(too_many)
    }
}
