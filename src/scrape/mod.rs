//! Many snapshots become one exposition.
//!
//! Pushes mark slots and go on. The [`Assembler`] turns what is marked into pages, in rounds; a
//! scrape finds whether the last exposition is complete ([`Rendezvous::try_current`]), else has a
//! round run and waits for it, and then sends a [`Document`], a copy of bytes.

mod assembler;
mod block;
mod builders;
mod catalog;
mod changes;
mod document;
mod exposed_groups;
mod exposition;
mod format;
mod gzip;
mod page;
mod page_writer;
mod rebuild;
mod rendezvous;
mod round;
mod segment;
mod sizes;
#[cfg(test)]
mod testing;
mod view;

pub use assembler::{Assembler, RoundReport};
pub use catalog::HelpConflict;
pub use document::Document;
pub use exposition::Exposition;
pub use format::Format;
pub use gzip::Effort;
pub use rendezvous::Rendezvous;
pub use round::Rounds;
pub use sizes::PageSizes;
