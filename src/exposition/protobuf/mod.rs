//! `io.prometheus.client.MetricFamily` messages, each behind its length: what client_golang and
//! client_java push, and what Prometheus can scrape.
//!
//! The messages are read and written here field by field, without a tree of objects in between.
//! Field numbers:
//!
//! ```text
//! MetricFamily  1 name  2 help  3 type  4 metric*
//! Metric        1 label* {1 name 2 value}  2 gauge  3 counter  4 summary  5 untyped  6 timestamp_ms  7 histogram
//! gauge, untyped {1 value}           counter {1 value, 2 exemplar, 3 created_timestamp}
//! summary   {1 sample_count, 2 sample_sum, 3 quantile* {1 quantile, 2 value}, 4 created_timestamp}
//! histogram {1 sample_count, 4 sample_count_float, 2 sample_sum,
//!            3 bucket* {1 cumulative_count, 4 cumulative_count_float, 2 upper_bound, 3 exemplar}, 5… native}
//! ```

mod native;
mod parse;
mod to_text;
mod wire;
mod write;

pub use native::{NativeBucket, native_buckets};
pub use parse::{ParseError, parse, parse_within};
pub use to_text::to_text;
pub use write::{FamilyTemplate, KeyFields, write_header};
