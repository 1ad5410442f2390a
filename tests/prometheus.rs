//! A real Prometheus scrapes the gateway.
//!
//! `PUSHGATEWAY_PROMETHEUS` names the folder that contains `prometheus` and `promtool`, version 3.5
//! or later (`.ci/peers` downloads them). Without it, the programs on the PATH are used.

mod common;

use common::Gateway;
use common::outside::{NotRun, run_tests};
use common::prometheus::{Prometheus, tool};
use std::io::Write;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    run_tests![
        prometheus_stores_pushed_metrics_with_their_pushed_labels,
        no_push_takes_the_target_down,
        prometheus_stores_a_native_histogram,
        prometheus_stores_a_utf8_name,
        promtool_finds_no_errors,
    ]
}

fn prometheus_stores_pushed_metrics_with_their_pushed_labels() -> Result<(), NotRun> {
    let gateway = Gateway::start();
    assert_eq!(
        gateway
            .put(
                "/metrics/job/ci/instance/node-1",
                "# TYPE ci_build_duration_seconds gauge\nci_build_duration_seconds 42.5\n"
            )
            .status,
        200
    );
    let prometheus = Prometheus::scraping(&gateway, "stores")?;
    let (metric, value) = prometheus.wait_for("ci_build_duration_seconds");
    assert_eq!(
        (
            metric["job"].as_str(),
            metric["instance"].as_str(),
            value.as_str()
        ),
        (Some("ci"), Some("node-1"), "42.5")
    );
    let (_, average) = prometheus.wait_for("avg_over_time(ci_build_duration_seconds[1h])");
    assert_eq!(average, "42.5");
    let (metric, _) = prometheus.wait_for("pushgateway_build_info");
    assert_eq!(metric["job"].as_str(), Some("pushgateway"));
    Ok(())
}

/// The reference accepts each of the first five pushes, and Prometheus then drops the whole target.
fn no_push_takes_the_target_down() -> Result<(), NotRun> {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    let prometheus = Prometheus::scraping(&gateway, "target")?;
    prometheus.wait_for("up{job=\"pushgateway\"} == 1");
    for (path, body) in [
        (
            "/metrics/job/x/le/5",
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\nh_sum 1\n",
        ),
        (
            "/metrics/job/x/quantile/5",
            "# TYPE s summary\ns{quantile=\"0.5\"} 1\n",
        ),
        ("/metrics/job/x", "{\"a.b\"} 1\na_b 1\n"),
        ("/metrics/job/x", "m{\"a.b\"=\"1\",a_b=\"2\"} 1\n"),
        (
            "/metrics/job/x",
            "pushgateway_http_push_size_bytes_count 1\n",
        ),
    ] {
        assert_eq!(gateway.put(path, body).status, 400, "{path} {body}");
    }
    // Accepted, as by the reference, although Prometheus keeps only one of these two samples.
    assert_eq!(
        gateway
            .put(
                "/metrics/job/y",
                "m{job=\"a\"} 1\nm{job=\"a\",l=\"\"} 2\nlast 1\n"
            )
            .status,
        200
    );
    prometheus.wait_for("last");
    let (_, value) = prometheus.wait_for("up{job=\"pushgateway\"}");
    assert_eq!(value, "1");
    let (_, minimum) = prometheus.wait_for("min_over_time(up{job=\"pushgateway\"}[5m])");
    assert_eq!(minimum, "1");
    Ok(())
}

/// A native histogram can only be pushed and scraped as protobuf.
fn prometheus_stores_a_native_histogram() -> Result<(), NotRun> {
    let gateway = Gateway::start();
    let field = |number: u8, bytes: &[u8]| {
        [
            &[number << 3 | 2, u8::try_from(bytes.len()).unwrap()],
            bytes,
        ]
        .concat()
    };
    // Count 6, sum 7.5, schema 0. One observation is in the zero bucket, two are in the bucket up
    // to 1, and three in the bucket up to 2.
    let numbers = [
        &[0x08, 6, 0x11][..],
        &7.5f64.to_le_bytes(),
        &[0x28, 0, 0x31],
        &0.001f64.to_le_bytes(),
        &[0x38, 1],
    ]
    .concat();
    let histogram = [
        numbers,
        field(12, &[0x08, 0, 0x10, 2]),
        vec![0x68, 4, 0x68, 2],
    ]
    .concat();
    let family = [
        field(1, b"h"),
        vec![0x18, 4],
        field(4, &field(7, &histogram)),
    ]
    .concat();
    let message = [vec![u8::try_from(family.len()).unwrap()], family].concat();
    let kind = (
        "Content-Type",
        "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    );
    assert_eq!(
        gateway
            .request("PUT", "/metrics/job/native", &[kind], &message)
            .status_and_text(),
        (200, String::new())
    );
    let prometheus =
        Prometheus::with_flags(&gateway, "native", &["--enable-feature=native-histograms"])?;
    let (_, count) = prometheus.wait_for("histogram_count(h{job=\"native\"})");
    let (_, sum) = prometheus.wait_for("histogram_sum(h{job=\"native\"})");
    let (_, below) = prometheus.wait_for("histogram_fraction(0, 1, h{job=\"native\"}) * 6");
    assert_eq!(
        (
            count.as_str(),
            sum.as_str(),
            below.parse::<f64>().unwrap().round()
        ),
        ("6", "7.5", 3.0)
    );
    Ok(())
}

fn prometheus_stores_a_utf8_name() -> Result<(), NotRun> {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    assert_eq!(
        gateway
            .put(
                "/metrics/job/utf8/U__g_2e_h/v",
                "{\"http.üs\",\"l.m\"=\"x\"} 7\n"
            )
            .status,
        200
    );
    let prometheus = Prometheus::scraping(&gateway, "utf8")?;
    let (metric, value) = prometheus.wait_for("{\"http.üs\"}");
    assert_eq!(
        (
            metric["g.h"].as_str(),
            metric["l.m"].as_str(),
            value.as_str()
        ),
        (Some("v"), Some("x"), "7")
    );
    Ok(())
}

fn promtool_finds_no_errors() -> Result<(), NotRun> {
    let promtool = tool("promtool")?;
    let gateway = Gateway::start();
    gateway.put(
        "/metrics/job/j",
        "# HELP good_seconds Fine.\n# TYPE good_seconds gauge\ngood_seconds 1\n",
    );
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    check
        .stdin
        .take()
        .unwrap()
        .write_all(gateway.scrape().as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    let output_text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(
        !output_text.contains("pushgateway_")
            && !output_text.contains("process_")
            && !output_text.contains("error"),
        "{output_text}"
    );
    Ok(())
}
