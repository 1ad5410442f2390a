//! A request to other threads to hold back for a moment.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Asks other threads to hold back with something until the request is over.
///
/// The request only limits how often the others do it: a thread that has looked just before may
/// still do it once. No decision may depend on more than that, so no protocol has to order the
/// request and loom need not see it. Always the standard library's atomic, also under loom.
#[derive(Debug, Default)]
pub struct HoldRequest(AtomicUsize);

impl HoldRequest {
    /// Begins a request, beside those of other threads.
    pub fn begin(&self) {
        // Relaxed: others see the request a little later, which is allowed.
        self.0.fetch_add(1, Relaxed);
    }

    /// Ends a request.
    pub fn end(&self) {
        // Relaxed: as above.
        self.0.fetch_sub(1, Relaxed);
    }

    /// Whether a thread asks to hold back.
    pub fn is_active(&self) -> bool {
        // Relaxed: as above.
        self.0.load(Relaxed) > 0
    }
}
