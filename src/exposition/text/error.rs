//! Why a body is refused as text format.

use crate::exposition::limits::{TooManyLabels, TooManySeries};
use std::fmt;

/// Why a body is refused as text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A line does not follow the grammar.
    Line {
        /// The number of the line, counted from 1.
        line: u32,
        /// What is wrong with the line, in the words of the reference.
        message: String,
    },
    /// A sample has more labels than the limit allows.
    TooManyLabels {
        /// The number of the line, counted from 1.
        line: u32,
        /// The limit.
        too_many: TooManyLabels,
    },
    /// The body has more samples or more families than the limit allows.
    TooManySeries(TooManySeries),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, message } => {
                write!(f, "text format parsing error in line {line}: {message}")
            }
            Self::TooManyLabels { line, too_many } => {
                write!(f, "text format parsing error in line {line}: {too_many}")
            }
            Self::TooManySeries(too_many) => too_many.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

impl From<TooManySeries> for ParseError {
    fn from(too_many: TooManySeries) -> Self {
        Self::TooManySeries(too_many)
    }
}
