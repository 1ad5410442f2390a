//! Power losses: what is not synced is gone, or partly there. A push that was answered in `push` mode has
//! waited for the disk, so it is there afterwards.
//!
//! The process is killed at a call of its file functions. `tests/fault_shim.c` has recorded what was
//! synced until then, and the next process starts on that.
//!
//! `PUSHGATEWAY_ALL_FAULTS=1` loses power at every call instead of at a part of them.

mod common;

use common::faults::{
    ALL_CALLS, History, Place, Unsynced, change, has_restored, lose_power, numbers_by_job, on_each,
    record_all, some_of,
};
use rustix::process::Signal;
use std::path::Path;

const FLAGS: [&str; 2] = ["--persistence.durability=push", "--persistence.interval=1h"];

/// One run that ends with a power loss.
#[derive(Clone, Debug, Default)]
struct Run {
    /// The call at which power is lost; 0: after the last change.
    lost_at: u64,
    /// A call that fails before that.
    fails_at: u64,
    /// A sync that fails also loses what it should have written.
    drops_unsynced: bool,
    /// Which calls are counted and may fail.
    calls: &'static str,
    /// Syncs do nothing, as with `PRAGMA synchronous=OFF`.
    ignores_syncs: bool,
}

/// Runs on the state of `place` until power is lost. Returns whether the process has restored its groups.
fn run_until_lost(run: &Run, place: &Place, record: &Path, history: &mut History) -> bool {
    let (lost_at, fails_at) = (run.lost_at.to_string(), run.fails_at.to_string());
    let variables = [
        ("FAULT_CALLS", run.calls),
        (
            "FAULT_KIND",
            if run.drops_unsynced { "dropped" } else { "eio" },
        ),
        ("FAULT_AT", &fails_at),
        ("FAULT_KILL_AT", &lost_at),
        ("FAULT_RECORD", record.to_str().unwrap()),
        ("FAULT_SYNC", if run.ignores_syncs { "ignored" } else { "" }),
    ];
    let Ok(mut gateway) = place.try_start_with(&variables, &FLAGS) else {
        return false;
    };
    if !has_restored(&mut gateway) {
        return false;
    }
    change(&gateway, history);
    let _ = rustix::process::kill_process(gateway.pid(), Signal::KILL);
    gateway.wait();
    true
}

/// What is wrong with the groups that a process finds after the power loss.
fn contradictions_after(
    place: &Place,
    record: &Path,
    history: &History,
    unsynced: Unsynced<'_>,
) -> Vec<String> {
    let after = Place::new("power-after");
    std::fs::remove_dir(after.directory()).unwrap();
    lose_power(&place.directory(), record, &after.directory(), unsynced);
    history.contradictions(&numbers_by_job(&after.start()))
}

/// Loses power twice: in a run on a new state, and in a run on what the first one has left.
fn lose_power_twice(run: &Run) {
    let mut random = fastrand::Rng::with_seed(run.lost_at * 1000 + run.fails_at);
    let mut place = Place::new("power");
    let mut history = History::default();
    for _ in 0..2 {
        let record = place.0.0.join("record");
        record_all(&place.directory(), &record);
        run_until_lost(run, &place, &record, &mut history);
        for unsynced in [
            Unsynced::Lost,
            Unsynced::PartlyWritten(&mut random.fork()),
            Unsynced::PartlyWritten(&mut random.fork()),
        ] {
            let contradictions = contradictions_after(&place, &record, &history, unsynced);
            assert!(contradictions.is_empty(), "{run:?}: {contradictions:?}");
        }
        // The process has died, and the machine has not.
        let contradictions = history.contradictions(&numbers_by_job(&place.copy().start()));
        assert!(contradictions.is_empty(), "{run:?}: {contradictions:?}");
        let next = Place::new("power-next");
        std::fs::remove_dir(next.directory()).unwrap();
        let unsynced = Unsynced::PartlyWritten(&mut random);
        lose_power(&place.directory(), &record, &next.directory(), unsynced);
        place = next;
    }
}

#[test]
fn nothing_answered_is_lost_when_power_is_lost_at_any_call() {
    let runs: Vec<Run> = some_of(1..=125, 0, 4)
        .into_iter()
        .map(|lost_at| Run {
            lost_at,
            calls: ALL_CALLS,
            ..Run::default()
        })
        .collect();
    on_each(&runs, lose_power_twice);
}

/// SQLite itself ignores that the directory of its log cannot be synced.
#[test]
fn nothing_answered_is_lost_when_a_sync_fails_before_power_is_lost() {
    let runs: Vec<Run> = some_of(1..=40, 0, 2)
        .into_iter()
        .map(|fails_at| Run {
            fails_at,
            calls: "sync",
            ..Run::default()
        })
        .collect();
    on_each(&runs, lose_power_twice);
}

/// The process dies, or power is lost, while the file is written anew because a sync has failed.
fn lose_power_after_a_failed_sync(drops_unsynced: bool) {
    let mut fails = syncs_of_pushes().into_iter().cycle();
    // One of the pushes, whose sync fails; then each of the calls that write the file anew.
    let runs: Vec<Run> = some_of(1..=70, 1, 3)
        .into_iter()
        .map(|after| {
            let fails_at = fails.next().unwrap();
            Run {
                lost_at: fails_at + after,
                fails_at,
                drops_unsynced,
                calls: ALL_CALLS,
                ..Run::default()
            }
        })
        .collect();
    on_each(&runs, lose_power_twice);
}

/// The numbers of the calls that sync the pushes to a new state file, except the first one.
fn syncs_of_pushes() -> Vec<u64> {
    let place = Place::new("power-count");
    let log = place.0.0.join("log");
    let variables = [
        ("FAULT_CALLS", ALL_CALLS),
        ("FAULT_LOG", log.to_str().unwrap()),
    ];
    let gateway = place.try_start_with(&variables, &FLAGS).unwrap();
    change(&gateway, &mut History::default());
    let calls = std::fs::read_to_string(&log).unwrap();
    let syncs = calls.lines().zip(1..);
    let syncs = syncs.filter(|(call, _)| call.contains(" sync pushes.db-wal "));
    // The first one syncs the head of the log.
    syncs.skip(2).map(|(_, n)| n).collect()
}

#[test]
fn nothing_answered_is_lost_when_power_is_lost_while_the_file_is_written_anew() {
    lose_power_after_a_failed_sync(false);
}

/// What the system has in memory of the file is then not what was written to it.
#[test]
fn nothing_answered_is_lost_when_a_failed_sync_drops_what_was_written() {
    lose_power_after_a_failed_sync(true);
}

/// The other tests of this file would see it.
#[test]
fn a_process_that_does_not_wait_for_the_disk_loses_what_it_has_answered() {
    let place = Place::new("power-unsynced");
    let record = place.0.0.join("record");
    record_all(&place.directory(), &record);
    let mut history = History::default();
    let run = Run {
        calls: ALL_CALLS,
        ..Run::default()
    };
    assert!(run_until_lost(&run, &place, &record, &mut history));
    let found = contradictions_after(&place, &record, &history, Unsynced::Lost);
    assert!(found.is_empty(), "{found:?}");
    let run = Run {
        ignores_syncs: true,
        ..run
    };
    assert!(run_until_lost(&run, &place, &record, &mut history));
    let found = contradictions_after(&place, &record, &history, Unsynced::Lost);
    assert!(!found.is_empty(), "it seems to wait for the disk");
}
