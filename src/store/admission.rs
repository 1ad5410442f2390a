//! Whether a push or deletion may take effect: the door of its job, the names that it claims, and
//! the series that other groups of its job have.
//!
//! A push first enters the door, and then claims names in their order. If the door or a name is
//! busy, the push gives back everything that it holds. So pushes never wait for each other in a
//! circle.

use super::candidate::Candidate;
use super::cell::{Cell, NameRole, suffixes_of};
use super::claims::{ClaimDenied, Claims, NameConflict};
use super::conflict::refusal_of_conflict;
use super::early_series_check::EarlySeriesCheck;
use super::job_door::{DoorDenied, DoorEntry, JobDoor};
use super::layout::Layout;
use super::refusal::Refusal;
use super::refusal_list::{LOOKED_AT_MAX, RefusalList};
use super::series_check::check_series;
use super::slots::Slots;
use super::snapshot::GroupState;
use crate::model::{GroupingKey, MetricType};
use crate::sync::{Registry, Statistic};
use ahash::AHashSet;
use std::sync::Arc;

/// What decides about admission: the cells of all names and the doors of all jobs.
pub(super) struct Admission {
    cells: Registry<Cell>,
    doors: Registry<JobDoor>,
    shapes_per_job_max: usize,
    n_groups: Statistic,
}

/// Why a push may not take effect.
pub(super) enum Denied {
    /// Another push in flight is about to decide something that this one depends on.
    Busy,
    /// The push contradicts what is exposed.
    Refused(Refusal),
}

/// The right to change which series one group exposes. Dropping it leaves the door of the job.
pub(super) struct DoorGuard<'a> {
    doors: &'a Registry<JobDoor>,
    /// How many groups there are in all jobs.
    n_groups: &'a Statistic,
    door: Arc<JobDoor>,
    entry: DoorEntry,
    key: &'a Arc<GroupingKey>,
    /// What the group was when the guard was made.
    was: GroupState,
    /// What the group is now.
    is: GroupState,
}

impl<'a> DoorGuard<'a> {
    /// The key of the group whose series may be changed.
    pub fn key(&self) -> &'a Arc<GroupingKey> {
        self.key
    }

    /// Notes, for the counts of groups, that the group was `was` and is `is` now.
    pub fn note_change(&mut self, was: GroupState, is: GroupState) {
        (self.was, self.is) = (was, is);
        match (was == GroupState::Absent, is == GroupState::Absent) {
            (true, false) => self.n_groups.add(1),
            (false, true) => self.n_groups.sub(1),
            _ => {}
        }
    }

    /// Keeps a layout that was published, for the next push to the job.
    pub fn remember(&self, layout: &Arc<Layout>) {
        self.door.remember(layout);
    }
}

impl Drop for DoorGuard<'_> {
    fn drop(&mut self) {
        self.door.leave(self.entry, self.key, self.was, self.is);
        if self.door.is_dead() {
            self.door.forget_large_layouts();
            self.doors.remove(&self.door);
        }
    }
}

impl Admission {
    /// Admits what does not contradict the families `pinned`, which the gateway itself exposes.
    pub fn new<'a>(
        pinned: impl Iterator<Item = (&'a str, MetricType)>,
        shapes_per_job_max: usize,
    ) -> Self {
        let cells: Registry<Cell> = Registry::default();
        let pin = |name: &str, role| {
            cells.get_or_insert(name, || Cell::pinned(name, role));
        };
        for (name, metric_type) in pinned {
            pin(name, NameRole::Family(metric_type));
            for suffix in suffixes_of(metric_type) {
                pin(&format!("{name}{suffix}"), NameRole::Suffix);
            }
        }
        Self {
            cells,
            doors: Registry::default(),
            shapes_per_job_max,
            n_groups: Statistic::default(),
        }
    }

    /// How many groups there are.
    pub fn n_groups(&self) -> u64 {
        // The thread that has deleted a group may count before the one that has made it.
        u64::try_from(self.n_groups.get().cast_signed()).unwrap_or(0)
    }

    /// The door of a job, if it has one.
    pub fn door(&self, job: &str) -> Option<Arc<JobDoor>> {
        self.doors.get(job)
    }

    /// Claims of the group with the key `by`; none so far.
    pub fn claims<'a>(&'a self, by: &'a Arc<GroupingKey>) -> Claims<'a> {
        Claims::new(&self.cells, by)
    }

    /// Enters the door of the job of `key`, in order to change which series its group exposes;
    /// `None` while another push is in the way. `door` is that door, if the caller has looked it up
    /// already.
    pub fn enter<'a>(
        &'a self,
        door: Option<Arc<JobDoor>>,
        key: &'a Arc<GroupingKey>,
    ) -> Option<DoorGuard<'a>> {
        let mut looked_up = door;
        loop {
            let (door, is_made) = match looked_up.take() {
                Some(door) => (door, false),
                None => self
                    .doors
                    .get_or_insert(key.job(), || JobDoor::entered(key)),
            };
            let entered = if is_made {
                Ok(DoorEntry::Shared)
            } else {
                door.try_enter(key)
            };
            match entered {
                Ok(entry) => {
                    let (was, is) = (GroupState::Absent, GroupState::Absent);
                    return Some(DoorGuard {
                        doors: &self.doors,
                        n_groups: &self.n_groups,
                        door,
                        entry,
                        key,
                        was,
                        is,
                    });
                }
                Err(DoorDenied::Busy) => return None,
                Err(DoorDenied::Dead) => self.doors.remove(&door),
            }
        }
    }

    /// Compares the series of a push with other groups of its job before it enters the job's
    /// `door`, if groups of the job may share series. `None` if they may not, or if a group has one
    /// of the series.
    pub fn check_series_early(
        &self,
        door: Option<&JobDoor>,
        key: &GroupingKey,
        layout: &Layout,
        slots: &Slots,
    ) -> Option<EarlySeriesCheck> {
        EarlySeriesCheck::new(key, layout, &door?.shapes(), slots)
    }

    /// Claims the names of the candidate and, for a push that is alone behind the door, compares
    /// its series with those of the job's other groups. The claims that are granted are added to
    /// `claims`, also if the candidate is denied.
    ///
    /// # Errors
    ///
    /// Why the candidate may not take effect, or not now.
    pub fn admit(
        &self,
        candidate: &Candidate<'_>,
        guard: &DoorGuard<'_>,
        claims: &mut Claims<'_>,
        slots: &Slots,
    ) -> Result<(), Denied> {
        // The layout of a slot without a group has no families.
        let before = candidate.base.layout();
        match claims.claim(before, &candidate.content.layout) {
            Ok(()) => {}
            Err(ClaimDenied::Busy) => return Err(Denied::Busy),
            Err(ClaimDenied::Conflict(conflict)) => {
                let refusal = self.refusal_of_conflicts(&conflict, candidate, guard, claims, slots);
                return Err(Denied::Refused(refusal));
            }
        }
        if guard.entry == DoorEntry::Shared {
            return Ok(());
        }
        let shapes_max = self.shapes_per_job_max;
        if !guard
            .door
            .add_shape_while_alone(candidate.key, candidate.state, shapes_max)
        {
            return Err(Denied::Refused(Refusal::TooManyShapes { shapes_max }));
        }
        let mut found = RefusalList::default();
        check_series(candidate, &guard.door.shapes(), slots, &mut found);
        found.into_result().map_err(Denied::Refused)
    }

    /// The refusal of the candidate because of the conflict `first`, and of what else it
    /// contradicts.
    fn refusal_of_conflicts(
        &self,
        first: &NameConflict,
        candidate: &Candidate<'_>,
        guard: &DoorGuard<'_>,
        claims: &Claims<'_>,
        slots: &Slots,
    ) -> Refusal {
        let refusal_of =
            |conflict: &NameConflict| refusal_of_conflict(conflict, candidate, &self.cells, slots);
        let names = candidate.content.layout.exposed_names();
        // A name that is exposed in three forms, one for each escaping scheme, is listed once.
        let pair = |conflict: &NameConflict| {
            let family = names[conflict.name_index].family;
            (family, Arc::clone(&conflict.exposed_raw))
        };
        let mut listed = AHashSet::from_iter([pair(first)]);
        let mut found = RefusalList::default();
        found.add(|| refusal_of(first));
        let (base, next) = (candidate.base.layout(), &candidate.content.layout);
        for conflict in claims.conflicts_after(first.name_index, base, next, LOOKED_AT_MAX) {
            if listed.insert(pair(&conflict)) {
                found.add(|| refusal_of(&conflict));
            }
        }
        if guard.entry == DoorEntry::Exclusive {
            check_series(candidate, &guard.door.shapes(), slots, &mut found);
        }
        found
            .into_result()
            .expect_err("the first conflict was added")
    }
}
