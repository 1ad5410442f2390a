//! Comparisons: measures several targets in turn, round after round. Each target has its own groups
//! and its own ledger.

use crate::ledger::Ledger;
use crate::load::{self, Arrivals, BulkSettings, Plan, RunResult, ScrapeSettings};
use crate::measurement::{GaveUp, Measurement};
use crate::numbers::{format_figure, format_rate, format_seconds, group_digits};
use crate::process::ProcessUsage;
use crate::target::{self, Programs, Target};
use crate::workload::{Workload, WorkloadKind};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

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
    /// Preloading stops after this time, and a herd waits this long for answers.
    pub give_up_after: Duration,
    /// Whether a target that could not be preloaded with all groups is left out. Otherwise it is
    /// measured with the groups that it has.
    pub leave_out_incomplete: bool,
    pub threads: usize,
    pub seed: u64,
    /// Whether targets given by URL keep the groups that were pushed to them.
    pub keeps_groups: bool,
    pub programs: Programs,
    /// Size of the body that the target `floor` serves to scrapes.
    pub floor_bytes: usize,
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
    /// The targets that could not be preloaded with all groups.
    pub gave_up: Vec<GaveUp>,
    /// What else a reader should know, in words.
    pub notes: Vec<String>,
}

/// Starts and preloads all targets, then measures each of them once per round. `targets` are names
/// or URLs, each with the id of its process if that is given. `on_row` is called with each row as
/// soon as it has been measured. At the end, the groups that were pushed to targets given by URL are
/// deleted, unless the settings say otherwise.
///
/// # Errors
///
/// A target cannot be started, the settings do not fit it, or `on_row` fails.
pub fn compare(
    targets: &[(String, Option<u32>)],
    rounds: u32,
    settings: &LoadSettings,
    on_row: impl FnMut(&Measurement) -> Result<(), String>,
) -> Result<Comparison, String> {
    let (mut prepared, mut compared) = (Vec::new(), Comparison::default());
    let result = prepare_all(targets, settings, &mut prepared, &mut compared)
        .and_then(|()| measure_rounds(&prepared, rounds, settings, on_row, &mut compared));
    // Also after an error: whatever was pushed to a server that goes on must not stay there.
    for target in prepared.iter().filter(|_| !settings.keeps_groups) {
        if let Some(note) = delete_groups(target, settings) {
            println!("{note}");
            compared.notes.push(note);
        }
    }
    result.map(|()| compared)
}

/// Prepares all targets. Those that could not be preloaded with all groups go to `compared.gave_up`.
fn prepare_all(
    targets: &[(String, Option<u32>)],
    settings: &LoadSettings,
    prepared: &mut Vec<PreparedTarget>,
    compared: &mut Comparison,
) -> Result<(), String> {
    for (name, pid) in targets {
        let (target, gave_up) = prepare(name, *pid, settings)?;
        prepared.push(target);
        if let Some(gave_up) = gave_up {
            println!("{gave_up}");
            compared.gave_up.push(gave_up);
        }
    }
    Ok(())
}

/// Measures the targets that are not left out, once per round.
fn measure_rounds(
    prepared: &[PreparedTarget],
    rounds: u32,
    settings: &LoadSettings,
    mut on_row: impl FnMut(&Measurement) -> Result<(), String>,
    compared: &mut Comparison,
) -> Result<(), String> {
    let is_measured = |target: &&PreparedTarget| {
        let is_it = |gave_up: &GaveUp| gave_up.is_left_out && gave_up.target == target.target.name;
        !compared.gave_up.iter().any(is_it)
    };
    let measured: Vec<&PreparedTarget> = prepared.iter().filter(is_measured).collect();
    let bar = progress_bar(u64::from(rounds) * measured.len() as u64, "measurements");
    for round in 1..=rounds {
        for prepared in &measured {
            bar.set_message(prepared.target.name.clone());
            let row = measure(prepared, round, settings);
            if bar.is_hidden() {
                println!("round {round} {}", in_short(&row));
            }
            on_row(&row)?;
            compared.rows.push(row);
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// A row in a few words, for runs without a terminal that shows progress.
fn in_short(row: &Measurement) -> String {
    let what = match row.herd {
        Some(herd) => format!("{} of {} answered", herd.answered, herd.pushes),
        None => format!("{}/s", format_figure(row.per_second)),
    };
    let cpu = row.cpu_us.map_or(String::new(), |cpu| {
        format!(", {} CPU a push", format_seconds(cpu / 1e6))
    });
    let failed = if row.has_passed() { "" } else { ", FAILED" };
    format!("{}: {what}{cpu}{failed}", row.target)
}

fn progress_bar(len: u64, unit: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(&format!(
        "{{bar:30}} {{done}} of {{all}} {unit}, {{rate}}, {{left}} left  {{msg}}"
    ));
    let style = style
        .expect("a valid template")
        .with_key("done", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&group_digits(&state.pos().to_string()));
        })
        .with_key("all", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&group_digits(&state.len().unwrap_or(0).to_string()));
        })
        .with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&format_rate(state.per_sec()));
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn fmt::Write| {
            let _ = out.write_str(&format_seconds(state.eta().as_secs_f64()));
        });
    ProgressBar::new(len).with_style(style)
}

/// Starts a target, preloads its groups and warms it up. Also says if not all groups could be
/// preloaded.
fn prepare(
    name: &str,
    pid: Option<u32>,
    settings: &LoadSettings,
) -> Result<(PreparedTarget, Option<GaveUp>), String> {
    let mut target = target::start(name, &settings.programs, settings.floor_bytes)?;
    if settings.workload.kind == WorkloadKind::Herd && !target.address.ip().is_loopback() {
        return Err(format!(
            "{name} is not on this machine: a herd is only sent to loopback addresses"
        ));
    }
    target.pid = target.pid.or(pid);
    let wanted = settings.workload.n_groups();
    let ledger = Arc::new(Ledger::new(&settings.workload));
    let (mut groups, mut gave_up) = (0, None);
    if settings.workload.is_preloaded() {
        let bar = progress_bar(u64::from(wanted), "groups");
        bar.set_message(format!("preloading {name}"));
        let to_preload = plan(&target, settings, settings.warm_up, wanted);
        let began = Instant::now();
        groups = load::preload(&to_preload, &ledger, settings.give_up_after, |n| {
            bar.set_position(n)
        });
        bar.finish_and_clear();
        gave_up = (groups < wanted).then(|| GaveUp {
            target: name.to_owned(),
            wanted,
            reached: groups,
            after: began.elapsed(),
            is_left_out: settings.leave_out_incomplete,
        });
    }
    let is_warmed_up = settings.workload.kind != WorkloadKind::Herd;
    if is_warmed_up && !gave_up.as_ref().is_some_and(|gave_up| gave_up.is_left_out) {
        warm_up(&target, settings, &ledger, groups);
    }
    Ok((
        PreparedTarget {
            target,
            ledger,
            groups,
        },
        gave_up,
    ))
}

/// Deletes the groups that were pushed to a target that goes on after the measurement. Says so if
/// not all of them could be deleted.
fn delete_groups(prepared: &PreparedTarget, settings: &LoadSettings) -> Option<String> {
    let PreparedTarget { target, ledger, .. } = prepared;
    if !target.is_foreign() {
        return None;
    }
    let groups = ledger.pushed_groups();
    let plan = plan(
        target,
        settings,
        settings.duration,
        settings.workload.groups,
    );
    let n_deleted =
        load::delete_groups(&plan, ledger, groups.clone().into(), settings.give_up_after);
    let n_left = groups.len() as u32 - n_deleted;
    let counted = |n: u32| group_digits(&n.to_string());
    if n_left > 0 {
        return Some(format!(
            "{}: {} of the {} groups that were pushed could not be deleted",
            target.name,
            counted(n_left),
            counted(n_left + n_deleted)
        ));
    }
    println!(
        "{}: deleted the {} groups that were pushed (--keep leaves them there)",
        target.name,
        counted(n_deleted)
    );
    None
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
    if workload.is_preloaded() {
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
    let is_herd = settings.workload.kind == WorkloadKind::Herd;
    let duration = if is_herd {
        settings.give_up_after
    } else {
        settings.duration
    };
    let plan = plan(target, settings, duration, *groups);
    let usage = || target.pid.and_then(ProcessUsage::of);
    let (before, own_before) = (usage(), ProcessUsage::of(std::process::id()));
    let result = if is_herd {
        load::run_herd(&plan, ledger)
    } else {
        load::run(plan, ledger)
    };
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
            Err(error) => violations.push(format!("the last scrape failed: {}", in_words(&error))),
        }
    }
    let used = before.zip(after).map(|(before, after)| after.since(before));
    let own = own_before
        .zip(own_after)
        .map(|(before, after)| after.since(before));
    let n = result.n_answered();
    let per_answer = |used: Option<ProcessUsage>| {
        used.filter(|_| n > 0)
            .map(|used| used.cpu_seconds() * 1e6 / n as f64)
    };
    let microseconds = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let late = |quantile: f64| {
        (!result.lateness.is_empty())
            .then(|| microseconds(result.lateness.value_at_quantile(quantile)))
    };
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
        latency_max_us: (!result.latency.is_empty()).then(|| microseconds(result.latency.max())),
        generator_late_p99_us: late(0.99),
        generator_late_us: late(1.0),
        unsent: result.n_unsent,
        generator_busy: result.busy,
        usage: used,
        cpu_us: per_answer(used),
        generator_cpu_us: per_answer(own),
        scrapes,
        bulk: result.bulk,
        herd: result.herd,
        violations,
        statuses: result.statuses,
        unexpected: result.unexpected,
        unanswered: result.unanswered,
        is_checked: target.is_checked,
    }
}

/// An error without the number that the system has for it.
fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

fn percentiles(result: &RunResult) -> Vec<(f64, f64)> {
    if result.latency.is_empty() {
        return Vec::new();
    }
    PERCENTILES
        .map(|rank| {
            (
                rank,
                result.latency.value_at_quantile(rank / 100.0) as f64 / 1e3,
            )
        })
        .to_vec()
}
