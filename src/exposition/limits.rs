//! How much one push may hold, whatever the size of its body.
//!
//! What is two bytes of a body, such as an empty bucket, may be forty of memory. So what memory is
//! taken for is counted while a body is read, and reading ends where there is too much.

use std::fmt;

/// How much one push may hold.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// Samples: lines of the text format, in protobuf metrics and their buckets and quantiles. So
    /// many families, or messages, may come as well: they need not have samples.
    pub series_max: usize,
    /// Labels of a metric.
    pub labels_max: usize,
}

impl ParseLimits {
    /// As much as there is.
    pub const NONE: Self = Self {
        series_max: usize::MAX,
        labels_max: usize::MAX,
    };
}

/// There are more samples or families than a push may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManySeries {
    /// The limit.
    pub series_max: usize,
}

impl fmt::Display for TooManySeries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let series_max = self.series_max;
        write!(
            f,
            "the push has more than {series_max} series or families, which is the limit"
        )
    }
}

/// There are more labels than a metric may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLabels {
    /// The limit.
    pub labels_max: usize,
}

impl fmt::Display for TooManyLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a metric has more than {} labels, which is the limit",
            self.labels_max
        )
    }
}
