//! Tests of the store.

use super::super::consumer::Consumer;
use super::super::push::PushMode;
use super::super::slots::{MarkedSlot, NUMBERS_PER_BUNDLE_MAX};
use super::*;
use crate::model::{Families, FamiliesBuilder, MetricFlags};

fn push(store: &Store, n: usize) {
    let mut families = FamiliesBuilder::new();
    families.family("up", MetricType::Gauge, None);
    families.value(1);
    families.end_metric(MetricFlags::default());
    let key = Arc::new(GroupingKey::new([("job", n.to_string().as_str())]).expect("a job"));
    let families = families.finish().expect("one short name");
    assert_eq!(
        store.push(&mut Push::new(key, families, PushMode::Replace, 1)),
        Outcome::Done
    );
}

fn take(store: &Store) -> Vec<MarkedSlot> {
    let mut taken = Vec::new();
    store.take_cut(Consumer::Assembler, &mut taken);
    taken
}

/// More than a bundle of them, and not a whole number of bundles.
#[test]
fn numbers_of_slots_are_used_again_and_each_once() {
    const N: usize = 2 * NUMBERS_PER_BUNDLE_MAX + 100;
    let store = Store::new(Config::default());
    for round in 0..3 {
        (0..N).for_each(|n| push(&store, round * N + n));
        let taken = take(&store);
        let mut ids: Vec<u32> = taken.iter().map(|taken| taken.slot).collect();
        ids.sort_unstable();
        assert_eq!(ids, (0..N as u32).collect::<Vec<_>>(), "round {round}");
        for taken in &taken {
            assert_eq!(store.delete(taken.snapshot.key()), Outcome::Done);
        }
        let passed: Vec<Arc<Snapshot>> = take(&store)
            .into_iter()
            .map(|taken| taken.snapshot)
            .collect();
        assert_eq!(passed.len(), N);
        store.pass_tombstones(Consumer::Assembler, &passed);
        assert!(store.groups().is_empty());
    }
}

/// A gauge `g` with `n_series` series, from `first` on.
fn gauge(first: usize, n_series: usize) -> Families {
    let mut families = FamiliesBuilder::new();
    families.family("g", MetricType::Gauge, None);
    for n in first..first + n_series {
        families.label("n", &n.to_string());
        families.value(1);
        families.end_metric(MetricFlags::default());
    }
    families.finish().expect("few names")
}

#[test]
fn a_large_layout_is_freed_with_the_last_group_of_its_job() {
    let store = Store::new(Config::default());
    let key = Arc::new(GroupingKey::new([("job", "j")]).unwrap());
    let mut push = Push::new(Arc::clone(&key), gauge(0, 2000), PushMode::Replace, 1);
    assert_eq!(store.push(&mut push), Outcome::Done);
    drop(push);
    let layout = Arc::downgrade(store.group(&key).unwrap().layout());
    assert!(layout.upgrade().is_some());
    assert_eq!(store.delete(&key), Outcome::Done);
    let passed: Vec<_> = take(&store)
        .into_iter()
        .map(|taken| taken.snapshot)
        .collect();
    store.pass_tombstones(Consumer::Assembler, &passed);
    assert!(layout.upgrade().is_none());
}

#[test]
fn a_prepared_push_has_the_same_outcome() {
    let store = Store::new(Config::default());
    let key = Arc::new(GroupingKey::new([("job", "j")]).unwrap());
    let of_n = |n: &'static str| Arc::new(GroupingKey::new([("job", "j"), ("n", n)]).unwrap());
    let prepared = |key: &Arc<GroupingKey>, families, mode| {
        let mut push = Push::new(Arc::clone(key), families, mode, 1);
        store.prepare(&mut push);
        push
    };
    let n_series = || store.group(&key).unwrap().layout().skeleton().n_metrics();
    // The group changes between the preparation and the push.
    let mut first = prepared(&key, gauge(0, 3), PushMode::Replace);
    let mut second = prepared(&key, gauge(0, 5), PushMode::Merge);
    assert_eq!(store.push(&mut first), Outcome::Done);
    assert_eq!(store.push(&mut second), Outcome::Done);
    assert_eq!(n_series(), 5);
    // Only values change.
    let mut values = prepared(&key, gauge(0, 5), PushMode::Replace);
    assert_eq!(store.push(&mut values), Outcome::Done);
    // Another group of the job has one of the series, before the preparation and after it.
    let has_series = |push: &mut Push| match store.push(push) {
        Outcome::Refused(Refusal::Series { .. }) => true,
        Outcome::Done => false,
        other => panic!("{other:?}"),
    };
    assert!(has_series(&mut prepared(
        &of_n("4"),
        gauge(0, 1),
        PushMode::Replace
    )));
    let mut early = prepared(&key, gauge(0, 8), PushMode::Replace);
    assert!(!has_series(&mut prepared(
        &of_n("7"),
        gauge(0, 1),
        PushMode::Replace
    )));
    assert!(has_series(&mut early));
    assert!(!has_series(&mut prepared(
        &key,
        gauge(0, 7),
        PushMode::Replace
    )));
    assert_eq!(n_series(), 7);
}
