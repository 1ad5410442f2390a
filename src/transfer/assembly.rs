//! Puts groups together: the list of groups says which series and times a group has, and the exposition
//! has the whole values of all series.
//!
//! Labels alone do not tell the group of a series: `{job="a",instance="b"}` may be of the group
//! `{job="a"}` or of `{job="a",instance="b"}`. So series are looked up among those that are listed.
//!
//! The list and the exposition come from two requests, so a group may have changed in between. A group is
//! consistent if both have the same time of its last push and of its last refused push, and the exposition
//! has all series that are listed.

use super::listed_groups::{Labels, ListedGroup};
use crate::exposition::protobuf::{RawFamily, RawMetric, raw_families};
use crate::model::MetricType;
use crate::persistence::reference_file::{ReferenceFamily, ReferenceGroup};
use ahash::RandomState;
use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// The families with the times of pushes.
const MARKERS: [&str; 2] = ["push_time_seconds", "push_failure_time_seconds"];

/// All groups of a list, with values.
pub(super) struct Assembly {
    pub groups: Vec<AssembledGroup>,
    /// Groups that are exposed and not listed: they were pushed between the two requests.
    pub n_unlisted: usize,
}

/// A group with its values.
pub(super) struct AssembledGroup {
    pub labels: Labels,
    pub group: ReferenceGroup,
    /// Whether the group did not change between the two requests.
    pub is_consistent: bool,
}

/// A family of a group, as far as it is put together.
#[derive(Default)]
struct Part<'a> {
    /// What the exposition says of the family.
    header: Option<(MetricType, Option<&'a [u8]>)>,
    /// The metrics, by their places in the list.
    metrics: Vec<(u32, Cow<'a, [u8]>)>,
}

/// Where a series is listed: by group, family and metric.
#[derive(Clone, Copy)]
struct Place {
    group: u32,
    family: u32,
    metric: u32,
}

/// Puts the groups together.
///
/// # Errors
///
/// The exposition or the list cannot be read.
pub(super) fn assemble(listed: &[ListedGroup<'_>], exposition: &[u8]) -> Result<Assembly, String> {
    let places = Places::of(listed)?;
    let mut parts: Vec<Vec<Part<'_>>> = listed
        .iter()
        .map(|group| group.families.iter().map(|_| Part::default()).collect())
        .collect();
    let mut n_unlisted = 0;
    for family in raw_families(exposition) {
        let family = family.map_err(|error| format!("the exposition cannot be read: {error}"))?;
        let RawFamily {
            name,
            metric_type,
            unit,
            metrics,
            ..
        } = family;
        for metric in metrics {
            let Some(mut labels) = metric.labels() else {
                continue;
            };
            labels.sort_unstable();
            let Some(place) = places.find(name, labels.iter().copied()) else {
                n_unlisted += usize::from(name == MARKERS[0]);
                continue;
            };
            let part = &mut parts[place.group as usize][place.family as usize];
            part.header = Some((metric_type, unit));
            drop(labels);
            part.metrics.push((place.metric, metric.message));
        }
    }
    let groups = listed.iter().zip(parts);
    Ok(Assembly {
        groups: groups
            .map(|(group, parts)| put_together(group, parts))
            .collect(),
        n_unlisted,
    })
}

fn put_together(listed: &ListedGroup<'_>, parts: Vec<Part<'_>>) -> AssembledGroup {
    let mut is_consistent = true;
    let mut families = Vec::with_capacity(parts.len());
    for (family, mut part) in listed.families.iter().zip(parts) {
        part.metrics.sort_by_key(|(place, _)| *place);
        part.metrics.dedup_by_key(|(place, _)| *place);
        let metrics: Vec<RawMetric<'_>> = part
            .metrics
            .into_iter()
            .map(|(_, message)| RawMetric { message })
            .collect();
        if metrics.len() != family.metrics.len() {
            is_consistent = false;
            if metrics.is_empty() {
                continue;
            }
        }
        if MARKERS.contains(&family.name.as_str()) {
            let listed = family.metrics.first().and_then(|metric| metric.number());
            let exposed = metrics.first().and_then(RawMetric::gauge_value);
            is_consistent &= listed == exposed;
        }
        // The exposition has one help text for all groups, the list has that of the group.
        let (metric_type, unit) = part.header.unwrap_or((family.metric_type, None));
        let message = RawFamily {
            name: &family.name,
            help: family.help.as_deref().map(Cow::Borrowed),
            metric_type,
            unit,
            metrics,
        };
        families.push(ReferenceFamily {
            name: family.name.clone().into_bytes(),
            pushed_at: family.pushed_at,
            message: message.message(),
        });
    }
    let labels = listed.labels.iter();
    AssembledGroup {
        group: ReferenceGroup {
            labels: labels
                .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
                .collect(),
            families,
        },
        labels: listed.labels.clone(),
        is_consistent,
    }
}

/// The places of all series, by 128 bits of hash: there may be millions, and texts would take much
/// more memory.
struct Places {
    by_hash: HashMap<u128, Place, RandomState>,
    hashers: [RandomState; 2],
}

impl Places {
    fn of(listed: &[ListedGroup<'_>]) -> Result<Self, String> {
        let mut places = Self {
            by_hash: HashMap::default(),
            hashers: [RandomState::new(), RandomState::new()],
        };
        let index = |n: usize| u32::try_from(n).map_err(|_| "the list is too long".to_owned());
        for (group_index, group) in listed.iter().enumerate() {
            for (family_index, family) in group.families.iter().enumerate() {
                for (metric_index, metric) in family.metrics.iter().enumerate() {
                    let labels = metric.labels()?;
                    let labels = labels.iter().map(|(name, value)| (&**name, &**value));
                    let hash = places.hash(&family.name, labels);
                    let place = Place {
                        group: index(group_index)?,
                        family: index(family_index)?,
                        metric: index(metric_index)?,
                    };
                    places.by_hash.insert(hash, place);
                }
            }
        }
        Ok(places)
    }

    /// The place of a series; labels are sorted by name.
    fn find<'s>(
        &self,
        family: &str,
        labels: impl Iterator<Item = (&'s str, &'s str)> + Clone,
    ) -> Option<Place> {
        self.by_hash.get(&self.hash(family, labels)).copied()
    }

    fn hash<'s>(
        &self,
        family: &str,
        labels: impl Iterator<Item = (&'s str, &'s str)> + Clone,
    ) -> u128 {
        let halves = self.hashers.each_ref().map(|state| {
            let mut hasher = state.build_hasher();
            family.hash(&mut hasher);
            for (name, value) in labels.clone() {
                name.hash(&mut hasher);
                value.hash(&mut hasher);
            }
            hasher.finish()
        });
        u128::from(halves[0]) << 64 | u128::from(halves[1])
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed_groups::read_list;
    use super::*;
    use crate::exposition::protobuf::{PlainValue, write_delimited};

    type Series<'a> = (&'a [(&'a str, &'a str)], f64);

    /// An exposition of gauges.
    fn exposition(families: &[(&str, &[Series<'_>])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (name, series) in families {
            let metric = |(labels, value): &Series<'_>| {
                let value = PlainValue::Number(*value);
                RawMetric::new(labels.iter().copied(), MetricType::Gauge, &value)
            };
            let family = RawFamily {
                name,
                help: Some("of another group".into()),
                metric_type: MetricType::Gauge,
                unit: None,
                metrics: series.iter().map(metric).collect(),
            };
            write_delimited(&family.message(), &mut body);
        }
        body
    }

    fn gauge(labels: &str, value: &str) -> String {
        format!(r#"{{"type":"GAUGE","metrics":[{{"labels":{{{labels}}},"value":"{value}"}}]}}"#)
    }

    const JOB: &str = r#""job":"a","instance":"""#;
    const BOTH: &str = r#""job":"a","instance":"b""#;

    fn list() -> String {
        let group = |labels: &str, members: &str| format!(r#"{{"labels":{{{labels}}},{members}}}"#);
        let first = group(
            r#""job":"a""#,
            &format!(
                r#""push_time_seconds":{},"x":{}"#,
                gauge(JOB, "1"),
                gauge(BOTH, "7")
            ),
        );
        let second = group(
            BOTH,
            &format!(
                r#""push_time_seconds":{},"y":{}"#,
                gauge(BOTH, "2"),
                gauge(BOTH, "8")
            ),
        );
        format!(r#"{{"data":[{first},{second}]}}"#)
    }

    const LABELS: [&[(&str, &str)]; 2] = [
        &[("instance", ""), ("job", "a")],
        &[("job", "a"), ("instance", "b")],
    ];

    fn assembled(push_times: [f64; 2], extra: &[(&str, &[Series<'_>])]) -> Assembly {
        let times = [(LABELS[0], push_times[0]), (LABELS[1], push_times[1])];
        let mut families = vec![
            ("push_time_seconds", &times[..]),
            ("x", &[(LABELS[1], 7.0)]),
            ("process_start_time_seconds", &[(&[], 1.0)]),
        ];
        families.extend_from_slice(extra);
        let list = list();
        assemble(&read_list(list.as_bytes()).unwrap(), &exposition(&families)).unwrap()
    }

    fn names(group: &AssembledGroup) -> Vec<String> {
        let names = group.group.families.iter();
        names
            .map(|f| String::from_utf8(f.name.clone()).unwrap())
            .collect()
    }

    #[test]
    fn a_series_goes_to_the_group_that_lists_it_though_its_labels_fit_two() {
        let assembly = assembled([1.0, 2.0], &[("y", &[(LABELS[1], 8.0)])]);
        let [first, second] = &assembly.groups[..] else {
            panic!("two groups")
        };
        assert_eq!(names(first), ["push_time_seconds", "x"]);
        assert_eq!(names(second), ["push_time_seconds", "y"]);
        assert!(first.is_consistent && second.is_consistent);
        assert_eq!(assembly.n_unlisted, 0);
        let mut body = Vec::new();
        write_delimited(&first.group.families[1].message, &mut body);
        let family = raw_families(&body).next().unwrap().unwrap();
        assert_eq!(family.metrics[0].gauge_value(), Some(7.0));
        assert_eq!(family.help, None);
    }

    #[test]
    fn a_group_that_changed_between_the_requests_is_not_consistent() {
        // Pushed again; a series has gone.
        let assembly = assembled([1.5, 2.0], &[]);
        assert!(assembly.groups.iter().all(|group| !group.is_consistent));
        assert_eq!(names(&assembly.groups[1]), ["push_time_seconds"]);
        // A new group.
        let new: &[Series<'_>] = &[(&[("job", "new")], 9.0)];
        let assembly = assembled([1.0, 2.0], &[("push_time_seconds", new)]);
        assert_eq!(assembly.n_unlisted, 1);
        assert!(assembly.groups[0].is_consistent);
    }
}
