//! What scrapes cost: of a store that is at rest, of one that has changed, beside nginx sending the
//! same bytes; and what memory that takes.

mod figures;
mod scenario;
mod scraper;

pub use scenario::{ScrapeCostSettings, run};
