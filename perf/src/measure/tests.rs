//! Tests that compare small servers, and look at what is left on them.

use super::*;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;

/// The paths of the groups that a server has.
type Groups = Arc<Mutex<BTreeSet<String>>>;

/// Starts a server that keeps the paths of pushed groups, and refuses to delete the groups whose
/// path contains `undeletable`.
fn serve(undeletable: &'static str) -> (String, Groups) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let groups = Groups::default();
    let seen = Arc::clone(&groups);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, groups) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || answer_all(stream, &groups, undeletable));
        }
    });
    (url, groups)
}

/// Answers the requests of a connection until it is closed.
fn answer_all(mut stream: TcpStream, groups: &Groups, undeletable: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut head, mut body_len) = (Vec::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(len) = line.strip_prefix("Content-Length: ") {
                body_len = len.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
            head.push(line);
        }
        reader.read_exact(&mut vec![0; body_len]).unwrap();
        let mut words = head[0].split(' ');
        let (method, path) = (words.next().unwrap(), words.next().unwrap().to_owned());
        let mut groups = groups.lock().unwrap();
        let status = match method {
            "PUT" if path.contains("/job/clash/") => 400,
            "PUT" => {
                groups.insert(path);
                200
            }
            "DELETE" if !undeletable.is_empty() && path.contains(undeletable) => 500,
            "DELETE" => {
                groups.remove(&path);
                202
            }
            _ => 200,
        };
        drop(groups);
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn settings(kind: WorkloadKind, keeps_groups: bool) -> LoadSettings {
    LoadSettings {
        workload: Workload {
            kind,
            ..Workload::fleet(30)
        },
        connections: 4,
        keep_alive: true,
        rate: None,
        poisson: false,
        scrape_interval: Duration::ZERO,
        scrape_gzip: false,
        duration: Duration::from_secs(10),
        count: Some(50),
        bulk: None,
        warm_up: Duration::from_millis(10),
        give_up_after: Duration::from_secs(5),
        leave_out_incomplete: false,
        threads: 1,
        seed: 1,
        keeps_groups,
        programs: Programs::default(),
        floor_bytes: 0,
    }
}

fn compare_with(url: &str, settings: &LoadSettings) -> Result<Comparison, String> {
    compare(&[(url.to_owned(), None)], 1, settings, |_| Ok(()))
}

#[test]
fn the_groups_of_a_run_are_deleted_unless_they_shall_be_kept() {
    use WorkloadKind::{Churn, Clash, Fleet, Herd};
    for kind in [Fleet, Churn, Clash, Herd] {
        let (url, groups) = serve("");
        groups
            .lock()
            .unwrap()
            .insert("/metrics/job/mine".to_owned());
        let compared = compare_with(&url, &settings(kind, false)).unwrap();
        assert!(compared.rows[0].answered > 0 && compared.notes.is_empty());
        let left: Vec<String> = groups.lock().unwrap().iter().cloned().collect();
        assert_eq!(left, ["/metrics/job/mine"], "{kind:?}");
    }
    let (url, groups) = serve("");
    compare_with(&url, &settings(Fleet, true)).unwrap();
    assert_eq!(groups.lock().unwrap().len(), 30);
}

#[test]
fn large_bodies_are_deleted_too() {
    let (url, groups) = serve("");
    let bulk = BulkSettings {
        clients: 2,
        series: 10,
    };
    let settings = LoadSettings {
        bulk: Some(bulk),
        ..settings(WorkloadKind::Fleet, false)
    };
    compare_with(&url, &settings).unwrap();
    assert_eq!(groups.lock().unwrap().len(), 0);
}

#[test]
fn groups_that_could_not_be_deleted_are_reported() {
    let (url, groups) = serve("node-0000007");
    let compared = compare_with(&url, &settings(WorkloadKind::Fleet, false)).unwrap();
    let note = format!("{url}: 1 of the 30 groups that were pushed could not be deleted");
    assert_eq!(compared.notes, [note]);
    assert_eq!(groups.lock().unwrap().len(), 1);
}

#[test]
fn groups_are_deleted_after_an_error_as_well() {
    let (url, groups) = serve("");
    let failed = |_: &Measurement| Err("the disk is full".to_owned());
    let settings = settings(WorkloadKind::Fleet, false);
    let result = compare(&[(url, None)], 1, &settings, failed);
    assert_eq!(result.err(), Some("the disk is full".to_owned()));
    assert_eq!(groups.lock().unwrap().len(), 0);
}

#[test]
fn a_missing_figure_is_not_zero() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let target = target::start(&url, &Programs::default(), 0).unwrap();
    drop(listener);
    let settings = settings(WorkloadKind::Herd, true);
    let ledger = Arc::new(Ledger::new(&settings.workload));
    let prepared = PreparedTarget {
        target,
        ledger,
        groups: 0,
    };
    let row = measure(&prepared, 1, &settings);
    assert!(row.latency_us.is_empty());
    assert_eq!((row.latency_max_us, row.generator_late_us), (None, None));
    assert_eq!((row.cpu_us, row.generator_cpu_us), (None, None));
    assert_eq!(
        row.failures(),
        [
            "nothing was answered",
            "30 requests were not answered: connection refused",
            "the last scrape failed: connection refused",
        ]
    );
}
