//! The files of the gateway's `exposition` that `scrape` needs to make pages.
#![allow(
    dead_code,
    unused_imports,
    reason = "the models use a part of what the product has"
)]

#[path = "../../src/exposition/go_quote.rs"]
pub mod go_quote;
#[path = "../../src/exposition/limits.rs"]
mod limits;
#[path = "../../src/exposition/protobuf/mod.rs"]
pub mod protobuf;
#[path = "../../src/exposition/step_writer.rs"]
pub mod step_writer;
#[path = "../../src/exposition/template_labels.rs"]
mod template_labels;
#[path = "../../src/exposition/text/mod.rs"]
pub mod text;

pub use limits::{ParseLimits, TooManyLabels, TooManySeries};
