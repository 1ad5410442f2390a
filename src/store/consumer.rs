//! The consumers of what has changed.

/// A thread that follows the state of all groups: it takes the slots that pushes and deletes have
/// marked since it looked last.
///
/// Each consumer has a mark in every slot and a queue of its own, so that none takes what another
/// one has yet to see. Which consumers a store has is said when it is made (`Config::consumers`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumer {
    /// The thread that makes expositions.
    Assembler,
    /// The thread that writes the state of all groups to disk.
    DiskWriter,
}

impl Consumer {
    /// How many consumers a store can have.
    pub(super) const N_MAX: usize = 2;
}
