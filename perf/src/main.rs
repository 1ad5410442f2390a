//! The load harness of the gateway: drives a fleet of pushers against one or several servers, checks that they tell the truth, and
//! says what it cost.

mod answer;
mod bare_loop;
mod client;
mod event_loop;
mod idle;
mod ledger;
mod load;
mod measure;
mod process;
mod report;
mod scrape_cost;
mod self_cost;
mod servers;
mod target;
mod workload;

use clap::{Args, Parser, Subcommand, ValueEnum};
use load::Bulk;
use measure::Settings;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use target::Programs;
use workload::{Encoding, Format, Kind, Workload};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load-tests Pushgateways, and says honestly what it saw.
///
/// Every run ends with a scrape that is compared, group by group and value by value, with what was pushed and answered; a server that
/// loses, tears or invents a push has failed, whatever its speed. CPU is read from /proc for the targets that the harness starts.
#[derive(Parser)]
#[command(name = "pushgateway-bench", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure one target.
    Run {
        /// A built-in target (self, floor, sink, reference, reference-unchecked, victoria-metrics) or an URL.
        #[arg(default_value = "self")]
        target: String,
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        output: Output,
    },
    /// Measure several targets in turn (A B C A B C …) and compare their medians.
    Compare {
        /// Targets, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "self,floor")]
        targets: Vec<String>,
        /// Rounds: each measures every target once.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        output: Output,
    },
    /// Compare along an axis, and plot it.
    Sweep {
        /// Targets, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "self,floor")]
        targets: Vec<String>,
        /// What varies.
        #[arg(long, value_enum, default_value_t = Axis::Groups)]
        axis: Axis,
        /// Its values, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "100,1000,10000,100000")]
        values: Vec<u32>,
        /// Rounds for each value.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[command(flatten)]
        load: Load,
        #[command(flatten)]
        output: Output,
    },
    /// Measure scrapes of the gateway: of a store at rest beside nginx sending the same bytes, after pushes, and the memory they take.
    Scrape {
        /// Groups of the fleet.
        #[arg(long, default_value_t = 100_000)]
        groups: u32,
        /// Rounds.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
        /// Instead: make the groups, scrape once, delete them, and see what memory is left.
        #[arg(long)]
        only_delete: bool,
        /// Threads of the generator.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Seed of everything random.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The gateway's binary; by default the one beside this program.
        #[arg(long, value_name = "PATH")]
        gateway: Option<PathBuf>,
        /// Append every raw figure to this file, a line of JSON each.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure the memory of connections that have pushed once and are kept, beside bare hyper.
    Idle {
        /// Connections.
        #[arg(long, default_value_t = 10_000)]
        connections: u32,
        /// The gateway's binary; by default the one beside this program.
        #[arg(long, value_name = "PATH")]
        gateway: Option<PathBuf>,
        /// Append every raw figure to this file, a line of JSON each.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure what the generator itself costs, beside wrk with the same load, against a server that costs next to nothing.
    SelfCost {
        /// Seconds for each of the two.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: u32,
        /// Rounds.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Be a server to compare with: `floor` (bare hyper) or `sink` (canned answers).
    Serve {
        /// Which one.
        #[arg(value_parser = ["floor", "sink"])]
        server: String,
        /// Address to listen on.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: String,
        /// Size of the body that `floor` serves to scrapes.
        #[arg(long, default_value_t = 1 << 20)]
        metrics_bytes: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Axis {
    /// Groups of the fleet.
    Groups,
    /// Connections.
    Connections,
}

#[derive(Args, Clone)]
struct Load {
    /// What is pushed.
    #[arg(long, value_enum, default_value_t = Kind::Fleet, help_heading = "Load")]
    workload: Kind,
    /// A workload from a TOML file instead: kind, groups, add_percent, format, encoding.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    workload_file: Option<PathBuf>,
    /// Groups of the fleet; all are made before the measurement.
    #[arg(long, default_value_t = 1000, help_heading = "Load")]
    groups: u32,
    /// Lines with a number that a push has; the first twelve are compared with what scrapes show.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(12..), help_heading = "Load")]
    lines: u32,
    /// Of a hundred pushes so many are POSTs.
    #[arg(long, default_value_t = 0, help_heading = "Load")]
    add_percent: u8,
    /// Text or protobuf.
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Load")]
    format: Format,
    /// Compression of bodies.
    #[arg(long, value_enum, default_value_t = Encoding::Identity, help_heading = "Load")]
    encoding: Encoding,
    /// Connections that push.
    #[arg(long, default_value_t = 64, help_heading = "Load")]
    connections: u32,
    /// A new connection for every push, as most batch jobs do.
    #[arg(long, help_heading = "Load")]
    reconnect: bool,
    /// Open loop: so many pushes a second, whether the server keeps up or not. Latency counts from when a push was due.
    #[arg(long, value_name = "PER_SECOND", help_heading = "Load")]
    rate: Option<f64>,
    /// Open loop: at random moments instead of even ones.
    #[arg(long, requires = "rate", help_heading = "Load")]
    poisson: bool,
    /// Clients beside the others that push large bodies back to back.
    #[arg(long, value_name = "CLIENTS", default_value_t = 0, help_heading = "Load")]
    bulk: u32,
    /// Series in such a body, some 80 bytes each.
    #[arg(long, value_name = "N", default_value_t = 100_000, help_heading = "Load")]
    bulk_series: u32,
    /// Scrape every so many seconds beside the pushes, with Prometheus' headers; 0 for never.
    #[arg(long, default_value_t = 5.0, help_heading = "Load")]
    scrape_interval: f64,
    /// Scrape without compression.
    #[arg(long, help_heading = "Load")]
    scrape_identity: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0, help_heading = "Measurement")]
    seconds: f64,
    /// End a measurement after so many pushes, if that comes before its time is over.
    #[arg(long, value_name = "PUSHES", help_heading = "Measurement")]
    count: Option<u64>,
    /// Seconds of load before the first one.
    #[arg(long, default_value_t = 1.0, help_heading = "Measurement")]
    warm_up: f64,
    /// Seconds after which preloading stops, for targets that cannot take so many groups.
    #[arg(long, default_value_t = 60.0, help_heading = "Measurement")]
    preload_max: f64,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1, help_heading = "Measurement")]
    threads: usize,
    /// Cores that the harness and what it starts run on, such as 0 or 0,1; by default all.
    #[arg(long, value_delimiter = ',', help_heading = "Measurement")]
    cores: Vec<usize>,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1, help_heading = "Measurement")]
    seed: u64,
    /// The gateway's binary; by default the one beside this program.
    #[arg(long, value_name = "PATH", help_heading = "Targets")]
    gateway: Option<PathBuf>,
    /// Folder of prometheus-pushgateway and victoria-metrics, if they are not on the PATH.
    #[arg(long, value_name = "DIR", help_heading = "Targets")]
    programs: Option<PathBuf>,
    /// Size of the body that `floor` serves to scrapes; by default what the groups take.
    #[arg(long, value_name = "BYTES", help_heading = "Targets")]
    floor_bytes: Option<usize>,
}

#[derive(Args, Clone)]
struct Output {
    /// Append every raw figure to this file, a line of JSON each.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Write a report with plots to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
}

impl Load {
    fn workload(&self) -> Result<Workload, String> {
        if let Some(path) = &self.workload_file {
            let with_path = |error: String| format!("{}: {error}", path.display());
            let text = std::fs::read_to_string(path).map_err(|error| with_path(error.to_string()))?;
            return toml::from_str(&text).map_err(|error| with_path(error.to_string()));
        }
        let (kind, groups, add_percent) = (self.workload, self.groups, self.add_percent);
        Ok(Workload { kind, groups, add_percent, format: self.format, encoding: self.encoding, lines: self.lines })
    }

    fn settings(&self) -> Result<Settings, String> {
        let workload = self.workload()?;
        if workload.groups == 0 || self.connections == 0 || self.threads == 0 || self.seconds <= 0.0 {
            return Err("groups, connections, threads and seconds have to be above zero".to_owned());
        }
        Ok(Settings {
            connections: self.connections,
            keep_alive: !self.reconnect,
            rate: self.rate,
            poisson: self.poisson,
            scrape_interval: Duration::from_secs_f64(self.scrape_interval),
            scrape_gzip: !self.scrape_identity,
            duration: Duration::from_secs_f64(self.seconds),
            count: self.count,
            bulk: (self.bulk > 0).then_some(Bulk { clients: self.bulk, series: self.bulk_series }),
            warm_up: Duration::from_secs_f64(self.warm_up),
            preload_max: Duration::from_secs_f64(self.preload_max),
            threads: self.threads,
            seed: self.seed,
            programs: Programs { gateway: self.gateway.clone(), folder: self.programs.clone() },
            // A group of the fleet takes some 1.3 KB of text, for its twelve lines.
            floor_bytes: self.floor_bytes.unwrap_or(workload.groups as usize * workload.lines as usize * 1300 / 12),
            workload,
        })
    }

    /// Keeps this process, and what it starts, to the cores that were asked for.
    fn pin(&self) -> Result<(), String> {
        if self.cores.is_empty() {
            return Ok(());
        }
        let mut set = rustix::thread::CpuSet::new();
        self.cores.iter().for_each(|&core| set.set(core));
        rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("--cores: {error}"))
    }
}

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
        Task::Run { target, load, output } => compare(&[target], 1, &load, &output),
        Task::Compare { targets, rounds, load, output } => compare(&targets, rounds, &load, &output),
        Task::Sweep { targets, axis, values, rounds, load, output } => {
            load.pin()?;
            look_at_generator(&load)?;
            let mut all = Vec::new();
            for value in values {
                let mut load = load.clone();
                let name = match axis {
                    Axis::Groups => {
                        load.groups = value;
                        "groups"
                    }
                    Axis::Connections => {
                        load.connections = value;
                        "connections"
                    }
                };
                println!("\n{name} = {value}");
                let rows = measure::compare(&targets, rounds, &load.settings()?)?;
                report::table(&rows);
                all.push((value, rows));
            }
            report::write_sweep(
                &all,
                output.json.as_deref(),
                output.html.as_deref(),
                if axis == Axis::Groups { "groups" } else { "connections" },
            )?;
            Ok(all.iter().all(|(_, rows)| rows.iter().all(measure::Row::is_true)))
        }
        Task::Scrape { groups, rounds, only_delete, threads, seed, gateway, json } => {
            let programs = Programs { gateway, folder: None };
            scrape_cost::run(scrape_cost::Settings { groups, rounds, threads, seed, programs, json, only_delete })
        }
        Task::Idle { connections, gateway, json } => {
            idle::run(connections, &Programs { gateway, folder: None }, json.as_deref()).map(|()| true)
        }
        Task::SelfCost { seconds, connections, rounds } => {
            self_cost::run(Duration::from_secs(seconds), connections, rounds).map(|()| true)
        }
        Task::Serve { server, listen, metrics_bytes } => {
            process::raise_open_files();
            let failed = |error: std::io::Error| format!("{listen}: {error}");
            if server == "sink" {
                return servers::sink(&listen).map(|()| true).map_err(failed);
            }
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())?;
            runtime.block_on(servers::floor(&listen, metrics_bytes)).map(|()| true).map_err(failed)
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
    look_at_generator(load)?;
    let rows = measure::compare(targets, rounds, &load.settings()?)?;
    report::table(&rows);
    report::write(&rows, output.json.as_deref(), output.html.as_deref())?;
    Ok(rows.iter().all(measure::Row::is_true))
}
