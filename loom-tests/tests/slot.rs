//! Slots: their snapshots, and how they are retired.

use loom_tests::model::MetricExtra;
use loom_tests::store::{Consumer, MarkedSlot, Outcome, Push, PushMode, Refusal, Store};
use loom_tests::{
    Gateway, assert_nothing_is_left, delete, explore, families, has_line, key, post, put, shown,
    store, try_put,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Takes the marked slots and passes their tombstones, as the assembler does.
fn assemble(store: &Store) -> Vec<MarkedSlot> {
    let mut taken = Vec::new();
    store.take_cut(Consumer::Assembler, &mut taken);
    for taken in taken.iter().filter(|taken| !taken.snapshot.is_live()) {
        store.pass_tombstones(Consumer::Assembler, std::slice::from_ref(&taken.snapshot));
    }
    taken
}

/// Fails if a push is published into a slot that is retired, if a slot is retired although a push
/// has brought its group again, or if its number is given out although it stays.
#[test]
fn a_push_is_not_lost_in_a_slot_that_is_retired() {
    const OUTCOMES: [&str; 4] = [
        "before the look",
        "between look and retiring",
        "met the retiring",
        "after the retiring",
    ];
    explore(4, &OUTCOMES, || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        delete(&store, &key("job=1"));
        // The standard library's, which orders nothing here. Tells when the push was answered, for
        // the outcome alone.
        let is_answered = Arc::new(AtomicBool::new(false));
        let (other, answered) = (Arc::clone(&store), Arc::clone(&is_answered));
        let assembler = loom::thread::spawn(move || {
            let taken = assemble(&other);
            (
                taken.iter().any(|taken| taken.snapshot.is_live()),
                answered.load(Relaxed),
            )
        });
        assert!(put(&store, &key("job=1"), "b=gauge", 1));
        is_answered.store(true, Relaxed);
        let (was_seen, was_answered) = assembler.join().unwrap();
        let last = assemble(&store);
        assert!(
            was_seen || last.iter().any(|taken| taken.snapshot.is_live()),
            "an answered push is missing"
        );
        assert_eq!(shown(&store, &key("job=1")), "b=gauge");
        // Two versions before the push and one for the push; one more for an exchange that failed
        // because the slot was dead.
        let has_lost = store.group(&key("job=1")).unwrap().version > 3;
        // No other slot has the number of this one, even if it was about to be retired.
        assert!(put(&store, &key("job=1"), "b=gauge", 2));
        assert!(put(&store, &key("job=2"), "b=gauge", 2));
        let numbers: Vec<u32> = assemble(&store).iter().map(|taken| taken.slot).collect();
        assert!(
            numbers.len() == 2 && numbers[0] != numbers[1],
            "two groups have one number: {numbers:?}"
        );
        match (was_seen, has_lost, was_answered) {
            (true, ..) => OUTCOMES[0],
            (false, true, _) => OUTCOMES[2],
            (false, false, true) => OUTCOMES[1],
            (false, false, false) => OUTCOMES[3],
        }
    });
}

/// A deletion has published its tombstone, but has not marked the slot yet. A round that takes the
/// slot because of an earlier mark retires it, and the next group gets its number. Then the
/// deletion marks the slot. Fails if `Store::take_cut` takes dead slots.
#[test]
fn a_number_that_is_reused_while_the_old_slot_is_queued_belongs_to_the_new_group() {
    explore(
        4,
        &[
            "another number",
            "the number again",
            "the number again, queued",
        ],
        || {
            let (gateway, mut assembler) = Gateway::new();
            let store = &gateway.store;
            assert!(put(store, &key("job=1"), "a=gauge", 1f64.to_bits()));
            let other = Arc::clone(&gateway);
            let deleter = loom::thread::spawn(move || delete(&other.store, &key("job=1")));
            gateway.round(&mut assembler);
            assert!(put(store, &key("job=2"), "b=gauge", 1f64.to_bits()));
            let n_queued = store.n_marked(Consumer::Assembler);
            gateway.round(&mut assembler);
            let is_shown = || {
                has_line(
                    gateway.rendezvous.current(false),
                    "b{instance=\"\",job=\"2\"} 1",
                )
            };
            assert!(is_shown(), "an answered push is missing");
            deleter.join().unwrap();
            gateway.round(&mut assembler);
            assert!(
                is_shown(),
                "the new group was deleted with the one that had its number"
            );
            assert!(
                !has_line(
                    gateway.rendezvous.current(false),
                    "a{instance=\"\",job=\"1\"} 1"
                ),
                "an answered delete is missing"
            );
            assert_eq!(gateway.rendezvous.current(false).n_groups, 1);
            // Pushed once more only to see the number of its slot.
            assert!(put(store, &key("job=2"), "b=gauge", 2));
            let number = assemble(store).last().unwrap().slot;
            // The first group's number is 0.
            match (number, n_queued) {
                (0, 2..) => "the number again, queued",
                (0, _) => "the number again",
                _ => "another number",
            }
        },
    );
}

/// Deletes these groups and retires their slots. There were at most `n_slots` slots at once.
///
/// # Panics
///
/// If a slot was left behind: then its number is missing among those that the next groups get.
fn assert_no_slot_is_left(store: &Store, groups: &[&str], n_slots: u32) {
    groups.iter().for_each(|labels| delete(store, &key(labels)));
    assemble(store);
    for n in 0..n_slots {
        assert!(put(store, &key(&format!("job=next{n}")), "", 1));
    }
    let numbers: BTreeSet<u32> = assemble(store).iter().map(|taken| taken.slot).collect();
    assert!(
        numbers.iter().eq((0..n_slots).collect::<Vec<_>>().iter()),
        "a slot was left behind: {numbers:?}"
    );
}

/// A push that was busy has left a slot without a group, and is never tried again. Fails if
/// `Store::push` does not mark a slot that it leaves without a group.
#[test]
fn a_slot_that_was_left_without_a_group_is_retired() {
    explore(4, &["accepted", "refused", "busy"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || try_put(&other, &key("job=2"), "a=counter", 1));
        let first = try_put(&store, &key("job=1"), "a=gauge", 1);
        let second = second.join().unwrap();
        assert!(
            first == Some(true) || second == Some(true),
            "first {first:?}, second {second:?}"
        );
        assert!(
            first != Some(true) || second != Some(true),
            "contradicting pushes were accepted"
        );
        assemble(&store);
        assert_no_slot_is_left(&store, &["job=1", "job=2"], 2);
        match first {
            Some(true) => "accepted",
            Some(false) => "refused",
            None => "busy",
        }
    });
}

/// The same, but the push is tried again while the slot is retired. Fails as
/// `a_push_is_not_lost_in_a_slot_that_is_retired` does.
#[test]
fn a_busy_push_is_tried_again_while_its_slot_is_retired() {
    explore(
        3,
        &["not busy", "busy, never seen", "busy, seen without a group"],
        || {
            let store = store();
            let other = Arc::clone(&store);
            let second = loom::thread::spawn(move || {
                (put(&other, &key("job=2"), "a=counter", 1), assemble(&other))
            });
            let first = try_put(&store, &key("job=1"), "a=gauge", 1);
            assert!(put(&store, &key("job=1"), "b=gauge", 1));
            let (second, taken) = second.join().unwrap();
            assert!(
                second || first == Some(true),
                "refused because of a push that was refused"
            );
            assert_eq!(shown(&store, &key("job=1")), "b=gauge");
            // Version 0 is that of a slot that never had a group.
            match (first, taken.iter().any(|taken| taken.snapshot.version == 0)) {
                (Some(_), _) => "not busy",
                (None, false) => "busy, never seen",
                (None, true) => "busy, seen without a group",
            }
        },
    );
}

/// Fails if the failure time is published over another state than the one that it was added to: the
/// deleted families would be back, without claims on their names.
#[test]
fn a_refusal_and_a_deletion_of_its_group_follow_each_other() {
    const OUTCOMES: [&str; 4] = [
        "deleted last",
        "deleted last, met",
        "refused last",
        "refused last, met",
    ];
    explore(4, &OUTCOMES, || {
        let store = store();
        assert!(put(&store, &key("job=2"), "a=counter", 1));
        assert!(put(&store, &key("job=1"), "b=gauge", 1));
        let other = Arc::clone(&store);
        let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
        assert!(!put(&store, &key("job=1"), "a=gauge", 1));
        deleter.join().unwrap();
        let group = store.group(&key("job=1"));
        if let Some(group) = &group {
            assert_eq!(
                (
                    shown(&store, &key("job=1")).as_str(),
                    group.push_time,
                    group.failure_time
                ),
                ("", 0, 1)
            );
        }
        // Versions: two for the groups, one for the deletion, one for the refusal, this one, and
        // one more for an exchange that failed.
        assert!(put(&store, &key("job=3"), "c=gauge", 1));
        let has_met = store.group(&key("job=3")).unwrap().version > 5;
        assert_nothing_is_left(
            &store,
            &["job=1", "job=2", "job=3"],
            "a=gauge b=counter c=counter",
        );
        match (group.is_some(), has_met) {
            (false, false) => OUTCOMES[0],
            (false, true) => OUTCOMES[1],
            (true, false) => OUTCOMES[2],
            (true, true) => OUTCOMES[3],
        }
    });
}

/// Fails if one of two pushes that only change values overwrites the other one's.
#[test]
fn values_of_two_merges_are_both_kept() {
    explore(4, &["one after the other", "met each other"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge b=gauge", 1));
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || post(&other, &key("job=1"), "b=gauge", 3));
        assert!(post(&store, &key("job=1"), "a=gauge", 2));
        assert!(second.join().unwrap());
        let group = store.group(&key("job=1")).unwrap();
        assert_eq!(group.values.as_slice(), [2, 3]);
        // One version for each push, and one more for an exchange that failed.
        if group.version == 3 {
            "one after the other"
        } else {
            "met each other"
        }
    });
}

/// Fails if a deletion removes what was pushed after the state that it has seen: the new names
/// would stay claimed.
#[test]
fn a_deletion_and_a_push_follow_each_other() {
    explore(4, &["pushed last", "deleted last"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
        assert!(put(&store, &key("job=1"), "a=gauge b=gauge", 1));
        deleter.join().unwrap();
        let outcome = match shown(&store, &key("job=1")).as_str() {
            "a=gauge b=gauge" => "pushed last",
            "" => "deleted last",
            other => panic!("{other}"),
        };
        assert_nothing_is_left(&store, &["job=1"], "a=counter b=counter");
        outcome
    });
}

/// A push that contradicts itself used to lose its families in its first attempt and to empty the
/// group in its second. Fails if a fault of the push alone is judged again after the group has
/// changed.
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
        assert_eq!(
            (
                shown(&store, &key("job=1")).as_str(),
                &group.values[..],
                group.failure_time
            ),
            ("a=gauge", &[2][..], 1)
        );
        // One version for each of the three states that were published, and one more for an
        // exchange that failed.
        if group.version == 3 {
            "alone"
        } else {
            "met the other"
        }
    });
}

/// A push that lost its first attempt used to bring its values and lose its exemplars. Fails if a
/// second attempt brings less than the first.
#[test]
fn a_push_that_is_tried_again_brings_everything() {
    fn put_with_extra(store: &Store, value: u64) {
        let mut families = families("a=gauge", value);
        families.extras.push(MetricExtra {
            metric: 0,
            body: value.to_string().into_bytes().into(),
        });
        let mut push = Push::new(key("job=1"), families, PushMode::Replace, 1);
        while store.push(&mut push) != Outcome::Done {
            loom::thread::yield_now();
        }
    }
    explore(3, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put_with_extra(&other, 2));
        put_with_extra(&store, 1);
        second.join().unwrap();
        let group = store.group(&key("job=1")).unwrap();
        assert_eq!(
            &*group.extras[0].body,
            group.values[0].to_string().as_bytes()
        );
        if group.values[0] == 1 {
            "first"
        } else {
            "second"
        }
    });
}

/// Fails if a group is replaced by one whose key is written otherwise.
#[test]
fn of_two_ways_to_write_a_key_one_is_accepted() {
    explore(3, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second =
            loom::thread::spawn(move || put(&other, &key("job=1,instance="), "a=gauge", 2));
        let first = put(&store, &key("job=1"), "a=gauge", 1);
        assert!(first != second.join().unwrap());
        if first { "first" } else { "second" }
    });
}

/// Fails if a group that only has refused pushes refuses a valid push whose key is written
/// otherwise.
#[test]
fn a_refused_push_does_not_take_a_key_from_another_push() {
    explore(
        3,
        &[
            "accepted first",
            "accepted first, met",
            "refused first",
            "refused first, met",
        ],
        || {
            let store = store();
            let other = Arc::clone(&store);
            let refused = loom::thread::spawn(move || {
                let mut push = Push::new(
                    key("job=1,instance="),
                    families("s=summary s_count=gauge", 2),
                    PushMode::Replace,
                    1,
                );
                loop {
                    match other.push(&mut push) {
                        Outcome::Refused(refusal) => return refusal,
                        outcome => assert_eq!(outcome, Outcome::Busy),
                    }
                    loom::thread::yield_now();
                }
            });
            assert!(put(&store, &key("job=1"), "a=gauge", 1));
            let refusal = refused.join().unwrap();
            let group = store.group(&key("job=1")).unwrap();
            assert_eq!(
                (shown(&store, &key("job=1")).as_str(), group.failure_time),
                ("a=gauge", 0)
            );
            // One version for each state that was published, and one more for an exchange that
            // failed.
            match (refusal, group.version) {
                (Refusal::OtherKey { .. }, 1) => "accepted first",
                (Refusal::OtherKey { .. }, _) => "accepted first, met",
                (_, 2) => "refused first",
                (..) => "refused first, met",
            }
        },
    );
}
