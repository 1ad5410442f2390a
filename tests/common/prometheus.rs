//! A real Prometheus that scrapes the gateway.

use super::outside::{NotRun, find_program};
use super::{Gateway, TIMEOUT, TempDir};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The path of `prometheus` or `promtool`.
pub fn tool(name: &str) -> Result<PathBuf, NotRun> {
    match std::env::var_os("PUSHGATEWAY_PROMETHEUS") {
        Some(dir) => Ok(PathBuf::from(dir).join(name)),
        None => find_program(
            name,
            ".ci/peers fetches it; PUSHGATEWAY_PROMETHEUS names the folder",
        ),
    }
}

/// A running Prometheus, which is killed when this value is dropped.
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the gateway every half second, configured as README.md
    /// says. `name` names its temporary directory.
    pub fn scraping(gateway: &Gateway, name: &str) -> Result<Self, NotRun> {
        Self::with_flags(gateway, name, &[])
    }

    /// The same, with additional flags of Prometheus.
    pub fn with_flags(gateway: &Gateway, name: &str, flags: &[&str]) -> Result<Self, NotRun> {
        Self::with_interval(gateway, name, flags, 500)
    }

    /// The same, with the time between scrapes, in which each must also be complete.
    pub fn with_interval(
        gateway: &Gateway,
        name: &str,
        flags: &[&str],
        interval_ms: u32,
    ) -> Result<Self, NotRun> {
        let binary = tool("prometheus")?;
        let dir = TempDir::new(name);
        let config = format!(
            "global: {{scrape_interval: {interval_ms}ms, scrape_timeout: {interval_ms}ms}}\n\
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
        Ok(Self {
            child,
            address,
            _dir: dir,
        })
    }

    /// Whether the process has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("prometheus is our child process")
            .is_none()
    }

    /// The JSON answer of an instant query; `None` while Prometheus does not answer.
    pub fn query(&self, query: &str) -> Option<serde_json::Value> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        self.get(&format!("/api/v1/query?query={query}"))
    }

    /// The JSON answer of a GET; `None` while Prometheus does not answer.
    pub fn get(&self, path: &str) -> Option<serde_json::Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        let request = format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address);
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// Waits until a query has a result. Returns metric and value of the first result.
    pub fn wait_for(&self, query: &str) -> (serde_json::Value, String) {
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
