//! Rounds: every exposition is the state of all groups at one moment, and shows what was answered before it was asked for.

use loom::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, Ordering::SeqCst, fence};
use loom_tests::round::Rounds;
use loom_tests::store::{Consumer, Store, Taken};
use loom_tests::sync::Queue;
use loom_tests::{delete, explore, key, put, store};
use std::sync::Arc;

/// What two groups show of the family `a` after these looks: by slot the last one counts.
fn types(known: &mut [String; 2], taken: Vec<Taken>) {
    for Taken { slot, snapshot } in taken {
        let type_of_a = snapshot.fixed.layout.family_by_name("a").filter(|_| snapshot.is_live());
        known[slot as usize] = type_of_a.map(|family| family.metric_type().as_str().to_owned()).unwrap_or_default();
    }
}

fn take(store: &Store, known: &mut [String; 2]) {
    let mut taken = Vec::new();
    store.take_cut(Consumer::Assembler, &mut taken);
    types(known, taken);
}

fn assert_is_cut(known: &[String; 2]) {
    assert!(known[0].is_empty() || known[1].is_empty() || known[0] == known[1], "exposition with two types: {known:?}");
}

/// The first group drops `a`, then the second one adds it with another type; a change of the second still waits in the queue. Fails if
/// `take_cut` is a single pass.
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
        assert_eq!(known, ["".to_owned(), "counter".to_owned()], "an answered push is missing");
        outcome
    });
}

/// The same by two pushers. Fails if a version is drawn before the last claim is granted, or if claims are settled before the slot is
/// marked.
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
        let second = loom::thread::spawn(move || put(&second, &key("job=2"), "a=counter b=gauge", 3));
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
        assert_eq!(known[1] == "counter", is_accepted, "an answered push is missing");
        outcome
    });
}

/// Rounds over one marked number.
struct Assembly {
    rounds: Rounds,
    queue: Queue<()>,
    pushed: AtomicUsize,
    exposed: AtomicUsize,
}

impl Assembly {
    fn round(&self) {
        let round = self.rounds.begin();
        while self.queue.pop().is_some() {}
        self.exposed.store(self.pushed.load(Acquire), Release);
        self.rounds.end(round);
    }
}

/// A scrape that finds the last exposition complete has all that was answered before. Fails if `Rounds` counts Relaxed, or if
/// `try_complete` does not look at the count twice.
#[test]
fn a_scrape_without_a_round_misses_nothing() {
    explore(4, &["complete", "waits"], || {
        let assembly = Arc::new(Assembly {
            rounds: Rounds::new(),
            queue: Queue::default(),
            pushed: AtomicUsize::new(0),
            exposed: AtomicUsize::new(0),
        });
        assembly.round();
        // Pushed and answered, then scraped, while a round runs.
        assembly.pushed.store(1, Release);
        assembly.queue.push(());
        let other = Arc::clone(&assembly);
        let assembler = loom::thread::spawn(move || other.round());
        let outcome = match assembly.rounds.try_complete(|| assembly.queue.is_empty()) {
            Ok(_) => {
                assert_eq!(assembly.exposed.load(Acquire), 1, "an answered push is missing");
                "complete"
            }
            Err(round) => {
                assembler.join().unwrap();
                while !assembly.rounds.has_run(round) {
                    assembly.round();
                }
                assert_eq!(assembly.exposed.load(Acquire), 1, "an answered push is missing");
                return "waits";
            }
        };
        assembler.join().unwrap();
        outcome
    });
}

/// A scrape asks for a format, and then is told which round to wait for: that round has to see what was asked. Fails without the fence
/// in `Rounds::begin`, and without its twin, which stands here as in `Assembly::try_current`.
#[test]
fn the_round_that_is_waited_for_knows_what_was_asked() {
    explore(4, &["this round", "the next"], || {
        let rounds = Arc::new(Rounds::new());
        rounds.end(rounds.begin());
        let is_asked = Arc::new(AtomicUsize::new(0));
        let (other, asked) = (Arc::clone(&rounds), Arc::clone(&is_asked));
        let assembler = loom::thread::spawn(move || {
            let round = other.begin();
            let saw = asked.load(Relaxed);
            other.end(round);
            saw == 1
        });
        is_asked.store(1, Relaxed);
        fence(SeqCst);
        let (Ok(round) | Err(round)) = rounds.try_complete(|| true);
        let saw = assembler.join().unwrap();
        if round > 4 {
            return "the next";
        }
        assert!(saw, "the round that is waited for does not know what was asked");
        "this round"
    });
}
