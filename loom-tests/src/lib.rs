//! Models of the gateway's lock-free protocols, for loom to explore every interleaving of.
//!
//! The protocols are the product's own files, included by path and compiled with
//! `cfg(gateway_loom)`: then the types of `sync` are made of loom's atomics. Each model lists the
//! outcomes that it can have, counts them, and fails if one of them never occurs: a model that
//! explores a single interleaving proves nothing.
//!
//! `tests/` has one file for each protocol. Each test says which ordering or rule it guards.
//! `README.md` explains models and weakenings, and says how each model fails without what it
//! guards.

#[path = "../../src/gateway/batches.rs"]
pub mod batches;
pub mod exposition;
#[allow(
    dead_code,
    unused_imports,
    reason = "the models use a part of what the product has"
)]
#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/scrape/mod.rs"]
pub mod scrape;
#[path = "../../src/store/mod.rs"]
pub mod store;
#[path = "../../src/sync/mod.rs"]
pub mod sync;
#[path = "../../src/gateway/wakeup.rs"]
pub mod wakeup;

use crate::model::{Families, FamiliesBuilder, GroupingKey, MetricFlags, MetricType};
use crate::scrape::{Assembler, Document, Effort, Exposition, Format, PageSizes, Rendezvous};
use crate::store::{Config, Consumer, Outcome, Push, PushMode, Store};
use bytes::Buf;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Explores all executions of `model` in which at most `preemptions` times a thread is interrupted
/// that could go on. Each execution returns one of `outcomes`.
///
/// # Panics
///
/// If an execution panics or has an outcome that is not listed, or if a listed one never occurs.
pub fn explore(
    preemptions: usize,
    outcomes: &[&'static str],
    model: impl Fn() -> &'static str + Send + Sync + 'static,
) {
    let counts: Arc<Mutex<BTreeMap<&'static str, u64>>> = Arc::default();
    let seen = Arc::clone(&counts);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(move || {
        let outcome = model();
        *seen.lock().unwrap().entry(outcome).or_default() += 1;
    });
    let counts = counts.lock().unwrap();
    println!("{counts:?}");
    for outcome in outcomes {
        assert!(
            counts.contains_key(outcome),
            "never seen: {outcome}; seen: {counts:?}"
        );
    }
    assert_eq!(counts.len(), outcomes.len(), "not listed: {counts:?}");
}

/// A store whose only consumer is the assembler.
pub fn store() -> Arc<Store> {
    Arc::new(Store::new(Config::default()))
}

/// A store with both consumers.
pub fn store_with_disk_writer() -> Arc<Store> {
    Arc::new(Store::new(Config {
        consumers: vec![Consumer::Assembler, Consumer::DiskWriter],
        ..Config::default()
    }))
}

/// A grouping key, written as `job=a,l=v`.
pub fn key(labels: &str) -> Arc<GroupingKey> {
    let labels = labels
        .split(',')
        .map(|label| label.split_once('=').expect("name=value"));
    Arc::new(GroupingKey::new(labels).expect("a job"))
}

/// Families, written as `a=gauge b=counter`, each with one metric of the value `value`.
/// `a{l=v}=gauge` has a metric with a label.
pub fn families(families: &str, value: u64) -> Families {
    let mut builder = FamiliesBuilder::new();
    for family in families.split_whitespace() {
        let (name, metric_type) = family.rsplit_once('=').expect("name=type");
        let metric_type = match metric_type {
            "gauge" => MetricType::Gauge,
            "counter" => MetricType::Counter,
            "summary" => MetricType::Summary,
            other => panic!("{other}"),
        };
        let (name, label) = match name.split_once('{') {
            Some((name, label)) => (name, label.trim_end_matches('}').split_once('=')),
            None => (name, None),
        };
        builder.family(name, metric_type, None);
        if let Some((name, value)) = label {
            builder.label(name, value);
        }
        (0..metric_type.n_fixed_values()).for_each(|_| builder.value(value));
        builder.end_metric(MetricFlags::default());
    }
    builder.finish().expect("small")
}

/// A PUT, tried again while it is busy; returns whether it is accepted.
pub fn put(store: &Store, key: &Arc<GroupingKey>, content: &str, value: u64) -> bool {
    pushed(
        store,
        &mut Push::new(
            Arc::clone(key),
            families(content, value),
            PushMode::Replace,
            1,
        ),
    )
}

/// A POST; else as [`put`].
pub fn post(store: &Store, key: &Arc<GroupingKey>, content: &str, value: u64) -> bool {
    pushed(
        store,
        &mut Push::new(
            Arc::clone(key),
            families(content, value),
            PushMode::Merge,
            1,
        ),
    )
}

fn pushed(store: &Store, push: &mut Push) -> bool {
    loop {
        match store.push(push) {
            Outcome::Done => return true,
            Outcome::Refused(_) => return false,
            Outcome::Busy => loom::thread::yield_now(),
        }
    }
}

/// A PUT that is tried once; returns whether it is accepted, or `None` if it is busy.
pub fn try_put(store: &Store, key: &Arc<GroupingKey>, content: &str, value: u64) -> Option<bool> {
    match store.push(&mut Push::new(
        Arc::clone(key),
        families(content, value),
        PushMode::Replace,
        1,
    )) {
        Outcome::Done => Some(true),
        Outcome::Refused(_) => Some(false),
        Outcome::Busy => None,
    }
}

/// Deletes a group; tried again while that is busy.
pub fn delete(store: &Store, key: &GroupingKey) {
    while store.delete(key) == Outcome::Busy {
        loom::thread::yield_now();
    }
}

/// Two threads push to two groups, given by key and families. A thread whose push is accepted looks
/// at its group next, and must find what it has pushed. Returns whether the first push and the
/// second one were accepted.
pub fn put_both(
    store: &Arc<Store>,
    first: (&str, &'static str),
    second: (&'static str, &'static str),
) -> (bool, bool) {
    let other = Arc::clone(store);
    let put_and_look = |store: &Store, (labels, content): (&str, &str)| {
        let is_accepted = put(store, &key(labels), content, 1);
        assert!(
            !is_accepted || shown(store, &key(labels)) == content,
            "an accepted push is not seen by its pusher"
        );
        is_accepted
    };
    let other = loom::thread::spawn(move || put_and_look(&other, second));
    (put_and_look(store, first), other.join().unwrap())
}

/// Deletes these groups.
///
/// # Panics
///
/// If a claim was left behind: when the groups are deleted, a push of families that contradict
/// theirs must be accepted at once.
pub fn assert_nothing_is_left(store: &Store, groups: &[&str], contradicts: &str) {
    groups.iter().for_each(|labels| delete(store, &key(labels)));
    assert_eq!(
        try_put(store, &key("job=next"), contradicts, 1),
        Some(true),
        "a claim was left behind"
    );
}

/// A store and what makes expositions of it: the gateway without HTTP.
pub struct Gateway {
    /// The groups.
    pub store: Arc<Store>,
    /// Where scrapes and the assembler meet.
    pub rendezvous: Rendezvous,
}

impl Gateway {
    /// A gateway, and the assembler for the thread that runs its rounds.
    pub fn new() -> (Arc<Self>, Assembler) {
        let gateway = Self {
            store: store(),
            rendezvous: Rendezvous::new(),
        };
        (
            Arc::new(gateway),
            Assembler::new(
                [],
                PageSizes {
                    page_bytes: 1 << 10,
                },
                1,
            ),
        )
    }

    /// The exposition for a scrape of the plain format, or the round to wait for.
    ///
    /// # Errors
    ///
    /// As [`Rendezvous::try_current`] has them.
    pub fn try_current(&self, gzip: bool) -> Result<Arc<Exposition>, u64> {
        self.rendezvous
            .try_current(&self.store, Format::PLAIN, gzip, 1)
    }

    /// Runs a round.
    pub fn round(&self, assembler: &mut Assembler) {
        assembler.run_round(&self.store, &self.rendezvous, 1, Effort::Fast, || ());
    }
}

/// The body of a scrape of the plain format; `None` if the exposition does not have it in this
/// form.
pub fn document(exposition: Arc<Exposition>, gzip: bool) -> Option<Document> {
    Document::new(exposition, Format::PLAIN, gzip, &Families::default(), &[])
}

/// Whether an exposition has this line.
pub fn has_line(exposition: Arc<Exposition>, line: &str) -> bool {
    let mut document = document(exposition, false).expect("the format is kept");
    let text = document.copy_to_bytes(document.remaining());
    std::str::from_utf8(&text)
        .expect("text")
        .lines()
        .any(|of_text| of_text == line)
}

/// What a group exposes, written as `a=gauge b=counter`; empty if there is no group.
pub fn shown(store: &Store, key: &GroupingKey) -> String {
    let Some(group) = store.group(key) else {
        return String::new();
    };
    let families = group.layout().families_by_name();
    families
        .map(|family| format!("{}={}", family.name(), family.metric_type().as_str()))
        .collect::<Vec<_>>()
        .join(" ")
}
