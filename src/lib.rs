//! A drop-in replacement for the Prometheus Pushgateway.
//!
//! Modules in reading order, each using only those above it unless the map in `README.md` says
//! otherwise:
//!
//! | module       | what it holds                                                                 |
//! |--------------|-------------------------------------------------------------------------------|
//! | `sync`       | the seam between the lock-free protocols and the primitives they stand on      |
//! | `model`      | values: names, label sets, grouping keys, metric families                      |
//! | `exposition` | bytes to families and back: the text format, delimited protobuf                |
//! | `store`      | pushes become groups: admission, slots, snapshots                              |
//! | `scrape`     | many snapshots become one exposition: rounds, pages, gzip                      |
//! | `telemetry`  | the gateway's own families and its log                                         |
//! | `ui`         | the status page                                                                |
//! | `http`       | what a client sees                                                             |
//! | `cli`        | flags                                                                          |
//!
//! What always holds:
//!
//! - `model`, `exposition`, `store` and `scrape` do no I/O, never await and never read the clock:
//!   bytes and times are arguments.
//! - A published snapshot is never written again. Readers never wait for writers.
//! - Status codes are chosen in `http` alone.

pub mod cli;
pub mod exposition;
pub mod gateway;
pub mod http;
pub mod model;
pub mod scrape;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod ui;
