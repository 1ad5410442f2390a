//! Values: what a push is made of, without where it came from or where it is kept.

mod body_form;
mod grouping_key;
mod label_set;
mod metric_family;
mod name_scheme;
mod short_text;

pub use body_form::{BodyForm, FormNumber, NumberKind};
pub use grouping_key::{GroupingKey, InvalidKey};
pub use label_set::{EncodedLabels, ExposedLabels, LabelSet, exposed_labels, exposed_order};
pub use metric_family::{
    Families, FamiliesBuilder, Family, Invalid, Metric, MetricExtra, MetricFlags, MetricType,
    Skeleton, TooLarge, extras_of,
};
pub use name_scheme::{
    Escaping, NameScheme, escape_label_name, escape_name, is_legacy_label_name,
    is_legacy_metric_name, unescape_name,
};
pub use short_text::{SHOWN_LEN_MAX, ShortText};
