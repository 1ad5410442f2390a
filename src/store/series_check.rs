//! Whether another group of the job exposes a series that a push brings.
//!
//! The labels of a grouping key overwrite those of the series. So a series of one group can be the
//! series of a group of another shape, but then of exactly one: the group whose key has, for each
//! name of that shape, the value that the series has. Each series needs one look-up for each shape.

use super::candidate::Candidate;
use super::metric_text::show_metric;
use super::refusal::Refusal;
use super::series_labels::{SeriesLabels, series_hash, series_labels};
use super::shape::Shape;
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::model::{Escaping, Family, GroupingKey, LabelSet, Metric, escape_label_name};
use std::sync::Arc;

/// Compares the series that the candidate adds with those of the job's groups of other shapes. For
/// a push that is alone behind the door of its job; `shapes` are the shapes of the job.
///
/// # Errors
///
/// [`Refusal::Series`] with the first series that another group exposes.
pub(super) fn check_series(
    candidate: &Candidate<'_>,
    shapes: &[Arc<Shape>],
    slots: &Slots,
) -> Result<(), Refusal> {
    let Candidate {
        key, base, content, ..
    } = *candidate;
    let is_of_other_shape = |shape: &Shape| {
        let names = key.canonical().iter().map(|(name, _)| name);
        shape.has_groups() && !shape.names().eq(names)
    };
    let mut others: Vec<OtherShape<'_>> = shapes
        .iter()
        .filter(|shape| is_of_other_shape(shape) && may_share_series(shape, key, slots))
        .map(|shape| OtherShape {
            shape,
            last_look_up: None,
        })
        .collect();
    if others.is_empty() {
        return Ok(());
    }
    let skeleton = content.layout.skeleton();
    for family in skeleton.families() {
        let before = family_of(base, family.name());
        for metric in family.metrics() {
            if !others.iter().any(|other| other.has_names_in(metric, key)) {
                continue;
            }
            let labels = series_labels(metric, key.labels());
            if has_series(base, before, &labels) {
                continue;
            }
            for other in &mut others {
                if let Some(group) = other.group_at(&labels, slots)
                    && has_series(group, family_of(group, family.name()), &labels)
                {
                    return Err(Refusal::Series {
                        metric: show_metric(skeleton, &content.values, metric, key.labels()),
                        owner: Arc::clone(group.key()),
                    });
                }
            }
        }
    }
    Ok(())
}

/// A shape of the job's keys that the candidate's key does not have.
struct OtherShape<'a> {
    shape: &'a Shape,
    /// The canonical key that was looked up last, and its group. The next series mostly has the
    /// same values for the names of the shape.
    last_look_up: Option<(LabelSet, Option<Arc<Snapshot>>)>,
}

impl OtherShape<'_> {
    /// Whether a metric of the group of `key` has all names of the shape among its labels.
    fn has_names_in(&self, metric: Metric<'_>, key: &GroupingKey) -> bool {
        self.shape.names().all(|name| {
            key.canonical().get(name).is_some()
                || metric
                    .labels()
                    .any(|(own, _)| escape_label_name(own, Escaping::Underscores) == name)
        })
    }

    /// The group of this shape that can expose a series with these labels.
    fn group_at(&mut self, labels: &SeriesLabels<'_>, slots: &Slots) -> Option<&Snapshot> {
        let value = |name: &str| {
            let label = labels.iter().find(|(label, _)| *label == name);
            label.map(|&(_, value)| value)
        };
        let names = self.shape.names();
        let key: Option<Vec<_>> = names.map(|name| Some((name, value(name)?))).collect();
        let key = LabelSet::new(key?);
        if self
            .last_look_up
            .as_ref()
            .is_none_or(|(last, _)| *last != key)
        {
            let group = slots.group(key.as_bytes());
            self.last_look_up = Some((key, group));
        }
        let (_, group) = self.last_look_up.as_ref()?;
        group.as_deref()
    }
}

/// The family that a group exposes under a name.
fn family_of<'a>(group: &'a Snapshot, name: &str) -> Option<Family<'a>> {
    group.layout().family_by_name(name)
}

/// Whether a group exposes a series with exactly these labels in `family`, one of its families.
fn has_series(group: &Snapshot, family: Option<Family<'_>>, labels: &SeriesLabels<'_>) -> bool {
    let Some(family) = family else { return false };
    let (layout, key) = (group.layout(), group.key());
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

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::super::consumer::Consumer;
    use super::super::layout::Layout;
    use super::super::snapshot::{GroupContent, GroupState};
    use super::*;
    use crate::model::{FamiliesBuilder, MetricFlags, MetricType};

    type Labels<'a> = &'a [(&'a str, &'a str)];

    fn key(labels: Labels<'_>) -> Arc<GroupingKey> {
        let labels = labels.iter().copied().chain([("job", "j")]);
        Arc::new(GroupingKey::new(labels).unwrap())
    }

    /// The layout of one gauge `g` with one series.
    fn layout(key: &GroupingKey, series: Labels<'_>) -> Arc<Layout> {
        let mut builder = FamiliesBuilder::new();
        builder.family("g", MetricType::Gauge, None);
        for (name, value) in series {
            builder.label(name, value);
        }
        builder.value(0);
        builder.end_metric(MetricFlags::default());
        Arc::new(Layout::new(builder.finish().unwrap().skeleton, key).unwrap())
    }

    /// Whether a group with this key may expose the series beside another group with its series.
    fn is_admitted(pushed: (Labels<'_>, Labels<'_>), existing: (Labels<'_>, Labels<'_>)) -> bool {
        let (key, existing_key) = (key(pushed.0), key(existing.0));
        let none = layout(&key, &[]);
        let slots = Slots::new(&[Consumer::Assembler], Arc::clone(&none));
        let slot = slots.find_or_add(&existing_key);
        let existing_layout = layout(&existing_key, existing.1);
        let group = Snapshot::for_test(1, Arc::clone(&existing_key), existing_layout, vec![0], 1);
        assert!(slot.replace(&slot.current_for_update(), Arc::new(group)));
        let shape = Shape::new(existing_key.canonical());
        shape.count_change(GroupState::Absent, GroupState::Accepted);
        let empty = Layout::new(Default::default(), &key).unwrap();
        let candidate = Candidate {
            key: &key,
            base: &Snapshot::without_group(0, Arc::clone(&key), Arc::new(empty)),
            content: &GroupContent::of_values(layout(&key, pushed.1), [0][..].into()),
            state: GroupState::Accepted,
        };
        match check_series(&candidate, &[Arc::new(shape)], &slots) {
            Ok(()) => true,
            Err(refusal) => {
                assert!(matches!(refusal, Refusal::Series { owner, .. } if owner == existing_key));
                false
            }
        }
    }

    #[test]
    fn a_series_is_compared_with_the_group_that_its_labels_lead_to() {
        let l_v: Labels<'_> = &[("l", "v")];
        // The series `g{l="v"}` of the job's own group, and `g` of the group with `l="v"`.
        assert!(!is_admitted((&[], l_v), (l_v, &[])));
        assert!(!is_admitted((l_v, &[]), (&[], l_v)));
        // Other values, other labels, or the own label overwritten by the key.
        assert!(is_admitted((&[], &[("l", "w")]), (l_v, &[])));
        assert!(is_admitted((&[], l_v), (l_v, &[("x", "1")])));
        assert!(is_admitted((&[], &[]), (l_v, &[])));
        assert!(!is_admitted((&[], l_v), (l_v, &[("l", "w")])));
        // Names are compared after escaping, and an empty `instance` counts as none.
        assert!(!is_admitted((&[], &[("l.m", "v")]), (&[("l_m", "v")], &[])));
        assert!(!is_admitted(
            (&[], &[("instance", ""), ("l", "v")]),
            (l_v, &[])
        ));
    }
}
