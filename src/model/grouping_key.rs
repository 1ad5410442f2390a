//! The grouping key: the labels that identify a group, from the path of the URL.
//!
//! Two different keys can mean the same group. `{job="x"}` and `{job="x",instance=""}` do, because
//! a missing `instance` is exposed as an empty one. Keys with the label names `a.b` and `a_b` do,
//! because both names are exposed as `a_b` to scrapers that do not know UTF-8 names. So a key has
//! two sets of labels. The *literal* labels are those that were given. The *canonical* labels have
//! escaped names and no empty `instance`; the store finds a group by these.

use super::label_set::LabelSet;
use super::name_scheme::{Escaping, escape_label_name, is_legacy_label_name};
use std::fmt;

/// A grouping key. Always has a label `job` that is not empty.
///
/// # Examples
///
/// ```
/// use pushgateway::model::GroupingKey;
///
/// let key = GroupingKey::new([("job", "backup"), ("instance", "")])?;
/// assert_eq!(key.to_string(), "{instance=\"\",job=\"backup\"}");
/// assert_eq!(
///     key.canonical(),
///     GroupingKey::new([("job", "backup")])?.canonical()
/// );
/// # Ok::<(), pushgateway::model::InvalidKey>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupingKey {
    literal: LabelSet,
    /// The canonical labels, if they differ from the literal ones.
    canonical: Option<LabelSet>,
}

/// Why labels do not make a grouping key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    /// There is no label `job`, or its value is empty.
    NoJob,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("job name is required")
    }
}

impl GroupingKey {
    /// Makes a key of `labels`, which may be in any order. If a name is repeated, the last value
    /// counts.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::NoJob`] if `job` is missing or empty.
    pub fn new<'a>(
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, InvalidKey> {
        let literal = LabelSet::new(labels);
        if literal.get("job").is_none_or(str::is_empty) {
            return Err(InvalidKey::NoJob);
        }
        let is_escaped = |name: &str| {
            !is_legacy_label_name(name) && escape_label_name(name, Escaping::Underscores) != name
        };
        let differs = literal
            .iter()
            .any(|(name, value)| (value.is_empty() && name == "instance") || is_escaped(name));
        let canonical = differs.then(|| {
            let escaped: Vec<_> = literal
                .iter()
                .filter(|&(name, value)| !(name == "instance" && value.is_empty()))
                .map(|(name, value)| (escape_label_name(name, Escaping::Underscores), value))
                .collect();
            LabelSet::new(escaped.iter().map(|(name, value)| (name.as_ref(), *value)))
        });
        Ok(Self { literal, canonical })
    }

    /// The literal labels: as they were given, sorted by name.
    pub fn labels(&self) -> &LabelSet {
        &self.literal
    }

    /// The canonical labels, which identify the group: names are escaped, and an empty `instance`
    /// is left out.
    pub fn canonical(&self) -> &LabelSet {
        self.canonical.as_ref().unwrap_or(&self.literal)
    }

    /// Whether the literal labels are the canonical ones.
    pub fn is_canonical(&self) -> bool {
        self.canonical.is_none()
    }

    /// The value of `job`.
    pub fn job(&self) -> &str {
        self.literal.get("job").expect("a key has a job")
    }
}

/// Writes the literal labels like a selector: `{instance="a",job="b"}`. Values are escaped like
/// Rust strings.
impl fmt::Display for GroupingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        for (name, value) in self.literal.iter() {
            write!(f, "{separator}{name}={value:?}")?;
            separator = ",";
        }
        f.write_str("}")
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    fn key(labels: &[(&'static str, &'static str)]) -> GroupingKey {
        GroupingKey::new(labels.iter().copied()).unwrap()
    }

    #[test]
    fn an_empty_instance_and_an_escaped_name_find_the_same_group() {
        assert_eq!(
            key(&[("job", "x")]).canonical(),
            key(&[("job", "x"), ("instance", "")]).canonical()
        );
        assert_eq!(
            key(&[("job", "x"), ("a.b", "1")]).canonical(),
            key(&[("a_b", "1"), ("job", "x")]).canonical()
        );
        assert_ne!(
            key(&[("job", "x")]).canonical(),
            key(&[("job", "x"), ("l", "")]).canonical()
        );
    }

    #[test]
    fn a_key_needs_a_job() {
        assert_eq!(GroupingKey::new([("a", "b")]), Err(InvalidKey::NoJob));
        assert_eq!(GroupingKey::new([("job", "")]), Err(InvalidKey::NoJob));
    }

    #[test]
    fn a_key_is_shown_as_a_selector() {
        assert_eq!(
            key(&[("job", "x\"y"), ("a", "1")]).to_string(),
            r#"{a="1",job="x\"y"}"#
        );
    }
}
