//! Turns the snapshots of all groups into one exposition, which scrapes send.
//!
//! A push marks its slot and waits for nothing here. The [`Assembler`] works in rounds: a round
//! takes the marked slots, rebuilds the pages that their groups are on, and publishes an
//! [`Exposition`] at the [`Rendezvous`]. A scrape takes the current exposition if it is complete
//! ([`Rendezvous::try_current`]); otherwise it has a round run and waits for it. It then sends the
//! exposition as a [`Document`], without rendering or compressing anything.
//!
//! From the outside to the inside:
//!
//! | file                | what it is about                                                       |
//! |---------------------|------------------------------------------------------------------------|
//! | `rendezvous`        | where scrapes and the assembler meet                                   |
//! | `round`             | the count of rounds: is the current exposition complete?               |
//! | `exposition`        | what a round publishes: one view for each format that is wanted        |
//! | `document`          | what a scrape sends: the pages, and the gateway's own families between |
//! | `assembler`         | the rounds                                                             |
//! | `exposed_groups`    | the groups that the views show, compared with the snapshots taken      |
//! | `changes`           | which lines of which families a round changes                          |
//! | `catalog`           | the exposed families, and the layouts in use                           |
//! | `render_plan`       | how to render the groups of one layout                                 |
//! | `family_part`       | why native histograms are exposed apart from classic ones              |
//! | `help_texts`        | which help of a family is exposed; contradictions of helps             |
//! | `view`              | all pages of one format, cut into stretches by the own families        |
//! | `rebuild`           | which blocks of a stretch stay and which pages are built               |
//! | `block`             | a shared page of small families, or a large family                     |
//! | `page_writer`       | builds pages: copies what stays, renders what changed                  |
//! | `page`              | a page: a range of the exposition, rendered and freed as one           |
//! | `segment`           | neighbouring pages, compressed into one buffer                         |
//! | `gzip`              | one gzip member out of parts that were compressed separately           |
//! | `format`            | the formats and their templates                                        |
//! | `sizes`, `builders` | how big pages get; the thread pool                                     |
//! | `testing`           | groups for tests, and a plain way to render them                       |

mod assembler;
mod block;
mod builders;
mod catalog;
mod changes;
mod document;
mod exposed_groups;
mod exposition;
mod family_part;
mod format;
mod gzip;
mod help_texts;
mod page;
mod page_writer;
mod rebuild;
mod render_plan;
mod rendezvous;
mod round;
mod segment;
mod sizes;
#[cfg(test)]
mod testing;
mod view;

pub use assembler::{Assembler, RoundReport};
pub use document::Document;
pub use exposition::Exposition;
pub use format::Format;
pub use gzip::Effort;
pub use help_texts::HelpConflict;
pub use rendezvous::Rendezvous;
pub use sizes::PageSizes;
