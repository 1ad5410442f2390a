//! The text format 0.0.4, and 1.0.0 where it differs (quoted names).

mod along;
mod float;
mod parse;
mod write;

pub use along::parse_along;
pub use float::{parse_float, write_float};
pub use parse::{ParseError, parse, parse_with_form, parse_within};
pub use write::{FamilyTemplate, KeyText, write_header};
