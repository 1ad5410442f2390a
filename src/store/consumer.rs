//! The consumers of what has changed.

/// A thread that follows the state of all groups: it takes the slots that pushes and deletes have
/// marked since it looked last.
///
/// Each consumer has one mark in every slot and one queue, so that none takes what another one has
/// yet to see. Which consumers a store has is said when it is made (`Config::consumers`).
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
