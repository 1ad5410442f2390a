//! Moving from the reference to the gateway and back: nothing that was pushed is lost.
//!
//! Environment: `PUSHGATEWAY_REFERENCE` names the reference's binary (1.11.2);
//! `PUSHGATEWAY_MIGRATION` is the number of groups (default 200).

mod common;

use common::groups::{exposed, listed, push_everything, request};
use common::outside::{NotRun, run_tests};
use common::reference::Reference;
use common::{Gateway, TempDir};
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Output};

fn main() -> ExitCode {
    run_tests![
        a_running_reference_is_copied_into_a_running_gateway,
        a_running_reference_is_copied_into_the_state_of_a_stopped_gateway,
        the_reference_loads_what_the_gateway_exports,
        a_reference_that_cannot_be_scraped_is_read_by_its_query_api,
    ]
}

fn n_groups() -> usize {
    std::env::var("PUSHGATEWAY_MIGRATION").map_or(200, |n| n.parse().expect("a number"))
}

/// A reference with many groups, which it keeps in memory.
fn reference_with_groups() -> Result<Reference, NotRun> {
    // The check of a push takes a time that grows with what was pushed.
    let is_checked = n_groups() <= 1000;
    let unchecked: &[&str] = if is_checked {
        &[]
    } else {
        &["--push.disable-consistency-check"]
    };
    let reference = start_reference("", unchecked)?;
    push_everything(reference.address, n_groups(), is_checked);
    Ok(reference)
}

fn start_reference(file: &str, flags: &[&str]) -> Result<Reference, NotRun> {
    let file = format!("--persistence.file={file}");
    Reference::start(&[&["--push.enable-utf8-names", &file], flags].concat())
}

fn start_gateway(flags: &[&str]) -> Gateway {
    Gateway::with_flags(
        &[
            &["--web.enable-admin-api", "--push.enable-utf8-names"],
            flags,
        ]
        .concat(),
    )
}

/// Runs a command that succeeds. Returns its warnings.
fn run(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
        .args(arguments)
        .output()
        .expect("the command starts");
    let warnings = String::from_utf8(stderr).expect("UTF-8");
    assert!(status.success(), "{warnings}");
    warnings
}

fn assert_same(a: SocketAddr, b: SocketAddr) {
    let (groups_of_a, groups_of_b) = (listed(a), listed(b));
    assert!(groups_of_a.len() > 10);
    for (labels, group) in &groups_of_a {
        assert_eq!(Some(group), groups_of_b.get(labels));
    }
    assert_eq!(groups_of_a.len(), groups_of_b.len());
    let (series_of_a, series_of_b) = (exposed(a), exposed(b));
    for (name, value) in &series_of_a {
        assert_eq!(Some(value), series_of_b.get(name), "{name:?}");
    }
    assert_eq!(series_of_a.len(), series_of_b.len());
}

fn a_running_reference_is_copied_into_a_running_gateway() -> Result<(), NotRun> {
    let reference = reference_with_groups()?;
    let gateway = start_gateway(&[]);
    let from = format!("--from-url=http://{}", reference.address);
    let warnings = run(&["import", &from, "--to-url", &gateway.url()]);
    assert_eq!(warnings, "");
    assert_same(reference.address, gateway.address);
    Ok(())
}

fn a_running_reference_is_copied_into_the_state_of_a_stopped_gateway() -> Result<(), NotRun> {
    let reference = reference_with_groups()?;
    let dir = TempDir::new("migration-state");
    let state = format!("--persistence.file={}", dir.0.join("state").display());
    let from = format!("--from-url=http://{}", reference.address);
    assert_eq!(run(&["import", &from, &state]), "");
    let gateway = start_gateway(&[&state]);
    gateway.wait_for_log("restored the groups");
    assert_same(reference.address, gateway.address);
    Ok(())
}

fn the_reference_loads_what_the_gateway_exports() -> Result<(), NotRun> {
    let dir = TempDir::new("migration-back");
    let path = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let original = reference_with_groups()?;
    let gateway = start_gateway(&[]);
    let from = format!("--from-url=http://{}", original.address);
    run(&["import", &from, "--to-url", &gateway.url()]);
    // From a running gateway.
    run(&[
        "export",
        "--from-url",
        &gateway.url(),
        "--output",
        &path("running"),
    ]);
    let copy = start_reference(&path("running"), &[])?;
    assert_same(original.address, copy.address);
    // From a stopped one.
    let state = format!("--persistence.file={}", path("state"));
    run(&["import", &from, &state]);
    run(&["export", &state, "--output", &path("stopped")]);
    let copy = start_reference(&path("stopped"), &[])?;
    assert_same(original.address, copy.address);
    // A running reference is backed up in the same way.
    run(&["export", &from, "--output", &path("backup")]);
    let copy = start_reference(&path("backup"), &[])?;
    assert_same(original.address, copy.address);
    Ok(())
}

fn a_reference_that_cannot_be_scraped_is_read_by_its_query_api() -> Result<(), NotRun> {
    let reference = start_reference("", &["--push.disable-consistency-check"])?;
    push_everything(reference.address, 30, false);
    for body in [
        "# TYPE twice gauge\ntwice 1\n",
        "# TYPE twice counter\ntwice 1\n",
    ] {
        let path = format!("/metrics/job/twice{}", body.len());
        request(reference.address, "PUT", &path, &[], body.as_bytes());
    }
    let gateway = start_gateway(&[]);
    let from = format!("--from-url=http://{}", reference.address);
    let warnings = run(&["import", &from, "--to-url", &gateway.url()]);
    for text in [
        "500",
        "gauge histograms that are left out: p_gauge_histogram",
        "p_native_seconds",
        "left out twice",
    ] {
        assert!(warnings.contains(text), "{text}: {warnings}");
    }
    assert_eq!(gateway.lines("twice").len(), 1);
    // Groups in the text format lose nothing.
    let (theirs, ours) = (listed(reference.address), listed(gateway.address));
    let plain = theirs
        .iter()
        .filter(|(labels, _)| labels.contains("alone") || labels.contains("job1"));
    for (labels, group) in plain {
        assert_eq!(Some(group), ours.get(labels));
    }
    Ok(())
}
