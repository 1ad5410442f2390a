//! The labels of a metric in a template, which is made before the group is known.

use crate::model::Metric;

/// Where the value of a label comes from.
#[derive(Clone, Copy)]
pub(super) enum LabelValue<'a> {
    /// The metric's own label, or the added `instance=""`.
    Own(&'a str),
    /// The label with this index in the grouping key.
    Key(u32),
}

/// The names of the labels that `metric` exposes, sorted, each with the source of its value.
///
/// `key_names` are the sorted label names of the grouping key. They replace labels of the same name
/// of the metric. With `add_instance`, `instance=""` is added if neither has an `instance`.
pub(super) fn template_labels<'a>(
    metric: Metric<'a>,
    key_names: &[&'a str],
    add_instance: bool,
) -> Vec<(&'a str, LabelValue<'a>)> {
    let own = metric
        .labels()
        .filter(|(name, _)| key_names.binary_search(name).is_err());
    let mut labels: Vec<_> = own
        .map(|(name, value)| (name, LabelValue::Own(value)))
        .collect();
    let of_key = (0..)
        .zip(key_names)
        .map(|(index, &name)| (name, LabelValue::Key(index)));
    labels.extend(of_key);
    if add_instance && !labels.iter().any(|(name, _)| *name == "instance") {
        labels.push(("instance", LabelValue::Own("")));
    }
    labels.sort_by_key(|&(name, _)| name);
    labels
}
