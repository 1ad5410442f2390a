//! CPU, memory and context switches of processes and threads, from `/proc`.

use procfs::process::Process;
use serde::Serialize;
use std::time::Duration;

/// Counters and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct ProcessUsage {
    /// CPU seconds in user mode.
    pub user_seconds: f64,
    /// CPU seconds in the kernel.
    pub system_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// The highest resident memory so far, in bytes.
    pub resident_bytes_max: u64,
    /// Context switches of all threads that currently exist.
    pub context_switches: u64,
}

impl ProcessUsage {
    /// Reads the counters of a process. `None` if the process does not exist or may not be looked
    /// at.
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

    /// Resets `resident_bytes_max` of a process to its current memory (proc(5), `clear_refs`).
    /// Returns whether that is permitted.
    pub fn reset_peak(pid: u32) -> bool {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").is_ok()
    }

    /// The CPU time and context switches since `earlier`; memory is that of `self`.
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

    /// CPU seconds in user mode and in the kernel together.
    pub fn cpu_seconds(self) -> f64 {
        self.user_seconds + self.system_seconds
    }
}

/// How long this thread has been running or waiting for a core. `None` if the kernel does not
/// record it.
pub fn thread_busy_time() -> Option<Duration> {
    // Three numbers: nanoseconds on a core, nanoseconds waiting for a core, number of time slices
    // (kernel documentation, scheduler/sched-stats).
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let mut numbers = text
        .split_whitespace()
        .map_while(|number| number.parse().ok());
    Some(Duration::from_nanos(numbers.next()?) + Duration::from_nanos(numbers.next()?))
}

/// Raises the limit of open files as far as permitted: each connection needs a descriptor.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // If the limit stays too low, connecting fails with an error that says so.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}
