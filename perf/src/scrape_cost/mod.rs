//! What scrapes of the gateway cost: scrapes of an unchanged store, compared with nginx and bare
//! hyper sending the same number of bytes; scrapes after pushes; and the memory that all this
//! takes.

mod figures;
mod scenario;
mod scraper;

pub use scenario::{ScrapeCostSettings, run};
