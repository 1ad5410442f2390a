//! What the generator costs itself, beside wrk: both push the same kind of load to a server that costs next to nothing.

use crate::ledger::Ledger;
use crate::load::{self, Arrivals, Plan};
use crate::process::Usage;
use crate::target::{self, Programs};
use crate::workload::{Action, Encoding, Format, Kind, What, Workload};
use serde::Serialize;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Groups whose paths take turns.
const N_GROUPS: u32 = 1000;

/// What the generator costs, beside wrk where that is installed: microseconds of CPU for each request to a server that costs next to
/// nothing. Part of every report, so that a reader sees what the generator itself takes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    pub generator_us: f64,
    pub wrk_us: Option<f64>,
}

/// A short look at it.
///
/// # Errors
///
/// The server cannot be started.
pub fn quick(connections: u32) -> Result<Cost, String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = Script::write()?;
    let duration = Duration::from_secs(1);
    let generator_us = of_generator(sink.address, duration, connections);
    let wrk_us = of_wrk(sink.address, &script.0, duration, connections).ok();
    Ok(Cost { generator_us, wrk_us })
}

/// What wrk runs; goes with this value.
struct Script(PathBuf);

impl Script {
    fn write() -> Result<Self, String> {
        let path = std::env::temp_dir().join(format!("pushgateway-bench-{}.lua", std::process::id()));
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

/// Measures both in turn, and prints CPU for each request.
///
/// # Errors
///
/// wrk is not installed, or fails.
pub fn run(duration: Duration, connections: u32, rounds: u32) -> Result<(), String> {
    let sink = target::start("sink", &Programs::default(), 0)?;
    let script = Script::write()?;
    let (mut ours, mut wrks) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        let own = of_generator(sink.address, duration, connections);
        let wrk = of_wrk(sink.address, &script.0, duration, connections)?;
        println!("round {round}: generator {own:.2} µs of CPU a request, wrk {wrk:.2} µs");
        ours.push(own);
        wrks.push(wrk);
    }
    let (own, wrk) = (median(&mut ours), median(&mut wrks));
    println!("median: generator {own:.2} µs, wrk {wrk:.2} µs, ratio {:.2}", own / wrk);
    Ok(())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn of_generator(address: std::net::SocketAddr, duration: Duration, connections: u32) -> f64 {
    let workload =
        Workload { kind: Kind::Fleet, groups: N_GROUPS, add_percent: 0, format: Format::Text, encoding: Encoding::Identity };
    let plan = Plan {
        address,
        prefix: "/metrics".to_owned(),
        workload,
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
    let measured = load::run(plan, &Arc::new(Ledger::new(N_GROUPS, false)), |_| ());
    let used = Usage::of(std::process::id()).unwrap_or_default().since(before);
    used.cpu_seconds() * 1e6 / measured.n_answered().max(1) as f64
}

/// The same requests as wrk's script makes them: a path that varies, a body of the same size.
fn lua() -> String {
    let workload =
        Workload { kind: Kind::Fleet, groups: N_GROUPS, add_percent: 0, format: Format::Text, encoding: Encoding::Identity };
    let (mut request, mut body) = (Vec::new(), Vec::new());
    let what = What { action: Action::Push, group: 1, seq: 1000 };
    workload.write_request(what, "/metrics", true, &mut request, &mut body);
    let body = String::from_utf8(body).expect("text").replace('\n', "\\n").replace('"', "\\\"");
    format!(
        "local n = 0\nlocal body = \"{body}\"\n\
         request = function()\n  n = n + 1\n  \
         return wrk.format(\"PUT\", string.format(\"/metrics/job/fleet/instance/node-%07d\", n % {N_GROUPS}), nil, body .. \"\")\nend\n"
    )
}

fn of_wrk(address: std::net::SocketAddr, script: &std::path::Path, duration: Duration, connections: u32) -> Result<f64, String> {
    // GNU time's figures come from the kernel: what the process and nobody else used.
    let output = Command::new("wrk")
        .args(["-t1", &format!("-c{connections}"), &format!("-d{}s", duration.as_secs().max(1)), "-s"])
        .arg(script)
        .arg(format!("http://{address}/"))
        .output()
        .map_err(|error| format!("wrk: {error} (apt-get install wrk)"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let n: Option<f64> = said.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse().ok());
    let children = children_cpu_seconds();
    let n = n.ok_or_else(|| format!("wrk did not say how many requests it made: {said}"))?;
    Ok(children * 1e6 / n)
}

/// CPU of the children that ended since the last call.
fn children_cpu_seconds() -> f64 {
    use std::sync::Mutex;
    static BEFORE: Mutex<f64> = Mutex::new(0.0);
    let ticks = procfs::ticks_per_second() as f64;
    let stat = procfs::process::Process::myself().and_then(|process| process.stat());
    let total = stat.map_or(0.0, |stat| (stat.cutime + stat.cstime) as f64 / ticks);
    let mut before = BEFORE.lock().expect("no panics");
    total - std::mem::replace(&mut *before, total)
}
