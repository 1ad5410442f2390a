//! The text format 0.0.4, and 1.0.0 where it differs (quoted names).

mod float;
mod parse;
mod write;

pub use float::{parse_float, write_float};
pub use parse::{ParseError, parse};
pub use write::{FamilyTemplate, KeyText, write_header};
