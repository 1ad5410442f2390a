//! A parsed push into stores of different sizes: one that only changes values, and one that changes
//! series; beside a plain map behind a mutex.

mod common;

use common::{changed_body, families, fleet_body, key, put, store_of};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pushgateway::model::{Families, LabelSet};
use pushgateway::store::Consumer;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

fn push(c: &mut Criterion) {
    for n_groups in [1_000, 10_000, 100_000, 1_000_000] {
        let store = store_of(n_groups);
        let mut random = fastrand::Rng::with_seed(1);
        let mut taken = Vec::new();
        let mut group = c.benchmark_group("push");
        group.bench_function(format!("value_only/{n_groups}_groups"), |b| {
            let mut next = || {
                (
                    key(random.u64(..n_groups)),
                    families(&fleet_body(random.u64(..))),
                )
            };
            b.iter_batched(
                &mut next,
                |(key, families)| put(&store, &key, families),
                BatchSize::SmallInput,
            );
            // As the assembler does. Otherwise the queue of marked slots would grow with every
            // sample.
            taken.clear();
            store.take_cut(Consumer::Assembler, &mut taken);
        });
        let mut is_changed = vec![false; n_groups as usize];
        group.bench_function(format!("structural/{n_groups}_groups"), |b| {
            let mut next = || {
                let n = random.usize(..is_changed.len());
                is_changed[n] = !is_changed[n];
                let body = if is_changed[n] {
                    changed_body(1)
                } else {
                    fleet_body(1)
                };
                (key(n as u64), families(&body))
            };
            b.iter_batched(
                &mut next,
                |(key, families)| put(&store, &key, families),
                BatchSize::SmallInput,
            );
            taken.clear();
            store.take_cut(Consumer::Assembler, &mut taken);
        });
        let locked: Mutex<HashMap<LabelSet, Arc<Families>>> = Mutex::new(HashMap::new());
        group.bench_function(format!("locked_map/{n_groups}_groups"), |b| {
            let mut locked_map = locked.lock().unwrap();
            for n in 0..n_groups {
                locked_map
                    .entry(key(n).labels().clone())
                    .or_insert_with(|| Arc::new(Families::default()));
            }
            drop(locked_map);
            let mut next = || {
                (
                    key(random.u64(..n_groups)).labels().clone(),
                    families(&fleet_body(random.u64(..))),
                )
            };
            let put = |(key, families): (LabelSet, Families)| {
                locked.lock().unwrap().insert(key, Arc::new(families))
            };
            b.iter_batched(&mut next, put, BatchSize::SmallInput);
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = push
}
criterion_main!(benches);
