//! A group's place: its current snapshot, and who still has to look at it.
//!
//! Invariant: a push is seen whole or not at all. It builds a new `Snapshot` and swaps it in;
//! whoever holds the old one keeps it until they are done.
//!
//! The key lies in the slot itself if it is of usual size: finding a slot among a million is a
//! chain of cache misses, and this is one less.
//!
//! | field     | written by            | read by              | what it carries                                 |
//! |-----------|-----------------------|----------------------|-------------------------------------------------|
//! | `current` | `replace`, AcqRel     | `current`, Acquire   | the group, or that there is none                |
//! | `marks`   | see `mark.rs`         |                      | for each consumer whether it has yet to look    |

use super::consumer::Consumer;
use super::mark::Mark;
use super::snapshot::Snapshot;
use crate::model::GroupingKey;
use crate::sync::{Keyed, Loaded, Published};
use smallvec::SmallVec;
use std::sync::Arc;

/// The place of one group.
#[derive(Debug)]
pub struct Slot {
    /// Dense, and used again after the slot is gone.
    pub id: u32,
    /// The bytes of the canonical labels.
    key: SmallVec<[u8; 40]>,
    current: Published<Snapshot>,
    /// By the position of the consumer in the store.
    pub(super) marks: [Mark; Consumer::N_MAX],
}

impl Keyed for Slot {
    type Key = [u8];

    fn key(&self) -> &[u8] {
        &self.key
    }
}

impl Slot {
    /// A slot without a group.
    pub fn new(id: u32, key: &GroupingKey, absent: Arc<Snapshot>) -> Self {
        Self {
            id,
            key: key.canonical().as_bytes().into(),
            current: Published::new(absent),
            marks: std::array::from_fn(|_| Mark::new()),
        }
    }

    /// The group's snapshot.
    pub fn current(&self) -> Loaded<Snapshot> {
        self.current.load()
    }

    /// The group's snapshot, to be replaced by what follows from it.
    pub fn current_for_update(&self) -> Loaded<Snapshot> {
        self.current.load_for_update()
    }

    /// Publishes `next` if the group is still at `base`.
    pub fn replace(&self, base: &Loaded<Snapshot>, next: Arc<Snapshot>) -> bool {
        self.current.replace(base, next)
    }

    /// Whether the group is still at `base`.
    pub fn is_still(&self, base: &Loaded<Snapshot>) -> bool {
        Arc::ptr_eq(&self.current.load_for_update(), base)
    }
}
