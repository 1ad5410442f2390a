//! The slots of all groups: found by key, numbered, marked for consumers, and retired.
//!
//! | field        | written by             | read by             | what it carries              |
//! |--------------|------------------------|---------------------|------------------------------|
//! | `version`    | `draw_version`, AcqRel | `take_cut`, Acquire | claims granted before        |
//! |              | `HeldMoment`, AcqRel   | `draw_version`      | `moment_min`                 |
//! | `moment_min` | `HeldMoment`, AcqRel   | `keep_at_moment`    | nothing                      |
//! | `is_held`    | `HeldMoment`, AcqRel   | `HeldMoment`        | that the moment before ended |
//! | `consumers`  | `mark`                 | `take_cut`          | snapshots published before   |
//! | `numbers`    | `pass_tombstones`      | `find_or_add`       | that the old slot is dead    |
//!
//! # Two ways to take a cut
//!
//! A consumer takes the marked slots in passes, and has a cut when a pass has taken no state that is
//! newer than the start of the pass. Pushes do nothing for that. But if many cores push, states may
//! become new faster than one consumer takes them, and then there is no last pass.
//!
//! So after [`PASSES_MAX`] passes the consumer *holds a moment*: it sets the lowest bit of the version
//! counter. A push that draws its version while the bit is set keeps, beside its new state, the state
//! that its group had at that moment. One more pass then finds for each slot the state of the moment,
//! however fast pushes come, and no push waits for it. A push that draws its version at another time
//! pays for this with the test of one bit.

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

impl MarkedSlot {
    fn new(slot: &Slot, snapshot: &Arc<Snapshot>) -> Self {
        Self {
            slot: slot.number,
            snapshot: Arc::clone(snapshot),
        }
    }
}

/// Retiring at least this many slots at once triggers `Registry::flush`: fewer leave little memory
/// behind.
const RETIRED_PER_FLUSH_MIN: usize = 1024;

/// The slots of all groups.
pub(super) struct Slots {
    by_key: Registry<Slot>,
    /// Twice the version that was drawn last; odd while a consumer holds a moment.
    version: Word,
    /// A version that was drawn before the held moment, and after the one held before it ended.
    moment_min: Word,
    /// 1 while a consumer holds a moment: only one can at a time.
    is_held: Word,
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
            moment_min: Word::new(0),
            is_held: Word::new(0),
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
    #[inline]
    pub fn draw_version(&self) -> DrawnVersion {
        DrawnVersion(self.version.add(VERSION) + VERSION)
    }

    /// Prepares `next`, made with the version `drawn`, for being published in place of `base`: if a
    /// consumer holds a moment, `next` keeps the state that the group had then.
    #[inline]
    pub fn keep_at_moment(&self, drawn: DrawnVersion, base: &Arc<Snapshot>, next: &mut Snapshot) {
        if drawn.is_moment_held() {
            self.keep_at_held_moment(base, next);
        }
    }

    #[cold]
    fn keep_at_held_moment(&self, base: &Arc<Snapshot>, next: &mut Snapshot) {
        // Whether `base` was made while this moment was held: only then does it keep a state and is
        // newer than `moment_min`, which is itself newer than every moment before.
        //
        // Another moment may be held by now, if this thread was suspended after it drew its version.
        // That does no harm: this version is older than that moment, so its consumer takes `next`
        // itself, or finds it kept by a newer state.
        match base.at_moment() {
            Some(state) if base.version > self.moment_min.load() => next.keep_at_moment(state),
            _ => next.keep_at_moment(base),
        }
    }

    /// Marks a slot for every consumer. Its snapshot is published.
    pub fn mark(&self, slot: &Arc<Slot>) {
        for (queue, mark) in self.consumers.iter().zip(&slot.marks) {
            mark.mark(|| queue.marked.push(Arc::clone(slot)));
        }
    }

    /// See `Store::take_cut`.
    pub fn take_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        let mut n_passes = 0;
        loop {
            if self.take_pass(consumer, taken) {
                return;
            }
            n_passes += 1;
            if n_passes >= PASSES_MAX && self.take_held_cut(consumer, taken) {
                return;
            }
        }
    }

    /// Takes what is marked, once. Returns whether that was a cut.
    fn take_pass(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) -> bool {
        let start = self.version.load() / VERSION;
        let mut is_cut = true;
        self.take_marked(consumer, |slot, snapshot| {
            is_cut &= snapshot.version <= start;
            taken.push(MarkedSlot::new(slot, snapshot));
        });
        is_cut
    }

    /// Holds a moment and takes a cut of it in one pass. Returns `false`, and takes nothing, if the
    /// other consumer holds a moment.
    pub fn take_held_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) -> bool {
        let Some(moment) = HeldMoment::begin(self) else {
            return false;
        };
        moment.take(consumer, taken);
        true
    }

    /// Takes as many slots from the consumer's queue as are in it at the call, and calls `f` with
    /// each and its current state.
    fn take_marked(&self, consumer: Consumer, mut f: impl FnMut(&Arc<Slot>, &Arc<Snapshot>)) {
        let position = self.position(consumer);
        let marked = &self.consumers[position].marked;
        for _ in 0..marked.len() {
            let Some(slot) = marked.pop() else { break };
            slot.marks[position].begin_look();
            let snapshot = slot.current();
            // Every consumer has passed the tombstone, this one too. By now the number may belong
            // to another slot.
            if !snapshot.is_dead() {
                f(&slot, &snapshot);
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

/// A version as `Slots::draw_version` has drawn it.
#[derive(Clone, Copy, Debug)]
pub(super) struct DrawnVersion(u64);

impl DrawnVersion {
    /// The version.
    #[inline]
    pub fn version(self) -> u64 {
        self.0 / VERSION
    }

    /// Whether a consumer held a moment when the version was drawn.
    #[inline]
    fn is_moment_held(self) -> bool {
        !self.0.is_multiple_of(VERSION)
    }
}

/// By how much drawing a version increases the counter, whose lowest bit says whether a consumer
/// holds a moment.
const VERSION: u64 = 2;

/// After this many passes without a cut the consumer holds a moment. One or two passes are usual.
const PASSES_MAX: usize = 16;

/// A moment held by a consumer. See the description of this file.
struct HeldMoment<'a> {
    slots: &'a Slots,
    /// The version that was drawn last before the moment.
    version: u64,
}

impl<'a> HeldMoment<'a> {
    /// Holds the present moment; `None` if another consumer holds one.
    fn begin(slots: &'a Slots) -> Option<Self> {
        if !slots.is_held.replace(0, 1) {
            return None;
        }
        let min = slots.version.load() / VERSION;
        let Ok(_) = slots
            .moment_min
            .update::<std::convert::Infallible>(|_| Ok(min));
        // This sets the bit. It releases `moment_min` to everybody who draws a version from now on,
        // and acquires the marks of everybody who has drawn one and settled a claim since.
        let version = slots.version.add(1) / VERSION;
        Some(Self { slots, version })
    }

    /// Takes what is marked for `consumer`, as it was at the moment.
    fn take(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        let position = self.slots.position(consumer);
        let marked = &self.slots.consumers[position].marked;
        self.slots.take_marked(consumer, |slot, current| {
            if current.version <= self.version {
                taken.push(MarkedSlot::new(slot, current));
                return;
            }
            // The look has taken the mark of the push that came after the moment.
            slot.marks[position].mark(|| marked.push(Arc::clone(slot)));
            let state = current.at_moment();
            let state = state.expect("a state that is newer than a held moment keeps an older one");
            taken.push(MarkedSlot::new(slot, state));
        });
    }
}

impl Drop for HeldMoment<'_> {
    fn drop(&mut self) {
        // Clears the bit, by passing over one version.
        self.slots.version.add(1);
        self.slots.is_held.replace(1, 0);
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
mod tests;
