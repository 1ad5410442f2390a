//! A drop-in replacement for the Prometheus Pushgateway.
//!
//! Modules in reading order; `tests/tidy.rs` lists which of them each one may use:
//!
//! | module        | what it does                                                              |
//! |---------------|---------------------------------------------------------------------------|
//! | `sync`        | primitives of the protocols between threads, and stand-ins for loom       |
//! | `model`       | values: names, label sets, grouping keys, metric families                 |
//! | `exposition`  | from bytes to families and back: the text format, delimited protobuf      |
//! | `store`       | from pushes to groups: admission, slots, snapshots                        |
//! | `scrape`      | from the groups to one exposition: rounds, pages, gzip                    |
//! | `telemetry`   | the gateway's own metric families, and its log                            |
//! | `gateway`     | from the content of a request to an outcome, without HTTP                 |
//! | `persistence` | the state on disk, and the file of the reference                          |
//! | `transfer`    | groups from gateway to gateway, for the commands `import` and `export`    |
//! | `ui`          | the status page                                                           |
//! | `http`        | what a client sees: paths, headers, bodies, status codes                  |
//! | `cli`         | the command line                                                          |
//!
//! What always holds:
//!
//! - `model`, `exposition`, `store` and `scrape` do no I/O, never await and never read the clock:
//!   bytes and times are arguments.
//! - `gateway` knows no HTTP. Status codes are chosen in `http` alone.
//! - A published snapshot never changes. Readers never wait for writers.
//! - No push takes a lock of the gateway's own, and none waits for I/O, for a scrape or for another
//!   client. crossbeam's queue and papaya's map, which a push uses, may wait for a step of another
//!   thread. A scrape that waits for a round sleeps.
//!
//! A push goes through `http::push`, `gateway::ingest`, `exposition::text` or
//! `exposition::protobuf`, and `store`. A scrape goes through `http::scrape`, `gateway::driver` and
//! `scrape`.

pub mod cli;
pub mod exposition;
pub mod gateway;
pub mod http;
pub mod model;
pub mod persistence;
pub mod scrape;
pub mod store;
pub mod sync;
pub mod telemetry;
pub mod transfer;
mod ui;
