//! The log of the process: which lines refused pushes leave, how many, and that nothing waits for
//! its reader.

mod common;

use common::{Client, Gateway};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit};
use std::io::{Read, Write};

const GAUGE: &str = "# TYPE a gauge\na 1\n";
const COUNTER: &str = "# TYPE a counter\na 1\n";

/// The lines of the log that contain `text`.
fn lines(gateway: &Gateway, text: &str) -> Vec<String> {
    let log = gateway.log();
    let found = log.lines().filter(|line| line.contains(text));
    found.map(str::to_owned).collect()
}

/// Ends the gateway, so that everything is in its log.
fn end(gateway: &mut Gateway) {
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    gateway.wait_for_log("msg=ended");
}

#[test]
fn a_contradicting_push_is_logged_as_by_the_reference() {
    let mut gateway = Gateway::start();
    assert_eq!(gateway.put("/metrics/job/x", GAUGE).status, 200);
    let mut client = Client::new(&gateway);
    let refused = client.request("POST", "/metrics/job/y", &[], COUNTER.as_bytes());
    assert_eq!(refused.status, 400);
    end(&mut gateway);
    let lines = lines(&gateway, "level=error");
    assert_eq!(lines.len(), 1, "{lines:?}");
    // The reference's line has these keys, too: msg, method, logged_source and err.
    let expected = format!(
        "level=error msg=\"pushed metrics are invalid or inconsistent with existing metrics\" \
         method=POST logged_source={} group=\"{{job=\\\"y\\\"}}\" reason=type err=\"collected metric",
        client.local_address()
    );
    assert!(lines[0].contains(&expected), "{}\n{expected}", lines[0]);
    assert!(lines[0].contains("is not a COUNTER"), "{}", lines[0]);
}

#[test]
fn other_refused_pushes_are_logged_by_their_cause() {
    let mut gateway = Gateway::with_flags(&["--log.level=debug", "--limit.body-bytes=1000"]);
    let large = "# ".repeat(600);
    for (path, body, status) in [
        ("/metrics/job/j", "a{", 400),
        ("/metrics/job/j/__a/1", "a 1\n", 400),
        ("/metrics/job/j", large.as_str(), 413),
    ] {
        assert_eq!(gateway.put(path, body).status, status);
    }
    end(&mut gateway);
    for expected in [
        "level=debug msg=\"failed to parse text\" method=PUT logged_source=127.0.0.1:",
        "level=debug msg=\"failed to parse URL\" method=PUT logged_source=127.0.0.1:",
        "level=warn msg=\"push refused because of a limit\" method=PUT logged_source=127.0.0.1:",
    ] {
        assert_eq!(lines(&gateway, expected).len(), 1, "{}", gateway.log());
    }
    let of_limit = &lines(&gateway, "level=warn")[0];
    assert!(of_limit.contains("reason=too_large"), "{of_limit}");
    assert!(of_limit.contains("(--limit.body-bytes)"), "{of_limit}");
}

#[test]
fn few_lines_of_each_client_and_reason_are_logged_and_the_rest_is_counted() {
    for (flag, level) in [
        ("--no-push.disable-consistency-check", "level=error"),
        ("--push.disable-consistency-check", "level=warn"),
    ] {
        let mut gateway = Gateway::with_flags(&[flag]);
        gateway.put("/metrics/job/x", GAUGE);
        for n in 0..20 {
            gateway.put(&format!("/metrics/job/y{n}"), COUNTER);
        }
        gateway.put("/metrics/job/x", "a 1 123\n");
        end(&mut gateway);
        let of_type = format!("{level} msg=\"push");
        let logged: Vec<String> = lines(&gateway, &of_type);
        let with = |reason: &str| {
            let reason = format!("reason={reason} ");
            logged.iter().filter(|line| line.contains(&reason)).count()
        };
        assert_eq!((with("type"), with("timestamps")), (5, 1), "{logged:#?}");
        let left_out = lines(&gateway, "left out");
        assert_eq!(left_out.len(), 1, "{left_out:#?}");
        assert!(
            left_out[0].ends_with("logged_source=127.0.0.1 reason=type lines=15"),
            "{}",
            left_out[0]
        );
    }
}

#[test]
fn lines_that_were_left_out_are_reported_while_the_process_runs() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/x", GAUGE);
    for _ in 0..7 {
        gateway.put("/metrics/job/y", COUNTER);
    }
    let line = gateway.wait_for_log("left out");
    assert!(line.ends_with("reason=type lines=2"), "{line}");
}

#[test]
fn what_a_client_sends_cannot_disguise_a_line() {
    let mut gateway = Gateway::with_flags(&["--log.level=debug"]);
    let path = "/metrics/job/a%E2%80%AEb%0Ac%1B%5B0m/__improper/v";
    assert_eq!(gateway.put(path, GAUGE).status, 400);
    end(&mut gateway);
    let line = &lines(&gateway, "failed to parse URL")[0];
    let group = "group=\"a\\u202eb\\nc\\u001b[0m/__improper/v\"";
    assert!(line.contains(group), "{line}");
    assert!(!line.contains(['\u{202e}', '\x1b']), "{line}");
}

/// A pipe takes 64 KiB, then a thread that writes to it waits for its reader.
#[test]
fn nothing_waits_for_the_reader_of_the_log() {
    let mut gateway = Gateway::with_unread_log(&["--log.level=debug"]);
    for _ in 0..3000 {
        let mut stream = gateway.connect();
        stream.write_all(b"BROKEN\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(gateway.put("/metrics/job/j", "a 1\n").status, 200);
    let dropped = gateway.lines("pushgateway_log_lines_dropped_total");
    let (_, n_dropped) = dropped[0].rsplit_once(' ').unwrap();
    assert_ne!(n_dropped, "0");
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
}

/// The time of day of a line, in milliseconds.
fn time_of_day(line: &str) -> i64 {
    let (_, time) = line.split_once('T').unwrap();
    let number = |range: std::ops::Range<usize>| time[range].parse::<i64>().unwrap();
    ((number(0..2) * 60 + number(3..5)) * 60 + number(6..8)) * 1000 + number(9..12)
}

#[test]
fn a_lack_of_file_descriptors_is_logged_once_a_second_and_passes() {
    let gateway = Gateway::start();
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit_files = |current: Option<u64>| {
        let limit = Rlimit { current, maximum };
        prlimit(Some(gateway.pid()), Resource::Nofile, limit).unwrap();
    };
    limit_files(Some(0));
    let mut clients: Vec<Client> = (0..5).map(|_| Client::new(&gateway)).collect();
    let message = "msg=\"cannot accept connections\"";
    gateway.wait_for_log(message);
    let first = lines(&gateway, message).remove(0);
    assert!(first.contains("level=warn"), "{first}");
    // A line that says that others were left out is the second one, or a later one.
    let deadline = std::time::Instant::now() + common::TIMEOUT;
    while lines(&gateway, message).len() < 2 {
        assert!(std::time::Instant::now() < deadline, "{}", gateway.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    limit_files(maximum);
    for client in &mut clients {
        assert_eq!(client.request("GET", "/-/healthy", &[], b"").status, 200);
    }
    let times: Vec<i64> = lines(&gateway, message)
        .iter()
        .map(|line| time_of_day(line))
        .collect();
    const DAY_MS: i64 = 86_400_000;
    for pair in times.windows(2) {
        // The clock of the lines counts in milliseconds.
        let between = (pair[1] - pair[0]).rem_euclid(DAY_MS);
        assert!(between >= 999, "{times:?}");
    }
    let left_out = &lines(&gateway, message)[1];
    assert!(!left_out.ends_with("left_out=0"), "{left_out}");
}
