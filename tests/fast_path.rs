//! Requests of the usual form are answered without the HTTP library, and a client cannot tell the
//! difference. Each request is sent twice: on a new connection, and on a connection that the
//! library serves, because something else was asked on it before.

mod common;

use common::{Gateway, Response, gzip, half_close, read_response};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

const TEXT: &[u8] = b"# TYPE x gauge\nx 1\n# TYPE y summary\ny_sum 2\ny_count 3\n";

fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:9091\r\n");
    for header in headers {
        request += &format!("{header}\r\n");
    }
    if method != "DELETE" {
        request += &format!("Content-Length: {}\r\n", body.len());
    }
    [request.as_bytes(), b"\r\n", body].concat()
}

/// Requests to be sent one after the other: what one leaves behind, the next one finds.
fn requests() -> Vec<Vec<u8>> {
    let put = |path, body: &str| request("PUT", path, &[], body.as_bytes());
    let form = "Content-Type: application/x-www-form-urlencoded";
    let protobuf = "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    vec![
        request("PUT", "/metrics/job/a", &[], TEXT),
        request(
            "POST",
            "/metrics/job/a",
            &[
                "User-Agent: test",
                "Accept-Encoding: gzip",
                "Connection: keep-alive",
            ],
            TEXT,
        ),
        request(
            "POST",
            "/metrics/job/a/instance/b",
            &["Connection: close"],
            b"z 1\n",
        ),
        put("/metrics/job/a/instance/b", "z{l=\"v\"} 2\n"),
        put("/metrics/job/a/instance/b", "z{l=\"v\"} 3\n"),
        put("/metrics/job/a/instance/b", ""),
        put("/metrics/job@base64/YS9i/l@base64/=", "w 1\n"),
        put("/metrics/job/a%20b/l/c+d", "w 1\n"),
        request(
            "PUT",
            "/metrics/job/gzip",
            &["Content-Encoding: gzip"],
            &gzip(TEXT),
        ),
        request(
            "PUT",
            "/metrics/job/gzip",
            &["Content-Encoding: gzip"],
            b"not gzip, but long enough",
        ),
        request(
            "PUT",
            "/metrics/job/gzip",
            &["Content-Encoding: br"],
            b"w 1\n",
        ),
        request(
            "PUT",
            "/metrics/job/protobuf",
            &[protobuf],
            b"\x12\x0a\x01p\x18\x01\x22\x0b\x12\x09\x09\0\0\0\0\0\0\xf0\x3f",
        ),
        request(
            "PUT",
            "/metrics/job/protobuf",
            &[protobuf],
            b"\x12\x0a\x01p\x18\x01\x22\x0b\x12\x09\x09\0\0\0\0\0\0\xf0",
        ),
        request("POST", "/metrics/job/form", &[form], b"nightly_success+1"),
        // These are refused.
        put("/metrics/job/a/instance/c", "# TYPE x counter\nx 1\n"),
        put("/metrics/job/a/instance/c", "x 1 2\n"),
        put("/metrics/job/a/instance/c", "x{ 1\n"),
        put("/metrics/job/a/odd", "x 1\n"),
        put("/metrics/job/a/__x/b", "x 1\n"),
        request(
            "PUT",
            "/metrics/job/a/__x/b",
            &["Content-Encoding: gzip"],
            b"x 1\n",
        ),
        put("/metrics/job@base64/=", "x 1\n"),
        put("/metrics/job/a//b", "x 1\n"),
        put("/metrics/job/", "x 1\n"),
        put("/metrics", "x 1\n"),
        put("/nowhere", "x 1\n"),
        put("/metrics/job/a%f", "x 1\n"),
        request("PUT", "/metrics/job/large", &[], &TEXT.repeat(40_000)),
        request("DELETE", "/metrics/job/a/instance/b", &[], b""),
        request(
            "DELETE",
            "/metrics/job/a/instance/b",
            &["Content-Length: 0"],
            b"",
        ),
        request("DELETE", "/metrics/job/a", &["Content-Encoding: gzip"], b""),
        request("DELETE", "/metrics/job/a/odd", &[], b""),
        request("DELETE", "/metrics/job/form", &["Connection: close"], b""),
        request("PATCH", "/metrics/job/a", &[], b""),
    ]
}

/// Reads an answer: its status line and headers without the date, its body, and whether the
/// connection goes on.
fn answer(stream: &mut BufReader<TcpStream>) -> (Vec<String>, Vec<u8>, bool) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("an answer");
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let header = |name: &str| lines.iter().find_map(|line| line.strip_prefix(name));
    assert!(
        header("date: ").is_some_and(|date| date.ends_with(" GMT")),
        "{lines:?}"
    );
    let mut body = vec![
        0;
        header("content-length: ")
            .expect("a length")
            .parse()
            .unwrap()
    ];
    stream.read_exact(&mut body).expect("the whole body");
    let goes_on = header("connection: close").is_none();
    if !goes_on {
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    }
    lines.retain(|line| !line.starts_with("date: "));
    (lines, body, goes_on)
}

/// What the gateway exposes, as sorted lines, without what depends on time.
fn state(gateway: &Gateway) -> Vec<String> {
    let is_comparable = |line: &&str| {
        let of_time = [
            "process_",
            "push_time_seconds",
            "push_failure_time",
            "pushgateway_http_push_duration",
            "pushgateway_assembl",
        ];
        let is_of_time = of_time.iter().any(|name| line.starts_with(name))
            || line.starts_with("pushgateway_exposition_bytes");
        !line.starts_with('#') && !is_of_time && !line.contains("handler=\"healthy\"")
    };
    let mut lines: Vec<String> = gateway
        .scrape()
        .lines()
        .filter(is_comparable)
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

#[test]
fn answers_and_effects_are_the_same_as_by_the_library() {
    let (fast, library) = (Gateway::start(), Gateway::start());
    for request in requests() {
        let mut stream = BufReader::new(fast.connect());
        stream.get_mut().write_all(&request).unwrap();
        let seen = answer(&mut stream);

        let mut stream = BufReader::new(library.connect());
        stream
            .get_mut()
            .write_all(b"GET /-/healthy HTTP/1.1\r\nHost: h\r\n\r\n")
            .unwrap();
        answer(&mut stream);
        stream.get_mut().write_all(&request).unwrap();
        let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
        assert_eq!(seen, answer(&mut stream), "{shown}");
        assert_eq!(state(&fast), state(&library), "{shown}");
    }
    let counted = |name: &str| {
        state(&fast)
            .iter()
            .filter(|line| line.starts_with(name))
            .count()
    };
    assert_eq!(fast.lines("p"), ["p{instance=\"\",job=\"protobuf\"} 1"]);
    assert!(
        counted("pushgateway_http_requests_total{") >= 5
            && counted("pushgateway_http_push_size_bytes{") > 2
    );
}

fn answers(stream: &TcpStream, n: usize) -> Vec<u16> {
    let mut reader = BufReader::new(stream);
    let statuses = (0..n).map(|_| {
        read_response(&mut reader, false)
            .as_ref()
            .map_or(0, |response: &Response| response.status)
    });
    statuses.collect()
}

#[test]
fn requests_that_come_together_are_answered_in_order() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    let put = |job: &str, body: &str| {
        request("PUT", &format!("/metrics/job/{job}"), &[], body.as_bytes())
    };
    let delete = request("DELETE", "/metrics/job/c", &[], b"");
    // The last request of the first write is cut in half. In the second write one in the middle is
    // for the library, which then serves the rest.
    let get = b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    let last = put("d", "x 1\n");
    let (begun, rest) = last.split_at(last.len() - 2);
    let together = [
        put("a", "x 1\n"),
        put("b", "bad\n"),
        delete.clone(),
        begun.to_vec(),
    ]
    .concat();
    stream.write_all(&together).unwrap();
    assert_eq!(answers(&stream, 3), [200, 400, 202]);
    stream
        .write_all(&[rest, &put("c", "x 1\n"), &get, &delete, &put("e", "x 1\n")].concat())
        .unwrap();
    assert_eq!(answers(&stream, 5), [200, 200, 404, 202, 200]);
    assert_eq!(gateway.lines("x").len(), 3);
    // What follows a request that wants the connection to close is not answered.
    stream
        .write_all(
            &[
                request("PUT", "/metrics/job/f", &["Connection: close"], b"x 1\n"),
                put("g", "x 1\n"),
            ]
            .concat(),
        )
        .unwrap();
    assert_eq!(answers(&stream, 2), [200, 0]);
    assert_eq!(gateway.lines("x").len(), 4);
}

#[test]
fn a_request_may_arrive_in_any_pieces() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    for body in [
        TEXT.to_vec(),
        [b"# ", "a long comment ".repeat(2000).as_bytes(), b"\nx 2\n"].concat(),
    ] {
        let whole = request("PUT", "/metrics/job/a", &[], &body);
        for piece in whole.chunks(whole.len().div_ceil(100)) {
            stream.write_all(piece).unwrap();
            // So that the pieces arrive one by one.
            std::thread::yield_now();
        }
        assert_eq!(answers(&stream, 1), [200]);
    }
    assert_eq!(gateway.lines("x"), ["x{instance=\"\",job=\"a\"} 2"]);
}

#[test]
fn answers_arrive_at_a_client_that_reads_late() {
    let gateway = Gateway::start();
    let mut stream = gateway.connect();
    let put = request("PUT", "/metrics/job/a/instance/b", &[], b"bad line\n");
    let n = 20_000;
    let mut sending = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..n {
            sending.write_all(&put).unwrap();
        }
        half_close(&sending);
    });
    // An answer is twice as long as a request: soon the socket has no room for more answers.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    assert_eq!(
        memchr::memmem::find_iter(&all, b"HTTP/1.1 400 Bad Request\r\n").count(),
        n
    );
}
