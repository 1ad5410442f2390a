//! The types of this module in the product: arc-swap, crossbeam's queue and papaya's map.

use super::keyed::{Keyed, hash_of};
use arc_swap::ArcSwap;
use crossbeam::queue::SegQueue;
use papaya::{Equivalent, Guard, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

pub use std::sync::atomic::{AtomicU64, fence};

/// The value that a [`Published`] held when it was loaded.
pub type Loaded<T> = arc_swap::Guard<Arc<T>>;

/// An `Arc` that is replaced as a whole. Readers never wait, and keep what they have loaded alive.
#[derive(Debug)]
pub struct Published<T>(ArcSwap<T>);

impl<T> Published<T> {
    /// Holds `value`.
    pub fn new(value: Arc<T>) -> Self {
        Self(ArcSwap::new(value))
    }

    /// The value. Acquire: pairs with the release of `store` and `replace`.
    pub fn load(&self) -> Loaded<T> {
        self.0.load()
    }

    /// The value, for a caller that replaces it by one that follows from it. Acquire: the same as
    /// `load` here, but not under loom: see the head of the module.
    pub fn load_for_update(&self) -> Loaded<T> {
        self.0.load()
    }

    /// Replaces the value, whatever it is. AcqRel: the release pairs with the acquire of every
    /// load.
    pub fn store(&self, value: Arc<T>) {
        self.0.store(value);
    }

    /// Replaces `base` by `next` and returns true, if the value still is `base`. AcqRel: the
    /// release pairs with the acquire of every load.
    pub fn replace(&self, base: &Loaded<T>, next: Arc<T>) -> bool {
        let before = self.0.compare_and_swap(&**base, next);
        Arc::ptr_eq(&before, base)
    }
}

/// A queue for any number of producers and consumers: first in, first out.
#[derive(Debug)]
pub struct Queue<T>(SegQueue<T>);

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self(SegQueue::new())
    }
}

impl<T> Queue<T> {
    /// Appends a value. What this thread did before is released to the `pop` that takes the value.
    pub fn push(&self, value: T) {
        self.0.push(value);
    }

    /// Takes the oldest value. Acquires what its `push` released.
    pub fn pop(&self) -> Option<T> {
        self.0.pop()
    }

    /// How many values there are, at some moment of the call.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there was no value at some moment of the call.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A concurrent map from keys to entries.
///
/// It consists of shards, so that growing copies one shard's table at a time, and so that not all
/// cores count entries in one place.
pub struct Registry<T: Keyed>(Box<[HashMap<RegistryEntry<T>, (), ReadyHash>]>);

const N_SHARDS: usize = 64;
/// About every 1024th insertion frees the tables that its shard has outgrown: see
/// [`Registry::flush`]. A power of two.
const INSERTIONS_PER_FLUSH: u64 = 1024;

struct RegistryEntry<T> {
    hash: u64,
    value: Arc<T>,
}

struct RegistryQuery<'a, T: Keyed> {
    hash: u64,
    key: &'a T::Key,
}

type ReadyHash = BuildHasherDefault<ReadyHasher>;

/// Hashes nothing: returns the hash that the entry or the query holds.
#[derive(Default)]
struct ReadyHasher(u64);

impl Hasher for ReadyHasher {
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

impl<T> Hash for RegistryEntry<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: Keyed> PartialEq for RegistryEntry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.value.key() == other.value.key()
    }
}

impl<T: Keyed> Eq for RegistryEntry<T> {}

impl<T: Keyed> Hash for RegistryQuery<'_, T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl<T: Keyed> Equivalent<RegistryEntry<T>> for RegistryQuery<'_, T> {
    fn equivalent(&self, entry: &RegistryEntry<T>) -> bool {
        self.hash == entry.hash && self.key == entry.value.key()
    }
}

impl<T: Keyed> Default for Registry<T> {
    fn default() -> Self {
        Self(
            (0..N_SHARDS)
                .map(|_| HashMap::with_hasher(ReadyHash::default()))
                .collect(),
        )
    }
}

impl<T: Keyed> Registry<T> {
    fn shard(&self, hash: u64) -> &HashMap<RegistryEntry<T>, (), ReadyHash> {
        // Bits 40 to 45: the shard's table places an entry by the lowest bits of the hash, and
        // compares entries by its highest 7 bits first.
        &self.0[(hash >> 40) as usize % N_SHARDS]
    }

    /// The entry with this key. Acquires what its insertion released.
    pub fn get(&self, key: &T::Key) -> Option<Arc<T>> {
        let hash = hash_of(key);
        let shard = self.shard(hash).pin();
        shard
            .get_key_value(&RegistryQuery::<T> { hash, key })
            .map(|(entry, ())| Arc::clone(&entry.value))
    }

    /// The entry with this key, and whether this call has inserted it. If there is none `make`
    /// makes it; what `make` returned is dropped if another thread inserts one first.
    pub fn get_or_insert(&self, key: &T::Key, make: impl FnOnce() -> T) -> (Arc<T>, bool) {
        let hash = hash_of(key);
        let map = self.shard(hash);
        let shard = map.pin();
        let query = RegistryQuery::<T> { hash, key };
        if let Some((entry, ())) = shard.get_key_value(&query) {
            return (Arc::clone(&entry.value), false);
        }
        let made = Arc::new(make());
        loop {
            if shard
                .try_insert(
                    RegistryEntry {
                        hash,
                        value: Arc::clone(&made),
                    },
                    (),
                )
                .is_ok()
            {
                // Which insertions flush depends on bits of the hash that choose neither the shard
                // nor the place in its table.
                if (hash >> 50) % INSERTIONS_PER_FLUSH == 0 {
                    map.guard().flush();
                }
                return (made, true);
            }
            // Another thread was faster. Its entry may have been removed again already.
            if let Some((entry, ())) = shard.get_key_value(&query) {
                return (Arc::clone(&entry.value), false);
            }
        }
    }

    /// Removes `entry`, if it is the one that its key finds.
    pub fn remove(&self, entry: &Arc<T>) {
        let (hash, key) = (hash_of(entry.key()), entry.key());
        let query = RegistryQuery::<T> { hash, key };
        // If another entry has the key, or none, then this one was removed before.
        let _ = self
            .shard(hash)
            .pin()
            .remove_if(&query, |found, ()| Arc::ptr_eq(&found.value, entry));
    }

    /// Frees what the calling thread has removed, as soon as no reader looks at it any more.
    ///
    /// Without a flush the map keeps some dozens of removed entries for each shard and thread, and
    /// outgrown tables with them. Each of them keeps a memory page from being returned to the
    /// kernel.
    pub fn flush(&self) {
        self.0.iter().for_each(|shard| shard.guard().flush());
    }

    /// Calls `f` with every entry that is there during the whole call, and perhaps with entries
    /// that are inserted or removed during the call. In no particular order.
    pub fn for_each(&self, mut f: impl FnMut(&Arc<T>)) {
        for shard in &self.0 {
            shard.pin().iter().for_each(|(entry, ())| f(&entry.value));
        }
    }
}
