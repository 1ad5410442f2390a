//! The files of the gateway's `exposition` that `scrape` needs to make pages.

#[path = "../../src/exposition/go_quote.rs"]
pub mod go_quote;
#[path = "../../src/exposition/limits.rs"]
mod limits;
#[path = "../../src/exposition/protobuf/mod.rs"]
pub mod protobuf;
#[path = "../../src/exposition/text/mod.rs"]
pub mod text;

pub use limits::{Limits, TooManyLabels, TooManySeries};
