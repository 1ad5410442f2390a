//! What the gateway says about itself: its own metric families, and its log.
//!
//! | file              | what it is about                                          |
//! |-------------------|-----------------------------------------------------------|
//! | `mod.rs`          | names and types of the own families; counts of refusals   |
//! | `requests.rs`     | counts of HTTP requests                                   |
//! | `distribution.rs` | quantiles over the last ten minutes                       |
//! | `process.rs`      | the `process_*` families                                  |
//! | `own_families.rs` | builds the own families                                   |
//! | `disk.rs`         | the `pushgateway_persistence_*` families                  |
//! | `endpoint.rs`     | addresses of clients and listeners, as the log shows them |
//! | `line_limiter.rs` | how many log lines about one client are written           |
//! | `log.rs`          | the log                                                   |

mod disk;
mod distribution;
mod endpoint;
mod line_limiter;
pub mod log;
mod own_families;
mod process;
mod requests;

pub(crate) use disk::{DiskCondition, DiskStatistics};
pub use endpoint::Endpoint;
pub(crate) use line_limiter::LineLimiter;
pub(crate) use requests::{Handler, Method};

use crate::model::{Families, MetricType};
use crate::scrape::Exposition;
use crate::sync::Statistic;
use own_families::OwnFamiliesBuilder;
use std::time::Duration;

/// Names and types of the gateway's own families, in ascending order of their names. A push cannot
/// use one of these names with another type.
pub(crate) const OWN_FAMILIES: &[(&str, MetricType)] = &[
    ("process_cpu_seconds_total", MetricType::Counter),
    ("process_max_fds", MetricType::Gauge),
    ("process_network_receive_bytes_total", MetricType::Counter),
    ("process_network_transmit_bytes_total", MetricType::Counter),
    ("process_open_fds", MetricType::Gauge),
    ("process_resident_memory_bytes", MetricType::Gauge),
    ("process_start_time_seconds", MetricType::Gauge),
    ("process_threads", MetricType::Gauge),
    ("process_virtual_memory_bytes", MetricType::Gauge),
    ("process_virtual_memory_max_bytes", MetricType::Gauge),
    ("pushgateway_assemblies_total", MetricType::Counter),
    ("pushgateway_assembly_pages_total", MetricType::Counter),
    ("pushgateway_assembly_seconds_total", MetricType::Counter),
    ("pushgateway_build_info", MetricType::Gauge),
    ("pushgateway_exposition_bytes", MetricType::Gauge),
    ("pushgateway_families", MetricType::Gauge),
    ("pushgateway_groups", MetricType::Gauge),
    (
        "pushgateway_http_push_duration_seconds",
        MetricType::Summary,
    ),
    ("pushgateway_http_push_size_bytes", MetricType::Summary),
    ("pushgateway_http_requests_total", MetricType::Counter),
    ("pushgateway_log_lines_dropped_total", MetricType::Counter),
    ("pushgateway_panics_total", MetricType::Counter),
    (
        "pushgateway_persistence_commit_seconds_total",
        MetricType::Counter,
    ),
    ("pushgateway_persistence_commits_total", MetricType::Counter),
    (
        "pushgateway_persistence_failures_total",
        MetricType::Counter,
    ),
    ("pushgateway_persistence_healthy", MetricType::Gauge),
    ("pushgateway_persistence_lag_seconds", MetricType::Gauge),
    ("pushgateway_persistence_restored_groups", MetricType::Gauge),
    ("pushgateway_persistence_rows_total", MetricType::Counter),
    ("pushgateway_pushes_refused_total", MetricType::Counter),
    ("pushgateway_series", MetricType::Gauge),
];

/// Why a push was refused before the store saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EarlyRefusal {
    /// The body is not compressed as its `Content-Encoding` says.
    Encoding,
    /// The path names no group.
    GroupingKey,
    /// The client went away or broke the protocol before the body had arrived.
    Incomplete,
    /// The body does not parse.
    Malformed,
    /// The state cannot be written to disk, and pushes wait for that.
    NotOnDisk,
    /// Too many large pushes wait to be parsed.
    QueueFull,
    /// The groups are being read from disk.
    Restoring,
    /// The push is over a limit.
    TooLarge,
}

impl EarlyRefusal {
    /// The label `reason` of `pushgateway_pushes_refused_total`.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::GroupingKey => "grouping_key",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
            Self::NotOnDisk => "not_on_disk",
            Self::QueueFull => "queue_full",
            Self::Restoring => "restoring",
            Self::TooLarge => "too_large",
        }
    }
}

/// All values of the label `reason` of `pushgateway_pushes_refused_total`: the store's
/// ([`crate::store::Refusal::REASONS`]) and those of [`EarlyRefusal`].
const REASONS: [&str; 14] = [
    "duplicate_label",
    "duplicate_series",
    "encoding",
    "exposition_bytes",
    "grouping_key",
    "incomplete",
    "malformed",
    "name",
    "not_on_disk",
    "queue_full",
    "restoring",
    "timestamps",
    "too_large",
    "type",
];

/// Everything that the gateway counts about itself.
#[derive(Default)]
pub(crate) struct Telemetry {
    /// HTTP requests other than scrapes.
    pub requests: requests::Requests,
    /// What the disk writer counts, if there is one.
    pub disk: DiskStatistics,
    process: process::Process,
    refused: [Statistic; REASONS.len()],
    n_panics: Statistic,
    n_assemblies: Statistic,
    assembly_ns: Statistic,
    /// Pages that were rendered in all rounds.
    n_pages: Statistic,
}

impl Telemetry {
    /// All counts are zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a request or connection that a bug has ended, and logs it.
    pub fn count_panic(&self) {
        self.n_panics.add(1);
        tracing::error!("a request failed; this is a bug");
    }

    /// How many panics were counted.
    #[cfg(test)]
    pub fn n_panics(&self) -> u64 {
        self.n_panics.get()
    }

    /// Counts a push that was refused, with one of [`REASONS`].
    pub fn count_refusal(&self, reason: &str) {
        let place = REASONS.iter().position(|&known| known == reason);
        self.refused[place.expect("every reason is listed")].add(1);
    }

    /// Counts a round that took so long and rendered `n_pages`.
    pub fn count_round(&self, took: Duration, n_pages: usize) {
        self.n_assemblies.add(1);
        self.assembly_ns
            .add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.n_pages.add(n_pages as u64);
    }

    /// The gateway's own families at `now_ms` of a monotonic clock, with those that describe
    /// `exposition`, and those about the disk if the state is kept there.
    pub fn families(
        &self,
        exposition: &Exposition,
        disk: Option<DiskCondition>,
        now_ms: u64,
    ) -> Families {
        let mut own = OwnFamiliesBuilder::new();
        self.process.write(&mut own, now_ms);
        own.counter(
            "pushgateway_assemblies_total",
            "Rounds in which changed groups were brought into the exposition.",
        );
        own.value(&[], self.n_assemblies.get() as f64);
        own.counter(
            "pushgateway_assembly_pages_total",
            "Pages of the exposition that were rendered, over all formats.",
        );
        own.value(&[], self.n_pages.get() as f64);
        own.counter(
            "pushgateway_assembly_seconds_total",
            "Time spent on bringing changed groups into the exposition.",
        );
        own.value(&[], self.assembly_ns.get() as f64 / 1e9);
        own.gauge("pushgateway_build_info", "A metric with a constant '1' value labeled by version, revision and branch from which pushgateway was built, and the platform of the build.");
        own.value(&build_labels(), 1.0);
        own.gauge(
            "pushgateway_exposition_bytes",
            "Size of the pushed families in the text format, as it is asked for.",
        );
        own.value(&[], exposition.text_len().unwrap_or(0) as f64);
        own.gauge(
            "pushgateway_families",
            "Metric families exposed, the gateway's own excluded.",
        );
        own.value(&[], exposition.n_families as f64);
        own.gauge("pushgateway_groups", "Groups that are kept.");
        own.value(&[], exposition.n_groups as f64);
        self.requests.write(&mut own, now_ms);
        own.counter(
            "pushgateway_log_lines_dropped_total",
            "Lines of the log that were dropped because standard error was not read.",
        );
        own.value(&[], log::n_dropped_lines() as f64);
        own.counter(
            "pushgateway_panics_total",
            "Requests and connections that a bug of the gateway has ended.",
        );
        own.value(&[], self.n_panics.get() as f64);
        if let Some(condition) = disk {
            self.disk.write(condition, &mut own);
        }
        own.counter(
            "pushgateway_pushes_refused_total",
            "Pushes that were refused, by reason.",
        );
        for (reason, count) in REASONS.iter().zip(&self.refused) {
            own.value(&[("reason", reason)], count.get() as f64);
        }
        own.gauge(
            "pushgateway_series",
            "Samples exposed, the gateway's own excluded.",
        );
        own.value(&[], exposition.n_samples as f64);
        own.finish()
    }
}

/// The labels of `pushgateway_build_info`: version and revision (see `build.rs`), and the platform in
/// the reference's words.
pub(crate) fn build_labels() -> [(&'static str, &'static str); 7] {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        ("branch", env!("PUSHGATEWAY_BRANCH")),
        ("goarch", arch),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        ("revision", env!("PUSHGATEWAY_REVISION")),
        ("tags", ""),
        ("version", env!("CARGO_PKG_VERSION")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::GroupingKey;
    use crate::store::{Layout, Refusal};

    #[test]
    fn every_reason_is_listed() {
        use EarlyRefusal::{
            Encoding, GroupingKey, Incomplete, Malformed, NotOnDisk, QueueFull, Restoring, TooLarge,
        };
        let early = [
            Encoding,
            GroupingKey,
            Incomplete,
            Malformed,
            NotOnDisk,
            QueueFull,
            Restoring,
            TooLarge,
        ]
        .map(EarlyRefusal::reason);
        assert!(
            Refusal::REASONS
                .iter()
                .chain(&early)
                .all(|reason| REASONS.contains(reason))
        );
        assert!(REASONS.is_sorted());
    }

    #[test]
    fn own_families_are_the_listed_ones_and_valid() {
        let telemetry = Telemetry::new();
        let disk = DiskCondition {
            is_healthy: true,
            lag: Duration::ZERO,
        };
        telemetry.requests.count(Handler::Push, Method::Put, 200);
        telemetry
            .requests
            .count_push(Method::Put, 100, Duration::from_millis(1), 1);
        let families = telemetry.families(&Exposition::default(), Some(disk), 1);
        let found: Vec<(&str, MetricType)> = families
            .skeleton
            .families()
            .map(|f| (f.name(), f.metric_type()))
            .collect();
        assert_eq!(found, OWN_FAMILIES);
        assert!(OWN_FAMILIES.is_sorted_by_key(|(name, _)| name));
        let key = GroupingKey::new([("job", "j")]).unwrap();
        assert!(Layout::new(families.skeleton, &key).is_ok());
    }
}
