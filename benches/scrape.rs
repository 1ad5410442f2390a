//! Scrapes of a fleet of 10,000 groups after 0, 1 and 1,000 pushes, from the marked slots to the
//! last byte; and, to compare with, rendering all groups for one scrape.

mod common;

use bytes::Buf;
use common::{families, fleet_body, key, put, store_of};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pushgateway::exposition::text::{FamilyTemplate, KeyText, write_header};
use pushgateway::model::{Escaping, Families};
use pushgateway::scrape::{Assembler, Document, Effort, Format, PageSizes, Rendezvous};
use pushgateway::store::Store;
use std::collections::BTreeMap;

const N_GROUPS: u64 = 10_000;

struct Scraper {
    store: Store,
    assembler: Assembler,
    rendezvous: Rendezvous,
}

impl Scraper {
    fn new() -> Self {
        let sizes = PageSizes {
            page_bytes: 6 << 10,
        };
        Self {
            store: store_of(N_GROUPS),
            assembler: Assembler::new([], sizes, 2),
            rendezvous: Rendezvous::new(),
        }
    }

    /// Runs a round if one is needed, reads the whole document, and returns how many bytes it has.
    fn scrape(&mut self, gzip: bool) -> usize {
        if self
            .rendezvous
            .try_current(&self.store, Format::PLAIN, gzip, 1)
            .is_err()
        {
            self.assembler
                .run_round(&self.store, &self.rendezvous, 1, Effort::Fast, || ());
        }
        let exposition = self
            .rendezvous
            .try_current(&self.store, Format::PLAIN, gzip, 1)
            .expect("nothing was pushed meanwhile");
        let mut document =
            Document::new(exposition, Format::PLAIN, gzip, &Families::default(), &[])
                .expect("asked for");
        let mut n_bytes = 0;
        while document.has_remaining() {
            n_bytes += document.chunk().len();
            document.advance(document.chunk().len());
        }
        n_bytes
    }
}

/// The plain version to compare with: all groups in a map, all rendered for each scrape.
fn render_all(groups: &BTreeMap<u64, Families>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut by_name: BTreeMap<&str, Vec<(u64, usize)>> = BTreeMap::new();
    for (&n, families) in groups {
        for family in families.skeleton.families() {
            by_name
                .entry(family.name())
                .or_default()
                .push((n, family.index()));
        }
    }
    for (name, groups_of) in by_name {
        for (i, (n, index)) in groups_of.into_iter().enumerate() {
            let (families, key) = (&groups[&n], key(n));
            let family = families.skeleton.family(index);
            if i == 0 {
                write_header(
                    name,
                    family.help(),
                    family.metric_type(),
                    Escaping::Underscores,
                    &mut out,
                );
            }
            let template =
                FamilyTemplate::new(family, &["instance", "job"], true, Escaping::Underscores);
            template.render(
                &KeyText::new(key.labels()),
                &families.values[family.value_range()],
                &mut out,
            );
        }
    }
    out
}

fn scrape(c: &mut Criterion) {
    let groups: BTreeMap<u64, Families> = (0..N_GROUPS)
        .map(|n| (n, families(&fleet_body(n))))
        .collect();
    // The documents have all that the plain version has, and the two push times of each group.
    let plain = render_all(&groups);
    let marker_bytes = |name: &str| {
        (0..N_GROUPS)
            .map(|n| format!("{name}{} ", key(n)).len())
            .sum::<usize>()
    };
    assert!(
        Scraper::new().scrape(false)
            > plain.len()
                + marker_bytes("push_time_seconds")
                + marker_bytes("push_failure_time_seconds")
    );

    let mut random = fastrand::Rng::with_seed(2);
    let mut group = c.benchmark_group("scrape");
    // Each encoding has a new scraper: a format that was asked for once is kept for a while,
    // and each round would build it too.
    for (encoding, gzip) in [("plain", false), ("gzip", true)] {
        let mut scraper = Scraper::new();
        for n_marked in [0, 1, 1_000] {
            let id = format!("{encoding}/{n_marked}_marked");
            group.bench_function(id, |b| {
                scraper.scrape(gzip);
                let scraper = std::cell::RefCell::new(&mut scraper);
                let push = || {
                    for _ in 0..n_marked {
                        put(
                            &scraper.borrow().store,
                            &key(random.u64(..N_GROUPS)),
                            families(&fleet_body(random.u64(..))),
                        );
                    }
                };
                b.iter_batched(
                    push,
                    |()| scraper.borrow_mut().scrape(gzip),
                    BatchSize::PerIteration,
                );
            });
        }
    }
    group.bench_function("render_all", |b| b.iter(|| render_all(&groups)));
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = scrape
}
criterion_main!(benches);
