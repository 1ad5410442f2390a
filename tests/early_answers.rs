//! Answers that do not need the body of their request: a short body is received all the same, and
//! the next request on the connection is answered; after a long one the connection ends, and the
//! client still gets its answer.

mod common;

use common::{Gateway, Response, read_response};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;

/// The longest body that is received although nobody needs it, in bytes.
const SHORT_BYTES: usize = 256 << 10;

/// Requests whose answers do not need the body: method, path, and status of the answer.
const EARLY: [(&str, &str, u16); 9] = [
    ("PATCH", "/metrics/job/a", 405),
    ("PUT", "/metrics/job/a//b", 301),
    ("PUT", "/metrics/job/", 307),
    ("PUT", "/-/quit", 403),
    ("POST", "/nowhere", 404),
    ("PUT", "/api/v1/nowhere", 404),
    ("POST", "/metrics", 405),
    ("GET", "/-/healthy", 200),
    ("GET", "/metrics", 200),
];

const HEALTHY: &[u8] = b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n";

fn head(method: &str, path: &str, header: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n").into_bytes()
}

/// Sends all of `bytes`, and only then reads the answers, until the connection is closed.
fn answers_until_closed(mut stream: TcpStream, bytes: &[u8]) -> Vec<Response> {
    stream.write_all(bytes).expect("the gateway reads");
    let mut reader = BufReader::new(stream);
    let answers = std::iter::from_fn(|| read_response(&mut reader, false)).collect();
    assert_eq!(reader.read(&mut [0]).expect("no reset"), 0);
    answers
}

fn closes(answer: &Response) -> bool {
    answer.header("connection") == Some("close")
}

#[test]
fn after_a_short_body_that_nobody_needs_the_next_request_is_answered() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut read = || read_response(&mut reader, false).expect("an answer");
    for (method, path, status) in EARLY {
        // The body comes after the head was read, then together with the next request.
        let request = head(method, path, "Content-Length: 4");
        stream.write_all(&request).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(50));
        stream.write_all(b"x 1\n").unwrap();
        stream.write_all(HEALTHY).unwrap();
        let (early, next) = (read(), read());
        assert_eq!(
            (early.status, next.status),
            (status, 200),
            "{method} {path}"
        );
        assert!(!closes(&early) && !closes(&next), "{method} {path}");

        let long = head(method, path, &format!("Content-Length: {SHORT_BYTES}"));
        stream
            .write_all(&[&long, &vec![b'x'; SHORT_BYTES][..], HEALTHY].concat())
            .unwrap();
        assert_eq!((read().status, read().status), (status, 200), "{path}");

        let chunked = head(method, path, "Transfer-Encoding: chunked");
        let body = b"3\r\nx 1\r\n1\r\n\n\r\n0\r\n\r\n";
        stream
            .write_all(&[&chunked, &body[..], HEALTHY].concat())
            .unwrap();
        assert_eq!((read().status, read().status), (status, 200), "{path}");
    }
}

#[test]
fn a_client_that_sends_a_long_body_gets_its_answer_and_the_connection_ends() {
    const N_BYTES: usize = 8 << 20;
    let gateway = Gateway::start();
    for (method, path, status) in EARLY {
        let sized = head(method, path, &format!("Content-Length: {N_BYTES}"));
        let chunked = [
            head(method, path, "Transfer-Encoding: chunked"),
            format!("{N_BYTES:x}\r\n").into_bytes(),
        ]
        .concat();
        for begin in [sized, chunked] {
            let request = [&begin, &vec![b'x'; N_BYTES][..]].concat();
            let answers = answers_until_closed(gateway.connect(), &request);
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [status], "{method} {path}");
            assert!(closes(&answers[0]), "{method} {path}");
        }
    }
}

#[test]
fn a_client_that_waits_for_100_is_told_at_once_that_nobody_needs_the_body() {
    let gateway = Gateway::start();
    for (method, path, status) in EARLY {
        let head = head(method, path, "Expect: 100-continue\r\nContent-Length: 4");
        let mut stream = gateway.connect();
        stream.write_all(&head).unwrap();
        let mut answer = String::new();
        // To the end: there is no `100 Continue` before the answer.
        stream.read_to_string(&mut answer).unwrap();
        let status_line = format!("HTTP/1.1 {status} ");
        assert!(
            answer.starts_with(&status_line),
            "{method} {path}: {answer}"
        );
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    }
}

/// What a client asks for that the gateway does not know how to do.
#[test]
fn codings_and_expectations_that_are_not_known_are_refused_and_end_the_connection() {
    let gateway = Gateway::start();
    let long = "x".repeat(2 << 20);
    for (header, status) in [
        ("Transfer-Encoding: gzip, chunked", 501),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            501,
        ),
        ("Content-Length: 4\r\nExpect: a-miracle", 417),
        (
            "Content-Length: 4\r\nExpect: a-miracle\r\nExpect: 100-continue",
            417,
        ),
        // RFC 9112, section 6.3: nobody knows where this body ends.
        ("Transfer-Encoding: gzip", 400),
        ("Transfer-Encoding: chunked, gzip", 400),
        ("Content-Length: four", 400),
        ("no colon", 400),
    ] {
        for (method, path) in [("PUT", "/metrics/job/j"), ("GET", "/-/healthy")] {
            let request = [&head(method, path, header), long.as_bytes()].concat();
            let answers = answers_until_closed(gateway.connect(), &request);
            let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
            assert_eq!(statuses, [status], "{method} {header}");
            assert!(closes(&answers[0]), "{method} {header}");
        }
    }
    assert_eq!(gateway.lines("x").len(), 0);
}
