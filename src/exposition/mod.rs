//! Formats: from bytes to metric families and back. Text, delimited protobuf, and the JSON of the
//! query API.

pub(crate) mod go_quote;
pub(crate) mod json;
pub(crate) mod json_group;
mod limits;
pub mod protobuf;
pub(crate) mod step_writer;
mod template_labels;
pub mod text;

pub use limits::{ParseLimits, TooManyLabels, TooManySeries};
