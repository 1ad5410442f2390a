//! Workloads: what is pushed, to how many groups, and in which form.
//!
//! The numbers of pushes are made by [`values`](crate::values).

use crate::values::ValueKind;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// The format of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The Prometheus text format.
    Text,
    /// Delimited protobuf.
    Protobuf,
}

/// The compression of bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// No compression.
    Identity,
    /// gzip.
    Gzip,
    /// snappy in its framing format.
    Snappy,
}

/// Which kind of load is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum WorkloadKind {
    /// Each job has its own group and pushes 12 lines.
    Fleet,
    /// Each push has 1,000 metric families.
    Big,
    /// Every push creates a group, and the next request deletes it.
    Churn,
    /// Like churn, in eight jobs whose groups have two different sets of grouping labels.
    Mixed,
    /// All connections push to the same eight groups.
    Hot,
    /// Like fleet, but every tenth push contradicts the type of a family and has to be refused.
    Clash,
    /// Every group pushes once, all at the same instant and each over a new connection, as when the
    /// cron jobs of a fleet end on the minute.
    Herd,
}

/// A workload. Can be read from a TOML file (`--workload-file`).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The kind of load.
    pub kind: WorkloadKind,
    /// Number of groups.
    #[serde(default = "default_groups")]
    pub groups: u32,
    /// Percentage of the pushes that are POSTs; the others are PUTs.
    #[serde(default)]
    pub add_percent: u8,
    /// Format of bodies.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Compression of bodies.
    #[serde(default = "default_encoding")]
    pub encoding: Encoding,
    /// Lines with a value in each push, at least 12.
    #[serde(default = "default_lines")]
    pub lines: u32,
    /// How the values of different groups and pushes relate to each other.
    #[serde(default)]
    pub values: ValueKind,
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

/// Lines of a fleet push. Their values are compared with what scrapes show.
pub const N_FLEET_LINES: usize = 12;
/// Groups of the workload `hot`, shared by all connections.
const N_HOT_GROUPS: u32 = 8;
/// Jobs of the workload `mixed`.
pub const N_MIXED_JOBS: u32 = 8;
/// In the workload `clash`, one of this many pushes has to be refused.
const CLASH_EVERY: u64 = 10;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A push that must be accepted.
    Push,
    /// A push that must be refused.
    Clash,
    /// Deletes a group.
    Delete,
}

impl Action {
    /// Whether a server that works answers the request with this status.
    pub fn expects(self, status: u16) -> bool {
        match self {
            Self::Push | Self::Delete => status / 100 == 2,
            Self::Clash => status / 100 == 4,
        }
    }
}

/// One request of a workload.
#[derive(Clone, Copy, Debug)]
pub struct RequestSpec {
    /// What the request does.
    pub action: Action,
    /// The number of the group, from 0.
    pub group: u32,
    /// The sequence number of the push within its group, from 1.
    pub seq: u64,
}

impl Workload {
    /// A fleet of this many groups that pushes uncompressed text.
    pub fn fleet(groups: u32) -> Self {
        Self {
            kind: WorkloadKind::Fleet,
            groups,
            add_percent: 0,
            format: default_format(),
            encoding: default_encoding(),
            lines: default_lines(),
            values: ValueKind::default(),
        }
    }

    /// Number of groups that are pushed to.
    pub fn n_groups(&self) -> u32 {
        if self.kind == WorkloadKind::Hot {
            self.groups.min(N_HOT_GROUPS)
        } else {
            self.groups
        }
    }

    /// Whether several connections push to the same group at the same time.
    pub fn has_shared_groups(&self) -> bool {
        self.kind == WorkloadKind::Hot
    }

    /// Whether all groups are created before the measurement. Otherwise the measured pushes create
    /// them.
    pub fn is_preloaded(&self) -> bool {
        !matches!(
            self.kind,
            WorkloadKind::Churn | WorkloadKind::Mixed | WorkloadKind::Herd
        )
    }

    /// What request number `n` of a connection does; numbers start at 0.
    pub fn action(&self, n: u64) -> Action {
        match self.kind {
            WorkloadKind::Clash if n % CLASH_EVERY == CLASH_EVERY - 1 => Action::Clash,
            WorkloadKind::Churn | WorkloadKind::Mixed if n % 2 == 1 => Action::Delete,
            _ => Action::Push,
        }
    }
}
