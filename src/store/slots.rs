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

/// A consumer that exists, with the slots that it has yet to look at.
struct ConsumerQueue {
    consumer: Consumer,
    marked: Queue<Arc<Slot>>,
}

/// The slots of all groups.
pub(super) struct Slots {
    by_key: Registry<Slot>,
    version: Word,
    /// By the position of the consumer, which is also that of its mark in every slot.
    consumers: Box<[ConsumerQueue]>,
    n_ids: Word,
    /// In bundles, none of them empty: a million ids one by one would be megabytes of queue.
    free_ids: Queue<Vec<u32>>,
    empty: Arc<Layout>,
}

impl Slots {
    /// No slots. Slots without a group have the layout `empty`.
    ///
    /// # Panics
    ///
    /// If `consumers` is empty or names a consumer twice.
    pub fn new(consumers: &[Consumer], empty: Arc<Layout>) -> Self {
        let is_new = |(n, consumer)| !consumers[..n].contains(consumer);
        assert!(
            !consumers.is_empty() && consumers.iter().enumerate().all(is_new),
            "{consumers:?}"
        );
        let queue = |&consumer| ConsumerQueue {
            consumer,
            marked: Queue::default(),
        };
        Self {
            by_key: Registry::default(),
            version: Word::new(0),
            consumers: consumers.iter().map(queue).collect(),
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

    /// Marks a slot for every consumer.
    pub fn mark(&self, slot: &Arc<Slot>) {
        for (queue, mark) in self.consumers.iter().zip(&slot.marks) {
            mark.mark(|| queue.marked.push(Arc::clone(slot)));
        }
    }

    /// The position of a consumer.
    fn position(&self, consumer: Consumer) -> usize {
        let is_it = |queue: &ConsumerQueue| queue.consumer == consumer;
        let position = self.consumers.iter().position(is_it);
        position.expect("the store was made with this consumer")
    }

    fn queue(&self, consumer: Consumer) -> &Queue<Arc<Slot>> {
        &self.consumers[self.position(consumer)].marked
    }

    /// See `Store::take_cut`.
    pub fn take_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        let position = self.position(consumer);
        let marked = &self.consumers[position].marked;
        loop {
            let start = self.version.load();
            let n_marked = marked.len();
            let mut is_cut = true;
            for _ in 0..n_marked {
                let Some(slot) = marked.pop() else { break };
                slot.marks[position].begin_look();
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
    pub fn n_marked(&self, consumer: Consumer) -> usize {
        self.queue(consumer).len()
    }

    /// Whether a slot is marked, or may be.
    pub fn has_marked(&self, consumer: Consumer) -> bool {
        !self.queue(consumer).is_empty()
    }

    /// See `Store::pass_tombstones`.
    pub fn pass_tombstones(&self, consumer: Consumer, passed: &[Arc<Snapshot>]) {
        let bit = 1 << self.position(consumer);
        let mut n_retired = 0;
        for passed in passed.chunks(FREE_IDS_MAX) {
            let free: Vec<u32> = passed
                .iter()
                .filter_map(|passed| self.pass(bit, passed))
                .collect();
            if !free.is_empty() {
                n_retired += free.len();
                self.free_ids.push(free);
            }
        }
        if n_retired >= RETIRED_MANY {
            self.by_key.flush();
        }
    }

    /// Retires the slot of a tombstone if every consumer has passed it, this one included; returns the
    /// number that is free then.
    fn pass(&self, consumer: u64, tombstone: &Arc<Snapshot>) -> Option<u32> {
        let all = (1 << self.consumers.len()) - 1;
        if !tombstone.note_passed(consumer, all) {
            return None;
        }
        let slot = self.find(tombstone.fixed.key.canonical().as_bytes())?;
        let current = slot.current_for_update();
        // Not if a push has come meanwhile. Of two consumers that pass at the same moment one retires
        // the slot.
        if !Arc::ptr_eq(&current, tombstone) || !slot.replace(&current, Arc::new(current.dead())) {
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
