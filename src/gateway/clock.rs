//! The gateway's clocks: wall-clock time for what users see, monotonic time for what is measured.

use std::time::{Duration, Instant, SystemTime};

/// Both clocks, read for the first time when the gateway started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// When the gateway started, by the wall clock.
    pub started_at: SystemTime,
}

impl Clock {
    /// Starts the monotonic clock at 0.
    pub fn start() -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
        }
    }

    /// The wall clock, in nanoseconds since the Unix epoch: the unit of push times.
    ///
    /// A clock before 1970 reads 0, one after the year 2262 reads `i64::MAX`.
    pub fn now_ns(&self) -> i64 {
        unix_ns(SystemTime::now())
    }

    /// The monotonic clock, in milliseconds since the start.
    pub fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// What the monotonic clock read at `moment`, in milliseconds since the start.
    pub fn ms_at(&self, moment: Instant) -> u64 {
        let since = moment - self.started;
        // Not `Duration::as_millis`, which divides 128-bit numbers: every push calls this.
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }
}

/// `time` in nanoseconds since the Unix epoch; 0 before it, `i64::MAX` after the year 2262.
pub(crate) fn unix_ns(time: SystemTime) -> i64 {
    let since: Duration = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
