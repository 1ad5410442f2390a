//! What a run is to do.

use crate::workload::Workload;
use serde::Serialize;
use std::net::SocketAddr;
use std::time::Duration;

/// How pushes arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// As fast as they are answered.
    Closed,
    /// So many a second over all connections; at random moments if `poisson`.
    Open { per_second: f64, poisson: bool },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// The path in front of `/job/…`.
    pub prefix: String,
    pub workload: Workload,
    pub arrivals: Arrivals,
    pub connections: u32,
    pub threads: usize,
    pub keep_alive: bool,
    pub duration: Duration,
    /// Ends earlier than that after so many pushes.
    pub count: Option<u64>,
    /// Clients beside the others that push large bodies back to back.
    pub bulk: Option<BulkSettings>,
    pub seed: u64,
    /// ScrapeSettings beside the pushes.
    pub scrapes: Option<ScrapeSettings>,
    /// Whether scrapes can be compared with what was pushed.
    pub is_checked: bool,
}

/// Clients that push large bodies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BulkSettings {
    pub clients: u32,
    pub series: u32,
}

/// A scraper beside the pushes.
#[derive(Clone, Debug)]
pub struct ScrapeSettings {
    pub path: String,
    pub interval: Duration,
    pub gzip: bool,
}
