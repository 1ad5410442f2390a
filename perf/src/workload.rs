//! What is pushed: the fleets that gateways are run for.
//!
//! Every number of a push follows from its group and its sequence number, which is one of the
//! numbers. So whoever reads a scrape can say which push of a group it shows, and whether it shows
//! all of it. Values differ between groups and from push to push: text whose values are all alike
//! compresses far better than any real one.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What a push looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The text format.
    Text,
    /// Delimited protobuf.
    Protobuf,
}

/// How a push is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// snappy's framing format.
    Snappy,
}

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// Many jobs, each with a group of its own and 12 lines.
    Fleet,
    /// Pushes of 1,000 families.
    Big,
    /// Every push makes a group; the one before it is deleted.
    Churn,
    /// The same in eight jobs whose groups have two different sets of grouping labels.
    Mixed,
    /// Everybody pushes to a handful of groups.
    Hot,
    /// A fleet of which every tenth push contradicts the others.
    Clash,
}

/// What is pushed, by whom and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its kind.
    pub kind: WorkloadKind,
    /// Groups of the fleet.
    #[serde(default = "default_groups")]
    pub groups: u32,
    /// Of a hundred pushes so many are POSTs.
    #[serde(default)]
    pub add_percent: u8,
    /// Text or protobuf.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Compression.
    #[serde(default = "default_encoding")]
    pub encoding: Encoding,
    /// Lines with a number that a push has, at least 12.
    #[serde(default = "default_lines")]
    pub lines: u32,
}

fn default_groups() -> u32 {
    1000
}

fn default_format() -> Format {
    Format::Text
}

fn default_encoding() -> Encoding {
    Encoding::Identity
}

fn default_lines() -> u32 {
    N_FLEET_LINES as u32
}

/// Samples of a push of the fleet that are compared with what scrapes show.
pub const N_FLEET_LINES: usize = 12;
/// Groups that everybody pushes to in `hot`.
const N_HOT_GROUPS: u32 = 8;
/// Jobs of `mixed`.
pub const N_MIXED_JOBS: u32 = 8;
/// Every so many-th push of `clash` contradicts.
const CLASH_EVERY: u64 = 10;

/// What a push asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A push that has to be accepted.
    Push,
    /// A push that has to be refused.
    Clash,
    /// A delete.
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpec {
    /// What it asks for.
    pub action: Action,
    /// Of which group.
    pub group: u32,
    /// Which push of that group.
    pub seq: u64,
}

impl Workload {
    /// A fleet of so many groups that pushes plain text.
    pub fn fleet(groups: u32) -> Self {
        Self {
            kind: WorkloadKind::Fleet,
            groups,
            add_percent: 0,
            format: default_format(),
            encoding: default_encoding(),
            lines: default_lines(),
        }
    }

    /// How many groups are written to.
    pub fn n_groups(&self) -> u32 {
        if self.kind == WorkloadKind::Hot {
            self.groups.min(N_HOT_GROUPS)
        } else {
            self.groups
        }
    }

    /// Whether several connections push to one group at the same time.
    pub fn has_shared_groups(&self) -> bool {
        self.kind == WorkloadKind::Hot
    }

    /// Whether groups go again.
    pub fn deletes_groups(&self) -> bool {
        matches!(self.kind, WorkloadKind::Churn | WorkloadKind::Mixed)
    }

    /// What the `n`th request of a connection does.
    pub fn action(&self, n: u64) -> Action {
        match self.kind {
            WorkloadKind::Clash if n % CLASH_EVERY == CLASH_EVERY - 1 => Action::Clash,
            WorkloadKind::Churn | WorkloadKind::Mixed if n % 2 == 1 => Action::Delete,
            _ => Action::Push,
        }
    }
}
