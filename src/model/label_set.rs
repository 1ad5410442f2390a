//! A sorted set of label names and values in one run of text.
//!
//! ```text
//! set    = { name value }                 in ascending order of names, each name once
//! name   = length text
//! value  = length text
//! length = bytes of the text: six bits a character, the lowest first, with 64 added to all characters but the last
//! ```
//!
//! So a set is valid UTF-8, it is compared and hashed as it lies, and no two sets have the same
//! text.

use super::{Family, Metric};
use smallvec::SmallVec;
use std::cmp::Ordering;

/// Labels sorted by name, each name once. Values may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSet(Box<str>);

/// A [`LabelSet`] that is needed for a look-up only: on the stack, if it is of usual size.
#[derive(Debug)]
pub struct EncodedLabels(SmallVec<[u8; 128]>);

const MORE: usize = 64;

/// Sorts by name; of a repeated name the last value wins, as in the URL of a push. Calls `put` with
/// every name and value.
fn for_each_sorted<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    mut put: impl FnMut(&str),
) {
    let mut sorted: SmallVec<[(&str, &str); 8]> = labels.into_iter().collect();
    if !sorted.is_sorted_by(|a, b| a.0 < b.0) {
        // Stable, so that of equal names the last one given stays last.
        sorted.sort_by_key(|&(name, _)| name);
    }
    for (i, &(name, value)) in sorted.iter().enumerate() {
        if sorted.get(i + 1).is_none_or(|&(next, _)| next != name) {
            put(name);
            put(value);
        }
    }
}

/// Calls `put` with the characters of a length.
fn put_length(mut len: usize, mut put: impl FnMut(u8)) {
    while len >= MORE {
        put((len % MORE + MORE) as u8);
        len /= MORE;
    }
    put(len as u8);
}

impl LabelSet {
    /// Sorts `labels` by name; of a repeated name the last value wins, as in the URL of a push.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::with_capacity(64);
        for_each_sorted(labels, |part| {
            put_length(part.len(), |character| text.push(char::from(character)));
            text.push_str(part);
        });
        Self(text.into())
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no label at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| (take_part(&mut rest), take_part(&mut rest)))
        })
    }

    /// The value of the label called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// The bytes by which it is found: those of [`EncodedLabels`] of the same labels.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

fn take_part<'a>(rest: &mut &'a str) -> &'a str {
    let (mut len, mut shift) = (0, 0);
    let mut characters = rest.bytes();
    let mut n = 0;
    for byte in characters.by_ref() {
        n += 1;
        len |= (usize::from(byte) % MORE) << shift;
        shift += 6;
        if usize::from(byte) < MORE {
            break;
        }
    }
    let (part, after) = rest[n..].split_at(len);
    *rest = after;
    part
}

/// By names and values, label by label.
impl Ord for LabelSet {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl PartialOrd for LabelSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl EncodedLabels {
    /// Those of the [`LabelSet`] of these labels.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut bytes = SmallVec::new();
        for_each_sorted(labels, |part| {
            put_length(part.len(), |character| bytes.push(character));
            bytes.extend_from_slice(part.as_bytes());
        });
        Self(bytes)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Labels of a series as they are exposed, sorted by name.
pub type ExposedLabels<'a> = SmallVec<[(&'a str, &'a str); 8]>;

/// What a metric with the labels `own` (sorted by name) exposes in the group `key`: the key's
/// labels are written over its own, and an `instance=""` is added where neither has one. Names that
/// `own` holds twice stay twice.
pub fn exposed_labels<'a>(
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

/// The metrics of a family in the order in which they are exposed: fewer labels first, then by the
/// values of the labels, as the reference sorts them. `key_names` are the sorted names of a
/// grouping key, whose values count as empty here: the order is that of every group with such a
/// key.
pub fn exposed_order<'a>(family: Family<'a>, key_names: &[&str]) -> Vec<Metric<'a>> {
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
    fn labels_are_sorted_and_the_last_of_a_name_wins() {
        let set = LabelSet::new([("job", "a"), ("b", "1"), ("job", "c"), ("a", "")]);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [("a", ""), ("b", "1"), ("job", "c")]
        );
        assert_eq!(set.get("job"), Some("c"));
        assert_eq!(set.get("x"), None);
    }

    #[test]
    fn the_key_is_written_over_own_labels() {
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

    #[test]
    fn sets_of_any_size_are_read_as_they_were_written() {
        let long: Vec<String> = [0, 1, 63, 64, 65, 4095, 4096, 300_000]
            .map(|len| "é".repeat(len))
            .to_vec();
        let names: Vec<String> = (0..long.len())
            .map(|i| format!("{}{i}", "n".repeat(i * 20)))
            .collect();
        let labels = || {
            names
                .iter()
                .map(String::as_str)
                .zip(long.iter().map(String::as_str))
        };
        let set = LabelSet::new(labels());
        let mut sorted: Vec<_> = labels().collect();
        sorted.sort();
        assert_eq!(set.iter().collect::<Vec<_>>(), sorted);
        assert_eq!(
            (set.len(), set.as_bytes()),
            (long.len(), EncodedLabels::new(labels()).as_bytes())
        );
    }

    #[test]
    fn sets_are_told_apart_and_ordered_by_label() {
        assert_ne!(LabelSet::new([("a", "bc")]), LabelSet::new([("ab", "c")]));
        let sets = [
            [("a", "z"), ("b", "1")],
            [("a", "zz"), ("b", "0")],
            [("b", "0"), ("c", "1")],
        ]
        .map(LabelSet::new);
        assert!(sets.is_sorted());
    }
}
