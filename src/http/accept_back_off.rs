//! What happens while connections cannot be accepted, because the process or the system lacks
//! something such as file descriptors: attempts become rarer, and few of them are logged.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The time between the first two attempts, which doubles with every further one.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// The longest time between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The shortest time between two lines of the log, over all listeners.
const LINE_INTERVAL_MS: u64 = 1000;

/// The pauses of one listener.
pub(super) struct AcceptBackOff(Duration);

impl AcceptBackOff {
    /// Nothing has failed.
    pub fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// How long to pause after a failure.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(PAUSE_MAX);
        pause
    }
}

/// Logs failed attempts, of all listeners together at most once a second.
pub(super) struct AcceptFailureLog {
    started: Instant,
    /// When the next line may be logged, in milliseconds since `started`.
    next_line_ms: AtomicU64,
    /// Failures since the last line.
    n_left_out: AtomicU64,
}

impl AcceptFailureLog {
    /// Nothing has failed.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            next_line_ms: AtomicU64::new(0),
            n_left_out: AtomicU64::new(0),
        }
    }

    /// Logs a failure, or counts it.
    pub fn log(&self, error: &io::Error) {
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(left_out) = self.count(now_ms) {
            tracing::warn!(err = %error, left_out, "cannot accept connections");
        }
    }

    /// How many failures were not logged before this one, if this one is to be logged.
    fn count(&self, now_ms: u64) -> Option<u64> {
        // Relaxed: the numbers stand for themselves.
        let next_line_ms = self.next_line_ms.load(Relaxed);
        let is_due = now_ms >= next_line_ms
            && self
                .next_line_ms
                .compare_exchange(next_line_ms, now_ms + LINE_INTERVAL_MS, Relaxed, Relaxed)
                .is_ok();
        if is_due {
            Some(self.n_left_out.swap(0, Relaxed))
        } else {
            self.n_left_out.fetch_add(1, Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut back_off = AcceptBackOff::new();
        let pauses: Vec<u128> = (0..10).map(|_| back_off.next_pause().as_millis()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }

    #[test]
    fn one_failure_a_second_is_logged_with_the_number_of_those_between() {
        let log = AcceptFailureLog::new();
        let logged: Vec<Option<u64>> = [0, 0, 500, 999, 1000, 1001, 5000]
            .into_iter()
            .map(|now_ms| log.count(now_ms))
            .collect();
        assert_eq!(logged, [Some(0), None, None, None, Some(3), None, Some(1)]);
    }
}
