//! The seam's types on loom's atomics.
//!
//! Values lie in plain vectors behind a standard mutex that loom does not see and that no model
//! waits for; which of them is visible is said by loom's atomics alone.

use super::Keyed;
use loom::sync::atomic::AtomicUsize;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex};

pub use loom::sync::atomic::fence;
pub use loom::thread::yield_now;

/// Whose turn it is, for loom's eyes: a compare-exchange that changes nothing, on an atomic
/// that nothing else is done with. Loom then sees that two operations depend on each other even
/// where they only load, and tries both orders. Relaxed and without a store: it orders nothing,
/// and what the operations load stays as old as their own orderings allow.
#[derive(Debug, Default)]
struct Turn(AtomicUsize);

impl Turn {
    fn take(&self) {
        let _ = self
            .0
            .compare_exchange(usize::MAX, usize::MAX, Relaxed, Relaxed);
    }
}

/// Everything that was ever put here, by a number that stays.
#[derive(Debug)]
struct Heap<T>(Mutex<Vec<T>>);

impl<T: Clone> Heap<T> {
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
    heap: Heap<Arc<T>>,
    current: AtomicUsize,
}

impl<T> Published<T> {
    pub fn new(value: Arc<T>) -> Self {
        let heap = Heap::new();
        let current = AtomicUsize::new(heap.put(value));
        Self { heap, current }
    }

    fn loaded(&self, index: usize) -> Loaded<T> {
        Loaded {
            value: self.heap.get(index),
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
        self.current.swap(self.heap.put(value), AcqRel);
    }

    pub fn replace(&self, base: &Loaded<T>, next: Arc<T>) -> bool {
        self.current
            .compare_exchange(base.index, self.heap.put(next), AcqRel, Acquire)
            .is_ok()
    }
}

/// Places are given out by the tail; a place carries its value once its state says so.
#[derive(Debug)]
pub struct Queue<T> {
    turn: Turn,
    heap: Heap<(usize, T)>,
    places: Vec<AtomicUsize>,
    head: AtomicUsize,
    tail: AtomicUsize,
}

const N_PLACES: usize = 12;

impl<T: Clone> Default for Queue<T> {
    fn default() -> Self {
        let places = (0..N_PLACES).map(|_| AtomicUsize::new(0)).collect();
        let (head, tail) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Self {
            turn: Turn::default(),
            heap: Heap::new(),
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
        let index = self.heap.put((place, value));
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
                0 => yield_now(),
                index => return Some(self.heap.get(index - 1).1),
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

/// Lists that only grow at their heads; an entry that was removed is passed over. The key says
/// which list an entry stands in: as in the real one, what happens to one key mostly orders
/// nothing for another.
pub struct Registry<T: Keyed> {
    heap: Heap<Node<T>>,
    lists: [List; N_LISTS],
}

const N_LISTS: usize = 4;

#[derive(Default)]
struct List {
    turn: Turn,
    /// Index of the newest node and one.
    head: AtomicUsize,
}

struct Node<T> {
    value: Arc<T>,
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
            heap: Heap::new(),
            lists: Default::default(),
        }
    }
}

impl<T: Keyed> Registry<T> {
    /// Not by `hash_of`, whose seeds differ from run to run: a model explores the same
    /// executions whenever it is run.
    fn list(&self, key: &T::Key) -> &List {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        let list = &self.lists[hasher.finish() as usize % N_LISTS];
        list.turn.take();
        list
    }

    fn find(&self, mut at: usize, key: &T::Key) -> Option<Node<T>> {
        while at > 0 {
            let node = self.heap.get(at - 1);
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
            let index = self.heap.put(Node {
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
            let node = self.heap.get(at - 1);
            if Arc::ptr_eq(&node.value, entry) {
                node.is_removed.store(1, Release);
                return;
            }
            at = node.next;
        }
    }

    pub fn flush(&self) {
        // Nothing is ever freed here.
    }

    pub fn for_each(&self, mut f: impl FnMut(&Arc<T>)) {
        for list in &self.lists {
            list.turn.take();
            let mut at = list.head.load(Acquire);
            while at > 0 {
                let node = self.heap.get(at - 1);
                if node.is_removed.load(Acquire) == 0 {
                    f(&node.value);
                }
                at = node.next;
            }
        }
    }
}
