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
use crate::sync::{HoldRequest, Queue, Registry, Word};
use std::collections::HashMap;
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

/// How many passes a cut may take before it stops to wait for values. Mostly one or two are enough.
/// In loom models the first pass is the only one that counts values.
const PASSES_MAX: usize = if cfg!(gateway_loom) { 1 } else { 16 };

/// The slots of all groups.
pub(super) struct Slots {
    by_key: Registry<Slot>,
    /// The version that was drawn last.
    version: Word,
    /// The position of a consumer here is also that of its mark in every slot.
    consumers: Box<[ConsumerQueue]>,
    numbers: SlotNumbers,
    /// Active while a consumer cannot finish its cut, because series change faster than it takes
    /// them.
    series_hold: HoldRequest,
    /// The layout of slots without a group.
    empty: Arc<Layout>,
}

/// Puts changes of series on hold until it is dropped.
struct SeriesHold<'a>(&'a HoldRequest);

impl<'a> SeriesHold<'a> {
    fn begin(request: &'a HoldRequest) -> Self {
        request.begin();
        Self(request)
    }
}

impl Drop for SeriesHold<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
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
            series_hold: HoldRequest::default(),
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
    ///
    /// Takes the marked slots in passes, until no pass has to follow. A pass has to follow one that
    /// took a state newer than its own beginning: a push may have changed its series because another
    /// group gave up a name, and the slot of that group may have been marked too late for the pass.
    ///
    /// That would never end if pushes came faster than slots are taken. So two limits make it end:
    ///
    /// - After [`PASSES_MAX`] passes, a state is not counted as newer if its group was taken before
    ///   in this call and has kept its series since: then the change of series that led to the state
    ///   is older than the beginning of the pass. A push that only brings values contradicts no
    ///   other group. Each group is counted at most once more, until its series change.
    /// - After twice as many passes, changes of series are put on hold. Each thread may complete the
    ///   one change that it has begun. So only finitely many passes follow.
    pub fn take_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        let position = self.position(consumer);
        let n_taken_before = taken.len();
        // By slot number, the index in `taken` of the state that was taken last.
        let mut last_taken: HashMap<u32, usize> = HashMap::new();
        let mut hold = None;
        for n_passes in 0.. {
            let are_values_ignored = n_passes >= PASSES_MAX;
            if n_passes == PASSES_MAX {
                let in_this_call = taken.iter().enumerate().skip(n_taken_before);
                last_taken = in_this_call
                    .map(|(index, taken)| (taken.slot, index))
                    .collect();
            }
            if n_passes == 2 * PASSES_MAX {
                hold = Some(SeriesHold::begin(&self.series_hold));
            }
            let is_harmless = |taken: &[MarkedSlot], slot: u32, snapshot: &Snapshot| {
                last_taken
                    .get(&slot)
                    .is_some_and(|&index| snapshot.has_kept_series_since(&taken[index].snapshot))
            };
            let n_taken = taken.len();
            if self.take_pass(position, taken, is_harmless) {
                break;
            }
            if are_values_ignored {
                let in_this_pass = taken.iter().enumerate().skip(n_taken);
                last_taken.extend(in_this_pass.map(|(index, taken)| (taken.slot, index)));
            }
        }
        drop(hold);
    }

    /// Takes the slots that are marked now. Returns whether no state that was taken is newer than
    /// the beginning of the pass, except for those that `is_harmless`.
    fn take_pass(
        &self,
        position: usize,
        taken: &mut Vec<MarkedSlot>,
        is_harmless: impl Fn(&[MarkedSlot], u32, &Snapshot) -> bool,
    ) -> bool {
        let marked = &self.consumers[position].marked;
        let start = self.version.load();
        let n_marked = marked.len();
        let mut is_cut = true;
        for _ in 0..n_marked {
            let Some(slot) = marked.pop() else { break };
            slot.marks[position].begin_look();
            let snapshot = slot.current();
            // Every consumer has passed the tombstone, this one too. By now the number may belong to
            // another slot.
            if snapshot.is_dead() {
                continue;
            }
            is_cut &= snapshot.version <= start || is_harmless(taken, slot.number, &snapshot);
            taken.push(MarkedSlot {
                slot: slot.number,
                snapshot: Arc::clone(&snapshot),
            });
        }
        is_cut
    }

    /// Whether a consumer asks pushes and deletions not to change series now.
    pub fn is_series_hold_active(&self) -> bool {
        self.series_hold.is_active()
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

    /// A push that changes values comes after every look at the slot: without a limit `take_pass`
    /// would be called for ever.
    #[test]
    fn a_state_is_newer_than_a_pass_unless_its_series_were_taken_before() {
        let slots = slots(&[Assembler]);
        let slot = slots.find_or_add(&key("a"));
        let layout = Arc::new(Layout::new(Skeleton::default(), &key("a")).unwrap());
        let group = |version| Snapshot::for_test(version, key("a"), Arc::clone(&layout), vec![], 1);
        let mut last_taken: Option<Arc<Snapshot>> = None;
        let mut take_pass = |state: Snapshot| {
            let state = Arc::new(state);
            assert!(slot.replace(&slot.current_for_update(), Arc::clone(&state)));
            slots.mark(&slot);
            let is_harmless = |_: &[MarkedSlot], _, snapshot: &Snapshot| {
                let last: Option<&Arc<Snapshot>> = last_taken.as_ref();
                last.is_some_and(|last| snapshot.has_kept_series_since(last))
            };
            let is_cut = slots.take_pass(0, &mut Vec::new(), is_harmless);
            last_taken = Some(state);
            is_cut
        };
        let first = group(1);
        let values = first.with_values(2, Default::default(), 2);
        assert!(!take_pass(first));
        assert!(take_pass(values));
        // The same layout again, but after another state: not shared with the state before.
        assert!(!take_pass(group(3)));
    }

    #[test]
    #[should_panic(expected = "each once")]
    fn a_consumer_is_not_named_twice() {
        slots(&[Assembler, Assembler]);
    }
}
