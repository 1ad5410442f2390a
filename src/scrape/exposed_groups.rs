//! The groups that the views show, and which lines change when a round brings new snapshots.

use super::builders::Builders;
use super::catalog::Catalog;
use super::changes::{ExposedGroup, LineChange, LineChanges};
use crate::store::{MarkedSlot, Snapshot};
use std::sync::Arc;

/// Cost of comparing two snapshots, as bytes of work for [`Builders::map`].
const COMPARE_WORK_BYTES: usize = 100;

/// What a new snapshot of a group has in common with the one that the views show.
#[derive(Clone, Copy)]
pub(super) struct SnapshotDifference {
    /// Both have the same layout, and so the same render plan.
    has_same_layout: bool,
    /// If so: for each of the first [`SnapshotDifference::N_SOURCES`] sources of the plan one bit,
    /// set if both snapshots expose the same numbers there.
    same: u64,
}

impl SnapshotDifference {
    /// How many sources have a bit. Those of longer plans are compared when the lines are noted.
    const N_SOURCES: usize = u64::BITS as usize;
    /// The layouts differ, or there is only one snapshot.
    const OTHER_LAYOUT: Self = Self {
        has_same_layout: false,
        same: 0,
    };

    /// Whether both snapshots expose the same numbers at a source of the plan; none if the source
    /// has no bit.
    fn is_same(self, position: u32) -> Option<bool> {
        (position < Self::N_SOURCES as u32).then(|| self.same >> position & 1 == 1)
    }
}

/// The groups that the views show.
#[derive(Default)]
pub(super) struct ExposedGroups {
    /// By slot. Slots behind the end have no group.
    pub by_slot: Vec<Option<ExposedGroup>>,
    pub n_groups: u64,
    /// Lines of the text format, those of the push times included.
    pub n_samples: u64,
}

impl ExposedGroups {
    /// Frees the memory of the slots at the end if most of them have no group any more.
    pub fn shrink(&mut self) {
        let n_slots = self
            .by_slot
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        self.by_slot.truncate(n_slots);
        if n_slots < self.by_slot.capacity() / 4 {
            self.by_slot.shrink_to(n_slots * 2);
        }
    }

    /// Compares each taken snapshot with the one that the views show. Runs on all threads, because
    /// reading two snapshots of every group is mostly waiting for memory.
    pub fn differences(
        &self,
        taken: &[MarkedSlot],
        catalog: &Catalog,
        builders: &Builders,
    ) -> Vec<SnapshotDifference> {
        let difference = |taken: &MarkedSlot| {
            let old = self
                .by_slot
                .get(taken.slot as usize)
                .and_then(Option::as_ref);
            let Some(old) = old.filter(|_| taken.snapshot.is_live()) else {
                return SnapshotDifference::OTHER_LAYOUT;
            };
            if !old.snapshot.has_layout_of(&taken.snapshot) {
                return SnapshotDifference::OTHER_LAYOUT;
            }
            let sources = &catalog.plan(old.plan).sources;
            let mut same = 0;
            for (position, (_, source)) in sources
                .iter()
                .enumerate()
                .take(SnapshotDifference::N_SOURCES)
            {
                same |= u64::from(source.is_same(&old.snapshot, &taken.snapshot)) << position;
            }
            SnapshotDifference {
                has_same_layout: true,
                same,
            }
        };
        builders.map(
            taken,
            taken.len() * COMPARE_WORK_BYTES,
            |taken| taken.slot,
            difference,
        )
    }

    /// Replaces the group of a slot by the snapshot taken, and adds to `lines` what changes in
    /// which families. Slots have to come in ascending order.
    ///
    /// `difference` is what [`ExposedGroups::differences`] found out about this snapshot. `n_left`
    /// is how many snapshots of this round are left, this one included. Returns the snapshot
    /// that was replaced.
    pub fn replace_group(
        &mut self,
        taken: MarkedSlot,
        difference: SnapshotDifference,
        n_left: usize,
        catalog: &mut Catalog,
        lines: &mut LineChanges,
    ) -> Option<Arc<Snapshot>> {
        let index = taken.slot as usize;
        if self.by_slot.len() <= index {
            self.by_slot.resize_with(index + 1, || None);
        }
        let slot_index = u32::try_from(lines.slots.len()).expect("slot numbers have 32 bits");
        if let Some(group) = self.by_slot[index]
            .as_mut()
            .filter(|_| difference.has_same_layout)
        {
            if Arc::ptr_eq(&group.snapshot, &taken.snapshot) {
                return None;
            }
            lines.slots.push(taken.slot);
            let plan = catalog.plan(group.plan);
            for (position, (family, source)) in (0..).zip(&plan.sources) {
                if !difference
                    .is_same(position)
                    .unwrap_or_else(|| source.is_same(&group.snapshot, &taken.snapshot))
                {
                    let changes_of_family = &mut lines.by_family[*family as usize];
                    if changes_of_family.is_empty() {
                        lines.families.push(*family);
                        // If a whole fleet was pushed, all groups of this plan are about to follow.
                        let n_of_plan = usize::try_from(plan.n_groups).unwrap_or(usize::MAX);
                        changes_of_family.reserve(n_left.min(n_of_plan));
                    }
                    changes_of_family.push(LineChange {
                        slot_index,
                        source: position,
                    });
                }
            }
            return Some(std::mem::replace(&mut group.snapshot, taken.snapshot));
        }
        let old = self.by_slot[index].take();
        let new = taken
            .snapshot
            .is_live()
            .then(|| catalog.acquire_plan(&taken.snapshot));
        lines
            .by_family
            .resize_with(catalog.n_family_ids(), Vec::new);
        let old_plan = old.as_ref().map(|old| catalog.plan(old.plan));
        let new_plan = new.map(|plan| catalog.plan(plan));
        if let Some(old_plan) = old_plan {
            for (family, _) in &old_plan.sources {
                if new_plan.is_none_or(|new_plan| !new_plan.has(*family)) {
                    lines.add(
                        *family,
                        LineChange {
                            slot_index,
                            source: LineChange::REMOVED,
                        },
                    );
                }
            }
            self.n_groups -= 1;
            self.n_samples -= old_plan.n_samples;
        }
        if let Some(new_plan) = new_plan {
            for (position, (family, _)) in (0..).zip(&new_plan.sources) {
                lines.add(
                    *family,
                    LineChange {
                        slot_index,
                        source: position,
                    },
                );
            }
            self.n_groups += 1;
            self.n_samples += new_plan.n_samples;
        }
        let old = old.map(|old| {
            catalog.release_plan(old.plan);
            old.snapshot
        });
        self.by_slot[index] = new.map(|plan| ExposedGroup {
            snapshot: taken.snapshot,
            plan,
        });
        lines.slots.push(taken.slot);
        old
    }

    /// Every line of every group, for a view that is built from nothing.
    pub fn all_lines(&self, catalog: &Catalog) -> LineChanges {
        let mut lines = LineChanges::default();
        lines
            .by_family
            .resize_with(catalog.n_family_ids(), Vec::new);
        for (slot, group) in (0..).zip(&self.by_slot) {
            let Some(group) = group else { continue };
            let slot_index = u32::try_from(lines.slots.len()).expect("slot numbers have 32 bits");
            for (source, (family, _)) in (0..).zip(&catalog.plan(group.plan).sources) {
                lines.add(*family, LineChange { slot_index, source });
            }
            lines.slots.push(slot);
        }
        lines.sort(catalog);
        lines
    }
}
