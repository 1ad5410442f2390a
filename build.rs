//! Tells the compiler which revision of the sources is built, for `--version` and
//! `pushgateway_build_info`: `PUSHGATEWAY_REVISION` and `PUSHGATEWAY_BRANCH` of the environment, or
//! else what git or a package of cargo's says. Where nothing says it, both are empty.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let git = git_directory();
    watch(git.as_deref());
    let git = git.as_deref();
    for (name, found) in [
        (
            "PUSHGATEWAY_REVISION",
            revision_of_package().or_else(|| output(git?, &["rev-parse", "HEAD"])),
        ),
        // Empty where no branch is checked out.
        (
            "PUSHGATEWAY_BRANCH",
            git.and_then(|git| output(git, &["branch", "--show-current"])),
        ),
    ] {
        println!("cargo::rerun-if-env-changed={name}");
        let value = std::env::var(name).ok().or(found).unwrap_or_default();
        println!("cargo::rustc-env={name}={value}");
    }
}

/// The directory of this package, if it is the root of a git repository: the revision of a
/// repository that merely contains these sources would say nothing about them.
fn git_directory() -> Option<PathBuf> {
    let directory = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR")?);
    let prefix = output(&directory, &["rev-parse", "--show-prefix"])?;
    prefix.is_empty().then_some(directory)
}

/// Has cargo run this script again when another revision was checked out or committed.
fn watch(git: Option<&Path>) {
    println!("cargo::rerun-if-changed=build.rs");
    let Some(git) = git else { return };
    let branch = output(git, &["rev-parse", "--symbolic-full-name", "HEAD"]);
    let names = ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref());
    for name in names {
        let path = output(git, &["rev-parse", "--git-path", name]).map(|path| git.join(path));
        // A file that does not exist would have cargo run this script every time.
        if let Some(path) = path.filter(|path| path.is_file()) {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

/// What a git command prints; none if git is missing or fails.
fn output(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        // Set while a git hook runs, for the repository of the hook.
        .env_remove("GIT_DIR")
        .arg("-C")
        .arg(directory)
        .args(arguments)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The revision in `.cargo_vcs_info.json`, which `cargo package` adds to a package.
fn revision_of_package() -> Option<String> {
    let text = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    let (_, after) = text.split_once("\"sha1\"")?;
    let revision = after.split('"').nth(1)?;
    let is_hash = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| revision.to_owned())
}
