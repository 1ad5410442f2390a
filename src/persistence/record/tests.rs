//! Tests of records.

use super::*;
use crate::exposition::text;
use crate::model::NameScheme;
use crate::store::{Config, RestoreOutcome, Store};

const BODY: &str = "# HELP h Sizes.\n# TYPE h histogram\nh_bucket{le=\"1\",x=\"\u{e4}\"} 2\nh_bucket{le=\"+Inf\",x=\"\u{e4}\"} 3\nh_sum{x=\"\u{e4}\"} 4\nh_count{x=\"\u{e4}\"} 3\n# TYPE g gauge\ng NaN\n# HELP e \ne 1\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_count 2\n";

fn store() -> Store {
    Store::new(Config::default())
}

fn key(job: &str) -> Arc<GroupingKey> {
    Arc::new(GroupingKey::new([("job", job), ("instance", "")]).unwrap())
}

fn times() -> GroupTimes {
    GroupTimes {
        push_time: i64::MAX,
        failure_time: -5,
        first_time: 7,
        family_times: Some([1, 2, 3, 4].into()),
    }
}

fn restore(store: &Store, mut group: RestoredGroup) -> Arc<Snapshot> {
    assert_eq!(store.restore(&mut group), RestoreOutcome::Restored);
    store.group(group.key()).unwrap()
}

/// A group with every kind of content.
fn group(store: &Store, job: &str, with_extras: bool) -> Arc<Snapshot> {
    let mut families = text::parse(BODY.as_bytes(), NameScheme::Legacy).unwrap();
    if with_extras {
        families.extras.push(crate::model::MetricExtra {
            metric: 1,
            body: b"exemplar"[..].into(),
        });
    }
    restore(store, RestoredGroup::new(key(job), families, times()))
}

fn assert_same(a: &Snapshot, b: &Snapshot) {
    assert_eq!(a.key(), b.key());
    assert_eq!(a.layout().skeleton(), b.layout().skeleton());
    assert_eq!(a.values, b.values);
    assert_eq!(a.extras, b.extras);
    assert_eq!(a.times(), b.times());
}

#[test]
fn a_group_survives() {
    let mut encoder = RecordEncoder::default();
    let mut decoder = RecordDecoder::default();
    let (before, after) = (store(), store());
    for (job, with_extras) in [("a", false), ("b", true), ("c", false)] {
        let group = group(&before, job, with_extras);
        let mut record = Vec::new();
        encoder.encode(&group, &mut record);
        let restored = restore(&after, decoder.decode(&record).unwrap());
        decoder.keep_layout(&record, restored.layout());
        assert_same(&group, &restored);
    }
    assert_eq!(decoder.layouts.len(), 1);
}

#[test]
fn a_group_that_was_only_refused_survives() {
    let store = store();
    let mut record = Vec::new();
    let times = GroupTimes {
        push_time: 0,
        failure_time: 9,
        first_time: 9,
        family_times: None,
    };
    let refused = RestoredGroup::new(key("a"), Default::default(), times);
    RecordEncoder::default().encode(&restore(&store, refused), &mut record);
    let group = self::store();
    let restored = restore(&group, RecordDecoder::default().decode(&record).unwrap());
    assert!(!restored.is_accepted());
    assert_eq!(restored.failure_time, 9);
}

#[test]
fn layouts_for_other_label_names_are_not_mixed_up() {
    let mut decoder = RecordDecoder::default();
    let (before, after) = (store(), store());
    for labels in [&[("job", "a")][..], &[("job", "b"), ("x", "")]] {
        let families = text::parse(b"g 1\n", NameScheme::Legacy).unwrap();
        let key = Arc::new(GroupingKey::new(labels.iter().copied()).unwrap());
        let times = GroupTimes {
            family_times: None,
            ..times()
        };
        let group = restore(&before, RestoredGroup::new(key, families, times));
        let mut record = Vec::new();
        RecordEncoder::default().encode(&group, &mut record);
        let restored = restore(&after, decoder.decode(&record).unwrap());
        decoder.keep_layout(&record, restored.layout());
        assert_same(&group, &restored);
    }
}

#[test]
fn a_damaged_record_is_refused_and_never_panics() {
    let mut record = Vec::new();
    RecordEncoder::default().encode(&group(&store(), "a", true), &mut record);
    for n in 0..record.len() {
        assert!(
            RecordDecoder::default().decode(&record[..n]).is_err(),
            "{n} bytes"
        );
    }
    for n in 0..record.len() {
        for bit in 0..8 {
            let mut damaged = record.clone();
            damaged[n] ^= 1 << bit;
            // May still be a record: the check sum of the row tells.
            let _ = RecordDecoder::default().decode(&damaged);
        }
    }
    record[0] = 2;
    assert_eq!(
        RecordDecoder::default().decode(&record).unwrap_err(),
        RecordError::Version(2)
    );
}
