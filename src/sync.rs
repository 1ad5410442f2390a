//! The seam between the lock-free protocols and what they stand on: the standard library, arc-swap,
//! crossbeam and papaya in the product, stand-ins made of loom's atomics under `cfg(gateway_loom)`.
//!
//! The stand-ins order as much as the real ones promise, and no more:
//!
//! | here             | promised by                                                                                         |
//! |------------------|-----------------------------------------------------------------------------------------------------|
//! | [`Published`]    | arc-swap: "loads are at least `Acquire`, `store`, `swap` and `compare_and_swap` at least `AcqRel`"    |
//! | [`Queue`]        | crossbeam's `SegQueue`: whoever pops an element sees what happened before its push (a `Release` write |
//! |                  | of the slot's state that `pop` acquires); `is_empty` and `len` look at the ends, `SeqCst`            |
//! | [`Registry`]     | papaya: whoever finds an entry sees what happened before it was inserted (a `Release` publication)    |
//!
//! Loom remembers one last access of a thread for each atomic, so a load that is followed by a
//! compare-exchange of the same thread hides an earlier load of another thread. Reading for update
//! therefore is an operation of its own here ([`Word::load_for_update`],
//! [`Published::load_for_update`]): under loom a compare-exchange that changes nothing. Queues and
//! registries load their own atomics and change them within one operation, or in two operations of
//! one thread: each of their operations takes a turn first (`Turn`), so that loom tries them in
//! every order.

use std::hash::Hash;
use std::sync::Arc;

#[cfg(gateway_loom)]
pub use loomed::{Loaded, Published, Queue, Registry, fence, yield_now};
#[cfg(not(gateway_loom))]
pub use real::{Loaded, Published, Queue, Registry, fence, yield_now};

#[cfg(gateway_loom)]
pub use loom::sync::atomic::AtomicU64;
#[cfg(not(gateway_loom))]
pub use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

/// An atomic word that a protocol updates as a whole.
#[derive(Debug)]
pub struct Word(AtomicU64);

impl Word {
    /// A word that nobody else has yet.
    pub fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }

    /// The word, to look at: `Acquire`.
    pub fn load(&self) -> u64 {
        self.0.load(Acquire)
    }

    /// The word, to be replaced by what follows from it: `Acquire`.
    pub fn load_for_update(&self) -> u64 {
        if cfg!(gateway_loom) {
            match self.0.compare_exchange(u64::MAX, u64::MAX, AcqRel, Acquire) {
                Ok(bits) | Err(bits) => bits,
            }
        } else {
            self.0.load(Acquire)
        }
    }

    /// Replaces the word by `next` of it, again and again until nobody came between; returns the
    /// word that was replaced. `next` says no by an error, and the word stays. `AcqRel`: the new
    /// word carries what happened before, and its writer sees what the old one carried.
    ///
    /// # Errors
    ///
    /// What `next` said.
    pub fn update<E>(&self, mut next: impl FnMut(u64) -> Result<u64, E>) -> Result<u64, E> {
        let mut current = self.load_for_update();
        loop {
            match self
                .0
                .compare_exchange(current, next(current)?, AcqRel, Acquire)
            {
                Ok(replaced) => return Ok(replaced),
                Err(found) => current = found,
            }
        }
    }

    /// One attempt to replace `current` by `next`: `AcqRel`.
    pub fn replace(&self, current: u64, next: u64) -> bool {
        self.0
            .compare_exchange(current, next, AcqRel, Acquire)
            .is_ok()
    }

    /// Sets bits, always by a read-modify-write; returns the word before: `AcqRel`.
    pub fn set_bits(&self, bits: u64) -> u64 {
        self.0.fetch_or(bits, AcqRel)
    }

    /// Adds, returns the word before: `AcqRel`.
    pub fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, AcqRel)
    }
}

/// A number that nobody concludes anything from but its owner: `Relaxed`.
#[derive(Debug, Default)]
pub struct Tally(std::sync::atomic::AtomicU64);

impl Tally {
    /// Adds one.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Takes away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a [`Registry`] finds its entries by.
pub trait Keyed {
    /// The key; it never changes.
    type Key: Hash + Eq + ?Sized;

    /// The key of this entry.
    fn key(&self) -> &Self::Key;
}

/// Hashes of keys and label sets, seeded once for the process so that nobody can choose colliding
/// keys.
pub fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    use std::sync::OnceLock;
    static SEEDS: OnceLock<ahash::RandomState> = OnceLock::new();
    SEEDS.get_or_init(ahash::RandomState::new).hash_one(value)
}

#[cfg(not(gateway_loom))]
mod real {
    use super::{Keyed, hash_of};
    use arc_swap::ArcSwap;
    use crossbeam::queue::SegQueue;
    use papaya::{Equivalent, Guard, HashMap};
    use std::hash::{BuildHasherDefault, Hash, Hasher};
    use std::sync::Arc;

    pub use std::sync::atomic::fence;
    pub use std::thread::yield_now;

    /// What [`Published`] held when it was looked at.
    pub type Loaded<T> = arc_swap::Guard<Arc<T>>;

    /// An `Arc` that is replaced as a whole; readers never wait.
    #[derive(Debug)]
    pub struct Published<T>(ArcSwap<T>);

    impl<T> Published<T> {
        /// Holds `value`.
        pub fn new(value: Arc<T>) -> Self {
            Self(ArcSwap::new(value))
        }

        /// What it holds now.
        pub fn load(&self) -> Loaded<T> {
            self.0.load()
        }

        /// What it holds now, to be replaced by what follows from it.
        pub fn load_for_update(&self) -> Loaded<T> {
            self.0.load()
        }

        /// Replaces whatever it holds.
        pub fn store(&self, value: Arc<T>) {
            self.0.store(value);
        }

        /// Replaces `base` by `next`, if it still is `base`.
        pub fn replace(&self, base: &Loaded<T>, next: Arc<T>) -> bool {
            let before = self.0.compare_and_swap(&**base, next);
            Arc::ptr_eq(&before, base)
        }
    }

    /// A queue of many producers and consumers, first in, first out.
    #[derive(Debug)]
    pub struct Queue<T>(SegQueue<T>);

    impl<T> Default for Queue<T> {
        fn default() -> Self {
            Self(SegQueue::new())
        }
    }

    impl<T> Queue<T> {
        /// Appends.
        pub fn push(&self, value: T) {
            self.0.push(value);
        }

        /// Takes the oldest.
        pub fn pop(&self) -> Option<T> {
            self.0.pop()
        }

        /// How many there are.
        pub fn len(&self) -> usize {
            self.0.len()
        }

        /// Whether there is none.
        pub fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }

    /// Entries by key, found, added and removed without waiting for anybody.
    ///
    /// In shards, so that growing copies one part at a time and counters are not shared by all
    /// cores.
    pub struct Registry<T: Keyed>(Box<[HashMap<Entry<T>, (), Plain>]>);

    const N_SHARDS: usize = 64;
    /// After about so many new entries what a shard has outgrown is looked after: see
    /// [`Registry::flush`].
    const NEW_ENTRIES: u64 = 1024;

    struct Entry<T> {
        hash: u64,
        value: Arc<T>,
    }

    struct Query<'a, T: Keyed> {
        hash: u64,
        key: &'a T::Key,
    }

    type Plain = BuildHasherDefault<PlainHasher>;

    /// Hashes were made once, when an entry was.
    #[derive(Default)]
    struct PlainHasher(u64);

    impl Hasher for PlainHasher {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, _: &[u8]) {
            unreachable!("entries and queries hash as one u64")
        }

        fn write_u64(&mut self, hash: u64) {
            self.0 = hash;
        }
    }

    impl<T> Hash for Entry<T> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u64(self.hash);
        }
    }

    impl<T: Keyed> PartialEq for Entry<T> {
        fn eq(&self, other: &Self) -> bool {
            self.hash == other.hash && self.value.key() == other.value.key()
        }
    }

    impl<T: Keyed> Eq for Entry<T> {}

    impl<T: Keyed> Hash for Query<'_, T> {
        fn hash<H: Hasher>(&self, state: &mut H) {
            state.write_u64(self.hash);
        }
    }

    impl<T: Keyed> Equivalent<Entry<T>> for Query<'_, T> {
        fn equivalent(&self, entry: &Entry<T>) -> bool {
            self.hash == entry.hash && self.key == entry.value.key()
        }
    }

    impl<T: Keyed> Default for Registry<T> {
        fn default() -> Self {
            Self(
                (0..N_SHARDS)
                    .map(|_| HashMap::with_hasher(Plain::default()))
                    .collect(),
            )
        }
    }

    impl<T: Keyed> Registry<T> {
        fn shard(&self, hash: u64) -> &HashMap<Entry<T>, (), Plain> {
            // Bits that the shard itself looks at last.
            &self.0[(hash >> 40) as usize % N_SHARDS]
        }

        /// The entry with this key.
        pub fn get(&self, key: &T::Key) -> Option<Arc<T>> {
            let hash = hash_of(key);
            let shard = self.shard(hash).pin();
            shard
                .get_key_value(&Query::<T> { hash, key })
                .map(|(entry, ())| Arc::clone(&entry.value))
        }

        /// The entry with this key, else the one that `make` makes; and whether that was added.
        pub fn get_or_insert(&self, key: &T::Key, make: impl FnOnce() -> T) -> (Arc<T>, bool) {
            let hash = hash_of(key);
            let map = self.shard(hash);
            let shard = map.pin();
            let query = Query::<T> { hash, key };
            if let Some((entry, ())) = shard.get_key_value(&query) {
                return (Arc::clone(&entry.value), false);
            }
            let made = Arc::new(make());
            loop {
                if shard
                    .try_insert(
                        Entry {
                            hash,
                            value: Arc::clone(&made),
                        },
                        (),
                    )
                    .is_ok()
                {
                    // Now and then, as bits say that choose neither the shard nor the place in it:
                    // the table that this thread replaced.
                    if (hash >> 50) % NEW_ENTRIES == 0 {
                        map.guard().flush();
                    }
                    return (made, true);
                }
                // Whoever was faster may be gone again already.
                if let Some((entry, ())) = shard.get_key_value(&query) {
                    return (Arc::clone(&entry.value), false);
                }
            }
        }

        /// Removes `entry`, if it is still this one.
        pub fn remove(&self, entry: &Arc<T>) {
            let (hash, key) = (hash_of(entry.key()), entry.key());
            let query = Query::<T> { hash, key };
            // Another one under the same key, or none, is what was wanted as well.
            let _ = self
                .shard(hash)
                .pin()
                .remove_if(&query, |found, ()| Arc::ptr_eq(&found.value, entry));
        }

        /// Has freed what the calling thread has removed, as soon as nobody looks at it. The map
        /// keeps some dozens of entries a shard and thread until there are more of them, and
        /// outgrown tables with them: each keeps a page of the allocator from being given back.
        pub fn flush(&self) {
            self.0.iter().for_each(|shard| shard.guard().flush());
        }

        /// Calls `f` with every entry that is there all the while, and perhaps with others.
        pub fn for_each(&self, mut f: impl FnMut(&Arc<T>)) {
            for shard in &self.0 {
                shard.pin().iter().for_each(|(entry, ())| f(&entry.value));
            }
        }
    }
}

#[cfg(gateway_loom)]
mod loomed {
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
}

/// A guess that only serves texts for people: nobody concludes anything from it, so it is no part
/// of any protocol.
#[derive(Debug)]
pub struct Hint<T>(std::sync::Mutex<Option<Arc<T>>>);

impl<T> Hint<T> {
    /// With a first guess.
    pub fn new(value: Option<Arc<T>>) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// The guess; none as well while somebody writes it.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.try_lock().ok().and_then(|value| value.clone())
    }

    /// Makes it `f` of what it was, unless somebody else is writing it.
    pub fn change(&self, f: impl FnOnce(Option<Arc<T>>) -> Option<Arc<T>>) {
        if let Ok(mut value) = self.0.try_lock() {
            *value = f(value.take());
        }
    }
}
