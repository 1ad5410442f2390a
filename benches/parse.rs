//! Parsing: the text format, bodies along a form, and delimited protobuf, beside a simple parser.

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pushgateway::exposition::{ParseLimits, protobuf, text};
use pushgateway::model::NameScheme;
use std::collections::HashMap;
use std::hint::black_box;

type Sample = (HashMap<String, String>, f64);

/// A simple parser for comparison: makes a string of every name, label name and label value. Knows
/// neither comments nor escapes nor errors.
fn parse_naively(body: &str) -> HashMap<String, Vec<Sample>> {
    let mut families: HashMap<String, Vec<Sample>> = HashMap::new();
    for line in body.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = series
            .trim_end_matches('}')
            .split_once('{')
            .unwrap_or((series, ""));
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels
            .map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()))
            .collect();
        families
            .entry(name.to_owned())
            .or_default()
            .push((labels, value.parse().expect("a number")));
    }
    families
}

/// A body with one counter of `n_series` series.
fn large_body(n_series: usize) -> String {
    let line = |i: usize| {
        format!(
            "requests_total{{code=\"{}\",handler=\"/api/v1/{i}\",method=\"GET\"}} {i}.5\n",
            200 + i % 7
        )
    };
    "# TYPE requests_total counter\n".to_owned() + &(0..n_series).map(line).collect::<String>()
}

fn parse(c: &mut Criterion) {
    for (shape, body) in [
        ("12_lines", common::fleet_body(1)),
        ("10000_series", large_body(10_000)),
    ] {
        let expected = common::families(&body);
        let message = common::delimited(&body);
        // The metrics in the message are in the order in which a group exposes them, so the numbers
        // are compared without their order.
        let sorted = |mut values: Vec<u64>| {
            values.sort_unstable();
            values
        };
        assert_eq!(
            sorted(protobuf::parse(&message).unwrap().values),
            sorted(expected.values.clone())
        );
        assert_eq!(
            parse_naively(&body).values().map(Vec::len).sum::<usize>(),
            expected.skeleton.n_metrics()
        );

        let mut group = c.benchmark_group("parse/text");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(shape, |b| {
            b.iter(|| text::parse(black_box(body.as_bytes()), NameScheme::Legacy))
        });
        group.finish();
        let form = text::parse_with_form(body.as_bytes(), NameScheme::Legacy, ParseLimits::NONE)
            .unwrap()
            .take_form()
            .unwrap();
        let mut values = vec![0; expected.values.len()];
        assert!(text::parse_along(&form, body.as_bytes(), &mut values));
        assert_eq!(values, expected.values);
        let mut group = c.benchmark_group("parse/along");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(shape, |b| {
            b.iter(|| text::parse_along(&form, black_box(body.as_bytes()), &mut values))
        });
        group.finish();
        let mut group = c.benchmark_group("parse/naive");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(shape, |b| b.iter(|| parse_naively(black_box(&body))));
        group.finish();
        let mut group = c.benchmark_group("parse/protobuf");
        group.throughput(Throughput::Bytes(message.len() as u64));
        group.bench_function(shape, |b| b.iter(|| protobuf::parse(black_box(&message))));
        group.finish();
    }
}

criterion_group!(benches, parse);
criterion_main!(benches);
