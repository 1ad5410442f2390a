//! Pushes and deletes, as a client sees them. Limits are tested in `limits.rs`.

mod common;

use common::{Gateway, gzip};

const PROTOBUF: (&str, &str) = (
    "Content-Type",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

/// The text of a refusal, with the words that the reference puts in front of it.
fn prefixed(text: &str) -> String {
    format!("pushed metrics are invalid or inconsistent with existing metrics: {text}")
}

/// The steps of the README's quick start, and a push that is refused because it changes a family's
/// type.
#[test]
fn the_quick_start_works() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .post("/metrics/job/backup", "my_job_duration_seconds 7.3\n")
            .status_and_text(),
        (200, String::new())
    );
    assert_eq!(
        gateway.lines("my_job_duration_seconds"),
        [r#"my_job_duration_seconds{instance="",job="backup"} 7.3"#]
    );
    assert!(
        gateway
            .scrape()
            .contains("# TYPE my_job_duration_seconds untyped\n")
    );
    assert_eq!(
        gateway
            .post("/metrics/job/backup/instance/node-1", "backup_success 1\n")
            .status,
        200
    );
    assert_eq!(
        gateway.lines("backup_success"),
        [r#"backup_success{instance="node-1",job="backup"} 1"#]
    );

    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    assert_eq!(
        gateway
            .request("PUT", "/metrics/job/nightly", &form, b"nightly_success+1")
            .status,
        200
    );
    assert_eq!(
        gateway.lines("nightly_success"),
        [r#"nightly_success{instance="",job="nightly"} 1"#]
    );

    let families = "# HELP backup_success Whether it worked.\n# TYPE backup_success gauge\nbackup_success 1\n\
                    # TYPE backup_bytes_total counter\nbackup_bytes_total{disk=\"a\"} 1e9\n";
    let refused = gateway.post("/metrics/job/backup/instance/serverA", families);
    assert_eq!(refused.status, 400);
    // The text shows the metric that the push contradicts; the labels of that metric name the
    // group.
    let theirs = r#"collected metric "backup_success" { label:{name:"instance" value:"node-1"} label:{name:"job" value:"backup"} untyped:{value:1}} is not a GAUGE"#;
    assert_eq!(refused.status_and_text().1, prefixed(theirs));

    assert_eq!(
        gateway
            .delete("/metrics/job/backup/instance/node-1")
            .status_and_text(),
        (202, String::new())
    );
    assert_eq!(gateway.lines("backup_success"), [""; 0]);
    assert_eq!(gateway.lines("my_job_duration_seconds").len(), 1);
    assert_eq!(
        gateway
            .post("/metrics/job/backup/instance/serverA", families)
            .status,
        200
    );
    assert_eq!(
        gateway.lines("backup_success"),
        [r#"backup_success{instance="serverA",job="backup"} 1"#]
    );
    assert_eq!(
        gateway.lines("backup_bytes_total"),
        [r#"backup_bytes_total{disk="a",instance="serverA",job="backup"} 1e+09"#]
    );
}

#[test]
fn put_replaces_a_group_and_post_replaces_families_of_the_same_name() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "a 1\nb 1\n");
    assert_eq!(
        gateway.post("/metrics/job/j", "b{l=\"x\"} 2\nc 2\n").status,
        200
    );
    assert_eq!(gateway.lines("a").len() + gateway.lines("c").len(), 2);
    assert_eq!(gateway.lines("b"), [r#"b{instance="",job="j",l="x"} 2"#]);
    gateway.put("/metrics/job/j", "d 1\n");
    assert_eq!(
        gateway.lines("a").len() + gateway.lines("b").len() + gateway.lines("c").len(),
        0
    );
    assert_eq!(gateway.lines("d").len(), 1);
}

#[test]
fn an_empty_put_clears_a_group_and_an_empty_post_only_updates_its_push_time() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "a 1\n");
    let before = gateway.lines("push_time_seconds");
    assert_eq!(gateway.post("/metrics/job/j", "").status, 200);
    assert_eq!(gateway.lines("a").len(), 1);
    assert_ne!(gateway.lines("push_time_seconds"), before);
    assert_eq!(gateway.put("/metrics/job/j", "").status, 200);
    assert_eq!(gateway.lines("a").len(), 0);
    assert_eq!(gateway.lines("push_time_seconds").len(), 1);
}

#[test]
fn labels_of_the_path_replace_those_of_the_body() {
    let gateway = Gateway::start();
    let path = "/metrics/job@base64/dGVzdC9qb2I=/path@base64/L3Zhci90bXA/empty@base64/=/plus/a+b/space/a%20b/twice/x/twice/y";
    assert_eq!(
        gateway
            .put(
                path,
                "m{job=\"own\",plus=\"own\",z=\"1\",instance=\"i\"} 1\n"
            )
            .status,
        200
    );
    assert_eq!(
        gateway.lines("m"),
        [
            r#"m{empty="",instance="i",job="test/job",path="/var/tmp",plus="a+b",space="a b",twice="y",z="1"} 1"#
        ]
    );
    // The same group, with its labels in another order and encoding.
    let same = "/metrics/job@base64/dGVzdC9qb2I/twice/y/space/a%20b/plus/a+b/empty@base64/=/path@base64/L3Zhci90bXA=";
    assert_eq!(gateway.delete(same).status, 202);
    assert_eq!(gateway.lines("m").len(), 0);
}

#[test]
fn bad_paths_are_refused_with_the_references_texts() {
    let gateway = Gateway::start();
    let check = |path: &str, text: &str| {
        assert_eq!(
            gateway.put(path, "x 1\n").status_and_text(),
            (400, text.to_owned()),
            "{path}"
        )
    };
    check(
        "/metrics/job/a/b",
        "odd number of components in label string \"/b\"",
    );
    check("/metrics/job/a/1x/b", "improper label name \"1x\"");
    check("/metrics/job@base64/=", "job name is required");
    check(
        "/metrics/job@base64/!",
        "invalid base64 encoding in job name \"\": illegal base64 data at input byte 0",
    );
    // On the reference, these two break every later push and scrape.
    check(
        "/metrics/job/a%ffb",
        "the value of label \"job\" is not UTF-8: \"a\\xffb\"",
    );
    check(
        "/metrics/job/a/l@base64/_w",
        "the value of label \"l\" is not UTF-8: \"\\xff\"",
    );
    assert_eq!(gateway.lines("push_time_seconds"), [""; 0]);
}

#[test]
fn bad_bodies_are_refused_with_the_references_texts_and_leave_no_trace() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "a 1\n");
    let check = |body: &str, text: &str| {
        let text = format!("text format parsing error in line {text}");
        assert_eq!(
            gateway.put("/metrics/job/j", body).status_and_text(),
            (400, text),
            "{body}"
        );
    };
    check("b 1\nc x\n", "2: expected float as value, got \"x\"");
    check("b 1", "1: unexpected end of input stream");
    check("b 1\r\n", "1: expected float as value, got \"1\\r\"");
    check("{} 1\n", "1: invalid metric name");
    let answer = gateway
        .request(
            "PUT",
            "/metrics/job/j",
            &[PROTOBUF],
            b"\x80\x80\x80\x80\x80\x40",
        )
        .status_and_text();
    assert_eq!(answer, (400, "unexpected EOF".to_owned()));
    assert_eq!(gateway.lines("a").len(), 1);
    assert_eq!(
        gateway.lines("push_failure_time_seconds"),
        [r#"push_failure_time_seconds{instance="",job="j"} 0"#]
    );
}

#[test]
fn a_refused_push_changes_nothing_but_the_failure_time() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/a", "x 1\n");
    assert_eq!(
        gateway.put("/metrics/job/b", "y 1 123\n").status_and_text(),
        (400, prefixed("pushed metrics must not have timestamps"))
    );
    let failed = |job: &str| {
        let start = format!("push_failure_time_seconds{{instance=\"\",job=\"{job}\"}} ");
        gateway
            .scrape()
            .lines()
            .find_map(|line| line.strip_prefix(&start).map(|value| value != "0"))
    };
    assert_eq!((failed("a"), failed("b")), (Some(false), Some(true)));
    assert!(
        gateway
            .scrape()
            .contains("push_time_seconds{instance=\"\",job=\"b\"} 0\n")
    );
    assert_eq!(gateway.put("/metrics/job/a", "x 1\nx 2\n").status, 400);
    assert_eq!(failed("a"), Some(true));
    assert_eq!(gateway.lines("x"), [r#"x{instance="",job="a"} 1"#]);
    // An accepted push does not reset the time of the failure.
    gateway.put("/metrics/job/a", "x 2\n");
    assert_eq!(failed("a"), Some(true));
}

#[test]
fn compressed_bodies_are_accepted() {
    let gateway = Gateway::start();
    let encoded = |encoding, body: &[u8]| {
        gateway.request(
            "PUT",
            "/metrics/job/j",
            &[("Content-Encoding", encoding)],
            body,
        )
    };
    assert_eq!(encoded("gzip", &gzip(b"z 1\n")).status, 200);
    assert_eq!(gateway.lines("z").len(), 1);
    let mut snappy = snap::write::FrameEncoder::new(Vec::new());
    std::io::Write::write_all(&mut snappy, b"s 1\n").unwrap();
    assert_eq!(encoded("snappy", &snappy.into_inner().unwrap()).status, 200);
    assert_eq!(gateway.lines("s").len(), 1);
    // A body with an unknown encoding is read as it is, as by the reference.
    assert_eq!(encoded("zstd", b"u 1\n").status, 200);
    assert_eq!(
        encoded("gzip", b"").status_and_text(),
        (400, "EOF".to_owned())
    );
    assert_eq!(
        encoded("gzip", b"# TYPE x gauge\n").status_and_text(),
        (400, "gzip: invalid header".to_owned())
    );
}

#[test]
fn refused_pushes_are_counted_by_reason() {
    let gateway = Gateway::with_flags(&["--limit.body-bytes=1000"]);
    let gzipped = ("Content-Encoding", "gzip");
    gateway.put("/metrics/job/j", "x 1\n");
    for (path, headers, body) in [
        ("/metrics/job/j/a", &[][..], &b"x 1\n"[..]),
        ("/metrics/job@base64/!", &[], b"x 1\n"),
        ("/metrics/job/j", &[], b"x y\n"),
        ("/metrics/job/j", &[PROTOBUF], b"\x05"),
        ("/metrics/job/j", &[gzipped], b"x 1\n"),
        ("/metrics/job/j", &[], &[b'#'; 1001]),
        ("/metrics/job/j", &[], b"x 1 1\n"),
        ("/metrics/job/k", &[], b"# TYPE x counter\nx 1\n"),
    ] {
        assert!(
            matches!(
                gateway.request("PUT", path, headers, body).status,
                400 | 413
            ),
            "{path}"
        );
    }
    let mut stream = gateway.connect();
    let chunked =
        b"PUT /metrics/job/j HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
    std::io::Write::write_all(&mut stream, chunked).unwrap();
    assert_eq!(
        common::read_response(&mut std::io::BufReader::new(stream), false)
            .unwrap()
            .status,
        400
    );
    let counted: Vec<String> = gateway
        .lines("pushgateway_pushes_refused_total")
        .into_iter()
        .filter(|line| !line.ends_with(" 0"))
        .collect();
    let expected = [
        ("encoding", 1),
        ("grouping_key", 2),
        ("incomplete", 1),
        ("malformed", 2),
        ("timestamps", 1),
        ("too_large", 1),
        ("type", 1),
    ];
    assert_eq!(
        counted,
        expected.map(|(reason, n)| format!(
            "pushgateway_pushes_refused_total{{reason=\"{reason}\"}} {n}"
        ))
    );
}

/// The reference accepts each of these pushes. Prometheus then drops the whole target, or every
/// scrape fails.
#[test]
fn a_push_that_would_make_the_exposition_invalid_is_refused() {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    let histogram = "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\nh_sum 1\n";
    let summary = "# TYPE s summary\ns{quantile=\"0.5\"} 1\n";
    gateway.put(
        "/metrics/job/ok",
        "a 1\n# TYPE gh gaugehistogram\ngh_count 1\n",
    );
    for (path, body) in [
        ("/metrics/job/x/le/5", histogram),
        ("/metrics/job/x/quantile/5", summary),
        ("/metrics/job/x", "# TYPE gh counter\ngh 1\n"),
        ("/metrics/job/x", "# TYPE gh_count counter\ngh_count 1\n"),
        ("/metrics/job/x", "{\"a.b\"} 1\na_b 1\n"),
        ("/metrics/job/x", "m{\"a.b\"=\"1\",a_b=\"2\"} 1\n"),
        ("/metrics/job/x/U__a_2e_b/1/a_b/2", "m 1\n"),
        (
            "/metrics/job/x",
            "# TYPE pushgateway_http_requests_total gauge\npushgateway_http_requests_total 1\n",
        ),
        (
            "/metrics/job/x",
            "pushgateway_http_push_size_bytes_count 1\n",
        ),
        ("/metrics/job/ok/instance@base64/=", "b 1\n"),
        ("/metrics/job/x", "m{__a=\"1\"} 1\n"),
    ] {
        let answer = gateway.put(path, body).status_and_text();
        assert_eq!(answer.0, 400, "{path} {body}");
        assert!(answer.1.starts_with(&prefixed("")), "{}", answer.1);
    }
    // Protobuf: a family without a name, and a family with an unknown type.
    for body in [
        &b"\x0f\x18\x01\x22\x0b\x12\x09\x09\0\0\0\0\0\0\xf0\x3f"[..],
        b"\x05\x0a\x01x\x18\x09",
    ] {
        assert_eq!(
            gateway
                .request("PUT", "/metrics/job/x", &[PROTOBUF], body)
                .status,
            400
        );
    }
    let scrape = gateway.scrape();
    assert!(!scrape.contains("\nm{") && !scrape.contains("\nb{") && !scrape.contains("\nh_"));
    // Groups with an impossible key do not exist. The others exist only with the time of their
    // failure.
    assert!(
        !scrape.contains("push_time_seconds{a_b") && !scrape.contains("instance=\"\",instance")
    );
}

/// A pushed family that has the name and type of one of the gateway's own families is exposed with
/// it under one header.
#[test]
fn a_pushed_family_is_merged_with_the_gateways_own() {
    let gateway = Gateway::start();
    let body = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 7\n";
    assert_eq!(gateway.put("/metrics/job/j", body).status, 200);
    let scrape = gateway.scrape();
    assert_eq!(
        scrape
            .matches("# TYPE process_cpu_seconds_total counter\n")
            .count(),
        1
    );
    let lines: Vec<&str> = scrape
        .lines()
        .filter(|line| line.starts_with("process_cpu_seconds_total"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        lines[1],
        r#"process_cpu_seconds_total{instance="",job="j"} 7"#
    );
    assert_eq!(
        gateway
            .put("/metrics/job/j", "process_cpu_seconds_total 7\n")
            .status,
        400
    );
}

#[test]
fn the_same_series_cannot_come_from_two_shapes_of_a_job() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .put("/metrics/job/j/l/v", "m 1\nm{k=\"1\"} 1\n")
            .status,
        200
    );
    assert_eq!(
        gateway.put("/metrics/job/j", "m{l=\"w\"} 1\nm 1\n").status,
        200
    );
    let refused = gateway
        .put("/metrics/job/j", "m{l=\"v\"} 1\n")
        .status_and_text();
    assert_eq!(refused.0, 400);
    assert!(
        refused.1.contains(r#"the group {job="j",l="v"} has it"#),
        "{}",
        refused.1
    );
    assert_eq!(gateway.delete("/metrics/job/j/l/v").status, 202);
    assert_eq!(gateway.put("/metrics/job/j", "m{l=\"v\"} 1\n").status, 200);
    assert_eq!(gateway.put("/metrics/job/j/l/v", "m 1\n").status, 400);
}

#[test]
fn the_same_series_cannot_come_from_two_shapes_that_only_overlap() {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    assert_eq!(
        gateway
            .put("/metrics/job/j/a/1/c.d/3", "m{b=\"2\"} 1\nn{b=\"3\"} 1\n")
            .status,
        200
    );
    assert_eq!(
        gateway
            .put(
                "/metrics/job/j/b/2",
                "m 1\nm{a=\"1\"} 1\nm{a=\"1\",c_d=\"4\"} 1\n"
            )
            .status,
        200
    );
    // Label names are compared after escaping.
    for same in ["m{a=\"1\",c_d=\"3\"} 1\n", "m{a=\"1\",\"c.d\"=\"3\"} 1\n"] {
        assert_eq!(
            gateway.put("/metrics/job/j/b/2", same).status,
            400,
            "{same}"
        );
    }
    assert_eq!(
        gateway
            .put("/metrics/job/j/b/3", "m{a=\"1\",c_d=\"3\"} 1\n")
            .status,
        200
    );
    assert_eq!(
        gateway
            .put("/metrics/job/j/b/3", "n{a=\"1\",c_d=\"3\"} 1\n")
            .status,
        400
    );
}

#[test]
fn without_the_consistency_check_every_push_is_accepted_and_scrapes_stay_valid() {
    let gateway = Gateway::with_flags(&["--push.disable-consistency-check"]);
    assert_eq!(
        gateway
            .put("/metrics/job/a", "# TYPE x gauge\nx 1\n")
            .status_and_text(),
        (202, String::new())
    );
    assert_eq!(
        gateway
            .put("/metrics/job/b", "# TYPE x counter\nx 1\n")
            .status_and_text(),
        (202, String::new())
    );
    assert_eq!(gateway.lines("x"), [r#"x{instance="",job="a"} 1"#]);
    assert!(gateway.log().contains("not exposed"));
}

/// The lines of the log about contradictions of helps, once there are `n` of them.
fn help_lines(gateway: &Gateway, n: usize) -> Vec<String> {
    // A line is logged at the end of a round, perhaps after the scrape was answered: wait for it.
    let deadline = std::time::Instant::now() + common::TIMEOUT;
    loop {
        let log = gateway.log();
        let lines: Vec<String> = log
            .lines()
            .filter(|line| line.contains("another help"))
            .map(str::to_owned)
            .collect();
        if lines.len() >= n {
            return lines;
        }
        assert!(std::time::Instant::now() < deadline, "{log}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn the_smallest_help_is_exposed_and_each_pair_of_helps_is_logged_once() {
    let gateway = Gateway::start();
    for i in [3, 1, 2] {
        gateway.put(
            &format!("/metrics/job/j{i}"),
            &format!("# HELP x help {i}\nx 1\n"),
        );
    }
    assert_eq!(gateway.scrape().matches("# HELP x help 1\n").count(), 1);
    gateway.put("/metrics/job/j9", "# HELP x help 9\nx 1\n");
    let scrape = gateway.scrape();
    assert_eq!(
        (
            scrape.matches("# HELP x ").count(),
            scrape.matches("# TYPE x ").count()
        ),
        (1, 1)
    );
    // The pairs are 1 and 2, 1 and 3, 1 and 9.
    let logged = help_lines(&gateway, 3);
    assert_eq!(logged.len(), 3, "{logged:?}");
    // Regression tests: what was deleted or replaced stayed exposed.
    gateway.request("DELETE", "/metrics/job/j1", &[], b"");
    gateway.put("/metrics/job/j2", "# HELP x help 5\nx 1\n");
    assert!(gateway.scrape().contains("# HELP x help 3\n"));
}

/// Regression test: the first help was exposed for ever if a scrape came before the second push,
/// and came back after a deletion if no scrape came between.
#[test]
fn the_exposed_help_does_not_depend_on_when_scrapes_come() {
    let gateway = Gateway::start();
    let help = || {
        let scrape = gateway.scrape();
        let line = scrape.lines().find(|line| line.starts_with("# HELP n "));
        line.map(str::to_owned)
    };
    gateway.put("/metrics/job/j", "# HELP n A\nn 1\n");
    assert_eq!(help().as_deref(), Some("# HELP n A"));
    gateway.put("/metrics/job/j", "# HELP n B\nn 1\n");
    assert_eq!(help().as_deref(), Some("# HELP n B"));
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
    for encoding in ["delimited", "text", "compact-text"] {
        let accept = format!("{protobuf}; encoding={encoding}");
        let exposed = gateway.request("GET", "/metrics", &[("Accept", &accept)], b"");
        let exposed = String::from_utf8_lossy(&exposed.body).into_owned();
        let (a, b) = match encoding {
            "delimited" => ("\n\u{1}n\u{12}\u{1}A", "\n\u{1}n\u{12}\u{1}B"),
            "text" => ("name: \"n\"\nhelp: \"A\"", "name: \"n\"\nhelp: \"B\""),
            _ => ("name:\"n\" help:\"A\"", "name:\"n\" help:\"B\""),
        };
        let exposed = exposed.replace(":  ", ": ").replace("  ", " ");
        assert!(
            exposed.contains(b) && !exposed.contains(a),
            "{encoding}: {exposed}"
        );
    }
    gateway.request("DELETE", "/metrics/job/j", &[], b"");
    gateway.put("/metrics/job/j", "n 1\n");
    assert_eq!(help(), None);
}

#[test]
fn all_contradictions_of_a_push_are_listed() {
    let gateway = Gateway::start();
    let prefix = "pushed metrics are invalid or inconsistent with existing metrics: ";
    let refused = |path: &str, body: &str| {
        let (status, text) = gateway.put(path, body).status_and_text();
        assert_eq!(status, 400, "{text}");
        let text = text
            .strip_prefix(prefix)
            .expect("the text of a contradiction");
        text.trim_end().to_owned()
    };
    let same = "was collected before with the same name and label values";
    let labels = "label:{name:\"instance\" value:\"\"} label:{name:\"job\" value:\"j\"}";
    // Within the push.
    assert_eq!(
        refused("/metrics/job/j", "a 1\na 2\nb 1\nb 2\nb 3\n"),
        format!(
            "3 error(s) occurred:\n\
             * collected metric \"a\" {{ {labels} untyped:{{value:2}}}} {same}\n\
             * collected metric \"b\" {{ {labels} untyped:{{value:2}}}} {same}\n\
             * collected metric \"b\" {{ {labels} untyped:{{value:3}}}} {same}"
        )
    );
    let many = refused("/metrics/job/j", &"m 1\n".repeat(20));
    assert!(many.starts_with("19 error(s) occurred:\n* collected"));
    assert!(many.ends_with("\n* and 9 more"));
    assert_eq!(many.lines().count(), 12);
    // With the names and the series of other groups, and with the gateway's own families.
    let existing =
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\nc 1\nd 1\n# TYPE h histogram\nh_count 1\n";
    assert_eq!(gateway.put("/metrics/job/x/l/1", existing).status, 200);
    let types = refused(
        "/metrics/job/j",
        "# TYPE a counter\na 1\n# TYPE b counter\nb 1\nc 1\nh_sum 1\n\
         # TYPE pushgateway_groups counter\npushgateway_groups 1\n",
    );
    let lines: Vec<&str> = types.lines().collect();
    assert_eq!(lines[0], "4 error(s) occurred:");
    for (line, (start, end)) in lines[1..].iter().zip([
        ("* collected metric \"a\" {", "} is not a COUNTER"),
        ("* collected metric \"b\" {", "} is not a COUNTER"),
        (
            "* collected metric named \"h_sum\" collides with",
            "the group {job=\"x\",l=\"1\"} has it",
        ),
        (
            "* gathered metric family pushgateway_groups has type COUNTER",
            "should have GAUGE",
        ),
    ]) {
        assert!(line.starts_with(start) && line.ends_with(end), "{types}");
    }
    let both = refused(
        "/metrics/job/x",
        "# TYPE a counter\na{l=\"2\"} 1\nc{l=\"1\"} 1\nc{l=\"2\"} 1\nd{l=\"1\"} 1\n",
    );
    let lines: Vec<&str> = both.lines().collect();
    assert_eq!(lines[0], "3 error(s) occurred:");
    assert!(lines[1].ends_with("is not a COUNTER"), "{both}");
    for (line, name) in lines[2..].iter().zip(["c", "d"]) {
        assert!(line.starts_with(&format!("* collected metric \"{name}\" {{")));
        assert!(line.ends_with(&format!("{same}; the group {{job=\"x\",l=\"1\"}} has it")));
    }
    // A single one is not a list.
    assert_eq!(
        refused("/metrics/job/j", "a 1\na 2\n"),
        format!("collected metric \"a\" {{ {labels} untyped:{{value:2}}}} {same}")
    );
    // What is no contradiction any more is not listed.
    assert_eq!(gateway.put("/metrics/job/x/l/1", "b 1\n").status, 200);
    let left = refused(
        "/metrics/job/j",
        "# TYPE a counter\na 1\n# TYPE b counter\nb 1\n",
    );
    assert!(left.starts_with("collected metric \"b\""), "{left}");
    // Its own names do not contradict a group.
    assert_eq!(
        gateway
            .put("/metrics/job/y", "# TYPE z gauge\nz 1\n")
            .status,
        200
    );
    let own = refused(
        "/metrics/job/y",
        "# TYPE b gauge\nb 1\n# TYPE z counter\nz 1\n",
    );
    assert!(own.starts_with("collected metric \"b\""), "{own}");
}
