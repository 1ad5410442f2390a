//! Faults of the disk below the real process: whatever fails, and whenever, a push that was answered is
//! there afterwards, no group is half there, and the process says what is wrong and recovers.
//!
//! `PUSHGATEWAY_ALL_FAULTS=1` runs every fault at every call instead of a part of them.

mod common;

use common::faults::{
    ALL_CALLS, History, Place, change, has_restored, is_ready, numbers_by_job, on_each,
    push_number, some_of, wait_until_ready,
};
use common::{Client, Gateway};
use rustix::process::Signal;

/// As many calls as the short run makes, or a few more.
const N_CALLS: u64 = 125;

/// What happens to the files of one run.
#[derive(Clone, Debug)]
struct Fault {
    calls: &'static str,
    kind: &'static str,
    at: u64,
    /// Another call that fails.
    also: u64,
    /// The process is killed before this call.
    kill_at: u64,
}

impl Fault {
    fn new(calls: &'static str, kind: &'static str, at: u64) -> Self {
        Self {
            calls,
            kind,
            at,
            also: 0,
            kill_at: 0,
        }
    }
}

/// Ends a process, one way or the other. It may have ended itself, if it cannot start on such a disk.
fn end(mut gateway: Gateway, fault: &Fault) -> Option<i32> {
    let is_killed = fault.kill_at > 0;
    if is_killed || fault.at.is_multiple_of(2) {
        // Fails if the process has ended.
        let _ = rustix::process::kill_process(gateway.pid(), Signal::KILL);
    } else {
        let _ = rustix::process::kill_process(gateway.pid(), Signal::TERM);
    }
    let status = gateway.wait();
    // A process that ends itself says why.
    if status != Some(0) && status.is_some() {
        assert_eq!(status, Some(1));
        gateway.wait_for_log("cannot run");
    }
    status
}

/// A short run with a fault, in a place that may have a state already. Then a run without faults finds
/// every group that was answered.
fn run_with(fault: &Fault, place: &Place, mut history: History) {
    let number = |n: u64| n.to_string();
    let (at, also, kill_at) = (number(fault.at), number(fault.also), number(fault.kill_at));
    let log = place.0.0.join("log");
    let variables = [
        ("FAULT_CALLS", fault.calls),
        ("FAULT_KIND", fault.kind),
        ("FAULT_AT", &at),
        ("FAULT_ALSO", &also),
        ("FAULT_KILL_AT", &kill_at),
        ("FAULT_LOG", log.to_str().unwrap()),
    ];
    let flags = ["--persistence.durability=push", "--persistence.interval=1h"];
    let is_killed = fault.kill_at > 0;
    match place.try_start_with(&variables, &flags) {
        Err(log) => assert!(is_killed, "{log}"),
        Ok(mut gateway) => {
            let has_restored = has_restored(&mut gateway);
            if has_restored {
                change(&gateway, &mut history);
            }
            let status = end(gateway, fault);
            assert!(has_restored || is_killed || status == Some(1), "{status:?}");
        }
    }
    let gateway = place.start();
    let contradictions = history.contradictions(&numbers_by_job(&gateway));
    let log = std::fs::read_to_string(log).unwrap_or_default();
    assert!(contradictions.is_empty(), "{contradictions:?}: {log}");
}

/// A state as it is after the process was killed: SQLite's log is there as well.
fn old_state() -> (Place, History) {
    let place = Place::new("faults-old");
    let gateway = place.start();
    let mut client = Client::new(&gateway);
    let mut history = History::default();
    for (job, number) in [("old", 101), ("older", 102), ("oldest", 103)] {
        let answer = push_number(&mut client, job, number).unwrap();
        assert_eq!(answer.status, 200);
        history.note(job, Some(number), true);
    }
    gateway.signal(Signal::KILL);
    (place, history)
}

/// Runs each fault on a copy of a state, and without one.
fn run_each(faults: &[Fault]) {
    let (old, old_history) = old_state();
    on_each(faults, |fault| {
        run_with(fault, &Place::new("faults-new"), History::default());
        run_with(fault, &old.copy(), old_history.clone());
    });
}

#[test]
fn nothing_answered_is_lost_when_a_write_fails() {
    let faults = |kind, first, step| {
        let numbers = some_of(1..=60, first, step);
        numbers
            .into_iter()
            .map(move |at| Fault::new("write", kind, at))
    };
    let faults = faults("eio", 0, 6)
        .chain(faults("enospc", 1, 5))
        .chain(faults("torn", 2, 6))
        .chain(faults("short", 3, 12));
    run_each(&faults.collect::<Vec<_>>());
}

#[test]
fn nothing_answered_is_lost_when_a_sync_fails() {
    let numbers = some_of(1..=50, 0, 2);
    let faults = numbers.into_iter().map(|at| Fault::new("sync", "eio", at));
    run_each(&faults.collect::<Vec<_>>());
}

#[test]
fn nothing_answered_is_lost_when_a_file_cannot_be_opened_or_renamed() {
    let faults = [("truncate", 6), ("rename", 3), ("unlink", 5), ("open", 13)];
    let faults = faults.into_iter().flat_map(|(calls, n)| {
        some_of(1..=n, 0, 2)
            .into_iter()
            .map(move |at| Fault::new(calls, "eio", at))
    });
    run_each(&faults.collect::<Vec<_>>());
}

/// The number of the call that syncs the first push to a new state file.
fn first_sync_of_a_push() -> u64 {
    let place = Place::new("faults-count");
    let log = place.0.0.join("log");
    let variables = [
        ("FAULT_CALLS", ALL_CALLS),
        ("FAULT_LOG", log.to_str().unwrap()),
    ];
    let flags = ["--persistence.durability=push", "--persistence.interval=1h"];
    let gateway = place.try_start_with(&variables, &flags).unwrap();
    wait_until_ready(&gateway);
    assert_eq!(gateway.put("/metrics/job/x", "a 1\n").status, 200);
    let calls = std::fs::read_to_string(&log).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    let is_sync = |call: &&str| call.contains(" sync pushes.db-wal ");
    calls.iter().rposition(is_sync).unwrap() as u64 + 1
}

#[test]
fn nothing_answered_is_lost_when_writing_the_file_anew_fails_as_well() {
    let at = first_sync_of_a_push();
    // The second push, whose sync fails; then each of the calls that write the file anew.
    let at = at + 3;
    let faults: Vec<Fault> = some_of(at + 1..=at + 70, 0, 3)
        .into_iter()
        .map(|also| Fault {
            also,
            ..Fault::new(ALL_CALLS, "eio", at)
        })
        .collect();
    on_each(&faults, |fault| {
        run_with(fault, &Place::new("faults-twice"), History::default());
    });
}

#[test]
fn nothing_answered_is_lost_when_the_process_is_killed_at_any_call() {
    let sync = first_sync_of_a_push() + 3;
    let plain = some_of(1..=N_CALLS, 0, 5).into_iter().map(|kill_at| Fault {
        kill_at,
        ..Fault::new(ALL_CALLS, "eio", 0)
    });
    // While the file is written anew.
    let anew = some_of(sync + 1..=sync + 70, 0, 3)
        .into_iter()
        .map(|kill_at| Fault {
            kill_at,
            ..Fault::new(ALL_CALLS, "eio", sync)
        });
    on_each(&plain.chain(anew).collect::<Vec<_>>(), |fault| {
        run_with(fault, &Place::new("faults-killed"), History::default());
    });
}

/// A process whose calls fail while the file `off` does not exist.
struct FailingProcess {
    place: Place,
    gateway: Gateway,
}

impl FailingProcess {
    fn start(calls: &str, kind: &str, flags: &[&str]) -> Self {
        Self::start_in(Place::new("faults-lasting"), calls, kind, flags)
    }

    fn start_in(place: Place, calls: &str, kind: &str, flags: &[&str]) -> Self {
        let off = place.0.0.join("off");
        std::fs::write(&off, "").unwrap();
        let variables = [
            ("FAULT_CALLS", calls),
            ("FAULT_KIND", kind),
            ("FAULT_AT", "1"),
            ("FAULT_COUNT", "0"),
            ("FAULT_OFF", off.to_str().unwrap()),
        ];
        let gateway = place.try_start_with(&variables, flags).unwrap();
        wait_until_ready(&gateway);
        Self { place, gateway }
    }

    fn set_failing(&self, is_failing: bool) {
        let off = self.place.0.0.join("off");
        if is_failing {
            std::fs::remove_file(off).unwrap();
        } else {
            std::fs::write(off, "").unwrap();
        }
    }

    fn healthy(&self) -> Vec<String> {
        self.gateway.lines("pushgateway_persistence_healthy")
    }

    fn recover(&self) {
        self.set_failing(false);
        wait_until_ready(&self.gateway);
        assert_eq!(self.healthy(), ["pushgateway_persistence_healthy 1"]);
        self.gateway
            .wait_for_log("the state is written to disk again");
    }
}

/// Calls that fail together for some time.
const LASTING: [(&str, &str); 8] = [
    ("write", "eio"),
    ("write", "enospc"),
    ("sync", "eio"),
    ("sync,rename", "eio"),
    ("sync,unlink", "eio"),
    ("sync,open", "enospc"),
    ("sync,opendir", "eio"),
    (ALL_CALLS, "eio"),
];

#[test]
fn durable_pushes_are_refused_while_the_disk_fails_and_go_on_afterwards() {
    on_each(&LASTING, |(calls, kind)| {
        let flags = ["--persistence.durability=push", "--persistence.interval=1h"];
        let process = FailingProcess::start(calls, kind, &flags);
        let gateway = &process.gateway;
        let mut history = History::default();
        change(gateway, &mut history);
        assert_eq!(process.healthy(), ["pushgateway_persistence_healthy 1"]);
        let n_answered = history.n_answered();
        for _ in 0..2 {
            process.set_failing(true);
            let mut client = Client::new(gateway);
            for (job, number) in [("j0", 11), ("new", 12)] {
                let answer = push_number(&mut client, job, number).unwrap();
                assert_eq!(answer.status, 503, "{calls}: {answer:?}");
                assert!(answer.header("Retry-After").is_some(), "{answer:?}");
                history.note(job, Some(number), false);
            }
            let answer = gateway.delete("/metrics/job/j1");
            assert_eq!(answer.status, 503, "{calls}: {answer:?}");
            history.note("j1", None, false);
            assert_eq!(gateway.request("GET", "/-/ready", &[], b"").status, 503);
            assert_eq!(gateway.request("GET", "/-/healthy", &[], b"").status, 200);
            assert_eq!(process.healthy(), ["pushgateway_persistence_healthy 0"]);
            gateway.wait_for_log("cannot write the state to disk");
            process.recover();
            change(gateway, &mut history);
        }
        assert_eq!(history.n_answered(), 3 * n_answered);
        gateway.signal(Signal::KILL);
        let gateway = process.place.start();
        let contradictions = history.contradictions(&numbers_by_job(&gateway));
        assert!(contradictions.is_empty(), "{calls}: {contradictions:?}");
    });
}

#[test]
fn other_pushes_go_on_while_the_disk_fails_and_are_written_afterwards() {
    on_each(&LASTING, |(calls, kind)| {
        let process = FailingProcess::start(calls, kind, &["--persistence.interval=10ms"]);
        let gateway = &process.gateway;
        let mut history = History::default();
        change(gateway, &mut history);
        process.set_failing(true);
        let mut client = Client::new(gateway);
        for number in 20.. {
            let answer = push_number(&mut client, "j1", number).unwrap();
            assert_eq!(answer.status, 200, "{calls}: {answer:?}");
            history.note("j1", Some(number), true);
            if !is_ready(gateway) {
                break;
            }
        }
        assert_eq!(process.healthy(), ["pushgateway_persistence_healthy 0"]);
        gateway.wait_for_log("cannot write the state to disk");
        change(gateway, &mut history);
        process.recover();
        let FailingProcess { place, mut gateway } = process;
        gateway.signal(Signal::TERM);
        assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
        let gateway = place.start();
        let contradictions = history.contradictions(&numbers_by_job(&gateway));
        assert!(contradictions.is_empty(), "{calls}: {contradictions:?}");
    });
}

#[test]
fn an_end_while_the_disk_fails_is_no_success() {
    let process = FailingProcess::start("write", "enospc", &["--persistence.interval=1h"]);
    let FailingProcess { place, mut gateway } = process;
    assert_eq!(gateway.put("/metrics/job/lost", "a 1\nb 1\n").status, 200);
    std::fs::remove_file(place.0.0.join("off")).unwrap();
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(1), "{}", gateway.log());
    gateway.wait_for_log("nothing was written");
    assert!(numbers_by_job(&place.start()).is_empty());
}

/// The group of a push of more than `FREE_PAGES_PER_STEP` pages.
fn push_large_group(gateway: &Gateway) {
    let series = (0..60_000).map(|n| format!("large{{n=\"{n}\"}} {n}\n"));
    let body: String = series.collect();
    let answer = gateway.put("/metrics/job/large", &body);
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn a_change_is_answered_although_its_space_cannot_be_given_back() {
    let delete_large_group = |at: u64| {
        let place = Place::new("faults-space");
        let log = place.0.0.join("log");
        let at = at.to_string();
        let variables = [
            ("FAULT_CALLS", "write,sync"),
            ("FAULT_KIND", "enospc"),
            ("FAULT_AT", &at),
            ("FAULT_LOG", log.to_str().unwrap()),
        ];
        let flags = ["--persistence.durability=push", "--persistence.interval=1h"];
        let gateway = place.try_start_with(&variables, &flags).unwrap();
        push_large_group(&gateway);
        let n_before = std::fs::read_to_string(&log).unwrap().lines().count();
        let answer = gateway.delete("/metrics/job/large");
        assert_eq!(answer.status, 202, "{answer:?}: {}", gateway.log());
        // The next push waits until the space is given back, or that has failed.
        assert_eq!(gateway.put("/metrics/job/next", "a 1\nb 1\n").status, 200);
        gateway.signal(Signal::KILL);
        assert_eq!(numbers_by_job(&place.start()).len(), 1);
        let calls = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<String> = calls.lines().skip(n_before).map(str::to_owned).collect();
        (n_before as u64, calls)
    };
    let (n_before, calls) = delete_large_group(0);
    // The change is synced; what follows gives space back.
    let synced = calls.iter().position(|call| call.contains(" sync "));
    let (_, calls) = delete_large_group(n_before + synced.unwrap() as u64 + 2);
    let failed = calls.iter().find(|call| call.contains("enospc"));
    assert!(
        failed.unwrap().contains(" write pushes.db-wal "),
        "{failed:?}"
    );
}

#[test]
fn a_file_that_is_written_anew_knows_what_was_imported_into_it() {
    let place = Place::new("faults-import");
    let fixture = include_bytes!("fixtures/reference-1.11.2.gob");
    std::fs::write(place.directory().join("pushes"), fixture).unwrap();
    let flags = ["--persistence.durability=push", "--persistence.interval=1h"];
    let process = FailingProcess::start_in(place, "sync", "eio", &flags);
    process.set_failing(true);
    let answer = process.gateway.put("/metrics/job/new", "a 1\nb 1\n");
    assert_eq!(answer.status, 503);
    process
        .gateway
        .wait_for_log("the state file is in doubt and will be written anew");
    process.recover();
    let n_groups = process.gateway.lines("push_time_seconds").len();
    assert!(n_groups > 1);
    let FailingProcess { place, gateway } = process;
    gateway.signal(Signal::KILL);
    // It is not asked again whether to import the file.
    let gateway = place.start();
    assert_eq!(gateway.lines("push_time_seconds").len(), n_groups);
}
