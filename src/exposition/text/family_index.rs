//! Finds the family that a metric name belongs to while lines are read.
//!
//! A name with the suffix `_count`, `_sum` or `_bucket` belongs to the summary or histogram of that
//! base name if the TYPE line of the base name came before and no family has the whole name.
//! Otherwise the name is that of a separate family.

use super::error::ParseError;
use super::line_records::{FamilyHeader, SampleRole};
use super::scanner::Scanner;
use super::token::{Token, to_u32};
use crate::exposition::go_quote::quote;
use crate::exposition::limits::ParseLimits;
use crate::model::{MetricType, NameScheme, is_legacy_metric_name};
use ahash::AHashMap;
use std::borrow::Cow;

/// The families that lines have named so far, and the one that was named last.
pub(super) struct FamilyIndex<'a> {
    families: Vec<FamilyHeader>,
    by_name: AHashMap<Cow<'a, [u8]>, u32>,
    current: Option<CurrentName>,
    names: NameScheme,
    limits: ParseLimits,
}

/// The metric name that was read last.
#[derive(Clone, Copy)]
struct CurrentName {
    family: u32,
    role: SampleRole,
    name: Token,
}

impl<'a> FamilyIndex<'a> {
    /// An empty index with room for `n_families`.
    pub(super) fn new(n_families: usize, names: NameScheme, limits: ParseLimits) -> Self {
        Self {
            families: Vec::with_capacity(n_families),
            by_name: AHashMap::with_capacity(n_families),
            current: None,
            names,
            limits,
        }
    }

    /// The headers of all families, in the order in which they were named first.
    pub(super) fn into_families(self) -> Vec<FamilyHeader> {
        self.families
    }

    /// Makes the family of the metric name `name` the current one. Adds the family if it is new.
    ///
    /// # Errors
    ///
    /// If the name is not valid, or if the family would be one too many.
    pub(super) fn set_current(
        &mut self,
        name: Token,
        scanner: &Scanner<'a>,
    ) -> Result<(), ParseError> {
        let text = scanner.text();
        if let Some(current) = self.current
            && text.bytes(current.name) == text.bytes(name)
        {
            return Ok(());
        }
        // The scanner lets only legacy characters into names that it did not unescape.
        if name.is_unescaped() {
            let is_valid = match self.names {
                NameScheme::Legacy => text.str(name).is_some_and(is_legacy_metric_name),
                NameScheme::Utf8 => text.str(name).is_some() && !name.is_empty(),
            };
            if !is_valid {
                return scanner.error(format!("invalid metric name {}", text.quoted(name)));
            }
        }
        let (family, role) = match self.find(text.bytes(name)) {
            Some(found) => found,
            None => {
                self.limits.check_room(self.families.len())?;
                let family = to_u32(self.families.len());
                self.families.push(FamilyHeader {
                    name,
                    help: None,
                    metric_type: None,
                });
                self.by_name.insert(text.long_lived_bytes(name), family);
                (family, SampleRole::Value)
            }
        };
        self.current = Some(CurrentName { family, role, name });
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Option<(u32, SampleRole)> {
        if let Some(&family) = self.by_name.get(name) {
            return Some((family, SampleRole::Value));
        }
        let (base, role) = if let Some(base) = name.strip_suffix(b"_count") {
            (base, SampleRole::Count)
        } else if let Some(base) = name.strip_suffix(b"_sum") {
            (base, SampleRole::Sum)
        } else {
            (name.strip_suffix(b"_bucket")?, SampleRole::Value)
        };
        let &family = self.by_name.get(base)?;
        let has_suffix = match self.families[family as usize].metric_type? {
            // A summary has no buckets.
            MetricType::Summary => role != SampleRole::Value,
            MetricType::Histogram | MetricType::GaugeHistogram => true,
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => false,
        };
        has_suffix.then_some((family, role))
    }

    /// The index and the role of the name that was read last.
    ///
    /// # Panics
    ///
    /// If no name was read yet.
    #[inline]
    pub(super) fn current(&self) -> (u32, SampleRole) {
        let current = self.current.expect("a name was read");
        (current.family, current.role)
    }

    /// The header of the current family.
    ///
    /// # Panics
    ///
    /// If no name was read yet.
    #[inline]
    pub(super) fn current_header(&mut self) -> &mut FamilyHeader {
        let (family, _) = self.current();
        &mut self.families[family as usize]
    }

    /// The type of the current family, if there is one and a type is known.
    #[inline]
    pub(super) fn current_type(&self) -> Option<MetricType> {
        self.current
            .and_then(|current| self.families[current.family as usize].metric_type)
    }

    /// The name of the current family in double quotes, for error texts; `""` if no name was read.
    pub(super) fn quoted_current(&self, scanner: &Scanner<'_>) -> String {
        self.current.map_or_else(
            || quote(b""),
            |current| {
                let name = self.families[current.family as usize].name;
                scanner.text().quoted(name)
            },
        )
    }
}
