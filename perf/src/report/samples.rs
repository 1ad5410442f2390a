//! Rows for tests.

use crate::load::{HerdTotals, ScrapeTiming};
use crate::measurement::{GaveUp, Measurement};
use crate::process::ProcessUsage;
use crate::workload::{Workload, WorkloadKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// A row of a run that passed.
pub(crate) fn measured(target: &str, round: u32, per_second: f64) -> Measurement {
    let factor = 1e6 / per_second;
    let ranks = [50.0, 90.0, 99.0, 99.9, 100.0];
    Measurement {
        target: target.to_owned(),
        round,
        workload: Workload::fleet(1000),
        connections: 64,
        keep_alive: true,
        rate: None,
        scrape_interval: 5.0,
        seed: 1,
        groups: 1000,
        seconds: 5.0,
        answered: (per_second * 5.0) as u64,
        per_second,
        statuses: BTreeMap::from([(200, (per_second * 5.0) as u64)]),
        unexpected: BTreeMap::new(),
        unanswered: BTreeMap::new(),
        latency_us: (1..)
            .zip(ranks)
            .map(|(n, rank)| (rank, factor * f64::from(n)))
            .collect(),
        latency_max_us: Some(factor * 5.0),
        generator_late_p99_us: None,
        generator_late_us: None,
        unsent: 0,
        generator_busy: 0.5,
        usage: Some(ProcessUsage {
            resident_bytes_max: 20_000_000,
            ..ProcessUsage::default()
        }),
        cpu_us: Some(factor / 2.0),
        generator_cpu_us: Some(5.0),
        scrapes: vec![ScrapeTiming {
            first_byte_seconds: 0.001,
            last_byte_seconds: 0.002,
            bytes: 100_000,
        }],
        bulk: None,
        herd: None,
        violations: Vec::new(),
        is_checked: true,
    }
}

/// A row of a run whose server was gone.
pub(crate) fn failed(target: &str) -> Measurement {
    Measurement {
        answered: 0,
        per_second: 0.0,
        statuses: BTreeMap::new(),
        unanswered: BTreeMap::from([("connection refused".to_owned(), 1234)]),
        latency_us: Vec::new(),
        latency_max_us: None,
        usage: None,
        cpu_us: None,
        generator_cpu_us: None,
        scrapes: Vec::new(),
        violations: vec!["the last scrape failed: connection refused".to_owned()],
        ..measured(target, 1, 1000.0)
    }
}

/// A row of a herd.
pub(crate) fn herd(target: &str, answered: u64, lost: u64) -> Measurement {
    let unanswered = (lost > 0).then(|| ("timed out".to_owned(), lost));
    Measurement {
        workload: Workload {
            kind: WorkloadKind::Herd,
            ..Workload::fleet((answered + lost) as u32)
        },
        answered,
        statuses: BTreeMap::from([(200, answered)]),
        unanswered: unanswered.into_iter().collect(),
        herd: Some(HerdTotals {
            pushes: (answered + lost) as u32,
            answered,
            refused: 0,
            lost,
            last_answer_seconds: Some(0.5),
            sent_within_seconds: 0.2,
        }),
        ..measured(target, 1, 1000.0)
    }
}

/// A target that could not be preloaded.
pub(crate) fn gave_up(target: &str) -> GaveUp {
    GaveUp {
        target: target.to_owned(),
        wanted: 100_000,
        reached: 4893,
        after: Duration::from_secs(90),
        is_left_out: true,
    }
}
