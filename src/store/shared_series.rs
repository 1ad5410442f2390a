//! Which series two groups of one job can share.
//!
//! The labels of a grouping key overwrite those of the series. So a series of one group can be the
//! series of a group of another shape, but then of exactly one: the group whose key has, for each
//! name of that shape, the value that the series has.

use super::layout::Layout;
use super::series_labels::{SeriesLabels, series_hash, series_labels};
use super::shape::Shape;
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::model::{Escaping, Family, GroupingKey, LabelSet, Metric, escape_label_name};
use std::sync::Arc;

/// The shapes, other than that of `key`, of which a group may share a series with a push of
/// `layout` to the group of `key`.
pub(super) fn other_shapes<'a>(
    shapes: &'a [Arc<Shape>],
    key: &GroupingKey,
    layout: &Layout,
    slots: &Slots,
) -> impl Iterator<Item = &'a Arc<Shape>> {
    shapes.iter().filter(move |shape| {
        let names = key.canonical().iter().map(|(name, _)| name);
        shape.has_groups()
            && !shape.names().eq(names)
            && shape.names().all(|name| {
                key.canonical().get(name).is_some()
                    || layout
                        .label_names()
                        .binary_search_by(|own| (**own).cmp(name))
                        .is_ok()
            })
            && may_share_series(shape, key, slots)
    })
}

/// Whether a metric of the group of `key` has all names of the shape among its labels.
pub(super) fn has_names_in(shape: &Shape, metric: Metric<'_>, key: &GroupingKey) -> bool {
    shape.names().all(|name| {
        key.canonical().get(name).is_some()
            || metric
                .labels()
                .any(|(own, _)| escape_label_name(own, Escaping::Underscores) == name)
    })
}

/// The canonical key of the only group of `shape` that can expose a series with these labels.
pub(super) fn key_of_shape(shape: &Shape, labels: &SeriesLabels<'_>) -> Option<LabelSet> {
    let value = |name: &str| {
        let label = labels.iter().find(|(label, _)| *label == name);
        label.map(|&(_, value)| value)
    };
    let key: Option<Vec<_>> = shape
        .names()
        .map(|name| Some((name, value(name)?)))
        .collect();
    Some(LabelSet::new(key?))
}

/// The family that a group exposes under a name.
pub(super) fn family_of<'a>(group: &'a Snapshot, name: &str) -> Option<Family<'a>> {
    group.layout().family_by_name(name)
}

/// Whether a group exposes a series of `family`, one of its own, with exactly these labels.
pub(super) fn has_series(
    group: &Snapshot,
    family: Option<Family<'_>>,
    labels: &SeriesLabels<'_>,
) -> bool {
    let Some(family) = family else { return false };
    find_series(group.layout(), group.key(), family, labels).is_some()
}

/// The series of `family`, one of `layout`, that a group with this key exposes with exactly these
/// labels.
pub(super) fn find_series<'a>(
    layout: &'a Layout,
    key: &GroupingKey,
    family: Family<'_>,
    labels: &SeriesLabels<'_>,
) -> Option<Metric<'a>> {
    let own: SeriesLabels<'_> = labels
        .iter()
        .filter(|(name, _)| key.canonical().get(name).is_none())
        .cloned()
        .collect();
    layout.find_series(family, series_hash(&own), |metric| {
        series_labels(metric, key.labels())[..] == labels[..]
    })
}

/// Whether a series of the group of `key` may be one of a group of `shape`. If the key has all
/// names of the shape, the values are those of the key, so that there is one group to look at.
fn may_share_series(shape: &Shape, key: &GroupingKey, slots: &Slots) -> bool {
    let names = shape.names();
    let other: Option<Vec<_>> = names
        .map(|name| Some((name, key.canonical().get(name)?)))
        .collect();
    other.is_none_or(|other| slots.group(LabelSet::new(other).as_bytes()).is_some())
}
