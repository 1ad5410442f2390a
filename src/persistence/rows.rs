//! Which rows the state file has.

use crate::store::{MarkedSlot, Snapshot};
use std::collections::HashMap;
use std::sync::Arc;

/// A group in the file.
pub(super) struct WrittenRow {
    pub id: i64,
    pub group: Arc<Snapshot>,
}

/// The rows of the file, by the slots of their groups.
#[derive(Default)]
pub(super) struct Rows {
    pub by_slot: HashMap<u32, WrittenRow, ahash::RandomState>,
    /// The highest id that was ever used.
    id_max: i64,
}

impl Rows {
    /// Notes that the file has this group under this id.
    pub fn note_restored(&mut self, id: i64, slot: &MarkedSlot) {
        self.note_id(id);
        let group = Arc::clone(&slot.snapshot);
        self.by_slot.insert(slot.slot, WrittenRow { id, group });
    }

    /// Notes that this id is used.
    pub fn note_id(&mut self, id: i64) {
        self.id_max = self.id_max.max(id);
    }

    /// The id of the group in this slot; a new one if the file does not have it.
    pub fn id(&mut self, slot: u32) -> i64 {
        self.by_slot.get(&slot).map_or_else(
            || {
                self.id_max += 1;
                self.id_max
            },
            |row| row.id,
        )
    }
}
