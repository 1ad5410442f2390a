//! How a consumer follows the groups of a store.

use super::consumer::Consumer;
use super::groups::Store;
use super::slots::MarkedSlot;
use super::snapshot::Snapshot;
use std::sync::Arc;

impl Store {
    /// Takes the slots that are marked for `consumer` and appends them to `taken`. Together with
    /// what the consumer has taken before they are a cut: the state of all groups at one moment,
    /// which is later than every push and deletion that was answered before the call. A slot may be
    /// taken more than once; the last time counts.
    ///
    /// # Panics
    ///
    /// If the store was not made with this consumer.
    pub fn take_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        self.slots.take_cut(consumer, taken);
    }

    /// Takes a cut as [`take_cut`](Self::take_cut) does, but in a bounded number of steps at the
    /// first attempt: `take_cut` does this when pushes come faster than it takes them. Returns
    /// `false`, and takes nothing, if the other consumer does the same at this moment.
    ///
    /// # Panics
    ///
    /// If the store was not made with this consumer.
    pub fn take_held_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) -> bool {
        self.slots.take_held_cut(consumer, taken)
    }

    /// Whether a slot may be marked for `consumer`. If not, the consumer has taken every push and
    /// deletion that was answered before the call.
    ///
    /// # Panics
    ///
    /// If the store was not made with this consumer.
    pub fn has_marked(&self, consumer: Consumer) -> bool {
        self.slots.has_marked(consumer)
    }

    /// How many slots are marked for `consumer`, approximately.
    ///
    /// # Panics
    ///
    /// If the store was not made with this consumer.
    pub fn n_marked(&self, consumer: Consumer) -> usize {
        self.slots.n_marked(consumer)
    }

    /// The consumer is done with these snapshots of slots without a group: what it keeps shows
    /// none. Each slot that every consumer has passed is retired, unless a push has come meanwhile:
    /// the slot is dead, and its number is free for another group.
    ///
    /// # Panics
    ///
    /// If the store was not made with this consumer.
    pub fn pass_tombstones(&self, consumer: Consumer, passed: &[Arc<Snapshot>]) {
        self.slots.pass_tombstones(consumer, passed);
    }
}
