//! Whether another group of the job exposes a series that a push brings.

use super::candidate::Candidate;
use super::metric_text::show_metric;
use super::refusal::Refusal;
use super::series_labels::{SeriesLabels, series_hash, series_labels};
use super::shape::Shape;
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::model::{Escaping, GroupingKey, LabelSet, escape_label_name};
use std::sync::Arc;

/// A series of one group can be that of a group of the same job with another shape, and then of
/// exactly one: the one whose key has the values that the series has.
pub(super) fn check_series(
    candidate: &Candidate<'_>,
    shapes: &[Arc<Shape>],
    slots: &Slots,
) -> Result<(), Refusal> {
    let Candidate {
        key, base, content, ..
    } = *candidate;
    let layout = &content.layout;
    let own_names = || key.canonical().iter().map(|(name, _)| name);
    let others = shapes
        .iter()
        .filter(|shape| shape.has_groups() && !shape.names().eq(own_names()));
    let others: Vec<_> = others
        .filter(|shape| may_have_group_beside(slots, shape, key))
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    // The series of a metric mostly lead to the same group as those of the one before.
    let mut found: Vec<Option<(LabelSet, Option<Arc<Snapshot>>)>> = vec![None; others.len()];
    for family in layout.skeleton().families() {
        let before = base
            .is_live()
            .then(|| base.fixed.layout.family_by_name(family.name()))
            .flatten();
        for metric in family.metrics() {
            let has = |name| {
                key.canonical().get(name).is_some()
                    || metric
                        .labels()
                        .any(|(own, _)| escape_label_name(own, Escaping::Underscores) == name)
            };
            if !others.iter().any(|shape| shape.names().all(has)) {
                continue;
            }
            let labels = series_labels(metric, key.labels());
            let is_key = |name: &str| key.canonical().get(name).is_some();
            let own = |is_key: &dyn Fn(&str) -> bool| -> SeriesLabels<'_> {
                labels
                    .iter()
                    .filter(|(name, _)| !is_key(name))
                    .cloned()
                    .collect()
            };
            if let Some(before) = before
                && base
                    .fixed
                    .layout
                    .find_series(before, series_hash(&own(&is_key)), |m| {
                        series_labels(m, key.labels())[..] == labels[..]
                    })
            {
                continue;
            }
            for (shape, found) in others.iter().zip(&mut found) {
                let value = |name| {
                    labels
                        .iter()
                        .find(|(label, _)| *label == name)
                        .map(|&(_, value)| value)
                };
                let Some(wanted) = shape
                    .names()
                    .map(|name| Some((name, value(name)?)))
                    .collect::<Option<Vec<_>>>()
                else {
                    continue;
                };
                let wanted = LabelSet::new(wanted);
                if found.as_ref().is_none_or(|(known, _)| *known != wanted) {
                    let slot = slots.find(wanted.as_bytes());
                    *found = Some((
                        wanted,
                        slot.map(|slot| Arc::clone(&slot.current()))
                            .filter(|other| other.is_live()),
                    ));
                }
                let Some((_, Some(other))) = found else {
                    continue;
                };
                let Some(theirs) = other.fixed.layout.family_by_name(family.name()) else {
                    continue;
                };
                let hash =
                    series_hash(&own(&|name| shape.names().any(|in_shape| in_shape == name)));
                if other.fixed.layout.find_series(theirs, hash, |m| {
                    series_labels(m, other.fixed.key.labels())[..] == labels[..]
                }) {
                    let metric =
                        show_metric(layout.skeleton(), &content.values, metric, key.labels());
                    return Err(Refusal::Series {
                        metric,
                        owner: Arc::clone(&other.fixed.key),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Whether there may be a group of `shape` that a series of the group of `key` leads to. Where
/// the key has all names of the shape, all its series lead to the same one.
fn may_have_group_beside(slots: &Slots, shape: &Shape, key: &GroupingKey) -> bool {
    let wanted: Option<Vec<_>> = shape
        .names()
        .map(|name| Some((name, key.canonical().get(name)?)))
        .collect();
    wanted.is_none_or(|wanted| {
        let slot = slots.find(LabelSet::new(wanted).as_bytes());
        slot.is_some_and(|slot| slot.current().is_live())
    })
}
