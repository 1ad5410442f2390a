//! Values: names, label sets, grouping keys and metric families. They know neither where a push
//! came from nor where it is kept.

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
