//! An atomic word that a protocol updates as a whole.

#[cfg(gateway_loom)]
use super::loom_stand_ins::AtomicU64;
#[cfg(not(gateway_loom))]
use super::product::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

/// A word of 64 bits that threads agree through.
///
/// It is only ever changed by read-modify-writes. So every change continues the release sequence of
/// the changes before: a thread that acquires the word has seen what *every* earlier change of the
/// word released.
#[derive(Debug)]
pub struct Word(AtomicU64);

impl Word {
    /// A word that no other thread has yet.
    pub fn new(bits: u64) -> Self {
        Self(AtomicU64::new(bits))
    }

    /// The word, to look at only.
    pub fn load(&self) -> u64 {
        // Acquire: pairs with the release of `update`, `replace`, `set_bits` and `add`.
        self.0.load(Acquire)
    }

    /// The word, to be replaced by what follows from it.
    pub fn load_for_update(&self) -> u64 {
        // Acquire: pairs with the release of `update`, `replace`, `set_bits` and `add`.
        if cfg!(gateway_loom) {
            // Changes nothing: no word has all bits set. See the module's description for why.
            match self.0.compare_exchange(u64::MAX, u64::MAX, AcqRel, Acquire) {
                Ok(bits) | Err(bits) => bits,
            }
        } else {
            self.0.load(Acquire)
        }
    }

    /// Replaces the word by `next` of it. Tries again, with the new word, as often as another
    /// thread changes the word in between. Returns the word that was replaced. If `next` returns an
    /// error the word stays as it is.
    ///
    /// # Errors
    ///
    /// The error of `next`.
    pub fn update<E>(&self, mut next: impl FnMut(u64) -> Result<u64, E>) -> Result<u64, E> {
        let mut current = self.load_for_update();
        loop {
            // AcqRel: the release pairs with the acquire of every method here, so that a thread
            // that sees the new word sees what this thread did before. The acquire pairs with the
            // release of the change that made `current`. Acquire on failure: `next` decides by
            // `found`.
            match self
                .0
                .compare_exchange(current, next(current)?, AcqRel, Acquire)
            {
                Ok(replaced) => return Ok(replaced),
                Err(found) => current = found,
            }
        }
    }

    /// Replaces `current` by `next`; returns whether the word still was `current`.
    pub fn replace(&self, current: u64, next: u64) -> bool {
        // AcqRel: as in `update`.
        self.0
            .compare_exchange(current, next, AcqRel, Acquire)
            .is_ok()
    }

    /// Sets `bits` and returns the word before. Always writes, even if the bits are set already:
    /// the next `update` of the word then acquires what this thread did before.
    pub fn set_bits(&self, bits: u64) -> u64 {
        // AcqRel: as in `update`.
        self.0.fetch_or(bits, AcqRel)
    }

    /// Adds `n` and returns the word before.
    pub fn add(&self, n: u64) -> u64 {
        // AcqRel: as in `update`.
        self.0.fetch_add(n, AcqRel)
    }
}
