//! Whether another group of the job exposes a series that a push brings.
//!
//! The labels of a grouping key overwrite those of the series. So a series of one group can be the
//! series of a group of another shape, but then of exactly one: the group whose key has, for each
//! name of that shape, the value that the series has. Each series needs one look-up for each shape,
//! unless no series of the push has all label names of the shape.
//!
//! A push of many series makes these look-ups before it enters the door of its job: see
//! `early_series_check`.

use super::candidate::Candidate;
use super::metric_text::show_metric;
use super::refusal::Refusal;
use super::refusal_list::RefusalList;
use super::series_labels::{SeriesLabels, series_labels};
use super::shape::Shape;
use super::shared_series::{
    family_of, find_series, has_names_in, has_series, key_of_shape, other_shapes,
};
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::model::{LabelSet, Metric};
use std::sync::Arc;

/// Compares the series that the candidate adds with those of the job's groups of other shapes. For
/// a push that is alone behind the door of its job; `shapes` are the shapes of the job.
///
/// Adds a [`Refusal::Series`] to `found` for each series that another group exposes, as long as it
/// goes on.
pub(super) fn check_series(
    candidate: &Candidate<'_>,
    shapes: &[Arc<Shape>],
    slots: &Slots,
    found: &mut RefusalList,
) {
    let Candidate {
        key, base, content, ..
    } = *candidate;
    let early = candidate
        .early_check
        .filter(|early| early.is_of(&content.layout));
    let mut others = Vec::new();
    for shape in other_shapes(shapes, key, &content.layout, slots) {
        match early.and_then(|early| early.changed_groups(shape, slots)) {
            Some(changed) => {
                for group in changed {
                    compare_with_group(candidate, &group, found);
                }
            }
            None => others.push(OtherShape {
                shape,
                last_look_up: None,
            }),
        }
    }
    if others.is_empty() {
        return;
    }
    let skeleton = content.layout.skeleton();
    for family in skeleton.families() {
        let before = family_of(base, family.name());
        for metric in family.metrics() {
            if !found.goes_on() {
                return;
            }
            if !others
                .iter()
                .any(|other| has_names_in(other.shape, metric, key))
            {
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
                    found.add(|| refusal_of(candidate, metric, group));
                    break;
                }
            }
        }
    }
}

/// Compares the candidate with one group, along the series of that group.
fn compare_with_group(candidate: &Candidate<'_>, group: &Snapshot, found: &mut RefusalList) {
    let (key, layout) = (candidate.key, &candidate.content.layout);
    for of_group in group.layout().skeleton().families() {
        let Some(family) = layout.family_by_name(of_group.name()) else {
            continue;
        };
        let before = family_of(candidate.base, family.name());
        for metric in of_group.metrics() {
            if !found.goes_on() {
                return;
            }
            let labels = series_labels(metric, group.key().labels());
            if let Some(metric) = find_series(layout, key, family, &labels)
                && !has_series(candidate.base, before, &labels)
            {
                found.add(|| refusal_of(candidate, metric, group));
            }
        }
    }
}

/// The refusal of a candidate whose series `metric` is one of `group`.
fn refusal_of(candidate: &Candidate<'_>, metric: Metric<'_>, group: &Snapshot) -> Refusal {
    let (key, content) = (candidate.key, candidate.content);
    Refusal::Series {
        metric: show_metric(
            content.layout.skeleton(),
            &content.values,
            metric,
            key.labels(),
        ),
        owner: Arc::clone(group.key()),
    }
}

/// A shape of the job's keys that the candidate's key does not have.
struct OtherShape<'a> {
    shape: &'a Shape,
    /// The canonical key that was looked up last, and its group. The next series mostly has the
    /// same values for the names of the shape.
    last_look_up: Option<(LabelSet, Option<Arc<Snapshot>>)>,
}

impl OtherShape<'_> {
    /// The group of this shape that can expose a series with these labels.
    fn group_at(&mut self, labels: &SeriesLabels<'_>, slots: &Slots) -> Option<&Snapshot> {
        let key = key_of_shape(self.shape, labels)?;
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

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::super::consumer::Consumer;
    use super::super::early_series_check::EarlySeriesCheck;
    use super::super::layout::Layout;
    use super::super::snapshot::{GroupContent, GroupState};
    use super::*;
    use crate::model::{FamiliesBuilder, GroupingKey, MetricFlags, MetricType};

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
            early_check: None,
        };
        let shapes = [Arc::new(shape)];
        let is_admitted = |candidate: &Candidate<'_>| {
            let mut found = RefusalList::default();
            check_series(candidate, &shapes, &slots, &mut found);
            match found.into_result() {
                Ok(()) => true,
                Err(refusal) => {
                    let is_of = |owner: &Arc<GroupingKey>| *owner == existing_key;
                    assert!(matches!(refusal, Refusal::Series { owner, .. } if is_of(&owner)));
                    false
                }
            }
        };
        let without_early_check = is_admitted(&candidate);
        // The early check finds the same, also if the group comes, goes or changes after it.
        let pushed = &candidate.content.layout;
        let early = EarlySeriesCheck::new(&key, pushed, &shapes, &slots);
        assert_eq!(early.is_some(), without_early_check);
        let publish = |snapshot| assert!(slot.replace(&slot.current_for_update(), snapshot));
        let unrelated = layout(&existing_key, &[("unrelated", "1")]);
        let other_state = Snapshot::for_test(2, Arc::clone(&existing_key), unrelated, vec![0], 1);
        let state = Arc::clone(&slot.current());
        let absent = Snapshot::without_group(3, Arc::clone(&existing_key), none);
        for early_state in [Arc::new(other_state), Arc::new(absent)] {
            publish(early_state);
            let early = EarlySeriesCheck::new(&key, pushed, &shapes, &slots);
            publish(Arc::clone(&state));
            let with_early_check = is_admitted(&Candidate {
                early_check: early.as_ref(),
                ..candidate
            });
            assert_eq!(with_early_check, without_early_check);
        }
        without_early_check
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
