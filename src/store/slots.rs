//! The slots of all groups: found by key, numbered, marked for consumers, and retired.

use super::consumer::Consumer;
use super::layout::Layout;
use super::slot::Slot;
use super::snapshot::Snapshot;
use crate::model::GroupingKey;
use crate::sync::{Queue, Registry, Word};
use std::sync::Arc;

/// A marked slot as a consumer found it.
#[derive(Clone, Debug)]
pub struct MarkedSlot {
    /// The slot's number.
    pub slot: u32,
    /// The group.
    pub snapshot: Arc<Snapshot>,
}

/// Numbers of slots that are free are kept in bundles of up to so many.
pub(super) const FREE_IDS_MAX: usize = 256;
/// So many groups that went leave memory behind that is worth looking for.
const RETIRED_MANY: usize = 1024;

/// The slots of all groups.
pub(super) struct Slots {
    by_key: Registry<Slot>,
    version: Word,
    marked: Queue<Arc<Slot>>,
    n_ids: Word,
    /// In bundles, none of them empty: a million ids one by one would be megabytes of queue.
    free_ids: Queue<Vec<u32>>,
    empty: Arc<Layout>,
}

impl Slots {
    /// No slots. Slots without a group have the layout `empty`.
    pub fn new(empty: Arc<Layout>) -> Self {
        Self {
            by_key: Registry::default(),
            version: Word::new(0),
            marked: Queue::default(),
            n_ids: Word::new(0),
            free_ids: Queue::default(),
            empty,
        }
    }

    /// The slot with this canonical key, as bytes.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Slot>> {
        self.by_key.get(key)
    }

    /// The slot of a key; a new one has no group.
    pub fn find_or_add(&self, key: &Arc<GroupingKey>) -> Arc<Slot> {
        let mut id = None;
        let (slot, is_new) = self.by_key.get_or_insert(key.canonical().as_bytes(), || {
            let new = self.free_id().unwrap_or_else(|| {
                u32::try_from(self.n_ids.add(1)).expect("fewer than 2^32 groups fit into memory")
            });
            id = Some(new);
            Slot::new(
                new,
                key,
                Arc::new(Snapshot::absent(
                    0,
                    Arc::clone(key),
                    Arc::clone(&self.empty),
                )),
            )
        });
        if let (Some(id), false) = (id, is_new) {
            self.free_ids.push(vec![id]);
        }
        slot
    }

    /// The group with this canonical key, as bytes.
    pub fn group(&self, key: &[u8]) -> Option<Arc<Snapshot>> {
        let snapshot = Arc::clone(&self.find(key)?.current());
        snapshot.is_live().then_some(snapshot)
    }

    /// Calls `f` with every slot that is there all the while, and perhaps with others.
    pub fn for_each(&self, f: impl FnMut(&Arc<Slot>)) {
        self.by_key.for_each(f);
    }

    /// Removes a dead slot.
    pub fn remove(&self, slot: &Arc<Slot>) {
        self.by_key.remove(slot);
    }

    /// A version for the next state of a group.
    pub fn draw_version(&self) -> u64 {
        self.version.add(1) + 1
    }

    /// Marks a slot for the consumer.
    pub fn mark(&self, slot: &Arc<Slot>) {
        slot.mark.mark(|| self.marked.push(Arc::clone(slot)));
    }

    /// See `Store::take_cut`.
    pub fn take_cut(&self, _: Consumer, taken: &mut Vec<MarkedSlot>) {
        loop {
            let start = self.version.load();
            let n_marked = self.marked.len();
            let mut is_cut = true;
            for _ in 0..n_marked {
                let Some(slot) = self.marked.pop() else { break };
                slot.mark.begin_look();
                let snapshot = slot.current();
                // The consumer has passed the tombstone, and the number may belong to another slot
                // by now.
                if snapshot.is_dead() {
                    continue;
                }
                is_cut &= snapshot.version <= start;
                taken.push(MarkedSlot {
                    slot: slot.id,
                    snapshot: Arc::clone(&snapshot),
                });
            }
            if is_cut {
                return;
            }
        }
    }

    /// How many slots are marked, about.
    pub fn n_marked(&self, _: Consumer) -> usize {
        self.marked.len()
    }

    /// Whether a slot is marked, or may be.
    pub fn has_marked(&self, _: Consumer) -> bool {
        !self.marked.is_empty()
    }

    /// See `Store::retire`.
    pub fn retire(&self, _: Consumer, passed: &[Arc<Snapshot>]) {
        for passed in passed.chunks(FREE_IDS_MAX) {
            let free: Vec<u32> = passed
                .iter()
                .filter_map(|passed| self.retire_one(passed))
                .collect();
            if !free.is_empty() {
                self.free_ids.push(free);
            }
        }
        if passed.len() >= RETIRED_MANY {
            self.by_key.flush();
        }
    }

    fn retire_one(&self, passed: &Arc<Snapshot>) -> Option<u32> {
        let slot = self.find(passed.fixed.key.canonical().as_bytes())?;
        let current = slot.current_for_update();
        if current.is_live()
            || !Arc::ptr_eq(&current, passed)
            || !slot.replace(&current, Arc::new(current.dead()))
        {
            return None;
        }
        self.remove(&slot);
        Some(slot.id)
    }

    fn free_id(&self) -> Option<u32> {
        let mut ids = self.free_ids.pop()?;
        let id = ids.pop();
        if !ids.is_empty() {
            self.free_ids.push(ids);
        }
        id
    }
}
