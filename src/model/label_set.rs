//! A sorted set of labels in one string.
//!
//! ```text
//! set    = { name value }      in ascending order of names, each name once
//! name   = length text
//! value  = length text
//! length = the number of bytes of the text: six bits a character, the lowest first, with 64 added to
//!          all characters but the last
//! ```
//!
//! A set is valid UTF-8, because all characters of a length are ASCII. Different sets have
//! different strings, and equal sets have equal ones. So sets are compared and hashed as bytes.

use smallvec::SmallVec;
use std::cmp::Ordering;

/// Labels sorted by name, each name once. Values may be empty.
///
/// # Examples
///
/// ```
/// use pushgateway::model::LabelSet;
///
/// let labels = LabelSet::new([("job", "backup"), ("instance", "a"), ("job", "restore")]);
/// assert_eq!(labels.get("job"), Some("restore"));
/// assert_eq!(
///     labels.iter().collect::<Vec<_>>(),
///     [("instance", "a"), ("job", "restore")]
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LabelSet(Box<str>);

/// The bytes of a [`LabelSet`], for looking something up. Up to 128 bytes lie on the stack, so most
/// look-ups allocate nothing.
#[derive(Debug)]
pub struct EncodedLabels(SmallVec<[u8; 128]>);

/// Added to every character of a length but the last one.
const CONTINUES: usize = 64;

/// Calls `put` with every name and value of `labels`, sorted by name. If a name is repeated, the
/// last value counts, as in the URL of a push.
fn for_each_sorted<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    mut put: impl FnMut(&str),
) {
    let mut sorted: SmallVec<[(&str, &str); 8]> = labels.into_iter().collect();
    if !sorted.is_sorted_by(|a, b| a.0 < b.0) {
        // Stable: among labels of the same name, the last one stays last.
        sorted.sort_by_key(|&(name, _)| name);
    }
    for (i, &(name, value)) in sorted.iter().enumerate() {
        if sorted.get(i + 1).is_none_or(|&(next, _)| next != name) {
            put(name);
            put(value);
        }
    }
}

/// Calls `put` with every character of a length.
fn put_length(mut len: usize, mut put: impl FnMut(u8)) {
    while len >= CONTINUES {
        put((len % CONTINUES + CONTINUES) as u8);
        len /= CONTINUES;
    }
    put(len as u8);
}

impl LabelSet {
    /// Makes a set of `labels`. If a name is repeated, the last value counts, as in the URL of a
    /// push.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut text = String::with_capacity(64);
        for_each_sorted(labels, |name_or_value| {
            put_length(name_or_value.len(), |c| text.push(char::from(c)));
            text.push_str(name_or_value);
        });
        Self(text.into())
    }

    /// The number of labels. Takes time linear in their length.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether the set has no labels.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The names and values, in the order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            (!rest.is_empty()).then(|| (take_text(&mut rest), take_text(&mut rest)))
        })
    }

    /// The value of the label with this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// The bytes of the set: the same as those of [`EncodedLabels`] with the same labels.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Takes a name or a value, with its length, from the start of `rest`.
fn take_text<'a>(rest: &mut &'a str) -> &'a str {
    let (mut len, mut shift) = (0, 0);
    let mut characters = rest.bytes();
    let mut n = 0;
    for byte in characters.by_ref() {
        n += 1;
        len |= (usize::from(byte) % CONTINUES) << shift;
        shift += 6;
        if usize::from(byte) < CONTINUES {
            break;
        }
    }
    let (text, after) = rest[n..].split_at(len);
    *rest = after;
    text
}

/// Compares label by label: first the names, then the values.
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
    /// The bytes of a [`LabelSet`] of `labels`.
    pub fn new<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut bytes = SmallVec::new();
        for_each_sorted(labels, |name_or_value| {
            put_length(name_or_value.len(), |c| bytes.push(c));
            bytes.extend_from_slice(name_or_value.as_bytes());
        });
        Self(bytes)
    }

    /// The bytes of the set.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_and_the_last_value_of_a_name_counts() {
        let set = LabelSet::new([("job", "a"), ("b", "1"), ("job", "c"), ("a", "")]);
        assert_eq!(
            set.iter().collect::<Vec<_>>(),
            [("a", ""), ("b", "1"), ("job", "c")]
        );
        assert_eq!(set.get("job"), Some("c"));
        assert_eq!(set.get("x"), None);
    }

    #[test]
    fn labels_of_any_length_are_read_as_they_were_written() {
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
    fn sets_are_compared_label_by_label() {
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
