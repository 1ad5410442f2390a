//! The seam's types as the product has them: arc-swap, crossbeam's queue and papaya's map.

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
