//! The door of a job: whether its groups can share a series, and who may change which series they
//! have.
//!
//! Grouping labels overwrite a series' own, so two groups can only share a series if they have the
//! same `job` and label names that differ, another *shape*. While all groups of a job have one
//! shape, pushes go through the door side by side. The first push of a second shape makes it
//! *mixed*: from then on pushes that change which series exist go through one at a time, and look.
//!
//! | field    | written by                               | read by                | what it carries                            |
//! |----------|------------------------------------------|------------------------|--------------------------------------------|
//! | `word`   | `try_enter`, `leave`, AcqRel             | both, Acquire          | state, busy, in flight, groups             |
//! | `shapes` | who is inside alone                      | who is inside alone    | the shapes of the job, counted             |
//! | `recent` | whoever made a layout                    | everybody              | nothing but chances to share a layout      |
//!
//! A door without groups and without anybody inside is dead, for good: whoever finds it dead
//! removes it and looks the job up again.

use super::layout::Layout;
use super::shape::Shape;
use super::snapshot::GroupState;
use crate::model::{GroupingKey, Skeleton};
use crate::sync::{Keyed, Published, Word};
use smallvec::SmallVec;
use std::sync::Arc;

const STATE: u64 = 3;
const SINGLE: u64 = 0;
/// A push of another shape waits for those in flight; no new ones come in.
const MIXING: u64 = 1;
const MIXED: u64 = 2;
const DEAD: u64 = 3;
const BUSY: u64 = 1 << 2;
const IN_FLIGHT: u64 = 1 << 3;
const GROUPS: u64 = 1 << 32;
const IN_FLIGHT_MASK: u64 = (1 << 29) - 1;

fn n_in_flight(word: u64) -> u64 {
    (word / IN_FLIGHT) & IN_FLIGHT_MASK
}

/// Layouts that a door remembers.
const N_RECENT: usize = 4;

/// The door of one job.
#[derive(Debug)]
pub struct JobDoor {
    word: Word,
    job: Box<str>,
    first: Arc<Shape>,
    shapes: Published<Vec<Arc<Shape>>>,
    recent: Published<SmallVec<[Arc<Layout>; N_RECENT]>>,
}

/// How one is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorEntry {
    /// Beside others of the only shape.
    Shared,
    /// Alone.
    Exclusive,
}

/// Why one is not inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorDenied {
    /// Others are: give everything back and come again.
    Busy,
    /// The door is dead: look the job up again.
    Dead,
}

impl Keyed for JobDoor {
    type Key = str;

    fn key(&self) -> &str {
        &self.job
    }
}

impl JobDoor {
    /// The door of the job of `key`, with its maker inside, beside others to come.
    pub fn entered(key: &GroupingKey) -> Self {
        let first = Arc::new(Shape::new(key.canonical()));
        Self {
            word: Word::new(SINGLE | IN_FLIGHT),
            job: key.job().into(),
            shapes: Published::new(Arc::new(vec![Arc::clone(&first)])),
            first,
            recent: Published::new(Arc::default()),
        }
    }

    /// Goes in to change which series a group with this key exposes.
    ///
    /// # Errors
    ///
    /// [`DoorDenied`]; the caller then holds nothing.
    pub fn try_enter(&self, key: &GroupingKey) -> Result<DoorEntry, DoorDenied> {
        let is_first = self.first.is_of(key.canonical());
        let mut entry = Ok(DoorEntry::Shared);
        self.word.update(|word| {
            let (next, result) = match word & STATE {
                DEAD => return Err(DoorDenied::Dead),
                SINGLE if is_first => (word + IN_FLIGHT, Ok(DoorEntry::Shared)),
                // Whoever finds the way free opens the mixed door, also if the push that began to
                // mix never came back.
                SINGLE | MIXING if n_in_flight(word) == 0 => {
                    (word & !STATE | MIXED | BUSY, Ok(DoorEntry::Exclusive))
                }
                SINGLE => (word | MIXING, Err(DoorDenied::Busy)),
                MIXED if word & BUSY == 0 => (word | BUSY, Ok(DoorEntry::Exclusive)),
                _ => return Err(DoorDenied::Busy),
            };
            entry = result;
            Ok(next)
        })?;
        entry
    }

    /// Goes out again; the group of `key` was one thing and has become another.
    pub fn leave(&self, entry: DoorEntry, key: &GroupingKey, was: GroupState, is: GroupState) {
        if was != is {
            self.count(entry, key, was, is);
        }
        let n_groups = i64::from(is != GroupState::Absent) - i64::from(was != GroupState::Absent);
        let Ok(_) = self.word.update::<std::convert::Infallible>(|word| {
            let word = match entry {
                DoorEntry::Shared => word - IN_FLIGHT,
                DoorEntry::Exclusive => word & !BUSY,
            };
            let word = word.wrapping_add_signed(n_groups * GROUPS.cast_signed());
            let is_deserted = word / GROUPS == 0 && n_in_flight(word) == 0 && word & BUSY == 0;
            // A mixing door waits for a push that holds nothing and may never come back: it dies
            // like the others.
            Ok(if is_deserted { DEAD } else { word })
        });
    }

    fn count(&self, entry: DoorEntry, key: &GroupingKey, was: GroupState, is: GroupState) {
        let shape = match entry {
            DoorEntry::Shared => Arc::clone(&self.first),
            DoorEntry::Exclusive => {
                let shapes = self.shapes.load();
                let known = shapes.iter().find(|shape| shape.is_of(key.canonical()));
                Arc::clone(known.expect("a shape is added before a group of it exists"))
            }
        };
        shape.count(was, is);
    }

    /// Whether nobody has it any more.
    pub fn is_dead(&self) -> bool {
        self.word.load() & STATE == DEAD
    }

    /// The shapes of the job, for one who is inside alone.
    pub fn shapes_while_alone(&self) -> Arc<Vec<Arc<Shape>>> {
        Arc::clone(&self.shapes.load())
    }

    /// Makes room for a group with this key, for one who is inside alone; forgets shapes that no
    /// group has. Returns whether there is room: `shapes_max` shapes may have groups for which a
    /// push was accepted. Those that were only refused are limited as well, but take no room from
    /// the others: nobody is refused because of a push that was refused itself.
    pub fn add_shape_while_alone(
        &self,
        key: &GroupingKey,
        becomes: GroupState,
        shapes_max: usize,
    ) -> bool {
        let shapes = self.shapes.load();
        let known = shapes.iter().find(|shape| shape.is_of(key.canonical()));
        let has_room = match becomes {
            GroupState::Absent => true,
            GroupState::OnlyRefused => {
                known.is_some()
                    || shapes.iter().filter(|shape| shape.is_live()).count() < shapes_max
            }
            GroupState::Accepted => {
                known.is_some_and(|shape| shape.is_accepted())
                    || shapes.iter().filter(|shape| shape.is_accepted()).count() < shapes_max
            }
        };
        if known.is_some() || !has_room {
            return has_room;
        }
        let mut kept: Vec<Arc<Shape>> = shapes
            .iter()
            .filter(|shape| shape.is_live())
            .cloned()
            .collect();
        kept.push(Arc::new(Shape::new(key.canonical())));
        self.shapes.store(Arc::new(kept));
        true
    }

    /// A layout that was pushed to this job lately, for this skeleton and a key with the names of
    /// `key`.
    pub fn recent_layout(&self, skeleton: &Skeleton, key: &GroupingKey) -> Option<Arc<Layout>> {
        self.recent
            .load()
            .iter()
            .find(|layout| layout.is_for(skeleton, key))
            .cloned()
    }

    /// The layouts that were pushed to this job lately, newest first.
    pub fn recent_layouts(&self) -> SmallVec<[Arc<Layout>; N_RECENT]> {
        (**self.recent.load()).clone()
    }

    /// Keeps a layout for the next group that is like this one.
    pub fn remember(&self, layout: &Arc<Layout>) {
        let recent = self.recent.load();
        if recent.iter().any(|known| Arc::ptr_eq(known, layout)) {
            return;
        }
        let older = recent.iter().take(N_RECENT - 1).cloned();
        self.recent.store(Arc::new(
            std::iter::once(Arc::clone(layout)).chain(older).collect(),
        ));
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    fn key(labels: &[(&'static str, &'static str)]) -> GroupingKey {
        GroupingKey::new(labels.iter().copied().chain([("job", "j")])).unwrap()
    }

    #[test]
    fn groups_of_one_shape_go_in_side_by_side() {
        let (a, b) = (key(&[("instance", "1")]), key(&[("instance", "2")]));
        let door = JobDoor::entered(&a);
        assert_eq!(door.try_enter(&b), Ok(DoorEntry::Shared));
        door.leave(
            DoorEntry::Shared,
            &a,
            GroupState::Absent,
            GroupState::Accepted,
        );
        door.leave(
            DoorEntry::Shared,
            &b,
            GroupState::Absent,
            GroupState::Absent,
        );
        assert!(!door.is_dead());
        assert_eq!(door.try_enter(&a), Ok(DoorEntry::Shared));
        door.leave(
            DoorEntry::Shared,
            &a,
            GroupState::Accepted,
            GroupState::Absent,
        );
        assert!(door.is_dead());
        assert_eq!(door.try_enter(&a), Err(DoorDenied::Dead));
    }

    #[test]
    fn a_second_shape_waits_and_then_goes_in_alone() {
        let (a, b) = (key(&[]), key(&[("instance", "2")]));
        let door = JobDoor::entered(&a);
        assert_eq!(door.try_enter(&b), Err(DoorDenied::Busy));
        assert_eq!(door.try_enter(&a), Err(DoorDenied::Busy));
        door.leave(
            DoorEntry::Shared,
            &a,
            GroupState::Absent,
            GroupState::Accepted,
        );
        assert_eq!(door.try_enter(&b), Ok(DoorEntry::Exclusive));
        assert_eq!(door.try_enter(&a), Err(DoorDenied::Busy));
        assert!(door.add_shape_while_alone(&b, GroupState::Accepted, 2));
        let live: Vec<bool> = door
            .shapes_while_alone()
            .iter()
            .map(|shape| shape.is_live())
            .collect();
        assert_eq!(live, [true, false]);
        door.leave(
            DoorEntry::Exclusive,
            &b,
            GroupState::Absent,
            GroupState::Accepted,
        );
        assert_eq!(door.try_enter(&a), Ok(DoorEntry::Exclusive));
    }

    /// The push of the second shape never came back: the first shape was shut out for ever.
    #[test]
    fn whoever_comes_next_opens_a_door_that_waits_for_somebody_gone() {
        let (a, b) = (key(&[]), key(&[("instance", "2")]));
        let door = JobDoor::entered(&a);
        assert_eq!(door.try_enter(&b), Err(DoorDenied::Busy));
        door.leave(
            DoorEntry::Shared,
            &a,
            GroupState::Absent,
            GroupState::Accepted,
        );
        assert_eq!(door.try_enter(&a), Ok(DoorEntry::Exclusive));
    }

    #[test]
    fn shapes_are_limited_and_those_without_groups_forgotten() {
        let (a, b, c) = (key(&[]), key(&[("instance", "2")]), key(&[("x", "2")]));
        let door = JobDoor::entered(&a);
        door.leave(
            DoorEntry::Shared,
            &a,
            GroupState::Absent,
            GroupState::Accepted,
        );
        assert_eq!(door.try_enter(&b), Ok(DoorEntry::Exclusive));
        assert!(door.add_shape_while_alone(&b, GroupState::Accepted, 2));
        door.leave(
            DoorEntry::Exclusive,
            &b,
            GroupState::Absent,
            GroupState::Accepted,
        );
        assert_eq!(door.try_enter(&c), Ok(DoorEntry::Exclusive));
        assert!(!door.add_shape_while_alone(&c, GroupState::Accepted, 2));
        door.leave(
            DoorEntry::Exclusive,
            &c,
            GroupState::Absent,
            GroupState::Absent,
        );
        assert_eq!(door.try_enter(&b), Ok(DoorEntry::Exclusive));
        door.leave(
            DoorEntry::Exclusive,
            &b,
            GroupState::Accepted,
            GroupState::Absent,
        );
        assert_eq!(door.try_enter(&c), Ok(DoorEntry::Exclusive));
        assert!(door.add_shape_while_alone(&c, GroupState::Accepted, 2));
    }

    /// Three refused pushes used up a limit of three, and the next, valid one was refused.
    #[test]
    fn shapes_that_were_only_refused_take_no_room_from_others() {
        let keys = ["a", "b", "c", "d"].map(|name| key(&[(name, "1")]));
        let door = JobDoor::entered(&keys[0]);
        door.leave(
            DoorEntry::Shared,
            &keys[0],
            GroupState::Absent,
            GroupState::OnlyRefused,
        );
        let enter_as = |key: &GroupingKey, becomes| {
            assert_eq!(door.try_enter(key), Ok(DoorEntry::Exclusive));
            let has_room = door.add_shape_while_alone(key, becomes, 2);
            let is = if has_room {
                becomes
            } else {
                GroupState::Absent
            };
            door.leave(DoorEntry::Exclusive, key, GroupState::Absent, is);
            has_room
        };
        assert!(enter_as(&keys[1], GroupState::OnlyRefused));
        assert!(!enter_as(&keys[2], GroupState::OnlyRefused));
        assert!(enter_as(&keys[2], GroupState::Accepted));
        assert!(enter_as(&keys[3], GroupState::Accepted));
        assert!(!enter_as(&key(&[("e", "1")]), GroupState::Accepted));
    }
}
