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

/// What became of the pushes of a herd.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct HerdTotals {
    /// Number of pushes at the same instant.
    pub pushes: u32,
    /// Pushes that were answered with a 2xx status.
    pub answered: u64,
    /// Pushes that were answered with another status.
    pub refused: u64,
    /// Pushes without a valid answer.
    pub lost: u64,
    /// Seconds from the instant to the last answer; `None` if there was no answer.
    pub last_answer_seconds: Option<f64>,
    /// Seconds from the instant until the generator had opened all connections.
    pub sent_within_seconds: f64,
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
    /// Those answers that a server that works does not give to such requests.
    pub unexpected: BTreeMap<u16, u64>,
    /// Number of pushes without a valid answer, by kind of failure.
    pub unanswered: BTreeMap<String, u64>,
    pub elapsed: Duration,
    pub scrapes: Vec<ScrapeTiming>,
    /// Totals of the clients that push large bodies.
    pub bulk: Option<BulkTotals>,
    pub herd: Option<HerdTotals>,
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
    /// The result of a run that has measured nothing yet.
    pub(super) fn empty() -> Self {
        Self {
            latency: new_histogram(),
            statuses: BTreeMap::new(),
            unexpected: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            elapsed: Duration::ZERO,
            scrapes: Vec::new(),
            bulk: None,
            herd: None,
            violations: Vec::new(),
            lateness: new_histogram(),
            n_unsent: 0,
            busy: 0.0,
        }
    }

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
