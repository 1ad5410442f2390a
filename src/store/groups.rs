//! The store: pushes, deletions and reads of groups.

use super::admission::{Admission, Denied, DoorGuard};
use super::candidate::{Candidate, StructuralChange};
use super::config::Config;
use super::layout::Layout;
use super::push::{MARKERS, Push};
use super::refusal::Refusal;
use super::slot::{ExistingGroup, Slot};
use super::slots::{DrawnVersion, Slots};
use super::snapshot::{GroupContent, GroupState, GroupTimes, Snapshot};
use crate::model::{EncodedLabels, GroupingKey, MetricType, Skeleton};
use crate::sync::Loaded;
use smallvec::SmallVec;
use std::sync::Arc;

/// The result of a push or deletion.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The push or deletion is in effect: every scrape that begins from now on shows it.
    Done,
    /// The push is not in effect. The group's failure time is set, unless the refusal says that the
    /// group cannot be exposed under this key (`KeyNames`, `OtherKey`).
    Refused(Refusal),
    /// Another push in flight is about to decide something that this one depends on. Nothing is
    /// held: yield and try again.
    Busy,
}

/// All groups.
///
/// ```
/// use pushgateway::model::{FamiliesBuilder, GroupingKey, MetricFlags, MetricType};
/// use pushgateway::store::{Config, Outcome, Push, PushMode, Store};
/// use std::sync::Arc;
///
/// let store = Store::new(Config::default());
/// let key = Arc::new(GroupingKey::new([("job", "backup")]).unwrap());
/// let mut families = FamiliesBuilder::new();
/// families.family("duration_seconds", MetricType::Gauge, None);
/// families.value(1.5f64.to_bits());
/// families.end_metric(MetricFlags::default());
/// let received_at = 1_700_000_000_000_000_000;
/// let families = families.finish().unwrap();
/// let mut push = Push::new(Arc::clone(&key), families, PushMode::Replace, received_at);
/// while store.push(&mut push) == Outcome::Busy {
///     std::thread::yield_now();
/// }
/// assert_eq!(store.group(&key).unwrap().push_time, received_at);
/// ```
pub struct Store {
    exposition_bytes_max: u64,
    pub(super) slots: Slots,
    admission: Admission,
    /// The layout of slots without a group.
    empty: Arc<Layout>,
}

/// How one attempt to bring a push or deletion into effect has ended.
pub(super) enum AttemptOutcome {
    Done,
    /// Another push or deletion of the group was faster: look at the group again.
    Lost,
    Busy,
    Refused(Refusal),
}

/// How many attempts in one call may be lost to other pushes before the call returns
/// [`Outcome::Busy`].
const LOST_MAX: usize = 16;

impl Store {
    /// A store without groups.
    ///
    /// # Panics
    ///
    /// If `config` names no consumer, or one of them twice.
    pub fn new(config: Config) -> Self {
        let own_families = config.own_families.iter();
        let pinned = own_families
            .map(|(name, metric_type)| (name.as_str(), *metric_type))
            .chain(MARKERS.map(|name| (name, MetricType::Gauge)));
        let admission = Admission::new(pinned, config.shapes_per_job_max);
        let any_key = GroupingKey::new([("job", "none")]).expect("the key has a job");
        let empty = Layout::new(Skeleton::default(), &any_key);
        let empty = Arc::new(empty.expect("a layout without families has no contradictions"));
        Self {
            exposition_bytes_max: config.exposition_bytes_max,
            slots: Slots::new(&config.consumers, Arc::clone(&empty)),
            admission,
            empty,
        }
    }

    /// The group with exactly these labels as its key, if a push to it was ever accepted. `None` as
    /// well if the group's key is not written as the canonical one.
    pub fn find(&self, key: &EncodedLabels) -> Option<ExistingGroup> {
        let slot = self.slots.find(key.as_bytes())?;
        let base = slot.current_for_update();
        (base.is_accepted() && base.is_canonical()).then_some(ExistingGroup { slot, base })
    }

    /// Brings a push into effect that has all families of `group` in its layout, and nothing but
    /// values. Returns whether the push is in effect: if not, another push or deletion of the group
    /// was faster, and nothing has happened.
    pub fn push_numbers(
        &self,
        group: &ExistingGroup,
        values: SmallVec<[u64; 12]>,
        received_at: i64,
    ) -> bool {
        let ExistingGroup { slot, base } = group;
        let drawn = self.slots.draw_version();
        let next = base.with_values(drawn.version(), values, received_at);
        let attempt = self.publish_values(slot, base, drawn, next);
        matches!(attempt, AttemptOutcome::Done)
    }

    /// The layouts that were pushed to a job lately, newest first.
    pub fn recent_layouts(&self, job: &str) -> SmallVec<[Arc<Layout>; 4]> {
        self.admission
            .door(job)
            .map(|door| door.recent_layouts())
            .unwrap_or_default()
    }

    /// Tries to bring `push` into effect. After [`Outcome::Busy`] call again with the same push.
    pub fn push(&self, push: &mut Push) -> Outcome {
        if let Some(refusal @ Refusal::KeyNames { .. }) = push.refusal() {
            // No failure time: its series would have the invalid names as well.
            return Outcome::Refused(refusal.clone());
        }
        for _ in 0..LOST_MAX {
            let slot = self.slots.find_or_add(push.key());
            let base = slot.current_for_update();
            if base.is_dead() {
                self.slots.remove(&slot);
                continue;
            }
            if base.is_live() && base.key().labels() != push.key().labels() {
                // No failure time: its series would be the one that the existing group exposes.
                if base.is_accepted() {
                    return Outcome::Refused(Refusal::OtherKey {
                        exposed: Arc::clone(base.key()),
                    });
                }
                // The existing group was only made by a refused push. That is no reason to refuse
                // this one; but neither does this one record its failure there.
                if let Some(refusal) = push.refusal() {
                    return Outcome::Refused(refusal.clone());
                }
            }
            let attempt = match push.refusal() {
                None => self.try_push(&slot, &base, push, None),
                Some(refusal) => {
                    match self.record_failure(&slot, &base, push, push.received_at(), None) {
                        AttemptOutcome::Done | AttemptOutcome::Refused(_) => {
                            AttemptOutcome::Refused(refusal.clone())
                        }
                        unfinished => unfinished,
                    }
                }
            };
            let outcome = match attempt {
                AttemptOutcome::Lost => continue,
                AttemptOutcome::Done => return Outcome::Done,
                AttemptOutcome::Busy => Outcome::Busy,
                AttemptOutcome::Refused(refusal) if push.refusal().is_none() => {
                    // The next attempt records the failure.
                    push.refuse(refusal);
                    continue;
                }
                AttemptOutcome::Refused(refusal) => Outcome::Refused(refusal),
            };
            if !base.is_live() {
                // This push may have added the slot, and leaves it without a group. Marked, it is
                // retired by the consumers.
                self.slots.mark(&slot);
            }
            return outcome;
        }
        Outcome::Busy
    }

    /// Does as much of the work of [`push`](Self::push) as possible while nothing is held: makes the
    /// layout, merges a POST with its group, and compares the series with those of other groups.
    ///
    /// For pushes of many series. No other push to the job goes through its door while such a push
    /// is behind it, and the work that is left there is small. A push that is not prepared has the
    /// same outcome.
    pub fn prepare(&self, push: &mut Push) {
        if push.refusal().is_some() {
            return;
        }
        let base = match self.slots.find(push.key().canonical().as_bytes()) {
            Some(slot) => Arc::clone(&slot.current()),
            None => Arc::new(Snapshot::without_group(
                0,
                Arc::clone(push.key()),
                Arc::clone(&self.empty),
            )),
        };
        if base.is_live() && base.key().labels() != push.key().labels() {
            // `push` refuses it.
            return;
        }
        if base.is_accepted()
            && let Some(content) = push.value_only(&base)
        {
            return push.keep_value_only(content);
        }
        let door = self.admission.door(push.key().job());
        match push.content(&base, door.as_deref(), self.exposition_bytes_max) {
            Ok(content) => {
                let early = self.admission.check_series_early(
                    door.as_deref(),
                    push.key(),
                    &content.layout,
                    &self.slots,
                );
                push.set_early_check(early);
            }
            Err(refusal) if !push.is_merge_into(&base) => push.refuse(refusal),
            // The group may have another state when the push is admitted.
            Err(_) => {}
        }
    }

    /// One attempt to bring a push into effect that finds its group at `base`. With `times` the push
    /// is a group that is restored, which gets these times.
    pub(super) fn try_push(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        push: &mut Push,
        times: Option<&GroupTimes>,
    ) -> AttemptOutcome {
        let restored = |next: Snapshot| match times {
            None => next,
            Some(times) => next.with_times(times),
        };
        if base.is_accepted()
            && let Some(content) = push.value_only(base)
        {
            let drawn = self.slots.draw_version();
            let next = Snapshot::after_push(
                base,
                drawn.version(),
                self.shared_key(base, push),
                content,
                push.received_at(),
            );
            return self.publish_values(slot, base, drawn, restored(next));
        }
        let door = self.admission.door(push.key().job());
        let content = match push.content(base, door.as_deref(), self.exposition_bytes_max) {
            Ok(content) => content,
            // If the content depends on what the group has, a refusal counts for its current state
            // only.
            Err(refusal) if !push.is_merge_into(base) || slot.is_still(base) => {
                return AttemptOutcome::Refused(refusal);
            }
            Err(_) => return AttemptOutcome::Lost,
        };
        let Some(mut guard) = self.admission.enter(door, push.key()) else {
            return AttemptOutcome::Busy;
        };
        let layout = Arc::clone(&content.layout);
        let key = self.shared_key(base, push);
        let attempt = self.publish_structure(
            slot,
            base,
            &mut guard,
            StructuralChange {
                state: GroupState::Accepted,
                content,
                early_check: push.early_check(),
            },
            |version, content| {
                let received_at = push.received_at();
                restored(Snapshot::after_push(
                    base,
                    version,
                    key,
                    content,
                    received_at,
                ))
            },
        );
        if let AttemptOutcome::Done = attempt {
            guard.remember(&layout);
        }
        attempt
    }

    /// One attempt to record that a push to the group at `base` was refused, at `failed_at` in
    /// nanoseconds since the epoch. If there is no group one is made that has no families, with the
    /// times `restored` if it is restored.
    pub(super) fn record_failure(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        push: &Push,
        failed_at: i64,
        restored: Option<&GroupTimes>,
    ) -> AttemptOutcome {
        let key = self.shared_key(base, push);
        if base.is_live() {
            let drawn = self.slots.draw_version();
            let next = Snapshot::after_failure(base, drawn.version(), key, None, failed_at);
            return self.publish_values(slot, base, drawn, next);
        }
        let Some(mut guard) = self.admission.enter(None, push.key()) else {
            return AttemptOutcome::Busy;
        };
        let empty = Layout::new(Skeleton::default(), push.key());
        let empty = empty.expect("a layout without families has no contradictions");
        self.publish_structure(
            slot,
            base,
            &mut guard,
            StructuralChange {
                state: GroupState::OnlyRefused,
                content: GroupContent::empty(Arc::new(empty)),
                early_check: None,
            },
            |version, content| {
                let layout = Some(content.layout);
                let next = Snapshot::after_failure(base, version, key, layout, failed_at);
                match restored {
                    Some(times) => next.with_times(times),
                    None => next,
                }
            },
        )
    }

    /// Deletes the group with exactly this key. Done as well if there is none. After
    /// [`Outcome::Busy`] call again. A deletion is never refused.
    pub fn delete(&self, key: &GroupingKey) -> Outcome {
        for _ in 0..LOST_MAX {
            let Some(slot) = self.slots.find(key.canonical().as_bytes()) else {
                return Outcome::Done;
            };
            let base = slot.current_for_update();
            if !base.is_live() || base.key().labels() != key.labels() {
                return Outcome::Done;
            }
            let Some(mut guard) = self.admission.enter(None, base.key()) else {
                return Outcome::Busy;
            };
            match self.publish_structure(
                &slot,
                &base,
                &mut guard,
                StructuralChange {
                    state: GroupState::Absent,
                    content: GroupContent::empty(Arc::clone(&self.empty)),
                    early_check: None,
                },
                |version, _| base.tombstone(version, &self.empty),
            ) {
                AttemptOutcome::Done => return Outcome::Done,
                AttemptOutcome::Lost => {}
                AttemptOutcome::Busy => return Outcome::Busy,
                AttemptOutcome::Refused(_) => unreachable!("a deletion claims nothing new"),
            }
        }
        Outcome::Busy
    }

    /// The group with this key or another one with the same canonical key.
    pub fn group(&self, key: &GroupingKey) -> Option<Arc<Snapshot>> {
        self.slots.group(key.canonical().as_bytes())
    }

    /// How many groups there are. A push or deletion counts before it returns.
    pub fn n_groups(&self) -> u64 {
        self.admission.n_groups()
    }

    /// All groups that exist during the whole call, and perhaps some that are pushed or deleted
    /// meanwhile; in no particular order. Not a cut: each group has the state that it had when it
    /// was read.
    pub fn groups(&self) -> Vec<Arc<Snapshot>> {
        let mut groups = Vec::new();
        self.slots.for_each(|slot| {
            let snapshot = slot.current();
            if snapshot.is_live() {
                groups.push(Arc::clone(&snapshot));
            }
        });
        groups
    }

    /// The key for the next state of the group: that of `base` if it has the same labels, so that a
    /// group does not get another copy with each push.
    fn shared_key(&self, base: &Snapshot, push: &Push) -> Arc<GroupingKey> {
        Arc::clone(if base.key().labels() == push.key().labels() {
            base.key()
        } else {
            push.key()
        })
    }

    /// Publishes a state, made with the version `drawn`, that exposes the same series as `base`.
    #[inline]
    fn publish_values(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        drawn: DrawnVersion,
        mut next: Snapshot,
    ) -> AttemptOutcome {
        self.slots.keep_at_moment(drawn, base, &mut next);
        if !slot.replace(base, Arc::new(next)) {
            return AttemptOutcome::Lost;
        }
        self.slots.mark(slot);
        AttemptOutcome::Done
    }

    /// Publishes a state that may expose other series or types than `base`: those of `change`. From
    /// its version and the content of the change `next` makes the snapshot.
    fn publish_structure(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        guard: &mut DoorGuard<'_>,
        change: StructuralChange<'_>,
        next: impl FnOnce(u64, GroupContent) -> Snapshot,
    ) -> AttemptOutcome {
        let StructuralChange {
            state,
            content,
            early_check,
        } = change;
        let key = guard.key();
        let mut claims = self.admission.claims(key);
        let candidate = Candidate {
            key,
            base,
            content: &content,
            state,
            early_check,
        };
        match self
            .admission
            .admit(&candidate, guard, &mut claims, &self.slots)
        {
            Ok(()) => {
                // After the last claim is granted: what made room for this push has a lower version.
                let drawn = self.slots.draw_version();
                let mut next = next(drawn.version(), content);
                debug_assert_eq!(next.state(), state);
                self.slots.keep_at_moment(drawn, base, &mut next);
                if slot.replace(base, Arc::new(next)) {
                    // Before the claims are settled: a push that is let in by that marks its slot
                    // later.
                    self.slots.mark(slot);
                    claims.settle();
                    guard.note_change(base.state(), state);
                    return AttemptOutcome::Done;
                }
                AttemptOutcome::Lost
            }
            // The conflict may have been with an older state of the own group.
            Err(_) if !slot.is_still(base) => AttemptOutcome::Lost,
            Err(Denied::Busy) => AttemptOutcome::Busy,
            Err(Denied::Refused(refusal)) => AttemptOutcome::Refused(refusal),
        }
    }
}

#[cfg(test)]
mod tests;
