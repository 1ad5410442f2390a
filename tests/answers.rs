//! Large answers that are built while clients read them.

mod common;

use common::{Client, Gateway, TIMEOUT, read_response};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One group with one family of this many series of half a kilobyte: 6 MB, which is more than
/// sockets take.
const N_SERIES: usize = 10_000;

fn push_huge_group(gateway: &Gateway) {
    let long = "x".repeat(500);
    let series: String = (0..N_SERIES)
        .map(|n| format!("huge{{number=\"{n}\",where=\"{long}\"}} {n}\n"))
        .collect();
    let answer = gateway.put("/metrics/job/huge", &format!("# TYPE huge gauge\n{series}"));
    assert_eq!(answer.status, 200, "{}", answer.text());
}

const TEXT_FORM: &str = "GET /metrics HTTP/1.1\r\nHost: h\r\nAccept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text\r\n\r\n";
const JSON: &str = "GET /api/v1/metrics HTTP/1.1\r\nHost: h\r\n\r\n";

/// Asks for an answer and reads its first byte alone.
fn ask_and_stop(gateway: &Gateway, request: &str) -> TcpStream {
    let mut stream = gateway.connect();
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    stream
}

/// Fails unless the huge group is in the answer completely.
fn check(request: &str, body: &[u8]) {
    if request == JSON {
        let json: serde_json::Value = serde_json::from_slice(body).unwrap();
        let metrics = json["data"][0]["huge"]["metrics"].as_array().unwrap();
        assert_eq!(metrics.len(), N_SERIES);
    } else {
        let text = std::str::from_utf8(body).unwrap();
        assert!(text.matches("\n  gauge: {\n").count() >= N_SERIES);
        assert_eq!(text.matches("name: \"number\"\n").count(), N_SERIES);
    }
}

#[test]
fn clients_that_do_not_read_stop_neither_pushes_nor_scrapes() {
    let gateway = Gateway::start();
    push_huge_group(&gateway);
    let slow: Vec<_> = [TEXT_FORM, JSON, TEXT_FORM, JSON]
        .map(|request| ask_and_stop(&gateway, request))
        .into();
    // These wait for the first four.
    let waiting: Vec<_> = (0..4)
        .map(|n| {
            let mut stream = gateway.connect();
            let request = if n % 2 == 0 { TEXT_FORM } else { JSON };
            stream.write_all(request.as_bytes()).unwrap();
            (request, stream)
        })
        .collect();
    let mut client = Client::new(&gateway);
    for n in 0..100 {
        let answer = client.request(
            "PUT",
            "/metrics/job/small",
            &[],
            format!("x {n}\n").as_bytes(),
        );
        assert_eq!(answer.status, 200);
    }
    assert_eq!(gateway.lines("x"), ["x{instance=\"\",job=\"small\"} 99"]);
    // The slow clients go away; those that wait get their answers. All read at the same time: one
    // that waited for its turn would be taken for a client that does not read.
    drop(slow);
    let reading = waiting.into_iter().map(|(request, stream)| {
        std::thread::spawn(move || {
            let answer = read_response(&mut BufReader::new(stream), false).expect("an answer");
            assert_eq!(answer.status, 200);
            check(request, &answer.body);
        })
    });
    for reader in reading.collect::<Vec<_>>() {
        reader.join().expect("the whole answer");
    }
}

#[test]
fn too_many_requests_for_large_answers_are_refused_until_clients_go_away() {
    let gateway = Gateway::start();
    push_huge_group(&gateway);
    let slow: Vec<_> = (0..4).map(|_| ask_and_stop(&gateway, JSON)).collect();
    // Of these, 64 may wait, in the order in which the gateway reads them.
    let mut waiting: Vec<_> = (0..64 + 10)
        .map(|_| {
            let mut stream = gateway.connect();
            stream.write_all(JSON.as_bytes()).unwrap();
            stream.set_nonblocking(true).unwrap();
            stream
        })
        .collect();
    let deadline = Instant::now() + TIMEOUT;
    let mut n_refused = 0;
    while n_refused < 10 {
        assert!(Instant::now() < deadline, "only {n_refused} are refused");
        waiting.retain(|stream| {
            if stream.peek(&mut [0; 1]).is_err() {
                return true;
            }
            stream.set_nonblocking(false).unwrap();
            let answer = read_response(&mut BufReader::new(stream), false).expect("an answer");
            assert_eq!(answer.status, 503);
            assert_eq!(answer.header("retry-after"), Some("1"));
            assert!(answer.text().contains("too many large answers"));
            n_refused += 1;
            false
        });
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(waiting.len(), 64);
    assert_eq!(gateway.put("/metrics/job/small", "x 1\n").status, 200);
    assert_eq!(gateway.request("GET", "/-/ready", &[], b"").status, 200);
    drop((slow, waiting));
    let answer = loop {
        let answer = gateway.request("GET", "/api/v1/metrics", &[], b"");
        // Until the gateway has noticed that the clients are gone.
        if answer.status != 503 {
            break answer;
        }
        assert!(Instant::now() < deadline, "the gateway does not notice");
        std::thread::sleep(Duration::from_millis(10));
    };
    check(JSON, &answer.body);
}

#[test]
fn a_group_that_is_deleted_meanwhile_is_left_out() {
    let gateway = Gateway::start();
    push_huge_group(&gateway);
    gateway.put("/metrics/job/zz", "x 1\n");
    let mut stream = ask_and_stop(&gateway, JSON);
    gateway.delete("/metrics/job/zz");
    let mut rest = b"H".to_vec();
    stream
        .write_all(b"GET /-/ready HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        .unwrap();
    stream.read_to_end(&mut rest).unwrap();
    let answer = read_response(&mut BufReader::new(&rest[..]), false).expect("an answer");
    let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(json["data"].as_array().unwrap().len(), 1);
    check(JSON, &answer.body);
}
