//! The type of a metric family, and the flags of a metric.

/// The type of a metric family. The discriminants are the numbers of the types in
/// `io.prometheus.client.MetricType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum MetricType {
    /// A number that only grows.
    Counter = 0,
    /// A number that goes up and down.
    Gauge = 1,
    /// Observations: their count, sum and quantiles.
    Summary = 2,
    /// A number of which nothing is known.
    Untyped = 3,
    /// Observations: their count, sum and number in each bucket. Buckets are classic or native.
    Histogram = 4,
    /// A histogram whose counts go up and down.
    GaugeHistogram = 5,
}

impl MetricType {
    /// The type's name on a `# TYPE` line. The text format has no gauge histograms; they are
    /// written as `histogram`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Untyped => "untyped",
            Self::Histogram | Self::GaugeHistogram => "histogram",
        }
    }

    /// The type's name in protobuf's text form, for example `GAUGE_HISTOGRAM`.
    pub(crate) fn as_proto_str(self) -> &'static str {
        match self {
            Self::Counter => "COUNTER",
            Self::Gauge => "GAUGE",
            Self::Summary => "SUMMARY",
            Self::Untyped => "UNTYPED",
            Self::Histogram => "HISTOGRAM",
            Self::GaugeHistogram => "GAUGE_HISTOGRAM",
        }
    }

    /// The type with this number in `io.prometheus.client.MetricType`, if there is one.
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::Counter,
            1 => Self::Gauge,
            2 => Self::Summary,
            3 => Self::Untyped,
            4 => Self::Histogram,
            5 => Self::GaugeHistogram,
            _ => return None,
        })
    }

    /// Whether this is a histogram or a gauge histogram. Both expose `_bucket`, `_sum` and
    /// `_count`.
    pub fn is_histogram(self) -> bool {
        matches!(self, Self::Histogram | Self::GaugeHistogram)
    }

    /// The number of values of a metric besides those of its quantiles or buckets.
    pub fn n_fixed_values(self) -> usize {
        match self {
            Self::Counter | Self::Gauge | Self::Untyped => 1,
            Self::Summary | Self::Histogram | Self::GaugeHistogram => 2,
        }
    }
}

/// What a push says about a metric besides its labels and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MetricFlags(u8);

impl MetricFlags {
    /// The summary or histogram was pushed with a count.
    pub const HAS_COUNT: Self = Self(1);
    /// The summary or histogram was pushed with a sum.
    pub const HAS_SUM: Self = Self(2);
    /// The counts of the histogram are floats, not integers.
    pub const FLOAT_COUNTS: Self = Self(4);
    /// The histogram is native: Prometheus reads its spans or its zero bucket, not its classic
    /// buckets.
    pub const NATIVE: Self = Self(8);

    /// The flags of a summary or histogram that was pushed with or without a count and a sum.
    #[inline]
    pub(crate) fn of_presence(has_count: bool, has_sum: bool) -> Self {
        let mut flags = Self::default();
        if has_count {
            flags |= Self::HAS_COUNT;
        }
        if has_sum {
            flags |= Self::HAS_SUM;
        }
        flags
    }

    /// Whether all of `flags` are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl std::ops::BitOr for MetricFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl std::ops::BitOrAssign for MetricFlags {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
