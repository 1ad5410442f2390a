//! Formats: from bytes to metric families and back. Text, delimited protobuf, and the JSON of the
//! query API.
//!
//! | file                 | what it is about                                                     |
//! |----------------------|----------------------------------------------------------------------|
//! | `text/`              | the text format: reads and writes it                                 |
//! | `protobuf/`          | delimited protobuf: reads and writes it                              |
//! | `limits.rs`          | how much one push may contain                                        |
//! | `template_labels.rs` | the labels of a metric in a template, in either format               |
//! | `json.rs`            | groups as the query API shows them                                   |
//! | `go_quote.rs`        | quotes text as Go does, for error texts                              |

pub(crate) mod go_quote;
pub(crate) mod json;
pub(crate) mod json_group;
mod limits;
pub mod protobuf;
pub(crate) mod step_writer;
mod template_labels;
pub mod text;

pub use limits::{ParseLimits, TooManyLabels, TooManySeries};
