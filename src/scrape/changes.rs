//! What a round changes: the groups of which slots, and which lines of which families follow from
//! that. The assembler works this out once, and every view rebuilds its pages from it.

use super::catalog::Catalog;
use super::page::FamilyId;
use super::render_plan::RenderPlanId;
use crate::store::Snapshot;
use std::cmp::Ordering;
use std::sync::Arc;

/// A group as the views show it.
pub(super) struct ExposedGroup {
    pub snapshot: Arc<Snapshot>,
    pub plan: RenderPlanId,
}

/// What becomes of the lines of one group in one family: they are rendered again, or removed.
#[derive(Clone, Copy)]
pub(super) struct LineChange {
    /// Which of the changed slots the group is in: an index into [`LineChanges::slots`].
    pub slot_index: u32,
    /// From which source of the group's render plan the lines are rendered (an index into
    /// `RenderPlan::sources`), or [`LineChange::REMOVED`].
    pub source: u32,
}

impl LineChange {
    /// The group has no lines in the family any more.
    pub const REMOVED: u32 = u32::MAX;
}

/// [`LineChanges`] with what is needed to render them. Sorted.
pub(super) struct RoundChanges<'a> {
    pub catalog: &'a Catalog,
    /// By slot: the groups after the round.
    pub groups: &'a [Option<ExposedGroup>],
    /// See [`LineChanges::slots`].
    pub slots: &'a [u32],
    /// See [`LineChanges::by_family`].
    pub by_family: &'a [Vec<LineChange>],
    /// The families that have changes, in the order of their names; and those whose header may have
    /// changed.
    pub families: &'a [FamilyId],
}

impl<'a> RoundChanges<'a> {
    /// The group of a slot after the round; none if there is no group.
    pub fn group(&self, slot: u32) -> Option<&ExposedGroup> {
        self.groups.get(slot as usize).and_then(Option::as_ref)
    }

    /// The changes of a family, in ascending order of slots.
    pub fn lines_of(&self, family: FamilyId) -> &'a [LineChange] {
        &self.by_family[family as usize]
    }

    /// The slot of the group that a change is about.
    pub fn slot_of(&self, line: LineChange) -> u32 {
        self.slots[line.slot_index as usize]
    }

    /// Takes from `families`, which are in the order of their names, those with a name before that
    /// of `limit`; all if there is no limit.
    pub fn families_before(
        &self,
        families: &mut std::iter::Peekable<impl Iterator<Item = FamilyId>>,
        limit: Option<FamilyId>,
    ) -> Vec<FamilyId> {
        let is_before = |id: &FamilyId| {
            limit.is_none_or(|limit| self.catalog.compare(*id, limit) == Ordering::Less)
        };
        std::iter::from_fn(|| families.next_if(is_before)).collect()
    }
}

/// The slots that a round changes, and the lines that follow from that.
#[derive(Default)]
pub(super) struct LineChanges {
    /// The slots that changed, in ascending order.
    pub slots: Vec<u32>,
    /// By family id: the changes of the family, in ascending order of slots.
    pub by_family: Vec<Vec<LineChange>>,
    /// The families that have changes, and those whose header may have changed. Each is there once.
    pub families: Vec<FamilyId>,
}

impl LineChanges {
    /// Adds a change of a family. Changes have to be added in ascending order of slots.
    pub fn add(&mut self, family: FamilyId, line: LineChange) {
        let lines = &mut self.by_family[family as usize];
        if lines.is_empty() {
            self.families.push(family);
        }
        lines.push(line);
    }

    /// Adds a family whose header may have changed, if it has no changes yet.
    pub fn add_header(&mut self, family: FamilyId) {
        if self.by_family[family as usize].is_empty() {
            self.families.push(family);
        }
    }

    /// The empty lists of all families, whose memory the next round uses again.
    pub fn into_empty(mut self) -> Vec<Vec<LineChange>> {
        for &family in &self.families {
            let lines = &mut self.by_family[family as usize];
            // The changes of a whole fleet are megabytes, which most rounds do not need.
            if lines.capacity() > 1024 {
                *lines = Vec::new()
            } else {
                lines.clear()
            }
        }
        self.by_family
    }

    /// Puts the families in the order of their names.
    pub fn sort(&mut self, catalog: &Catalog) {
        self.families
            .sort_unstable_by(|&a, &b| catalog.compare(a, b));
    }

    /// These changes, sorted before, with what is needed to render them.
    pub fn with_groups<'a>(
        &'a self,
        catalog: &'a Catalog,
        groups: &'a [Option<ExposedGroup>],
    ) -> RoundChanges<'a> {
        RoundChanges {
            catalog,
            groups,
            slots: &self.slots,
            by_family: &self.by_family,
            families: &self.families,
        }
    }
}
