//! Slots: their snapshots, and how they go.

use loom_tests::store::{Consumer, Store, Taken};
use loom_tests::{delete, explore, key, post, put, shown, store};
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
    explore(4, &["both"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge b=gauge", 1));
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || post(&other, &key("job=1"), "b=gauge", 3));
        assert!(post(&store, &key("job=1"), "a=gauge", 2));
        assert!(second.join().unwrap());
        assert_eq!(store.group(&key("job=1")).unwrap().values.as_slice(), [2, 3]);
        "both"
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
