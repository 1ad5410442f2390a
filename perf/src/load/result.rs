//! The output of a run: latencies, answers, scrapes, and violations that the checks found.

use crate::ledger::Violation;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What the clients that push large bodies did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BulkTotals {
    /// Bodies that were accepted.
    pub accepted: u64,
    /// Bodies that were refused or not answered.
    pub failed: u64,
    /// Bytes of the accepted bodies.
    pub bytes: u64,
    /// Accepted bytes divided by the time from the first request to the last answer, in seconds.
    pub bytes_per_second: f64,
}

/// How long one scrape took and how large it was.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ScrapeTiming {
    /// Seconds from the request to the first byte.
    pub first_byte_seconds: f64,
    /// Seconds from the request to the last byte.
    pub last_byte_seconds: f64,
    /// Bytes as they were sent, compressed if the scrape asked for gzip.
    pub bytes: usize,
}

/// Everything that a run measured.
pub struct RunResult {
    /// Nanoseconds from when a push was due (closed loop: sent) until it was answered.
    pub latency: Histogram<u64>,
    /// Number of answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Number of pushes without a valid answer, by kind of failure.
    pub unanswered: BTreeMap<String, u64>,
    pub elapsed: Duration,
    pub scrapes: Vec<ScrapeTiming>,
    /// Totals of the clients that push large bodies.
    pub bulk: Option<BulkTotals>,
    /// The first violations that scrapes during the run showed.
    pub violations: Vec<Violation>,
    /// Open loop: nanoseconds from when a push could have been sent (when it was due and its
    /// connection was free) until it was sent.
    pub lateness: Histogram<u64>,
    /// Open loop: pushes that were due, but for which no connection was free until the end.
    pub n_unsent: u64,
    /// Share of the time (0 to 1) for which the busiest thread of the generator ran or waited for a
    /// core.
    pub busy: f64,
}

impl RunResult {
    /// Answers per second, whatever their status.
    pub fn per_second(&self) -> f64 {
        self.n_answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// Number of answers, whatever their status.
    pub fn n_answered(&self) -> u64 {
        self.statuses.values().sum()
    }
}

/// A histogram of nanoseconds, from 1 µs to 120 s with three significant digits.
pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("bounds that fit")
}
