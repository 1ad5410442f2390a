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
mod numbers;
mod process;
mod push_connection;
mod report;
mod request;
mod results;
mod scrape_cost;
mod self_cost;
mod servers;
mod target;
mod values;
mod workload;

use axis::Axis;
use clap::Parser;
use cli::{Cli, Command, LoadArgs, OutputArgs};
use measure::LoadSettings;
use report::JsonLines;
use std::process::ExitCode;
use std::time::Duration;
use target::Programs;

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
    let (settings, targets) = (load.settings()?, target::with_pids(targets, &load.pid)?);
    measure_generator_cost(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let compared = measure::compare(&targets, rounds, &settings, |row| json.append(row))?;
    report::print_table(&compared.rows);
    if let Some(path) = &output.html {
        report::write_page(path, &compared.rows, &compared.notes)?;
    }
    Ok(compared.rows.iter().all(measure::Measurement::has_passed))
}

/// Compares targets at every value of the axis. Returns whether all checks passed at all of them.
fn sweep(
    targets: &[String],
    axis: Axis,
    values: &[f64],
    rounds: u32,
    load: &LoadArgs,
    output: &OutputArgs,
) -> Result<bool, String> {
    load.pin()?;
    let values = if values.is_empty() {
        axis.default_values()
    } else {
        values
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
    let targets = target::with_pids(targets, &load.pid)?;
    measure_generator_cost(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let mut points: Vec<report::SweepPoint> = Vec::new();
    // Targets that could not be preloaded, with the number of groups at which that happened.
    let mut gave_up: Vec<(String, f64)> = Vec::new();
    for (&value, settings) in values.iter().zip(all) {
        println!("\n{} = {value}", axis.name());
        let too_many = |name: &str| {
            gave_up
                .iter()
                .find(|(other, at)| axis == Axis::Groups && other == name && *at <= value)
        };
        let mut notes = Vec::new();
        let mut here = targets.clone();
        here.retain(|(name, _)| match too_many(name) {
            Some((_, at)) => {
                notes.push(format!(
                    "{name}: left out here, as {at} groups were too many for it"
                ));
                false
            }
            None => true,
        });
        notes.iter().for_each(|note| println!("{note}"));
        let compared = measure::compare(&here, rounds, &settings, |row| json.append(row))?;
        report::print_table(&compared.rows);
        gave_up.extend(compared.left_out.into_iter().map(|name| (name, value)));
        notes.extend(compared.notes);
        let point = report::SweepPoint {
            value,
            rows: compared.rows,
            notes,
        };
        if !point.notes.is_empty() {
            json.append(&point.left_out(axis.name()))?;
        }
        points.push(point);
        if let Some(path) = &output.html {
            report::write_sweep_page(path, &points, axis.name())?;
        }
    }
    Ok(points
        .iter()
        .all(|point| point.rows.iter().all(measure::Measurement::has_passed)))
}
