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
    /// A clock before 1970 reads 1, because 0 stands for a push that has never been; one after the
    /// year 2262 reads `i64::MAX`.
    pub fn now_ns(&self) -> i64 {
        unix_ns(SystemTime::now()).max(1)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_that_does_not_fit_becomes_the_nearest_one_that_does() {
        let second = Duration::from_secs(1);
        assert_eq!(unix_ns(SystemTime::UNIX_EPOCH - second), 0);
        assert_eq!(unix_ns(SystemTime::UNIX_EPOCH + second), 1_000_000_000);
        // The year 10000, and far later.
        for seconds in [253_402_300_800, 1 << 60] {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(unix_ns(time), i64::MAX);
        }
    }
}
