//! What a group is found by: `job` and the labels in the URL.
//!
//! Two keys are written differently and still name one group's place: `{job="x"}` and
//! `{job="x",instance=""}`, because an absent `instance` is exposed as an empty one; `a.b` and
//! `a_b`, because escaping makes them one name. So a key knows both: the labels as they were given
//! (*literal*), and the *canonical* ones, escaped and without an empty `instance`, by which the
//! store finds it.

use crate::model::{Escaping, LabelSet, escape_label_name, is_legacy_label_name};
use std::fmt;

/// A grouping key: always has a non-empty `job`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupingKey {
    literal: LabelSet,
    /// Only where it differs from `literal`.
    canonical: Option<LabelSet>,
}

/// Why labels are no grouping key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidKey {
    /// There is no `job`, or it is empty.
    NoJob,
}

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("job name is required")
    }
}

impl GroupingKey {
    /// A key of `labels`, in any order; the last of a repeated name wins.
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

    /// The labels as they were given.
    pub fn labels(&self) -> &LabelSet {
        &self.literal
    }

    /// The labels that identify the group: names escaped, an empty `instance` left out.
    pub fn canonical(&self) -> &LabelSet {
        self.canonical.as_ref().unwrap_or(&self.literal)
    }

    /// Whether it is written as the canonical one.
    pub fn is_canonical(&self) -> bool {
        self.canonical.is_none()
    }

    /// The value of `job`.
    pub fn job(&self) -> &str {
        self.literal.get("job").expect("a key has a job")
    }
}

/// As in a selector: `{instance="a",job="b"}`; what cannot be printed of a value is escaped as Rust
/// does it.
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
