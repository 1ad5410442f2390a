//! A real Prometheus scrapes the gateway.
//!
//! `PUSHGATEWAY_PROMETHEUS` names the folder that contains `prometheus` and `promtool`, version 3.5
//! or later (`.ci/peers` downloads them). Without it, the programs on the PATH are used.

mod common;

use common::{Gateway, TIMEOUT, TempDir, find_program};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of `prometheus` or `promtool`; `None` if it is not installed.
fn tool(name: &str) -> Option<PathBuf> {
    match std::env::var_os("PUSHGATEWAY_PROMETHEUS") {
        Some(dir) => Some(PathBuf::from(dir).join(name)),
        None => find_program(
            name,
            ".ci/peers fetches it; PUSHGATEWAY_PROMETHEUS names the folder",
        ),
    }
}

/// A running Prometheus, which is killed when this value is dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the gateway every half second, configured as README.md
    /// says. `name` names its temporary directory. `None` if Prometheus is not installed.
    fn scraping(gateway: &Gateway, name: &str) -> Option<Self> {
        Self::with_flags(gateway, name, &[])
    }

    /// The same, with additional flags of Prometheus.
    fn with_flags(gateway: &Gateway, name: &str, flags: &[&str]) -> Option<Self> {
        let binary = tool("prometheus")?;
        let dir = TempDir::new(name);
        let config = format!(
            "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}\n\
             scrape_configs:\n- job_name: pushgateway\n  honor_labels: true\n  static_configs: [{{targets: ['{}']}}]\n",
            gateway.address
        );
        std::fs::write(dir.0.join("prometheus.yml"), config).unwrap();
        // A port that is free now: Prometheus cannot report which port it took.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new(binary)
            .arg(format!(
                "--config.file={}",
                dir.0.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.0.join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .args(["--log.level=error"])
            .args(flags)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Some(Self {
            child,
            address,
            _dir: dir,
        })
    }

    /// The JSON answer of an instant query; `None` while Prometheus does not answer.
    fn query(&self, query: &str) -> Option<serde_json::Value> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let request = format!(
            "GET /api/v1/query?query={query} HTTP/1.0\r\nHost: {}\r\n\r\n",
            self.address
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Waits until a query has a result. Returns metric and value of the first result.
    fn wait_for(&self, query: &str) -> (serde_json::Value, String) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let result = self
                .query(query)
                .map(|answer| answer["data"]["result"][0].clone());
            if let Some(result) = result.filter(|result| !result.is_null()) {
                return (
                    result["metric"].clone(),
                    result["value"][1].as_str().expect("a value").to_owned(),
                );
            }
            assert!(Instant::now() < deadline, "no result for {query}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_stores_pushed_metrics_with_their_pushed_labels() {
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
    let Some(prometheus) = Prometheus::scraping(&gateway, "stores") else {
        return;
    };
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
}

/// The reference accepts each of the first five pushes, and Prometheus then drops the whole target.
#[test]
fn no_push_takes_the_target_down() {
    let gateway = Gateway::with_flags(&["--push.enable-utf8-names"]);
    let Some(prometheus) = Prometheus::scraping(&gateway, "target") else {
        return;
    };
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
}

/// A native histogram can only be pushed and scraped as protobuf.
#[test]
fn prometheus_stores_a_native_histogram() {
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
    let Some(prometheus) =
        Prometheus::with_flags(&gateway, "native", &["--enable-feature=native-histograms"])
    else {
        return;
    };
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
}

#[test]
fn prometheus_stores_a_utf8_name() {
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
    let Some(prometheus) = Prometheus::scraping(&gateway, "utf8") else {
        return;
    };
    let (metric, value) = prometheus.wait_for("{\"http.üs\"}");
    assert_eq!(
        (
            metric["g.h"].as_str(),
            metric["l.m"].as_str(),
            value.as_str()
        ),
        (Some("v"), Some("x"), "7")
    );
}

#[test]
fn promtool_finds_no_errors() {
    let Some(promtool) = tool("promtool") else {
        return;
    };
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
}
