//! Deliberate differences from the reference Pushgateway that no other test covers.
//! `docs/differences.md` lists all differences.

mod common;

use common::{Client, Gateway};
use std::process::Command;

/// Six bytes that announce a message of 64 GiB crash the reference.
#[test]
fn an_announced_length_does_not_crash_the_process() {
    let gateway = Gateway::start();
    let kind = (
        "Content-Type",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    );
    for body in [
        &b"\x80\x80\x80\x80\x80\x02"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x3f",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ] {
        assert_eq!(
            gateway
                .request("PUT", "/metrics/job/j", &[kind], body)
                .status,
            400
        );
    }
    assert_eq!(gateway.request("GET", "/-/healthy", &[], b"").status, 200);
}

/// Prometheus ends reading the text format at a NUL character in a name.
#[test]
fn a_nul_in_a_name_is_refused_and_one_in_a_value_is_not() {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    for (path, body) in [
        ("/metrics/job/x/U__a_0_b/v", "m 1\n"),
        ("/metrics/job/x", "{\"a\0b\"} 1\n"),
        ("/metrics/job/x", "m{\"a\0b\"=\"v\"} 1\n"),
    ] {
        let (status, text) = gateway.put(path, body).status_and_text();
        assert_eq!(status, 400, "{path} {body:?}: {text}");
    }
    let in_values = gateway.put("/metrics/job/a%00b", "m{l=\"a\0b\"} 1\n");
    assert_eq!(in_values.status, 200);
}

/// The reference only queues deletes and wipes.
#[test]
fn deletes_and_wipes_are_complete_when_they_are_answered() {
    let gateway = Gateway::with_flags(&["--web.enable-admin-api"]);
    let mut client = Client::new(&gateway);
    for i in 0..200_usize {
        let path = format!("/metrics/job/j{i}");
        assert_eq!(client.request("PUT", &path, &[], b"x 1\n").status, 200);
        if i % 2 == 0 {
            assert_eq!(client.request("DELETE", &path, &[], b"").status, 202);
        }
        assert_eq!(
            client
                .request("GET", "/metrics", &[], b"")
                .text()
                .matches("\nx{")
                .count(),
            i.div_ceil(2)
        );
    }
    assert_eq!(
        client.request("PUT", "/api/v1/admin/wipe", &[], b"").status,
        202
    );
    assert_eq!(
        client
            .request("GET", "/metrics", &[], b"")
            .text()
            .matches("job=\"")
            .count(),
        0
    );
    assert_eq!(
        client.request("GET", "/api/v1/metrics", &[], b"").text(),
        r#"{"status":"success","data":[]}"#
    );
    let status = client.request("GET", "/", &[], b"").text();
    assert!(status.contains(", 0 groups."), "{status}");
}

/// Wipes and pushes that come at the same time, some of them with large bodies.
#[test]
fn pushes_go_on_while_everything_is_wiped() {
    let gateway = Gateway::with_flags(&["--web.enable-admin-api"]);
    let large: String = (0..20_000)
        .map(|n| format!("large{{n=\"{n}\"}} 1\n"))
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gateway, large) = (&gateway, &large);
            scope.spawn(move || {
                let mut client = Client::new(gateway);
                for n in 0..300 {
                    let path = format!("/metrics/job/j{thread}/instance/{n}");
                    let body = if n % 60 == 0 { large } else { "x 1\n" };
                    let pushed = client.request("PUT", &path, &[], body.as_bytes());
                    assert_eq!(pushed.status_and_text(), (200, String::new()));
                    if n % 50 == thread {
                        let wiped = client.request("PUT", "/api/v1/admin/wipe", &[], b"");
                        assert_eq!(wiped.status_and_text(), (202, String::new()));
                    }
                }
            });
        }
    });
    let wiped = gateway.request("PUT", "/api/v1/admin/wipe", &[], b"");
    assert_eq!(wiped.status, 202);
    let status = gateway.request("GET", "/", &[], b"").text();
    assert!(status.contains(", 0 groups."), "{status}");
    assert_eq!(gateway.scrape().matches("job=\"").count(), 0);
}

#[test]
fn a_wipe_needs_a_flag() {
    let gateway = Gateway::start();
    gateway.put("/metrics/job/j", "x 1\n");
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"] {
        let response = gateway.request(method, "/api/v1/admin/wipe", &[], b"");
        assert_eq!(
            (response.status, response.header("allow")),
            (404, None),
            "{method}"
        );
    }
    assert_eq!(gateway.lines("x").len(), 1);
    let enabled = Gateway::with_flags(&["--web.enable-admin-api"]);
    let response = enabled.request("GET", "/api/v1/admin/wipe", &[], b"");
    assert_eq!(
        (response.status, response.header("allow")),
        (405, Some("OPTIONS, PUT"))
    );
}

/// The bodies are the same as the reference's, byte for byte: they have no newline at the end.
#[test]
fn quitting_needs_a_flag_and_a_method() {
    let gateway = Gateway::start();
    let answer = |method: &str| {
        let response = gateway.request(method, "/-/quit", &[], b"");
        (response.status, response.text())
    };
    assert_eq!(
        answer("GET"),
        (405, "Only POST or PUT requests allowed.".to_owned())
    );
    assert_eq!(
        answer("PUT"),
        (403, "Lifecycle API is not enabled.".to_owned())
    );
    assert_eq!(
        answer("POST"),
        (403, "Lifecycle API is not enabled.".to_owned())
    );
}

#[test]
fn a_form_is_decoded_only_if_it_does_not_parse_as_it_stands() {
    let gateway = Gateway::start();
    let form = [(
        "Content-Type",
        "application/x-www-form-urlencoded; charset=utf-8",
    )];
    let post = |body: &str| {
        gateway
            .request("POST", "/metrics/job/j", &form, body.as_bytes())
            .status_and_text()
    };
    assert_eq!(post("a%7Bl%3D%22x%2By%22%7D+1%0A").0, 200);
    assert_eq!(gateway.lines("a"), [r#"a{instance="",job="j",l="x+y"} 1"#]);
    // A body that is valid as it stands is not decoded, as with `curl --data-binary`.
    assert_eq!(post("b{l=\"x+y%20\"} 1\n").0, 200);
    assert_eq!(
        gateway.lines("b"),
        [r#"b{instance="",job="j",l="x+y%20"} 1"#]
    );
    // curl sends what comes before the first `=` as it is: this is `e{l="v"} 1`.
    assert_eq!(post("e{l=%22v%22%7D%201").0, 200);
    assert_eq!(gateway.lines("e"), [r#"e{instance="",job="j",l="v"} 1"#]);
    // If both ways fail, the error is that of the body as it stands.
    assert_eq!(
        post("c+d"),
        (
            400,
            "text format parsing error in line 1: unexpected end of input stream".to_owned()
        )
    );
    assert_eq!(post("c=1").0, 400);
    // Without the content type of a form, nothing is decoded.
    assert_eq!(gateway.post("/metrics/job/j", "d+1").status, 400);
}

#[test]
fn pushed_values_of_the_push_times_are_ignored() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .put(
                "/metrics/job/j",
                "push_time_seconds 5\npush_failure_time_seconds 6\nx 1\n"
            )
            .status,
        200
    );
    assert_eq!(
        gateway
            .post("/metrics/job/j", "push_failure_time_seconds 6\n")
            .status,
        200
    );
    assert_eq!(
        gateway.lines("push_failure_time_seconds"),
        [r#"push_failure_time_seconds{instance="",job="j"} 0"#]
    );
    assert!(!gateway.lines("push_time_seconds")[0].ends_with(" 5"));
}

#[test]
fn a_gauge_histogram_and_a_histogram_are_different_types() {
    let gateway = Gateway::start();
    let of =
        |metric_type: &str| format!("# TYPE h {metric_type}\nh_bucket{{le=\"1\"}} 1\nh_count 1\n");
    assert_eq!(
        gateway.put("/metrics/job/a", &of("gaugehistogram")).status,
        200
    );
    assert_eq!(gateway.put("/metrics/job/b", &of("histogram")).status, 400);
    assert_eq!(
        gateway.put("/metrics/job/b", &of("gaugehistogram")).status,
        200
    );
}

/// The reference recognises `gzip` only in lower case, and reads an `Accept-Encoding` only up to
/// the first quality that is not a number.
/// The reference keeps both kinds of numbers, and the fractional one counts.
#[test]
fn of_repeated_counts_the_last_one_counts() {
    let gateway = Gateway::start();
    for (counts, shown) in [
        (["1", "2"], "2"),
        (["1.5", "2"], "2"),
        (["2", "1.5"], "1.5"),
        (["2", "NaN"], "NaN"),
    ] {
        let [first, second] = counts;
        let body =
            format!("# TYPE h histogram\nh_count {first}\nh_count {second}\nh_sum 1\nh_sum 3\n");
        assert_eq!(gateway.put("/metrics/job/j", &body).status, 200);
        let labels = "{instance=\"\",job=\"j\"}";
        assert_eq!(
            gateway.lines("h_count"),
            [format!("h_count{labels} {shown}")]
        );
        assert_eq!(gateway.lines("h_sum"), [format!("h_sum{labels} 3")]);
    }
}

/// Fields of protobuf that the gateway does not know are kept where Prometheus may come to know
/// them: within the value of a metric.
#[test]
fn unknown_fields_are_kept_in_values_only() {
    let gateway = Gateway::start();
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
    let delimited = format!("{protobuf}; encoding=delimited");
    // A family `g` with the unknown field 9 ("fam"), of a gauge with the unknown field 15 ("met"),
    // with a label with the unknown field 7 ("lab"), and with the value 1 and the unknown field 9
    // ("val") in the gauge.
    let label = b"\x0a\x01l\x12\x01v\x3a\x03lab";
    let gauge = b"\x09\0\0\0\0\0\0\xf0\x3f\x4a\x03val";
    let metric = [
        &[0x0a, label.len() as u8][..],
        label,
        &[0x12, gauge.len() as u8],
        gauge,
        b"\x7a\x03met",
    ]
    .concat();
    let family = [
        &b"\x0a\x01g\x18\x01\x22"[..],
        &[metric.len() as u8],
        &metric,
        b"\x4a\x03fam",
    ]
    .concat();
    let body = [&[family.len() as u8][..], &family].concat();
    let pushed = gateway.request(
        "PUT",
        "/metrics/job/j",
        &[("Content-Type", &delimited)],
        &body,
    );
    assert_eq!(pushed.status_and_text(), (200, String::new()));
    let exposed = |accept: &str| {
        let exposed = gateway.request("GET", "/metrics", &[("Accept", accept)], b"");
        String::from_utf8_lossy(&exposed.body).into_owned()
    };
    let binary = exposed(&delimited);
    let is_exposed =
        ["val", "met", "lab", "fam"].map(|field| binary.contains(&format!("\x03{field}")));
    assert_eq!(is_exposed, [true, false, false, false]);
    // protobuf's text forms show known fields only.
    assert!(!exposed(&format!("{protobuf}; encoding=text")).contains("val\""));
    assert_eq!(gateway.lines("g"), ["g{instance=\"\",job=\"j\",l=\"v\"} 1"]);
}

/// A family without metrics is never exposed, so that it contradicts nothing.
#[test]
fn a_family_without_metrics_may_have_any_type() {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .put("/metrics/job/a", "# TYPE x gauge\nx 1\n")
            .status,
        200
    );
    let delimited = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    // Counters without metrics.
    let body = b"\x05\x0a\x01x\x18\0\x16\x0a\x12pushgateway_groups\x18\0";
    let pushed = gateway.request(
        "PUT",
        "/metrics/job/b",
        &[("Content-Type", delimited)],
        body,
    );
    assert_eq!(pushed.status_and_text(), (200, String::new()));
    assert_eq!(gateway.scrape().matches("# TYPE x gauge\n").count(), 1);
    let shown = gateway.request("GET", "/api/v1/metrics/b", &[], b"").text();
    assert!(
        shown.contains(r#""type":"COUNTER","metrics":[]}"#),
        "{shown}"
    );
}

#[test]
fn gzip_is_accepted_in_any_case_and_after_a_malformed_quality() {
    let gateway = Gateway::start();
    let encoding = |accepted: &str| {
        let response = gateway.request("GET", "/metrics", &[("Accept-Encoding", accepted)], b"");
        response.header("content-encoding").map(str::to_owned)
    };
    for accepted in [
        "GZIP",
        "Gzip",
        "gzip;q=x",
        "gzip;q=",
        "gzip;x=1",
        "deflate;q=x, gzip",
    ] {
        assert_eq!(encoding(accepted).as_deref(), Some("gzip"), "{accepted}");
    }
    for accepted in ["gzip;q=0", "gzip;q=-1", "gzip, identity;q=x"] {
        assert_eq!(encoding(accepted), None, "{accepted}");
    }
}

/// They are for people. The reference compresses them if the client accepts that.
#[test]
fn the_text_forms_of_protobuf_are_not_compressed() {
    let gateway = Gateway::start();
    for (form, encoding) in [
        ("text", None),
        ("compact-text", None),
        ("delimited", Some("gzip")),
    ] {
        let kind = format!(
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding={form}"
        );
        let response = gateway.request(
            "GET",
            "/metrics",
            &[("Accept", &kind), ("Accept-Encoding", "gzip")],
            b"",
        );
        assert!(
            response
                .header("content-type")
                .unwrap()
                .contains(&format!("encoding={form}")),
            "{form}"
        );
        assert_eq!(response.header("content-encoding"), encoding, "{form}");
    }
}

#[test]
fn groups_of_a_job_are_queried_by_path() {
    let gateway = Gateway::start();
    for path in [
        "/metrics/job/a",
        "/metrics/job/a/instance/i",
        "/metrics/job/b",
    ] {
        gateway.put(path, "x 1\n");
    }
    let query = |path: &str| -> (u16, serde_json::Value) {
        let response = gateway.request("GET", path, &[], b"");
        assert_eq!(response.header("content-type"), Some("application/json"));
        (
            response.status,
            serde_json::from_slice(&response.body).unwrap(),
        )
    };
    let n_groups = |path: &str| query(path).1["data"].as_array().map(Vec::len);
    assert_eq!(n_groups("/api/v1/metrics"), Some(3));
    assert_eq!(n_groups("/api/v1/metrics/a"), Some(2));
    assert_eq!(n_groups("/api/v1/metrics/a/i"), Some(1));
    let error = |path: &str| {
        let (status, answer) = query(path);
        (status, answer["error"].as_str().unwrap().to_owned())
    };
    assert_eq!(
        error("/api/v1/metrics/none"),
        (404, "there is no group with job \"none\"".to_owned())
    );
    assert_eq!(
        error("/api/v1/metrics/a/none"),
        (
            404,
            "there is no group with job \"a\" and instance \"none\"".to_owned()
        )
    );
    // A slash in a job name is written as `%2F`.
    gateway.put("/metrics/job@base64/cy90", "x 1\n");
    assert_eq!(n_groups("/api/v1/metrics/s%2Ft"), Some(1));
    assert_eq!(error("/api/v1/metrics/s/t").0, 404);
    // The dots of `.` and `..` are written as `%2E`. These are the jobs `.` and `..`.
    gateway.put("/metrics/job@base64/Lg/instance@base64/Li4", "x 1\n");
    gateway.put("/metrics/job@base64/Li4/instance@base64/Lg", "x 1\n");
    for path in [
        "/api/v1/metrics/%2E",
        "/api/v1/metrics/%2e%2E",
        "/api/v1/metrics/%2E/%2E%2E",
        "/api/v1/metrics/%2E%2E/%2E",
    ] {
        assert_eq!(n_groups(path), Some(1), "{path}");
    }
    for method in ["POST", "PUT", "DELETE"] {
        assert_eq!(
            gateway
                .request(method, "/api/v1/metrics/a", &[], b"")
                .status,
            404,
            "{method}"
        );
    }
    // A large answer is sent in several pieces and is complete.
    for i in 0..2000 {
        gateway.put(
            &format!("/metrics/job/many/instance/{i}"),
            "x 1\ny{l=\"v\"} 2\n",
        );
    }
    assert_eq!(n_groups("/api/v1/metrics/many"), Some(2000));
}

#[test]
fn redirects_below_the_api_keep_the_prefix() {
    let gateway = Gateway::with_flags(&["--web.route-prefix=/pg"]);
    let redirected = gateway.request("GET", "/pg/api/v1/status/", &[], b"");
    assert_eq!(
        (redirected.status, redirected.header("location")),
        (301, Some("/pg/api/v1/status"))
    );
}

#[test]
fn a_request_target_over_the_http_librarys_limit_is_refused() {
    let gateway = Gateway::start();
    let long = |len: usize| {
        gateway
            .request("GET", &format!("/-/healthy?{}", "x".repeat(len)), &[], b"")
            .status
    };
    assert_eq!((long(60_000), long(70_000)), (200, 414));
}

#[test]
fn the_metrics_and_profiles_of_go_are_absent() {
    let gateway = Gateway::start();
    for path in ["/debug/pprof/", "/debug/pprof/heap"] {
        assert_eq!(gateway.request("GET", path, &[], b"").status, 404);
    }
    assert!(!gateway.scrape().contains("go_"));
}

#[test]
fn exactly_one_valid_host_header_is_required() {
    use std::io::{BufReader, Write};
    let gateway = Gateway::start();
    for (hosts, status) in [
        ("", 400),
        ("Host: a\r\n", 200),
        ("Host: a\r\nHost: b\r\n", 400),
        ("Host: a b\r\n", 400),
    ] {
        let mut stream = gateway.connect();
        stream
            .write_all(format!("GET /-/healthy HTTP/1.1\r\n{hosts}\r\n").as_bytes())
            .unwrap();
        assert_eq!(
            common::read_response(&mut BufReader::new(&stream), false)
                .unwrap()
                .status,
            status,
            "{hosts:?}"
        );
    }
}

#[test]
fn invalid_flags_end_the_process_with_one_error_line_and_status_1() {
    for (flags, text) in [
        (&["--no.such.flag"][..], "--no.such.flag"),
        (&["--web.listen-address=127.0.0.1:notaport"], "notaport"),
        (&["--web.listen-address=203.0.113.1:1"], "203.0.113.1:1"),
        (&["--web.external-url=http://[::1"], "external-url"),
        (&["--web.telemetry-path=foo"], "telemetry-path"),
        (&["--web.telemetry-path=/-/healthy"], "telemetry-path"),
        (
            &["--web.route-prefix=/pg", "--web.telemetry-path=/"],
            "telemetry-path",
        ),
        (&["--web.listen-address", "9091"], ":9091"),
        (&["--web.listen-address=vsock://:x"], "vsock://:x"),
        (
            &["--web.route-prefix=http://localhost/pushgateway"],
            "route-prefix",
        ),
        (&["--limit.body-bytes=0"], "at least one byte"),
        (&["--limit.decoded-ratio=0"], "at least 1"),
        (&["--web.listen-address=127.0.0.1:http-alt"], "http-alt"),
        (&["--web.telemetry-path=/api/v1/status"], "telemetry-path"),
        (&["--log.level=loud"], "loud"),
        (&["unexpected"], "unexpected"),
        (&["--web.config.file=/nonexistent.yml"], "nonexistent.yml"),
        (&["--persistence.interval=soon"], "soon"),
        (&["--limit.group-exposition-bytes=268435457"], "268435456"),
        (&["--web.systemd-socket"], "LISTEN_FDS"),
        (&["@/nonexistent.args"], "arguments"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
            .args(flags)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {stderr}");
        assert!(
            stderr.contains(text) && output.stdout.is_empty(),
            "{flags:?}: {stderr}"
        );
        assert!(
            stderr.lines().count() == 1 && stderr.ends_with('\n'),
            "{flags:?}: {stderr}"
        );
    }
}

#[test]
fn errors_of_flags_name_the_program_and_the_flag() {
    let stderr = |flag: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
            .arg(flag)
            .output()
            .unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(
        stderr("--foo"),
        "pushgateway: error: unexpected argument '--foo' found, try --help\n"
    );
    let known =
        "'--web.enable-lifecyle' found, a similar argument exists: '--web.enable-lifecycle'";
    assert_eq!(
        stderr("--web.enable-lifecyle"),
        format!("pushgateway: error: unexpected argument {known}, try --help\n")
    );
}

#[test]
fn arguments_are_read_from_a_file_with_comments() {
    let dir = common::TempDir::new("arguments");
    let path = dir.0.join("args");
    std::fs::write(
        &path,
        "# how loud\n--log.level\nDEBUG\n#--no.such.flag\n--web.telemetry-path=/seen\n",
    )
    .unwrap();
    let gateway = Gateway::with_flags(&[&format!("@{}", path.display())]);
    assert_eq!(gateway.request("GET", "/seen", &[], b"").status, 200);
}

#[test]
fn an_address_without_a_port_takes_any_free_port() {
    let gateway =
        Gateway::with_flags(&["--web.listen-address=", "--web.listen-address=127.0.0.1:"]);
    assert_eq!(gateway.request("GET", "/-/healthy", &[], b"").status, 200);
    let deadline = std::time::Instant::now() + common::TIMEOUT;
    while gateway.log().matches("listening").count() < 3 {
        assert!(std::time::Instant::now() < deadline, "{}", gateway.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(
        gateway.log().contains("address=[::]:") || gateway.log().contains("address=0.0.0.0:"),
        "{}",
        gateway.log()
    );
}

#[test]
fn help_and_version_are_printed() {
    for (flag, text) in [
        ("--help", "--limit.shapes-per-job"),
        ("-h", "--web.listen-address"),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("--version", env!("PUSHGATEWAY_REVISION")),
        ("--help-long", "--limit.shapes-per-job"),
        ("--help-man", ".TH pushgateway"),
        ("--completion-script-bash", "--limit.shapes-per-job"),
        ("--completion-script-zsh", "#compdef pushgateway"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
            .arg(flag)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stderr.is_empty());
        assert!(
            String::from_utf8_lossy(&output.stdout).contains(text),
            "{flag}"
        );
    }
}

#[test]
fn limits_and_revision_of_the_build_are_shown() {
    let gateway = Gateway::with_flags(&["--limit.body-bytes=32MB"]);
    let page = gateway.request("GET", "/", &[], b"").text();
    let status = gateway.request("GET", "/api/v1/status", &[], b"").text();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    for (name, value) in [
        ("limit.body-bytes", "32MB"),
        ("limit.decoded-body-bytes", "256MiB"),
        ("limit.decoded-ratio", "200"),
        ("limit.group-exposition-bytes", "64MiB"),
        ("limit.labels-per-series", "1024"),
        ("limit.series-per-push", "1000000"),
        ("limit.shapes-per-job", "64"),
    ] {
        assert!(
            page.contains(&format!("--{name}<td>{value}")),
            "{name}: {page}"
        );
        assert_eq!(status["data"]["flags"][name], value, "{status}");
    }
    let revision = env!("PUSHGATEWAY_REVISION");
    assert_eq!(status["data"]["build_information"]["revision"], revision);
    let info = gateway.lines("pushgateway_build_info");
    assert!(
        info[0].contains(&format!("revision=\"{revision}\"")),
        "{info:?}"
    );
    // What git says, if these sources are a repository of their own.
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    if std::env::var_os("PUSHGATEWAY_REVISION").is_none()
        && git(&["rev-parse", "--show-prefix"]).as_deref() == Some("")
    {
        assert_eq!(git(&["rev-parse", "HEAD"]).as_deref(), Some(revision));
    }
}
