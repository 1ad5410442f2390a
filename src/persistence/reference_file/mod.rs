//! The file in which the reference (the Prometheus Pushgateway 1.x) keeps its groups, for moving from
//! the reference and back. Nothing here does I/O: bytes in, values out.
//!
//! The file is one Go value, written by Go's package `encoding/gob`:
//!
//! ```text
//! file    = { message } message      first the definitions of types, then one value
//! message = length type-id content   type-id < 0: the definition of the type -type-id; else a value of this type
//! value   = map from key to group    a value that is no struct begins with a zero byte
//! group   = struct { Labels: map from name to value, Metrics: map from name to family }
//! family  = struct { Timestamp: time.Time, GobbableMetricFamily: an encoded io.prometheus.client.MetricFamily }
//! key     = label { 0xFF label }     label: name 0xFF value; sorted by name
//!
//! uint    = a byte below 0x80 | a byte 256 - n and n big-endian bytes, n ≤ 8
//! int     = uint, with the sign in the lowest bit: 0, -1, 1, -2, … are 0, 1, 2, 3, …
//! string  = length bytes             length: a uint; time.Time and an encoded family are written like this
//! struct  = { step value } 0         step: a uint, how many fields further; zero values are left out
//! map     = n { key value }          n: a uint
//! slice   = n { element }
//! ```
//!
//! Files are damaged, or written by other programs: every length is checked against what remains, no
//! memory is reserved because a count says so, and types nest to a fixed depth. The numbers of types and
//! the order of fields depend on the version of Go, so types are found by what they are, and fields by
//! their names. Unknown fields are skipped.
//!
//! | file          | what it is about                                                   |
//! |---------------|--------------------------------------------------------------------|
//! | `gob_reader`  | reading: numbers, strings, the steps of structs                    |
//! | `gob_types`   | reading: the definitions of types; values that are skipped         |
//! | `decode`      | reading: from the file's bytes to [`ReferenceGroup`]s              |
//! | `encode`      | writing: from [`ReferenceGroup`]s to the bytes of a file           |
//! | `go_time`     | points in time as Go encodes them                                  |
//! | `group`       | [`ReferenceGroup`]: a group as the file has it                     |
//! | `import`      | from [`ReferenceGroup`] to the values of this gateway               |
//! | `export`      | from the values of this gateway to [`ReferenceGroup`]               |
//! | `push_times`  | the times of pushes, which are gauges in the reference's groups    |

mod decode;
mod encode;
mod export;
mod go_time;
mod gob_reader;
mod gob_types;
mod group;
mod import;
mod push_times;
#[cfg(test)]
mod tests;

pub use decode::decode;
pub use encode::encode;
pub use export::{ExportedGroup, export};
pub use go_time::{GoTime, TimeDefect};
pub use gob_reader::{DecodeError, GobDefect};
pub use group::{ReferenceFamily, ReferenceGroup};
pub use import::{ImportedGroup, LeftOutFamily, LeftOutReason, UnusableGroup, import};
pub use push_times::PushTimes;
