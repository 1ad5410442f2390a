//! Clients that go away: a push is stored whole or not at all, and leaves nothing behind.

mod common;

use common::{Gateway, half_close, read_response};
use std::io::{BufReader, Write};
use std::net::Shutdown;

const BODY: &str = "# TYPE x gauge\nx 1\n# TYPE y gauge\ny 1\n";

fn request(job: &str) -> Vec<u8> {
    format!(
        "PUT /metrics/job/{job} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    )
    .into_bytes()
}

/// The client goes away after every third byte, and at the end. Then a push that contradicts what
/// was sent must be accepted, unless what was sent was stored.
#[test]
fn a_client_that_goes_away_leaves_no_claim() {
    let gateway = Gateway::start();
    let whole = request("gone").len();
    for sent in (0..whole).step_by(3).chain([whole - 1, whole]) {
        for how in [Shutdown::Both, Shutdown::Write] {
            let mut stream = gateway.connect();
            stream.write_all(&request("gone")[..sent]).unwrap();
            stream.shutdown(how).unwrap();
            if how == Shutdown::Write {
                // The gateway may answer or not, and closes the connection.
                while read_response(&mut BufReader::new(&stream), false).is_some() {}
            }
            drop(stream);
            // Both families in one scrape: a whole push may still be on its way.
            let scrape = gateway.scrape();
            let stored = (
                scrape.matches("\nx{").count(),
                scrape.matches("\ny{").count(),
            );
            assert!(
                stored == (0, 0) || (stored == (1, 1) && sent == whole),
                "{sent} of {whole}: {stored:?}"
            );
            if sent < whole {
                let other = gateway.put(
                    "/metrics/job/other",
                    "# TYPE x counter\nx 1\n# TYPE y counter\ny 1\n",
                );
                assert_eq!(other.status, 200, "{sent} of {whole}: {}", other.text());
                assert_eq!(gateway.delete("/metrics/job/other").status, 202);
            }
        }
    }
}

/// A half-close is what `nc -N` does.
#[test]
fn a_whole_push_before_a_half_close_is_answered() {
    let gateway = Gateway::start();
    for _ in 0..50 {
        let mut stream = gateway.connect();
        stream.write_all(&request("half")).unwrap();
        half_close(&stream);
        let answer = read_response(&mut BufReader::new(&stream), false).expect("an answer");
        assert_eq!(answer.status, 200);
        assert_eq!(gateway.lines("x").len(), 1);
        gateway.delete("/metrics/job/half");
    }
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    let head = format!(
        "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "{line}");
    stream.write_all(BODY.as_bytes()).unwrap();
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    assert_eq!(
        read_response(&mut reader, false).expect("an answer").status,
        200
    );
}

#[test]
fn chunks_of_a_body_are_joined() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    stream.write_all(b"POST /metrics/job/j HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nx \r\n").unwrap();
    stream.write_all(b"2\r\n1\n\r\n0\r\n\r\n").unwrap();
    assert_eq!(
        read_response(&mut BufReader::new(&stream), false)
            .expect("an answer")
            .status,
        200
    );
    assert_eq!(gateway.lines("x").len(), 1);
}

/// Requests that were sent whole before the signal are answered, and the process ends with status
/// 0.
#[test]
fn a_shutdown_answers_what_was_asked_before() {
    let mut gateway = Gateway::start();
    let streams: Vec<_> = (0..20)
        .map(|i| {
            let mut stream = gateway.connect();
            stream.write_all(&request(&format!("j{i}"))).unwrap();
            stream
        })
        .collect();
    gateway.signal(rustix::process::Signal::TERM);
    for stream in &streams {
        assert_eq!(
            read_response(&mut BufReader::new(stream), false)
                .expect("an answer")
                .status,
            200
        );
    }
    drop(streams);
    assert_eq!(gateway.wait(), Some(0));
}

#[test]
fn a_shutdown_can_be_requested_over_http_only_where_that_is_enabled() {
    let mut gateway = Gateway::with_flags(&["--web.enable-lifecycle"]);
    assert_eq!(
        gateway.put("/-/quit", "").status_and_text(),
        (200, "Requesting termination... Goodbye!".to_owned())
    );
    assert_eq!(gateway.wait(), Some(0));
    let closed = Gateway::start();
    assert_eq!(closed.put("/-/quit", "").status, 403);
}

/// As on the reference, which refuses GET by a handler of its own that is outside the prefix.
#[test]
fn quitting_is_below_the_route_prefix() {
    let gateway = Gateway::with_flags(&["--web.route-prefix=/pg"]);
    for (method, path, status, allowed) in [
        ("GET", "/pg/-/quit", 405, Some("OPTIONS, POST, PUT")),
        ("PUT", "/pg/-/quit", 403, None),
        ("GET", "/-/quit", 405, None),
        ("PUT", "/-/quit", 405, Some("GET, OPTIONS")),
        ("POST", "/-/quit", 405, Some("GET, OPTIONS")),
    ] {
        let response = gateway.request(method, path, &[], b"");
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header("allow"), allowed, "{method} {path}");
    }
}
