//! The state on disk, as an operator sees it: the real process is ended in every way, started again,
//! and has every group that it must have.

mod common;

use common::{Client, Gateway, TempDir};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a process is killed. `PUSHGATEWAY_KILLS` sets another number, for long runs by hand.
const KILLS: u64 = 25;

fn flag(file: &Path) -> String {
    format!("--persistence.file={}", file.display())
}

fn state_file(directory: &TempDir) -> PathBuf {
    directory.0.join("state")
}

/// What the query API says about all groups.
fn shown(gateway: &Gateway) -> serde_json::Value {
    let answer = gateway.request("GET", "/api/v1/metrics", &[], b"");
    assert_eq!(answer.status, 200);
    serde_json::from_str::<serde_json::Value>(&answer.text()).unwrap()["data"].take()
}

/// Waits until the groups are restored.
fn wait_until_ready(gateway: &Gateway) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while gateway.request("GET", "/-/ready", &[], b"").status != 200 {
        assert!(Instant::now() < deadline, "not ready: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(file: &Path, more: &[&str]) -> Gateway {
    let file = flag(file);
    let mut flags = vec![file.as_str()];
    flags.extend(more);
    let gateway = Gateway::with_flags(&flags);
    wait_until_ready(&gateway);
    gateway
}

fn end(mut gateway: Gateway) {
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
}

#[test]
fn every_group_is_there_after_the_end_and_a_new_start() {
    let directory = TempDir::new("persistence-end");
    let file = state_file(&directory);
    let gateway = start(&file, &["--persistence.interval=1h"]);
    for n in 0..50 {
        let body = format!("# HELP a Help.\n# TYPE a counter\na{{x=\"{n}\"}} {n}\n");
        assert_eq!(
            gateway
                .put(&format!("/metrics/job/j{n}/instance/"), &body)
                .status,
            200
        );
    }
    let histogram =
        "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 3\nh_sum 4\nh_count 3\n";
    assert_eq!(gateway.put("/metrics/job/mixed", histogram).status, 200);
    assert_eq!(
        gateway
            .post(
                "/metrics/job/mixed",
                "# TYPE s summary\ns{quantile=\"0.5\"} NaN\ns_sum 1\ns_count 2\n"
            )
            .status,
        200
    );
    let contradiction = "# TYPE a gauge\na 1\n";
    assert_eq!(
        gateway.post("/metrics/job/mixed", contradiction).status,
        400
    );
    assert_eq!(
        gateway
            .put("/metrics/job/refused", "a{job=\"x\"} 1 1\n")
            .status,
        400
    );
    assert_eq!(gateway.delete("/metrics/job/j7/instance/").status, 202);
    let before = (shown(&gateway), gateway.lines("h"), gateway.lines("push_"));
    end(gateway);
    // Twice: the second start finds what the first one has not written again.
    for _ in 0..2 {
        let gateway = start(&file, &[]);
        assert_eq!(
            (shown(&gateway), gateway.lines("h"), gateway.lines("push_")),
            before
        );
        end(gateway);
    }
    let gateway = start(&file, &[]);
    assert_eq!(gateway.delete("/metrics/job/j8/instance/").status, 202);
    assert_eq!(
        gateway.put("/metrics/job/j9/instance/", "b 1\n").status,
        200
    );
    let after = shown(&gateway);
    assert_ne!(after, before.0);
    end(gateway);
    assert_eq!(shown(&start(&file, &[])), after);
}

/// What was answered: for each job the number of the last push that was answered, and when.
type Answered = BTreeMap<String, (u64, Instant)>;

/// Pushes increasing numbers to groups of its own until the gateway is gone.
fn push_until_killed(
    gateway: &Gateway,
    pusher: usize,
    number: &AtomicU64,
    answered: &Mutex<Answered>,
    is_killed: &AtomicBool,
) {
    let mut client = Client::new(gateway);
    while !is_killed.load(Relaxed) {
        let n = number.fetch_add(1, Relaxed);
        let job = format!("p{pusher}_{}", n % 20);
        // Two families with the same number: half a push would show.
        let body = format!("a {n}\nb{{x=\"y\"}} {n}\n");
        let path = format!("/metrics/job/{job}");
        let Some(answer) = client.try_request("PUT", &path, &[], body.as_bytes()) else {
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        answered.lock().unwrap().insert(job, (n, Instant::now()));
    }
}

/// The number in each group, by job.
fn numbers(gateway: &Gateway) -> BTreeMap<String, u64> {
    let by_job = |name: &str| -> BTreeMap<String, u64> {
        let lines = gateway.lines(name);
        let number = |line: &String| {
            let job = line.split_once("job=\"").unwrap().1;
            let job = job.split_once('"').unwrap().0.to_owned();
            let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            (job, value as u64)
        };
        lines.iter().map(number).collect()
    };
    let (a, b) = (by_job("a"), by_job("b"));
    assert_eq!(a, b, "half a push");
    a
}

/// Kills the process again and again at random moments under load, and compares what it has after the
/// next start with what was answered.
///
/// What was answered `may_be_lost` before the process was killed, or later, may be lost.
fn kill_and_compare(name: &str, durability: &str, run_ms: Range<u64>, may_be_lost: Duration) {
    let directory = TempDir::new(name);
    let file = state_file(&directory);
    let mut random = fastrand::Rng::with_seed(17);
    let number = AtomicU64::new(1);
    let answered = Mutex::new(Answered::new());
    let flags = [
        format!("--persistence.durability={durability}"),
        "--persistence.interval=20ms".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let n_kills = n_kills();
    let mut killed_at = Instant::now();
    for kill in 0..=n_kills {
        let gateway = start(&file, &flags);
        let found = numbers(&gateway);
        for (job, (n, at)) in answered.lock().unwrap().iter() {
            let has = found.get(job).copied().unwrap_or(0);
            assert!(
                has >= *n || *at + may_be_lost > killed_at,
                "kill {kill}: {job} has {has}, and {n} was answered"
            );
        }
        // What was lost is lost: later starts are compared with what is there.
        // It was on disk before.
        let long_ago = killed_at - may_be_lost;
        let found = found.into_iter().map(|(job, n)| (job, (n, long_ago)));
        *answered.lock().unwrap() = found.collect();
        assert!(
            kill == 0 || !answered.lock().unwrap().is_empty(),
            "nothing was pushed"
        );
        if kill == n_kills {
            return;
        }
        let is_killed = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            for pusher in 0..4 {
                let (gateway, number, answered, is_killed) =
                    (&gateway, &number, &answered, &is_killed);
                scope
                    .spawn(move || push_until_killed(gateway, pusher, number, answered, is_killed));
            }
            std::thread::sleep(Duration::from_millis(random.u64(run_ms.clone())));
            killed_at = Instant::now();
            gateway.signal(Signal::KILL);
            is_killed.store(true, Relaxed);
        });
        drop(gateway);
    }
}

fn n_kills() -> u64 {
    std::env::var("PUSHGATEWAY_KILLS").map_or(KILLS, |n| n.parse().expect("a number"))
}

#[test]
fn a_killed_process_has_lost_nothing_that_was_answered_durably() {
    kill_and_compare("persistence-kill-push", "push", 10..300, Duration::ZERO);
}

/// The interval is 20 ms. A writer that gets no turn for a second, on a busy machine, is no fault.
#[test]
fn a_killed_process_has_lost_only_what_was_answered_lately() {
    kill_and_compare(
        "persistence-kill-interval",
        "interval",
        1200..1600,
        Duration::from_secs(1),
    );
}

/// The process fails to start with status 1, says why, and leaves the files as they are.
fn assert_refuses_to_start(file: &Path, more: &[&str], texts: &[&str]) {
    let database = file.with_extension("db");
    let before = std::fs::read(&database).ok();
    let flag = flag(file);
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pushgateway"))
        .args(["--web.listen-address=127.0.0.1:0", &flag])
        .args(more)
        .output()
        .unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{log}");
    for text in texts {
        assert!(log.contains(text), "{text:?} is not in: {log}");
    }
    assert_eq!(std::fs::read(&database).ok(), before, "{log}");
}

#[test]
fn a_file_that_is_in_use_damaged_or_of_another_kind_is_refused() {
    let directory = TempDir::new("persistence-refused");
    let file = state_file(&directory);
    let database = file.with_extension("db");
    let gateway = start(&file, &["--persistence.durability=push"]);
    for n in 0..20 {
        assert_eq!(
            gateway.put(&format!("/metrics/job/j{n}"), "a 1\n").status,
            200
        );
    }
    assert_refuses_to_start(&file, &[], &["state.db is in use by another process"]);
    end(gateway);
    let good = std::fs::read(&database).unwrap();
    let mut flipped = good.clone();
    let place = good.windows(2).rposition(|bytes| bytes == b"a\0").unwrap();
    flipped[place] ^= 4;
    for damaged in [&flipped[..], b"garbage", &[]] {
        std::fs::write(&database, damaged).unwrap();
        assert_refuses_to_start(&file, &[], &["state.db"]);
    }
    std::fs::write(&database, &good[..good.len() / 2]).unwrap();
    assert_refuses_to_start(&file, &[], &["state.db is damaged"]);
    std::fs::write(&database, &good).unwrap();
    assert_eq!(numbers_of_a(&start(&file, &[])), 20);
    let missing = directory.0.join("missing/state");
    assert_refuses_to_start(&missing, &[], &["the directory", "missing does not exist"]);
}

fn numbers_of_a(gateway: &Gateway) -> usize {
    gateway.lines("a").len()
}

#[test]
fn the_file_of_the_reference_is_imported_once_and_never_written() {
    let directory = TempDir::new("persistence-import");
    let file = state_file(&directory);
    let fixture = include_bytes!("fixtures/reference-1.11.2.gob");
    let expected: serde_json::Value =
        serde_json::from_str(include_str!("fixtures/reference-1.11.2.json")).unwrap();
    std::fs::write(&file, fixture).unwrap();
    let gateway = start(&file, &[]);
    let imported = shown(&gateway);
    assert_eq!(imported, expected["data"]);
    // From now on the state is that of this gateway.
    assert_eq!(gateway.put("/metrics/job/new", "n 1\n").status, 200);
    let later = shown(&gateway);
    end(gateway);
    assert_eq!(std::fs::read(&file).unwrap(), fixture);
    let gateway = start(&file, &[]);
    assert_eq!(shown(&gateway), later);
    end(gateway);
    // A copy of the file is the same file.
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, fixture).unwrap();
    end(start(&file, &[]));
    // The reference has written another state meanwhile.
    std::fs::write(&file, [&fixture[..], &[0]].concat()).unwrap();
    assert_refuses_to_start(
        &file,
        &[],
        &[
            "there are two states",
            "--persistence.import=file",
            "--persistence.import=never",
        ],
    );
    let gateway = start(&file, &["--persistence.import=never"]);
    assert_eq!(shown(&gateway), later);
    end(gateway);
    // What is no file of the reference stops the start, and the state stays.
    assert_refuses_to_start(&file, &["--persistence.import=file"], &["cannot import"]);
    std::fs::write(&file, fixture).unwrap();
    let gateway = start(&file, &[]);
    assert_eq!(shown(&gateway), later);
    end(gateway);
}

#[test]
fn a_push_that_is_answered_before_the_end_is_there_afterwards() {
    let directory = TempDir::new("persistence-term");
    let file = state_file(&directory);
    for durability in ["interval", "push"] {
        let flags = [format!("--persistence.durability={durability}")];
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut gateway = start(&file, &flags);
        let answered = Mutex::new(Answered::new());
        let (number, is_ended) = (AtomicU64::new(1), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for pusher in 0..4 {
                let (gateway, number, answered, is_ended) =
                    (&gateway, &number, &answered, &is_ended);
                scope.spawn(move || push_until_killed(gateway, pusher, number, answered, is_ended));
            }
            std::thread::sleep(Duration::from_millis(200));
            gateway.signal(Signal::TERM);
        });
        assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
        let found = numbers(&start(&file, &flags));
        for (job, (n, _)) in answered.lock().unwrap().iter() {
            assert!(found[job] >= *n, "{durability}: {job}");
        }
    }
}
