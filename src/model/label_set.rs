//! A sorted set of label names and values in one run of text.
//!
//! Invariant: names are unique and in ascending byte order.

use super::{Family, Metric};
use smallvec::SmallVec;

/// Labels sorted by name, each name once. Values may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LabelSet {
    /// name, value, name, value, … without separators.
    text: String,
    /// Where each name and each value ends in `text`.
    ends: SmallVec<[u32; 8]>,
}

impl LabelSet {
    /// Sorts `labels` by name; of a repeated name the last value wins, as in the URL of a push.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sorted: SmallVec<[(&str, &str); 8]> = labels.into_iter().collect();
        // Stable, so that of equal names the last one given stays last.
        sorted.sort_by_key(|&(name, _)| name);
        let n_bytes = sorted.iter().map(|(name, value)| name.len() + value.len()).sum();
        let mut set = Self { text: String::with_capacity(n_bytes), ends: SmallVec::new() };
        for (i, &(name, value)) in sorted.iter().enumerate() {
            if sorted.get(i + 1).is_some_and(|&(next, _)| next == name) {
                continue;
            }
            for part in [name, value] {
                set.text.push_str(part);
                set.ends.push(u32::try_from(set.text.len()).expect("a label set is far below 4 GiB"));
            }
        }
        set
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut start = 0;
        self.ends.as_chunks::<2>().0.iter().map(move |&[name_end, value_end]| {
            let pair = (&self.text[start..name_end as usize], &self.text[name_end as usize..value_end as usize]);
            start = value_end as usize;
            pair
        })
    }

    /// The value of the label called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }
}

/// Labels of a series as they are exposed, sorted by name.
pub type ExposedLabels<'a> = SmallVec<[(&'a str, &'a str); 8]>;

/// What a metric with the labels `own` (sorted by name) exposes in the group `key`: the key's labels are written over its own, and an
/// `instance=""` is added where neither has one. Names that `own` holds twice stay twice.
pub fn exposed_labels<'a>(own: impl Iterator<Item = (&'a str, &'a str)>, key: &'a LabelSet) -> ExposedLabels<'a> {
    let mut labels: ExposedLabels<'a> = own.filter(|&(name, _)| key.get(name).is_none()).collect();
    labels.extend(key.iter());
    if !labels.iter().any(|&(name, _)| name == "instance") {
        labels.push(("instance", ""));
    }
    labels.sort_by_key(|&(name, _)| name);
    labels
}

/// The metrics of a family in the order in which they are exposed: fewer labels first, then by the values of the labels, as the
/// reference sorts them. `key_names` are the sorted names of a grouping key, whose values count as empty here: the order is that of
/// every group with such a key.
pub fn exposed_order<'a>(family: Family<'a>, key_names: &[&str]) -> Vec<Metric<'a>> {
    let values = |metric: Metric<'a>| {
        let own = metric.labels().filter(|(name, _)| key_names.binary_search(name).is_err());
        own.map(|(_, value)| value).collect::<SmallVec<[&str; 4]>>()
    };
    let mut metrics: Vec<_> = family.metrics().map(|metric| (values(metric), metric)).collect();
    metrics.sort_by(|(a, _), (b, _)| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
    metrics.into_iter().map(|(_, metric)| metric).collect()
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_wins() {
        let set = LabelSet::new([("job", "a"), ("b", "1"), ("job", "c"), ("a", "")]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [("a", ""), ("b", "1"), ("job", "c")]);
        assert_eq!(set.get("job"), Some("c"));
        assert_eq!(set.get("x"), None);
    }

    #[test]
    fn the_key_is_written_over_own_labels() {
        let key = LabelSet::new([("job", "j"), ("l", "key")]);
        let own = [("a", "1"), ("l", "own"), ("z", "2")];
        assert_eq!(
            exposed_labels(own.into_iter(), &key).to_vec(),
            [("a", "1"), ("instance", ""), ("job", "j"), ("l", "key"), ("z", "2")]
        );
        assert_eq!(exposed_labels([("instance", "i")].into_iter(), &key)[0], ("instance", "i"));
    }

    /// `{a="bc"}` and `{ab="c"}` are the same text.
    #[test]
    fn sets_with_the_same_text_are_told_apart() {
        assert_ne!(LabelSet::new([("a", "bc")]), LabelSet::new([("ab", "c")]));
    }
}
