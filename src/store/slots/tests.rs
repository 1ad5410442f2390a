//! Tests of the slots.

use super::super::snapshot::GroupContent;
use super::*;
use crate::model::Skeleton;
use Consumer::{Assembler, DiskWriter};

fn key(job: &str) -> Arc<GroupingKey> {
    Arc::new(GroupingKey::new([("job", job)]).unwrap())
}

fn slots(consumers: &[Consumer]) -> Slots {
    let empty = Layout::new(Skeleton::default(), &key("none")).unwrap();
    Slots::new(consumers, Arc::new(empty))
}

/// The numbers of the taken slots, and their snapshots.
fn take(slots: &Slots, consumer: Consumer) -> (Vec<u32>, Vec<Arc<Snapshot>>) {
    let mut taken = Vec::new();
    slots.take_cut(consumer, &mut taken);
    taken
        .into_iter()
        .map(|taken| (taken.slot, taken.snapshot))
        .unzip()
}

#[test]
fn each_consumer_takes_a_marked_slot_once() {
    let slots = slots(&[DiskWriter, Assembler]);
    let slot = slots.find_or_add(&key("a"));
    slots.mark(&slot);
    slots.mark(&slot);
    assert_eq!(take(&slots, Assembler).0, [0]);
    assert!(!slots.has_marked(Assembler) && slots.has_marked(DiskWriter));
    assert_eq!(take(&slots, DiskWriter).0, [0]);
    assert_eq!(slots.n_marked(DiskWriter), 0);
}

#[test]
fn a_number_is_free_when_every_consumer_has_passed_the_slot() {
    let slots = slots(&[Assembler, DiskWriter]);
    slots.mark(&slots.find_or_add(&key("a")));
    let (_, tombstones) = take(&slots, Assembler);
    slots.pass_tombstones(Assembler, &tombstones);
    slots.pass_tombstones(Assembler, &tombstones);
    assert!(slots.find(key("a").canonical().as_bytes()).is_some());
    assert_eq!(slots.find_or_add(&key("b")).number, 1);
    slots.pass_tombstones(DiskWriter, &take(&slots, DiskWriter).1);
    assert!(slots.find(key("a").canonical().as_bytes()).is_none());
    assert_eq!(slots.find_or_add(&key("c")).number, 0);
}

/// Pushes to a group that has no families: a push with the version `drawn`, at `time`.
fn push_drawn(slots: &Slots, job: &str, drawn: DrawnVersion, time: i64) {
    let slot = slots.find_or_add(&key(job));
    let base = slot.current_for_update();
    let content = GroupContent::empty(Arc::clone(base.layout()));
    let mut next = Snapshot::after_push(&base, drawn.version(), key(job), content, time);
    slots.keep_at_moment(drawn, &base, &mut next);
    assert!(slot.replace(&base, Arc::new(next)));
    slots.mark(&slot);
}

fn push(slots: &Slots, job: &str, time: i64) {
    push_drawn(slots, job, slots.draw_version(), time);
}

/// Each taken group and its push time, 0 if there is no group, in the order of jobs.
fn times(taken: &[MarkedSlot]) -> Vec<(&str, i64)> {
    let mut times: Vec<_> = taken
        .iter()
        .map(|taken| (taken.snapshot.key().job(), taken.snapshot.push_time))
        .collect();
    times.sort_unstable();
    times
}

fn take_held(moment: &HeldMoment) -> Vec<MarkedSlot> {
    let mut taken = Vec::new();
    moment.take(Assembler, &mut taken);
    taken
}

fn take_rest(slots: &Slots) -> Vec<MarkedSlot> {
    let mut taken = Vec::new();
    slots.take_cut(Assembler, &mut taken);
    taken
}

#[test]
fn a_held_moment_shows_no_push_that_came_after_it() {
    let slots = slots(&[Assembler]);
    push(&slots, "a", 1);
    let moment = HeldMoment::begin(&slots).unwrap();
    push(&slots, "a", 2);
    push(&slots, "a", 3);
    push(&slots, "b", 3);
    assert_eq!(times(&take_held(&moment)), [("a", 1), ("b", 0)]);
    // The later states are marked again.
    push(&slots, "a", 4);
    assert_eq!(times(&take_held(&moment)), [("a", 1), ("b", 0)]);
    drop(moment);
    assert_eq!(times(&take_rest(&slots)), [("a", 4), ("b", 3)]);
    assert!(!slots.has_marked(Assembler));
}

#[test]
fn each_held_moment_shows_its_own_states() {
    let slots = slots(&[Assembler]);
    push(&slots, "a", 1);
    for time in 1..4 {
        let moment = HeldMoment::begin(&slots).unwrap();
        push(&slots, "a", time + 1);
        assert_eq!(times(&take_held(&moment)), [("a", time)]);
    }
    // One older state is kept, and not one of each moment.
    let slot = slots.find_or_add(&key("a"));
    let kept = Arc::clone(slot.current().at_moment().unwrap());
    assert_eq!(kept.push_time, 3);
    assert!(kept.at_moment().is_none());
    push(&slots, "a", 5);
    assert!(slot.current().at_moment().is_none());
    assert_eq!(times(&take_rest(&slots)), [("a", 5)]);
}

#[test]
fn a_push_that_was_suspended_since_the_moment_before_belongs_to_the_next_one() {
    let slots = slots(&[Assembler]);
    push(&slots, "a", 1);
    let first = HeldMoment::begin(&slots).unwrap();
    push(&slots, "a", 2);
    let drawn = slots.draw_version();
    drop(first);
    let second = HeldMoment::begin(&slots).unwrap();
    push_drawn(&slots, "a", drawn, 3);
    assert_eq!(times(&take_held(&second)), [("a", 3)]);
    push(&slots, "a", 4);
    assert_eq!(times(&take_held(&second)), [("a", 3)]);
    drop(second);
    assert_eq!(times(&take_rest(&slots)), [("a", 4)]);
}

#[test]
fn one_consumer_at_a_time_holds_a_moment() {
    let slots = slots(&[Assembler, DiskWriter]);
    push(&slots, "a", 1);
    let moment = HeldMoment::begin(&slots).unwrap();
    let mut taken = Vec::new();
    assert!(!slots.take_held_cut(DiskWriter, &mut taken));
    assert!(taken.is_empty());
    drop(moment);
    assert!(slots.take_held_cut(DiskWriter, &mut taken));
    assert_eq!(times(&taken), [("a", 1)]);
}

#[test]
#[should_panic(expected = "each once")]
fn a_consumer_is_not_named_twice() {
    slots(&[Assembler, Assembler]);
}
