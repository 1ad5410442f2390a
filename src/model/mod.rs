//! Values: names, label sets, grouping keys and metric families. They know neither where a push
//! came from nor where it is kept.
//!
//! | file                  | what it is about                                                     |
//! |-----------------------|----------------------------------------------------------------------|
//! | `label_set.rs`        | a sorted set of labels, in one string                                |
//! | `grouping_key.rs`     | the labels that identify a group, literal and canonical              |
//! | `name_scheme.rs`      | which names are allowed, and how they are escaped                    |
//! | `metric_type.rs`      | types of families, flags of metrics                                  |
//! | `skeleton.rs`         | families without their numbers: names, types, helps, labels, bounds  |
//! | `families.rs`         | a parsed push: a skeleton and its numbers                            |
//! | `families_builder.rs` | builds families, metric by metric                                    |
//! | `body_form.rs`        | the bytes of a body between its numbers                              |
//! | `exposed_labels.rs`   | labels and order of the series that a group exposes                  |
//! | `short_text.rs`       | cuts texts that quote what a client sent                             |

mod body_form;
mod exposed_labels;
mod families;
mod families_builder;
mod grouping_key;
mod label_set;
mod metric_type;
mod name_scheme;
mod short_text;
mod skeleton;

pub use body_form::BodyForm;
pub(crate) use body_form::NumberKind;
pub(crate) use exposed_labels::{exposed_labels, exposed_order};
pub(crate) use families::extras_of;
pub use families::{BrokenRule, Families, MetricExtra};
pub use families_builder::{FamiliesBuilder, TooLarge};
pub use grouping_key::{GroupingKey, InvalidKey};
pub use label_set::{EncodedLabels, LabelSet};
pub use metric_type::{MetricFlags, MetricType};
pub use name_scheme::{Escaping, NameScheme};
pub(crate) use name_scheme::{
    escape_label_name, escape_name, is_legacy_label_name, is_legacy_metric_name, unescape_name,
};
pub(crate) use short_text::{SHOWN_BYTES_MAX, ShortText};
pub use skeleton::{Family, Metric, Skeleton};
