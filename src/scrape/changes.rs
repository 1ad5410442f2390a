//! What a round brings to the views.

use super::catalog::{Catalog, PlanId};
use super::page::FamilyId;
use crate::store::Snapshot;
use std::sync::Arc;

/// A group as it is exposed.
pub(super) struct ExposedGroup {
    pub snapshot: Arc<Snapshot>,
    pub plan: PlanId,
}

/// What a change means for one family: the place in the plan's sources to render from, or that the
/// lines go.
#[derive(Clone, Copy)]
pub(super) struct LineChange {
    pub change: u32,
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
    pub changes: &'a [u32],
    /// By family id.
    pub items: &'a [Vec<LineChange>],
    /// Families that have items, by name.
    pub touched: &'a [FamilyId],
}

impl RoundChanges<'_> {
    pub fn group(&self, slot: u32) -> Option<&ExposedGroup> {
        self.groups.get(slot as usize).and_then(Option::as_ref)
    }
}

/// The lines that a round changes.
#[derive(Default)]
pub(super) struct LineChanges {
    /// The slots that changed.
    pub changes: Vec<u32>,
    /// By family id.
    pub items: Vec<Vec<LineChange>>,
    /// Families that have items.
    pub touched: Vec<FamilyId>,
}

impl LineChanges {
    pub fn add(&mut self, family: FamilyId, item: LineChange) {
        let items = &mut self.items[family as usize];
        if items.is_empty() {
            self.touched.push(family);
        }
        items.push(item);
    }

    /// Puts the families in the order of their names.
    pub fn sort(&mut self, catalog: &Catalog) {
        self.touched
            .sort_unstable_by(|&a, &b| catalog.compare(a, b));
    }

    pub fn input<'a>(
        &'a self,
        catalog: &'a Catalog,
        groups: &'a [Option<ExposedGroup>],
    ) -> RoundChanges<'a> {
        RoundChanges {
            catalog,
            groups,
            changes: &self.changes,
            items: &self.items,
            touched: &self.touched,
        }
    }
}
