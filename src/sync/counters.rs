//! Numbers that many threads count: those that decisions depend on, and statistics.

#[cfg(gateway_loom)]
use super::loom_stand_ins::AtomicU64;
#[cfg(not(gateway_loom))]
use super::product::AtomicU64;
use std::sync::atomic::{AtomicU64 as StdAtomicU64, Ordering::Relaxed};

/// A number that a decision depends on.
///
/// The counter itself orders nothing; a [`Word`](super::Word) beside it does, and the owner of the
/// counter says which word. A thread that changes the number releases that word afterwards. A
/// thread that decides by the number acquires the word first. Under loom the counter is made of
/// loom's atomic, so that a model fails if the word orders too little.
#[derive(Debug)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts from zero.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // Relaxed: ordered by the owner's word, see above.
        self.0.fetch_add(n, Relaxed);
    }

    /// Subtracts `n`.
    pub fn sub(&self, n: u64) {
        // Relaxed: ordered by the owner's word, see above.
        self.0.fetch_sub(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        // Relaxed: ordered by the owner's word, see above.
        self.0.load(Relaxed)
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self::new()
    }
}

/// A number that is only shown, in metrics or logs: no decision depends on it.
///
/// Always the standard library's atomic, also under loom.
#[derive(Debug, Default)]
pub struct Statistic(StdAtomicU64);

impl Statistic {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        // Relaxed: a statistic; no decision depends on it.
        self.0.fetch_add(n, Relaxed);
    }

    /// Replaces the number.
    pub fn set(&self, number: u64) {
        // Relaxed: a statistic; no decision depends on it.
        self.0.store(number, Relaxed);
    }

    /// Subtracts `n`. If several threads add and subtract, the number may be seen below zero for a
    /// moment, and then wraps around.
    pub fn sub(&self, n: u64) {
        // Relaxed: a statistic; no decision depends on it.
        self.0.fetch_sub(n, Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        // Relaxed: a statistic; no decision depends on it.
        self.0.load(Relaxed)
    }
}

/// Numbers of which each is given out once in the life of the process, starting with 1.
///
/// Always the standard library's atomic, also under loom: a read-modify-write never returns the
/// same number twice, whatever its ordering.
#[derive(Debug)]
pub struct UniqueIds(StdAtomicU64);

impl UniqueIds {
    /// None is given out yet.
    pub const fn new() -> Self {
        Self(StdAtomicU64::new(1))
    }

    /// The next number.
    pub fn next(&self) -> u64 {
        // Relaxed: the numbers only have to differ.
        self.0.fetch_add(1, Relaxed)
    }
}

impl Default for UniqueIds {
    fn default() -> Self {
        Self::new()
    }
}
