//! The load generator: threads of connections that push, each connection to its own groups, and a
//! scraper that runs at the same time.
//!
//! Closed loop: each connection sends its next push as soon as the previous one is answered.
//!
//! Open loop: each push has a time at which it is *due*. Latency counts from that time, even if the
//! connection was not free by then, so a stall of the server is measured in full. The result says
//! how far the generator was behind its own schedule.

mod bulk;
mod each_group;
mod herd;
mod plan;
mod pushers;
mod result;
mod run;
mod run_state;
mod scraper;
#[cfg(test)]
mod tests;

pub use each_group::{delete_groups, for_each_group, preload};
pub use herd::{HERD_SIZE_MAX, run_herd};
pub use plan::{Arrivals, BulkSettings, Plan, ScrapeSettings};
pub use result::{BulkTotals, HerdTotals, RunResult, ScrapeTiming};
pub use run::run;
pub use scraper::{ACCEPT, final_scrape};
