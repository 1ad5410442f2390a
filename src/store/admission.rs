//! Whether a push may take effect: its job's door, the names that it claims, and the series that
//! other groups of its job have.

use super::cell::{Cell, NameRole};
use super::claims::{ClaimDenied, Claims};
use super::conflict::conflict;
use super::job_door::{DoorDenied, DoorEntry, JobDoor};
use super::refusal::Refusal;
use super::series_check::check_series;
use super::slots::Slots;
use super::snapshot::{GroupContent, GroupState, Snapshot};
use crate::model::{GroupingKey, MetricType};
use crate::sync::Registry;
use std::sync::Arc;

/// The cells of all names and the doors of all jobs.
pub(super) struct Admission {
    cells: Registry<Cell>,
    doors: Registry<JobDoor>,
    shapes_per_job_max: usize,
}

/// DoorGuard a door, until this is dropped.
pub(super) struct DoorGuard<'a> {
    doors: &'a Registry<JobDoor>,
    door: Arc<JobDoor>,
    entry: DoorEntry,
    key: &'a GroupingKey,
    was: GroupState,
    is: GroupState,
}

impl DoorGuard<'_> {
    /// The group was one thing and has become another.
    pub fn note(&mut self, was: GroupState, is: GroupState) {
        (self.was, self.is) = (was, is);
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

    /// Goes in to change which series the group of `key` exposes; none if others are in the way.
    pub fn enter<'a>(&'a self, key: &'a GroupingKey) -> Option<DoorGuard<'a>> {
        loop {
            let (door, is_mine) = self
                .doors
                .get_or_insert(key.job(), || JobDoor::entered(key));
            let entered = if is_mine {
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

    /// Whether a state may follow `base`; the error is a refusal, or none for busy.
    pub fn admit(
        &self,
        slots: &Slots,
        inside: &DoorGuard<'_>,
        base: &Snapshot,
        becomes: GroupState,
        content: &GroupContent,
        claims: &mut Claims<'_>,
    ) -> Result<(), Option<Refusal>> {
        let (layout, values) = (&*content.layout, content.values.as_slice());
        claims
            // Without a group it is a layout without families.
            .claim(&base.fixed.layout, layout)
            .map_err(|denied| match denied {
                ClaimDenied::Busy => None,
                ClaimDenied::Conflict {
                    name,
                    role,
                    raw,
                    owner,
                } => Some(conflict(
                    &self.cells,
                    slots,
                    &layout.claims()[name],
                    role,
                    &raw,
                    owner,
                    layout,
                    values,
                    inside.key,
                )),
            })?;
        if inside.entry == DoorEntry::Exclusive {
            let shapes_max = self.shapes_per_job_max;
            if !inside
                .door
                .add_shape_while_alone(inside.key, becomes, shapes_max)
            {
                return Err(Some(Refusal::TooManyShapes { shapes_max }));
            }
            let shapes = inside.door.shapes_while_alone();
            check_series(slots, &shapes, inside.key, base, layout, values).map_err(Some)?;
        }
        Ok(())
    }
}
