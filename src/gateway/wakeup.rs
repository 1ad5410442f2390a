//! The handshake between the scrapes that wait for a round and the thread that runs the rounds.
//!
//! | field          | written by             | read by                | what it says           |
//! |----------------|------------------------|------------------------|------------------------|
//! | `is_requested` | scrapes                | the assembler's thread | "run a round"          |
//! | `assembler`    | scrapes, after raising | the assembler's thread | "look at the flag"     |
//! | `round_shown`  | the assembler's thread | scrapes                | "look at the rounds"   |
//!
//! Two wake-ups must not be missed, and each is safe because one side announces before it looks:
//!
//! - *The request.* A scrape raises the flag, then wakes the thread. The thread takes the flag,
//!   then sleeps. If it takes the flag too early, the wake-up comes after that, and ends its sleep.
//! - *The end of the round.* A scrape gets ready to be notified, then looks whether the round is
//!   shown. The thread publishes the round, then notifies. If the scrape looks too early, the
//!   notification comes after it got ready, and wakes it.
//!
//! A scrape asks once. The round that it waits for is one that begins after the scrape looked at
//! the count of rounds, so any round that the thread begins after it has taken the flag will do,
//! and scrapes that wait at the same time share one. `loom-tests/tests/driver.rs` explores this
//! file.

use crate::sync::{Flag, Notify, Parker};
use std::time::Duration;

/// Lets scrapes request a round and wait for it, and lets the assembler's thread sleep meanwhile.
#[derive(Debug, Default)]
pub struct RoundWakeup {
    is_requested: Flag,
    assembler: Parker,
    round_shown: Notify,
}

impl RoundWakeup {
    /// Sets the thread that runs the rounds. Call once, before the first scrape.
    #[cfg(not(gateway_loom))]
    pub fn bind_thread(&self, thread: std::thread::Thread) {
        self.assembler.bind(thread);
    }

    /// Has a round run, unless `is_shown` says that the one that the caller waits for is shown
    /// already, and completes when that is so. What the caller did before is visible to the round.
    pub async fn wait_for_round(&self, is_shown: impl Fn() -> bool) {
        let mut has_requested = false;
        loop {
            // Before the look: a round that is shown after the look notifies this.
            let next_shown = self.round_shown.notified();
            if is_shown() {
                return;
            }
            if !has_requested {
                self.is_requested.raise();
                self.assembler.unpark();
                has_requested = true;
            }
            next_shown.await;
        }
    }

    /// Wakes the assembler's thread, so that it reconsiders how long it may sleep.
    pub fn wake_assembler(&self) {
        self.assembler.unpark();
    }

    /// Whether a round was requested since this was last called. For the assembler's thread, which
    /// then runs one that sees what the scrapes did before they requested it.
    pub fn take_request(&self) -> bool {
        self.is_requested.take()
    }

    /// Sleeps until a scrape wakes the thread or `timeout` has passed, but perhaps not as long. For
    /// the assembler's thread, after [`take_request`](Self::take_request) has returned false.
    pub fn sleep(&self, timeout: Duration) {
        self.assembler.park_timeout(timeout);
    }

    /// Has every scrape that waits look whether its round is shown. For the assembler's thread,
    /// after it has published something.
    pub fn notify_shown(&self) {
        self.round_shown.notify_waiters();
    }
}
