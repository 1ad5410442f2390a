//! The door of a job: two groups with different label names can expose the same series.

use loom_tests::store::{DoorEntry, GroupState, JobDoor};
use loom_tests::{delete, explore, key, put, shown, store, try_put};
use std::sync::Arc;

/// `a{l="v"}` in the group of the job alone is the same series as `a` in the group with `l="v"`.
/// Fails if a push of a second shape enters beside one of the first, or if a push that is alone
/// behind the door does not compare its series.
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

/// Fails if more pushes of the first shape enter a mixing door, or if it becomes mixed before those
/// behind it have left.
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
            // This is the series of the second push.
            let first = try_put(&store, &key("job=1"), "a{l=v}=gauge", 1);
            let (second, third) = (second.join().unwrap(), third.join().unwrap());
            assert_ne!(third, Some(false), "nobody contradicts it");
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

/// Fails if `leave` loses a change of the word by another push: the door would be dead although the
/// job has a group, or not dead although it has none.
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

/// Fails if a dead door is entered instead of looked up again, or if the door that has taken its
/// place is removed.
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
        // Whichever doors died: the next push still compares its series.
        assert_eq!(put(&store, &key("job=1"), "a{l=v}=gauge", 2), !is_accepted);
        if is_accepted {
            "both shapes"
        } else {
            "one shape"
        }
    });
}
