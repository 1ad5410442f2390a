//! The labels and the order of the series that a group exposes.

use super::label_set::LabelSet;
use super::skeleton::{Family, Metric};
use smallvec::SmallVec;

/// The labels of an exposed series, sorted by name.
pub(crate) type ExposedLabels<'a> = SmallVec<[(&'a str, &'a str); 8]>;

/// The labels that a metric with its own labels `own` exposes in a group with the grouping key
/// `key`.
///
/// A label of the key replaces an own label of the same name. `instance=""` is added if neither has
/// an `instance`. `own` must be sorted by name; a name that is repeated in `own` stays repeated.
pub(crate) fn exposed_labels<'a>(
    own: impl Iterator<Item = (&'a str, &'a str)>,
    key: &'a LabelSet,
) -> ExposedLabels<'a> {
    let mut labels: ExposedLabels<'a> = own.filter(|&(name, _)| key.get(name).is_none()).collect();
    labels.extend(key.iter());
    if !labels.iter().any(|&(name, _)| name == "instance") {
        labels.push(("instance", ""));
    }
    labels.sort_by_key(|&(name, _)| name);
    labels
}

/// The metrics of a family in the order in which a group exposes them. As in the reference, metrics
/// with fewer labels come first, and metrics with equally many labels are sorted by their values.
///
/// `key_names` are the sorted label names of the grouping key. These labels have the same values in
/// all metrics, so they are left out: the order is the same in all groups with these label names.
pub(crate) fn exposed_order<'a>(family: Family<'a>, key_names: &[&str]) -> Vec<Metric<'a>> {
    let values = |metric: Metric<'a>| {
        let own = metric
            .labels()
            .filter(|(name, _)| key_names.binary_search(name).is_err());
        own.map(|(_, value)| value).collect::<SmallVec<[&str; 4]>>()
    };
    let mut metrics: Vec<_> = family
        .metrics()
        .map(|metric| (values(metric), metric))
        .collect();
    metrics.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    metrics.into_iter().map(|(_, metric)| metric).collect()
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    #[test]
    fn labels_of_the_key_replace_own_labels() {
        let key = LabelSet::new([("job", "j"), ("l", "key")]);
        let own = [("a", "1"), ("l", "own"), ("z", "2")];
        assert_eq!(
            exposed_labels(own.into_iter(), &key).to_vec(),
            [
                ("a", "1"),
                ("instance", ""),
                ("job", "j"),
                ("l", "key"),
                ("z", "2")
            ]
        );
        assert_eq!(
            exposed_labels([("instance", "i")].into_iter(), &key)[0],
            ("instance", "i")
        );
    }
}
