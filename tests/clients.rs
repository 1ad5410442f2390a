//! Pushes with the client libraries that real jobs use: Python, Node, Go and Rust.
//!
//! `.ci/run` installs what they need. If something is missing, a test says how to install it.

mod common;

use common::outside::{NotRun, find_program, run_tests};
use common::{Gateway, TempDir};
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    run_tests![
        the_python_client_pushes_adds_and_deletes,
        the_node_client_pushes_adds_and_deletes,
        the_go_client_pushes_adds_and_deletes,
        the_rust_client_pushes_and_adds,
    ]
}

/// The path of a script in `tests/e2e`.
fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/e2e")
        .join(name)
}

/// Runs a command to its end. Returns its output as the error if it failed.
fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    Err(String::from_utf8_lossy(&text).into_owned())
}

fn the_python_client_pushes_adds_and_deletes() -> Result<(), NotRun> {
    let python = find_program("python3", "apt-get install python3 python3-venv")?;
    let dir = TempDir::new("python");
    let venv = dir.0.join("venv");
    let in_venv = venv.join("bin/python");
    let installed = run(Command::new(python).args(["-m", "venv"]).arg(&venv)).and_then(|()| {
        let packages = ["prometheus-client", "python-snappy"];
        run(Command::new(&in_venv)
            .args(["-m", "pip", "install", "--quiet"])
            .args(packages))
    });
    if let Err(error) = installed {
        return Err(NotRun::Program(format!(
            "prometheus-client cannot be installed by pip into a venv (python3-venv): {error}"
        )));
    }
    let gateway = Gateway::start();
    run(Command::new(&in_venv)
        .arg(script("push.py"))
        .arg(gateway.url()))
    .expect("the client succeeds");
    let scrape = gateway.scrape();
    for line in [
        r#"python_last_success{instance="",job="python"} 7.5"#,
        r#"python_last_success{empty="",instance="",job="python",path="/var/tmp",space="a b"} 7.5"#,
        r#"python_files_total{instance="",job="python",kind="a/b"} 3"#,
        r#"python_seconds_bucket{instance="",job="python",le="0.5"} 1"#,
        r#"python_bytes_sum{instance="",job="python"} 12"#,
        r#"python_added{instance="",job="python"} 1"#,
        r#"python_added{instance="",job="python_gzip"} 1"#,
        r#"python_added{instance="",job="python_snappy"} 1"#,
    ] {
        assert!(
            scrape.contains(&format!("{line}\n")),
            "{line} is not in\n{scrape}"
        );
    }
    assert!(!scrape.contains("python_gone"));
    Ok(())
}

fn the_node_client_pushes_adds_and_deletes() -> Result<(), NotRun> {
    let node = find_program("node", "apt-get install nodejs")?;
    let npm = find_program("npm", "apt-get install npm")?;
    let dir = TempDir::new("node");
    let install = [
        "install",
        "--silent",
        "--no-audit",
        "--no-fund",
        "prom-client",
    ];
    if let Err(error) = run(Command::new(npm).args(install).current_dir(&dir.0)) {
        return Err(NotRun::Program(format!(
            "npm cannot install prom-client: {error}"
        )));
    }
    let gateway = Gateway::start();
    std::fs::copy(script("push.js"), dir.0.join("push.js")).unwrap();
    run(Command::new(node)
        .arg("push.js")
        .arg(gateway.url())
        .current_dir(&dir.0))
    .expect("the client succeeds");
    assert_eq!(
        gateway.lines("node_last_success"),
        [r#"node_last_success{instance="",job="node",kind="a b"} 7.5"#]
    );
    assert_eq!(
        gateway.lines("node_added_total"),
        [r#"node_added_total{instance="",job="node",kind="a b",l="x"} 2"#]
    );
    Ok(())
}

fn the_go_client_pushes_adds_and_deletes() -> Result<(), NotRun> {
    let go = find_program(
        "go",
        "apt-get install golang-go golang-github-prometheus-client-golang-dev",
    )?;
    let dir = TempDir::new("go");
    let binary = dir.0.join("push");
    let mut build = Command::new(go);
    // Debian installs Go packages as a GOPATH, not as modules.
    build.envs([
        ("GO111MODULE", "off"),
        ("GOPATH", "/usr/share/gocode"),
        ("GOFLAGS", "-buildvcs=false"),
    ]);
    build.env("GOCACHE", dir.0.join("cache"));
    if let Err(error) = run(build
        .arg("build")
        .arg("-o")
        .arg(&binary)
        .arg(script("push.go")))
    {
        return Err(NotRun::Program(format!(
            "client_golang is not installed: apt-get install golang-github-prometheus-client-golang-dev: {error}"
        )));
    }
    let gateway = Gateway::start();
    run(Command::new(binary).arg(gateway.url())).expect("the client succeeds");
    let labels = r#"instance="",job="golang",path="/var/tmp""#;
    assert_eq!(
        gateway.lines("go_client_last_success"),
        [format!("go_client_last_success{{{labels}}} 7.5")]
    );
    assert_eq!(
        gateway.lines("go_client_added_total"),
        [format!("go_client_added_total{{{labels}}} 1")]
    );
    assert_eq!(
        gateway.lines("go_client_seconds_count"),
        [format!("go_client_seconds_count{{{labels}}} 1")]
    );
    Ok(())
}

fn the_rust_client_pushes_and_adds() {
    use prometheus::{Encoder, Registry, labels, push_add_collector, push_collector, push_metrics};
    let gateway = Gateway::start();
    let gauge = prometheus::Gauge::new("rust_last_success", "Last time.").unwrap();
    gauge.set(7.5);
    let counter = prometheus::IntCounter::new("rust_added_total", "Added.").unwrap();
    counter.inc();
    let key = || labels! {"kind".to_owned() => "a b".to_owned()};
    push_collector(
        "rust",
        key(),
        &gateway.url(),
        vec![Box::new(gauge.clone())],
        None,
    )
    .unwrap();
    push_add_collector("rust", key(), &gateway.url(), vec![Box::new(counter)], None).unwrap();
    assert_eq!(
        gateway.lines("rust_last_success"),
        [r#"rust_last_success{instance="",job="rust",kind="a b"} 7.5"#]
    );
    assert_eq!(
        gateway.lines("rust_added_total"),
        [r#"rust_added_total{instance="",job="rust",kind="a b"} 1"#]
    );
    let registry = Registry::new();
    registry.register(Box::new(gauge)).unwrap();
    push_metrics("rust", key(), &gateway.url(), registry.gather(), None).unwrap();
    assert_eq!(gateway.lines("rust_added_total"), [""; 0]);
    // The client pushes protobuf. Its text encoder writes the same metrics, and they are accepted
    // too.
    let mut text = Vec::new();
    prometheus::TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .unwrap();
    assert_eq!(
        gateway
            .put("/metrics/job/text", std::str::from_utf8(&text).unwrap())
            .status,
        200
    );
    assert_eq!(gateway.lines("rust_last_success").len(), 2);
}
