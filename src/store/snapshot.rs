//! One state of a group.
//!
//! Invariant: a snapshot never changes after it is published, except that a state without a group
//! notes which consumers have passed it.
//!
//! While a consumer holds a moment (see `slots`), a new state keeps the state that its group had at
//! that moment: [`Snapshot::at_moment`].

use super::layout::Layout;
use crate::model::{GroupingKey, MetricExtra};
use crate::sync::Word;
use smallvec::SmallVec;
use std::sync::Arc;

/// Whether there is a group.
#[derive(Debug)]
enum SnapshotKind {
    /// There is one.
    Live {
        /// The state of the group at the moment that a consumer held when this one was made.
        at_moment: Option<Arc<Snapshot>>,
    },
    /// There is none: a push has not brought it yet, or it was deleted. A push may bring it.
    Absent(Box<Absence>),
    /// There is none, and the slot is not used any more: the key has to be looked up again.
    Dead,
}

impl SnapshotKind {
    const LIVE: Self = Self::Live { at_moment: None };

    fn absent() -> Self {
        Self::Absent(Box::new(Absence {
            passed_by: Word::new(0),
            at_moment: None,
        }))
    }
}

/// What a state without a group has beside its version. In a box, so that groups do not pay for it.
#[derive(Debug)]
struct Absence {
    /// A bit for each consumer that has passed this state. Nothing else of a snapshot changes
    /// after it is published.
    passed_by: Word,
    /// As in `SnapshotKind::Live`.
    at_moment: Option<Arc<Snapshot>>,
}

/// What there is under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupState {
    /// No group.
    Absent,
    /// A group that has never had an accepted push: it exposes only when its last push failed.
    OnlyRefused,
    /// A group that has had an accepted push.
    Accepted,
}

/// What stays the same of a group from push to push.
///
/// The snapshots of one group share it. So a push that only brings values counts one reference
/// here, which pushes to other groups do not touch, instead of one to the key and one to the shared
/// layout.
#[derive(Debug)]
struct KeyAndLayout {
    /// The key as the push wrote it.
    key: Arc<GroupingKey>,
    /// Families, types, helps and labels.
    layout: Arc<Layout>,
    /// Whether the key is written in its canonical form.
    is_canonical: bool,
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

/// One state of a group, or of a slot without a group.
#[derive(Debug)]
pub struct Snapshot {
    kind: SnapshotKind,
    /// Drawn from one counter of the store: of two states of a group the later one has the higher
    /// version. 0 for a slot that has never had a group.
    pub version: u64,
    key_and_layout: Arc<KeyAndLayout>,
    /// The values in the layout's order: see `model::Families`.
    pub values: SmallVec<[u64; 12]>,
    /// What the text format cannot carry, encoded as protobuf.
    pub extras: Box<[MetricExtra]>,
    /// When the last accepted push was received, in nanoseconds since the epoch; 0 for never.
    pub push_time: i64,
    /// When the last refused push was received, in nanoseconds since the epoch; 0 for never.
    pub failure_time: i64,
    /// When the push was received, accepted or refused, that made the group; as above.
    pub first_time: i64,
    /// When each family was pushed, in the layout's order; `None` if all were at `push_time`.
    family_times: Option<Box<[i64]>>,
}

/// When a group was pushed: what a group that is restored has beside its content. All times are
/// nanoseconds since the epoch; 0 stands for never.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTimes {
    /// See [`Snapshot::push_time`].
    pub push_time: i64,
    /// See [`Snapshot::failure_time`].
    pub failure_time: i64,
    /// See [`Snapshot::first_time`].
    pub first_time: i64,
    /// When each family was pushed, in the order of the families; `None` if all were at
    /// `push_time`.
    pub family_times: Option<Box<[i64]>>,
}

/// The part of a snapshot that a push determines.
#[derive(Clone, Debug)]
pub struct GroupContent {
    /// Families, types, helps and labels.
    pub layout: Arc<Layout>,
    /// The values in the layout's order.
    pub values: SmallVec<[u64; 12]>,
    /// What the text format cannot carry.
    pub extras: Box<[MetricExtra]>,
    /// When each family was pushed, in the layout's order; `None` if all were with this push.
    pub family_times: Option<Box<[i64]>>,
}

impl GroupContent {
    /// No families; `layout` has none.
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
    /// The group at `base` after an accepted push.
    pub fn after_push(
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
        let key_and_layout = base.key_and_layout_with(key, layout);
        // If only refused pushes made the group at `base`, this push may write the key in another
        // way. Then it makes a new group, which does not keep the times.
        let goes_on = base.is_live() && base.key().labels() == key_and_layout.key.labels();
        let (failure_time, first_time) = if goes_on {
            (base.failure_time, base.first_time)
        } else {
            (0, received_at)
        };
        Self {
            kind: SnapshotKind::LIVE,
            version,
            key_and_layout,
            values,
            extras,
            push_time: received_at,
            failure_time,
            first_time,
            family_times,
        }
    }

    /// A key and layout for the next state: shared with this one if they are the same.
    fn key_and_layout_with(&self, key: Arc<GroupingKey>, layout: Arc<Layout>) -> Arc<KeyAndLayout> {
        if Arc::ptr_eq(self.key(), &key) && Arc::ptr_eq(self.layout(), &layout) {
            Arc::clone(&self.key_and_layout)
        } else {
            KeyAndLayout::new(key, layout)
        }
    }

    /// The group after an accepted push of all its families in its layout, with nothing that the
    /// text format cannot carry.
    pub fn with_values(&self, version: u64, values: SmallVec<[u64; 12]>, received_at: i64) -> Self {
        Self {
            kind: SnapshotKind::LIVE,
            version,
            key_and_layout: Arc::clone(&self.key_and_layout),
            values,
            extras: Box::default(),
            push_time: received_at,
            failure_time: self.failure_time,
            first_time: self.first_time,
            family_times: None,
        }
    }

    /// The group at `base` after a refused push. If there is none yet, `empty` is the layout of the
    /// one that is made.
    pub fn after_failure(
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
        let mut next = Self::after_push(base, version, key, content, received_at);
        next.push_time = if is_live { base.push_time } else { 0 };
        next.failure_time = received_at;
        next
    }

    /// The same state with the times of a group that is restored.
    pub(super) fn with_times(mut self, times: &GroupTimes) -> Self {
        self.push_time = times.push_time;
        self.failure_time = times.failure_time;
        self.first_time = times.first_time;
        self.family_times.clone_from(&times.family_times);
        self
    }

    /// The times of the group.
    pub fn times(&self) -> GroupTimes {
        GroupTimes {
            push_time: self.push_time,
            failure_time: self.failure_time,
            first_time: self.first_time,
            family_times: self.family_times.clone(),
        }
    }

    /// A slot without a group. `layout` has no families.
    pub fn without_group(version: u64, key: Arc<GroupingKey>, layout: Arc<Layout>) -> Self {
        Self {
            kind: SnapshotKind::absent(),
            version,
            key_and_layout: KeyAndLayout::new(key, layout),
            values: SmallVec::new(),
            extras: Box::default(),
            push_time: 0,
            failure_time: 0,
            first_time: 0,
            family_times: None,
        }
    }

    /// The slot after the deletion of its group. It has the layout `empty`, so that a tombstone
    /// that waits for its consumers does not keep the group's own layout in memory.
    pub fn tombstone(&self, version: u64, empty: &Arc<Layout>) -> Self {
        Self::without_group(version, Arc::clone(self.key()), Arc::clone(empty))
    }

    /// The slot when it is not used any more.
    pub fn dead(&self) -> Self {
        Self {
            kind: SnapshotKind::Dead,
            ..Self::without_group(
                self.version,
                Arc::clone(self.key()),
                Arc::clone(self.layout()),
            )
        }
    }

    /// Notes that a consumer has passed this state without a group. `consumer` is the consumer's
    /// bit, `all` the bits of all consumers; returns whether all of them have passed it.
    pub(super) fn note_passed(&self, consumer: u64, all: u64) -> bool {
        match &self.kind {
            // A read-modify-write: of consumers that pass at the same moment one sees the bits of
            // all. Its acquire pairs with the release of the others' `set_bits`: what they did with
            // the tombstone comes before the slot's number is used again.
            SnapshotKind::Absent(absence) => absence.passed_by.set_bits(consumer) | consumer == all,
            SnapshotKind::Live { .. } | SnapshotKind::Dead => false,
        }
    }

    /// The state that the group had at the moment that a consumer holds, if this one was made after
    /// it. See `slots`.
    pub(super) fn at_moment(&self) -> Option<&Arc<Self>> {
        match &self.kind {
            SnapshotKind::Live { at_moment } => at_moment.as_ref(),
            SnapshotKind::Absent(absence) => absence.at_moment.as_ref(),
            SnapshotKind::Dead => None,
        }
    }

    /// Keeps `state`, which the group had at the moment that a consumer holds.
    ///
    /// This state keeps it in memory, but not what it keeps itself: otherwise a group that is only
    /// pushed during such moments would keep every state that it ever had.
    pub(super) fn keep_at_moment(&mut self, state: &Arc<Self>) {
        let state = if state.at_moment().is_some() {
            state.without_moment()
        } else {
            Arc::clone(state)
        };
        match &mut self.kind {
            SnapshotKind::Live { at_moment } => *at_moment = Some(state),
            SnapshotKind::Absent(absence) => absence.at_moment = Some(state),
            SnapshotKind::Dead => {}
        }
    }

    /// The same state, which keeps no other.
    fn without_moment(&self) -> Arc<Self> {
        let key_and_layout = Arc::clone(&self.key_and_layout);
        let kind = match &self.kind {
            SnapshotKind::Live { .. } => SnapshotKind::LIVE,
            SnapshotKind::Absent(_) | SnapshotKind::Dead => SnapshotKind::absent(),
        };
        Arc::new(Self {
            kind,
            key_and_layout,
            values: self.values.clone(),
            extras: self.extras.clone(),
            family_times: self.family_times.clone(),
            ..*self
        })
    }

    fn content(&self) -> GroupContent {
        let (layout, values, extras) = (
            Arc::clone(self.layout()),
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

    /// The key, as the push wrote it that made the group.
    #[inline]
    pub fn key(&self) -> &Arc<GroupingKey> {
        &self.key_and_layout.key
    }

    /// Families with names, types, helps and labels of series. A slot without a group has a layout
    /// without families.
    #[inline]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.key_and_layout.layout
    }

    /// Whether the key is written in its canonical form.
    #[inline]
    pub(super) fn is_canonical(&self) -> bool {
        self.key_and_layout.is_canonical
    }

    /// Whether both snapshots have the same layout in memory: then their values lie in the same
    /// places. Snapshots of one group mostly share the key as well, and then nothing of `other` but
    /// the snapshot itself is read.
    #[inline]
    pub fn has_layout_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.key_and_layout, &other.key_and_layout)
            || Arc::ptr_eq(self.layout(), other.layout())
    }

    /// Whether there is a group.
    pub fn is_live(&self) -> bool {
        matches!(self.kind, SnapshotKind::Live { .. })
    }

    /// Whether there is a group that has had an accepted push.
    pub fn is_accepted(&self) -> bool {
        self.is_live() && self.push_time != 0
    }

    /// What there is.
    pub fn state(&self) -> GroupState {
        match (self.is_live(), self.is_accepted()) {
            (false, _) => GroupState::Absent,
            (true, false) => GroupState::OnlyRefused,
            (true, true) => GroupState::Accepted,
        }
    }

    /// Whether the slot is not used any more.
    pub fn is_dead(&self) -> bool {
        matches!(self.kind, SnapshotKind::Dead)
    }

    /// When each family was pushed, in the layout's order; none if all were at `push_time`.
    pub fn family_times(&self) -> Option<&[i64]> {
        self.family_times.as_deref()
    }

    /// When the family at `index` of the layout was pushed, in nanoseconds since the epoch.
    pub fn family_time(&self, index: usize) -> i64 {
        self.family_times
            .as_ref()
            .map_or(self.push_time, |times| times[index])
    }

    /// A group after one push, for tests of modules that read snapshots.
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
        Self::after_push(
            &Self::without_group(0, Arc::clone(&key), layout),
            version,
            key,
            content,
            push_time,
        )
    }
}
