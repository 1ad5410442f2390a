//! Native histograms, valid and broken, are pushed, and a real Prometheus scrapes what was
//! accepted.
//!
//! `tests/prometheus.rs` says which Prometheus is used.

mod common;

use common::outside::{NotRun, run_tests};
use common::prometheus::Prometheus;
use common::{Client, Gateway, TIMEOUT};
use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    run_tests![
        no_native_histogram_takes_prometheus_or_the_target_down,
        families_without_metrics_and_units_are_not_exposed,
    ]
}

const PROTOBUF: (&str, &str) = (
    "Content-Type",
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
);

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn double_field(field: u64, value: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes_field(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

/// A delimited family with one metric.
fn family(name: &str, metric_type: u64, histogram: &[u8]) -> Vec<u8> {
    let (mut metric, mut family, mut body) = (Vec::new(), Vec::new(), Vec::new());
    bytes_field(7, histogram, &mut metric);
    bytes_field(1, name.as_bytes(), &mut family);
    varint_field(3, metric_type, &mut family);
    bytes_field(4, &metric, &mut family);
    varint(family.len() as u64, &mut body);
    body.extend_from_slice(&family);
    body
}

/// The buckets of negative or of positive observations.
#[derive(Clone, Debug, Default)]
struct Side {
    spans: Vec<(i32, u32)>,
    deltas: Vec<i64>,
    counts: Vec<f64>,
}

impl Side {
    /// Buckets with a few gaps, and how many observations are in them.
    fn generate(random: &mut fastrand::Rng, is_float: bool) -> (Self, u64) {
        let (mut side, mut total, mut before) = (Self::default(), 0, 0);
        for n in 0..random.i32(0..4) {
            let offset = if n == 0 {
                random.i32(-300..300)
            } else {
                random.i32(0..20)
            };
            let length = random.u32(0..5);
            side.spans.push((offset, length));
            for _ in 0..length {
                let count = random.choice([0i64, 0, 1, 2, 70]).expect("not empty");
                total += count.cast_unsigned();
                if is_float {
                    side.counts.push(count as f64);
                } else {
                    side.deltas.push(count - before);
                    before = count;
                }
            }
        }
        (side, total)
    }

    fn write(&self, first_field: u64, out: &mut Vec<u8>) {
        for &(offset, length) in &self.spans {
            let mut span = Vec::new();
            varint_field(1, zigzag(offset.into()), &mut span);
            varint_field(2, length.into(), &mut span);
            bytes_field(first_field, &span, out);
        }
        let mut packed = Vec::new();
        self.deltas
            .iter()
            .for_each(|&delta| varint(zigzag(delta), &mut packed));
        bytes_field(first_field + 1, &packed, out);
        let packed: Vec<u8> = self.counts.iter().flat_map(|c| c.to_le_bytes()).collect();
        bytes_field(first_field + 2, &packed, out);
    }

    /// This side with each field broken in turn.
    fn broken(&self, is_float: bool) -> Vec<Self> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut side = self.clone();
            change(&mut side);
            all.push(side);
        };
        for n in 0..self.spans.len() {
            for offset in [-1, -3, i32::MIN, i32::MAX, 1 << 30] {
                add(&|side| side.spans[n].0 = offset);
            }
            for length in [0, 1, 7, 1 << 31, u32::MAX] {
                add(&|side| side.spans[n].1 = length);
            }
            add(&|side| {
                side.spans.remove(n);
            });
            add(&|side| side.spans.insert(n, (-2, 0)));
            add(&|side| side.spans.insert(n, (0, 1)));
        }
        add(&|side| side.spans.clear());
        add(&|side| side.spans.iter_mut().for_each(|span| span.1 = 0));
        for n in 0..self.deltas.len() {
            for delta in [-1, -100, 0, i64::MAX, i64::MIN] {
                add(&|side| side.deltas[n] = delta);
            }
        }
        for n in 0..self.counts.len() {
            for count in [-1.0, f64::NEG_INFINITY, f64::INFINITY, f64::NAN, 0.0, 0.5] {
                add(&|side| side.counts[n] = count);
            }
        }
        for value in [0i8, 1, -1] {
            add(&|side| side.deltas.push(value.into()));
            add(&|side| side.counts.push(value.into()));
        }
        add(&|side| side.deltas.truncate(side.deltas.len().saturating_sub(1)));
        add(&|side| side.counts.truncate(side.counts.len().saturating_sub(1)));
        // The values of the other kind of histogram.
        add(&|side| {
            let n_values = side.deltas.len().max(side.counts.len());
            (side.deltas, side.counts) = if is_float {
                (vec![0; n_values], Vec::new())
            } else {
                (Vec::new(), vec![0.0; n_values])
            };
        });
        all
    }
}

#[derive(Clone, Debug)]
struct Histogram {
    is_float: bool,
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: Side,
    positive: Side,
}

impl Histogram {
    /// A valid histogram, as a correct client may send it; without observations at times.
    fn generate(random: &mut fastrand::Rng) -> Self {
        let is_float = random.bool();
        let (negative, n_negative) = Side::generate(random, is_float);
        let (mut positive, n_positive) = Side::generate(random, is_float);
        if positive.spans.is_empty() {
            // Without a span or a zero threshold, the histogram would not be native.
            positive.spans.push((0, 0));
        }
        let n_zero = random.u64(0..3);
        let count = n_negative + n_positive + n_zero;
        let integer = |count: u64| if is_float { 0 } else { count };
        let float = |count: u64| if is_float { count as f64 } else { 0.0 };
        Self {
            is_float,
            count: integer(count),
            count_float: float(count),
            sum: random.choice([0.0, -3.5, 12.25]).expect("not empty"),
            schema: random.i32(-4..=8),
            zero_threshold: random.choice([0.0, 2f64.powi(-128)]).expect("not empty"),
            zero_count: integer(n_zero),
            zero_count_float: float(n_zero),
            negative,
            positive,
        }
    }

    /// The histogram as a `Histogram` message, with a created timestamp and an exemplar.
    fn message(&self) -> Vec<u8> {
        let mut out = Vec::new();
        if self.is_float {
            double_field(4, self.count_float, &mut out);
            double_field(8, self.zero_count_float, &mut out);
        }
        if !self.is_float || self.count != 0 {
            varint_field(1, self.count, &mut out);
        }
        if !self.is_float || self.zero_count != 0 {
            varint_field(7, self.zero_count, &mut out);
        }
        if !self.is_float && self.count_float != 0.0 {
            double_field(4, self.count_float, &mut out);
        }
        if !self.is_float && self.zero_count_float != 0.0 {
            double_field(8, self.zero_count_float, &mut out);
        }
        double_field(2, self.sum, &mut out);
        varint_field(5, zigzag(self.schema.into()) & 0xffff_ffff, &mut out);
        double_field(6, self.zero_threshold, &mut out);
        self.negative.write(9, &mut out);
        self.positive.write(12, &mut out);
        let (mut timestamp, mut label, mut exemplar) = (Vec::new(), Vec::new(), Vec::new());
        varint_field(1, 1_700_000_000, &mut timestamp);
        bytes_field(1, b"trace_id", &mut label);
        bytes_field(2, b"x", &mut label);
        bytes_field(1, &label, &mut exemplar);
        double_field(2, 1.0, &mut exemplar);
        bytes_field(3, &timestamp, &mut exemplar);
        bytes_field(15, &timestamp, &mut out);
        bytes_field(16, &exemplar, &mut out);
        out
    }

    /// Messages of this histogram with each field broken in turn, and with bytes changed at random.
    fn broken(&self, random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        let mut add = |change: &dyn Fn(&mut Self)| {
            let mut histogram = self.clone();
            change(&mut histogram);
            all.push(histogram.message());
        };
        for count in [0, 1, self.count.wrapping_sub(1), self.count + 1, u64::MAX] {
            add(&|h| h.count = count);
            add(&|h| (h.count, h.sum) = (count, f64::NAN));
        }
        for count in [0, 1, self.zero_count + 1, u64::MAX] {
            add(&|h| h.zero_count = count);
        }
        for count in [0.0, -1.0, 0.5, f64::NAN, f64::INFINITY] {
            add(&|h| h.count_float = count);
            add(&|h| h.zero_count_float = count);
        }
        for sum in [
            f64::NAN,
            f64::INFINITY,
            f64::from_bits(0x7ff0_0000_0000_0002),
        ] {
            add(&|h| h.sum = sum);
        }
        for schema in [-53, 99, -9, 9, 20, i32::MIN, i32::MAX] {
            add(&|h| h.schema = schema);
        }
        for threshold in [f64::NAN, -1.0, 0.0, 1e300, f64::INFINITY] {
            add(&|h| h.zero_threshold = threshold);
        }
        for side in self.negative.broken(self.is_float) {
            add(&|h| h.negative = side.clone());
        }
        for side in self.positive.broken(self.is_float) {
            add(&|h| h.positive = side.clone());
        }
        let message = self.message();
        for _ in 0..10 {
            let mut message = message.clone();
            let at = random.usize(..message.len());
            message[at] = random.u8(..);
            all.push(message);
        }
        all
    }
}

/// Whatever is answered 200 is scraped, and nothing that a correct client sends is refused.
fn no_native_histogram_takes_prometheus_or_the_target_down() -> Result<(), NotRun> {
    const N_VALID: usize = 12;
    let gateway = Gateway::start();
    let mut client = Client::new(&gateway);
    let mut random = fastrand::Rng::with_seed(15);
    let (mut n_accepted, mut n_refused) = (0, 0);
    let mut push = |name: &str, metric_type, message: &[u8]| {
        let path = format!("/metrics/job/{name}");
        let response = client.request(
            "PUT",
            &path,
            &[PROTOBUF],
            &family(name, metric_type, message),
        );
        assert!(
            [200, 400].contains(&response.status),
            "{name}: {}",
            response.text()
        );
        response
    };
    for n in 0..N_VALID {
        let histogram = Histogram::generate(&mut random);
        // A histogram or a gauge histogram.
        let metric_type = 4 + (n as u64 & 1);
        let response = push(&format!("valid_{n}"), metric_type, &histogram.message());
        assert_eq!(response.status, 200, "{histogram:?}: {}", response.text());
        for (how, message) in histogram.broken(&mut random).iter().enumerate() {
            let response = push(&format!("broken_{n}_{how}"), metric_type, message);
            *(if response.status == 200 {
                &mut n_accepted
            } else {
                &mut n_refused
            }) += 1;
        }
    }
    assert!(
        n_accepted > 100 && n_refused > 100,
        "{n_accepted} {n_refused}"
    );
    assert_eq!(gateway.put("/metrics/job/last", "last 1\n").status, 200);

    let mut prometheus = Prometheus::with_interval(
        &gateway,
        "native-histograms",
        &["--enable-feature=native-histograms"],
        5000,
    )?;
    // Each scrape has everything, so two scrapes tell.
    let deadline = Instant::now() + TIMEOUT;
    let number = |query: &str| -> Option<f64> {
        prometheus.query(query)?["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    };
    while number("count_over_time(up[5m])").is_none_or(|n_scrapes| n_scrapes < 2.0) {
        assert!(Instant::now() < deadline, "Prometheus does not scrape");
        std::thread::sleep(Duration::from_millis(100));
    }
    let error = || {
        prometheus
            .get("/api/v1/targets")
            .map(|targets| targets["data"]["activeTargets"][0]["lastError"].to_string())
    };
    assert_eq!(number("min_over_time(up[5m])"), Some(1.0), "{:?}", error());
    assert_eq!(number("last"), Some(1.0));
    let n_stored = number("count({__name__=~\"valid_[0-9]+\"})");
    assert_eq!(n_stored, Some(N_VALID as f64));
    assert!(prometheus.is_running());
    Ok(())
}

/// Regression test: the two kinds shared a message, which Prometheus reads as what its first
/// metric is. That took the target down, or lost the native histograms.
#[test]
fn native_and_classic_histograms_of_one_name_are_both_stored() {
    let gateway = Gateway::start();
    let mut native = Vec::new();
    varint_field(1, 3, &mut native);
    double_field(2, 7.5, &mut native);
    varint_field(5, 0, &mut native);
    let side = Side {
        spans: vec![(0, 1)],
        deltas: vec![3],
        counts: Vec::new(),
    };
    side.write(12, &mut native);
    let body = family("h", 4, &native);
    // Slots are numbered in the order of the pushes, and a family shows its groups in this order: so
    // classic and native ones take turns.
    for n in 0..6 {
        let path = format!("/metrics/job/j{n}");
        let response = if n % 2 == 0 {
            gateway.put(
                &path,
                "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 3\nh_count 4\n",
            )
        } else {
            gateway.request("PUT", &path, &[PROTOBUF], &body)
        };
        assert_eq!(response.status_and_text(), (200, String::new()));
    }
    // A group with both kinds.
    let both = {
        let (mut family, mut body) = (Vec::new(), Vec::new());
        bytes_field(1, b"h", &mut family);
        varint_field(3, 4, &mut family);
        for (kind, histogram) in [(b"native", &native[..]), (b"simple", &[8, 4])] {
            let (mut label, mut metric) = (Vec::new(), Vec::new());
            bytes_field(1, b"kind", &mut label);
            bytes_field(2, kind, &mut label);
            bytes_field(1, &label, &mut metric);
            bytes_field(7, histogram, &mut metric);
            bytes_field(4, &metric, &mut family);
        }
        varint(family.len() as u64, &mut body);
        body.extend_from_slice(&family);
        body
    };
    let response = gateway.request("PUT", "/metrics/job/both", &[PROTOBUF], &both);
    assert_eq!(response.status_and_text(), (200, String::new()));
    let protobuf = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily";
    let accept = format!("{protobuf}; encoding=compact-text");
    let exposed = gateway.request("GET", "/metrics", &[("Accept", &accept)], b"");
    let exposed = exposed.text();
    let messages: Vec<&str> = exposed
        .lines()
        .filter(|line| line.starts_with("name:\"h\""))
        .collect();
    let of_kind = |has_spans| {
        let is_of_kind = |message: &&&str| message.contains("positive_span") == has_spans;
        messages.iter().filter(is_of_kind).count()
    };
    assert_eq!((of_kind(false), of_kind(true)), (1, 1), "{exposed}");
    assert_eq!(gateway.scrape().matches("# TYPE h histogram\n").count(), 1);

    let Some(prometheus) = Prometheus::with_flags(
        &gateway,
        "native-and-classic-histograms",
        &["--enable-feature=native-histograms"],
    ) else {
        return;
    };
    let number = |query: &str| prometheus.wait_for(query).1;
    assert_eq!(number("count(h_count)"), "4");
    assert_eq!(number("count(h_bucket{le=\"1.0\"})"), "3");
    assert_eq!(number("sum(histogram_count(h))"), "12");
    assert_eq!(number("min_over_time(up[5m])"), "1");
}

/// Many families without metrics end Prometheus 3.5, and a unit that does not fit the name takes the
/// target down.
fn families_without_metrics_and_units_are_not_exposed() {
    let gateway = Gateway::start();
    let gauge = |name: &str, has_metric: bool| {
        let (mut family, mut body) = (Vec::new(), Vec::new());
        bytes_field(1, name.as_bytes(), &mut family);
        varint_field(3, 1, &mut family);
        if has_metric {
            bytes_field(4, &[0x12, 0], &mut family);
        }
        bytes_field(5, b"bogus_unit", &mut family);
        varint(family.len() as u64, &mut body);
        body.extend_from_slice(&family);
        body
    };
    let body = [
        gauge("empty_1", false),
        gauge("full", true),
        gauge("empty_2", false),
    ]
    .concat();
    let response = gateway.request("PUT", "/metrics/job/units", &[PROTOBUF], &body);
    assert_eq!(response.status_and_text(), (200, String::new()));
    for accept in [PROTOBUF.1, "text/plain"] {
        let exposed = gateway.request("GET", "/metrics", &[("Accept", accept)], b"");
        assert_eq!(exposed.status, 200);
        let exposed = String::from_utf8_lossy(&exposed.body);
        assert!(exposed.contains("full"));
        assert!(!exposed.contains("empty_") && !exposed.contains("bogus_unit"));
    }
}
