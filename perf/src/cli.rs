//! Arguments, and the settings that they stand for.

use crate::axis::{Axis, interval};
use crate::load::BulkSettings;
use crate::measure::LoadSettings;
use crate::target::Programs;
use crate::workload::{Encoding, Format, N_FLEET_LINES, Workload, WorkloadKind};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Load-tests Pushgateways, and says honestly what it saw.
///
/// Every run ends with a scrape that is compared, group by group and value by value, with what was
/// pushed and answered; a server that loses, tears or invents a push has failed, whatever its
/// speed. CPU is read from /proc for the targets that the harness starts.
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
        /// or an URL.
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
        /// Rounds: each measures every target once.
        #[arg(long, default_value_t = 9)]
        rounds: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Compare along an axis, and plot it.
    ///
    /// What was measured is in the files after each point. A target that cannot be preloaded with
    /// so many groups in the time of --give-up-after is left out at this point, and where there are
    /// more groups.
    Sweep {
        /// Targets, separated by commas.
        #[arg(long, value_delimiter = ',', default_value = "self,floor")]
        targets: Vec<String>,
        /// What varies.
        #[arg(long, value_enum, default_value_t = Axis::Groups)]
        axis: Axis,
        /// Its values, separated by commas, smallest first; by default such as suit the axis.
        #[arg(long, value_delimiter = ',')]
        values: Vec<f64>,
        /// Rounds for each value.
        #[arg(long, default_value_t = 3)]
        rounds: u32,
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Measure scrapes of the gateway: of a store at rest beside nginx sending the same bytes,
    /// after pushes, and the memory they take.
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
    /// Measure what the generator itself costs, beside wrk with the same load, against a server
    /// that costs next to nothing.
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
    /// Tell what the gateway aims at and where it is, by the figures that `perf/record` left in a
    /// folder: a table in Markdown.
    Targets {
        /// The folder.
        folder: PathBuf,
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

/// Seconds, such as 60 or 60s.
fn seconds(text: &str) -> Result<Duration, String> {
    let number = text
        .strip_suffix('s')
        .unwrap_or(text)
        .parse()
        .map_err(|_| format!("{text:?} is no number of seconds"))?;
    interval("seconds", number)
}

#[derive(Args, Clone)]
pub struct LoadArgs {
    /// What is pushed.
    #[arg(long, value_enum, default_value_t = WorkloadKind::Fleet, help_heading = "Load")]
    workload: WorkloadKind,
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
    pub connections: u32,
    /// A new connection for every push, as most batch jobs do.
    #[arg(long, help_heading = "Load")]
    reconnect: bool,
    /// Open loop: so many pushes a second, whether the server keeps up or not. Latency counts from
    /// when a push was due.
    #[arg(long, value_name = "PER_SECOND", help_heading = "Load")]
    rate: Option<f64>,
    /// Open loop: at random moments instead of even ones.
    #[arg(long, requires = "rate", help_heading = "Load")]
    poisson: bool,
    /// Clients beside the others that push large bodies back to back.
    #[arg(
        long,
        value_name = "CLIENTS",
        default_value_t = 0,
        help_heading = "Load"
    )]
    bulk: u32,
    /// Series in such a body, some 80 bytes each.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100_000,
        help_heading = "Load"
    )]
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
    /// Seconds after which preloading stops, for targets that cannot take so many groups; they are
    /// measured with those they have, and left out of a sweep.
    #[arg(long, alias = "preload-max", value_name = "SECONDS", default_value = "60s", value_parser = seconds)]
    #[arg(help_heading = "Measurement")]
    give_up_after: Duration,
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
    /// Processes of the targets that are given by URL, in their order, separated by commas: their
    /// CPU, memory and context switches are read from /proc, as those of built-in targets are.
    #[arg(
        long,
        value_name = "PID",
        value_delimiter = ',',
        help_heading = "Targets"
    )]
    pub pid: Vec<u32>,
    /// Size of the body that `floor` serves to scrapes; by default what the groups take.
    #[arg(long, value_name = "BYTES", help_heading = "Targets")]
    floor_bytes: Option<usize>,
}

#[derive(Args, Clone)]
pub struct OutputArgs {
    /// Append every raw figure to this file, a line of JSON each.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub json: Option<PathBuf>,
    /// Write a report with plots to this file.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub html: Option<PathBuf>,
}

impl LoadArgs {
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
        })
    }

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
            programs: Programs {
                gateway: self.gateway.clone(),
                folder: self.programs.clone(),
            },
            floor_bytes: self.floor_bytes(&workload),
            workload,
        })
    }

    /// What scrapes of `floor` get.
    pub fn floor_bytes(&self, workload: &Workload) -> usize {
        // A group of the fleet takes some 1.3 KB of text, for its twelve lines.
        self.floor_bytes
            .unwrap_or(workload.groups as usize * workload.lines as usize * 1300 / N_FLEET_LINES)
    }

    /// Keeps this process, and what it starts, to the cores that were asked for.
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
    fn the_options_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_axis_takes_what_it_can_be_set_to() {
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
            // What is printed is what is asked for.
            assert_eq!(axis.to_possible_value().unwrap().get_name(), axis.name());
        }
    }

    #[test]
    fn seconds_may_have_their_unit() {
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
