//! The text format: version 0.0.4, and version 1.0.0 where it differs, which is in quoted names.
//!
//! | file           | subject                                                        |
//! |----------------|----------------------------------------------------------------|
//! | `parse`        | bodies to families: the grammar and the way in                 |
//! | `scanner`      | reading: bytes to tokens; `token` says where a token lies      |
//! | `series`       | reading: metric names and labels                               |
//! | `family_index` | reading: which family a metric name belongs to                 |
//! | `lines`        | reading: comments and samples                                  |
//! | `line_records` | what reading hands to building                                 |
//! | `build`        | building: families from samples                                |
//! | `parse_along`  | only the numbers of a body that is like an earlier one         |
//! | `float`        | numbers as Go spells them                                      |
//! | `write`        | families to text                                               |
//! | `error`        | why a body is refused                                          |
//! | `testing`      | what the tests share                                           |

mod build;
mod error;
mod family_index;
mod float;
mod line_records;
mod lines;
mod parse;
mod parse_along;
mod scanner;
mod series;
#[cfg(test)]
mod testing;
mod token;
mod write;

pub use error::ParseError;
pub(crate) use float::write_float;
pub(crate) use parse::parse_within;
pub use parse::{parse, parse_with_form};
pub use parse_along::parse_along;
pub use write::{FamilyTemplate, KeyText, write_header};
