//! A disk that is full or cannot be written: the process says so, overwrites nothing, and goes on when
//! there is room again.

mod common;

use common::faults::{History, Place, numbers_by_job, push_number, start_log, wait_until_ready};
use common::outside::{NotRun, run_tests};
use common::{Client, Gateway};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    run_tests!(
        a_limit_of_the_file_size_is_a_full_disk_and_not_the_end,
        a_full_disk_is_reported_and_recovers,
        a_process_does_not_start_on_a_full_disk,
        a_directory_that_cannot_be_written_is_named_and_left_alone,
    )
}

const FLAGS: [&str; 2] = ["--persistence.durability=push", "--persistence.interval=1h"];

/// Pushes groups of about 60 kB until one is refused.
fn push_until_full(gateway: &Gateway, history: &mut History) {
    let mut client = Client::new(gateway);
    let filler: String = (0..2000)
        .map(|n| format!("filler{{n=\"{n}\"}} {n}\n"))
        .collect();
    for number in 1..1000 {
        let job = format!("full{number}");
        let body = format!("a {number}\nb {number}\n{filler}");
        let path = format!("/metrics/job/{job}");
        let answer = client.request("PUT", &path, &[], body.as_bytes());
        history.note(&job, Some(number), answer.status == 200);
        if answer.status != 200 {
            assert_eq!(answer.status, 503, "{answer:?}");
            assert!(answer.header("Retry-After").is_some(), "{answer:?}");
            return;
        }
    }
    panic!("the disk is never full");
}

/// Fills the disk of a process, makes room, and has it go on.
fn fill_and_go_on(place: &Place, mut gateway: Gateway, make_room: impl FnOnce(Pid)) {
    wait_until_ready(&gateway);
    let mut history = History::default();
    push_until_full(&gateway, &mut history);
    assert_eq!(gateway.request("GET", "/-/ready", &[], b"").status, 503);
    assert_eq!(
        gateway.lines("pushgateway_persistence_healthy"),
        ["pushgateway_persistence_healthy 0"]
    );
    let line = gateway.wait_for_log("cannot write the state to disk");
    assert!(line.contains("level=error"), "{line}");
    make_room(gateway.pid());
    wait_until_ready(&gateway);
    gateway.wait_for_log("the state is written to disk again");
    let mut client = Client::new(&gateway);
    let answer = push_number(&mut client, "after", 5).unwrap();
    assert_eq!(answer.status, 200);
    history.note("after", Some(5), true);
    gateway.signal(Signal::KILL);
    assert_eq!(gateway.wait(), None);
    let contradictions = history.contradictions(&numbers_by_job(&place.start()));
    assert!(contradictions.is_empty(), "{contradictions:?}");
}

fn a_limit_of_the_file_size_is_a_full_disk_and_not_the_end() {
    let place = Place::new("limits-size");
    let mut command = Command::new("sh");
    // In blocks of 512 or 1024 bytes.
    command
        .args(["-c", r#"ulimit -S -f 1000; exec "$@""#, "sh"])
        .arg(env!("CARGO_BIN_EXE_pushgateway"))
        .args(["--web.listen-address=127.0.0.1:0", &place.flag()])
        .args(FLAGS);
    let gateway = Gateway::try_with_command(command).expect("it listens");
    fill_and_go_on(&place, gateway, |pid| {
        let limit = Rlimit {
            current: None,
            maximum: None,
        };
        rustix::process::prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    });
}

/// Something that is mounted, until this value is dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, arguments: &[&str]) -> Result<Self, NotRun> {
        let mounted = Command::new("mount").args(arguments).arg(at).output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(at.to_owned())),
            Ok(output) => {
                let reason = String::from_utf8_lossy(&output.stderr);
                Err(NotRun::Machine(format!("cannot mount: {reason}")))
            }
            Err(error) => Err(NotRun::Machine(format!("cannot mount: {error}"))),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

const SMALL_DISK: [&str; 5] = ["-t", "tmpfs", "-o", "size=2m", "none"];

fn a_full_disk_is_reported_and_recovers() -> Result<(), NotRun> {
    let place = Place::new("limits-full");
    let directory = place.directory();
    let _mount = Mount::new(&directory, &SMALL_DISK)?;
    let flag = place.flag();
    let gateway = Gateway::with_flags(&[&flag, FLAGS[0], FLAGS[1]]);
    fill_and_go_on(&place, gateway, |_| {
        Mount::new(&directory, &["-o", "remount,size=64m"])
            .map(std::mem::forget)
            .unwrap();
    });
    Ok(())
}

fn a_process_does_not_start_on_a_full_disk() -> Result<(), NotRun> {
    let place = Place::new("limits-start");
    let _mount = Mount::new(&place.directory(), &SMALL_DISK)?;
    let filler = place.directory().join("filler");
    // As much as there is room for.
    let _ = std::fs::write(&filler, vec![1; 4 << 20]);
    let log = start_log(&place);
    assert!(log.contains("pushes.db"), "{log}");
    std::fs::remove_file(filler).unwrap();
    // What the start has left is no obstacle.
    let gateway = place.start();
    assert_eq!(gateway.put("/metrics/job/x", "a 1\nb 1\n").status, 200);
    Ok(())
}

fn a_directory_that_cannot_be_written_is_named_and_left_alone() -> Result<(), NotRun> {
    let place = Place::new("limits-read-only");
    let gateway = place.start();
    assert_eq!(gateway.put("/metrics/job/x", "a 1\nb 1\n").status, 200);
    gateway.signal(Signal::KILL);
    drop(gateway);
    let directory = place.directory();
    let path = directory.to_str().unwrap();
    let mount = Mount::new(&directory, &["--bind", path])?;
    std::mem::forget(Mount::new(&directory, &["-o", "remount,ro,bind"])?);
    let content = || ["pushes.db", "pushes.db-wal"].map(|name| std::fs::read(directory.join(name)));
    let before = content().map(Result::unwrap);
    let log = start_log(&place);
    for text in [
        "cannot write",
        "pushes.db",
        "make the file and its directory writable",
    ] {
        assert!(log.contains(text), "{log}");
    }
    assert!(content().map(Result::unwrap) == before);
    drop(mount);
    assert_eq!(numbers_by_job(&place.start())["x"], 1);
    Ok(())
}
