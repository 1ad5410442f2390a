//! CPU, memory and context switches of processes and threads, from `/proc`.

use procfs::process::Process;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    /// Reads the counters of a process. `None` if the process does not exist, has ended or may not be
    /// looked at.
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
            // A process that has ended has no memory.
            resident_bytes: status.vmrss? * 1024,
            resident_bytes_max: status.vmhwm? * 1024,
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

/// Descriptors that the harness needs beside those of its connections, with room to spare.
const OTHER_OPEN_FILES: u64 = 100;

/// Raises the limit of open files so that `n_connections` connections can be open at once. Processes
/// that are started later inherit the limit.
///
/// # Errors
///
/// This process may not raise the limit that far.
pub fn raise_open_files_for(n_connections: u32) -> Result<(), String> {
    let needed = u64::from(n_connections) + OTHER_OPEN_FILES;
    raise_open_files();
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        // Only a privileged process may raise the maximum.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(needed),
                maximum: Some(needed),
            },
        );
    }
    has_room_for(n_connections, getrlimit(Resource::Nofile).current)
}

/// Checks whether a process with this limit of open files (`None` for no limit) can have this many
/// connections.
fn has_room_for(n_connections: u32, limit: Option<u64>) -> Result<(), String> {
    let needed = u64::from(n_connections) + OTHER_OPEN_FILES;
    match limit {
        Some(limit) if limit < needed => Err(format!(
            "{n_connections} connections at once need {needed} open files, and this process may open {limit}: \
             raise the limit with `ulimit -n {needed}`, or ask for at most {} groups",
            limit.saturating_sub(OTHER_OPEN_FILES)
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_open_files_that_is_too_low_is_explained() {
        assert_eq!(has_room_for(9000, None), Ok(()));
        assert_eq!(has_room_for(9000, Some(9100)), Ok(()));
        assert_eq!(
            has_room_for(9000, Some(1024)),
            Err("9000 connections at once need 9100 open files, and this process may open 1024: raise the \
                 limit with `ulimit -n 9100`, or ask for at most 924 groups"
                .to_owned())
        );
    }

    #[test]
    fn a_process_that_has_ended_has_no_figures() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Waits for the end of the process, but leaves its entry in /proc.
        let id = rustix::process::Pid::from_child(&child);
        rustix::process::waitid(
            rustix::process::WaitId::Pid(id),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        )
        .unwrap();
        assert!(ProcessUsage::of(child.id()).is_none());
        child.wait().unwrap();
        assert!(ProcessUsage::of(child.id()).is_none());
    }
}
