//! Measurements: targets in turn, round after round, each with its own groups and its own account
//! of what it was told.

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

/// What is the same for all targets.
#[derive(Clone, Debug)]
pub struct LoadSettings {
    pub workload: Workload,
    pub connections: u32,
    pub keep_alive: bool,
    pub rate: Option<f64>,
    pub poisson: bool,
    pub scrape_interval: Duration,
    pub scrape_gzip: bool,
    pub duration: Duration,
    pub count: Option<u64>,
    pub bulk: Option<BulkSettings>,
    pub warm_up: Duration,
    /// After so long preloading stops.
    pub give_up_after: Duration,
    /// Whether a target that could not be preloaded is left out; otherwise it is measured with what
    /// it has.
    pub leave_out_incomplete: bool,
    pub threads: usize,
    pub seed: u64,
    pub programs: Programs,
    pub floor_bytes: usize,
}

/// One measurement of one target.
#[derive(Clone, Debug, Serialize)]
pub struct Measurement {
    pub target: String,
    pub round: u32,
    pub workload: Workload,
    pub connections: u32,
    pub keep_alive: bool,
    pub rate: Option<f64>,
    /// Seconds between scrapes beside the pushes; 0 for none.
    pub scrape_interval: f64,
    pub seed: u64,
    /// Groups that were there, which may be fewer than asked for.
    pub groups: u32,
    pub seconds: f64,
    pub answered: u64,
    pub per_second: f64,
    pub statuses: BTreeMap<u16, u64>,
    #[serde(rename = "lost")]
    pub unanswered: BTreeMap<String, u64>,
    /// Microseconds by percentile.
    pub latency_us: Vec<(f64, f64)>,
    pub latency_max_us: f64,
    /// How far the generator was behind its own schedule (open loop): of a hundred pushes 99 less,
    /// and at worst.
    pub generator_late_p99_us: f64,
    pub generator_late_us: f64,
    /// Pushes that were due (open loop), and for which no connection was free until the end.
    pub unsent: u64,
    /// Share of the time for which the generator's busiest thread ran or waited for a core.
    pub generator_busy: f64,
    /// What the target used, if its process is known.
    pub usage: Option<ProcessUsage>,
    /// Microseconds of the target's CPU for each answer.
    pub cpu_us: Option<f64>,
    /// The same of the generator.
    pub generator_cpu_us: f64,
    pub scrapes: Vec<ScrapeTiming>,
    pub bulk: Option<BulkTotals>,
    #[serde(rename = "lies")]
    pub violations: Vec<String>,
    /// Whether scrapes were compared with what was pushed.
    pub is_checked: bool,
}

impl Measurement {
    /// Whether nothing was lost, torn or invented, as far as that was looked at.
    pub fn has_passed(&self) -> bool {
        self.violations.is_empty() && self.unanswered.is_empty()
    }

    /// Whether the generator could not keep its schedule (open loop): it sent one push in a hundred
    /// more than a millisecond late, or had no time to spare, so that answers waited for it.
    pub fn is_generator_behind(&self) -> bool {
        self.rate.is_some() && (self.generator_late_p99_us > 1000.0 || self.generator_busy > 0.95)
    }
}

/// Percentiles that are kept, up to what a plot needs.
const PERCENTILES: [f64; 12] = [
    1.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0,
];

struct PreparedTarget {
    target: Target,
    ledger: Arc<Ledger>,
    groups: u32,
}

/// What a comparison showed.
#[derive(Default)]
pub struct Comparison {
    pub rows: Vec<Measurement>,
    /// Targets that could not be preloaded, in words.
    pub notes: Vec<String>,
    /// Those of them that were left out.
    pub left_out: Vec<String>,
}

/// Measures each target, which may come with its process, once a round. `each` is given a row as
/// soon as it is there.
///
/// # Errors
///
/// A target cannot be started, or `each` fails.
pub fn compare(
    targets: &[(String, Option<u32>)],
    rounds: u32,
    settings: &LoadSettings,
    mut each: impl FnMut(&Measurement) -> Result<(), String>,
) -> Result<Comparison, String> {
    let (mut contenders, mut compared) = (Vec::new(), Comparison::default());
    for (name, pid) in targets {
        let (contender, note) = prepare(name, *pid, settings)?;
        let is_left_out = note.is_some() && settings.leave_out_incomplete;
        if let Some(note) = note {
            let what = if is_left_out {
                "left out here".to_owned()
            } else {
                format!("measured with {}", contender.groups)
            };
            let note = format!("{note}; {what}");
            println!("{note}");
            compared.notes.push(note);
        }
        if is_left_out {
            compared.left_out.push(name.clone());
        } else {
            contenders.push(contender);
        }
    }
    let total = u64::from(rounds) * contenders.len() as u64;
    let bar = progress_bar(total, "round");
    for round in 1..=rounds {
        for contender in &contenders {
            bar.set_message(contender.target.name.clone());
            let row = measure(contender, round, settings);
            if bar.is_hidden() {
                let cpu = row
                    .cpu_us
                    .map_or(String::new(), |cpu| format!(", {cpu:.2} µs CPU"));
                println!("round {round} {}: {:.0}/s{cpu}", row.target, row.per_second);
            }
            each(&row)?;
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

/// A target with its groups; a note if they are not all there.
fn prepare(
    name: &str,
    pid: Option<u32>,
    settings: &LoadSettings,
) -> Result<(PreparedTarget, Option<String>), String> {
    let mut target = target::start(name, &settings.programs, settings.floor_bytes)?;
    target.pid = target.pid.or(pid);
    let wanted = settings.workload.n_groups();
    let ledger = Arc::new(Ledger::new(wanted, settings.workload.has_shared_groups()));
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

fn warm_up(target: &Target, settings: &LoadSettings, ledger: &Arc<Ledger>, groups: u32) {
    // A second scrape is what the first one's memory and caches are for.
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

fn measure(contender: &PreparedTarget, round: u32, settings: &LoadSettings) -> Measurement {
    let PreparedTarget {
        target,
        ledger,
        groups,
    } = contender;
    let plan = plan(target, settings, settings.duration, *groups);
    let usage = || target.pid.and_then(ProcessUsage::of);
    let (before, own_before) = (usage(), ProcessUsage::of(std::process::id()));
    let measured = load::run(plan, ledger);
    let (after, own_after) = (usage(), ProcessUsage::of(std::process::id()));
    let mut violations: Vec<String> = measured
        .violations
        .iter()
        .map(ToString::to_string)
        .collect();
    let mut scrapes = measured.scrapes.clone();
    if let (Some(path), true) = (&target.scrape_path, target.is_checked) {
        match load::final_scrape(target.address, path, settings.scrape_gzip, ledger) {
            Ok((scraped, found)) => {
                scrapes.push(scraped);
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
    let n = measured.n_answered().max(1) as f64;
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
        seconds: measured.elapsed.as_secs_f64(),
        answered: measured.n_answered(),
        per_second: measured.per_second(),
        latency_us: percentiles(&measured),
        latency_max_us: measured.latency.max() as f64 / 1e3,
        generator_late_p99_us: measured.lateness.value_at_quantile(0.99) as f64 / 1e3,
        generator_late_us: measured.lateness.max() as f64 / 1e3,
        unsent: measured.n_unsent,
        generator_busy: measured.busy,
        usage: used,
        cpu_us: used.map(|used| used.cpu_seconds() * 1e6 / n),
        generator_cpu_us: own * 1e6 / n,
        scrapes,
        bulk: measured.bulk,
        violations,
        statuses: measured.statuses,
        unanswered: measured.unanswered,
        is_checked: target.is_checked,
    }
}

fn percentiles(measured: &RunResult) -> Vec<(f64, f64)> {
    PERCENTILES
        .map(|rank| {
            (
                rank,
                measured.latency.value_at_quantile(rank / 100.0) as f64 / 1e3,
            )
        })
        .to_vec()
}
