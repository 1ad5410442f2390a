//! The door of a job: two groups with different label names can expose the same series.

use loom_tests::store::{DoorEntry, GroupState, JobDoor};
use loom_tests::{delete, explore, key, put, shown, store, try_put};
use std::sync::Arc;

/// The series `a{l="v"}` of the group with nothing but a job is the series `a` of the group with
/// `l="v"`. Fails if a push of the second shape is let in beside one of the first, or if a push
/// that is alone does not compare its series; and if it does not see all groups that pushes before
/// it have made, for which the door's word has to release and acquire.
#[test]
fn one_series_of_two_shapes_is_admitted_once() {
    explore(4, &["the job's", "the label's"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put(&other, &key("job=1,l=v"), "a=gauge", 1));
        let first = put(&store, &key("job=1"), "a{l=v}=gauge", 1);
        let second = second.join().unwrap();
        assert!(first != second, "first {first}, second {second}");
        if first { "the job's" } else { "the label's" }
    });
}

/// Fails if a mixing door lets in further pushes of the first shape, or if the push that mixes does
/// not wait for those in flight.
#[test]
fn two_of_the_first_shape_and_one_of_the_second() {
    explore(
        2,
        &["the second shape", "the first shape", "neither"],
        || {
            let store = store();
            let (second, third) = (Arc::clone(&store), Arc::clone(&store));
            let second =
                loom::thread::spawn(move || try_put(&second, &key("job=1,l=v"), "a=gauge", 1));
            let third =
                loom::thread::spawn(move || try_put(&third, &key("job=1,l=w"), "a=gauge", 1));
            // The series of the second.
            let first = try_put(&store, &key("job=1"), "a{l=v}=gauge", 1);
            let (second, third) = (second.join().unwrap(), third.join().unwrap());
            assert_ne!(third, Some(false), "no other push contradicts it");
            let is_in = |pushed: Option<bool>| pushed == Some(true);
            assert!(
                !(is_in(first) && is_in(second)),
                "{first:?} {second:?} {third:?}"
            );
            match (is_in(first), is_in(second)) {
                (true, _) => "the second shape",
                (false, true) => "the first shape",
                (false, false) => "neither",
            }
        },
    );
}

/// One push leaves the door without a group while another one enters and brings one. Fails if
/// `leave` loses what happened meanwhile: the door would die with a group, or live without one.
#[test]
fn a_door_dies_with_its_last_group() {
    explore(4, &["one door", "two doors"], || {
        let (first, second) = (key("job=1,l=a"), key("job=1,l=b"));
        let door = Arc::new(JobDoor::entered(&first));
        let other = Arc::clone(&door);
        let visitor = loom::thread::spawn(move || match other.try_enter(&second) {
            Ok(entry) => {
                assert_eq!(entry, DoorEntry::Shared);
                other.leave(entry, &second, GroupState::Absent, GroupState::Accepted);
                true
            }
            Err(_) => false,
        });
        door.leave(
            DoorEntry::Shared,
            &first,
            GroupState::Absent,
            GroupState::Absent,
        );
        let has_group = visitor.join().unwrap();
        assert_eq!(door.is_dead(), !has_group);
        if has_group { "one door" } else { "two doors" }
    });
}

/// The only group of a job is deleted while a push brings one of another shape. Fails if a dead
/// door is entered instead of looked up again.
#[test]
fn a_dead_door_is_looked_up_again() {
    explore(4, &["both shapes", "one shape"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a{l=v}=gauge", 1));
        let other = Arc::clone(&store);
        let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
        let is_accepted = put(&store, &key("job=1,l=v"), "a=gauge", 1);
        deleter.join().unwrap();
        assert_eq!(shown(&store, &key("job=1,l=v")) == "a=gauge", is_accepted);
        // Whatever happened to the doors: series are still compared.
        assert_eq!(put(&store, &key("job=1"), "a{l=v}=gauge", 2), !is_accepted);
        if is_accepted {
            "both shapes"
        } else {
            "one shape"
        }
    });
}
