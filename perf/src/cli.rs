//! The command line: arguments, and the settings that they stand for. Doc comments of commands and
//! arguments are the text of `--help`.

use crate::axis::{Axis, interval};
use crate::load::{BulkSettings, HERD_SIZE_MAX};
use crate::measure::LoadSettings;
use crate::target::Programs;
use crate::values::ValueKind;
use crate::workload::{Encoding, Format, N_FLEET_LINES, Workload, WorkloadKind};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Load-tests Pushgateways and checks their answers.
///
/// Every run ends with a scrape that is compared, group by group and value by value, with what was
/// pushed and answered. A server that loses a push, shows only a part of it, or shows what was
/// never pushed has failed, however fast it is. For targets that the harness starts, CPU is read
/// from /proc.
#[derive(Parser)]
#[command(name = "pushgateway-bench", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Measure one target.
    Run {
        /// A built-in target (self, floor, sink, reference, reference-unchecked, victoria-metrics)
        /// or a URL.
        #[arg(default_value = "self")]
        target: String,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure several targets in turn (A B C A B C …) and compare their medians.
    Compare {
        /// Targets, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "self,floor")]
        targets: Vec<String>,
        /// Number of rounds; each round measures every target once.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Compare targets at several points of an axis, and plot the results.
    ///
    /// Results are written to the files after each point. A target that cannot be preloaded with
    /// all groups within --give-up-after is left out at that point and at larger numbers of groups.
    Sweep {
        /// Targets, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "self,floor")]
        targets: Vec<String>,
        /// What varies from point to point.
        #[arg(long, value_enum, default_value_t = Axis::Groups)]
        axis: Axis,
        /// Points of the axis, separated by commas, smallest first [default: points that suit the
        /// axis].
        #[arg(long, value_delimiter = ',')]
        points: Vec<f64>,
        /// Number of rounds for each point.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure scrapes of the gateway: of an unchanged store (compared with nginx sending the same
    /// bytes), after pushes, and the memory that they take.
    Scrape {
        /// Number of groups.
        #[arg(long, default_value_t = 100_000)]
        groups: u32,
        /// Number of rounds.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
        /// How the values of different groups and pushes relate to each other.
        #[arg(long, value_enum, default_value_t)]
        values: ValueKind,
        /// Do this instead: create the groups, scrape once, delete all groups, and measure the
        /// memory that is left.
        #[arg(long)]
        only_delete: bool,
        /// Number of generator threads.
        #[arg(long, default_value_t = 1)]
        threads: usize,
        /// Seed of all random numbers.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The gateway's binary [default: the one in the folder of this program].
        #[arg(long, value_name = "PATH")]
        gateway: Option<PathBuf>,
        /// Append all raw figures to this file, as lines of JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure the memory of connections that pushed once and are kept open, compared with bare
    /// hyper.
    Idle {
        /// Number of connections.
        #[arg(long, default_value_t = 10_000)]
        connections: u32,
        /// The gateway's binary [default: the one in the folder of this program].
        #[arg(long, value_name = "PATH")]
        gateway: Option<PathBuf>,
        /// Append all raw figures to this file, as lines of JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Let a real Prometheus scrape gateways, and measure how long scrapes take as it sees them, what
    /// they cost the gateway, and its memory.
    ///
    /// The targets are measured one after the other: first while nothing is pushed, then while each
    /// group pushes once a minute.
    Prometheus {
        /// Built-in targets, separated by commas. With its consistency check, the reference receives
        /// this many groups too slowly to be measured.
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "self,reference-unchecked"
        )]
        targets: Vec<String>,
        /// Number of groups.
        #[arg(long, default_value_t = 30_000)]
        groups: u32,
        /// How the values of different groups and pushes relate to each other.
        #[arg(long, value_enum, default_value_t)]
        values: ValueKind,
        /// Number of scrapes of each target while nothing is pushed, and beside pushes.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        scrapes: u32,
        /// Time between scrapes, and the longest time that a scrape may take.
        #[arg(long, value_name = "SECONDS", default_value = "10s", value_parser = seconds)]
        interval: Duration,
        /// Seconds after which pushing the groups stops.
        #[arg(long, value_name = "SECONDS", default_value = "300s", value_parser = seconds)]
        give_up_after: Duration,
        /// The gateway's binary [default: the one in the folder of this program].
        #[arg(long, value_name = "PATH")]
        gateway: Option<PathBuf>,
        /// Folder that contains prometheus and prometheus-pushgateway, if they are not on the PATH.
        #[arg(long, value_name = "DIR")]
        programs: Option<PathBuf>,
        /// Append all raw figures to this file, as lines of JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure the CPU that the generator itself needs, compared with wrk and with a bare loop of
    /// send and recv, against a server that costs next to nothing.
    SelfCost {
        /// Seconds for each measurement.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Number of connections.
        #[arg(long, default_value_t = 64)]
        connections: u32,
        /// Number of rounds.
        #[arg(long, default_value_t = 5)]
        rounds: u32,
    },
    /// Print the performance goals of the gateway and whether they are met, from the figures that
    /// `perf/record` left in a folder, as a table in Markdown.
    Targets {
        /// The folder with the figures.
        folder: PathBuf,
    },
    /// Run a server to compare with: `floor` (bare hyper) or `sink` (always the same answer).
    Serve {
        /// Which server.
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

/// Parses a number of seconds, such as 60 or 60s.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    interval("seconds", number)
}

// What is pushed, how it is measured, and which programs are used: common to `run`, `compare` and
// `sweep`. Not a doc comment, because clap would print it.
#[derive(Args, Clone)]
pub struct LoadArgs {
    /// What is pushed.
    #[arg(long, value_enum, default_value_t = WorkloadKind::Fleet, help_heading = "Load")]
    workload: WorkloadKind,
    /// Read the workload from a TOML file instead (keys: kind, groups, add_percent, format,
    /// encoding, lines, values).
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    workload_file: Option<PathBuf>,
    /// Number of groups. All are created before the measurement, except by the workloads churn, mixed
    /// and herd. A herd has as many connections as groups.
    #[arg(long, default_value_t = 1000, help_heading = "Load")]
    groups: u32,
    /// Lines with a value in each push; the first twelve are compared with what scrapes show.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(12..), help_heading = "Load")]
    lines: u32,
    /// Percentage of the pushes that are POSTs; the others are PUTs.
    #[arg(long, default_value_t = 0, help_heading = "Load")]
    add_percent: u8,
    /// How the values of different groups and pushes relate to each other.
    #[arg(long, value_enum, default_value_t, help_heading = "Load")]
    values: ValueKind,
    /// Format of bodies.
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Load")]
    format: Format,
    /// Compression of bodies.
    #[arg(long, value_enum, default_value_t = Encoding::Identity, help_heading = "Load")]
    encoding: Encoding,
    /// Number of connections that push.
    #[arg(long, default_value_t = 64, help_heading = "Load")]
    pub connections: u32,
    /// Open a new connection for every push, as most batch jobs do.
    #[arg(long, help_heading = "Load")]
    reconnect: bool,
    /// Open loop: send this many pushes per second, whether the server keeps up or not. Latency
    /// counts from when a push was due.
    #[arg(long, value_name = "PER_SECOND", help_heading = "Load")]
    rate: Option<f64>,
    /// Open loop: send at random moments instead of at even intervals.
    #[arg(long, requires = "rate", help_heading = "Load")]
    poisson: bool,
    /// Number of additional clients that push large bodies back to back.
    #[arg(
        long,
        value_name = "CLIENTS",
        default_value_t = 0,
        help_heading = "Load"
    )]
    bulk: u32,
    /// Number of series in each large body, about 80 bytes each.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        help_heading = "Load"
    )]
    bulk_series: u32,
    /// Seconds between scrapes during the run, with the headers that Prometheus sends; 0 for no
    /// scrapes.
    #[arg(long, default_value_t = 5.0, help_heading = "Load")]
    scrape_interval: f64,
    /// Scrape without compression.
    #[arg(long, help_heading = "Load")]
    scrape_identity: bool,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0, help_heading = "Measurement")]
    seconds: f64,
    /// End each measurement after this many pushes, if that is before its time is over.
    #[arg(long, value_name = "PUSHES", help_heading = "Measurement")]
    count: Option<u64>,
    /// Seconds of load before the first measurement.
    #[arg(long, default_value_t = 1.0, help_heading = "Measurement")]
    warm_up: f64,
    /// Seconds after which preloading stops. Targets that do not have all groups by then are
    /// measured with those they have, and left out of a sweep. Pushes of a herd without an answer
    /// after this time are lost.
    #[arg(long, alias = "preload-max", value_name = "SECONDS", default_value = "60s", value_parser = seconds)]
    #[arg(help_heading = "Measurement")]
    give_up_after: Duration,
    /// Number of generator threads.
    #[arg(long, default_value_t = 1, help_heading = "Measurement")]
    threads: usize,
    /// Cores on which the harness and the targets that it starts run, such as 0 or 0,1 [default:
    /// all].
    #[arg(long, value_delimiter = ',', help_heading = "Measurement")]
    cores: Vec<usize>,
    /// Seed of all random numbers.
    #[arg(long, default_value_t = 1, help_heading = "Measurement")]
    seed: u64,
    /// The gateway's binary [default: the one in the folder of this program].
    #[arg(long, value_name = "PATH", help_heading = "Targets")]
    gateway: Option<PathBuf>,
    /// Folder that contains prometheus-pushgateway and victoria-metrics, if they are not on the
    /// PATH.
    #[arg(long, value_name = "DIR", help_heading = "Targets")]
    programs: Option<PathBuf>,
    /// Process ids of the targets that are given by URL, in their order, separated by commas. CPU,
    /// memory and context switches of these processes are read from /proc, as for built-in targets.
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        help_heading = "Targets"
    )]
    pub pid: Vec<u32>,
    /// Leave the groups that were pushed on targets that are given by URL. Otherwise they are deleted
    /// at the end.
    #[arg(long, help_heading = "Targets")]
    keep: bool,
    /// Size of the body that `floor` serves to scrapes [default: the size of the groups'
    /// exposition].
    #[arg(long, value_name = "BYTES", help_heading = "Targets")]
    floor_bytes: Option<usize>,
}

// The files that results are written to, in addition to the terminal.
#[derive(Args, Clone)]
pub struct OutputArgs {
    /// Append all raw figures to this file, as lines of JSON.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write an HTML report with plots to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}

impl LoadArgs {
    /// The workload: from the file if one is given, else from the other arguments.
    fn workload(&self) -> Result<Workload, String> {
        if let Some(path) = &self.workload_file {
            let with_path = |error: String| format!("{}: {error}", path.display());
            let text =
                std::fs::read_to_string(path).map_err(|error| with_path(error.to_string()))?;
            return toml::from_str(&text).map_err(|error| with_path(error.to_string()));
        }
        let (kind, groups, add_percent) = (self.workload, self.groups, self.add_percent);
        Ok(Workload {
            kind,
            groups,
            add_percent,
            format: self.format,
            encoding: self.encoding,
            lines: self.lines,
            values: self.values,
        })
    }

    /// The settings for a comparison.
    ///
    /// # Errors
    ///
    /// An argument is out of range, or the workload file cannot be read.
    pub fn settings(&self) -> Result<LoadSettings, String> {
        let workload = self.workload()?;
        if workload.groups == 0 || self.connections == 0 || self.threads == 0 || self.seconds <= 0.0
        {
            return Err(
                "groups, connections, threads and seconds have to be above zero".to_owned(),
            );
        }
        if (workload.lines as usize) < N_FLEET_LINES {
            return Err(format!("a push has at least {N_FLEET_LINES} lines"));
        }
        if workload.kind == WorkloadKind::Herd && workload.groups > HERD_SIZE_MAX {
            return Err(format!(
                "a herd has at most {HERD_SIZE_MAX} groups: each of its connections needs a local port"
            ));
        }
        Ok(LoadSettings {
            connections: self.connections,
            keep_alive: !self.reconnect,
            rate: self.rate,
            poisson: self.poisson,
            scrape_interval: interval("--scrape-interval", self.scrape_interval)?,
            scrape_gzip: !self.scrape_identity,
            duration: Duration::from_secs_f64(self.seconds),
            count: self.count,
            bulk: (self.bulk > 0).then_some(BulkSettings {
                clients: self.bulk,
                series: self.bulk_series,
            }),
            warm_up: Duration::from_secs_f64(self.warm_up),
            give_up_after: self.give_up_after,
            leave_out_incomplete: false,
            threads: self.threads,
            seed: self.seed,
            keeps_groups: self.keep,
            programs: Programs {
                gateway: self.gateway.clone(),
                folder: self.programs.clone(),
            },
            floor_bytes: self.floor_bytes(&workload),
            workload,
        })
    }

    /// Size of the body that `floor` serves to scrapes: as given, or about that of the exposition
    /// of all groups.
    pub fn floor_bytes(&self, workload: &Workload) -> usize {
        // The exposition of a fleet group with its twelve lines is about 1.3 KB of text.
        self.floor_bytes
            .unwrap_or(workload.groups as usize * workload.lines as usize * 1300 / N_FLEET_LINES)
    }

    /// Restricts this process, and the processes that it starts, to the cores of `--cores`.
    pub fn pin(&self) -> Result<(), String> {
        if self.cores.is_empty() {
            return Ok(());
        }
        let mut set = rustix::thread::CpuSet::new();
        self.cores.iter().for_each(|&core| set.set(core));
        rustix::thread::sched_setaffinity(None, &set).map_err(|error| format!("--cores: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, ValueEnum};

    fn load(arguments: &[&str]) -> Result<LoadArgs, String> {
        let command = Cli::try_parse_from(["pushgateway-bench", "run"].iter().chain(arguments))
            .map_err(|error| error.to_string())?;
        let Command::Run { load, .. } = command.command else {
            panic!("it is a run")
        };
        Ok(load)
    }

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_axis_accepts_only_valid_values() {
        let set = |axis: Axis, value: f64| {
            let mut settings = load(&[]).unwrap().settings().unwrap();
            axis.set(value, &mut settings).map(|()| settings)
        };
        assert_eq!(set(Axis::Groups, 1e6).unwrap().workload.groups, 1_000_000);
        assert_eq!(set(Axis::Connections, 8.0).unwrap().connections, 8);
        assert_eq!(set(Axis::Lines, 100.0).unwrap().workload.lines, 100);
        assert_eq!(
            set(Axis::ScrapeInterval, 0.5).unwrap().scrape_interval,
            Duration::from_millis(500)
        );
        for (axis, value) in [
            (Axis::Groups, 0.0),
            (Axis::Groups, 1.5),
            (Axis::Groups, 1e12),
            (Axis::Connections, f64::NAN),
            (Axis::Lines, 11.0),
            (Axis::ScrapeInterval, -1.0),
        ] {
            assert!(set(axis, value).is_err(), "{} {value}", axis.name());
        }
        for axis in Axis::value_variants() {
            assert!(
                axis.default_values()
                    .iter()
                    .all(|&value| set(*axis, value).is_ok()),
                "{}",
                axis.name()
            );
            // The name that is printed is the one that `--axis` accepts.
            assert_eq!(axis.to_possible_value().unwrap().get_name(), axis.name());
        }
    }

    #[test]
    fn seconds_may_be_given_with_their_unit() {
        for text in ["90", "90s", "90.0"] {
            assert_eq!(
                load(&["--give-up-after", text]).unwrap().give_up_after,
                Duration::from_secs(90),
                "{text}"
            );
        }
        assert_eq!(
            load(&["--preload-max", "40"]).unwrap().give_up_after,
            Duration::from_secs(40)
        );
        assert!(
            load(&["--give-up-after", "soon"]).is_err()
                && load(&["--give-up-after", "-1"]).is_err()
        );
    }
}
