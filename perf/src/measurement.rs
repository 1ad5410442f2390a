//! One measurement of one target, and whether it passed.

use crate::load::{BulkTotals, HerdTotals, ScrapeTiming};
use crate::numbers::{format_seconds, group_digits};
use crate::process::ProcessUsage;
use crate::workload::Workload;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One measurement of one target: a row of the tables and a line of the JSON file. The names in the
/// file are part of its format.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub target: String,
    pub round: u32,
    pub workload: Workload,
    pub connections: u32,
    pub keep_alive: bool,
    pub rate: Option<f64>,
    /// Seconds between scrapes during the run; 0 for none.
    pub scrape_interval: f64,
    pub seed: u64,
    /// Number of preloaded groups, which may be fewer than the workload asks for.
    pub groups: u32,
    pub seconds: f64,
    pub answered: u64,
    pub per_second: f64,
    pub statuses: BTreeMap<u16, u64>,
    /// Those answers that a server that works does not give to such requests.
    pub unexpected: BTreeMap<u16, u64>,
    /// Number of pushes without a valid answer, by kind of failure.
    #[serde(rename = "lost")]
    pub unanswered: BTreeMap<String, u64>,
    /// Pairs of a percentile and the latency in microseconds. Empty if nothing was answered.
    pub latency_us: Vec<(f64, f64)>,
    pub latency_max_us: Option<f64>,
    /// Open loop: how late the generator sent pushes, in microseconds: the 99th percentile.
    pub generator_late_p99_us: Option<f64>,
    /// Open loop: how late the generator sent pushes, in microseconds: the maximum.
    pub generator_late_us: Option<f64>,
    /// Open loop: pushes that were due, but for which no connection was free until the end.
    pub unsent: u64,
    /// Share of the time (0 to 1) for which the generator's busiest thread ran or waited for a
    /// core.
    pub generator_busy: f64,
    /// CPU, memory and context switches of the target, if its process is known.
    pub usage: Option<ProcessUsage>,
    /// CPU of the target in microseconds, divided by the number of answers. `None` if its process is
    /// not known or there were no answers.
    pub cpu_us: Option<f64>,
    /// CPU of the generator in microseconds, divided by the number of answers.
    pub generator_cpu_us: Option<f64>,
    pub scrapes: Vec<ScrapeTiming>,
    pub bulk: Option<BulkTotals>,
    pub herd: Option<HerdTotals>,
    /// What the checks of scrapes found, in words.
    #[serde(rename = "lies")]
    pub violations: Vec<String>,
    /// Whether scrapes were compared with what was pushed.
    pub is_checked: bool,
}

impl Measurement {
    /// Why the run has failed, in words; empty if every request was answered as it should be and no
    /// check of a scrape found a violation.
    pub fn failures(&self) -> Vec<String> {
        let requests = |n: u64| match n {
            1 => "1 request was".to_owned(),
            n => format!("{} requests were", group_digits(&n.to_string())),
        };
        let mut failures = Vec::new();
        if self.answered == 0 {
            failures.push("nothing was answered".to_owned());
        }
        for (kind, &n) in &self.unanswered {
            failures.push(format!("{} not answered: {kind}", requests(n)));
        }
        if self.is_checked {
            for (status, &n) in &self.unexpected {
                failures.push(format!("{} answered {status}", requests(n)));
            }
        }
        failures.extend_from_slice(&self.violations);
        failures
    }

    /// Whether there are no [failures](Self::failures).
    pub fn has_passed(&self) -> bool {
        self.failures().is_empty()
    }

    /// Open loop: whether the generator could not keep its schedule. Either it sent one push in a
    /// hundred more than a millisecond late, or its busiest thread had less than 5 % of the time to
    /// spare, so that answers had to wait for the generator.
    pub fn is_generator_behind(&self) -> bool {
        self.rate.is_some()
            && (self.generator_late_p99_us.is_some_and(|late| late > 1000.0)
                || self.generator_busy > 0.95)
    }
}

/// A target that could not be preloaded with all groups.
#[derive(Clone, Debug, PartialEq)]
pub struct GaveUp {
    pub target: String,
    /// Number of groups that it should have had.
    pub wanted: u32,
    /// Number of groups that it had.
    pub reached: u32,
    pub after: Duration,
    /// Whether it was left out for that. Otherwise it was measured with the groups that it had.
    pub is_left_out: bool,
}

impl fmt::Display for GaveUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [wanted, reached] =
            [self.wanted, self.reached].map(|groups| group_digits(&groups.to_string()));
        write!(
            f,
            "{}: gave up after {} with {reached} of {wanted} groups; {}",
            self.target,
            format_seconds(self.after.as_secs_f64()),
            if self.is_left_out {
                "not measured here"
            } else {
                "measured with these"
            }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::measured;

    #[test]
    fn answers_that_do_not_fit_the_request_fail_a_checked_run() {
        let refused = Measurement {
            unexpected: BTreeMap::from([(400, 1)]),
            ..measured("self", 1, 1000.0)
        };
        assert_eq!(refused.failures(), ["1 request was answered 400"]);
        let unchecked = Measurement {
            is_checked: false,
            ..refused
        };
        assert!(unchecked.has_passed());
    }

    #[test]
    fn a_run_without_answers_has_failed() {
        let silent = Measurement {
            answered: 0,
            is_checked: false,
            ..measured("self", 1, 1000.0)
        };
        assert_eq!(silent.failures(), ["nothing was answered"]);
    }
}
