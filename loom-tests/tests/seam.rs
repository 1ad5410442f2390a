//! What the stand-ins of `sync` promise the models: loom tries both orders of two operations, and
//! what one operation releases another one acquires.

use loom_tests::explore;
use loom_tests::sync::{Counter, Keyed, Published, Queue, Registry, Word};
use std::sync::Arc;

/// Loom remembers one last access of each thread for each atomic. So a plain load before a
/// compare-exchange hides an earlier load of another thread. Fails if `Word::load_for_update` is a
/// load.
#[test]
fn a_load_is_seen_before_and_after_a_load_then_exchange() {
    explore(3, &["before", "after"], || {
        let word = Arc::new(Word::new(0));
        let other = Arc::clone(&word);
        let writer = loom::thread::spawn(move || {
            let current = other.load_for_update();
            assert!(other.replace(current, current + 1));
        });
        let seen = word.load();
        writer.join().unwrap();
        if seen == 0 { "before" } else { "after" }
    });
}

/// Fails if `Published::load_for_update` is a load.
#[test]
fn a_published_value_is_seen_before_and_after_a_replacement() {
    explore(3, &["before", "after"], || {
        let published = Arc::new(Published::new(Arc::new(0)));
        let other = Arc::clone(&published);
        let writer = loom::thread::spawn(move || {
            let base = other.load_for_update();
            assert!(other.replace(&base, Arc::new(1)));
        });
        let seen = **published.load();
        writer.join().unwrap();
        if seen == 0 { "before" } else { "after" }
    });
}

/// A counter orders nothing itself; a word that is updated after it and acquired before it does.
/// Fails if `Word::update` is not a Release or not an Acquire.
#[test]
fn a_counter_is_ordered_by_the_word_beside_it() {
    explore(3, &["before", "ahead of the word", "after"], || {
        let shared = Arc::new((Counter::new(), Word::new(0)));
        let other = Arc::clone(&shared);
        let next = |word: u64| Ok::<u64, ()>(word + 1);
        let writer = loom::thread::spawn(move || {
            other.0.add(1);
            other.1.update(next).unwrap();
        });
        let is_after = shared.1.update(next).unwrap() == 1;
        let n = shared.0.get();
        writer.join().unwrap();
        match (is_after, n) {
            (false, 0) => "before",
            (false, _) => "ahead of the word",
            (true, 1) => "after",
            (true, _) => panic!("the counter is older than the word"),
        }
    });
}

/// Two counters without a word beside them are seen in any order. Never sees "out of order" if
/// counters are not made of loom's atomics.
#[test]
fn counters_alone_are_seen_in_any_order() {
    let outcomes = ["neither", "the first", "both", "out of order"];
    explore(3, &outcomes, || {
        let counters = Arc::new((Counter::new(), Counter::new()));
        let other = Arc::clone(&counters);
        let writer = loom::thread::spawn(move || {
            other.0.add(1);
            other.1.add(1);
        });
        let second = counters.1.get();
        let first = counters.0.get();
        writer.join().unwrap();
        match (first, second) {
            (0, 0) => "neither",
            (1, 0) => "the first",
            (1, 1) => "both",
            (0, 1) => "out of order",
            other => panic!("{other:?}"),
        }
    });
}

/// An entry that is its own key.
struct Name(&'static str);

impl Keyed for Name {
    type Key = str;

    fn key(&self) -> &str {
        self.0
    }
}

/// One thread looks whether the queue is empty, while another one looks at its length and then
/// takes its only element. Fails if `Queue::pop` takes no turn.
#[test]
fn a_queue_is_seen_before_and_after_a_look_then_pop() {
    explore(3, &["before", "after"], || {
        let queue = Arc::new(Queue::default());
        queue.push(1);
        let other = Arc::clone(&queue);
        let taker = loom::thread::spawn(move || {
            assert_eq!(other.len(), 1);
            assert_eq!(other.pop(), Some(1));
        });
        let is_empty = queue.is_empty();
        taker.join().unwrap();
        if is_empty { "after" } else { "before" }
    });
}

/// One thread looks an entry up, while another one looks it up and then inserts it. Fails if
/// `Registry::get_or_insert` takes no turn.
#[test]
fn an_entry_is_missed_before_and_found_after_it_is_inserted() {
    explore(3, &["before", "after"], || {
        let registry = Arc::new(Registry::<Name>::default());
        let other = Arc::clone(&registry);
        let inserter = loom::thread::spawn(move || {
            assert!(other.get("a").is_none());
            assert!(other.get_or_insert("a", || Name("a")).1);
        });
        let found = registry.get("a").is_some();
        inserter.join().unwrap();
        if found { "after" } else { "before" }
    });
}

/// One thread looks an entry up, while another one looks it up and then removes it. Fails if
/// `Registry::remove` takes no turn.
#[test]
fn an_entry_is_found_before_and_missed_after_it_is_removed() {
    explore(3, &["before", "after"], || {
        let registry = Arc::new(Registry::<Name>::default());
        let (entry, _) = registry.get_or_insert("a", || Name("a"));
        let other = Arc::clone(&registry);
        let remover = loom::thread::spawn(move || {
            assert!(other.get("a").is_some());
            other.remove(&entry);
        });
        let found = registry.get("a").is_some();
        remover.join().unwrap();
        if found { "before" } else { "after" }
    });
}
