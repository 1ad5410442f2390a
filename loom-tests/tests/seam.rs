//! What the seam promises the models.

use loom_tests::explore;
use loom_tests::sync::{Published, Word};
use std::sync::Arc;

/// Loom remembers one last access of a thread for each atomic: a plain load before a compare-exchange hides another thread's load
/// that came before. Fails if `Word::load_for_update` is a load.
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
