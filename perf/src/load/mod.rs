//! The generator: threads of connections, each with its groups, and a scraper beside them.
//!
//! Closed loop: each connection sends its next push when the last one is answered. Open loop:
//! pushes have a time when they are *due*, and latency counts from then, also if the connection was
//! not free: a stall of the server shows in full. A generator that cannot keep its own schedule
//! says so.

mod bulk;
mod each_group;
mod measured;
mod plan;
mod pushers;
mod run;
mod scraper;
mod state;
#[cfg(test)]
mod tests;

pub use each_group::{for_each_group, preload};
pub use measured::{BulkDone, Measured, Scraped};
pub use plan::{Arrivals, Bulk, Plan, Scrapes};
pub use run::run;
pub use scraper::{ACCEPT, final_scrape};
