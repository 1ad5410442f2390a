//! Groups are copied between gateways and files: `pushgateway import`, `pushgateway export`, and
//! `POST /api/v1/admin/import`. `tests/migration.rs` does the same with the reference.

mod common;

use common::groups::{exposed, listed, push_everything, request};
use common::{Gateway, TempDir};
use std::process::{Command, Output};

const OCTET_STREAM: (&str, &str) = ("Content-Type", "application/octet-stream");

/// Runs a command. Returns its exit code, and its standard output or, if it fails, standard error.
fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
        .args(arguments)
        .output()
        .expect("the command starts");
    let text = if status.success() { stdout } else { stderr };
    (status.code(), String::from_utf8(text).expect("UTF-8"))
}

/// Runs a command that succeeds.
fn succeed(arguments: &[&str]) -> String {
    let (code, text) = run(arguments);
    assert_eq!(code, Some(0), "{text}");
    text
}

/// Runs a command that fails with one line.
fn fail(arguments: &[&str]) -> String {
    let (code, text) = run(arguments);
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

fn with_admin(flags: &[&str]) -> Gateway {
    Gateway::with_flags(
        &[
            &["--web.enable-admin-api", "--push.enable-utf8-names"],
            flags,
        ]
        .concat(),
    )
}

fn assert_same(a: &Gateway, b: &Gateway) {
    let (a, b) = (a.address, b.address);
    assert_eq!(listed(a), listed(b));
    assert_eq!(exposed(a), exposed(b));
}

#[test]
fn a_running_gateway_is_copied_into_another_one() {
    let (from, to) = (with_admin(&[]), with_admin(&[]));
    push_everything(from.address, 30, true);
    let (from_url, to_url) = (
        format!("--from-url={}", from.url()),
        format!("--to-url={}", to.url()),
    );
    let line = succeed(&["import", &from_url, &to_url]);
    assert!(
        line.starts_with("imported 34 groups from http://127.0.0.1:"),
        "{line}"
    );
    assert_same(&from, &to);
    // What is as new stays.
    let line = succeed(&["import", &from_url, &to_url]);
    assert!(
        line.contains("34 groups that are not newer there"),
        "{line}"
    );
    // A push to the copy is newer than the original.
    to.put("/metrics/job/alone2", "other 1\n");
    from.put("/metrics/job/new", "x 1\n");
    succeed(&["import", &from_url, &to_url]);
    assert_eq!(to.lines("other").len(), 1);
    assert_eq!(to.lines("x").len(), 1);
}

#[test]
fn a_backup_of_a_running_gateway_is_imported_from_its_file() {
    let dir = TempDir::new("transfer-backup");
    let file = dir.0.join("backup");
    let path = file.to_str().unwrap();
    let (from, to) = (with_admin(&[]), with_admin(&[]));
    push_everything(from.address, 30, true);
    let export = ["export", "--from-url", &from.url(), "--output", path];
    let line = succeed(&export);
    assert!(line.starts_with("exported 34 groups from"), "{line}");
    let before = std::fs::read(&file).unwrap();
    let refused = fail(&export);
    assert!(
        refused.contains("exists already") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
    succeed(&[&export[..], &["--force"]].concat());
    succeed(&["import", "--from-file", path, "--to-url", &to.url()]);
    assert_same(&from, &to);
}

#[test]
fn the_state_of_a_stopped_gateway_is_merged_and_exported() {
    let dir = TempDir::new("transfer-state");
    let path = |name: &str| dir.0.join(name).to_str().unwrap().to_owned();
    let from = with_admin(&[]);
    push_everything(from.address, 30, true);
    let state = format!("--persistence.file={}", path("state"));
    let from_url = format!("--from-url={}", from.url());
    assert!(fail(&["export", &state, "--output", &path("out")]).contains("there is no state"));
    let line = succeed(&["import", &from_url, &state]);
    assert!(line.contains("imported 34 groups"), "{line}");
    // Merged: one group is newer now.
    from.put("/metrics/job/alone2", "other 1\n");
    let line = succeed(&["import", &from_url, &state]);
    assert!(
        line.contains("imported 1 groups") && line.contains("33 groups that"),
        "{line}"
    );
    let mut gateway = with_admin(&[&state]);
    gateway.wait_for_log("restored the groups");
    assert_same(&from, &gateway);
    // While the gateway runs, nobody else has its state.
    let refused = fail(&["export", &state, "--output", &path("out")]);
    assert!(refused.contains("in use"), "{refused}");
    gateway.signal(rustix::process::Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    succeed(&["export", &state, "--output", &path("out")]);
    let copy = with_admin(&[]);
    succeed(&[
        "import",
        "--from-file",
        &path("out"),
        "--to-url",
        &copy.url(),
    ]);
    assert_same(&from, &copy);
    // The file of the reference beside the state was imported, so the gateway starts with both.
    let both = format!("--persistence.file={}", path("out"));
    succeed(&["import", "--from-file", &path("out"), &both]);
    let gateway = with_admin(&[&both]);
    gateway.wait_for_log("restored the groups");
    assert_same(&from, &gateway);
}

#[test]
fn an_import_is_answered_when_it_is_on_disk_if_pushes_are() {
    let dir = TempDir::new("transfer-durable");
    let state = format!("--persistence.file={}", dir.0.join("state").display());
    let durable = [
        "--persistence.durability=push",
        "--persistence.interval=1h",
        &state,
    ];
    let from = with_admin(&[]);
    push_everything(from.address, 10, true);
    let mut to = with_admin(&durable);
    to.wait_for_log("restored the groups");
    succeed(&["import", "--from-url", &from.url(), "--to-url", &to.url()]);
    to.signal(rustix::process::Signal::KILL);
    to.wait();
    let again = with_admin(&durable);
    again.wait_for_log("restored the groups");
    assert_same(&from, &again);
}

#[test]
fn groups_that_contradict_those_of_the_gateway_are_left_out_and_listed() {
    let (from, to) = (with_admin(&[]), with_admin(&[]));
    from.put("/metrics/job/a", "# TYPE up_now gauge\nup_now 1\nother 1\n");
    to.put("/metrics/job/b", "# TYPE up_now counter\nup_now 1\n");
    let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
        .args(["import", "--from-url", &from.url(), "--to-url", &to.url()])
        .output()
        .unwrap();
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{warnings}");
    assert!(
        warnings.contains("left out up_now of {job=\"a\"}"),
        "{warnings}"
    );
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(
        line.contains("1 families of other groups left out"),
        "{line}"
    );
    assert_eq!(to.lines("other").len(), 1);
}

#[test]
fn an_import_is_all_or_nothing_and_behind_the_admin_api() {
    let gateway = with_admin(&[]);
    let post = |headers: &[(&str, &str)], body: &[u8]| {
        let path = "/api/v1/admin/import";
        request(gateway.address, "POST", path, headers, body).status_and_text()
    };
    gateway.put("/metrics/job/a", "x 1\n");
    let dir = TempDir::new("transfer-post");
    let file = dir.0.join("file");
    succeed(&[
        "export",
        "--from-url",
        &gateway.url(),
        "--output",
        file.to_str().unwrap(),
    ]);
    let body = std::fs::read(file).unwrap();
    gateway.delete("/metrics/job/a");
    let (status, text) = post(&[OCTET_STREAM], &body[..body.len() - 1]);
    assert_eq!(status, 400);
    assert!(
        text.starts_with("the body is not a file of the reference: at byte "),
        "{text}"
    );
    assert_eq!(post(&[OCTET_STREAM], b"").0, 400);
    assert_eq!(post(&[], &body).0, 415);
    assert_eq!(post(&[("Content-Type", "text/plain")], &body).0, 415);
    let get = request(gateway.address, "GET", "/api/v1/admin/import", &[], b"");
    assert_eq!(get.status, 405);
    assert!(gateway.lines("x").is_empty());
    assert_eq!(
        post(&[OCTET_STREAM], &body),
        (
            200,
            r#"{"status":"success","data":{"restored":1,"outdated":0,"left_out_groups":0,"left_out_families":0,"left_out":[]}}"#.to_owned()
        )
    );
    assert_eq!(gateway.lines("x").len(), 1);
    let small = Gateway::with_flags(&["--web.enable-admin-api", "--limit.body-bytes=100"]);
    let path = "/api/v1/admin/import";
    let refused = request(small.address, "POST", path, &[OCTET_STREAM], &body);
    assert_eq!(refused.status, 413);
    let without = Gateway::start();
    let refused = request(without.address, "POST", path, &[OCTET_STREAM], &body);
    assert_eq!(refused.status, 404);
}

#[test]
fn a_command_that_fails_says_why_on_one_line() {
    let gateway = Gateway::start();
    let url = gateway.url();
    let dir = TempDir::new("transfer-errors");
    let garbage = dir.0.join("garbage");
    std::fs::write(&garbage, "garbage").unwrap();
    let garbage = garbage.to_str().unwrap();
    for (arguments, text) in [
        (
            &["import", "--from-url", &url, "--to-url", &url][..],
            "--web.enable-admin-api",
        ),
        (
            &[
                "import",
                "--from-url",
                "http://127.0.0.1:1",
                "--to-url",
                &url,
            ],
            "127.0.0.1:1/api/v1/metrics: ",
        ),
        (
            &["import", "--from-url", "127.0.0.1:1", "--to-url", &url],
            "--from-url: ",
        ),
        (
            &["import", "--from-file", "/no/such/file", "--to-url", &url],
            "/no/such/file",
        ),
        (
            &["import", "--from-file", garbage, "--to-url", &url],
            "at byte ",
        ),
        (&["import", "--from-url", &url], "--to-url"),
        (
            &[
                "export",
                "--from-url",
                &format!("{url}/prefix"),
                "--output",
                "/x",
            ],
            "404",
        ),
        (
            &[
                "export",
                "--from-url",
                &url,
                "--output",
                "/no/such/directory/x",
            ],
            "/no/such/directory/x",
        ),
        (
            &[
                "export",
                "--from-url",
                &url,
                "--from-header",
                "x",
                "--output",
                "/x",
            ],
            "no header",
        ),
        (&["serve"], "'serve'"),
    ] {
        let line = fail(arguments);
        assert!(line.contains(text), "{arguments:?}: {line}");
    }
}

#[test]
fn help_of_a_command_has_examples() {
    for command in ["import", "export"] {
        let help = succeed(&[command, "--help"]);
        assert!(
            help.contains("Examples:")
                && help.contains(&format!("pushgateway {command} --from-url="))
        );
    }
    assert!(succeed(&["--help"]).contains("pushgateway import"));
}
