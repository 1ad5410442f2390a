//! The place of one group: its current snapshot, and which consumers have yet to look at it.
//!
//! Invariant: a push is seen completely or not at all. It makes a new `Snapshot` and replaces the
//! pointer; a reader that has loaded the old snapshot keeps it alive until it is done.
//!
//! | field     | written by        | read by             | what it carries                  |
//! |-----------|-------------------|---------------------|----------------------------------|
//! | `current` | `replace`, AcqRel | all others, Acquire | the group, or that there is none |
//! | `marks`   | see `mark`        | see `mark`          | that a consumer has yet to look  |

use super::consumer::Consumer;
use super::mark::Mark;
use super::snapshot::Snapshot;
use crate::model::GroupingKey;
use crate::sync::{Keyed, Loaded, Published};
use smallvec::SmallVec;
use std::sync::Arc;

/// The place of one group.
#[derive(Debug)]
pub(super) struct Slot {
    /// Numbers are dense. After the slot is retired its number is used again.
    pub number: u32,
    /// The canonical labels as bytes. Up to 40 bytes, as most keys have, lie in the slot itself:
    /// finding one slot among a million is a chain of cache misses, and this saves one of them.
    key: SmallVec<[u8; 40]>,
    current: Published<Snapshot>,
    /// By the position of the consumer in the store.
    pub marks: [Mark; Consumer::N_MAX],
}

impl Keyed for Slot {
    type Key = [u8];

    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Slot {
    /// A slot without a group.
    pub fn new(number: u32, key: &GroupingKey, without_group: Arc<Snapshot>) -> Self {
        Self {
            number,
            key: key.canonical().as_bytes().into(),
            current: Published::new(without_group),
            marks: std::array::from_fn(|_| Mark::new()),
        }
    }

    /// The current snapshot.
    pub fn current(&self) -> Loaded<Snapshot> {
        self.current.load()
    }

    /// The current snapshot, to be replaced by one that follows from it.
    pub fn current_for_update(&self) -> Loaded<Snapshot> {
        self.current.load_for_update()
    }

    /// Publishes `next` if `base` is still current; returns whether it was. This is the moment at
    /// which a push or deletion becomes visible.
    pub fn replace(&self, base: &Loaded<Snapshot>, next: Arc<Snapshot>) -> bool {
        self.current.replace(base, next)
    }

    /// Whether `base` is still current.
    pub fn is_still(&self, base: &Loaded<Snapshot>) -> bool {
        Arc::ptr_eq(&self.current.load_for_update(), base)
    }
}

/// A group that existed when it was looked up for a push whose body is not parsed yet.
///
/// Most pushes have the layout of the push before, so that their values can be read along its form:
/// see [`Store::push_numbers`](super::Store::push_numbers).
pub struct ExistingGroup {
    pub(super) slot: Arc<Slot>,
    pub(super) base: Loaded<Snapshot>,
}

impl ExistingGroup {
    /// The state that the group had.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.base
    }
}
