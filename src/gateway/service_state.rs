//! What keeps the gateway from answering requests in the usual way, if anything does.

use std::sync::atomic::{AtomicU8, Ordering::AcqRel, Ordering::Acquire};

/// Reasons why requests are not answered in the usual way: none, or several at once.
///
/// Every request looks at this, so it is one word, which hardly ever changes.
#[derive(Debug, Default)]
pub(crate) struct ServiceState(AtomicU8);

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Impediment {
    /// The process is about to end: every answer is the last of its connection.
    Draining = 1,
    /// The groups are being read from disk: there is no complete state to push to or to show.
    Restoring = 2,
    /// What was pushed lately could not be written to disk.
    DiskFailed = 4,
}

impl ServiceState {
    /// Notes a reason.
    pub fn raise(&self, impediment: Impediment) {
        // Release: a request that sees the reason sees what came before it. A read-modify-write of
        // one word: reasons of different threads do not overwrite each other.
        self.0.fetch_or(impediment as u8, AcqRel);
    }

    /// Notes that a reason has passed.
    pub fn clear(&self, impediment: Impediment) {
        // Release: a request that no longer sees `Restoring` sees all groups.
        self.0.fetch_and(!(impediment as u8), AcqRel);
    }

    /// Whether nothing is in the way.
    #[inline]
    pub fn is_usual(&self) -> bool {
        // Acquire: pairs with the release of `raise` and `clear`.
        self.0.load(Acquire) == 0
    }

    /// Whether there is this reason.
    #[inline]
    pub fn has(&self, impediment: Impediment) -> bool {
        // Acquire: as in `is_usual`.
        self.0.load(Acquire) & impediment as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Impediment::{DiskFailed, Draining, Restoring};

    #[test]
    fn reasons_come_and_go_by_themselves() {
        let state = ServiceState::default();
        assert!(state.is_usual());
        state.raise(Restoring);
        state.raise(Draining);
        state.raise(Draining);
        assert!(state.has(Restoring) && state.has(Draining) && !state.has(DiskFailed));
        state.clear(Restoring);
        assert!(!state.has(Restoring) && !state.is_usual());
        state.clear(Draining);
        assert!(state.is_usual());
    }
}
