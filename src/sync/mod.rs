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

#[cfg(gateway_loom)]
mod loomed;
#[cfg(not(gateway_loom))]
mod real;
#[cfg(not(gateway_loom))]
mod wake;
#[cfg(gateway_loom)]
mod wake_loomed;

use std::hash::Hash;
use std::sync::Arc;

#[cfg(gateway_loom)]
pub use loomed::{Loaded, Published, Queue, Registry, fence, yield_now};
#[cfg(not(gateway_loom))]
pub use real::{Loaded, Published, Queue, Registry, fence, yield_now};

#[cfg(not(gateway_loom))]
pub use wake::{Flag, Notify, Parker};
#[cfg(gateway_loom)]
pub use wake_loomed::{Flag, Notify, Parker};

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
