//! Reads the figures that `perf/record` left in a folder. The name of a measurement is the name of
//! its JSON file without the extension.

use crate::numbers::{ByRound, ratios_by_round};
use serde_json::Value;
use std::path::PathBuf;

/// The folder with the files.
pub struct RecordedResults(pub PathBuf);

impl RecordedResults {
    /// The lines of a measurement's file; empty if the file does not exist.
    fn read_lines(&self, name: &str) -> Vec<Value> {
        let text =
            std::fs::read_to_string(self.0.join(name).with_extension("jsonl")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// A figure of one target, as pairs of round and value. `groups` selects one point of a sweep
    /// over the number of groups.
    pub fn figures_of(
        &self,
        name: &str,
        target: &str,
        groups: Option<u64>,
        figure: impl Fn(&Value) -> Option<f64>,
    ) -> ByRound {
        let is_asked = |line: &Value| {
            line["target"] == target && groups.is_none_or(|n| line["workload"]["groups"] == n)
        };
        let lines = self.read_lines(name);
        lines
            .iter()
            .filter(|line| is_asked(line))
            .filter_map(|line| Some((line["round"].as_u64()?, figure(line)?)))
            .collect()
    }

    /// A figure of the gateway divided by the same figure of another target, for each round.
    pub fn ratios_to(
        &self,
        name: &str,
        target: &str,
        figure: impl Fn(&Value) -> Option<f64>,
    ) -> ByRound {
        ratios_by_round(
            &self.figures_of(name, "self", None, &figure),
            &self.figures_of(name, target, None, &figure),
        )
    }

    /// The values of a figure that the subcommand `scrape` measured.
    pub fn scrape_figures(&self, file: &str, name: &str) -> Vec<f64> {
        let values = |line: &Value| {
            let values = line["figures"][name]["values"].as_array()?;
            Some(
                values
                    .iter()
                    .filter_map(Value::as_f64)
                    .collect::<Vec<f64>>(),
            )
        };
        self.read_lines(file)
            .iter()
            .filter_map(values)
            .flatten()
            .collect()
    }

    /// CPU per request of a client (`generator`, `wrk` or `bare_loop`), in microseconds: one value
    /// for each of the measurements that record it.
    pub fn generator_costs(&self, client: &str) -> Vec<f64> {
        let of = |name: &&str| {
            let lines = self.read_lines(name);
            let cost = &lines.first()?["generator"][client];
            Some(cost["user_us"].as_f64()? + cost["system_us"].as_f64()?)
        };
        [
            "all-1000",
            "p1-fleet",
            "p3-reconnect",
            "p4-open",
            "p13-fleet",
            "p13-churn",
            "p13-mixed",
        ]
        .iter()
        .filter_map(of)
        .collect()
    }

    /// Resident bytes of a target with idle connections.
    pub fn idle_bytes(&self, target: &str) -> Option<f64> {
        self.read_lines("p12-idle")
            .iter()
            .find(|line| line["target"] == target)?["idle_bytes"]
            .as_f64()
    }
}

/// CPU of the target per answer, in microseconds.
pub fn cpu(line: &Value) -> Option<f64> {
    line["cpu_us"].as_f64()
}

/// Answers per second.
pub fn per_second(line: &Value) -> Option<f64> {
    line["per_second"].as_f64()
}

/// The 99th percentile of the latency, in microseconds.
pub fn p99(line: &Value) -> Option<f64> {
    let pairs = line["latency_us"].as_array()?;
    pairs.iter().find(|pair| pair[0].as_f64() == Some(99.0))?[1].as_f64()
}
