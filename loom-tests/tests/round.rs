//! Models of rounds: every exposition is the state of all groups at one moment (a cut), and a
//! scrape shows every push that was answered before the scrape came.

use loom::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use loom_tests::model::Escaping;
use loom_tests::scrape::Format;
use loom_tests::store::{Consumer, MarkedSlot, Store};
use loom_tests::{Gateway, delete, document, explore, has_line, key, put, store};
use std::sync::Arc;

/// Updates `known`, by slot the type that each of two groups exposes for the family `a`, with the
/// snapshots taken. An empty text stands for no such family.
fn note_types(known: &mut [String; 2], taken: Vec<MarkedSlot>) {
    for MarkedSlot { slot, snapshot } in taken {
        let type_of_a = snapshot
            .layout()
            .family_by_name("a")
            .filter(|_| snapshot.is_live());
        known[slot as usize] = type_of_a
            .map(|family| family.metric_type().as_str().to_owned())
            .unwrap_or_default();
    }
}

/// Takes the marked slots as a round does.
fn take(store: &Store, known: &mut [String; 2]) {
    let mut taken = Vec::new();
    store.take_cut(Consumer::Assembler, &mut taken);
    note_types(known, taken);
}

/// Takes the marked slots as a round does that holds a moment, because pushes come faster than it
/// takes them.
fn take_held(store: &Store, known: &mut [String; 2]) {
    let mut taken = Vec::new();
    assert!(store.take_held_cut(Consumer::Assembler, &mut taken));
    note_types(known, taken);
}

/// No exposition may have the family with two types.
fn assert_is_cut(known: &[String; 2]) {
    assert!(
        known[0].is_empty() || known[1].is_empty() || known[0] == known[1],
        "exposition with two types: {known:?}"
    );
}

/// One thread drops the family `a` from the first group, then adds it to the second group with
/// another type, while a round takes. An earlier push to the second group is still in the queue.
/// Fails if `take_cut` is a single pass.
#[test]
fn a_round_is_a_cut() {
    explore(4, &["before", "between", "after"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        assert!(put(&store, &key("job=2"), "b=gauge", 1));
        let mut known = [String::new(), String::new()];
        take(&store, &mut known);
        assert!(put(&store, &key("job=2"), "b=gauge", 2));
        let other = Arc::clone(&store);
        let pusher = loom::thread::spawn(move || {
            delete(&other, &key("job=1"));
            assert!(put(&other, &key("job=2"), "a=counter b=gauge", 3));
        });
        take(&store, &mut known);
        assert_is_cut(&known);
        let outcome = match (known[0].as_str(), known[1].as_str()) {
            ("gauge", "") => "before",
            ("", "") => "between",
            ("", "counter") => "after",
            other => panic!("{other:?}"),
        };
        pusher.join().unwrap();
        take(&store, &mut known);
        assert_eq!(
            known,
            ["".to_owned(), "counter".to_owned()],
            "an answered push is missing"
        );
        outcome
    });
}

/// As `a_round_is_a_cut`, but the round holds a moment and takes once. Fails if a push after the
/// moment does not keep the state that its group had, or if taking that state does not mark the
/// slot again.
#[test]
fn a_round_that_holds_a_moment_is_a_cut() {
    explore(3, &["before", "between", "after"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        assert!(put(&store, &key("job=2"), "b=gauge", 1));
        let mut known = [String::new(), String::new()];
        take_held(&store, &mut known);
        assert!(put(&store, &key("job=2"), "b=gauge", 2));
        let other = Arc::clone(&store);
        let pusher = loom::thread::spawn(move || {
            delete(&other, &key("job=1"));
            assert!(put(&other, &key("job=2"), "a=counter b=gauge", 3));
            assert!(put(&other, &key("job=2"), "a=counter b=gauge", 4));
        });
        take_held(&store, &mut known);
        assert_is_cut(&known);
        let outcome = match (known[0].as_str(), known[1].as_str()) {
            ("gauge", "") => "before",
            ("", "") => "between",
            ("", "counter") => "after",
            other => panic!("{other:?}"),
        };
        pusher.join().unwrap();
        take_held(&store, &mut known);
        assert_eq!(
            known,
            ["".to_owned(), "counter".to_owned()],
            "an answered push is missing"
        );
        assert!(!store.has_marked(Consumer::Assembler));
        outcome
    });
}

/// One thread pushes numbers to the first group, then to the second, twice. Two rounds that hold a
/// moment each show a state that there was, the second one none that is older than what the first
/// one showed. Fails as the model above does, and if a push keeps its base although the base is
/// itself newer than the moment, or a state that was kept at an earlier moment.
#[test]
fn rounds_that_hold_a_moment_show_numbers_in_the_order_of_their_pushes() {
    explore(3, &["none", "some", "all"], || {
        let store = store();
        for job in ["job=1", "job=2"] {
            assert!(put(&store, &key(job), "a=gauge", 0));
        }
        let mut known = [0, 0];
        let take = |known: &mut [u64; 2]| {
            let before = *known;
            let mut taken = Vec::new();
            assert!(store.take_held_cut(Consumer::Assembler, &mut taken));
            for MarkedSlot { slot, snapshot } in taken {
                known[slot as usize] = snapshot.values[0];
            }
            let [first, second] = *known;
            assert!(
                first == second || first == second + 1,
                "no state that there was: {known:?}"
            );
            assert!(known[0] >= before[0] && known[1] >= before[1]);
        };
        take(&mut known);
        let other = Arc::clone(&store);
        let pusher = loom::thread::spawn(move || {
            for value in 1..=2 {
                assert!(put(&other, &key("job=1"), "a=gauge", value));
                assert!(put(&other, &key("job=2"), "a=gauge", value));
            }
        });
        take(&mut known);
        let outcome = match known {
            [0, 0] => "none",
            [2, 2] => "all",
            _ => "some",
        };
        take(&mut known);
        pusher.join().unwrap();
        take(&mut known);
        assert_eq!(known, [2, 2], "an answered push is missing");
        outcome
    });
}

/// The same two changes by two threads. Fails if a version is drawn before the last claim is
/// granted, or if claims are settled before the slot is marked.
#[test]
fn a_round_beside_two_pushers_is_a_cut() {
    explore(2, &["before", "between", "after"], || {
        let store = store();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        assert!(put(&store, &key("job=2"), "b=gauge", 1));
        let mut known = [String::new(), String::new()];
        take(&store, &mut known);
        assert!(put(&store, &key("job=2"), "b=gauge", 2));
        let (first, second) = (Arc::clone(&store), Arc::clone(&store));
        let first = loom::thread::spawn(move || delete(&first, &key("job=1")));
        let second =
            loom::thread::spawn(move || put(&second, &key("job=2"), "a=counter b=gauge", 3));
        take(&store, &mut known);
        assert_is_cut(&known);
        let outcome = match (known[0].as_str(), known[1].as_str()) {
            ("gauge", "") => "before",
            ("", "") => "between",
            ("", "counter") => "after",
            other => panic!("{other:?}"),
        };
        first.join().unwrap();
        let is_accepted = second.join().unwrap();
        take(&store, &mut known);
        assert!(known[0].is_empty(), "an answered delete is missing");
        assert_eq!(
            known[1] == "counter",
            is_accepted,
            "an answered push is missing"
        );
        outcome
    });
}

/// A push, a round and a scrape in three threads. A push that was answered before the scrape began
/// is in the exposition that the scrape sends, whether that is the current one or the one that the
/// scrape waits for. Fails if `check_complete` loads the count once, or waits for a round that runs
/// already; if a round takes the marked slots before `Rounds::begin`, or publishes after
/// `Rounds::end`; or if a push is answered before its slot is marked.
#[test]
fn a_scrape_shows_what_was_answered_before_it() {
    explore(
        3,
        &[
            "at once, without",
            "at once, with",
            "after a round",
            "after a round of its own",
        ],
        || {
            let (gateway, mut assembler) = Gateway::new();
            assert!(put(
                &gateway.store,
                &key("job=1"),
                "a=gauge",
                1f64.to_bits()
            ));
            gateway.round(&mut assembler);
            let is_answered = Arc::new(AtomicUsize::new(0));
            let (other, answered) = (Arc::clone(&gateway), Arc::clone(&is_answered));
            let pusher = loom::thread::spawn(move || {
                assert!(put(&other.store, &key("job=1"), "a=gauge", 2f64.to_bits()));
                answered.store(1, Release);
            });
            let other = Arc::clone(&gateway);
            let runner = loom::thread::spawn(move || {
                other.round(&mut assembler);
                assembler
            });
            let is_owed = is_answered.load(Acquire) == 1;
            let (exposition, outcome) =
                match gateway
                    .rendezvous
                    .try_current(&gateway.store, Format::PLAIN, false, 1)
                {
                    Ok(exposition) => (exposition, "at once"),
                    // Only the count tells that the round has run. Joining the round's thread here
                    // would add an ordering that a scrape does not have.
                    Err(round) if gateway.rendezvous.has_reached(round) => {
                        (gateway.rendezvous.current(false), "after a round")
                    }
                    Err(round) => {
                        let mut assembler = runner.join().unwrap();
                        while !gateway.rendezvous.has_reached(round) {
                            gateway.round(&mut assembler);
                        }
                        pusher.join().unwrap();
                        let is_shown = has_line(
                            gateway.rendezvous.current(false),
                            "a{instance=\"\",job=\"1\"} 2",
                        );
                        assert!(is_shown || !is_owed, "an answered push is missing");
                        return "after a round of its own";
                    }
                };
            pusher.join().unwrap();
            runner.join().unwrap();
            let is_shown = has_line(exposition, "a{instance=\"\",job=\"1\"} 2");
            assert!(is_shown || !is_owed, "an answered push is missing");
            match (outcome, is_shown) {
                ("at once", false) => "at once, without",
                ("at once", true) => "at once, with",
                _ => outcome,
            }
        },
    );
}

/// The same with plain and compressed text, where the round publishes plain text before it
/// compresses. Fails if scrapes of compressed text take such a round for complete; if the round
/// calls `Rounds::show_plain` before it has published plain text, or scrapes of plain text take a
/// round that has only begun for complete; and if scrapes of plain text use the exposition for
/// compressed text.
#[test]
fn a_scrape_of_plain_text_need_not_wait_for_compression() {
    let outcomes = [
        "after it had to wait",
        "both wait",
        "both with",
        "both without",
        "gzip later",
        "plain with",
        "plain without",
        "plain without, gzip with",
    ];
    explore(3, &outcomes, || {
        let (gateway, mut assembler) = Gateway::new();
        assert!(put(
            &gateway.store,
            &key("job=1"),
            "a=gauge",
            1f64.to_bits()
        ));
        assert!(gateway.try_current(false).is_err() && gateway.try_current(true).is_err());
        gateway.round(&mut assembler);
        let is_answered = Arc::new(AtomicUsize::new(0));
        let (other, answered) = (Arc::clone(&gateway), Arc::clone(&is_answered));
        let runner = loom::thread::spawn(move || {
            assert!(put(&other.store, &key("job=1"), "a=gauge", 2f64.to_bits()));
            answered.store(1, Release);
            other.round(&mut assembler);
        });
        let is_owed = is_answered.load(Acquire) == 1;
        let is_late = std::cell::Cell::new(false);
        let scraped = [false, true].map(|gzip| {
            let exposition = match gateway.try_current(gzip) {
                Ok(exposition) => exposition,
                // Only the count tells that the round shows the push.
                Err(count) if gateway.rendezvous.has_reached(count) => {
                    is_late.set(true);
                    gateway.rendezvous.current(gzip)
                }
                Err(_) => return None,
            };
            assert!(
                !gzip || document(Arc::clone(&exposition), true).is_some(),
                "there is no compressed form"
            );
            let is_shown = has_line(exposition, "a{instance=\"\",job=\"1\"} 2");
            assert!(is_shown || !is_owed, "an answered push is missing");
            Some(is_shown)
        });
        runner.join().unwrap();
        match scraped {
            _ if is_late.get() => "after it had to wait",
            [None, None] => "both wait",
            [None, Some(true)] => "gzip later",
            [Some(false), None] => "plain without",
            [Some(false), Some(false)] => "both without",
            [Some(false), Some(true)] => "plain without, gzip with",
            [Some(true), None] => "plain with",
            [Some(true), Some(true)] => "both with",
            other => panic!("{other:?}"),
        }
    });
}

/// A scrape asks for a format that is not kept, and learns for which round to wait. That round has
/// to see that the format is wanted. Fails without the fence in `Rounds::begin`, and without its
/// partner in `Rendezvous::try_current`.
#[test]
fn the_round_that_is_waited_for_knows_what_was_asked() {
    explore(4, &["at once", "this round", "the next"], || {
        let (gateway, mut assembler) = Gateway::new();
        gateway.round(&mut assembler);
        let other = Arc::clone(&gateway);
        let runner = loom::thread::spawn(move || {
            other.round(&mut assembler);
            assembler
        });
        let dots = Format::Text(Escaping::Dots);
        let asked = gateway
            .rendezvous
            .try_current(&gateway.store, dots, false, 1);
        let mut assembler = runner.join().unwrap();
        let (exposition, outcome) = match asked {
            Ok(exposition) => (exposition, "at once"),
            Err(round) if gateway.rendezvous.has_reached(round) => {
                (gateway.rendezvous.current(false), "this round")
            }
            Err(round) => {
                gateway.round(&mut assembler);
                assert!(
                    gateway.rendezvous.has_reached(round),
                    "waits for more than one round after the one that ran"
                );
                (gateway.rendezvous.current(false), "the next")
            }
        };
        assert!(
            exposition.len_of(dots).is_some(),
            "the round that is waited for does not know what was asked"
        );
        outcome
    });
}
