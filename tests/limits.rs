//! Limits on what a push may bring, and the flags that raise them.

mod common;

use common::{Gateway, gzip};

const PROTOBUF: (&str, &str) = (
    "Content-Type",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

#[test]
fn a_body_over_the_limit_is_refused_with_the_flag_that_lifts_it() {
    let gateway =
        Gateway::with_flags(&["--limit.body-bytes=1000", "--limit.decoded-body-bytes=2000"]);
    let large = format!("# {}\nx 1\n", "c".repeat(1000));
    let said = gateway.put("/metrics/job/j", &large).said();
    assert_eq!(said.0, 413);
    assert!(
        said.1.contains("1000 bytes") && said.1.contains("--limit.body-bytes"),
        "{}",
        said.1
    );
    let bomb = gzip(format!("# {}\nx 1\n", "c".repeat(3000)).as_bytes());
    let said = gateway
        .request(
            "PUT",
            "/metrics/job/j",
            &[("Content-Encoding", "gzip")],
            &bomb,
        )
        .said();
    assert_eq!(said.0, 413);
    assert!(said.1.contains("--limit.decoded-body-bytes"), "{}", said.1);
    assert_eq!(gateway.put("/metrics/job/j", "x 1\n").status, 200);
}

#[test]
fn a_push_of_too_many_series_or_labels_is_refused_with_the_flag_that_lifts_it() {
    let gateway =
        Gateway::with_flags(&["--limit.series-per-push=100", "--limit.labels-per-series=3"]);
    let text = |n: usize| {
        (0..n)
            .map(|i| format!("x{{i=\"{i}\"}} 1\n"))
            .collect::<String>()
    };
    assert_eq!(gateway.put("/metrics/job/j", &text(100)).status, 200);
    let said = gateway.put("/metrics/job/j", &text(101)).said();
    assert_eq!(said.0, 413);
    assert!(
        said.1.contains("100 series") && said.1.contains("--limit.series-per-push"),
        "{}",
        said.1
    );
    assert_eq!(gateway.lines("x").len(), 100);
    // A message a byte; an untyped metric two.
    let metrics = [&b"\xcf\x01\x0a\x01x\x18\x03"[..], &b"\x22\0".repeat(101)].concat();
    for body in [vec![0; 101], metrics] {
        let said = gateway
            .request("PUT", "/metrics/job/j", &[PROTOBUF], &body)
            .said();
        assert_eq!(said.0, 413);
        assert!(said.1.contains("--limit.series-per-push"), "{}", said.1);
    }
    assert_eq!(
        gateway
            .put("/metrics/job/j", "x{a=\"1\",b=\"1\",c=\"1\"} 1\n")
            .status,
        200
    );
    let said = gateway
        .put("/metrics/job/j", "x{a=\"1\",b=\"1\",c=\"1\",d=\"1\"} 1\n")
        .said();
    assert_eq!(said.0, 400);
    assert!(
        said.1.contains("3 labels") && said.1.contains("--limit.labels-per-series"),
        "{}",
        said.1
    );
}

/// What a small push can have told to its client is small.
#[test]
fn the_text_of_a_refusal_is_not_long() {
    let gateway = Gateway::start();
    let bad = format!("# TYPE x {}\n", "\x01".repeat(1 << 20));
    let said = gateway.put("/metrics/job/j", &bad).said();
    assert_eq!(said.0, 400);
    assert!(
        said.1
            .starts_with("text format parsing error in line 1: unknown metric type \"\\x01")
            && said.1.len() < 8 << 10
    );
    let buckets: String = (0..20_000)
        .map(|i| format!("h_bucket{{le=\"{i}\"}} {i}\n"))
        .collect();
    let histogram = format!(
        "# TYPE h histogram\n{buckets}h_bucket{{le=\"+Inf\"}} 20000\nh_sum 1\nh_count 20000\n"
    );
    assert_eq!(gateway.put("/metrics/job/j", &histogram).status, 200);
    let said = gateway.put("/metrics/job/k", "h 1\n").said();
    assert_eq!(said.0, 400);
    assert!(
        said.1.contains("collected metric \"h\"")
            && said.1.contains('…')
            && said.1.len() < 20 << 10,
        "{}",
        said.1.len()
    );
}

/// A bucket of a native histogram is a byte of the body.
#[test]
fn buckets_of_native_histograms_count_as_series() {
    let gateway = Gateway::with_flags(&["--limit.series-per-push=100"]);
    let push = |n_deltas: u8| {
        let histogram = [
            &[0x28, 0, 0x62, 2, 0x10, n_deltas, 0x6a, n_deltas][..],
            &vec![2; usize::from(n_deltas)],
        ]
        .concat();
        let metric = [&[0x3a, histogram.len() as u8][..], &histogram].concat();
        let family = [
            &[0x0a, 1, b'h', 0x18, 4, 0x22, metric.len() as u8][..],
            &metric,
        ]
        .concat();
        let body = [
            &[
                0x80 | (family.len() & 0x7f) as u8,
                (family.len() >> 7) as u8,
            ][..],
            &family,
        ]
        .concat();
        gateway
            .request("PUT", "/metrics/job/j", &[PROTOBUF], &body)
            .said()
    };
    assert_eq!(push(90), (200, String::new()));
    let said = push(110);
    assert_eq!(said.0, 413);
    assert!(said.1.contains("--limit.series-per-push"), "{}", said.1);
}

/// 1.1 MB that are 4.7 GB of text: a label of a mebibyte on each of 4,500 lines.
#[test]
fn a_push_that_grows_in_the_exposition_is_refused() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "a 1\n");
    // A varint of three bytes, whatever the length.
    let len = |len: usize| {
        [
            (len & 0x7f) as u8 | 0x80,
            (len >> 7 & 0x7f) as u8 | 0x80,
            (len >> 14) as u8,
        ]
    };
    let field =
        |number: u8, bytes: &[u8]| [&[number << 3 | 2], &len(bytes.len())[..], bytes].concat();
    let label = field(
        1,
        &[field(1, b"l"), field(2, &vec![b'v'; 1 << 20])].concat(),
    );
    let buckets: Vec<u8> = (0..4500u32)
        .flat_map(|i| [&[0x1a, 9, 0x11][..], &f64::from(i).to_le_bytes()].concat())
        .collect();
    let metric = [label, field(7, &buckets)].concat();
    let family = [field(1, b"h"), vec![0x18, 4], field(4, &metric)].concat();
    let body = [&len(family.len())[..], &family].concat();
    for method in ["PUT", "POST"] {
        let said = gateway
            .request(method, "/metrics/job/j", &[PROTOBUF], &body)
            .said();
        assert_eq!(said.0, 413, "{}", said.1);
        assert!(
            said.1.contains("67108864") && said.1.contains("--limit.group-exposition-bytes"),
            "{}",
            said.1
        );
    }
    assert_eq!(gateway.lines("a").len(), 1);
    assert_eq!(gateway.lines("h_count").len(), 0);
    assert!(!gateway.lines("push_failure_time_seconds")[0].ends_with(" 0"));
    assert!(gateway.scrape().contains("exposition_bytes\"} 2\n"));
}

#[test]
fn the_exposition_of_a_group_is_limited_whatever_brings_it_there() {
    let gateway = Gateway::with_flags(&[
        "--limit.group-exposition-bytes=1000",
        "--push.disable-consistency-check",
    ]);
    let refused =
        |said: (u16, String)| said.0 == 413 && said.1.contains("--limit.group-exposition-bytes");
    let long = |name: &str| format!("{name}{{l=\"{}\"}} 1\n", "v".repeat(500));
    assert_eq!(gateway.post("/metrics/job/j", &long("a")).status, 202);
    // Together with what the group has it is too much.
    assert!(refused(gateway.post("/metrics/job/j", &long("b")).said()));
    assert_eq!(gateway.put("/metrics/job/j", &long("b")).status, 202);
    assert_eq!((gateway.lines("a").len(), gateway.lines("b").len()), (0, 1));
    // The labels of the key stand on every line, also where the layout is known.
    let path = |value: &str| format!("/metrics/job/k/l/{value}");
    assert_eq!(gateway.put(&path("v"), "x 1\ny 1\nz 1\n").status, 202);
    assert!(refused(
        gateway
            .put(&path(&"v".repeat(300)), "x 1\ny 1\nz 1\n")
            .said()
    ));
    assert_eq!(gateway.lines("x").len(), 1);
}

#[test]
fn a_body_that_decompresses_to_too_many_times_its_size_is_refused_with_the_flag_that_lifts_it() {
    let bomb = gzip(format!("# {}\nx 1\n", "c".repeat(2 << 20)).as_bytes());
    for (flag, refused) in [
        ("--limit.decoded-ratio=200", Some("--limit.decoded-ratio")),
        ("--limit.decoded-ratio=2000", None),
    ] {
        let gateway = Gateway::with_flags(&[flag]);
        let said = gateway
            .request(
                "PUT",
                "/metrics/job/j",
                &[("Content-Encoding", "gzip")],
                &bomb,
            )
            .said();
        assert_eq!(
            said.0,
            if refused.is_some() { 413 } else { 200 },
            "{}",
            said.1
        );
        assert!(said.1.contains(refused.unwrap_or_default()), "{}", said.1);
    }
}

/// As Python's urllib does; a reset would take the answer away.
#[test]
fn a_client_that_sends_all_of_a_body_that_is_too_large_gets_its_answer() {
    use std::io::{BufReader, Read, Write};
    let gateway = Gateway::with_flags(&["--limit.body-bytes=1000"]);
    // More than sockets keep between them.
    let n_bytes = 15 << 20;
    let piece = [b'#'; 64 << 10];
    for is_announced in [true, false] {
        let mut stream = gateway.connect();
        let framing = if is_announced {
            format!("Content-Length: {n_bytes}")
        } else {
            "Transfer-Encoding: chunked".to_owned()
        };
        write!(
            stream,
            "PUT /metrics/job/j HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n"
        )
        .unwrap();
        for _ in 0..n_bytes / piece.len() {
            if !is_announced {
                write!(stream, "{:x}\r\n", piece.len()).unwrap();
            }
            stream.write_all(&piece).unwrap();
            if !is_announced {
                stream.write_all(b"\r\n").unwrap();
            }
        }
        let mut stream = BufReader::new(stream);
        let answer = common::read_response(&mut stream, false).expect("the answer arrives");
        assert_eq!(
            (answer.status, answer.header("connection")),
            (413, Some("close"))
        );
        // The connection ends without an error.
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn the_shapes_of_a_job_are_limited() {
    let gateway = Gateway::with_flags(&["--limit.shapes-per-job=2"]);
    assert_eq!(gateway.put("/metrics/job/j/a/1", "m 1\n").status, 200);
    assert_eq!(gateway.put("/metrics/job/j/b/1", "m 1\n").status, 200);
    let said = gateway.put("/metrics/job/j/c/1", "m 1\n").said();
    assert_eq!(said.0, 400);
    assert!(said.1.contains("--limit.shapes-per-job"), "{}", said.1);
    assert_eq!(gateway.put("/metrics/job/k/c/1", "m 1\n").status, 200);
}
