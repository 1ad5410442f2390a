//! The door of a job: who may change which series the job's groups expose.
//!
//! Grouping labels overwrite the labels of a series. So two groups of one job whose keys have the
//! same label names, the same *shape*, never expose the same series; two groups of different shapes
//! can. While all groups of a job have one shape, pushes go through the door side by side. A push
//! of a second shape waits until no push is in flight and makes the door *mixed*. From then on
//! structural pushes go through one at a time, and each compares its series with those of the
//! groups of other shapes.
//!
//! ```text
//! word = groups (32 bits) | pushes in flight (29) | busy (1) | single, mixing, mixed or dead (2)
//! ```
//!
//! | field    | written by                   | read by       | what it carries             |
//! |----------|------------------------------|---------------|-----------------------------|
//! | `word`   | `try_enter`, `leave`: AcqRel | both: Acquire | the above; counts of shapes |
//! | `shapes` | a push that is alone         | the same      | the shapes of the groups    |
//! | `recent` | pushes, once published       | all pushes    | layouts that can be shared  |
//!
//! Invariant: a push that is alone sees the counts of all shapes as they are. Each push changes
//! them before it leaves; `leave` releases the word, and `try_enter` acquires it.
//!
//! A door that no push is behind and that has no groups is dead and stays so: a push that finds a
//! dead door removes it and looks the job up again.

use super::layout::Layout;
use super::shape::Shape;
use super::snapshot::GroupState;
use crate::model::{GroupingKey, Skeleton};
use crate::sync::{Keyed, Published, Word};
use smallvec::SmallVec;
use std::sync::Arc;

const STATE: u64 = 3;
/// All groups of the job have the first shape.
const SINGLE: u64 = 0;
/// As `SINGLE`; but a push of another shape waits for those in flight, and no others are let in.
const MIXING: u64 = 1;
/// Groups of the job may have several shapes.
const MIXED: u64 = 2;
const DEAD: u64 = 3;
/// A push is alone behind the door.
const BUSY: u64 = 1 << 2;
const IN_FLIGHT: u64 = 1 << 3;
const GROUPS: u64 = 1 << 32;
const IN_FLIGHT_MASK: u64 = (1 << 29) - 1;

fn n_in_flight(word: u64) -> u64 {
    (word / IN_FLIGHT) & IN_FLIGHT_MASK
}

/// How many layouts a door remembers.
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

/// In which company a push is behind the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorEntry {
    /// With other pushes of the only shape.
    Shared,
    /// Alone.
    Exclusive,
}

/// Why a push is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorDenied {
    /// Another push is in the way: give back everything and try again.
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
    /// A new door for the job of `key`, with the push of its maker behind it
    /// ([`DoorEntry::Shared`]).
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

    /// Lets in a push or deletion that changes which series the group of `key` exposes.
    ///
    /// # Errors
    ///
    /// Why not; the caller then holds nothing.
    pub fn try_enter(&self, key: &GroupingKey) -> Result<DoorEntry, DoorDenied> {
        let is_first = self.first.is_of(key.canonical());
        let mut entry = Ok(DoorEntry::Shared);
        self.word.update(|word| {
            let (next, result) = match word & STATE {
                DEAD => return Err(DoorDenied::Dead),
                SINGLE if is_first => (word + IN_FLIGHT, Ok(DoorEntry::Shared)),
                // A push of any shape may make a free door mixed: the push that has begun to do so
                // may never come back.
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

    /// Ends what [`JobDoor::try_enter`] has begun. The group of `key` was `was` then and is `is`
    /// now.
    pub fn leave(&self, entry: DoorEntry, key: &GroupingKey, was: GroupState, is: GroupState) {
        if was != is {
            self.shape_of(entry, key).count_change(was, is);
        }
        let exists = |state| i64::from(state != GroupState::Absent);
        let n_more = exists(is) - exists(was);
        // Released here: the counts of shapes, and `shapes`; acquired by `try_enter`.
        let Ok(_) = self.word.update::<std::convert::Infallible>(|word| {
            let word = match entry {
                DoorEntry::Shared => word - IN_FLIGHT,
                DoorEntry::Exclusive => word & !BUSY,
            };
            let word = word.wrapping_add_signed(n_more * GROUPS.cast_signed());
            let is_deserted = word / GROUPS == 0 && n_in_flight(word) == 0 && word & BUSY == 0;
            // Also a mixing door dies: the push that it waits for holds nothing, and may never come
            // back.
            Ok(if is_deserted { DEAD } else { word })
        });
    }

    /// The shape of a key whose push is behind the door.
    fn shape_of(&self, entry: DoorEntry, key: &GroupingKey) -> Arc<Shape> {
        match entry {
            DoorEntry::Shared => Arc::clone(&self.first),
            DoorEntry::Exclusive => {
                let shapes = self.shapes.load();
                let known = shapes.iter().find(|shape| shape.is_of(key.canonical()));
                Arc::clone(known.expect("a shape is added before a group of it exists"))
            }
        }
    }

    /// Whether the door is not used any more.
    pub fn is_dead(&self) -> bool {
        self.word.load() & STATE == DEAD
    }

    /// The shapes of the job. Only the push that is alone behind the door can rely on them: while
    /// others are, shapes are added, forgotten and counted.
    pub(super) fn shapes(&self) -> Arc<Vec<Arc<Shape>>> {
        Arc::clone(&self.shapes.load())
    }

    /// Makes room for the group of `key`, which is about to become `state`, and forgets shapes that
    /// no group has. For the push that is alone behind the door. Returns whether there is room.
    ///
    /// At most `shapes_max` shapes may have groups with an accepted push. Groups whose pushes were
    /// only refused are limited as well, but take no room from the others: no push is refused
    /// because of another one that was refused itself.
    pub(super) fn add_shape_while_alone(
        &self,
        key: &GroupingKey,
        state: GroupState,
        shapes_max: usize,
    ) -> bool {
        let shapes = self.shapes.load();
        let known = shapes.iter().find(|shape| shape.is_of(key.canonical()));
        let has_room = match state {
            GroupState::Absent => true,
            GroupState::OnlyRefused => {
                known.is_some()
                    || shapes.iter().filter(|shape| shape.has_groups()).count() < shapes_max
            }
            GroupState::Accepted => {
                known.is_some_and(|shape| shape.has_accepted_groups())
                    || shapes
                        .iter()
                        .filter(|shape| shape.has_accepted_groups())
                        .count()
                        < shapes_max
            }
        };
        if known.is_some() || !has_room {
            return has_room;
        }
        let mut kept: Vec<Arc<Shape>> = shapes
            .iter()
            .filter(|shape| shape.has_groups())
            .cloned()
            .collect();
        kept.push(Arc::new(Shape::new(key.canonical())));
        self.shapes.store(Arc::new(kept));
        true
    }

    /// A layout that was pushed to this job lately, if one is for this skeleton and for keys with
    /// the names of `key`.
    pub(super) fn recent_layout(
        &self,
        skeleton: &Skeleton,
        key: &GroupingKey,
    ) -> Option<Arc<Layout>> {
        self.recent
            .load()
            .iter()
            .find(|layout| layout.is_for(skeleton, key))
            .cloned()
    }

    /// The layouts that were pushed to this job lately, newest first.
    pub(super) fn recent_layouts(&self) -> SmallVec<[Arc<Layout>; N_RECENT]> {
        (**self.recent.load()).clone()
    }

    /// Keeps a layout for the next push to this job. If another push does so at the same moment,
    /// one of the two layouts is forgotten.
    pub(super) fn remember(&self, layout: &Arc<Layout>) {
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
    fn pushes_of_one_shape_go_in_side_by_side() {
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
            .shapes()
            .iter()
            .map(|shape| shape.has_groups())
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

    /// The push of the second shape never comes back. The first shape used to be shut out for ever.
    #[test]
    fn the_next_push_opens_a_door_that_waits_for_one_that_is_gone() {
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
    fn shapes_are_limited_and_those_without_groups_are_forgotten() {
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

    /// Three refused pushes used to exhaust a limit of three, so that the next, valid one was
    /// refused.
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
