//! What can be wrong with a push by itself, whatever other groups expose.

use super::layout::Layout;
use super::layout_check::{LayoutError, LayoutIndex};
use super::metric_text::{show_metric, show_with};
use super::refusal::Refusal;
use super::refusal_list::RefusalList;
use crate::model::{
    BrokenRule, Escaping, Families, Family, GroupingKey, LabelSet, MetricType, Skeleton,
    escape_label_name, is_legacy_label_name,
};
use smallvec::SmallVec;
use std::fmt::Write as _;

/// Checks the families of a group by themselves, whatever other groups expose and however large they
/// are.
///
/// # Errors
///
/// Why a push that leaves a group with these families would be refused.
pub fn check_families(families: &Families, key: &GroupingKey) -> Result<(), Refusal> {
    if let Some(rule) = &families.broken_rule {
        return Err(refusal_of_invalid(rule, families, key.labels()));
    }
    let Families {
        skeleton, values, ..
    } = families;
    match LayoutIndex::check(skeleton, key) {
        Ok(_) => Ok(()),
        Err(error) => Err(refusal_of_layout_error(&error, skeleton, values, key)),
    }
}

/// Checks a grouping key by itself, whatever groups there are.
///
/// # Errors
///
/// Why every push to the group would be refused.
pub fn check_key(key: &GroupingKey) -> Result<(), Refusal> {
    refusal_of_key(key).map_or(Ok(()), Err)
}

/// Limits how many bytes each scrape takes for one group. See `exposed_size`.
///
/// # Errors
///
/// [`Refusal::ExpositionTooLarge`].
pub(super) fn check_exposed_bytes(
    layout: &Layout,
    key: &GroupingKey,
    bytes_max: u64,
) -> Result<(), Refusal> {
    let bytes = layout.exposed_bytes(key);
    if bytes <= bytes_max {
        Ok(())
    } else {
        Err(Refusal::ExpositionTooLarge { bytes, bytes_max })
    }
}

/// The refusal of families that no group with the label names of this key can expose, because of
/// `error` and perhaps of other flaws.
pub(super) fn refusal_of_flaws(
    error: &LayoutError,
    skeleton: &Skeleton,
    values: &[u64],
    key: &GroupingKey,
) -> Refusal {
    let mut list = RefusalList::default();
    LayoutIndex::for_each_error(skeleton, key, |error| {
        list.add(|| refusal_of_layout_error(&error, skeleton, values, key));
    });
    let of_error = || refusal_of_layout_error(error, skeleton, values, key);
    list.into_result().err().unwrap_or_else(of_error)
}

/// The refusal of families because of one error.
fn refusal_of_layout_error(
    error: &LayoutError,
    skeleton: &Skeleton,
    values: &[u64],
    key: &GroupingKey,
) -> Refusal {
    let show = |metric: usize| show_metric(skeleton, values, skeleton.metric(metric), key.labels());
    let type_of = |metric: usize| {
        let of_metric = skeleton
            .families()
            .find(|family| family.metric_range().contains(&metric));
        of_metric.map(|family| family.metric_type())
    };
    match error {
        LayoutError::NoName => Refusal::NoName,
        LayoutError::NulInName { metric } => Refusal::Malformed {
            metric: show(*metric),
            what: "has a name with a NUL character".to_owned(),
        },
        LayoutError::DuplicateSeries { metric } => Refusal::DuplicateSeries {
            metric: show(*metric),
        },
        LayoutError::LabelTwice { metric, label }
            if label == "quantile" && type_of(*metric) == Some(MetricType::Summary) =>
        {
            Refusal::Malformed {
                metric: show(*metric),
                what: "must not have an explicit \"quantile\" label".to_owned(),
            }
        }
        LayoutError::LabelTwice { metric, label } => Refusal::LabelTwice {
            metric: show(*metric),
            label: label.clone(),
        },
        // The reference compares each name with the one before, and the first with an empty name.
        // So an empty name is a duplicate in its text.
        LayoutError::LabelName { metric, label } if label.is_empty() => Refusal::LabelTwice {
            metric: show(*metric),
            label: String::new(),
        },
        LayoutError::LabelName { metric, label } => Refusal::Malformed {
            metric: show(*metric),
            what: format!("has a label with an invalid name: {label}"),
        },
        LayoutError::SameEscapedName { family, other } => {
            let pushed = skeleton.family(*family).name().to_owned();
            Refusal::EscapedName {
                pushed,
                exposed: other.clone(),
                owner: None,
            }
        }
        LayoutError::Suffix { name, family } => {
            let of = skeleton.family(*family);
            Refusal::Suffix {
                name: name.clone(),
                of: Some((of.metric_type(), of.name().to_owned())),
                owner: None,
                is_name_exposed: false,
            }
        }
    }
}

/// Refuses a grouping key with a label name that would make every line of the group invalid.
pub(super) fn refusal_of_key(key: &GroupingKey) -> Option<Refusal> {
    let labels = key.labels();
    if let Some((name, _)) = labels.iter().find(|(name, _)| name.is_empty()) {
        return Some(Refusal::KeyNames {
            name: name.to_owned(),
            why: "is empty",
        });
    }
    if let Some((name, _)) = labels.iter().find(|(name, _)| name.starts_with("__")) {
        return Some(Refusal::KeyNames {
            name: name.to_owned(),
            why: "is reserved",
        });
    }
    // No legacy name contains a NUL character. Legacy names look the same under every scheme, and a
    // key has each name once.
    let n_schemes = if labels.iter().all(|(name, _)| is_legacy_label_name(name)) {
        0
    } else {
        Escaping::LEGACY.len()
    };
    if n_schemes > 0
        && let Some((name, _)) = labels.iter().find(|(name, _)| name.contains('\0'))
    {
        return Some(Refusal::KeyNames {
            name: name.to_owned(),
            why: "contains a NUL character",
        });
    }
    Escaping::LEGACY[..n_schemes].iter().find_map(|&escaping| {
        let mut names: SmallVec<[_; 8]> = labels
            .iter()
            .map(|(name, _)| escape_label_name(name, escaping))
            .collect();
        names.sort();
        let twice = names
            .windows(2)
            .find(|pair| pair[0] == pair[1])
            .map(|pair| (&pair[0], "stands twice once escaped"));
        let reserved = || {
            names
                .iter()
                .find(|name| *name == "__name__")
                .map(|name| (name, "is reserved"))
        };
        twice
            .or_else(reserved)
            .map(|(name, why)| Refusal::KeyNames {
                name: name.to_string(),
                why,
            })
    })
}

/// The refusal of a body that the parser has marked as invalid.
pub(super) fn refusal_of_invalid(
    invalid: &BrokenRule,
    families: &Families,
    key: &LabelSet,
) -> Refusal {
    let show = |metric: u32| {
        show_metric(
            &families.skeleton,
            &families.values,
            families.skeleton.metric(metric as usize),
            key,
        )
    };
    match invalid {
        BrokenRule::Timestamp => Refusal::Timestamps,
        BrokenRule::NotOfType { metric, found } => {
            let of_metric =
                |family: &Family<'_>| family.metric_range().contains(&(*metric as usize));
            let family = families
                .skeleton
                .families()
                .find(of_metric)
                .expect("a metric belongs to a family");
            let shown = show_with(
                &families.skeleton,
                families.skeleton.metric(*metric as usize),
                key,
                |_, text| text.write_str(found),
            );
            Refusal::Malformed {
                metric: shown,
                what: format!("is not a {}", family.metric_type().as_proto_str()),
            }
        }
        BrokenRule::LabelNotUtf8 {
            metric,
            label,
            in_name,
        } => {
            let part = if *in_name { "name" } else { "value" };
            Refusal::Malformed {
                metric: show(*metric),
                what: format!("has a label {label:?} whose {part} is not utf8"),
            }
        }
        BrokenRule::NativeHistogram { metric, defect } => Refusal::Malformed {
            metric: show(*metric),
            what: format!("is not a valid native histogram: {defect}"),
        },
    }
}
