//! The door of a job: which pushes may change the series that the job's groups expose.
//!
//! Grouping labels overwrite the labels of a series. So two groups of one job whose keys have the
//! same label names, the same *shape*, never expose the same series; two groups of different shapes
//! can.
//!
//! A structural push or a deletion is *behind the door* from [`JobDoor::try_enter`] to
//! [`JobDoor::leave`]. A push that may not enter holds nothing, and tries again later. How many
//! pushes are behind the door at a time depends on the state of the door:
//!
//! | state  | shapes of the job's groups | pushes behind the door                               |
//! |--------|----------------------------|------------------------------------------------------|
//! | single | one                        | any number, all of that shape                        |
//! | mixing | one                        | those that are there already; no other push enters   |
//! | mixed  | any number                 | at most one, which is *alone*: it compares its       |
//! |        |                            | series with those of the groups of other shapes      |
//! | dead   | no groups                  | none                                                 |
//!
//! A push of a second shape makes a single door mixing, or mixed if no push is behind the door. The
//! next push that finds no push behind a mixing door makes it mixed.
//!
//! ```text
//! word = groups (32 bits) | pushes in flight (29) | busy (1) | single, mixing, mixed or dead (2)
//! ```
//!
//! "In flight" counts the pushes behind a single or mixing door. "Busy" says that a push is behind
//! a mixed door.
//!
//! | field    | written by                   | read by           | what it carries            |
//! |----------|------------------------------|-------------------|----------------------------|
//! | `word`   | `try_enter`, `leave`: AcqRel | the same, Acquire | the bits above; it also    |
//! |          |                              |                   | orders the shapes' counts  |
//! | `shapes` | a push that is alone         | the same          | the shapes of the groups   |
//! | `recent` | pushes that were published   | all pushes        | layouts that can be shared |
//!
//! Invariant: a push that is alone sees the counts of all shapes as the pushes before it left them.
//! A push changes the counts before it leaves; `leave` releases the word, and `try_enter` acquires
//! it.
//!
//! A door without groups and without a push behind it is dead, and stays dead: a push that finds a
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
/// As `SINGLE`, but a push of another shape has tried to enter: no push enters until those in
/// flight have left.
const MIXING: u64 = 1;
/// Groups of the job may have several shapes.
const MIXED: u64 = 2;
/// The job has no groups and no pushes: the door is not used any more.
const DEAD: u64 = 3;
/// A push is alone behind the door.
const BUSY: u64 = 1 << 2;
/// One push in flight.
const IN_FLIGHT: u64 = 1 << 3;
/// One group of the job.
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

/// Whether other pushes may be behind the door at the same time as this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorEntry {
    /// Pushes of the same shape may be behind the door as well.
    Shared,
    /// This push is alone behind the door.
    Exclusive,
}

/// Why a push may not enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorDenied {
    /// The pushes behind the door have to leave first: try again.
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
    /// A new door for the job of `key`. The caller's push is behind it, as if
    /// [`JobDoor::try_enter`] had returned [`DoorEntry::Shared`].
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
    /// Why the push may not enter; the caller then holds nothing.
    pub fn try_enter(&self, key: &GroupingKey) -> Result<DoorEntry, DoorDenied> {
        let is_first = self.first.is_of(key.canonical());
        let mut entry = Ok(DoorEntry::Shared);
        self.word.update(|word| {
            let (next, result) = match word & STATE {
                DEAD => return Err(DoorDenied::Dead),
                SINGLE if is_first => (word + IN_FLIGHT, Ok(DoorEntry::Shared)),
                // A push of any shape makes a mixing door mixed, not only the push that made it
                // mixing: that one may never try again.
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

    /// Leaves the door that [`JobDoor::try_enter`] has entered. The group of `key` was in the state
    /// `was` then, and is in the state `is` now.
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
            // A mixing door dies, too: the push that made it mixing holds nothing, and may never
            // try again.
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

    /// Adds the shape of `key`, whose group is about to become `state`, unless the limit is
    /// reached. Removes shapes that no group has. For the push that is alone behind the door.
    /// Returns whether the group may have its shape.
    ///
    /// A group with an accepted push may add a shape if fewer than `shapes_max` shapes have such
    /// groups. A group whose pushes were all refused may add one if fewer than `shapes_max` shapes
    /// have any groups. So such groups take no room from the others: no push is refused because of
    /// another push that was refused itself.
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

    /// Frees large layouts of a dead door. The registry of doors keeps dead ones in memory until many
    /// of them can be freed at once.
    pub(super) fn forget_large_layouts(&self) {
        const LARGE_METRICS: usize = 1024;
        let is_large = |layout: &Arc<Layout>| layout.skeleton().n_metrics() >= LARGE_METRICS;
        if self.recent.load().iter().any(is_large) {
            self.recent.store(Arc::default());
        }
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

    /// The push of the second shape never tries again. If only that push could make the door mixed,
    /// no push of the first shape would ever enter again.
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

    /// Otherwise refused pushes would exhaust the limit, and a valid push would be refused.
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
