//! One state of a group.

use super::layout::Layout;
use crate::model::{GroupingKey, MetricExtra};
use crate::sync::Word;
use smallvec::SmallVec;
use std::sync::Arc;

/// Whether there is a group.
#[derive(Debug)]
enum SnapshotKind {
    /// There is one.
    Live,
    /// There is none: a push has not brought it yet, or it was deleted. A push may bring it.
    Absent {
        /// A bit for each consumer that has passed this state. Nothing else of a snapshot changes after
        /// it is published.
        passed_by: Word,
    },
    /// There is none, and the slot is not used any more: the key has to be looked up again.
    Dead,
}

/// What becomes of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// There is none.
    Absent,
    /// There is one, to which no push was ever accepted.
    OnlyRefused,
    /// There is one, with what a push brought.
    Accepted,
}

/// What stays the same of a group from push to push, shared by its snapshots alone: a push that
/// only brings numbers counts a reference here, and none that other groups count, too.
#[derive(Debug)]
pub struct KeyAndLayout {
    /// The key as the push wrote it.
    pub key: Arc<GroupingKey>,
    /// Families, types, helps and labels.
    pub layout: Arc<Layout>,
    /// Whether the key is written as the canonical one.
    pub is_canonical: bool,
}

impl KeyAndLayout {
    fn new(key: Arc<GroupingKey>, layout: Arc<Layout>) -> Arc<Self> {
        let is_canonical = key.is_canonical();
        Arc::new(Self {
            key,
            layout,
            is_canonical,
        })
    }
}

/// One immutable state of a group.
#[derive(Debug)]
pub struct Snapshot {
    kind: SnapshotKind,
    /// Drawn from one counter for the whole store: later states have higher ones.
    pub version: u64,
    /// Key and layout.
    pub fixed: Arc<KeyAndLayout>,
    /// The numbers in the layout's order: see `model::Families`.
    pub values: SmallVec<[u64; 12]>,
    /// What the text format cannot carry.
    pub extras: Box<[MetricExtra]>,
    /// When the last accepted push came, in nanoseconds since the epoch; 0 for never.
    pub push_time: i64,
    /// When the last refused push came, in nanoseconds since the epoch; 0 for never.
    pub failure_time: i64,
    /// When the first push came, accepted or refused, that made the group.
    pub first_time: i64,
    /// When each family was pushed, in the layout's order, where that was not always at
    /// `push_time`.
    family_times: Option<Box<[i64]>>,
}

/// The part of a snapshot that a push brings.
#[derive(Clone, Debug)]
pub struct GroupContent {
    /// Families, types, helps and labels.
    pub layout: Arc<Layout>,
    /// The numbers.
    pub values: SmallVec<[u64; 12]>,
    /// What the text format cannot carry.
    pub extras: Box<[MetricExtra]>,
    /// When each family was pushed, where that was not always at the push's time.
    pub family_times: Option<Box<[i64]>>,
}

impl GroupContent {
    /// No families at all.
    pub fn empty(layout: Arc<Layout>) -> Self {
        Self::of_values(layout, SmallVec::new())
    }

    /// Values of a layout, all pushed at once, and nothing that the text format cannot carry.
    pub fn of_values(layout: Arc<Layout>, values: SmallVec<[u64; 12]>) -> Self {
        Self {
            layout,
            values,
            extras: Box::default(),
            family_times: None,
        }
    }
}

impl Snapshot {
    /// A group after an accepted push.
    pub fn pushed(
        base: &Self,
        version: u64,
        key: Arc<GroupingKey>,
        content: GroupContent,
        received_at: i64,
    ) -> Self {
        let GroupContent {
            layout,
            values,
            extras,
            family_times,
        } = content;
        let fixed = Self::fixed(base, key, layout);
        // A group that was only ever refused may have had its key written otherwise: then it was
        // another one.
        let goes_on = base.is_live() && base.fixed.key.labels() == fixed.key.labels();
        let (failure_time, first_time) = if goes_on {
            (base.failure_time, base.first_time)
        } else {
            (0, received_at)
        };
        Self {
            kind: SnapshotKind::Live,
            version,
            fixed,
            values,
            extras,
            push_time: received_at,
            failure_time,
            first_time,
            family_times,
        }
    }

    fn fixed(base: &Self, key: Arc<GroupingKey>, layout: Arc<Layout>) -> Arc<KeyAndLayout> {
        let is_same =
            Arc::ptr_eq(&base.fixed.key, &key) && Arc::ptr_eq(&base.fixed.layout, &layout);
        if is_same {
            Arc::clone(&base.fixed)
        } else {
            KeyAndLayout::new(key, layout)
        }
    }

    /// A live group after a push of all its families that only brought other numbers, and nothing
    /// that the text format cannot carry.
    pub fn with_numbers(
        &self,
        version: u64,
        values: SmallVec<[u64; 12]>,
        received_at: i64,
    ) -> Self {
        Self {
            kind: SnapshotKind::Live,
            version,
            fixed: Arc::clone(&self.fixed),
            values,
            extras: Box::default(),
            push_time: received_at,
            failure_time: self.failure_time,
            first_time: self.first_time,
            family_times: None,
        }
    }

    /// A group after a refused push; `empty` is the layout of a group that the push has made.
    pub fn failed(
        base: &Self,
        version: u64,
        key: Arc<GroupingKey>,
        empty: Option<Arc<Layout>>,
        received_at: i64,
    ) -> Self {
        let content = match empty {
            Some(layout) => GroupContent::empty(layout),
            None => base.content(),
        };
        let is_live = base.is_live();
        let mut next = Self::pushed(base, version, key, content, received_at);
        next.push_time = if is_live { base.push_time } else { 0 };
        next.failure_time = received_at;
        next
    }

    /// No group. `version` is 0 for a slot that never had one.
    pub fn absent(version: u64, key: Arc<GroupingKey>, layout: Arc<Layout>) -> Self {
        Self {
            kind: SnapshotKind::Absent {
                passed_by: Word::new(0),
            },
            version,
            fixed: KeyAndLayout::new(key, layout),
            values: SmallVec::new(),
            extras: Box::default(),
            push_time: 0,
            failure_time: 0,
            first_time: 0,
            family_times: None,
        }
    }

    /// The group of this snapshot is deleted. The tombstone has the layout `empty`: tombstones may
    /// wait long to be looked at.
    pub fn tombstone(&self, version: u64, empty: &Arc<Layout>) -> Self {
        Self::absent(version, Arc::clone(&self.fixed.key), Arc::clone(empty))
    }

    /// The slot is not used any more.
    pub fn dead(&self) -> Self {
        let fixed = &self.fixed;
        Self {
            kind: SnapshotKind::Dead,
            ..Self::absent(
                self.version,
                Arc::clone(&fixed.key),
                Arc::clone(&fixed.layout),
            )
        }
    }

    /// Notes that a consumer, given as a bit, has passed this state without a group. Returns whether
    /// all consumers have, `all` being the bits of all.
    pub(super) fn note_passed(&self, consumer: u64, all: u64) -> bool {
        match &self.kind {
            // The consumer that completes the bits acquires what the others did before they passed.
            SnapshotKind::Absent { passed_by } => passed_by.set_bits(consumer) | consumer == all,
            SnapshotKind::Live | SnapshotKind::Dead => false,
        }
    }

    fn content(&self) -> GroupContent {
        let (layout, values, extras) = (
            Arc::clone(&self.fixed.layout),
            self.values.clone(),
            self.extras.clone(),
        );
        GroupContent {
            layout,
            values,
            extras,
            family_times: self.family_times.clone(),
        }
    }

    /// Whether there is a group.
    pub fn is_live(&self) -> bool {
        matches!(self.kind, SnapshotKind::Live)
    }

    /// Whether there is a group, and a push to it was ever accepted.
    pub fn is_accepted(&self) -> bool {
        self.is_live() && self.push_time != 0
    }

    /// What has become of the group.
    pub fn state(&self) -> GroupState {
        match (self.is_live(), self.is_accepted()) {
            (false, _) => GroupState::Absent,
            (true, false) => GroupState::OnlyRefused,
            (true, true) => GroupState::Accepted,
        }
    }

    /// Whether its slot is not used any more.
    pub fn is_dead(&self) -> bool {
        matches!(self.kind, SnapshotKind::Dead)
    }

    /// When the family at `index` of the layout was pushed, in nanoseconds since the epoch.
    pub fn family_time(&self, index: usize) -> i64 {
        self.family_times
            .as_ref()
            .map_or(self.push_time, |times| times[index])
    }

    /// A live snapshot, for tests of what is made from snapshots.
    #[cfg(test)]
    pub fn for_test(
        version: u64,
        key: Arc<GroupingKey>,
        layout: Arc<Layout>,
        values: Vec<u64>,
        push_time: i64,
    ) -> Self {
        let content = GroupContent {
            values: values.into(),
            ..GroupContent::empty(Arc::clone(&layout))
        };
        Self::pushed(
            &Self::absent(0, Arc::clone(&key), layout),
            version,
            key,
            content,
            push_time,
        )
    }
}
