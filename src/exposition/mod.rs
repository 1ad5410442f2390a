//! Bytes to families and back: the text format, delimited protobuf.

pub mod go_quote;
pub mod json;
pub mod protobuf;
pub mod text;
