//! Counts the samples of a body while it is read, and stops at the limit.

use crate::exposition::limits::{ParseLimits, TooManySeries};

/// How many metrics, buckets and quantiles of a body were read, and how many may be.
pub(super) struct SeriesBudget {
    limits: ParseLimits,
    n_series: usize,
    /// What `NativeHistogram::check` counts over all histograms of the body.
    pub(super) gap_moves: u64,
}

impl SeriesBudget {
    pub(super) fn new(limits: ParseLimits) -> Self {
        Self {
            limits,
            n_series: 0,
            gap_moves: 0,
        }
    }

    /// The largest number of labels of one metric.
    #[inline]
    pub(super) fn labels_max(&self) -> usize {
        self.limits.labels_max
    }

    /// Counts `n` more metrics, buckets or quantiles.
    ///
    /// # Errors
    ///
    /// If that is more than the limit.
    #[inline]
    pub(super) fn spend(&mut self, n: usize) -> Result<(), TooManySeries> {
        self.n_series += n;
        let series_max = self.limits.series_max;
        if self.n_series > series_max {
            Err(TooManySeries { series_max })
        } else {
            Ok(())
        }
    }
}
