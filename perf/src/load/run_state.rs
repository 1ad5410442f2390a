//! What the threads of a run share.

use super::plan::Plan;
use crate::ledger::Ledger;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Shared by all threads of a run.
pub(super) struct RunState {
    pub(super) plan: Plan,
    pub(super) ledger: Arc<Ledger>,
    pub(super) is_over: AtomicBool,
    pub(super) n_begun: AtomicU64,
    pub(super) began: Instant,
    pub(super) ends: Instant,
}

impl RunState {
    /// Whether nothing is to be sent any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
            || self
                .plan
                .count
                .is_some_and(|count| self.n_begun.fetch_add(1, Relaxed) >= count)
    }
}
