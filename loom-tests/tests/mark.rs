//! Marks: a look that begins after a push was answered sees the push.

use loom::sync::atomic::{AtomicUsize, Ordering::Acquire, Ordering::Release};
use loom_tests::explore;
use loom_tests::store::Mark;
use loom_tests::sync::Queue;
use std::sync::Arc;

/// A slot with nothing but a value, a mark and its consumer's queue.
struct Slot {
    mark: Mark,
    queue: Queue<()>,
    value: AtomicUsize,
}

impl Slot {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mark: Mark::new(),
            queue: Queue::default(),
            value: AtomicUsize::new(0),
        })
    }

    fn push(&self, value: usize) {
        self.value.store(value, Release);
        self.mark.mark(|| self.queue.push(()));
    }

    /// One pass over the queue, as a consumer makes it. Returns the value that was seen last.
    fn look(&self) -> Option<usize> {
        let mut seen = None;
        for _ in 0..self.queue.len() {
            if self.queue.pop().is_some() {
                self.mark.begin_look();
                seen = Some(self.value.load(Acquire));
            }
        }
        seen
    }
}

/// Two pushes follow each other while the consumer looks. Fails if `Mark::mark` sets QUEUED
/// whatever the epoch: the second push would take the slot for queued although the consumer has
/// taken it.
#[test]
fn a_look_after_a_mark_sees_what_was_marked() {
    explore(4, &["first look", "second look"], || {
        let slot = Slot::new();
        let other = Arc::clone(&slot);
        let pusher = loom::thread::spawn(move || {
            other.push(1);
            other.push(2);
        });
        let first = slot.look();
        pusher.join().unwrap();
        let second = slot.look();
        assert_eq!(second.or(first), Some(2), "an answered push is missing");
        if second.is_none() {
            "first look"
        } else {
            "second look"
        }
    });
}

/// Three pushes mark the slot while the consumer looks. Fails if `Mark::mark` loads before it
/// writes, or is Relaxed: a push that finds the slot queued would not release its value to the
/// look.
#[test]
fn three_markers_and_a_consumer_lose_nothing() {
    explore(2, &["seen at once", "seen later"], || {
        let slot = Slot::new();
        let (first, second, consumer) = (Arc::clone(&slot), Arc::clone(&slot), Arc::clone(&slot));
        let first = loom::thread::spawn(move || first.mark.mark(|| first.queue.push(())));
        let second = loom::thread::spawn(move || second.mark.mark(|| second.queue.push(())));
        let consumer = loom::thread::spawn(move || consumer.look());
        slot.push(7);
        let early = consumer.join().unwrap();
        let late = slot.look();
        first.join().unwrap();
        second.join().unwrap();
        let last = slot.look().or(late).or(early);
        assert_eq!(last, Some(7), "an answered push is missing");
        if early == Some(7) && late.is_none() {
            "seen at once"
        } else {
            "seen later"
        }
    });
}
