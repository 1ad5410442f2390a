//! The checks that depend on nothing but a skeleton and the label names of the grouping key:
//!
//! - No series stands twice in a push, and no label name twice on a line; names are compared as
//!   they are after escaping, and `le` of a histogram and `quantile` of a summary are label names,
//!   too.
//! - No label name is empty or reserved, and no name contains a NUL character.
//! - No family has the name of a suffix of another one, and no two have the same name after
//!   escaping.
//!
//! A name that is not a legacy name (`[a-zA-Z_:][a-zA-Z0-9_:]*`) looks different under each
//! escaping scheme. So it is checked and claimed as it looks under each of them.

use super::cell::{NameRole, suffixes_of};
use super::series_labels::{own_labels, series_hash};
use crate::model::{
    Escaping, Family, GroupingKey, LabelSet, Metric, MetricType, Skeleton, escape_label_name,
    escape_name, is_legacy_label_name, is_legacy_metric_name,
};
use smallvec::SmallVec;
use std::borrow::Cow;

/// A name that groups with this layout expose.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ExposedName {
    /// The name after escaping, by which it is compared.
    pub escaped: Box<str>,
    /// The name as it was pushed.
    pub raw: Box<str>,
    /// What the name stands for.
    pub role: NameRole,
    /// The index of the family that is exposed under the name.
    pub family: u32,
}

/// Tables for looking up what a layout has; the result of checking it.
#[derive(Debug)]
pub(super) struct LayoutIndex {
    /// The indices of the families, sorted by their names.
    pub(super) by_name: Box<[u32]>,
    /// Sorted by escaped name.
    pub(super) exposed_names: Box<[ExposedName]>,
    /// For each metric the hash of its labels without those of the key, and its index. Those of a
    /// family lie in the range of its metrics, sorted by hash.
    pub(super) series: Box<[(u64, u32)]>,
}

/// Why no group with these label names in its key can expose a skeleton.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LayoutError {
    /// A family has no name.
    NoName,
    /// This metric has the labels of an earlier one.
    DuplicateSeries {
        /// Index of the later metric.
        metric: usize,
    },
    /// This metric has a label name twice.
    LabelTwice {
        /// Index of the metric.
        metric: usize,
        /// The name.
        label: String,
    },
    /// The name of a family contains a NUL character.
    NulInName {
        /// Index of the family's first metric.
        metric: usize,
    },
    /// This metric has a label whose name is empty, reserved (`__…`) or contains a NUL character.
    LabelName {
        /// Index of the metric.
        metric: usize,
        /// The name.
        label: String,
    },
    /// Two families have the same name once escaped.
    SameEscapedName {
        /// Index of the later family.
        family: usize,
        /// The other family's name.
        other: String,
    },
    /// A family has the name of a suffix of a summary or histogram.
    Suffix {
        /// The name they share.
        name: String,
        /// The summary's or histogram's index.
        family: usize,
    },
}

impl LayoutIndex {
    /// Checks a skeleton for keys with the label names of `key`.
    ///
    /// # Errors
    ///
    /// The first [`LayoutError`].
    pub fn check(skeleton: &Skeleton, key: &GroupingKey) -> Result<Self, LayoutError> {
        let mut by_name: Box<[u32]> = (0..skeleton.n_families()).map(index_u32).collect();
        by_name.sort_by_key(|&index| skeleton.family(index as usize).name());
        let exposed_names = check_names(skeleton)?;
        let mut series = Vec::with_capacity(skeleton.n_metrics());
        for family in skeleton.families() {
            check_other_schemes(family, key.labels())?;
            for metric in family.metrics() {
                check_labels(family, metric, key.labels())?;
                series.push((
                    series_hash(&own_labels(metric, key.labels())),
                    index_u32(metric.index()),
                ));
            }
            let of_family = &mut series[family.metric_range()];
            of_family.sort_unstable();
            if let Some(error) = duplicate_series(skeleton, of_family, key.labels()).next() {
                return Err(error);
            }
        }
        Ok(Self {
            by_name,
            exposed_names,
            series: series.into(),
        })
    }

    /// Everything for which [`check`](Self::check) refuses a skeleton: its error and the others.
    /// Of a family with several flaws perhaps not all of them.
    pub fn for_each_error(
        skeleton: &Skeleton,
        key: &GroupingKey,
        mut found: impl FnMut(LayoutError),
    ) {
        if let Err(error) = check_names(skeleton) {
            found(error);
        }
        for family in skeleton.families() {
            if let Err(error) = check_other_schemes(family, key.labels()) {
                found(error);
                continue;
            }
            let mut series = Vec::with_capacity(family.metrics().len());
            for metric in family.metrics() {
                match check_labels(family, metric, key.labels()) {
                    Ok(()) => series.push((
                        series_hash(&own_labels(metric, key.labels())),
                        index_u32(metric.index()),
                    )),
                    Err(error) => found(error),
                }
            }
            series.sort_unstable();
            duplicate_series(skeleton, &series, key.labels()).for_each(&mut found);
        }
    }
}

/// The metrics of a family that have the labels of an earlier one. `series` are hashes and indices
/// of the family's metrics, sorted.
fn duplicate_series<'a>(
    skeleton: &'a Skeleton,
    series: &'a [(u64, u32)],
    key: &'a LabelSet,
) -> impl Iterator<Item = LayoutError> {
    let labels = move |metric: u32| own_labels(skeleton.metric(metric as usize), key);
    let same_hash = series
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > 1);
    // Metrics with equal hashes are compared in full. Mostly they are the same series.
    same_hash.flat_map(move |same| {
        let is_duplicate = move |&place: &usize| {
            let (earlier, metric) = (&same[..place], same[place].1);
            earlier
                .iter()
                .any(|&(_, other)| labels(other) == labels(metric))
        };
        let duplicates = (1..same.len()).filter(is_duplicate);
        duplicates.map(|place| LayoutError::DuplicateSeries {
            metric: same[place].1 as usize,
        })
    })
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a skeleton is indexed by 32 bits")
}

/// Label names that differ under the first escaping scheme may be the same under another one, as
/// `l-m` and `l__m` under `dots`: then two series may be one.
fn check_other_schemes(family: Family<'_>, key: &LabelSet) -> Result<(), LayoutError> {
    let mut names = family
        .metrics()
        .flat_map(|metric| metric.labels())
        .map(|(name, _)| name);
    if names.all(is_legacy_label_name) {
        return Ok(());
    }
    for escaping in [Escaping::Dots, Escaping::Values] {
        let labels = |metric: Metric<'_>| {
            let own = metric.labels().filter(|&(name, _)| key.get(name).is_none());
            let mut labels: Vec<_> = own
                .map(|(name, value)| {
                    (
                        escape_label_name(name, escaping).into_owned(),
                        value.to_owned(),
                    )
                })
                .collect();
            labels.sort();
            labels
        };
        let mut all: Vec<_> = family
            .metrics()
            .map(|metric| (labels(metric), metric.index()))
            .collect();
        all.sort();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(LayoutError::DuplicateSeries { metric: pair[1].1 });
        }
    }
    Ok(())
}

/// Checks the label names on the lines of one metric.
fn check_labels(family: Family<'_>, metric: Metric<'_>, key: &LabelSet) -> Result<(), LayoutError> {
    let twice = |label: &str| {
        Err(LayoutError::LabelTwice {
            metric: metric.index(),
            label: label.to_owned(),
        })
    };
    let mut before = None;
    for (name, _) in metric.labels() {
        if name.is_empty() || name.starts_with("__") {
            return Err(LayoutError::LabelName {
                metric: metric.index(),
                label: name.to_owned(),
            });
        }
        if before == Some(name) {
            return twice(name);
        }
        before = Some(name);
    }
    let own = metric
        .labels()
        .map(|(name, _)| name)
        .filter(|name| key.get(name).is_none());
    let names = own.chain(key.iter().map(|(name, _)| name));
    let is_legacy = names.clone().all(is_legacy_label_name);
    // Prometheus ends reading the text format at a NUL, also within quotes.
    if !is_legacy && let Some(name) = names.clone().find(|name| name.contains('\0')) {
        return Err(LayoutError::LabelName {
            metric: metric.index(),
            label: name.escape_debug().to_string(),
        });
    }
    // Legacy names look the same under every scheme.
    for escaping in &Escaping::LEGACY[..if is_legacy { 1 } else { 3 }] {
        let mut names: SmallVec<[Cow<'_, str>; 8]> = names
            .clone()
            .map(|name| escape_label_name(name, *escaping))
            .collect();
        if let Some(name) = names.iter().find(|name| *name == "__name__") {
            return Err(LayoutError::LabelName {
                metric: metric.index(),
                label: name.to_string(),
            });
        }
        match family.metric_type() {
            MetricType::Summary => names.push("quantile".into()),
            MetricType::Histogram | MetricType::GaugeHistogram => names.push("le".into()),
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {}
        }
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return twice(&pair[0]);
        }
    }
    Ok(())
}

/// Checks the names of all families; returns the names that are claimed for them.
fn check_names(skeleton: &Skeleton) -> Result<Box<[ExposedName]>, LayoutError> {
    let mut exposed_names = Vec::with_capacity(skeleton.n_families());
    for family in skeleton.families() {
        if family.name().is_empty() {
            return Err(LayoutError::NoName);
        }
        if family.metrics().len() == 0 {
            continue;
        }
        let name = family.name();
        let n_schemes = if is_legacy_metric_name(name) { 1 } else { 3 };
        // See `check_labels`.
        if n_schemes > 1 && name.contains('\0') {
            return Err(LayoutError::NulInName {
                metric: family.metric_range().start,
            });
        }
        for escaping in &Escaping::LEGACY[..n_schemes] {
            // The suffix is appended after escaping.
            let escaped = escape_name(name, *escaping);
            let mut add = |suffix: &str, role| {
                let (escaped, raw) = (
                    format!("{escaped}{suffix}").into(),
                    format!("{name}{suffix}").into(),
                );
                exposed_names.push(ExposedName {
                    escaped,
                    raw,
                    role,
                    family: index_u32(family.index()),
                });
            };
            add("", NameRole::Family(family.metric_type()));
            for suffix in suffixes_of(family.metric_type()) {
                add(suffix, NameRole::Suffix);
            }
        }
    }
    // A stable sort: of equal names that of the earlier family comes first.
    exposed_names.sort_by(|a, b| a.escaped.cmp(&b.escaped));
    exposed_names
        .dedup_by(|a, b| a.escaped == b.escaped && a.family == b.family && a.role == b.role);
    let Some(pair) = exposed_names
        .windows(2)
        .find(|pair| pair[0].escaped == pair[1].escaped)
    else {
        return Ok(exposed_names.into());
    };
    let (a, b) = (&pair[0], &pair[1]);
    Err(match (a.role, b.role) {
        (NameRole::Family(_), NameRole::Suffix) => LayoutError::Suffix {
            name: a.raw.to_string(),
            family: b.family as usize,
        },
        (NameRole::Suffix, NameRole::Family(_)) => LayoutError::Suffix {
            name: b.raw.to_string(),
            family: a.family as usize,
        },
        _ => LayoutError::SameEscapedName {
            family: b.family as usize,
            other: skeleton.family(a.family as usize).name().to_owned(),
        },
    })
}

#[cfg(all(test, not(gateway_loom)))]
mod tests;
