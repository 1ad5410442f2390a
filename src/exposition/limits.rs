//! Limits on what one push may contain, whatever the size of its body.
//!
//! An empty bucket takes two bytes of a protobuf body and may take forty bytes of memory. So the
//! parsers count what they allocate memory for, and stop at the limit.

use std::fmt;

/// Limits on what the parsers accept in one push.
#[derive(Clone, Copy, Debug)]
pub struct ParseLimits {
    /// The largest number of samples. In text, a sample is a line with a value. In protobuf, each
    /// metric, bucket and quantile is one. As families need not have samples, the same limit holds
    /// for the number of families (text) or messages (protobuf).
    pub series_max: usize,
    /// The largest number of labels of one metric.
    pub labels_max: usize,
}

impl ParseLimits {
    /// No limits: for bodies from a trusted source.
    pub const NONE: Self = Self {
        series_max: usize::MAX,
        labels_max: usize::MAX,
    };

    /// Checks that one more sample or family may follow `n` of them.
    ///
    /// # Errors
    ///
    /// If there are `series_max` already.
    #[inline]
    pub(super) fn check_room(self, n: usize) -> Result<(), TooManySeries> {
        let series_max = self.series_max;
        if n < series_max {
            Ok(())
        } else {
            Err(TooManySeries { series_max })
        }
    }
}

/// A push has more samples or more families than [`ParseLimits::series_max`].
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

/// A metric of a push has more labels than [`ParseLimits::labels_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyLabels {
    /// The limit.
    pub labels_max: usize,
}

impl fmt::Display for TooManyLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels_max = self.labels_max;
        write!(
            f,
            "a metric has more than {labels_max} labels, which is the limit"
        )
    }
}
