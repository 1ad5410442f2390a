//! The text format 0.0.4, and 1.0.0 where it differs (quoted names).

mod along;
mod build;
mod error;
mod family_index;
mod float;
mod line_records;
mod lines;
mod parse;
mod scanner;
mod series;
#[cfg(test)]
mod testing;
mod token;
mod write;

pub use along::parse_along;
pub use error::ParseError;
pub use float::{parse_float, write_float};
pub use parse::{parse, parse_with_form, parse_within};
pub use write::{FamilyTemplate, KeyText, write_header};
