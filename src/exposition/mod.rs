//! Bytes to families and back: the text format, delimited protobuf.

pub mod go_quote;
pub mod json;
mod limits;
pub mod protobuf;
pub mod text;

pub use limits::{ParseLimits, TooManyLabels, TooManySeries};
