//! What a run showed.

use crate::ledger::Violation;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What those did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BulkTotals {
    /// Bodies that were accepted.
    pub accepted: u64,
    /// Bodies that were not.
    pub failed: u64,
    /// Bytes of the accepted ones.
    pub bytes: u64,
    /// Bytes a second over the time from the first to the last answer.
    pub bytes_per_second: f64,
}

/// One scrape.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ScrapeTiming {
    /// Seconds to the first byte.
    pub first_byte_seconds: f64,
    /// Seconds to the last one.
    pub last_byte_seconds: f64,
    /// Bytes as they were sent.
    pub bytes: usize,
}

/// What a run showed.
pub struct RunResult {
    /// Nanoseconds from when a push was due (closed loop: sent) until it was answered.
    pub latency: Histogram<u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Pushes that were not answered, by kind of error.
    pub unanswered: BTreeMap<String, u64>,
    pub elapsed: Duration,
    pub scrapes: Vec<ScrapeTiming>,
    /// Of the clients that push large bodies.
    pub bulk: Option<BulkTotals>,
    /// The first of each kind.
    pub violations: Vec<Violation>,
    /// Nanoseconds that the generator was behind its own schedule with each push (open loop),
    /// beyond what answers took.
    pub lateness: Histogram<u64>,
    /// Pushes that were due (open loop), and for which no connection was free until the end.
    pub n_unsent: u64,
    /// Share of the time for which the busiest thread of the generator ran or waited for a core.
    pub busy: f64,
}

impl RunResult {
    /// Answers of the expected kind, for a second.
    pub fn per_second(&self) -> f64 {
        self.n_answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// All answers.
    pub fn n_answered(&self) -> u64 {
        self.statuses.values().sum()
    }
}

pub(super) fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("bounds that fit")
}
