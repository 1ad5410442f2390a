//! Native and classic histograms of one family are kept apart.
//!
//! In protobuf, Prometheus decides by the first metric of a message whether it reads classic or
//! native histograms, and then reads all metrics of the message in this way. A classic histogram
//! behind a native one fails the scrape, and a native one behind a classic one is not read as such.
//! A group may push native histograms and another group classic ones with the same name. So such a
//! family has two *parts*, which are exposed as two messages.
//!
//! For pages and views each part is a family, with an id of its own. Both parts have the same name,
//! type and help. The text format has no native histograms; there the parts follow each other under
//! one header.

use crate::model::{Metric, MetricFlags};

/// A part of a family. The main part comes first in an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FamilyPart {
    /// All metrics but native histograms.
    Main,
    /// The native histograms.
    Native,
}

impl FamilyPart {
    /// The part that a metric belongs to.
    pub fn of(metric: Metric<'_>) -> Self {
        if metric.flags().has(MetricFlags::NATIVE) {
            Self::Native
        } else {
            Self::Main
        }
    }
}
