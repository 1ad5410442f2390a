//! How pushes and the thread that writes the state to disk meet.

use super::batches::Batches;
use super::wakeup::RoundWakeup;
use std::thread::Thread;
use std::time::Duration;

/// When a push is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// When it is in effect. It is on disk soon after.
    Interval,
    /// When it is on disk.
    Push,
}

/// What the requests and the writer share.
#[derive(Debug)]
pub(crate) struct DiskProgress {
    pub durability: Durability,
    pub batches: Batches,
    wakeup: RoundWakeup,
}

impl DiskProgress {
    pub fn new(durability: Durability) -> Self {
        Self {
            durability,
            batches: Batches::new(),
            wakeup: RoundWakeup::default(),
        }
    }

    /// Sets the writer's thread. Call once, before the first push.
    pub fn bind_thread(&self, thread: Thread) {
        self.wakeup.bind_thread(thread);
    }

    /// Wakes the writer and completes when `batch` is on disk or `has_failed` is true.
    pub async fn wait_for_commit(&self, batch: u64, has_failed: impl Fn() -> bool) {
        let is_done = || self.batches.is_committed(batch) || has_failed();
        self.wakeup.wait_for_round(is_done).await;
    }

    /// Whether a push waits for a batch since this was last called. For the writer.
    pub fn take_request(&self) -> bool {
        self.wakeup.take_request()
    }

    /// Sleeps until a push waits, or `timeout` has passed, but perhaps not as long. For the writer,
    /// after [`take_request`](Self::take_request) has returned false.
    pub fn sleep(&self, timeout: Duration) {
        self.wakeup.sleep(timeout);
    }

    /// Has everybody who waits look again. For the writer, after a batch or a failure.
    pub fn notify(&self) {
        self.wakeup.notify_shown();
    }

    /// Wakes the writer.
    pub fn wake_writer(&self) {
        self.wakeup.wake_assembler();
    }
}
