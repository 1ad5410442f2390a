//! Whether a push may take effect: its job's door, the names that it claims, and the series that
//! other groups of its job have.

use super::candidate::Candidate;
use super::cell::{Cell, NameRole};
use super::claims::{ClaimDenied, Claims};
use super::conflict::refusal_of_conflict;
use super::job_door::{DoorDenied, DoorEntry, JobDoor};
use super::layout::Layout;
use super::refusal::Refusal;
use super::series_check::check_series;
use super::slots::Slots;
use super::snapshot::GroupState;
use crate::model::{GroupingKey, MetricType};
use crate::sync::Registry;
use std::sync::Arc;

/// The cells of all names and the doors of all jobs.
pub(super) struct Admission {
    cells: Registry<Cell>,
    doors: Registry<JobDoor>,
    shapes_per_job_max: usize,
}

/// Why a push may not take effect.
pub(super) enum Denied {
    /// Another push in flight is about to decide something that this one depends on.
    Busy,
    /// The push contradicts what is exposed.
    Refused(Refusal),
}

/// Inside a door, until this is dropped.
pub(super) struct DoorGuard<'a> {
    doors: &'a Registry<JobDoor>,
    door: Arc<JobDoor>,
    entry: DoorEntry,
    key: &'a Arc<GroupingKey>,
    was: GroupState,
    is: GroupState,
}

impl<'a> DoorGuard<'a> {
    /// The key of the group whose series may be changed.
    pub fn key(&self) -> &'a Arc<GroupingKey> {
        self.key
    }

    /// The group was one thing and has become another.
    pub fn note(&mut self, was: GroupState, is: GroupState) {
        (self.was, self.is) = (was, is);
    }

    /// Keeps a layout that was published, for the next group that is like this one.
    pub fn remember(&self, layout: &Arc<Layout>) {
        self.door.remember(layout);
    }
}

impl Drop for DoorGuard<'_> {
    fn drop(&mut self) {
        self.door.leave(self.entry, self.key, self.was, self.is);
        if self.door.is_dead() {
            self.doors.remove(&self.door);
        }
    }
}

impl Admission {
    /// With these families pinned, for ever.
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
            let suffixes: &[&str] = match metric_type {
                MetricType::Summary => &["_count", "_sum"],
                MetricType::Histogram | MetricType::GaugeHistogram => {
                    &["_bucket", "_count", "_sum"]
                }
                MetricType::Counter | MetricType::Gauge | MetricType::Untyped => &[],
            };
            suffixes
                .iter()
                .for_each(|suffix| pin(&format!("{name}{suffix}"), NameRole::Suffix));
        }
        Self {
            cells,
            doors: Registry::default(),
            shapes_per_job_max,
        }
    }

    /// The door of a job, if it has one.
    pub fn door(&self, job: &str) -> Option<Arc<JobDoor>> {
        self.doors.get(job)
    }

    /// Claims of the group `by`, none so far.
    pub fn claims<'a>(&'a self, by: &'a Arc<GroupingKey>) -> Claims<'a> {
        Claims::new(&self.cells, by)
    }

    /// Enters the door of the job of `key`, in order to change which series its group exposes; `None`
    /// while another push is in the way. `door` is that door, if the caller has looked it up already.
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

    /// Whether the candidate may take effect, for a push behind the door. What it claims until then is
    /// added to `claims`.
    ///
    /// # Errors
    ///
    /// Why it may not, or not now.
    pub fn admit(
        &self,
        candidate: &Candidate<'_>,
        guard: &DoorGuard<'_>,
        claims: &mut Claims<'_>,
        slots: &Slots,
    ) -> Result<(), Denied> {
        // The layout of a slot without a group has no families.
        let before = &candidate.base.fixed.layout;
        match claims.claim(before, &candidate.content.layout) {
            Ok(()) => {}
            Err(ClaimDenied::Busy) => return Err(Denied::Busy),
            Err(ClaimDenied::Conflict(conflict)) => {
                return Err(Denied::Refused(refusal_of_conflict(
                    conflict,
                    candidate,
                    &self.cells,
                    slots,
                )));
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
        let shapes = guard.door.shapes_while_alone();
        check_series(candidate, &shapes, slots).map_err(Denied::Refused)
    }
}
