//! The gateway's own families, and its log.

mod distribution;
pub mod log;
mod process;
mod requests;

pub use distribution::Distribution;
pub use requests::{Handler, Method, Requests};

use crate::model::{Families, FamiliesBuilder, MetricFlags, MetricType};
use crate::scrape::Exposition;
use crate::store::Refusal;
use crate::sync::Statistic;
use std::time::Duration;

/// Names and types of all own families, in ascending order of their names. Pushes cannot use these
/// names for other types.
pub const OWN_FAMILIES: &[(&str, MetricType)] = &[
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
    ("pushgateway_pushes_refused_total", MetricType::Counter),
    ("pushgateway_series", MetricType::Gauge),
];

/// Why a push was refused before the store saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyRefusal {
    /// It is not compressed as it says.
    Encoding,
    /// Its path names no group.
    GroupingKey,
    /// The client went away or broke the protocol before it was whole.
    Incomplete,
    /// It does not parse.
    Malformed,
    /// It is over a limit.
    TooLarge,
}

impl EarlyRefusal {
    fn reason(self) -> &'static str {
        match self {
            Self::Encoding => "encoding",
            Self::GroupingKey => "grouping_key",
            Self::Incomplete => "incomplete",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
        }
    }
}

/// All words for why a push was refused: the store's and those from before it.
const REASONS: [&str; 11] = [
    "duplicate_label",
    "duplicate_series",
    "encoding",
    "exposition_bytes",
    "grouping_key",
    "incomplete",
    "malformed",
    "name",
    "timestamps",
    "too_large",
    "type",
];

/// Everything the gateway counts about itself.
#[derive(Default)]
pub struct Telemetry {
    /// HTTP requests other than scrapes.
    pub requests: Requests,
    process: process::Process,
    refused: [Statistic; REASONS.len()],
    n_assemblies: Statistic,
    assembly_ns: Statistic,
    n_pages: Statistic,
}

impl Telemetry {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store refused a push.
    pub fn count_refusal(&self, refusal: &Refusal) {
        self.count_reason(refusal.reason());
    }

    /// A push was refused before the store saw it.
    pub fn count_early_refusal(&self, refusal: EarlyRefusal) {
        self.count_reason(refusal.reason());
    }

    fn count_reason(&self, reason: &str) {
        let place = REASONS.iter().position(|&known| known == reason);
        self.refused[place.expect("every reason is listed")].add(1);
    }

    /// A round was run.
    pub fn count_assembly(&self, took: Duration, n_pages: usize) {
        self.n_assemblies.add(1);
        self.assembly_ns
            .add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        self.n_pages.add(n_pages as u64);
    }

    /// The own families as they are now, with those that describe `exposition`.
    pub fn families(&self, exposition: &Exposition, now_ms: u64) -> Families {
        let mut own = OwnBuilder(FamiliesBuilder::new());
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
        own.0.finish().expect("own families are small")
    }
}

/// Version, and the platform in the words of the reference.
pub fn build_labels() -> [(&'static str, &'static str); 7] {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    [
        ("branch", option_env!("PUSHGATEWAY_BRANCH").unwrap_or("")),
        ("goarch", arch),
        ("goos", std::env::consts::OS),
        ("goversion", ""),
        (
            "revision",
            option_env!("PUSHGATEWAY_REVISION").unwrap_or(""),
        ),
        ("tags", ""),
        ("version", env!("CARGO_PKG_VERSION")),
    ]
}

/// Builds own families: gauges, counters, summaries.
pub(crate) struct OwnBuilder(FamiliesBuilder);

impl OwnBuilder {
    pub fn counter(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Counter, Some(help));
    }

    pub fn gauge(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Gauge, Some(help));
    }

    pub fn summary(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Summary, Some(help));
    }

    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        self.labels(labels);
        self.0.value(value.to_bits());
        self.0.end_metric(MetricFlags::default());
    }

    /// A metric of a summary: count, sum, and ranks with their values.
    pub fn quantiles(
        &mut self,
        labels: &[(&str, &str)],
        count: u64,
        sum: f64,
        quantiles: &[(f64, f64)],
    ) {
        self.labels(labels);
        self.0.value(count);
        self.0.value(sum.to_bits());
        for &(rank, value) in quantiles {
            self.0.bound(rank);
            self.0.value(value.to_bits());
        }
        self.0
            .end_metric(MetricFlags::HAS_COUNT | MetricFlags::HAS_SUM);
    }

    fn labels(&mut self, labels: &[(&str, &str)]) {
        labels
            .iter()
            .for_each(|(name, value)| self.0.label(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_listed() {
        use EarlyRefusal::{Encoding, GroupingKey, Incomplete, Malformed, TooLarge};
        let early =
            [Encoding, GroupingKey, Incomplete, Malformed, TooLarge].map(EarlyRefusal::reason);
        assert!(
            Refusal::REASONS
                .iter()
                .chain(&early)
                .all(|reason| REASONS.contains(reason))
        );
        assert!(REASONS.is_sorted());
    }
    use crate::model::GroupingKey;
    use crate::store::Layout;

    #[test]
    fn own_families_are_the_listed_ones_and_valid() {
        let telemetry = Telemetry::new();
        telemetry.requests.count(Handler::Push, Method::Put, 200);
        telemetry
            .requests
            .count_push(Method::Put, 100, Duration::from_millis(1), 1);
        let families = telemetry.families(&Exposition::default(), 1);
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
