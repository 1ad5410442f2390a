//! The gateway's `exposition`, as far as pages are made with it.

#[path = "../../src/exposition/go_quote.rs"]
pub mod go_quote;
#[path = "../../src/exposition/limits.rs"]
mod limits;
#[path = "../../src/exposition/protobuf/mod.rs"]
pub mod protobuf;
#[path = "../../src/exposition/text/mod.rs"]
pub mod text;

pub use limits::{ParseLimits, TooManyLabels, TooManySeries};
