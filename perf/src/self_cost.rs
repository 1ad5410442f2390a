//! The generator's own CPU per request, compared with that of wrk and with the least possible (the
//! bare loop). All three push the same kind of load to the target `sink`, which costs next to
//! nothing.

use crate::bare_loop;
use crate::ledger::Ledger;
use crate::load::{self, Arrivals, Plan};
use crate::numbers::{median, ratios_in_order};
use crate::process::ProcessUsage;
use crate::request::RequestWriter;
use crate::target::{self, Programs};
use crate::workload::{Action, RequestSpec, Workload};
use serde::Serialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Number of groups: the paths of requests cycle through them.
const N_GROUPS: u32 = 1000;

/// CPU of a client, in microseconds per request.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuPerRequest {
    pub user_us: f64,
    pub system_us: f64,
}

impl CpuPerRequest {
    fn of(used: ProcessUsage, n_requests: u64) -> Self {
        let each = |seconds: f64| seconds * 1e6 / n_requests.max(1) as f64;
        Self {
            user_us: each(used.user_seconds),
            system_us: each(used.system_seconds),
        }
    }

    /// CPU in user mode and in the kernel together.
    pub fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }
}

/// CPU per request of the bare loop, the generator, and wrk (if wrk is installed), measured against
/// the target `sink`. Part of every report, so that a reader sees the generator's share.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GeneratorCost {
    pub bare_loop: CpuPerRequest,
    pub generator: CpuPerRequest,
    pub wrk: Option<CpuPerRequest>,
}

/// Measures each of the three clients once, for a second.
///
/// # Errors
///
/// The target `sink` cannot be started, or does not answer.
pub fn measure_briefly(connections: u32) -> Result<GeneratorCost, String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = WrkScript::write()?;
    let duration = Duration::from_secs(1);
    Ok(GeneratorCost {
        bare_loop: measure_bare_loop(sink.address, duration, connections)?,
        generator: measure_generator(sink.address, duration, connections),
        wrk: measure_wrk(sink.address, &script.0, duration, connections).ok(),
    })
}

/// The file with the script that wrk runs. Removed when this value is dropped.
struct WrkScript(PathBuf);

impl WrkScript {
    fn write() -> Result<Self, String> {
        let path =
            std::env::temp_dir().join(format!("pushgateway-bench-{}.lua", std::process::id()));
        std::fs::write(&path, wrk_script_text())
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for WrkScript {
    fn drop(&mut self) {
        // Best effort: the file is in the directory for temporary files.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Measures the three clients in turn, `duration` each, for this many rounds, and prints their CPU
/// per request.
///
/// # Errors
///
/// The target `sink` cannot be started, or wrk is not installed or fails.
pub fn run(duration: Duration, connections: u32, rounds: u32) -> Result<(), String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = WrkScript::write()?;
    let mut all: [(&str, Vec<CpuPerRequest>); 3] =
        ["bare loop", "generator", "wrk"].map(|name| (name, Vec::new()));
    println!(
        "µs of CPU for a request:\n{:8} {:10} {:>8} {:>8} {:>8}",
        "round", "client", "user", "system", "both"
    );
    let print = |round: &str, name: &str, cpu: CpuPerRequest| {
        println!(
            "{round:8} {name:10} {:>8.2} {:>8.2} {:>8.2}",
            cpu.user_us,
            cpu.system_us,
            cpu.total_us()
        );
    };
    for round in 1..=rounds {
        let measured = [
            measure_bare_loop(sink.address, duration, connections)?,
            measure_generator(sink.address, duration, connections),
            measure_wrk(sink.address, &script.0, duration, connections)?,
        ];
        for ((name, values), cpu) in all.iter_mut().zip(measured) {
            print(&round.to_string(), name, cpu);
            values.push(cpu);
        }
    }
    for (name, values) in &all {
        print("median", name, median_cpu(values));
    }
    let [bare, own, wrk] = all.map(|(_, values)| {
        values
            .iter()
            .map(|cpu| cpu.total_us())
            .collect::<Vec<f64>>()
    });
    let above: Vec<f64> = own
        .iter()
        .zip(&bare)
        .map(|(own, bare)| own - bare)
        .collect();
    println!(
        "generator / wrk: {:.2}; above the bare loop: {:.2} µs",
        median(&ratios_in_order(&own, &wrk)),
        median(&above)
    );
    Ok(())
}

/// The medians of user and system time, each for itself.
fn median_cpu(values: &[CpuPerRequest]) -> CpuPerRequest {
    let of =
        |time: fn(&CpuPerRequest) -> f64| median(&values.iter().map(time).collect::<Vec<f64>>());
    CpuPerRequest {
        user_us: of(|cpu| cpu.user_us),
        system_us: of(|cpu| cpu.system_us),
    }
}

fn measure_bare_loop(
    address: SocketAddr,
    duration: Duration,
    connections: u32,
) -> Result<CpuPerRequest, String> {
    let before = ProcessUsage::of(std::process::id()).unwrap_or_default();
    let (mut requests, what) = (requests(), SAMPLE_REQUEST);
    let n = bare_loop::run(address, connections, duration, requests.write(what))
        .map_err(|error| format!("the sink: {error}"))?;
    Ok(CpuPerRequest::of(
        ProcessUsage::of(std::process::id())
            .unwrap_or_default()
            .since(before),
        n,
    ))
}

fn measure_generator(address: SocketAddr, duration: Duration, connections: u32) -> CpuPerRequest {
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
    let before = ProcessUsage::of(std::process::id()).unwrap_or_default();
    let measured = load::run(plan, &Arc::new(Ledger::new(&Workload::fleet(N_GROUPS))));
    CpuPerRequest::of(
        ProcessUsage::of(std::process::id())
            .unwrap_or_default()
            .since(before),
        measured.n_answered(),
    )
}

/// A typical push.
const SAMPLE_REQUEST: RequestSpec = RequestSpec {
    action: Action::Push,
    group: 1,
    seq: 1000,
};

fn requests() -> RequestWriter {
    RequestWriter::new(&Workload::fleet(N_GROUPS), "/metrics", true)
}

/// A Lua script that makes wrk send requests like the generator's: the path varies, the body has
/// the same size.
fn wrk_script_text() -> String {
    let mut requests = requests();
    requests.write(SAMPLE_REQUEST);
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

fn measure_wrk(
    address: SocketAddr,
    script: &Path,
    duration: Duration,
    connections: u32,
) -> Result<CpuPerRequest, String> {
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
    Ok(CpuPerRequest::of(
        used,
        n.ok_or_else(|| format!("wrk did not say how many requests it made: {said}"))?,
    ))
}

/// CPU of all child processes that have ended and been waited for.
fn children_usage() -> ProcessUsage {
    let ticks = procfs::ticks_per_second() as f64;
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    stat.map_or_else(
        |_| ProcessUsage::default(),
        |stat| ProcessUsage {
            user_seconds: stat.cutime as f64 / ticks,
            system_seconds: stat.cstime as f64 / ticks,
            ..ProcessUsage::default()
        },
    )
}
