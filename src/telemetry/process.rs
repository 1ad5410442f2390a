//! The `process_*` families, read from `/proc`.
//!
//! Reading costs a system call for each open file, so a reading is shown for up to a second.

use super::own_families::OwnFamiliesBuilder;
use crate::sync::Published;
use procfs::process::LimitValue;
use std::sync::Arc;

/// How long a reading is shown before `/proc` is read again.
const KEPT_MS: u64 = 1000;

/// What was read at one time; none for what could not be read.
#[derive(Clone, Default)]
struct ProcessReading {
    /// When, in milliseconds of a monotonic clock; 0 for never.
    at_ms: u64,
    cpu_seconds: Option<f64>,
    open_fds: Option<f64>,
    max_fds: Option<f64>,
    /// Bytes received and sent.
    network: Option<(f64, f64)>,
    resident_bytes: Option<f64>,
    virtual_bytes: Option<f64>,
    virtual_max_bytes: Option<f64>,
    start_seconds: Option<f64>,
    n_threads: Option<f64>,
}

/// Reads and shows the `process_*` families.
pub(super) struct Process(Published<ProcessReading>);

impl Default for Process {
    fn default() -> Self {
        Self(Published::new(Arc::default()))
    }
}

impl Process {
    /// Adds the families to the gateway's own.
    pub fn write(&self, own: &mut OwnFamiliesBuilder, now_ms: u64) {
        let mut reading = Arc::clone(&self.0.load());
        if reading.at_ms == 0 || now_ms.saturating_sub(reading.at_ms) >= KEPT_MS {
            reading = Arc::new(read(now_ms.max(1)));
            self.0.store(Arc::clone(&reading));
        }
        let value = |value: Option<f64>, own: &mut OwnFamiliesBuilder| {
            if let Some(value) = value {
                own.value(&[], value);
            }
        };
        own.counter(
            "process_cpu_seconds_total",
            "Total user and system CPU time spent in seconds.",
        );
        value(reading.cpu_seconds, own);
        own.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
        );
        value(reading.max_fds, own);
        own.counter(
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
        );
        value(reading.network.map(|(received, _)| received), own);
        own.counter(
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
        );
        value(reading.network.map(|(_, sent)| sent), own);
        own.gauge("process_open_fds", "Number of open file descriptors.");
        value(reading.open_fds, own);
        own.gauge(
            "process_resident_memory_bytes",
            "Resident memory size in bytes.",
        );
        value(reading.resident_bytes, own);
        own.gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
        );
        value(reading.start_seconds, own);
        own.gauge("process_threads", "Number of threads of the process.");
        value(reading.n_threads, own);
        own.gauge(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes.",
        );
        value(reading.virtual_bytes, own);
        own.gauge(
            "process_virtual_memory_max_bytes",
            "Maximum amount of virtual memory available in bytes.",
        );
        value(reading.virtual_max_bytes, own);
    }
}

/// Reads `/proc`.
fn read(now_ms: u64) -> ProcessReading {
    let Ok(process) = procfs::process::Process::myself() else {
        return ProcessReading {
            at_ms: now_ms,
            ..ProcessReading::default()
        };
    };
    let stat = process.stat().ok();
    let limits = process.limits().ok();
    let ticks = procfs::ticks_per_second() as f64;
    let limit = |value: LimitValue| match value {
        LimitValue::Unlimited => u64::MAX as f64,
        LimitValue::Value(value) => value as f64,
    };
    let interfaces = process.dev_status().ok();
    ProcessReading {
        at_ms: now_ms,
        cpu_seconds: stat
            .as_ref()
            .map(|stat| (stat.utime + stat.stime) as f64 / ticks),
        open_fds: process.fd_count().ok().map(|n| n as f64),
        max_fds: limits
            .as_ref()
            .map(|limits| limit(limits.max_open_files.soft_limit)),
        network: interfaces.map(|interfaces| {
            let sum = |of: fn(&procfs::net::DeviceStatus) -> u64| {
                interfaces.values().map(of).sum::<u64>() as f64
            };
            (
                sum(|interface| interface.recv_bytes),
                sum(|interface| interface.sent_bytes),
            )
        }),
        resident_bytes: stat
            .as_ref()
            .map(|stat| (stat.rss * procfs::page_size()) as f64),
        virtual_bytes: stat.as_ref().map(|stat| stat.vsize as f64),
        virtual_max_bytes: limits
            .as_ref()
            .map(|limits| limit(limits.max_address_space.soft_limit)),
        start_seconds: stat.as_ref().and_then(|stat| {
            Some(procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks)
        }),
        n_threads: stat.as_ref().map(|stat| stat.num_threads as f64),
    }
}
