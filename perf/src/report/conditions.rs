//! The conditions under which figures were taken: command, machine, and the cost of the generator.

use crate::numbers::format_figure;
use crate::self_cost::{CpuPerRequest, GeneratorCost};
use serde::Serialize;
use std::sync::OnceLock;

/// The cost of the generator, once it has been measured. Set at most once, before the first report.
pub static GENERATOR_COST: OnceLock<GeneratorCost> = OnceLock::new();

/// The conditions under which figures were taken: the first line of a JSON file, and the head of a
/// page.
#[derive(Serialize)]
pub(super) struct RunConditions {
    pub(super) command: String,
    pub(super) machine: String,
    pub(super) cores: usize,
    pub(super) kernel: String,
    pub(super) version: &'static str,
    /// CPU per request against a server that costs next to nothing.
    generator: Option<GeneratorCost>,
}

/// The cost of the generator in words; empty if it has not been measured.
pub fn generator_line() -> String {
    let Some(cost) = GENERATOR_COST.get() else {
        return String::new();
    };
    let in_words = |cpu: CpuPerRequest| {
        format!(
            "{} µs ({} of them in the kernel)",
            format_figure(cpu.total_us()),
            format_figure(cpu.system_us)
        )
    };
    let wrk = cost.wrk.map_or("wrk is not installed".to_owned(), |wrk| {
        format!("wrk with the same load {}", in_words(wrk))
    });
    format!(
        "The generator takes {} of CPU for a request to a server that costs next to nothing; {wrk}; a bare loop of send and recv {}.",
        in_words(cost.generator),
        in_words(cost.bare_loop)
    )
}

pub(super) fn conditions() -> RunConditions {
    let first = |path: &str, start: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
            .to_owned();
        line.split_once(':')
            .map_or(line.clone(), |(_, value)| value.trim().to_owned())
    };
    let command: Vec<String> = std::env::args().skip(1).collect();
    RunConditions {
        command: format!("pushgateway-bench {}", command.join(" ")),
        machine: first("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        kernel: first("/proc/sys/kernel/osrelease", ""),
        version: env!("CARGO_PKG_VERSION"),
        generator: GENERATOR_COST.get().copied(),
    }
}
