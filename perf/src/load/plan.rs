//! The input of a run: what is pushed where, how fast, and what else runs at the same time.

use crate::workload::Workload;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// A request without an answer after this time has failed, except in a herd.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// When pushes are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// Closed loop: as fast as pushes are answered.
    Closed,
    /// Open loop: at `per_second` pushes a second over all connections together, at random moments
    /// if `poisson`, else at even intervals.
    Open { per_second: f64, poisson: bool },
}

/// A run of the load generator.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// The path in front of `/job/…`.
    pub prefix: String,
    pub workload: Workload,
    pub arrivals: Arrivals,
    pub connections: u32,
    pub threads: usize,
    /// Whether connections are kept; otherwise each push has a new connection.
    pub keep_alive: bool,
    /// How long the run takes; of a herd, how long it waits for an answer.
    pub duration: Duration,
    /// The run ends after this many pushes, if that is before `duration` is over.
    pub count: Option<u64>,
    /// Additional clients that push large bodies back to back. They are not part of `connections`.
    pub bulk: Option<BulkSettings>,
    pub seed: u64,
    /// Scrapes during the run; `None` for no scrapes.
    pub scrapes: Option<ScrapeSettings>,
    /// Whether scrapes of this target show what was pushed, so that they can be checked.
    pub is_checked: bool,
}

/// Clients that push large bodies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BulkSettings {
    pub clients: u32,
    /// Series in each body, about 80 bytes each.
    pub series: u32,
}

/// A scraper that runs at the same time as the pushes.
#[derive(Clone, Debug)]
pub struct ScrapeSettings {
    pub path: String,
    pub interval: Duration,
    pub gzip: bool,
}
