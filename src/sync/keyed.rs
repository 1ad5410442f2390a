//! How a registry finds its entries.

use std::hash::Hash;
use std::sync::OnceLock;

/// An entry of a [`Registry`](super::Registry), which contains its own key.
pub trait Keyed {
    /// The type of the key.
    type Key: Hash + Eq + ?Sized;

    /// The key of this entry. It never changes.
    fn key(&self) -> &Self::Key;
}

/// The hash of a key or of a set of labels.
///
/// The seeds are random and stay the same for the life of the process, so that no client can choose
/// keys that collide.
pub fn hash_of(value: &(impl Hash + ?Sized)) -> u64 {
    static SEEDS: OnceLock<ahash::RandomState> = OnceLock::new();
    SEEDS.get_or_init(ahash::RandomState::new).hash_one(value)
}
