//! Tests of the checks of a layout.

use super::*;
use crate::model::{FamiliesBuilder, MetricFlags};

type Labels<'a> = &'a [(&'a str, &'a str)];

/// Families as name, type and the labels of their metrics.
fn flaw(
    families: &[(&str, MetricType, &[Labels<'_>])],
    key: &[(&'static str, &'static str)],
) -> Option<LayoutError> {
    let mut builder = FamiliesBuilder::new();
    for (name, metric_type, metrics) in families {
        builder.family(name, *metric_type, None);
        for labels in *metrics {
            labels
                .iter()
                .for_each(|(name, value)| builder.label(name, value));
            (0..metric_type.n_fixed_values()).for_each(|_| builder.value(0));
            builder.end_metric(MetricFlags::default());
        }
    }
    let key = GroupingKey::new(key.iter().copied().chain([("job", "j")])).unwrap();
    LayoutIndex::check(&builder.finish().unwrap().skeleton, &key).err()
}

fn gauges(
    metrics: &[&[(&str, &str)]],
    key: &[(&'static str, &'static str)],
) -> Option<LayoutError> {
    flaw(&[("g", MetricType::Gauge, metrics)], key)
}

#[test]
fn a_series_is_exposed_once_after_the_key_has_overwritten_its_labels() {
    assert_eq!(gauges(&[&[("a", "1")], &[("a", "2")]], &[]), None);
    assert_eq!(
        gauges(&[&[("a", "1")], &[("a", "2")]], &[("a", "3")]),
        Some(LayoutError::DuplicateSeries { metric: 1 })
    );
    assert_eq!(
        gauges(&[&[], &[("instance", "")]], &[]),
        Some(LayoutError::DuplicateSeries { metric: 1 })
    );
    assert_eq!(gauges(&[&[], &[("l", "")]], &[]), None);
}

#[test]
fn a_label_name_is_on_a_line_once() {
    let twice = |label: &str| {
        Some(LayoutError::LabelTwice {
            metric: 0,
            label: label.to_owned(),
        })
    };
    assert_eq!(gauges(&[&[("a", "1"), ("a", "2")]], &[]), twice("a"));
    assert_eq!(gauges(&[&[("a.b", "1"), ("a_b", "2")]], &[]), twice("a_b"));
    assert_eq!(gauges(&[&[("a.b", "1")]], &[("a_b", "2")]), twice("a_b"));
    assert_eq!(
        gauges(&[&[("a.b", "1"), ("a_dot_b", "2")]], &[]),
        twice("a_dot_b")
    );
    assert_eq!(
        gauges(&[&[("a:b", "1")], &[("a.b", "1")]], &[]),
        Some(LayoutError::DuplicateSeries { metric: 1 })
    );
    assert_eq!(
        gauges(&[&[("a-b", "1")], &[("a__b", "1")]], &[]),
        Some(LayoutError::DuplicateSeries { metric: 1 })
    );
    let histogram = |labels, key| flaw(&[("h", MetricType::Histogram, labels)], key);
    assert_eq!(histogram(&[&[("le", "1")]], &[]), twice("le"));
    assert_eq!(histogram(&[&[]], &[("le", "5")]), twice("le"));
    assert_eq!(
        flaw(&[("s", MetricType::Summary, &[&[]])], &[("quantile", "5")]),
        twice("quantile")
    );
    assert_eq!(gauges(&[&[("le", "1")]], &[]), None);
    let reserved = |label: &str| {
        Some(LayoutError::LabelName {
            metric: 0,
            label: label.to_owned(),
        })
    };
    assert_eq!(gauges(&[&[("__a", "1")]], &[]), reserved("__a"));
    assert_eq!(gauges(&[&[("", "1")]], &[]), reserved(""));
    assert_eq!(gauges(&[&[("..name..", "1")]], &[]), reserved("__name__"));
    // A NUL in a value is exposed in every format, but not one in a name.
    assert_eq!(gauges(&[&[("a\0b", "1")]], &[]), reserved("a\\0b"));
    assert_eq!(gauges(&[&[("a", "\0")]], &[]), None);
    assert_eq!(
        flaw(
            &[
                ("g", MetricType::Gauge, &[&[]]),
                ("\0", MetricType::Gauge, &[&[]])
            ],
            &[]
        ),
        Some(LayoutError::NulInName { metric: 1 })
    );
}

#[test]
fn names_collide_by_suffix_and_by_escaping() {
    let one: &[&[(&str, &str)]] = &[&[]];
    let of_two =
        |families: [(&str, MetricType); 2]| flaw(&families.map(|(name, t)| (name, t, one)), &[]);
    let suffix = |family| {
        Some(LayoutError::Suffix {
            name: "s_count".to_owned(),
            family,
        })
    };
    assert_eq!(
        of_two([("s", MetricType::Summary), ("s_count", MetricType::Gauge)]),
        suffix(0)
    );
    assert_eq!(
        of_two([("s_count", MetricType::Gauge), ("s", MetricType::Histogram)]),
        suffix(1)
    );
    assert_eq!(
        of_two([("s", MetricType::Counter), ("s_count", MetricType::Gauge)]),
        None
    );
    assert_eq!(
        of_two([("a.b", MetricType::Counter), ("a_b", MetricType::Counter)]),
        Some(LayoutError::SameEscapedName {
            family: 1,
            other: "a.b".to_owned()
        })
    );
    assert_eq!(
        flaw(
            &[
                ("s", MetricType::Summary, &[]),
                ("s_count", MetricType::Gauge, one)
            ],
            &[]
        ),
        None
    );
    // Under `dots` and under `values`.
    for other in ["a_dot_b", "U__a_2e_b"] {
        assert_eq!(
            of_two([("a.b", MetricType::Counter), (other, MetricType::Counter)]),
            Some(LayoutError::SameEscapedName {
                family: 1,
                other: "a.b".to_owned()
            })
        );
    }
    assert_eq!(
        of_two([
            ("s.t", MetricType::Summary),
            ("s_dot_t_sum", MetricType::Gauge)
        ]),
        Some(LayoutError::Suffix {
            name: "s_dot_t_sum".to_owned(),
            family: 0
        })
    );
    assert_eq!(
        of_two([("a.b", MetricType::Counter), ("a_b_", MetricType::Counter)]),
        None
    );
}
