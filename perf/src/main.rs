//! The load harness of the gateway: drives a fleet of pushers against one or several servers,
//! checks that they tell the truth, and says what it cost.

mod aims;
mod answer;
mod axis;
mod bare_loop;
mod body;
mod cli;
mod client;
mod event_loop;
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
mod workload;

use axis::Axis;
use clap::Parser;
use cli::{Cli, Load, Output, Task};
use measure::Settings;
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

/// Whether every server told the truth.
fn run(task: Task) -> Result<bool, String> {
    match task {
        Task::Run {
            target,
            load,
            output,
        } => compare(&[target], 1, &load, &output),
        Task::Compare {
            targets,
            rounds,
            load,
            output,
        } => compare(&targets, rounds, &load, &output),
        Task::Sweep {
            targets,
            axis,
            values,
            rounds,
            load,
            output,
        } => sweep(&targets, axis, &values, rounds, &load, &output),
        Task::Scrape {
            groups,
            rounds,
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
            scrape_cost::run(scrape_cost::Settings {
                groups,
                rounds,
                threads,
                seed,
                programs,
                json,
                only_delete,
            })
        }
        Task::Idle {
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
        Task::SelfCost {
            seconds,
            connections,
            rounds,
        } => self_cost::run(Duration::from_secs(seconds), connections, rounds).map(|()| true),
        Task::Targets { folder } => {
            print!("{}", aims::table(&folder)?);
            Ok(true)
        }
        Task::Serve {
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

fn look_at_generator(load: &Load) -> Result<(), String> {
    let cost = self_cost::quick(load.connections)?;
    report::GENERATOR.set(cost).expect("looked at once");
    println!("{}", report::generator_line());
    Ok(())
}

fn compare(targets: &[String], rounds: u32, load: &Load, output: &Output) -> Result<bool, String> {
    load.pin()?;
    let (settings, targets) = (load.settings()?, target::with_pids(targets, &load.pid)?);
    look_at_generator(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let compared = measure::compare(&targets, rounds, &settings, |row| json.append(row))?;
    report::table(&compared.rows);
    if let Some(path) = &output.html {
        report::write(path, &compared.rows, &compared.notes)?;
    }
    Ok(compared.rows.iter().all(measure::Row::is_true))
}

/// Whether every server told the truth at every point.
fn sweep(
    targets: &[String],
    axis: Axis,
    values: &[f64],
    rounds: u32,
    load: &Load,
    output: &Output,
) -> Result<bool, String> {
    load.pin()?;
    let values = if values.is_empty() {
        axis.default_values()
    } else {
        values
    };
    let at = |&value: &f64| -> Result<Settings, String> {
        let mut settings = Settings {
            leaves_out: true,
            ..load.settings()?
        };
        axis.set(value, &mut settings)?;
        settings.floor_bytes = load.floor_bytes(&settings.workload);
        Ok(settings)
    };
    // All of them before the first is measured: a mistake in the last one should not show after an
    // hour.
    let all = values.iter().map(at).collect::<Result<Vec<_>, _>>()?;
    let targets = target::with_pids(targets, &load.pid)?;
    look_at_generator(load)?;
    let mut json = JsonLines::open(output.json.as_deref())?;
    let mut points: Vec<report::Point> = Vec::new();
    // Targets by how many groups were too many for them.
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
        report::table(&compared.rows);
        gave_up.extend(compared.left_out.into_iter().map(|name| (name, value)));
        notes.extend(compared.notes);
        let point = report::Point {
            value,
            rows: compared.rows,
            notes,
        };
        if !point.notes.is_empty() {
            json.append(&point.left_out(axis.name()))?;
        }
        points.push(point);
        if let Some(path) = &output.html {
            report::write_sweep(path, &points, axis.name())?;
        }
    }
    Ok(points
        .iter()
        .all(|point| point.rows.iter().all(measure::Row::is_true)))
}
