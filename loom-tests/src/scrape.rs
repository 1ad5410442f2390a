//! The gateway's `scrape`, with loom's atomics in `assembly.rs` (see `build.rs`).

#[path = "../../src/scrape/assembler.rs"]
mod assembler;
mod assembly {
    include!(concat!(env!("OUT_DIR"), "/assembly.rs"));
}
#[path = "../../src/scrape/catalog.rs"]
mod catalog;
#[path = "../../src/scrape/document.rs"]
mod document;
#[path = "../../src/scrape/exposition.rs"]
mod exposition;
#[path = "../../src/scrape/format.rs"]
mod format;
#[path = "../../src/scrape/gzip.rs"]
mod gzip;
#[path = "../../src/scrape/page.rs"]
mod page;
#[path = "../../src/scrape/round.rs"]
mod round;
#[path = "../../src/scrape/view.rs"]
mod view;

pub use assembler::{Assembler, RoundReport};
pub use assembly::Assembly;
pub use catalog::HelpConflict;
pub use document::Document;
pub use exposition::Exposition;
pub use format::Format;
pub use gzip::{Crc, Deflated};
pub use page::Page;
pub use round::Rounds;
pub use view::{Sizes, Stretch};
