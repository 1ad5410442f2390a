//! Makes groups of the reference of groups of this gateway.
//!
//! The reference exposes the messages as they are. So every metric has the labels of the group, and
//! `instance=""` if there is no other `instance`.

use super::go_time::GoTime;
use super::group::{ReferenceFamily, ReferenceGroup};
use super::push_times::{FAILURE_TIME, PUSH_TIME, PushTimes};
use crate::exposition::protobuf::{FamilyTemplate, KeyFields, write_family_fields};
use crate::model::{
    Escaping, Families, FamiliesBuilder, Family, LabelSet, MetricExtra, MetricFlags, MetricType,
    Skeleton, extras_of,
};
use crate::store::Snapshot;

/// What is exported of a group. All times are nanoseconds after the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct ExportedGroup<'a> {
    /// The labels of the grouping key, as they were pushed.
    pub labels: &'a LabelSet,
    /// The families.
    pub skeleton: &'a Skeleton,
    /// The numbers of all families.
    pub values: &'a [u64],
    /// What the text format cannot carry, sorted by metric.
    pub extras: &'a [MetricExtra],
    /// When each family was pushed, in the order of `skeleton`; none if all were with the last push.
    pub family_times: Option<&'a [i64]>,
    /// When the group was pushed to.
    pub push_times: PushTimes,
}

impl<'a> From<&'a Snapshot> for ExportedGroup<'a> {
    fn from(snapshot: &'a Snapshot) -> Self {
        Self {
            labels: snapshot.key().labels(),
            skeleton: snapshot.layout().skeleton(),
            values: &snapshot.values,
            extras: &snapshot.extras,
            family_times: snapshot.family_times(),
            push_times: PushTimes {
                last_push: snapshot.push_time,
                last_failure: snapshot.failure_time,
                first: snapshot.first_time,
            },
        }
    }
}

/// Makes a group of the reference.
pub fn export(group: ExportedGroup<'_>) -> ReferenceGroup {
    let PushTimes {
        last_push,
        last_failure,
        first,
    } = group.push_times;
    let labels = MetricLabels::new(group.labels);
    let family_time = |index: usize| group.family_times.map_or(last_push, |times| times[index]);
    let mut families: Vec<ReferenceFamily> = group
        .skeleton
        .families()
        .map(|family| {
            let pushed_at = family_time(family.index());
            reference_family(family, group.values, group.extras, pushed_at, &labels)
        })
        .collect();
    for (marker, time) in [(PUSH_TIME, last_push), (FAILURE_TIME, last_failure)] {
        let gauge = gauge(marker, time as f64 / 1e9);
        let pushed_at = if time == 0 { first } else { time };
        let family = gauge.skeleton.family(0);
        families.push(reference_family(
            family,
            &gauge.values,
            &[],
            pushed_at,
            &labels,
        ));
    }
    ReferenceGroup {
        labels: group
            .labels
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
        families,
    }
}

/// The labels that every metric of a group has.
struct MetricLabels<'a> {
    names: Vec<&'a str>,
    fields: KeyFields,
}

impl<'a> MetricLabels<'a> {
    fn new(labels: &'a LabelSet) -> Self {
        Self {
            names: labels.iter().map(|(name, _)| name).collect(),
            fields: KeyFields::new(labels, Escaping::AllowUtf8),
        }
    }
}

/// Makes a family of the reference. `values` and `extras` are those of the whole group.
fn reference_family(
    family: Family<'_>,
    values: &[u64],
    extras: &[MetricExtra],
    pushed_at: i64,
    labels: &MetricLabels<'_>,
) -> ReferenceFamily {
    let mut message = Vec::new();
    write_family_fields(
        family.name(),
        family.help(),
        family.metric_type(),
        Escaping::AllowUtf8,
        &mut message,
    );
    FamilyTemplate::new(family, &labels.names, true, Escaping::AllowUtf8).render(
        &labels.fields,
        &values[family.value_range()],
        extras_of(extras, family),
        family.metric_range().start,
        &mut message,
    );
    ReferenceFamily {
        name: family.name().into(),
        pushed_at: GoTime::from_unix_ns(pushed_at),
        message,
    }
}

/// A gauge with one metric, which has no labels of its own.
fn gauge((name, help): (&str, &str), value: f64) -> Families {
    let mut builder = FamiliesBuilder::new();
    builder.family(name, MetricType::Gauge, Some(help));
    builder.value(value.to_bits());
    builder.end_metric(MetricFlags::default());
    builder.finish().expect("far below 4 GiB")
}
