//! What a round brings to the views.

use super::catalog::{Catalog, RenderPlanId};
use super::page::FamilyId;
use crate::store::Snapshot;
use std::cmp::Ordering;
use std::sync::Arc;

/// A group as it is exposed.
pub(super) struct ExposedGroup {
    pub snapshot: Arc<Snapshot>,
    pub plan: RenderPlanId,
}

/// What a change means for one family: the place in the plan's sources to render from, or that the
/// lines go.
#[derive(Clone, Copy)]
pub(super) struct LineChange {
    pub slot_index: u32,
    pub source: u32,
}

impl LineChange {
    pub const REMOVED: u32 = u32::MAX;
}

/// What a round brings to a view. Items of a family are in ascending order of slots.
pub(super) struct RoundChanges<'a> {
    pub catalog: &'a Catalog,
    /// By slot: what is exposed from now on.
    pub groups: &'a [Option<ExposedGroup>],
    /// The slots that changed.
    pub slots: &'a [u32],
    /// By family id.
    pub by_family: &'a [Vec<LineChange>],
    /// Families that have changes, by name.
    pub families: &'a [FamilyId],
}

impl<'a> RoundChanges<'a> {
    pub fn group(&self, slot: u32) -> Option<&ExposedGroup> {
        self.groups.get(slot as usize).and_then(Option::as_ref)
    }

    pub fn lines_of(&self, family: FamilyId) -> &'a [LineChange] {
        &self.by_family[family as usize]
    }

    pub fn slot_of(&self, line: LineChange) -> u32 {
        self.slots[line.slot_index as usize]
    }

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

/// The lines that a round changes.
#[derive(Default)]
pub(super) struct LineChanges {
    /// The slots that changed.
    pub slots: Vec<u32>,
    /// By family id.
    pub by_family: Vec<Vec<LineChange>>,
    /// Families that have changes.
    pub families: Vec<FamilyId>,
}

impl LineChanges {
    pub fn add(&mut self, family: FamilyId, line: LineChange) {
        let lines = &mut self.by_family[family as usize];
        if lines.is_empty() {
            self.families.push(family);
        }
        lines.push(line);
    }

    /// Empties the list of every family, to be filled by the next round.
    pub fn into_empty(mut self) -> Vec<Vec<LineChange>> {
        for &family in &self.families {
            let lines = &mut self.by_family[family as usize];
            // The changes of a whole fleet are megabytes that the next round does not need.
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
