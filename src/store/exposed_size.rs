//! How many bytes of text a group is exposed with.
//!
//! A bucket is a few bytes of a push, but a line with all labels of its metric and its group in
//! every scrape. So the size of the exposition is limited, not only that of the body.

use crate::model::{LabelSet, MetricType, Skeleton};

/// The size of the exposition of a layout, without the labels of the key, which are on every line.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ExposedSize {
    bytes: u64,
    n_lines: u64,
}

impl ExposedSize {
    /// Bytes for `# HELP`, `# TYPE` and the longest type.
    const HEADER: u64 = 32;
    /// Bytes of a line for braces, blank and newline, the longest number and an empty `instance`.
    const LINE: u64 = 40;
    /// Bytes of a label for the equals sign, quotes and comma.
    const LABEL: u64 = 4;
    /// Bytes for the label `quantile` or `le` with the longest number.
    const BOUND: u64 = 36;

    /// The size for keys with the names of `key`, which overwrite the metrics' own labels.
    pub fn new(skeleton: &Skeleton, key: &LabelSet) -> Self {
        let mut size = Self::default();
        let len = |text: &str| text.len() as u64;
        for family in skeleton
            .families()
            .filter(|family| family.metrics().len() > 0)
        {
            let header = Self::HEADER + 2 * len(family.name()) + family.help().map_or(0, len);
            size.bytes = size.bytes.saturating_add(header);
            for metric in family.metrics() {
                let own = metric.labels().filter(|&(name, _)| key.get(name).is_none());
                let line = Self::LINE + len(family.name()) + own.map(Self::label).sum::<u64>();
                let n_bounds = metric.bounds_bits().len() as u64;
                match family.metric_type() {
                    MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
                        size.add(1, line)
                    }
                    MetricType::Summary => {
                        size.add(n_bounds, line + Self::BOUND);
                        size.add(2, line + len("_count"));
                    }
                    MetricType::Histogram | MetricType::GaugeHistogram => {
                        // One more for `+Inf`, which is exposed also if it was not pushed.
                        size.add(n_bounds + 1, line + len("_bucket") + Self::BOUND);
                        size.add(2, line + len("_count"));
                    }
                }
            }
        }
        size
    }

    /// Adds lines of `line` bytes each.
    fn add(&mut self, n_lines: u64, line: u64) {
        self.n_lines += n_lines;
        self.bytes = self.bytes.saturating_add(n_lines.saturating_mul(line));
    }

    fn label((name, value): (&str, &str)) -> u64 {
        (name.len() + value.len()) as u64 + Self::LABEL
    }

    /// The size in a group with this key.
    pub fn with_key(self, key: &LabelSet) -> u64 {
        let labels: u64 = key.iter().map(Self::label).sum();
        self.bytes
            .saturating_add(self.n_lines.saturating_mul(labels))
    }
}
