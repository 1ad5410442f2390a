//! The labels of a series as the store compares them: names escaped, sorted by name, without an
//! empty `instance`.

use crate::model::{Escaping, LabelSet, Metric, escape_label_name, exposed_labels};
use crate::sync::hash_of;
use smallvec::SmallVec;
use std::borrow::Cow;

/// The labels of a series in the form in which they are compared.
pub(super) type SeriesLabels<'a> = SmallVec<[(Cow<'a, str>, &'a str); 8]>;

/// The labels that a metric exposes in a group with this key.
pub(super) fn series_labels<'a>(metric: Metric<'a>, key: &'a LabelSet) -> SeriesLabels<'a> {
    compared(exposed_labels(metric.labels(), key).into_iter())
}

fn compared<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> SeriesLabels<'a> {
    let kept = labels.filter(|&(name, value)| !(name == "instance" && value.is_empty()));
    let mut labels: SeriesLabels<'_> = kept
        .map(|(name, value)| (escape_label_name(name, Escaping::Underscores), value))
        .collect();
    labels.sort();
    labels
}

/// The hash by which a series is found among those of a family: of its labels without those of the
/// key.
pub(super) fn series_hash(labels: &[(Cow<'_, str>, &str)]) -> u64 {
    hash_of(labels)
}

/// The labels of a metric without those that the key overwrites.
pub(super) fn own_labels<'a>(metric: Metric<'a>, key: &LabelSet) -> SeriesLabels<'a> {
    compared(metric.labels().filter(|&(name, _)| key.get(name).is_none()))
}
