//! Compares the series of a large push with other groups before the push enters the door of its
//! job, because no other push enters while it is behind the door.
//!
//! Once behind the door, the push looks again only at the groups that its series led to, and
//! compares those that have changed meanwhile.

use super::layout::Layout;
use super::series_labels::series_labels;
use super::shape::Shape;
use super::shared_series::{family_of, has_names_in, has_series, key_of_shape, other_shapes};
use super::slots::Slots;
use super::snapshot::Snapshot;
use crate::model::GroupingKey;
use std::collections::HashMap;
use std::sync::Arc;

/// What a push found when it compared its series with other groups before it entered the door of
/// its job.
///
/// The check is independent of what the own group exposed. So it holds for every attempt of the
/// push that brings the same layout.
#[derive(Debug)]
pub(super) struct EarlySeriesCheck {
    /// The layout whose series were compared.
    layout_id: u64,
    by_shape: Vec<(Arc<Shape>, LookedUp)>,
}

/// The keys of one shape to which the series of a push lead, as bytes. For each key the identity of
/// the group that had it and shares no series with the push; `None` if there was no group, or not
/// the same during the whole check.
type LookedUp = HashMap<Box<[u8]>, Option<GroupIdentity>>;

/// What decides which series a group exposes. Two states of a group with the same identity expose
/// the same series.
#[derive(Debug)]
struct GroupIdentity {
    layout_id: u64,
    key: Arc<GroupingKey>,
}

impl GroupIdentity {
    fn of(group: &Snapshot) -> Self {
        Self {
            layout_id: group.layout().id(),
            key: Arc::clone(group.key()),
        }
    }

    fn is_of(&self, group: &Snapshot) -> bool {
        self.layout_id == group.layout().id() && self.key == *group.key()
    }
}

impl EarlySeriesCheck {
    /// Compares all series of `layout`, pushed to the group of `key`, with those of the job's
    /// groups of other shapes. `None` if another group exposes one of them: then the push decides
    /// behind the door what that means.
    pub fn new(
        key: &GroupingKey,
        layout: &Layout,
        shapes: &[Arc<Shape>],
        slots: &Slots,
    ) -> Option<Self> {
        let mut by_shape = Vec::new();
        for shape in other_shapes(shapes, key, layout, slots) {
            let mut looked_up = LookedUp::new();
            for family in layout.skeleton().families() {
                for metric in family.metrics() {
                    if !has_names_in(shape, metric, key) {
                        continue;
                    }
                    let labels = series_labels(metric, key.labels());
                    let Some(other) = key_of_shape(shape, &labels) else {
                        continue;
                    };
                    let group = slots.group(other.as_bytes());
                    if group.as_deref().is_some_and(|group| {
                        has_series(group, family_of(group, family.name()), &labels)
                    }) {
                        return None;
                    }
                    let known = looked_up.get_mut(other.as_bytes());
                    match (known, group) {
                        (None, group) => {
                            let identity = group.as_deref().map(GroupIdentity::of);
                            looked_up.insert(other.as_bytes().into(), identity);
                        }
                        (Some(None), _) => {}
                        (Some(Some(known)), Some(group)) if known.is_of(&group) => {}
                        // The group has changed between two look-ups, so that not every series was
                        // compared with the same state. It is compared again behind the door if it
                        // exists then.
                        (Some(changed), _) => *changed = None,
                    }
                }
            }
            by_shape.push((Arc::clone(shape), looked_up));
        }
        Some(Self {
            layout_id: layout.id(),
            by_shape,
        })
    }

    /// Whether the series of this layout were compared.
    pub fn is_of(&self, layout: &Layout) -> bool {
        self.layout_id == layout.id()
    }

    /// The groups of `shape` that a series of the push may be in, and whose series have changed
    /// since the check. `None` if the check has not compared groups of this shape.
    pub fn changed_groups(
        &self,
        shape: &Arc<Shape>,
        slots: &Slots,
    ) -> Option<impl Iterator<Item = Arc<Snapshot>>> {
        let (_, looked_up) = self
            .by_shape
            .iter()
            .find(|(known, _)| Arc::ptr_eq(known, shape))?;
        Some(looked_up.iter().filter_map(|(key, identity)| {
            let group = slots.group(key)?;
            let is_same = identity
                .as_ref()
                .is_some_and(|identity| identity.is_of(&group));
            (!is_same).then_some(group)
        }))
    }
}
