//! What the generator costs itself, beside wrk and the least that it could cost: all push the same
//! kind of load to a server that costs next to nothing.

use crate::bare_loop;
use crate::ledger::Ledger;
use crate::load::{self, Arrivals, Plan};
use crate::process::Usage;
use crate::request::Requests;
use crate::target::{self, Programs};
use crate::workload::{Action, What, Workload};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Groups whose paths take turns.
const N_GROUPS: u32 = 1000;

/// Microseconds of CPU for each request.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Cpu {
    pub user_us: f64,
    pub system_us: f64,
}

impl Cpu {
    fn of(used: Usage, n_requests: u64) -> Self {
        let each = |seconds: f64| seconds * 1e6 / n_requests.max(1) as f64;
        Self {
            user_us: each(used.user_seconds),
            system_us: each(used.system_seconds),
        }
    }

    /// Both kinds.
    pub fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }
}

/// What the generator costs, beside wrk where that is installed and the least that a client could
/// cost here: of each request to a server that costs next to nothing. Part of every report, so that
/// a reader sees what the generator itself takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    pub bare_loop: Cpu,
    pub generator: Cpu,
    pub wrk: Option<Cpu>,
}

/// A short look at it.
///
/// # Errors
///
/// The server cannot be started, or does not answer.
pub fn quick(connections: u32) -> Result<Cost, String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = Script::write()?;
    let duration = Duration::from_secs(1);
    Ok(Cost {
        bare_loop: of_bare_loop(sink.address, duration, connections)?,
        generator: of_generator(sink.address, duration, connections),
        wrk: of_wrk(sink.address, &script.0, duration, connections).ok(),
    })
}

/// What wrk runs; goes with this value.
struct Script(PathBuf);

impl Script {
    fn write() -> Result<Self, String> {
        let path =
            std::env::temp_dir().join(format!("pushgateway-bench-{}.lua", std::process::id()));
        std::fs::write(&path, lua()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It lies among the temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measures the three in turn, and prints CPU for each request.
///
/// # Errors
///
/// wrk is not installed, or fails.
pub fn run(duration: Duration, connections: u32, rounds: u32) -> Result<(), String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = Script::write()?;
    let mut all: [(&str, Vec<Cpu>); 3] =
        ["bare loop", "generator", "wrk"].map(|name| (name, Vec::new()));
    println!(
        "µs of CPU for a request:\n{:8} {:10} {:>8} {:>8} {:>8}",
        "round", "client", "user", "system", "both"
    );
    let print = |round: &str, name: &str, cpu: Cpu| {
        println!(
            "{round:8} {name:10} {:>8.2} {:>8.2} {:>8.2}",
            cpu.user_us,
            cpu.system_us,
            cpu.total_us()
        );
    };
    for round in 1..=rounds {
        let measured = [
            of_bare_loop(sink.address, duration, connections)?,
            of_generator(sink.address, duration, connections),
            of_wrk(sink.address, &script.0, duration, connections)?,
        ];
        for ((name, values), cpu) in all.iter_mut().zip(measured) {
            print(&round.to_string(), name, cpu);
            values.push(cpu);
        }
    }
    let [bare, own, wrk] = all.map(|(name, values)| {
        let cpu = median(values);
        print("median", name, cpu);
        cpu.total_us()
    });
    println!(
        "generator / wrk: {:.2}; above the bare loop: {:.2} µs",
        own / wrk,
        own - bare
    );
    Ok(())
}

/// The one whose sum is the middle one.
fn median(mut values: Vec<Cpu>) -> Cpu {
    values.sort_by(|a, b| a.total_us().total_cmp(&b.total_us()));
    values[values.len() / 2]
}

fn of_bare_loop(address: SocketAddr, duration: Duration, connections: u32) -> Result<Cpu, String> {
    let before = Usage::of(std::process::id()).unwrap_or_default();
    let (mut requests, what) = (requests(), WHAT);
    let n = bare_loop::run(address, connections, duration, requests.write(what))
        .map_err(|error| format!("the sink: {error}"))?;
    Ok(Cpu::of(
        Usage::of(std::process::id())
            .unwrap_or_default()
            .since(before),
        n,
    ))
}

fn of_generator(address: SocketAddr, duration: Duration, connections: u32) -> Cpu {
    let plan = Plan {
        address,
        prefix: "/metrics".to_owned(),
        workload: Workload::fleet(N_GROUPS),
        arrivals: Arrivals::Closed,
        connections,
        threads: 1,
        keep_alive: true,
        duration,
        count: None,
        bulk: None,
        seed: 1,
        scrapes: None,
        is_checked: false,
    };
    let before = Usage::of(std::process::id()).unwrap_or_default();
    let measured = load::run(plan, &Arc::new(Ledger::new(N_GROUPS, false)));
    Cpu::of(
        Usage::of(std::process::id())
            .unwrap_or_default()
            .since(before),
        measured.n_answered(),
    )
}

/// A push like all others.
const WHAT: What = What {
    action: Action::Push,
    group: 1,
    seq: 1000,
};

fn requests() -> Requests {
    Requests::new(&Workload::fleet(N_GROUPS), "/metrics", true)
}

/// The same requests as wrk's script makes them: a path that varies, a body of the same size.
fn lua() -> String {
    let mut requests = requests();
    requests.write(WHAT);
    let body = std::str::from_utf8(requests.body())
        .expect("text")
        .replace('\n', "\\n")
        .replace('"', "\\\"");
    format!(
        "local n = 0\nlocal body = \"{body}\"\n\
         request = function()\n  n = n + 1\n  \
         return wrk.format(\"PUT\", string.format(\"/metrics/job/fleet/instance/node-%07d\", n % {N_GROUPS}), nil, body .. \"\")\nend\n"
    )
}

fn of_wrk(
    address: SocketAddr,
    script: &Path,
    duration: Duration,
    connections: u32,
) -> Result<Cpu, String> {
    let before = children_usage();
    let output = Command::new("wrk")
        .args([
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{}s", duration.as_secs().max(1)),
            "-s",
        ])
        .arg(script)
        .arg(format!("http://{address}/"))
        .output()
        .map_err(|error| format!("wrk: {error} (apt-get install wrk)"))?;
    let used = children_usage().since(before);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let n: Option<u64> = said
        .lines()
        .find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
    Ok(Cpu::of(
        used,
        n.ok_or_else(|| format!("wrk did not say how many requests it made: {said}"))?,
    ))
}

/// CPU of the children that have ended.
fn children_usage() -> Usage {
    let ticks = procfs::ticks_per_second() as f64;
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    stat.map_or_else(
        |_| Usage::default(),
        |stat| Usage {
            user_seconds: stat.cutime as f64 / ticks,
            system_seconds: stat.cstime as f64 / ticks,
            ..Usage::default()
        },
    )
}
