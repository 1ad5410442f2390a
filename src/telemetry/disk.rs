//! What the gateway says about its state on disk.

use super::own_families::OwnFamiliesBuilder;
use crate::sync::Statistic;
use std::time::Duration;

/// What the disk writer counts.
#[derive(Debug, Default)]
pub(crate) struct DiskStatistics {
    /// Batches that were committed.
    pub n_commits: Statistic,
    /// Groups that were written or deleted.
    pub n_rows: Statistic,
    /// Attempts that failed.
    pub n_failures: Statistic,
    /// Time spent on batches that were committed, in nanoseconds.
    pub busy_ns: Statistic,
    /// Groups that were read when the process started.
    pub n_restored: Statistic,
    /// When the last batch that is on disk took its groups, in milliseconds of the gateway's clock.
    pub committed_at_ms: Statistic,
}

/// How the disk is at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskCondition {
    /// Whether the last attempt to write was successful.
    pub is_healthy: bool,
    /// For how long the oldest change that is not on disk may have been in memory only.
    pub lag: Duration,
}

impl DiskStatistics {
    /// Adds the families.
    pub(super) fn write(&self, condition: DiskCondition, own: &mut OwnFamiliesBuilder) {
        let mut counter = |name, help, value| {
            own.counter(name, help);
            own.value(&[], value);
        };
        counter(
            "pushgateway_persistence_commit_seconds_total",
            "Time spent on writing changed groups to disk.",
            self.busy_ns.get() as f64 / 1e9,
        );
        counter(
            "pushgateway_persistence_commits_total",
            "Batches of changed groups that were written to disk.",
            self.n_commits.get() as f64,
        );
        counter(
            "pushgateway_persistence_failures_total",
            "Attempts to write to disk that failed.",
            self.n_failures.get() as f64,
        );
        let mut gauge = |name, help, value| {
            own.gauge(name, help);
            own.value(&[], value);
        };
        gauge(
            "pushgateway_persistence_healthy",
            "Whether the last attempt to write to disk was successful.",
            f64::from(u8::from(condition.is_healthy)),
        );
        gauge(
            "pushgateway_persistence_lag_seconds",
            "For how long the oldest change that is not on disk may have been in memory only.",
            condition.lag.as_secs_f64(),
        );
        gauge(
            "pushgateway_persistence_restored_groups",
            "Groups that were read from disk when the process started.",
            self.n_restored.get() as f64,
        );
        own.counter(
            "pushgateway_persistence_rows_total",
            "Groups that were written to disk or deleted there.",
        );
        own.value(&[], self.n_rows.get() as f64);
    }
}
