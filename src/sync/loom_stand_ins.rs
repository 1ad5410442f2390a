//! Stand-ins for the product's types, made of loom's atomics. They are compiled for models only.
//!
//! The values themselves lie in plain vectors behind a mutex of the standard library, which loom
//! does not see and which no thread of a model holds while another one runs. Which of the values a
//! thread can see is decided by loom's atomics alone, with the orderings that the real types
//! promise.

use super::keyed::Keyed;
use loom::sync::atomic::AtomicUsize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex};

pub use loom::sync::atomic::{AtomicU64, fence};

/// Makes loom try two operations in both orders.
///
/// A turn is a compare-exchange that changes nothing, on an atomic that is used for nothing else.
/// Loom takes it for a dependency between two operations, even if both only load. The turn is
/// Relaxed and never stores, so it orders nothing: what the operations load may still be as old as
/// their own orderings allow.
#[derive(Debug, Default)]
struct Turn(AtomicUsize);

impl Turn {
    fn take(&self) {
        let _ = self
            .0
            .compare_exchange(usize::MAX, usize::MAX, Relaxed, Relaxed);
    }
}

/// All values that were ever put here. A value keeps its index.
#[derive(Debug)]
struct Arena<T>(Mutex<Vec<T>>);

impl<T: Clone> Arena<T> {
    fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn put(&self, value: T) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(value);
        all.len() - 1
    }

    fn get(&self, index: usize) -> T {
        self.0.lock().unwrap()[index].clone()
    }
}

#[derive(Debug)]
pub struct Loaded<T> {
    value: Arc<T>,
    index: usize,
}

impl<T> Deref for Loaded<T> {
    type Target = Arc<T>;

    fn deref(&self) -> &Arc<T> {
        &self.value
    }
}

#[derive(Debug)]
pub struct Published<T> {
    arena: Arena<Arc<T>>,
    current: AtomicUsize,
}

impl<T> Published<T> {
    pub fn new(value: Arc<T>) -> Self {
        let arena = Arena::new();
        let current = AtomicUsize::new(arena.put(value));
        Self { arena, current }
    }

    fn loaded(&self, index: usize) -> Loaded<T> {
        Loaded {
            value: self.arena.get(index),
            index,
        }
    }

    pub fn load(&self) -> Loaded<T> {
        self.loaded(self.current.load(Acquire))
    }

    pub fn load_for_update(&self) -> Loaded<T> {
        match self
            .current
            .compare_exchange(usize::MAX, usize::MAX, AcqRel, Acquire)
        {
            Ok(index) | Err(index) => self.loaded(index),
        }
    }

    pub fn store(&self, value: Arc<T>) {
        self.current.swap(self.arena.put(value), AcqRel);
    }

    pub fn replace(&self, base: &Loaded<T>, next: Arc<T>) -> bool {
        self.current
            .compare_exchange(base.index, self.arena.put(next), AcqRel, Acquire)
            .is_ok()
    }
}

/// A pusher reserves the place that `tail` names and then stores the value's index in it, as in
/// crossbeam's queue. A popper reserves the place that `head` names and waits for the index.
#[derive(Debug)]
pub struct Queue<T> {
    turn: Turn,
    arena: Arena<(usize, T)>,
    places: Vec<AtomicUsize>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

/// How many values a model may push into one queue.
const N_PLACES: usize = 12;

impl<T: Clone> Default for Queue<T> {
    fn default() -> Self {
        let places = (0..N_PLACES).map(|_| AtomicUsize::new(0)).collect();
        let (head, tail) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            turn: Turn::default(),
            arena: Arena::new(),
            places,
            head,
            tail,
        }
    }
}

impl<T: Clone> Queue<T> {
    pub fn push(&self, value: T) {
        self.turn.take();
        let place = self.tail.fetch_add(1, AcqRel);
        let index = self.arena.put((place, value));
        self.places[place].store(index + 1, Release);
    }

    pub fn pop(&self) -> Option<T> {
        self.turn.take();
        let mut head = self.head.load(Acquire);
        loop {
            if head == self.tail.load(Acquire) {
                return None;
            }
            match self.head.compare_exchange(head, head + 1, AcqRel, Acquire) {
                Ok(_) => break,
                Err(found) => head = found,
            }
        }
        loop {
            match self.places[head].load(Acquire) {
                0 => loom::thread::yield_now(),
                index => return Some(self.arena.get(index - 1).1),
            }
        }
    }

    pub fn len(&self) -> usize {
        self.turn.take();
        let (head, tail) = (self.head.load(Acquire), self.tail.load(Acquire));
        tail.saturating_sub(head)
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Linked lists that only grow at their heads; removed entries are skipped.
///
/// The hash of the key chooses the list. As in the real map, operations on one key mostly order
/// nothing for other keys.
pub struct Registry<T: Keyed> {
    arena: Arena<Node<T>>,
    lists: [List; N_LISTS],
}

const N_LISTS: usize = 4;

#[derive(Default)]
struct List {
    turn: Turn,
    /// The index of the newest node, plus one; 0 for an empty list.
    head: AtomicUsize,
}

struct Node<T> {
    value: Arc<T>,
    /// As `List::head`, of the node before.
    next: usize,
    is_removed: Arc<AtomicUsize>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            next: self.next,
            is_removed: Arc::clone(&self.is_removed),
        }
    }
}

impl<T: Keyed> Default for Registry<T> {
    fn default() -> Self {
        Self {
            arena: Arena::new(),
            lists: Default::default(),
        }
    }
}

impl<T: Keyed> Registry<T> {
    /// Does not use `hash_of`, whose seeds differ from run to run: every run of a model shall
    /// explore the same executions.
    fn list(&self, key: &T::Key) -> &List {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let list = &self.lists[hasher.finish() as usize % N_LISTS];
        list.turn.take();
        list
    }

    fn find(&self, mut at: usize, key: &T::Key) -> Option<Node<T>> {
        while at > 0 {
            let node = self.arena.get(at - 1);
            if node.value.key() == key && node.is_removed.load(Acquire) == 0 {
                return Some(node);
            }
            at = node.next;
        }
        None
    }

    pub fn get(&self, key: &T::Key) -> Option<Arc<T>> {
        self.find(self.list(key).head.load(Acquire), key)
            .map(|node| node.value)
    }

    pub fn get_or_insert(&self, key: &T::Key, make: impl FnOnce() -> T) -> (Arc<T>, bool) {
        let list = self.list(key);
        let mut head = list.head.load(Acquire);
        if let Some(node) = self.find(head, key) {
            return (node.value, false);
        }
        let made = Arc::new(make());
        loop {
            let is_removed = Arc::new(AtomicUsize::new(0));
            let index = self.arena.put(Node {
                value: Arc::clone(&made),
                next: head,
                is_removed,
            });
            match list.head.compare_exchange(head, index + 1, AcqRel, Acquire) {
                Ok(_) => return (made, true),
                Err(found) => head = found,
            }
            if let Some(node) = self.find(head, key) {
                return (node.value, false);
            }
        }
    }

    pub fn remove(&self, entry: &Arc<T>) {
        let mut at = self.list(entry.key()).head.load(Acquire);
        while at > 0 {
            let node = self.arena.get(at - 1);
            if Arc::ptr_eq(&node.value, entry) {
                node.is_removed.store(1, Release);
                return;
            }
            at = node.next;
        }
    }

    pub fn flush(&self) {
        // Nothing is freed before the model ends.
    }

    pub fn for_each(&self, mut f: impl FnMut(&Arc<T>)) {
        for list in &self.lists {
            list.turn.take();
            let mut at = list.head.load(Acquire);
            while at > 0 {
                let node = self.arena.get(at - 1);
                if node.is_removed.load(Acquire) == 0 {
                    f(&node.value);
                }
                at = node.next;
            }
        }
    }
}
