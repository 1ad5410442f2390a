//! Copies groups between gateways and files: `pushgateway import` and `pushgateway export`.
//!
//! Groups travel as [`ReferenceGroup`]s, as the reference's file has them, wherever they come from and
//! go to: nothing that was pushed is lost, times included.
//!
//! | file                | subject                                                                 |
//! |---------------------|-------------------------------------------------------------------------|
//! | `mod.rs`            | from where to where                                                     |
//! | `running_gateway.rs`| the groups of a running gateway or reference                            |
//! | `listed_groups.rs`  | the groups as its query API lists them                                  |
//! | `assembly.rs`       | the series of its exposition, assigned to the groups that are listed    |
//! | `plain_values.rs`   | values as the query API shows them, where the exposition cannot be read |
//! | `receiver.rs`       | sending groups to a running gateway                                     |
//! | `client.rs`         | HTTP                                                                    |
//! | `output_file.rs`    | writing a file that is complete or not there                            |
//! | `progress.rs`       | what the operator sees meanwhile                                        |

mod assembly;
mod client;
mod listed_groups;
mod output_file;
mod plain_values;
mod progress;
mod receiver;
mod running_gateway;

pub use client::Address;

use crate::gateway::{ImportSummary, LeftOut};
use crate::persistence::StateFile;
use crate::persistence::reference_file::{self, ReferenceGroup};
use client::Client;
use progress::Progress;
use std::fmt;
use std::path::PathBuf;

/// Where groups come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A running gateway or reference.
    Running {
        /// Where it is.
        address: Address,
        /// The path of its exposition, below that of the address.
        telemetry_path: String,
    },
    /// The file of the reference.
    ReferenceFile(PathBuf),
    /// The state of a stopped gateway, by the value of its flag `--persistence.file`.
    State(PathBuf),
}

/// Where groups go to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A running gateway.
    Running(Address),
    /// The state of a stopped gateway, by the value of its flag `--persistence.file`.
    State(PathBuf),
    /// A file that the reference loads.
    ReferenceFile {
        /// The file.
        path: PathBuf,
        /// Whether a file that exists is replaced.
        may_replace: bool,
    },
}

/// Copies the groups. Returns what was done, as one line for the operator.
///
/// # Errors
///
/// The groups were not copied, or only some of them: one line for the operator.
pub fn copy(source: &Source, target: &Target) -> Result<String, String> {
    if let Target::ReferenceFile { path, may_replace } = target {
        // Before groups are read, which may take a while.
        output_file::check(path, *may_replace)?;
    }
    let groups = read(source)?;
    let n_groups = groups.len();
    match target {
        Target::ReferenceFile { path, may_replace } => {
            output_file::write(path, &reference_file::encode(&groups), *may_replace)?;
            Ok(format!(
                "exported {n_groups} groups from {source} to {target}"
            ))
        }
        Target::Running(address) => {
            let summary = receiver::send(&Client::new(address), groups)?;
            Ok(imported(&summary, source, target))
        }
        Target::State(file) => {
            let mut state = StateFile::open(file).map_err(|error| error.to_string())?;
            let imported_file = match source {
                Source::ReferenceFile(path) if is_same_file(path, file) => Some(path.as_path()),
                _ => None,
            };
            let summary = state.import(&groups, imported_file)?;
            if !state.knows_reference_file() {
                progress::warn(&format!(
                    "{} was not imported: start the gateway with --persistence.import=never, or move that file away",
                    file.display()
                ));
            }
            state.close()?;
            Ok(imported(&summary, source, target))
        }
    }
}

fn read(source: &Source) -> Result<Vec<ReferenceGroup>, String> {
    match source {
        Source::Running {
            address,
            telemetry_path,
        } => running_gateway::read(&Client::new(address), telemetry_path),
        Source::ReferenceFile(path) => {
            let progress = Progress::spinner(&format!("reading {}", path.display()));
            let content = std::fs::read(path)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let groups = reference_file::decode(&content)
                .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            progress.finish();
            Ok(groups)
        }
        Source::State(file) => {
            let state = StateFile::open_existing(file).map_err(|error| error.to_string())?;
            let groups = state.groups();
            state.close()?;
            Ok(groups)
        }
    }
}

fn is_same_file(a: &std::path::Path, b: &std::path::Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Prints what was left out. Returns the line about what was imported.
fn imported(summary: &ImportSummary, source: &Source, target: &Target) -> String {
    for LeftOut {
        group,
        family,
        reason,
    } in &summary.left_out
    {
        match family {
            Some(family) => progress::warn(&format!("left out {family} of {group}: {reason}")),
            None => progress::warn(&format!("left out {group}: {reason}")),
        }
    }
    let mut line = format!(
        "imported {} groups from {source} into {target}",
        summary.n_groups
    );
    for (n, what) in [
        (summary.n_outdated, "groups that are not newer there"),
        (summary.n_left_out_groups, "groups left out"),
        (
            summary.n_left_out_families,
            "families of other groups left out",
        ),
    ] {
        if n > 0 {
            line += &format!(", {n} {what}");
        }
    }
    line
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running { address, .. } => address.fmt(f),
            Self::ReferenceFile(path) => path.display().fmt(f),
            Self::State(file) => write!(f, "{}.db", file.display()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Running(address) => address.fmt(f),
            Self::ReferenceFile { path, .. } => path.display().fmt(f),
            Self::State(file) => write!(f, "{}.db", file.display()),
        }
    }
}
