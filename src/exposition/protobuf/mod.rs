//! Delimited protobuf: `io.prometheus.client.MetricFamily` messages, each with its length in front.
//! client_golang and client_java push this format, and Prometheus can scrape it.
//!
//! The messages are read and written field by field, without objects in between. The field numbers
//! are these; `*` marks repeated fields:
//!
//! ```text
//! MetricFamily  1 name  2 help  3 type  4 metric*
//! Metric        1 label* {1 name 2 value}  2 gauge  3 counter  4 summary  5 untyped  6 timestamp_ms  7 histogram
//! gauge, untyped {1 value}           counter {1 value, 2 exemplar, 3 created_timestamp}
//! summary   {1 sample_count, 2 sample_sum, 3 quantile* {1 quantile, 2 value}, 4 created_timestamp}
//! histogram {1 sample_count, 4 sample_count_float, 2 sample_sum,
//!            3 bucket* {1 cumulative_count, 4 cumulative_count_float, 2 upper_bound, 3 exemplar}, 5… native}
//! ```
//!
//! | file                     | subject                                                          |
//! |--------------------------|------------------------------------------------------------------|
//! | `parse`                  | bodies to families: the way in                                   |
//! | `message`                | reading: a body's messages, and the header of each               |
//! | `metric`                 | reading: one metric, with its labels                             |
//! | `metric_value`           | reading: the value of a metric                                   |
//! | `native_histogram`       | reading: the buckets of a native histogram, for the query API    |
//! | `value_fields`           | refusing: values with fields that Prometheus cannot read         |
//! | `native_histogram_check` | refusing: native histograms that Prometheus cannot read          |
//! | `series_budget`          | counts what is read, and stops at the limit                      |
//! | `wire`                   | fields, tags and varints                                         |
//! | `write`                  | families to messages                                             |
//! | `raw_family`             | messages taken apart and put together, values unread             |
//! | `to_text`                | messages to protobuf's text form, for people                     |
//! | `error`                  | why a body is refused                                            |

mod error;
mod field_names;
mod message;
mod metric;
mod metric_value;
mod native_histogram;
mod native_histogram_check;
mod parse;
mod raw_family;
mod series_budget;
mod to_text;
mod value_fields;
mod wire;
mod write;

pub use error::ParseError;
pub(crate) use native_histogram::{NativeBucket, native_buckets};
pub use parse::parse;
pub(crate) use parse::parse_within;
pub(crate) use raw_family::{PlainValue, RawFamily, RawMetric, raw_families};
pub(crate) use to_text::TextFormWriter;
pub use write::{FamilyTemplate, KeyFields, write_header};
pub(crate) use write::{write_delimited, write_family_fields};
