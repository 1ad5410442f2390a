//! Building the gateway's own metric families.

use crate::model::{Families, FamiliesBuilder, MetricFlags, MetricType};

/// Builds the gateway's own families. Each begins with its name and help, and its metrics follow.
pub(super) struct OwnFamiliesBuilder(FamiliesBuilder);

impl OwnFamiliesBuilder {
    /// Without any family.
    pub fn new() -> Self {
        Self(FamiliesBuilder::new())
    }

    /// The families that were added.
    pub fn finish(self) -> Families {
        self.0.finish().expect("own families are small")
    }

    /// Begins a counter.
    pub fn counter(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Counter, Some(help));
    }

    /// Begins a gauge.
    pub fn gauge(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Gauge, Some(help));
    }

    /// Begins a summary.
    pub fn summary(&mut self, name: &str, help: &str) {
        self.0.family(name, MetricType::Summary, Some(help));
    }

    /// Adds a metric of a counter or gauge.
    pub fn value(&mut self, labels: &[(&str, &str)], value: f64) {
        self.labels(labels);
        self.0.value(value.to_bits());
        self.0.end_metric(MetricFlags::default());
    }

    /// Adds a metric of a summary: its count, its sum, and pairs of a rank and the value there.
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
