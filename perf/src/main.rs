//! `pushgateway-bench`: the load generator and benchmark harness. Pushes to one or several servers
//! like a fleet of batch jobs, checks that scrapes show what was pushed, and reports speed and
//! cost.

mod answer;
mod axis;
mod bare_loop;
mod blocking_client;
mod body;
mod cli;
mod event_loop;
mod goals;
mod idle;
mod ledger;
mod load;
mod measure;
mod measurement;
mod numbers;
mod process;
mod prometheus;
mod push_connection;
mod reachability;
mod report;
mod request;
mod results;
mod scrape_cost;
mod self_cost;
mod servers;
mod target;
mod temp_folder;
mod values;
mod workload;

use axis::Axis;
use clap::Parser;
use cli::{Cli, Command, LoadArgs, OutputArgs};
use measure::LoadSettings;
use measurement::Measurement;
use report::JsonLines;
use std::process::ExitCode;
use std::time::Duration;
use target::Programs;
use workload::WorkloadKind;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a subcommand. Returns whether all checks passed.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Run {
            target,
            load,
            output,
        } => compare(&[target], 1, &load, &output),
        Command::Compare {
            targets,
            rounds,
            load,
            output,
        } => compare(&targets, rounds, &load, &output),
        Command::Sweep {
            targets,
            axis,
            points,
            rounds,
            load,
            output,
        } => sweep(&targets, axis, &points, rounds, &load, &output),
        Command::Scrape {
            groups,
            rounds,
            values,
            only_delete,
            threads,
            seed,
            gateway,
            json,
        } => {
            let programs = Programs {
                gateway,
                folder: None,
            };
            scrape_cost::run(scrape_cost::ScrapeCostSettings {
                groups,
                rounds,
                values,
                threads,
                seed,
                programs,
                json,
                only_delete,
            })
        }
        Command::Idle {
            connections,
            gateway,
            json,
        } => idle::run(
            connections,
            &Programs {
                gateway,
                folder: None,
            },
            json.as_deref(),
        )
        .map(|()| true),
        Command::Prometheus {
            targets,
            groups,
            values,
            scrapes,
            interval,
            give_up_after,
            gateway,
            programs,
            json,
        } => prometheus::run(&prometheus::PrometheusSettings {
            targets,
            groups,
            values,
            scrapes,
            interval,
            give_up_after,
            programs: Programs {
                gateway,
                folder: programs,
            },
            json,
        }),
        Command::SelfCost {
            seconds,
            connections,
            rounds,
        } => self_cost::run(Duration::from_secs(seconds), connections, rounds).map(|()| true),
        Command::Targets { folder } => {
            print!("{}", goals::table(&folder)?);
            Ok(true)
        }
        Command::Serve {
            server,
            listen,
            metrics_bytes,
        } => {
            process::raise_open_files();
            let failed = |error: std::io::Error| format!("{listen}: {error}");
            if server == "sink" {
                return servers::sink(&listen).map(|()| true).map_err(failed);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| error.to_string())?;
            runtime
                .block_on(servers::floor(&listen, metrics_bytes))
                .map(|()| true)
                .map_err(failed)
        }
    }
}

/// Measures what the generator itself costs, for the reports, and prints it.
fn measure_generator_cost(load: &LoadArgs) -> Result<(), String> {
    let cost = self_cost::measure_briefly(load.connections)?;
    report::GENERATOR_COST.set(cost).expect("measured once");
    println!("{}", report::generator_line());
    Ok(())
}

/// Compares targets (`compare`), or measures a single one (`run`). Returns whether all checks
/// passed.
fn compare(
    targets: &[String],
    rounds: u32,
    load: &LoadArgs,
    output: &OutputArgs,
) -> Result<bool, String> {
    load.pin()?;
    let settings = load.settings()?;
    let targets = check_targets(targets, load, &settings)?;
    measure_generator_cost(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let compared = measure::compare(&targets, rounds, &settings, |row| json.append(row))?;
    report::print_table(&compared.rows, &compared.gave_up);
    if let Some(path) = &output.html {
        report::write_page(path, &compared.rows, &compared.gave_up, &compared.notes)?;
    }
    Ok(compared.rows.iter().all(Measurement::has_passed))
}

/// Checks that the targets can be measured with these settings, before anything takes time. Returns
/// them with their process ids.
fn check_targets(
    targets: &[String],
    load: &LoadArgs,
    settings: &LoadSettings,
) -> Result<Vec<(String, Option<u32>)>, String> {
    let targets = target::with_pids(targets, &load.pid)?;
    if settings.workload.kind == WorkloadKind::Herd {
        process::raise_open_files_for(settings.workload.groups)?;
    }
    target::check(
        targets.iter().map(|(name, _)| name.as_str()),
        &settings.programs,
    )?;
    Ok(targets)
}

/// Compares targets at every value of the axis. Returns whether all checks passed at all of them.
fn sweep(
    targets: &[String],
    axis: Axis,
    points: &[f64],
    rounds: u32,
    load: &LoadArgs,
    output: &OutputArgs,
) -> Result<bool, String> {
    load.pin()?;
    let values = if points.is_empty() {
        axis.default_values()
    } else {
        points
    };
    let at = |&value: &f64| -> Result<LoadSettings, String> {
        let mut settings = LoadSettings {
            leave_out_incomplete: true,
            ..load.settings()?
        };
        axis.set(value, &mut settings)?;
        settings.floor_bytes = load.floor_bytes(&settings.workload);
        Ok(settings)
    };
    // Check all values before the first measurement, so that a mistake in the last one does not
    // show after an hour.
    let all = values.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    let largest = all.iter().max_by_key(|settings| settings.workload.groups);
    let targets = check_targets(targets, load, largest.expect("an axis has points"))?;
    measure_generator_cost(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let mut points: Vec<report::SweepPoint> = Vec::new();
    // Targets that could not be preloaded, with the number of groups at which that happened.
    let mut too_many: Vec<(String, f64)> = Vec::new();
    for (&value, settings) in values.iter().zip(all) {
        println!("\n{} = {value}", axis.name());
        let mut notes = Vec::new();
        let mut here = targets.clone();
        here.retain(|(name, _)| {
            let at = too_many
                .iter()
                .find(|(other, at)| axis == Axis::Groups && other == name && *at <= value);
            if let Some((_, at)) = at {
                notes.push(format!(
                    "{name}: left out here, as {at} groups were too many for it"
                ));
            }
            at.is_none()
        });
        notes.iter().for_each(|note| println!("{note}"));
        let compared = measure::compare(&here, rounds, &settings, |row| json.append(row))?;
        report::print_table(&compared.rows, &compared.gave_up);
        let gave_up = compared
            .gave_up
            .iter()
            .map(|one| (one.target.clone(), value));
        too_many.extend(gave_up);
        notes.extend(compared.notes);
        let point = report::SweepPoint {
            value,
            rows: compared.rows,
            gave_up: compared.gave_up,
            notes,
        };
        if let Some(line) = point.left_out(axis.name()) {
            json.append(&line)?;
        }
        points.push(point);
        if let Some(path) = &output.html {
            report::write_sweep_page(path, &points, axis.name())?;
        }
    }
    Ok(points
        .iter()
        .all(|point| point.rows.iter().all(Measurement::has_passed)))
}
