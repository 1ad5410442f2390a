//! Counts the instructions that the hot functions execute, with callgrind. Unlike times, the counts
//! hardly vary from run to run, so they show small changes.
//!
//! Needs valgrind and a runner of the same version as the crate `gungraun` in Cargo.lock: `cargo
//! install gungraun-runner --version …`.
#![allow(missing_docs, reason = "the macros make public modules and functions")]

mod common;

use common::{changed_body, delimited, families, fleet_body, key, store_of};
use gungraun::prelude::*;
use pushgateway::exposition::text::{FamilyTemplate, KeyText};
use pushgateway::exposition::{ParseLimits, protobuf, text};
use pushgateway::model::{BodyForm, EncodedLabels, Escaping, Families, NameScheme};
use pushgateway::store::{Outcome, Push, PushMode, Store};
use smallvec::SmallVec;
use std::hint::black_box;

const N_GROUPS: u64 = 1_000;
const RECEIVED_AT: i64 = 1_700_000_000_000_000_000;

#[library_benchmark]
#[bench::twelve_lines(fleet_body(1))]
fn parse_text(body: String) -> Families {
    black_box(text::parse(black_box(body.as_bytes()), NameScheme::Legacy)).expect("it is valid")
}

fn form_and_body() -> (BodyForm, String, Vec<u64>) {
    let mut first = text::parse_with_form(
        fleet_body(1).as_bytes(),
        NameScheme::Legacy,
        ParseLimits::NONE,
    )
    .expect("it is valid");
    (
        first.take_form().expect("it has a form"),
        fleet_body(2),
        first.values,
    )
}

#[library_benchmark]
#[bench::twelve_lines(form_and_body())]
fn parse_along((form, body, mut values): (BodyForm, String, Vec<u64>)) -> Vec<u64> {
    assert!(text::parse_along(
        black_box(&form),
        body.as_bytes(),
        &mut values
    ));
    values
}

#[library_benchmark]
#[bench::twelve_series(delimited(&fleet_body(1)))]
fn parse_protobuf(message: Vec<u8>) -> Families {
    black_box(protobuf::parse(black_box(&message))).expect("it is valid")
}

fn store_and_numbers() -> (Store, SmallVec<[u64; 12]>) {
    (store_of(N_GROUPS), families(&fleet_body(2)).values.into())
}

// What a push does after its body was read along a form: find the group, swap the snapshot, mark
// the slot.
#[library_benchmark]
#[bench::of_1000_groups(store_and_numbers())]
fn push_numbers((store, values): (Store, SmallVec<[u64; 12]>)) -> Store {
    let labels = EncodedLabels::new([("instance", "node-0000007"), ("job", "fleet")]);
    let found = store.find(black_box(&labels)).expect("it was pushed");
    assert!(store.push_numbers(&found, values, RECEIVED_AT));
    drop(found);
    store
}

fn store_and_push(body: &str) -> (Store, Push) {
    (
        store_of(N_GROUPS),
        Push::new(key(7), families(body), PushMode::Replace, RECEIVED_AT),
    )
}

#[library_benchmark]
#[bench::same_series(store_and_push(&fleet_body(2)))]
#[bench::another_family(store_and_push(&changed_body(2)))]
fn push((store, mut push): (Store, Push)) -> Store {
    assert_eq!(store.push(black_box(&mut push)), Outcome::Done);
    store
}

fn templates() -> (Families, Vec<FamilyTemplate>, KeyText) {
    let families = families(&fleet_body(1));
    let template =
        |family| FamilyTemplate::new(family, &["instance", "job"], true, Escaping::Underscores);
    let templates = families.skeleton.families().map(template).collect();
    (families, templates, KeyText::new(key(7).labels()))
}

#[library_benchmark]
#[bench::twelve_lines(templates())]
fn render((families, templates, key): (Families, Vec<FamilyTemplate>, KeyText)) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 << 10);
    for (family, template) in families.skeleton.families().zip(&templates) {
        template.render(
            black_box(&key),
            &families.values[family.value_range()],
            &mut out,
        );
    }
    out
}

library_benchmark_group!(
    name = hot,
    benchmarks = [
        parse_text,
        parse_along,
        parse_protobuf,
        push_numbers,
        push,
        render
    ]
);
main!(library_benchmark_groups = hot);
