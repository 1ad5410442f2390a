//! The generator: threads of connections, each with its groups, and a scraper beside them.
//!
//! Closed loop: each connection sends its next push when the last one is answered. Open loop:
//! pushes have a time when they are *due*, and latency counts from then, also if the connection was
//! not free: a stall of the server shows in full. A generator that cannot keep its own schedule
//! says so.

mod bulk;
mod each_group;
mod plan;
mod pushers;
mod result;
mod run;
mod run_state;
mod scraper;
#[cfg(test)]
mod tests;

pub use each_group::{for_each_group, preload};
pub use plan::{Arrivals, BulkSettings, Plan, ScrapeSettings};
pub use result::{BulkTotals, RunResult, ScrapeTiming};
pub use run::run;
pub use scraper::{ACCEPT, final_scrape};
