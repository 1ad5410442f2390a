//! Limits on pushes: what is refused, and that the answer names the flag that raises the limit.

mod common;

use common::{Gateway, gzip};

const PROTOBUF: (&str, &str) = (
    "Content-Type",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

#[test]
fn a_body_over_the_limit_is_refused_with_the_flag_that_raises_it() {
    let gateway =
        Gateway::with_flags(&["--limit.body-bytes=1000", "--limit.decoded-body-bytes=2000"]);
    let large = format!("# {}\nx 1\n", "c".repeat(1000));
    let answer = gateway.put("/metrics/job/j", &large).status_and_text();
    assert_eq!(answer.0, 413);
    assert!(
        answer.1.contains("1000 bytes") && answer.1.contains("--limit.body-bytes"),
        "{}",
        answer.1
    );
    let bomb = gzip(format!("# {}\nx 1\n", "c".repeat(3000)).as_bytes());
    let answer = gateway
        .request(
            "PUT",
            "/metrics/job/j",
            &[("Content-Encoding", "gzip")],
            &bomb,
        )
        .status_and_text();
    assert_eq!(answer.0, 413);
    assert!(
        answer.1.contains("--limit.decoded-body-bytes"),
        "{}",
        answer.1
    );
    assert_eq!(gateway.put("/metrics/job/j", "x 1\n").status, 200);
}

#[test]
fn a_push_of_too_many_series_or_labels_is_refused_with_the_flag_that_raises_it() {
    let gateway =
        Gateway::with_flags(&["--limit.series-per-push=100", "--limit.labels-per-series=3"]);
    let text = |n: usize| {
        (0..n)
            .map(|i| format!("x{{i=\"{i}\"}} 1\n"))
            .collect::<String>()
    };
    assert_eq!(gateway.put("/metrics/job/j", &text(100)).status, 200);
    let answer = gateway.put("/metrics/job/j", &text(101)).status_and_text();
    assert_eq!(answer.0, 413);
    assert!(
        answer.1.contains("100 series") && answer.1.contains("--limit.series-per-push"),
        "{}",
        answer.1
    );
    assert_eq!(gateway.lines("x").len(), 100);
    // The cheapest ways to send many series: an empty message is one byte, an empty metric two.
    let metrics = [&b"\xcf\x01\x0a\x01x\x18\x03"[..], &b"\x22\0".repeat(101)].concat();
    for body in [vec![0; 101], metrics] {
        let answer = gateway
            .request("PUT", "/metrics/job/j", &[PROTOBUF], &body)
            .status_and_text();
        assert_eq!(answer.0, 413);
        assert!(answer.1.contains("--limit.series-per-push"), "{}", answer.1);
    }
    assert_eq!(
        gateway
            .put("/metrics/job/j", "x{a=\"1\",b=\"1\",c=\"1\"} 1\n")
            .status,
        200
    );
    let answer = gateway
        .put("/metrics/job/j", "x{a=\"1\",b=\"1\",c=\"1\",d=\"1\"} 1\n")
        .status_and_text();
    assert_eq!(answer.0, 400);
    assert!(
        answer.1.contains("3 labels") && answer.1.contains("--limit.labels-per-series"),
        "{}",
        answer.1
    );
}

/// The answer to a small push is small, even if the names and metrics that it has to quote are not.
#[test]
fn the_text_of_a_refusal_is_short() {
    let gateway = Gateway::start();
    let bad = format!("# TYPE x {}\n", "\x01".repeat(1 << 20));
    let answer = gateway.put("/metrics/job/j", &bad).status_and_text();
    assert_eq!(answer.0, 400);
    assert!(
        answer
            .1
            .starts_with("text format parsing error in line 1: unknown metric type \"\\x01")
            && answer.1.len() < 8 << 10
    );
    let buckets: String = (0..20_000)
        .map(|i| format!("h_bucket{{le=\"{i}\"}} {i}\n"))
        .collect();
    let histogram = format!(
        "# TYPE h histogram\n{buckets}h_bucket{{le=\"+Inf\"}} 20000\nh_sum 1\nh_count 20000\n"
    );
    assert_eq!(gateway.put("/metrics/job/j", &histogram).status, 200);
    let answer = gateway.put("/metrics/job/k", "h 1\n").status_and_text();
    assert_eq!(answer.0, 400);
    assert!(
        answer.1.contains("collected metric \"h\"")
            && answer.1.contains('…')
            && answer.1.len() < 20 << 10,
        "{}",
        answer.1.len()
    );
}

/// A bucket of a native histogram takes only one byte of the body.
#[test]
fn buckets_of_native_histograms_count_as_series() {
    let gateway = Gateway::with_flags(&["--limit.series-per-push=100"]);
    let push = |n_deltas: u8| {
        let histogram = [
            // One observation in each bucket: the first delta is 1, the others are 0.
            &[0x08, n_deltas, 0x28, 0, 0x62, 2, 0x10, n_deltas][..],
            &[0x6a, n_deltas, 2],
            &vec![0; usize::from(n_deltas) - 1],
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
            .status_and_text()
    };
    assert_eq!(push(90), (200, String::new()));
    let answer = push(110);
    assert_eq!(answer.0, 413);
    assert!(answer.1.contains("--limit.series-per-push"), "{}", answer.1);
}

/// A body of 1.1 MB that would be exposed as 4.7 GB of text: each of 4,500 lines has the same label
/// value of 1 MiB.
#[test]
fn a_push_whose_exposition_would_be_too_large_is_refused() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "a 1\n");
    // A varint of always three bytes.
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
        let answer = gateway
            .request(method, "/metrics/job/j", &[PROTOBUF], &body)
            .status_and_text();
        assert_eq!(answer.0, 413, "{}", answer.1);
        assert!(
            answer.1.contains("67108864") && answer.1.contains("--limit.group-exposition-bytes"),
            "{}",
            answer.1
        );
    }
    assert_eq!(gateway.lines("a").len(), 1);
    assert_eq!(gateway.lines("h_count").len(), 0);
    assert!(!gateway.lines("push_failure_time_seconds")[0].ends_with(" 0"));
    assert!(gateway.scrape().contains("exposition_bytes\"} 2\n"));
}

#[test]
fn the_exposition_of_a_group_is_limited_however_it_grows() {
    let gateway = Gateway::with_flags(&[
        "--limit.group-exposition-bytes=1000",
        "--push.disable-consistency-check",
    ]);
    let refused = |answer: (u16, String)| {
        answer.0 == 413 && answer.1.contains("--limit.group-exposition-bytes")
    };
    let long = |name: &str| format!("{name}{{l=\"{}\"}} 1\n", "v".repeat(500));
    assert_eq!(gateway.post("/metrics/job/j", &long("a")).status, 202);
    // Too large together with what the group has already.
    assert!(refused(
        gateway.post("/metrics/job/j", &long("b")).status_and_text()
    ));
    assert_eq!(gateway.put("/metrics/job/j", &long("b")).status, 202);
    assert_eq!((gateway.lines("a").len(), gateway.lines("b").len()), (0, 1));
    // The grouping labels count on every line, also if the series are known from another group.
    let path = |value: &str| format!("/metrics/job/k/l/{value}");
    assert_eq!(gateway.put(&path("v"), "x 1\ny 1\nz 1\n").status, 202);
    assert!(refused(
        gateway
            .put(&path(&"v".repeat(300)), "x 1\ny 1\nz 1\n")
            .status_and_text()
    ));
    assert_eq!(gateway.lines("x").len(), 1);
}

#[test]
fn a_body_that_decompresses_to_too_many_times_its_size_is_refused_with_the_flag_that_raises_the_limit()
 {
    let bomb = gzip(format!("# {}\nx 1\n", "c".repeat(2 << 20)).as_bytes());
    for (flag, refused) in [
        ("--limit.decoded-ratio=200", Some("--limit.decoded-ratio")),
        ("--limit.decoded-ratio=2000", None),
    ] {
        let gateway = Gateway::with_flags(&[flag]);
        let answer = gateway
            .request(
                "PUT",
                "/metrics/job/j",
                &[("Content-Encoding", "gzip")],
                &bomb,
            )
            .status_and_text();
        assert_eq!(
            answer.0,
            if refused.is_some() { 413 } else { 200 },
            "{}",
            answer.1
        );
        assert!(
            answer.1.contains(refused.unwrap_or_default()),
            "{}",
            answer.1
        );
    }
}

/// Python's urllib sends its whole body before it reads the answer. If the gateway closed the
/// connection at once, the kernel would reset it, and the client would lose the answer.
#[test]
fn a_client_that_sends_a_too_large_body_to_its_end_gets_the_answer() {
    use std::io::{BufReader, Read, Write};
    let gateway = Gateway::with_flags(&["--limit.body-bytes=1000"]);
    // More than the socket buffers of both sides hold.
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
fn the_number_of_shapes_of_a_job_is_limited() {
    let gateway = Gateway::with_flags(&["--limit.shapes-per-job=2"]);
    assert_eq!(gateway.put("/metrics/job/j/a/1", "m 1\n").status, 200);
    assert_eq!(gateway.put("/metrics/job/j/b/1", "m 1\n").status, 200);
    let answer = gateway.put("/metrics/job/j/c/1", "m 1\n").status_and_text();
    assert_eq!(answer.0, 400);
    assert!(answer.1.contains("--limit.shapes-per-job"), "{}", answer.1);
    assert_eq!(gateway.put("/metrics/job/k/c/1", "m 1\n").status, 200);
}
