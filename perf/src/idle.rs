//! The memory of connections that pushed once and are kept open: of the gateway, compared with bare
//! hyper.

use crate::numbers::format_figure;
use crate::process::{self, ProcessUsage};
use crate::report::JsonLines;
use crate::request::RequestWriter;
use crate::target::{self, Programs, Target};
use crate::workload::{Action, RequestSpec, Workload};
use serde::Serialize;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// The memory of one target. The field names are those of the JSON file.
#[derive(Clone, Debug, Serialize)]
struct IdleMemory {
    scenario: &'static str,
    target: String,
    connections: u32,
    /// Resident bytes before the first kept connection. The group that all connections push to
    /// exists already.
    before_bytes: u64,
    /// Resident bytes with all connections open and idle.
    idle_bytes: u64,
}

/// Opens this many connections to the gateway and to bare hyper, pushes once over each of them, and
/// prints how much memory the servers hold when the connections are idle.
///
/// # Errors
///
/// A server cannot be started or does not answer, or the JSON file cannot be written.
pub fn run(connections: u32, programs: &Programs, json: Option<&Path>) -> Result<(), String> {
    process::raise_open_files();
    let mut rows = Vec::new();
    for name in ["self", "floor"] {
        let target = target::start(name, programs, 1 << 20)?;
        rows.push(measure(&target, connections)?);
    }
    println!(
        "{:8} {:>14} {:>14} {:>18}",
        "target", "before MB", "idle MB", "KB a connection"
    );
    for row in &rows {
        let each = (row.idle_bytes - row.before_bytes) as f64 / 1e3 / f64::from(row.connections);
        let cells = [row.before_bytes as f64 / 1e6, row.idle_bytes as f64 / 1e6].map(format_figure);
        println!(
            "{:8} {:>14} {:>14} {:>18}",
            row.target,
            cells[0],
            cells[1],
            format_figure(each)
        );
    }
    let ratio = rows[0].idle_bytes as f64 / rows[1].idle_bytes as f64;
    println!(
        "{} connections: {} × the floor's memory",
        connections,
        format_figure(ratio)
    );
    let mut json = JsonLines::open(json)?;
    rows.iter().try_for_each(|row| json.append(row))
}

fn measure(target: &Target, connections: u32) -> Result<IdleMemory, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", target.name);
    let memory = || {
        // Gives the allocator time to return freed memory to the system.
        std::thread::sleep(Duration::from_secs(3));
        target
            .pid
            .and_then(ProcessUsage::of)
            .map_or(0, |usage| usage.resident_bytes)
    };
    let mut requests = RequestWriter::new(&Workload::fleet(1), &target.prefix, true);
    let mut push = |seq| -> std::io::Result<TcpStream> {
        let mut stream = TcpStream::connect(target.address)?;
        stream.write_all(requests.write(RequestSpec {
            action: Action::Push,
            group: 0,
            seq,
        }))?;
        let mut answer = [0; 1024];
        let n = stream.read(&mut answer)?;
        if answer[..n].starts_with(b"HTTP/1.1 200") {
            Ok(stream)
        } else {
            Err(std::io::Error::other("not answered 200"))
        }
    };
    drop(push(1).map_err(failed)?);
    let before_bytes = memory();
    let mut kept = Vec::with_capacity(connections as usize);
    for n in 0..connections {
        kept.push(push(u64::from(n) + 2).map_err(failed)?);
    }
    let idle_bytes = memory();
    Ok(IdleMemory {
        scenario: "idle",
        target: target.name.clone(),
        connections,
        before_bytes,
        idle_bytes,
    })
}
