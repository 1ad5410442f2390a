//! Tests of the store.

use super::super::push::PushMode;
use super::super::slots::NUMBERS_PER_BUNDLE_MAX;
use super::*;
use crate::model::{FamiliesBuilder, MetricFlags};

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
