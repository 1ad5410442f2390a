//! Slots: their snapshots, and how they go.

use loom_tests::model::MetricExtra;
use loom_tests::store::{Consumer, Outcome, Push, PushMode, Store, Taken};
use loom_tests::{delete, explore, families, key, post, put, shown, store};
use std::sync::Arc;

/// Takes what is marked and retires what is gone, as the assembler does.
fn assemble(store: &Store) -> Vec<Taken> {
    let mut taken = Vec::new();
    store.take_cut(Consumer::Assembler, &mut taken);
    for taken in taken.iter().filter(|taken| !taken.snapshot.is_live()) {
        store.retire(Consumer::Assembler, &taken.snapshot);
    }
    taken
}

/// Fails if a push is published into a slot that is retired, or a slot is retired under a push.
#[test]
fn a_push_is_not_lost_in_a_slot_that_goes() {
    explore(4, &["accepted"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        delete(&store, &key("job=1"));
        let other = Arc::clone(&store);
        let assembler = loom::thread::spawn(move || {
            assemble(&other);
        });
        assert!(put(&store, &key("job=1"), "b=gauge", 1));
        assembler.join().unwrap();
        assemble(&store);
        assert_eq!(shown(&store, &key("job=1")), "b=gauge");
        "accepted"
    });
}

/// Fails if two pushes that only change numbers overwrite each other's families.
#[test]
fn numbers_of_two_merges_are_both_kept() {
    explore(4, &["one after the other", "met each other"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge b=gauge", 1));
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || post(&other, &key("job=1"), "b=gauge", 3));
        assert!(post(&store, &key("job=1"), "a=gauge", 2));
        assert!(second.join().unwrap());
        let group = store.group(&key("job=1")).unwrap();
        assert_eq!(group.values.as_slice(), [2, 3]);
        // One version each, and one for an exchange that failed.
        if group.version == 3 { "one after the other" } else { "met each other" }
    });
}

/// Fails if a deletion takes away what was pushed after the state that it saw.
#[test]
fn a_deletion_and_a_push_follow_each_other() {
    explore(4, &["pushed last", "deleted last"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
        assert!(put(&store, &key("job=1"), "a=gauge b=gauge", 1));
        deleter.join().unwrap();
        match shown(&store, &key("job=1")).as_str() {
            "a=gauge b=gauge" => "pushed last",
            "" => "deleted last",
            other => panic!("{other}"),
        }
    });
}

/// A push that contradicts itself lost its families with its first attempt, and emptied the group with the second. Fails if a flaw of
/// the push alone is judged again after the group has changed.
#[test]
fn a_push_that_contradicts_itself_is_refused_whatever_others_push() {
    explore(4, &["alone", "met the other"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let numbers = loom::thread::spawn(move || put(&other, &key("job=1"), "a=gauge", 2));
        assert!(!put(&store, &key("job=1"), "s=summary s_count=gauge", 3));
        assert!(numbers.join().unwrap());
        let group = store.group(&key("job=1")).unwrap();
        assert_eq!((shown(&store, &key("job=1")).as_str(), &group.values[..], group.failure_time), ("a=gauge", &[2][..], 1));
        // One version each for the three that were published, and one for an exchange that failed.
        if group.version == 3 { "alone" } else { "met the other" }
    });
}

/// A push that came second brought its numbers and lost its exemplars. Fails if a second attempt takes less than the first.
#[test]
fn a_push_that_comes_again_brings_all_that_it_has() {
    fn put_with_extra(store: &Store, value: u64) {
        let mut families = families("a=gauge", value);
        families.extras.push(MetricExtra { metric: 0, body: value.to_string().into_bytes().into() });
        let mut push = Push::new(key("job=1"), families, PushMode::Replace, 1);
        while store.push(&mut push) != Outcome::Done {
            loom::thread::yield_now();
        }
    }
    explore(4, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put_with_extra(&other, 2));
        put_with_extra(&store, 1);
        second.join().unwrap();
        let group = store.group(&key("job=1")).unwrap();
        assert_eq!(&*group.extras[0].body, group.values[0].to_string().as_bytes());
        if group.values[0] == 1 { "first" } else { "second" }
    });
}

/// Fails if a group is replaced by one whose key is another way to write its own.
#[test]
fn of_two_ways_to_write_a_key_one_gets_the_group() {
    explore(4, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put(&other, &key("job=1,instance="), "a=gauge", 2));
        let first = put(&store, &key("job=1"), "a=gauge", 1);
        assert!(first != second.join().unwrap());
        if first { "first" } else { "second" }
    });
}

/// Fails if the group of a refused push refuses a valid one to another way to write its key.
#[test]
fn a_refused_push_takes_no_key_from_others() {
    explore(4, &["accepted"], || {
        let store = store();
        let other = Arc::clone(&store);
        let refused = loom::thread::spawn(move || put(&other, &key("job=1,instance="), "s=summary s_count=gauge", 2));
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        assert!(!refused.join().unwrap());
        assert_eq!(shown(&store, &key("job=1")), "a=gauge");
        "accepted"
    });
}
