//! Admission by cells: which groups may expose which names.

use loom_tests::{
    assert_nothing_is_left, delete, explore, key, post, put, put_both, shown, store, try_put,
};
use std::sync::Arc;

/// Fails if `Cell::try_take` grants another role beside a doubt, or if `settle_take` does not make
/// the claim firm.
#[test]
fn of_two_contradicting_pushes_one_is_accepted() {
    explore(4, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put(&other, &key("job=2"), "a=counter", 1));
        let first = put(&store, &key("job=1"), "a=gauge", 1);
        let second = second.join().unwrap();
        assert!(first != second, "first {first}, second {second}");
        if first { "first" } else { "second" }
    });
}

/// Each push has claimed a name that only it has when they meet at `c`. Fails if a busy push keeps
/// the claims that it was granted.
#[test]
fn a_busy_push_gives_back_what_it_was_granted() {
    explore(3, &["first", "second"], || {
        let store = store();
        let (first, second) = put_both(
            &store,
            ("job=1", "a=gauge c=gauge"),
            ("job=2", "b=counter c=counter"),
        );
        assert!(first != second, "first {first}, second {second}");
        let contradicts = if first {
            "a=counter b=gauge c=counter"
        } else {
            "a=counter b=gauge c=gauge"
        };
        assert_nothing_is_left(&store, &["job=1", "job=2"], contradicts);
        if first { "first" } else { "second" }
    });
}

/// The pushes contradict each other about two names, which their bodies have in opposite order.
/// Fails as `of_two_contradicting_pushes_one_is_accepted` does.
#[test]
fn of_two_pushes_that_claim_names_crosswise_one_is_accepted() {
    explore(4, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second =
            loom::thread::spawn(move || put(&other, &key("job=2"), "b=counter a=counter", 1));
        let first = put(&store, &key("job=1"), "a=gauge b=gauge", 1);
        let second = second.join().unwrap();
        assert!(first != second);
        if first { "first" } else { "second" }
    });
}

/// Fails if a doubt refuses: the push to `job=1` will be refused because of `b`, so that the push
/// to `job=2` must not be refused because of its doubt on `a`.
#[test]
fn a_push_that_will_be_refused_refuses_no_other() {
    explore(3, &["accepted at once", "met a doubt"], || {
        let store = store();
        assert!(put(&store, &key("job=0"), "b=counter", 1));
        let other = Arc::clone(&store);
        let doomed =
            loom::thread::spawn(move || put(&other, &key("job=1"), "a=counter b=gauge", 1));
        let accepted = try_put(&store, &key("job=2"), "a=gauge", 1);
        assert_ne!(
            accepted,
            Some(false),
            "refused because of a push that was refused"
        );
        assert!(!doomed.join().unwrap());
        assert!(put(&store, &key("job=2"), "a=gauge", 1));
        if accepted.is_some() {
            "accepted at once"
        } else {
            "met a doubt"
        }
    });
}

/// Fails if a claim in the same role waits for another one, or refuses it.
#[test]
fn agreeing_pushes_share() {
    explore(4, &["first", "second"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || try_put(&other, &key("job=2"), "a=gauge", 1));
        // Neither is refused or busy.
        assert_eq!(
            try_put(&store, &key("job=1"), "a=gauge b=counter", 1),
            Some(true)
        );
        assert_eq!(second.join().unwrap(), Some(true));
        assert_eq!(shown(&store, &key("job=1")), "a=gauge b=counter");
        let version = |job: &str| store.group(&key(job)).unwrap().version;
        if version("job=1") < version("job=2") {
            "first"
        } else {
            "second"
        }
    });
}

/// Fails if `try_drop` leaves the claim firm until the drop is settled.
#[test]
fn a_push_after_a_seen_deletion_is_not_refused_by_what_was_deleted() {
    explore(
        4,
        &["gone, accepted", "there, accepted", "there, refused"],
        || {
            let store = store();
            assert!(put(&store, &key("job=1"), "a=gauge", 1));
            let other = Arc::clone(&store);
            let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
            let is_gone = store.group(&key("job=1")).is_none();
            let is_accepted = put(&store, &key("job=2"), "a=counter", 1);
            deleter.join().unwrap();
            assert!(is_accepted || !is_gone);
            match (is_gone, is_accepted) {
                (true, _) => "gone, accepted",
                (false, true) => "there, accepted",
                (false, false) => "there, refused",
            }
        },
    );
}

/// Fails if a second change is granted while one is under way.
#[test]
fn a_group_may_change_the_type_of_a_family_that_only_it_has() {
    explore(3, &["counter", "summary"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put(&other, &key("job=1"), "a=summary", 1));
        assert!(
            put(&store, &key("job=1"), "a=counter", 1),
            "refused by its own group"
        );
        assert!(second.join().unwrap(), "refused by its own group");
        if shown(&store, &key("job=1")) == "a=counter" {
            "counter"
        } else {
            "summary"
        }
    });
}

/// Fails if a take is granted while a change is under way.
#[test]
fn a_change_of_type_excludes_a_newcomer() {
    explore(4, &["change", "newcomer"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let newcomer = loom::thread::spawn(move || put(&other, &key("job=2"), "a=gauge", 1));
        let change = put(&store, &key("job=1"), "a=counter", 1);
        let newcomer = newcomer.join().unwrap();
        assert!(change != newcomer, "change {change}, newcomer {newcomer}");
        if change { "change" } else { "newcomer" }
    });
}

/// Fails if a merge is published over another base than the one it was made of.
#[test]
fn a_merge_and_a_replacement_of_one_group_follow_each_other() {
    explore(4, &["merge last", "replacement last"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let merge = loom::thread::spawn(move || post(&other, &key("job=1"), "b=gauge", 1));
        assert!(put(&store, &key("job=1"), "c=gauge", 1));
        assert!(merge.join().unwrap());
        match shown(&store, &key("job=1")).as_str() {
            "b=gauge c=gauge" => "merge last",
            "c=gauge" => "replacement last",
            other => panic!("{other}"),
        }
    });
}

/// Fails if a refusal counts although the group has changed since it was judged.
#[test]
fn two_pushes_of_one_group_never_contradict_each_other() {
    explore(3, &["gauge", "counter"], || {
        let store = store();
        let other = Arc::clone(&store);
        let second = loom::thread::spawn(move || put(&other, &key("job=1"), "a=counter", 1));
        assert!(
            put(&store, &key("job=1"), "a=gauge", 1),
            "refused by its own group"
        );
        assert!(second.join().unwrap(), "refused by its own group");
        if shown(&store, &key("job=1")) == "a=gauge" {
            "gauge"
        } else {
            "counter"
        }
    });
}

/// The push in the middle contradicts both others, each about another name. Fails as
/// `of_two_contradicting_pushes_one_is_accepted` does.
#[test]
fn of_three_groups_those_that_agree_are_accepted() {
    explore(2, &["the middle one", "the outer ones"], || {
        let store = store();
        let (second, third) = (Arc::clone(&store), Arc::clone(&store));
        let second =
            loom::thread::spawn(move || put(&second, &key("job=2"), "a=counter b=counter", 1));
        let third = loom::thread::spawn(move || put(&third, &key("job=3"), "b=gauge", 1));
        let first = put(&store, &key("job=1"), "a=gauge", 1);
        let (second, third) = (second.join().unwrap(), third.join().unwrap());
        assert!(
            !second || !(first || third),
            "contradicting pushes were accepted"
        );
        assert!(
            second || (first && third),
            "refused because of a push that was refused"
        );
        if second {
            "the middle one"
        } else {
            "the outer ones"
        }
    });
}

/// Fails if a dead cell is taken instead of looked up again.
#[test]
fn a_dead_cell_is_looked_up_again() {
    explore(4, &["before the deletion", "after it"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        let other = Arc::clone(&store);
        let deleter = loom::thread::spawn(move || delete(&other, &key("job=1")));
        assert!(put(&store, &key("job=2"), "a=gauge", 1));
        deleter.join().unwrap();
        let version = store.group(&key("job=2")).unwrap().version;
        assert!(
            !put(&store, &key("job=3"), "a=counter", 1),
            "the claim of the second group was lost"
        );
        if version == 2 {
            "before the deletion"
        } else {
            "after it"
        }
    });
}

/// A summary `s` exposes `s_count` as well. Fails if a summary does not claim its suffixes.
#[test]
fn a_suffix_and_a_family_of_that_name_exclude_each_other() {
    explore(3, &["the summary", "the family"], || {
        let store = store();
        let (summary, family) =
            put_both(&store, ("job=1", "s=summary"), ("job=2", "s_count=gauge"));
        assert!(summary != family, "summary {summary}, family {family}");
        let contradicts = if summary {
            "s_sum=gauge s_count=counter"
        } else {
            "s_count=counter"
        };
        assert_nothing_is_left(&store, &["job=1", "job=2"], contradicts);
        if summary { "the summary" } else { "the family" }
    });
}

/// Fails if `Cell::try_take` does not compare raw names, or keeps its doubt when they differ.
#[test]
fn of_two_names_that_are_one_when_escaped_one_is_accepted() {
    explore(3, &["with a dot", "with an underscore"], || {
        let store = store();
        let (dot, underscore) = put_both(&store, ("job=1", "a.b=gauge"), ("job=2", "a_b=gauge"));
        assert!(dot != underscore, "dot {dot}, underscore {underscore}");
        assert_nothing_is_left(
            &store,
            &["job=1", "job=2"],
            if dot { "a_b=gauge" } else { "a.b=gauge" },
        );
        if dot {
            "with a dot"
        } else {
            "with an underscore"
        }
    });
}

/// The only group that exposes `a.b` exposes `a_b` instead, while a push brings `a.b` to another
/// group. Fails if `Cell::settle_change` stores the raw name after the word, or not at all.
#[test]
fn a_change_of_the_raw_name_excludes_the_former_one() {
    explore(3, &["change", "newcomer"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a.b=gauge", 1));
        let (change, newcomer) = put_both(&store, ("job=1", "a_b=gauge"), ("job=2", "a.b=gauge"));
        assert!(change != newcomer, "change {change}, newcomer {newcomer}");
        assert_nothing_is_left(
            &store,
            &["job=1", "job=2"],
            if change { "a.b=gauge" } else { "a_b=gauge" },
        );
        if change { "change" } else { "newcomer" }
    });
}

/// The same, but the other push brings `a_b`, which does not contradict the change. Fails if a take
/// that is refused because of the raw name keeps its doubt: the change would wait for it for ever.
#[test]
fn a_change_of_the_raw_name_admits_the_new_one() {
    explore(3, &["newcomer refused", "newcomer accepted"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a.b=gauge", 1));
        let (change, newcomer) = put_both(&store, ("job=1", "a_b=gauge"), ("job=2", "a_b=gauge"));
        assert!(change, "refused because of a push that was refused");
        assert_nothing_is_left(&store, &["job=1", "job=2"], "a.b=gauge");
        if newcomer {
            "newcomer accepted"
        } else {
            "newcomer refused"
        }
    });
}
