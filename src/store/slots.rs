//! The slots of all groups: found by key, numbered, marked for consumers, and retired.
//!
//! | field       | written by             | read by             | what it carries            |
//! |-------------|------------------------|---------------------|----------------------------|
//! | `version`   | `draw_version`, AcqRel | `take_cut`, Acquire | claims granted before      |
//! | `consumers` | `mark`                 | `take_cut`          | snapshots published before |
//! | `numbers`   | `pass_tombstones`      | `find_or_add`       | that the old slot is dead  |

use super::consumer::Consumer;
use super::layout::Layout;
use super::slot::Slot;
use super::snapshot::Snapshot;
use crate::model::GroupingKey;
use crate::sync::{Queue, Registry, Word};
use std::sync::Arc;

/// A marked slot as a consumer has found it.
#[derive(Clone, Debug)]
pub struct MarkedSlot {
    /// The number of the slot.
    pub slot: u32,
    /// The state that the group had.
    pub snapshot: Arc<Snapshot>,
}

/// Retiring at least this many slots at once triggers `Registry::flush`: fewer leave little memory
/// behind.
const RETIRED_PER_FLUSH_MIN: usize = 1024;

/// The slots of all groups.
pub(super) struct Slots {
    by_key: Registry<Slot>,
    /// The version that was drawn last.
    version: Word,
    /// The position of a consumer here is also that of its mark in every slot.
    consumers: Box<[ConsumerQueue]>,
    numbers: SlotNumbers,
    /// The layout of slots without a group.
    empty: Arc<Layout>,
}

/// A consumer that exists, with the slots that it has yet to look at.
struct ConsumerQueue {
    consumer: Consumer,
    marked: Queue<Arc<Slot>>,
}

impl Slots {
    /// No slots yet. Slots without a group will have the layout `empty`.
    ///
    /// # Panics
    ///
    /// If `consumers` is empty or names a consumer twice.
    pub fn new(consumers: &[Consumer], empty: Arc<Layout>) -> Self {
        let is_first = |(n, consumer)| !consumers[..n].contains(consumer);
        assert!(
            !consumers.is_empty() && consumers.iter().enumerate().all(is_first),
            "a store has at least one consumer, and each once: {consumers:?}"
        );
        let queue = |&consumer| ConsumerQueue {
            consumer,
            marked: Queue::default(),
        };
        Self {
            by_key: Registry::default(),
            version: Word::new(0),
            consumers: consumers.iter().map(queue).collect(),
            numbers: SlotNumbers::new(),
            empty,
        }
    }

    /// The slot with this canonical key, given as bytes.
    pub fn find(&self, key: &[u8]) -> Option<Arc<Slot>> {
        self.by_key.get(key)
    }

    /// The slot of a key. If there is none, one without a group is added.
    pub fn find_or_add(&self, key: &Arc<GroupingKey>) -> Arc<Slot> {
        let mut number = None;
        let (slot, is_added) = self.by_key.get_or_insert(key.canonical().as_bytes(), || {
            let taken = self.numbers.take();
            number = Some(taken);
            let without_group =
                Snapshot::without_group(0, Arc::clone(key), Arc::clone(&self.empty));
            Slot::new(taken, key, Arc::new(without_group))
        });
        if let (Some(number), false) = (number, is_added) {
            // Another push has added the slot first.
            self.numbers.give_back(vec![number]);
        }
        slot
    }

    /// The group with this canonical key, given as bytes.
    pub fn group(&self, key: &[u8]) -> Option<Arc<Snapshot>> {
        let snapshot = Arc::clone(&self.find(key)?.current());
        snapshot.is_live().then_some(snapshot)
    }

    /// Calls `f` with every slot that is there during the whole call, and perhaps with others.
    pub fn for_each(&self, f: impl FnMut(&Arc<Slot>)) {
        self.by_key.for_each(f);
    }

    /// Removes a dead slot, so that its key gets another one.
    pub fn remove(&self, slot: &Arc<Slot>) {
        self.by_key.remove(slot);
    }

    /// Draws a version, which no state has yet.
    pub fn draw_version(&self) -> u64 {
        self.version.add(1) + 1
    }

    /// Marks a slot for every consumer. Its snapshot is published.
    pub fn mark(&self, slot: &Arc<Slot>) {
        for (queue, mark) in self.consumers.iter().zip(&slot.marks) {
            mark.mark(|| queue.marked.push(Arc::clone(slot)));
        }
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
                // Every consumer has passed the tombstone, this one too. By now the number may
                // belong to another slot.
                if snapshot.is_dead() {
                    continue;
                }
                is_cut &= snapshot.version <= start;
                taken.push(MarkedSlot {
                    slot: slot.number,
                    snapshot: Arc::clone(&snapshot),
                });
            }
            if is_cut {
                return;
            }
        }
    }

    /// See `Store::has_marked`.
    pub fn has_marked(&self, consumer: Consumer) -> bool {
        !self.consumers[self.position(consumer)].marked.is_empty()
    }

    /// See `Store::n_marked`.
    pub fn n_marked(&self, consumer: Consumer) -> usize {
        self.consumers[self.position(consumer)].marked.len()
    }

    /// See `Store::pass_tombstones`.
    pub fn pass_tombstones(&self, consumer: Consumer, passed: &[Arc<Snapshot>]) {
        let bit = 1 << self.position(consumer);
        let mut n_retired = 0;
        for passed in passed.chunks(NUMBERS_PER_BUNDLE_MAX) {
            let free: Vec<u32> = passed
                .iter()
                .filter_map(|tombstone| self.pass(tombstone, bit))
                .collect();
            n_retired += free.len();
            self.numbers.give_back(free);
        }
        if n_retired >= RETIRED_PER_FLUSH_MIN {
            self.by_key.flush();
        }
    }

    /// Notes that a consumer, given by its bit, has passed a tombstone. If every consumer has, the
    /// slot is retired, and its number returned.
    fn pass(&self, tombstone: &Arc<Snapshot>, consumer: u64) -> Option<u32> {
        let all = (1 << self.consumers.len()) - 1;
        if !tombstone.note_passed(consumer, all) {
            return None;
        }
        let slot = self.find(tombstone.key().canonical().as_bytes())?;
        let current = slot.current_for_update();
        // Fails if a push has brought the group again. Then the slot stays.
        if !Arc::ptr_eq(&current, tombstone) || !slot.replace(&current, Arc::new(current.dead())) {
            return None;
        }
        self.remove(&slot);
        Some(slot.number)
    }

    fn position(&self, consumer: Consumer) -> usize {
        let is_it = |queue: &ConsumerQueue| queue.consumer == consumer;
        let position = self.consumers.iter().position(is_it);
        position.expect("the store was made with this consumer")
    }
}

/// Free numbers are kept in bundles of at most this many.
pub(super) const NUMBERS_PER_BUNDLE_MAX: usize = 256;

/// The numbers of slots.
struct SlotNumbers {
    /// How many numbers were ever given out.
    n_used: Word,
    /// Numbers of retired slots, in bundles, none of them empty. One by one a million of them would
    /// be megabytes of queue.
    free: Queue<Vec<u32>>,
}

impl SlotNumbers {
    fn new() -> Self {
        Self {
            n_used: Word::new(0),
            free: Queue::default(),
        }
    }

    /// A number that no slot has: a free one, else the next one.
    fn take(&self) -> u32 {
        if let Some(mut bundle) = self.free.pop() {
            let number = bundle.pop().expect("bundles are not empty");
            self.give_back(bundle);
            return number;
        }
        u32::try_from(self.n_used.add(1)).expect("fewer than 2^32 groups fit into memory")
    }

    /// Makes a bundle of numbers free.
    fn give_back(&self, bundle: Vec<u32>) {
        if !bundle.is_empty() {
            self.free.push(bundle);
        }
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use crate::model::Skeleton;
    use Consumer::{Assembler, DiskWriter};

    fn key(job: &str) -> Arc<GroupingKey> {
        Arc::new(GroupingKey::new([("job", job)]).unwrap())
    }

    fn slots(consumers: &[Consumer]) -> Slots {
        let empty = Layout::new(Skeleton::default(), &key("none")).unwrap();
        Slots::new(consumers, Arc::new(empty))
    }

    /// The numbers of the taken slots, and their snapshots.
    fn take(slots: &Slots, consumer: Consumer) -> (Vec<u32>, Vec<Arc<Snapshot>>) {
        let mut taken = Vec::new();
        slots.take_cut(consumer, &mut taken);
        taken
            .into_iter()
            .map(|taken| (taken.slot, taken.snapshot))
            .unzip()
    }

    #[test]
    fn each_consumer_takes_a_marked_slot_once() {
        let slots = slots(&[DiskWriter, Assembler]);
        let slot = slots.find_or_add(&key("a"));
        slots.mark(&slot);
        slots.mark(&slot);
        assert_eq!(take(&slots, Assembler).0, [0]);
        assert!(!slots.has_marked(Assembler) && slots.has_marked(DiskWriter));
        assert_eq!(take(&slots, DiskWriter).0, [0]);
        assert_eq!(slots.n_marked(DiskWriter), 0);
    }

    #[test]
    fn a_number_is_free_when_every_consumer_has_passed_the_slot() {
        let slots = slots(&[Assembler, DiskWriter]);
        slots.mark(&slots.find_or_add(&key("a")));
        let (_, tombstones) = take(&slots, Assembler);
        slots.pass_tombstones(Assembler, &tombstones);
        slots.pass_tombstones(Assembler, &tombstones);
        assert!(slots.find(key("a").canonical().as_bytes()).is_some());
        assert_eq!(slots.find_or_add(&key("b")).number, 1);
        slots.pass_tombstones(DiskWriter, &take(&slots, DiskWriter).1);
        assert!(slots.find(key("a").canonical().as_bytes()).is_none());
        assert_eq!(slots.find_or_add(&key("c")).number, 0);
    }

    #[test]
    #[should_panic(expected = "each once")]
    fn a_consumer_is_not_named_twice() {
        slots(&[Assembler, Assembler]);
    }
}
