//! Comparisons: measures several targets in turn, round after round. Each target has its own groups
//! and its own ledger.

use crate::ledger::Ledger;
use crate::load::{
    self, Arrivals, BulkSettings, BulkTotals, Plan, RunResult, ScrapeSettings, ScrapeTiming,
};
use crate::process::ProcessUsage;
use crate::target::{self, Programs, Target};
use crate::workload::Workload;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The settings of a comparison, which are the same for all targets.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    pub workload: Workload,
    pub connections: u32,
    pub keep_alive: bool,
    /// Pushes a second over all connections (open loop); `None` for a closed loop.
    pub rate: Option<f64>,
    /// Open loop: send at random moments instead of at even intervals.
    pub poisson: bool,
    /// Time between scrapes during the run; zero for none.
    pub scrape_interval: Duration,
    pub scrape_gzip: bool,
    /// How long each measurement takes.
    pub duration: Duration,
    /// A measurement ends after this many pushes, if that is before `duration` is over.
    pub count: Option<u64>,
    pub bulk: Option<BulkSettings>,
    /// How long load is generated before the first measurement.
    pub warm_up: Duration,
    /// Preloading stops after this time.
    pub give_up_after: Duration,
    /// Whether a target that could not be preloaded with all groups is left out. Otherwise it is
    /// measured with the groups that it has.
    pub leave_out_incomplete: bool,
    pub threads: usize,
    pub seed: u64,
    pub programs: Programs,
    /// Size of the body that the target `floor` serves to scrapes.
    pub floor_bytes: usize,
}

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
    /// Number of pushes without a valid answer, by kind of failure.
    #[serde(rename = "lost")]
    pub unanswered: BTreeMap<String, u64>,
    /// Pairs of a percentile and the latency in microseconds.
    pub latency_us: Vec<(f64, f64)>,
    pub latency_max_us: f64,
    /// Open loop: how late the generator sent pushes, in microseconds: the 99th percentile.
    pub generator_late_p99_us: f64,
    /// Open loop: how late the generator sent pushes, in microseconds: the maximum.
    pub generator_late_us: f64,
    /// Open loop: pushes that were due, but for which no connection was free until the end.
    pub unsent: u64,
    /// Share of the time (0 to 1) for which the generator's busiest thread ran or waited for a
    /// core.
    pub generator_busy: f64,
    /// CPU, memory and context switches of the target, if its process is known.
    pub usage: Option<ProcessUsage>,
    /// CPU of the target in microseconds, divided by the number of answers.
    pub cpu_us: Option<f64>,
    /// CPU of the generator in microseconds, divided by the number of answers.
    pub generator_cpu_us: f64,
    pub scrapes: Vec<ScrapeTiming>,
    pub bulk: Option<BulkTotals>,
    /// What the checks of scrapes found, in words.
    #[serde(rename = "lies")]
    pub violations: Vec<String>,
    /// Whether scrapes were compared with what was pushed.
    pub is_checked: bool,
}

impl Measurement {
    /// Whether every push was answered, and no check of a scrape found a violation.
    pub fn has_passed(&self) -> bool {
        self.violations.is_empty() && self.unanswered.is_empty()
    }

    /// Open loop: whether the generator could not keep its schedule. Either it sent one push in a
    /// hundred more than a millisecond late, or its busiest thread had less than 5 % of the time to
    /// spare, so that answers had to wait for the generator.
    pub fn is_generator_behind(&self) -> bool {
        self.rate.is_some() && (self.generator_late_p99_us > 1000.0 || self.generator_busy > 0.95)
    }
}

/// The percentiles in a [`Measurement`]: as many as the plots need.
const PERCENTILES: [f64; 12] = [
    1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0,
];

/// A running target with its groups.
struct PreparedTarget {
    target: Target,
    ledger: Arc<Ledger>,
    /// Number of preloaded groups.
    groups: u32,
}

/// The result of a comparison.
#[derive(Default)]
pub struct Comparison {
    pub rows: Vec<Measurement>,
    /// For each target that could not be preloaded with all groups: what was done about it, in
    /// words.
    pub notes: Vec<String>,
    /// Names of the targets that were left out for that reason.
    pub left_out: Vec<String>,
}

/// Starts and preloads all targets, then measures each of them once per round. `targets` are names
/// or URLs, each with the id of its process if that is given. `on_row` is called with each row as
/// soon as it has been measured.
///
/// # Errors
///
/// A target cannot be started, or `on_row` fails.
pub fn compare(
    targets: &[(String, Option<u32>)],
    rounds: u32,
    settings: &LoadSettings,
    mut on_row: impl FnMut(&Measurement) -> Result<(), String>,
) -> Result<Comparison, String> {
    let (mut prepared_targets, mut compared) = (Vec::new(), Comparison::default());
    for (name, pid) in targets {
        let (prepared, note) = prepare(name, *pid, settings)?;
        let is_left_out = note.is_some() && settings.leave_out_incomplete;
        if let Some(note) = note {
            let what = if is_left_out {
                "left out here".to_owned()
            } else {
                format!("measured with {}", prepared.groups)
            };
            let note = format!("{note}; {what}");
            println!("{note}");
            compared.notes.push(note);
        }
        if is_left_out {
            compared.left_out.push(name.clone());
        } else {
            prepared_targets.push(prepared);
        }
    }
    let total = u64::from(rounds) * prepared_targets.len() as u64;
    let bar = progress_bar(total, "round");
    for round in 1..=rounds {
        for prepared in &prepared_targets {
            bar.set_message(prepared.target.name.clone());
            let row = measure(prepared, round, settings);
            if bar.is_hidden() {
                let cpu = row
                    .cpu_us
                    .map_or(String::new(), |cpu| format!(", {cpu:.2} µs CPU"));
                println!("round {round} {}: {:.0}/s{cpu}", row.target, row.per_second);
            }
            on_row(&row)?;
            compared.rows.push(row);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(compared)
}

fn progress_bar(len: u64, unit: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!(
        "{{bar:30}} {{pos}}/{{len}} {unit}s {{per_sec}} ETA {{eta}} {{msg}}"
    ));
    ProgressBar::new(len).with_style(style.expect("a valid template"))
}

/// Starts a target, preloads its groups and warms it up. Also returns a note if not all groups
/// could be preloaded.
fn prepare(
    name: &str,
    pid: Option<u32>,
    settings: &LoadSettings,
) -> Result<(PreparedTarget, Option<String>), String> {
    let mut target = target::start(name, &settings.programs, settings.floor_bytes)?;
    target.pid = target.pid.or(pid);
    let wanted = settings.workload.n_groups();
    let ledger = Arc::new(Ledger::new(&settings.workload));
    let (mut groups, mut note) = (0, None);
    if !settings.workload.deletes_groups() {
        let bar = progress_bar(u64::from(wanted), "group");
        bar.set_message(format!("preloading {name}"));
        let to_preload = plan(&target, settings, settings.warm_up, wanted);
        groups = load::preload(&to_preload, &ledger, settings.give_up_after, |n| {
            bar.set_position(n)
        });
        bar.finish_and_clear();
        let seconds = settings.give_up_after.as_secs_f64();
        note = (groups < wanted).then(|| {
            format!(
                "{name}: gave up preloading {wanted} groups after {seconds} s, with {groups} there"
            )
        });
    }
    if note.is_none() || !settings.leave_out_incomplete {
        warm_up(&target, settings, &ledger, groups);
    }
    Ok((
        PreparedTarget {
            target,
            ledger,
            groups,
        },
        note,
    ))
}

/// Generates load for the warm-up time, after two scrapes.
fn warm_up(target: &Target, settings: &LoadSettings, ledger: &Arc<Ledger>, groups: u32) {
    // The first scrape lets the target build what later scrapes reuse; the second one uses it.
    if let Some(path) = &target.scrape_path {
        for _ in 0..2 {
            let _ = load::final_scrape(target.address, path, settings.scrape_gzip, ledger);
        }
    }
    load::run(
        Plan {
            count: None,
            bulk: None,
            ..plan(target, settings, settings.warm_up, groups)
        },
        ledger,
    );
}

/// The plan of a run of this length against a target with `groups` groups.
fn plan(target: &Target, settings: &LoadSettings, duration: Duration, groups: u32) -> Plan {
    let arrivals = match settings.rate {
        Some(per_second) => Arrivals::Open {
            per_second,
            poisson: settings.poisson,
        },
        None => Arrivals::Closed,
    };
    let scrapes = target
        .scrape_path
        .clone()
        .filter(|_| !settings.scrape_interval.is_zero());
    let mut workload = settings.workload.clone();
    if !workload.deletes_groups() {
        workload.groups = groups.max(1);
    }
    Plan {
        address: target.address,
        prefix: target.prefix.clone(),
        workload,
        arrivals,
        connections: settings.connections,
        threads: settings.threads,
        keep_alive: settings.keep_alive,
        duration,
        count: settings.count,
        bulk: settings.bulk,
        seed: settings.seed,
        scrapes: scrapes.map(|path| ScrapeSettings {
            path,
            interval: settings.scrape_interval,
            gzip: settings.scrape_gzip,
        }),
        is_checked: target.is_checked,
    }
}

/// Measures one target once: a run, and a final scrape that is checked.
fn measure(prepared: &PreparedTarget, round: u32, settings: &LoadSettings) -> Measurement {
    let PreparedTarget {
        target,
        ledger,
        groups,
    } = prepared;
    let plan = plan(target, settings, settings.duration, *groups);
    let usage = || target.pid.and_then(ProcessUsage::of);
    let (before, own_before) = (usage(), ProcessUsage::of(std::process::id()));
    let result = load::run(plan, ledger);
    let (after, own_after) = (usage(), ProcessUsage::of(std::process::id()));
    let mut violations: Vec<String> = result.violations.iter().map(ToString::to_string).collect();
    let mut scrapes = result.scrapes.clone();
    if let (Some(path), true) = (&target.scrape_path, target.is_checked) {
        match load::final_scrape(target.address, path, settings.scrape_gzip, ledger) {
            Ok((timing, found)) => {
                scrapes.push(timing);
                violations.extend(
                    found
                        .iter()
                        .take(10)
                        .map(|violation| format!("at the end: {violation}")),
                );
            }
            Err(error) => violations.push(format!("the last scrape failed: {error}")),
        }
    }
    let used = before.zip(after).map(|(before, after)| after.since(before));
    let own = own_before
        .zip(own_after)
        .map_or(0.0, |(before, after)| after.since(before).cpu_seconds());
    let n = result.n_answered().max(1) as f64;
    Measurement {
        target: target.name.clone(),
        round,
        workload: settings.workload.clone(),
        connections: settings.connections,
        keep_alive: settings.keep_alive,
        rate: settings.rate,
        scrape_interval: settings.scrape_interval.as_secs_f64(),
        seed: settings.seed,
        groups: *groups,
        seconds: result.elapsed.as_secs_f64(),
        answered: result.n_answered(),
        per_second: result.per_second(),
        latency_us: percentiles(&result),
        latency_max_us: result.latency.max() as f64 / 1e3,
        generator_late_p99_us: result.lateness.value_at_quantile(0.99) as f64 / 1e3,
        generator_late_us: result.lateness.max() as f64 / 1e3,
        unsent: result.n_unsent,
        generator_busy: result.busy,
        usage: used,
        cpu_us: used.map(|used| used.cpu_seconds() * 1e6 / n),
        generator_cpu_us: own * 1e6 / n,
        scrapes,
        bulk: result.bulk,
        violations,
        statuses: result.statuses,
        unanswered: result.unanswered,
        is_checked: target.is_checked,
    }
}

fn percentiles(result: &RunResult) -> Vec<(f64, f64)> {
    PERCENTILES
        .map(|rank| {
            (
                rank,
                result.latency.value_at_quantile(rank / 100.0) as f64 / 1e3,
            )
        })
        .to_vec()
}
