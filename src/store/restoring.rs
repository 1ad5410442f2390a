//! How a group comes into the store with the times that it has already: from disk, or from another
//! gateway.

use super::groups::{AttemptOutcome, Store};
use super::layout::Layout;
use super::push::{Push, PushMode};
use super::refusal::Refusal;
use super::snapshot::GroupTimes;
use crate::model::{Families, GroupingKey};
use smallvec::SmallVec;
use std::sync::Arc;

/// A group with its times, on its way into the store.
///
/// It is admitted like a push, so that it cannot contradict the groups that exist. It differs from a
/// push in two ways: it gets its own times, and it does not replace a group that is as new.
#[derive(Debug)]
pub struct RestoredGroup {
    push: Push,
    times: GroupTimes,
}

/// The result of [`Store::restore`].
#[derive(Clone, Debug, PartialEq)]
pub enum RestoreOutcome {
    /// The group is in the store.
    Restored,
    /// The store has a group under this key that was pushed as late or later. It stays as it is.
    Outdated,
    /// The group contradicts others or itself, or is over a limit. The store is unchanged.
    Refused(Refusal),
    /// A push in flight is about to decide something that this group depends on. Nothing is held:
    /// yield and try again.
    Busy,
}

impl RestoredGroup {
    /// A group with these families.
    pub fn new(key: Arc<GroupingKey>, families: Families, times: GroupTimes) -> Self {
        Self {
            push: Push::new(key, families, PushMode::Replace, times.push_time),
            times,
        }
    }

    /// A group that has a layout which the store knows, with these values in the layout's order, and
    /// nothing that the text format cannot carry.
    pub fn of_layout(
        key: Arc<GroupingKey>,
        layout: Arc<Layout>,
        values: SmallVec<[u64; 12]>,
        times: GroupTimes,
    ) -> Self {
        let received_at = times.push_time;
        Self {
            push: Push::of_layout(key, layout, values, PushMode::Replace, received_at),
            times,
        }
    }

    /// The key of the group.
    pub fn key(&self) -> &Arc<GroupingKey> {
        self.push.key()
    }

    /// When the last push to the group was received, accepted or refused.
    fn last_push(&self) -> i64 {
        self.times.push_time.max(self.times.failure_time)
    }
}

impl Store {
    /// Tries to bring a group into the store with the times that it has. After
    /// [`RestoreOutcome::Busy`] call again with the same group.
    pub fn restore(&self, group: &mut RestoredGroup) -> RestoreOutcome {
        if let Some(refusal) = group.push.refusal() {
            return RestoreOutcome::Refused(refusal.clone());
        }
        loop {
            let slot = self.slots.find_or_add(group.push.key());
            let base = slot.current_for_update();
            if base.is_dead() {
                self.slots.remove(&slot);
                continue;
            }
            if base.is_live() {
                if base.push_time.max(base.failure_time) >= group.last_push() {
                    return RestoreOutcome::Outdated;
                }
                if base.key().labels() != group.key().labels() {
                    return RestoreOutcome::Refused(Refusal::OtherKey {
                        exposed: Arc::clone(base.key()),
                    });
                }
            }
            // A group that has never had an accepted push has no families: it only exposes when its
            // last push failed.
            let attempt = if group.times.push_time == 0 {
                let times = &group.times;
                self.record_failure(&slot, &base, &group.push, times.failure_time, Some(times))
            } else {
                self.try_push(&slot, &base, &mut group.push, Some(&group.times))
            };
            let outcome = match attempt {
                AttemptOutcome::Lost => continue,
                AttemptOutcome::Done => return RestoreOutcome::Restored,
                AttemptOutcome::Busy => RestoreOutcome::Busy,
                AttemptOutcome::Refused(refusal) => RestoreOutcome::Refused(refusal),
            };
            if !base.is_live() {
                // The slot may be new, and is left without a group. Marked, it is retired by the
                // consumers.
                self.slots.mark(&slot);
            }
            return outcome;
        }
    }

    /// Brings a group into the store, as [`restore`](Self::restore) does, and waits with `wait` while
    /// the store is busy.
    pub fn restore_when_free(
        &self,
        group: &mut RestoredGroup,
        mut wait: impl FnMut(),
    ) -> RestoreOutcome {
        loop {
            match self.restore(group) {
                RestoreOutcome::Busy => wait(),
                outcome => return outcome,
            }
        }
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use crate::model::{FamiliesBuilder, MetricFlags, MetricType};
    use crate::store::{Config, Outcome};

    fn key(job: &str) -> Arc<GroupingKey> {
        Arc::new(GroupingKey::new([("job", job)]).unwrap())
    }

    fn family(name: &str, metric_type: MetricType) -> Families {
        let mut families = FamiliesBuilder::new();
        families.family(name, metric_type, None);
        families.value(1);
        families.end_metric(MetricFlags::default());
        families.finish().unwrap()
    }

    fn times(push_time: i64, failure_time: i64) -> GroupTimes {
        GroupTimes {
            push_time,
            failure_time,
            first_time: 1,
            family_times: (push_time != 0).then(|| [push_time - 1].into()),
        }
    }

    fn restore(store: &Store, job: &str, families: Families, times: GroupTimes) -> RestoreOutcome {
        store.restore(&mut RestoredGroup::new(key(job), families, times))
    }

    #[test]
    fn a_restored_group_has_its_own_times() {
        let store = Store::new(Config::default());
        let gauge = || family("a", MetricType::Gauge);
        assert_eq!(
            restore(&store, "a", gauge(), times(5, 7)),
            RestoreOutcome::Restored
        );
        assert_eq!(store.group(&key("a")).unwrap().times(), times(5, 7));
        // Another group of the same layout, and the same group again.
        let layout = Arc::clone(store.group(&key("a")).unwrap().layout());
        for (job, at) in [("b", times(6, 0)), ("a", times(8, 0))] {
            let values = SmallVec::from_slice(&[2]);
            let mut group =
                RestoredGroup::of_layout(key(job), Arc::clone(&layout), values, at.clone());
            assert_eq!(store.restore(&mut group), RestoreOutcome::Restored);
            let restored = store.group(&key(job)).unwrap();
            assert_eq!(restored.times(), at);
            assert_eq!(restored.values[..], [2]);
        }
    }

    #[test]
    fn a_group_that_was_only_refused_has_no_families() {
        let store = Store::new(Config::default());
        let outcome = restore(&store, "a", Families::default(), times(0, 7));
        assert_eq!(outcome, RestoreOutcome::Restored);
        let group = store.group(&key("a")).unwrap();
        assert!(!group.is_accepted());
        assert_eq!(group.times(), times(0, 7));
    }

    #[test]
    fn a_group_that_is_as_new_stays() {
        let store = Store::new(Config::default());
        let gauge = |name| family(name, MetricType::Gauge);
        restore(&store, "a", gauge("new"), times(5, 0));
        for at in [times(4, 0), times(5, 0), times(3, 5)] {
            assert_eq!(
                restore(&store, "a", gauge("old"), at),
                RestoreOutcome::Outdated
            );
        }
        let group = store.group(&key("a")).unwrap();
        assert_eq!(group.layout().skeleton().family(0).name(), "new");
    }

    #[test]
    fn a_group_that_contradicts_another_is_refused_and_leaves_nothing_behind() {
        let store = Store::new(Config::default());
        restore(&store, "a", family("a", MetricType::Gauge), times(5, 0));
        let outcome = restore(&store, "b", family("a", MetricType::Counter), times(6, 0));
        assert!(matches!(outcome, RestoreOutcome::Refused(_)), "{outcome:?}");
        assert!(store.group(&key("b")).is_none());
        let other_key = Arc::new(GroupingKey::new([("job", "a"), ("instance", "")]).unwrap());
        let gauge = family("a", MetricType::Gauge);
        let outcome = store.restore(&mut RestoredGroup::new(other_key, gauge, times(9, 0)));
        assert!(matches!(
            outcome,
            RestoreOutcome::Refused(Refusal::OtherKey { .. })
        ));
        // The name is free again when the first group is deleted.
        assert_eq!(store.delete(&key("a")), Outcome::Done);
        let outcome = restore(&store, "b", family("a", MetricType::Counter), times(6, 0));
        assert_eq!(outcome, RestoreOutcome::Restored);
    }
}
