//! All groups: how pushes and deletions take effect, and what consumers take.

use super::admission::{Admission, Denied, DoorGuard};
use super::candidate::Candidate;
use super::consumer::Consumer;
use super::layout::Layout;
use super::push::{MARKERS, Push};
use super::refusal::Refusal;
use super::slot::Slot;
use super::slots::{MarkedSlot, Slots};
use super::snapshot::{GroupContent, GroupState, Snapshot};
use crate::model::{GroupingKey, LabelBytes, MetricType, Skeleton};
use crate::sync::Loaded;
use smallvec::SmallVec;
use std::sync::Arc;

/// A group that was there when a push to it was looked at, before its body is parsed: most pushes
/// are like the last one.
pub struct ExistingGroup {
    slot: Arc<Slot>,
    base: Loaded<Snapshot>,
}

impl ExistingGroup {
    /// The group as it was found.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.base
    }
}

/// What became of a push.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is in effect: every scrape from now on shows it.
    Done,
    /// It is not, and the group's failure time says so.
    Refused(Refusal),
    /// Somebody else is about to decide what it depends on. It holds nothing: yield and try again.
    Busy,
}

/// Limits and the names that are taken.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many sets of grouping label names the groups of one job may have.
    pub shapes_per_job_max: usize,
    /// Bytes of text that a group may be exposed with, names and labels not escaped. Up to 256 MiB:
    /// escaped it may be up to ten times as much, and what makes expositions has offsets of 32
    /// bits.
    pub exposition_bytes_max: u64,
    /// The gateway's own families.
    pub own_families: Vec<(String, MetricType)>,
    /// Who follows the state of all groups: at least one, none twice. Each of them has to take what
    /// is marked for it and to pass the tombstones, else memory grows.
    pub consumers: Vec<Consumer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shapes_per_job_max: 64,
            exposition_bytes_max: 64 << 20,
            own_families: Vec::new(),
            consumers: vec![Consumer::Assembler],
        }
    }
}

/// All groups.
pub struct Store {
    exposition_bytes_max: u64,
    slots: Slots,
    admission: Admission,
    empty: Arc<Layout>,
}

/// How one attempt ended.
enum AttemptOutcome {
    Done,
    /// Somebody else was faster: look again.
    Lost,
    Busy,
    Refused(Refusal),
}

/// Attempts of one call that others may win; after that many the caller yields.
const LOST_MAX: usize = 16;

impl Store {
    /// An empty store.
    pub fn new(config: Config) -> Self {
        let own_families = config.own_families.iter();
        let pinned = own_families
            .map(|(name, metric_type)| (name.as_str(), *metric_type))
            .chain(MARKERS.map(|name| (name, MetricType::Gauge)));
        let admission = Admission::new(pinned, config.shapes_per_job_max);
        let any_key = GroupingKey::new([("job", "none")]).expect("it has a job");
        let empty = Arc::new(
            Layout::new(Skeleton::default(), &any_key).expect("nothing contradicts nothing"),
        );
        Self {
            exposition_bytes_max: config.exposition_bytes_max,
            slots: Slots::new(&config.consumers, Arc::clone(&empty)),
            admission,
            empty,
        }
    }

    /// The group with exactly this key, if a push to it was ever accepted. Not found is one whose
    /// key is not canonical.
    pub fn find(&self, key: &LabelBytes) -> Option<ExistingGroup> {
        let slot = self.slots.find(key.as_bytes())?;
        let base = slot.current_for_update();
        (base.is_accepted() && base.fixed.is_canonical).then_some(ExistingGroup { slot, base })
    }

    /// Brings a push into effect that has all families of the group as it was found, in its layout,
    /// and only other numbers. Returns whether it did: if not, somebody else was faster, and
    /// nothing has happened.
    pub fn push_numbers(
        &self,
        found: &ExistingGroup,
        values: SmallVec<[u64; 12]>,
        received_at: i64,
    ) -> bool {
        let next = found
            .base
            .with_numbers(self.slots.draw_version(), values, received_at);
        matches!(
            self.publish_values(&found.slot, &found.base, next),
            AttemptOutcome::Done
        )
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
            // Even the group's failure time would have the label twice.
            return Outcome::Refused(refusal.clone());
        }
        for _ in 0..LOST_MAX {
            let slot = self.slots.find_or_add(push.key());
            let base = slot.current_for_update();
            if base.is_dead() {
                self.slots.remove(&slot);
                continue;
            }
            if base.is_live() && base.fixed.key.labels() != push.key().labels() {
                // No failure time for the refused group: its series would be those of the group
                // that is there.
                if base.is_accepted() {
                    return Outcome::Refused(Refusal::OtherKey {
                        exposed: Arc::clone(&base.fixed.key),
                    });
                }
                // That group only exists because a push was refused, which is no reason to refuse
                // another one.
                if let Some(refusal) = push.refusal() {
                    return Outcome::Refused(refusal.clone());
                }
            }
            let attempt = match push.refusal() {
                None => self.attempt(&slot, &base, push),
                Some(refusal) => match self.note_failure(&slot, &base, push) {
                    AttemptOutcome::Done | AttemptOutcome::Refused(_) => {
                        AttemptOutcome::Refused(refusal.clone())
                    }
                    unfinished => unfinished,
                },
            };
            let outcome = match attempt {
                AttemptOutcome::Lost => continue,
                AttemptOutcome::Done => return Outcome::Done,
                AttemptOutcome::Busy => Outcome::Busy,
                AttemptOutcome::Refused(refusal) if push.refusal().is_none() => {
                    // The next attempt records that the push has failed.
                    push.refuse(refusal);
                    continue;
                }
                AttemptOutcome::Refused(refusal) => Outcome::Refused(refusal),
            };
            if !base.is_live() {
                // A slot that may stay without a group: the consumer that looks at it removes it.
                self.slots.mark(&slot);
            }
            return outcome;
        }
        Outcome::Busy
    }

    fn attempt(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        push: &mut Push,
    ) -> AttemptOutcome {
        if base.is_accepted()
            && let Some(content) = push.value_only(base)
        {
            let next = Snapshot::pushed(
                base,
                self.slots.draw_version(),
                self.shared_key(base, push),
                content,
                push.received_at(),
            );
            return self.publish_values(slot, base, next);
        }
        let door = self.admission.door(push.key().job());
        let content = match push.content(base, door.as_deref(), self.exposition_bytes_max) {
            Ok(content) => content,
            // What contradicts what the group has must contradict its current state.
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
            GroupState::Accepted,
            content,
            |version, content| Snapshot::pushed(base, version, key, content, push.received_at()),
        );
        if let AttemptOutcome::Done = attempt {
            guard.remember(&layout);
        }
        attempt
    }

    /// The failure time says that a push was refused.
    fn note_failure(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        push: &Push,
    ) -> AttemptOutcome {
        let (key, received_at) = (self.shared_key(base, push), push.received_at());
        if base.is_live() {
            return self.publish_values(
                slot,
                base,
                Snapshot::failed(base, self.slots.draw_version(), key, None, received_at),
            );
        }
        let Some(mut guard) = self.admission.enter(None, push.key()) else {
            return AttemptOutcome::Busy;
        };
        let empty =
            Layout::new(Skeleton::default(), push.key()).expect("no family contradicts nothing");
        self.publish_structure(
            slot,
            base,
            &mut guard,
            GroupState::OnlyRefused,
            GroupContent::empty(Arc::new(empty)),
            |version, content| {
                Snapshot::failed(base, version, key, Some(content.layout), received_at)
            },
        )
    }

    /// Deletes the group with exactly this key, if there is one. After [`Outcome::Busy`] call
    /// again.
    pub fn delete(&self, key: &GroupingKey) -> Outcome {
        for _ in 0..LOST_MAX {
            let Some(slot) = self.slots.find(key.canonical().as_bytes()) else {
                return Outcome::Done;
            };
            let base = slot.current_for_update();
            if !base.is_live() || base.fixed.key.labels() != key.labels() {
                return Outcome::Done;
            }
            let Some(mut guard) = self.admission.enter(None, &base.fixed.key) else {
                return Outcome::Busy;
            };
            let nothing = GroupContent::empty(Arc::clone(&self.empty));
            match self.publish_structure(
                &slot,
                &base,
                &mut guard,
                GroupState::Absent,
                nothing,
                |version, _| base.tombstone(version, &self.empty),
            ) {
                AttemptOutcome::Done => return Outcome::Done,
                AttemptOutcome::Lost => {}
                AttemptOutcome::Busy => return Outcome::Busy,
                AttemptOutcome::Refused(_) => unreachable!("a deletion contradicts nothing"),
            }
        }
        Outcome::Busy
    }

    /// The group with this key in any way to write it.
    pub fn group(&self, key: &GroupingKey) -> Option<Arc<Snapshot>> {
        self.slots.group(key.canonical().as_bytes())
    }

    /// The groups that are there all the while, in no order, each as it is when it is come to.
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

    /// Takes the marked slots, again and again, until none of them is newer than the beginning of
    /// this pass: together with what was taken before, that is the state of all groups at one
    /// moment. A slot may stand in `taken` more than once; the last one is the newest.
    pub fn take_cut(&self, consumer: Consumer, taken: &mut Vec<MarkedSlot>) {
        self.slots.take_cut(consumer, taken);
    }

    /// Whether a slot is marked, or may be.
    pub fn has_marked(&self, consumer: Consumer) -> bool {
        self.slots.has_marked(consumer)
    }

    /// How many slots are marked, about.
    pub fn n_marked(&self, consumer: Consumer) -> usize {
        self.slots.n_marked(consumer)
    }

    /// The consumer is done with these snapshots of groups that are no more. The slot of each that
    /// every consumer has passed is retired, if no push has come meanwhile: its number is free for
    /// another group.
    pub fn pass_tombstones(&self, consumer: Consumer, passed: &[Arc<Snapshot>]) {
        self.slots.pass_tombstones(consumer, passed);
    }

    /// The key of a group that is there is kept, rather than one copy a push.
    fn shared_key(&self, base: &Snapshot, push: &Push) -> Arc<GroupingKey> {
        Arc::clone(if base.fixed.key.labels() == push.key().labels() {
            &base.fixed.key
        } else {
            push.key()
        })
    }

    /// Publishes a state that exposes the same series as `base`.
    fn publish_values(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        next: Snapshot,
    ) -> AttemptOutcome {
        if !slot.replace(base, Arc::new(next)) {
            return AttemptOutcome::Lost;
        }
        self.slots.mark(slot);
        AttemptOutcome::Done
    }

    /// Publishes a state that may expose other series or types than `base`: those of `content`. It
    /// is what the group `becomes`.
    fn publish_structure(
        &self,
        slot: &Arc<Slot>,
        base: &Loaded<Snapshot>,
        guard: &mut DoorGuard<'_>,
        becomes: GroupState,
        content: GroupContent,
        next: impl FnOnce(u64, GroupContent) -> Snapshot,
    ) -> AttemptOutcome {
        let key = guard.key();
        let mut claims = self.admission.claims(key);
        let candidate = Candidate {
            key,
            base,
            content: &content,
            state: becomes,
        };
        match self
            .admission
            .admit(&candidate, guard, &mut claims, &self.slots)
        {
            Ok(()) => {
                // Drawn after the last claim was granted, see above.
                let next = Arc::new(next(self.slots.draw_version(), content));
                debug_assert_eq!(next.state(), becomes);
                if slot.replace(base, next) {
                    self.slots.mark(slot);
                    claims.settle();
                    guard.note(base.state(), becomes);
                    return AttemptOutcome::Done;
                }
                AttemptOutcome::Lost
            }
            // What it contradicts may have been our own group, by then another one.
            Err(_) if !slot.is_still(base) => AttemptOutcome::Lost,
            Err(Denied::Busy) => AttemptOutcome::Busy,
            Err(Denied::Refused(refusal)) => AttemptOutcome::Refused(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::push::PushMode;
    use super::super::slots::FREE_IDS_MAX;
    use super::*;
    use crate::model::{FamiliesBuilder, MetricFlags};

    fn push(store: &Store, n: usize) {
        let mut families = FamiliesBuilder::new();
        families.family("up", MetricType::Gauge, None);
        families.value(1);
        families.end_metric(MetricFlags::default());
        let key = Arc::new(GroupingKey::new([("job", n.to_string().as_str())]).expect("a job"));
        let families = families.finish().expect("one short name");
        assert_eq!(
            store.push(&mut Push::new(key, families, PushMode::Replace, 1)),
            Outcome::Done
        );
    }

    fn take(store: &Store) -> Vec<MarkedSlot> {
        let mut taken = Vec::new();
        store.take_cut(Consumer::Assembler, &mut taken);
        taken
    }

    /// More than a bundle of them, and not a whole number of bundles.
    #[test]
    fn numbers_of_slots_are_used_again_and_each_once() {
        const N: usize = 2 * FREE_IDS_MAX + 100;
        let store = Store::new(Config::default());
        for round in 0..3 {
            (0..N).for_each(|n| push(&store, round * N + n));
            let taken = take(&store);
            let mut ids: Vec<u32> = taken.iter().map(|taken| taken.slot).collect();
            ids.sort_unstable();
            assert_eq!(ids, (0..N as u32).collect::<Vec<_>>(), "round {round}");
            for taken in &taken {
                assert_eq!(store.delete(&taken.snapshot.fixed.key), Outcome::Done);
            }
            let passed: Vec<Arc<Snapshot>> = take(&store)
                .into_iter()
                .map(|taken| taken.snapshot)
                .collect();
            assert_eq!(passed.len(), N);
            store.pass_tombstones(Consumer::Assembler, &passed);
            assert!(store.groups().is_empty());
        }
    }
}
