//! A group's place: its current snapshot, and who still has to look at it.
//!
//! Invariant: a push is seen whole or not at all. It builds a new `Snapshot` and swaps it in; whoever holds the old one keeps it
//! until they are done.
//!
//! | field     | written by            | read by              | what it carries                                 |
//! |-----------|-----------------------|----------------------|-------------------------------------------------|
//! | `current` | `replace`, AcqRel     | `current`, Acquire   | the group, or that there is none                |
//! | `marks`   | see `mark.rs`         |                      | whether a consumer has yet to look              |

use super::mark::Mark;
use super::snapshot::Snapshot;
use crate::model::{GroupingKey, LabelSet};
use crate::sync::{Keyed, Loaded, Published};
use std::sync::Arc;

/// The place of one group.
#[derive(Debug)]
pub struct Slot {
    /// Dense, and used again after the slot is gone.
    pub id: u32,
    key: Arc<GroupingKey>,
    current: Published<Snapshot>,
    pub(super) mark: Mark,
}

impl Keyed for Slot {
    type Key = LabelSet;

    fn key(&self) -> &LabelSet {
        self.key.canonical()
    }
}

impl Slot {
    /// A slot without a group.
    pub fn new(id: u32, key: &Arc<GroupingKey>, absent: Arc<Snapshot>) -> Self {
        Self { id, key: Arc::clone(key), current: Published::new(absent), mark: Mark::new() }
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
