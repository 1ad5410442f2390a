//! What a store is made with.

use super::consumer::Consumer;
use crate::model::MetricType;

/// What a store is made with.
#[derive(Clone, Debug)]
pub struct Config {
    /// How many different sets of grouping label names the groups of one job may have.
    pub shapes_per_job_max: usize,
    /// How many bytes of text a group may be exposed with, before names and label values are
    /// escaped; at most 256 MiB. Escaping makes up to ten times as many, and `scrape` addresses
    /// them with 32 bits.
    pub exposition_bytes_max: u64,
    /// The families that the gateway exposes about itself. No push may expose these names in
    /// another role: with another type, or as a suffix.
    pub own_families: Vec<(String, MetricType)>,
    /// The consumers that follow the state of all groups: at least one, none twice. Each of them
    /// has to take what is marked for it and to pass the tombstones, or else memory grows.
    pub consumers: Vec<Consumer>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            shapes_per_job_max: 64,
            exposition_bytes_max: 64 << 20,
            own_families: Vec::new(),
            consumers: vec![Consumer::Assembler],
        }
    }
}
