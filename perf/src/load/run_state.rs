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
    /// Set when the pushers have finished: scraper and bulk clients stop then.
    pub(super) must_stop: AtomicBool,
    /// Permits taken so far, counted only if the plan limits the number of pushes.
    pub(super) n_permits: AtomicU64,
    pub(super) began: Instant,
    pub(super) ends: Instant,
}

impl RunState {
    /// Takes a permit for one more push. Returns false if the run is over: its time is up, or the
    /// number of pushes that the plan asks for has been reached.
    pub(super) fn take_permit(&self, now: Instant) -> bool {
        // Relaxed: the count only limits the number of pushes; it guards no other data.
        now < self.ends
            && self
                .plan
                .count
                .is_none_or(|count| self.n_permits.fetch_add(1, Relaxed) < count)
    }
}
