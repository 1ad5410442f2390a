//! What a process has used, from `/proc`.

use procfs::process::Process;
use serde::Serialize;
use std::time::Duration;

/// Counters and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ProcessUsage {
    /// Seconds in user mode.
    pub user_seconds: f64,
    /// Seconds in the kernel.
    pub system_seconds: f64,
    /// Bytes of memory.
    pub resident_bytes: u64,
    /// The most that it ever had.
    pub resident_bytes_max: u64,
    /// Switches of all threads that are there.
    pub context_switches: u64,
}

impl ProcessUsage {
    /// Of a process; none if it is gone or not ours to look at.
    pub fn of(pid: u32) -> Option<Self> {
        let process = Process::new(pid.cast_signed()).ok()?;
        let (stat, status) = (process.stat().ok()?, process.status().ok()?);
        let ticks = procfs::ticks_per_second() as f64;
        let switches = |status: &procfs::process::Status| {
            status.voluntary_ctxt_switches.unwrap_or(0)
                + status.nonvoluntary_ctxt_switches.unwrap_or(0)
        };
        let tasks = process
            .tasks()
            .ok()?
            .flatten()
            .filter_map(|task| task.status().ok());
        Some(Self {
            user_seconds: stat.utime as f64 / ticks,
            system_seconds: stat.stime as f64 / ticks,
            resident_bytes: status.vmrss.unwrap_or(0) * 1024,
            resident_bytes_max: status.vmhwm.unwrap_or(0) * 1024,
            context_switches: tasks.map(|status| switches(&status)).sum(),
        })
    }

    /// Forgets the most memory that a process ever had; true if that can be done (proc(5),
    /// `clear_refs`).
    pub fn reset_peak(pid: u32) -> bool {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
    }

    /// What was used since `earlier`; memory as it is now.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            user_seconds: self.user_seconds - earlier.user_seconds,
            system_seconds: self.system_seconds - earlier.system_seconds,
            context_switches: self
                .context_switches
                .saturating_sub(earlier.context_switches),
            ..self
        }
    }

    /// Both kinds of time.
    pub fn cpu_seconds(self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// How long this thread has been running or waiting for a core; none where the kernel does not keep
/// that.
pub fn thread_busy_time() -> Option<Duration> {
    // Nanoseconds on a core, nanoseconds in the queue for one, and how often
    // (Documentation/scheduler/sched-stats).
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = text
        .split_whitespace()
        .map_while(|number| number.parse().ok());
    Some(Duration::from_nanos(numbers.next()?) + Duration::from_nanos(numbers.next()?))
}

/// Every connection takes a descriptor, on either side.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot be raised, connecting tells.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
