//! Each rule for native histograms, with what it accepts and what it refuses.

use super::HistogramDefect::{BucketOrder, Count, CustomBounds, IndexTooLarge};
use super::HistogramDefect::{NegativeCount, SpanLengths, TooManyGaps};
use super::Side::{Negative, Positive};
use super::*;
use crate::exposition::protobuf::wire::{write_double, write_varint_field};

fn side(spans: &[(i32, u32)], deltas: &[i64], counts: &[f64]) -> BucketFields {
    BucketFields {
        spans: spans.to_vec(),
        deltas: deltas.to_vec(),
        counts: counts.to_vec(),
    }
}

/// Seven observations: one in the zero bucket, two in the negative bucket 0, and one in each of
/// the positive buckets 0, 1, 4 and 5.
fn integer() -> NativeHistogram {
    NativeHistogram {
        count: 7,
        sum: 18.4,
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        negative: side(&[(0, 1)], &[2], &[]),
        positive: side(&[(0, 2), (2, 2)], &[1, 0, 0, 0], &[]),
        ..NativeHistogram::default()
    }
}

/// The same with float counts.
fn float() -> NativeHistogram {
    NativeHistogram {
        count: 0,
        count_float: 7.0,
        zero_count: 0,
        zero_count_float: 1.0,
        negative: side(&[(0, 1)], &[], &[2.0]),
        positive: side(&[(0, 2), (2, 2)], &[], &[1.0; 4]),
        ..integer()
    }
}

/// Checks `valid` after a change.
fn check(
    valid: fn() -> NativeHistogram,
    change: impl FnOnce(&mut NativeHistogram),
) -> Result<ExposedBuckets, HistogramDefect> {
    let mut histogram = valid();
    change(&mut histogram);
    histogram.check(&mut 0)
}

const ACCEPTED: Result<ExposedBuckets, HistogramDefect> = Ok(ExposedBuckets::Pushed);

#[test]
fn what_prometheus_stores_is_accepted() {
    for valid in [integer, float] {
        let accepts = |change: fn(&mut NativeHistogram)| {
            assert_eq!(check(valid, change), ACCEPTED);
        };
        accepts(|_| {});
        for schema in [99, -9, 20, 8, -4, i32::MIN, i32::MAX] {
            assert_eq!(check(valid, |h| h.schema = schema), ACCEPTED);
        }
        for threshold in [f64::NAN, -1.0, 0.0, f64::INFINITY, 1e-320] {
            assert_eq!(check(valid, |h| h.zero_threshold = threshold), ACCEPTED);
        }
        accepts(|h| h.sum = f64::INFINITY);
        accepts(|h| h.sum = f64::NAN);
        // Spans without buckets, and a negative offset where only empty buckets are.
        accepts(|h| h.positive.spans.push((3, 0)));
        accepts(|h| h.positive.spans.insert(1, (-2, 0)));
        accepts(|h| h.positive.spans = vec![(-300, 1), (0, 3)]);
    }
    // Only the fields of a histogram's kind count.
    assert_eq!(check(integer, |h| h.positive.counts = vec![-1.0]), ACCEPTED);
    assert_eq!(check(integer, |h| h.count_float = f64::NAN), ACCEPTED);
    assert_eq!(check(integer, |h| h.zero_count_float = -1.0), ACCEPTED);
    assert_eq!(check(float, |h| h.positive.deltas = vec![-1]), ACCEPTED);
    // Counts of floats are not added up.
    for count in [6.5, 0.1, f64::INFINITY, -1.0, f64::NAN] {
        assert_eq!(check(float, |h| h.count_float = count), ACCEPTED);
    }
    let counts = || vec![f64::NAN, f64::INFINITY, -0.0, 0.5];
    assert_eq!(check(float, |h| h.positive.counts = counts()), ACCEPTED);
    // NaN observations are in no bucket.
    let nan = |h: &mut NativeHistogram| (h.sum, h.count) = (f64::NAN, 8);
    assert_eq!(check(integer, nan), ACCEPTED);
    // Empty buckets may lie before each other.
    let empty = |h: &mut NativeHistogram| {
        h.positive = side(&[(0, 2), (-1, 1), (0, 1)], &[1, -1, 0, 3], &[]);
    };
    assert_eq!(check(integer, empty), ACCEPTED);
}

#[test]
fn histograms_that_are_not_native_are_not_checked() {
    let classic = |h: &mut NativeHistogram| {
        h.negative.spans.clear();
        h.positive.spans.clear();
        (h.zero_threshold, h.zero_count) = (0.0, 0);
    };
    for valid in [integer, float] {
        assert_eq!(check(valid, classic), ACCEPTED);
    }
    let nan = |h: &mut NativeHistogram| {
        classic(h);
        h.zero_threshold = f64::NAN;
    };
    assert_eq!(check(integer, nan), ACCEPTED);
    let zero = |h: &mut NativeHistogram| {
        classic(h);
        h.zero_count = 7;
    };
    let defect = SpanLengths {
        side: Negative,
        n_in_spans: 0,
        n_buckets: 1,
    };
    assert_eq!(check(integer, zero), Err(defect));
}

#[test]
fn spans_have_as_many_buckets_as_there_are() {
    let lengths = |n_in_spans, n_buckets| {
        Err(SpanLengths {
            side: Positive,
            n_in_spans,
            n_buckets,
        })
    };
    for valid in [integer, float] {
        let check = |change: fn(&mut BucketFields)| check(valid, |h| change(&mut h.positive));
        let longer = |f: &mut BucketFields| f.spans[1].1 = 3;
        assert_eq!(check(longer), lengths(5, 4));
        assert_eq!(
            check(|f| f.spans[1].1 = u32::MAX),
            lengths((1 << 32) + 1, 4)
        );
        // The sum does not wrap.
        let wraps = |f: &mut BucketFields| f.spans = vec![(0, 1 << 31), (0, 1 << 31), (0, 4)];
        assert_eq!(check(wraps), lengths((1 << 32) + 4, 4));
        assert_eq!(check(|f| f.spans.truncate(1)), lengths(2, 4));
        assert_eq!(check(|f| f.spans = vec![(0, 0)]), lengths(0, 4));
        assert_eq!(check(|f| f.spans.clear()), lengths(0, 4));
    }
    assert_eq!(check(integer, |h| h.positive.deltas.clear()), lengths(4, 0));
    assert_eq!(check(float, |h| h.positive.counts.push(0.0)), lengths(4, 5));
    // Counts instead of deltas, and the other way round.
    let counts = |h: &mut NativeHistogram| h.positive = float().positive;
    assert_eq!(check(integer, counts), lengths(4, 0));
    let deltas = |h: &mut NativeHistogram| h.positive = integer().positive;
    assert_eq!(check(float, deltas), lengths(4, 0));
}

#[test]
fn no_bucket_has_a_negative_count() {
    let below_0 = |side, index| Err(NegativeCount { side, index });
    for (deltas, index) in [
        (vec![-1, 2, 0, 0], 0),
        (vec![1, -2, 2, 0], 1),
        (vec![1, 0, 0, -2], 5),
        (vec![i64::MAX, 1, 0, 0], 1),
        (vec![i64::MIN, 0, 0, 0], 0),
    ] {
        let change = |h: &mut NativeHistogram| h.positive.deltas = deltas;
        assert_eq!(check(integer, change), below_0(Positive, index));
    }
    for count in [-1.0, f64::NEG_INFINITY, -5e-324] {
        let change = |h: &mut NativeHistogram| h.negative.counts = vec![count];
        assert_eq!(check(float, change), below_0(Negative, 0));
    }
}

#[test]
fn populated_buckets_ascend_within_bounds() {
    for valid in [integer, float] {
        let spans = |spans: Vec<(i32, u32)>| check(valid, |h| h.positive.spans = spans);
        let order = |index| {
            Err(BucketOrder {
                side: Positive,
                index,
            })
        };
        assert_eq!(spans(vec![(0, 2), (-1, 2)]), order(1));
        assert_eq!(spans(vec![(5, 1), (-2, 0), (0, 3)]), order(4));
        assert!(spans(vec![(0, 2), (i32::MIN, 2)]).is_err());
        let far = |index| {
            Err(IndexTooLarge {
                side: Positive,
                index,
            })
        };
        assert_eq!(spans(vec![(1 << 30, 1), (0, 3)]), far((1 << 30) + 1));
        assert_eq!(spans(vec![((1 << 30) - 3, 4)]), ACCEPTED);
        assert_eq!(spans(vec![(-(1 << 30), 4)]), ACCEPTED);
        assert_eq!(spans(vec![(-(1 << 30) - 1, 4)]), far(-(1 << 30) - 1));
        assert_eq!(
            spans(vec![(i32::MAX, 2), (i32::MAX, 2)]),
            far(i32::MAX.into())
        );
    }
}

#[test]
fn the_count_of_an_integer_histogram_is_that_of_its_buckets() {
    let count = |count, in_buckets| Err(Count { count, in_buckets });
    for wrong in [6, 8, 0, u64::MAX] {
        assert_eq!(check(integer, |h| h.count = wrong), count(wrong, 7));
    }
    assert_eq!(check(integer, |h| h.zero_count = 2), count(7, 8));
    // The sum wraps, as Prometheus' does.
    assert_eq!(check(integer, |h| h.zero_count = u64::MAX), count(7, 5));
    let nan = |h: &mut NativeHistogram| (h.sum, h.count) = (f64::NAN, 6);
    assert_eq!(check(integer, nan), count(6, 7));
}

#[test]
fn custom_bounds_are_not_there() {
    let custom = |valid: fn() -> NativeHistogram, change: fn(&mut NativeHistogram)| {
        check(valid, |h| {
            h.schema = -53;
            (h.zero_threshold, h.zero_count, h.zero_count_float) = (0.0, 0, 0.0);
            (h.negative, h.positive) = Default::default();
            h.positive = side(&[(0, 1)], &[7], &[7.0]);
            change(h);
        })
    };
    for valid in [integer, float] {
        let refused = |change| {
            assert_eq!(custom(valid, change), Err(CustomBounds));
        };
        assert_eq!(custom(valid, |_| {}), ACCEPTED);
        assert_eq!(custom(valid, |h| h.zero_threshold = -0.0), ACCEPTED);
        refused(|h| h.zero_threshold = f64::NAN);
        refused(|h| h.zero_threshold = 0.001);
        refused(|h| (h.zero_count, h.zero_count_float) = (1, 1.0));
        refused(|h| h.positive.spans = vec![(1, 1)]);
        refused(|h| h.positive.spans = vec![(-1, 1)]);
        refused(|h| h.positive = side(&[(0, 2)], &[3, 1], &[3.0, 4.0]));
        refused(|h| h.negative = side(&[(0, 1)], &[1], &[1.0]));
        // An empty negative bucket is dropped before Prometheus looks.
        let empty = |h: &mut NativeHistogram| h.negative = side(&[(0, 1)], &[0], &[0.0]);
        assert_eq!(custom(valid, empty), ACCEPTED);
    }
}

#[test]
fn gaps_cost_as_many_moves_as_there_are_elements_behind_them() {
    let alternating = |n_buckets: u32| NativeHistogram {
        count: u64::from(n_buckets / 2),
        positive: side(
            &[(0, n_buckets)],
            &[1, -1].repeat(n_buckets as usize / 2),
            &[],
        ),
        ..NativeHistogram::default()
    };
    let moves = |histogram: NativeHistogram| {
        let mut moves = 0;
        assert_eq!(histogram.check(&mut moves), ACCEPTED);
        moves
    };
    assert_eq!(moves(integer()), 0);
    assert_eq!(moves(alternating(160)), 6400);
    let spans = NativeHistogram {
        positive: side(&[(1, 1); 1000], &[0; 1000], &[]),
        ..NativeHistogram::default()
    };
    assert_eq!(moves(spans), 1_000_000);
    let dense = NativeHistogram {
        count: 100_000,
        positive: side(&[(0, 100_000)], &[&[1][..], &[0; 99_999]].concat(), &[]),
        ..NativeHistogram::default()
    };
    assert_eq!(moves(dense), 0);
    // The histograms of a push count together.
    let mut total = GAP_MOVES_MAX - 6400;
    assert_eq!(alternating(160).check(&mut total), ACCEPTED);
    assert_eq!(alternating(160).check(&mut total), Err(TooManyGaps));
    let mut total = 0;
    assert_eq!(alternating(30_000).check(&mut total), Err(TooManyGaps));
}

/// Such a histogram would take the target down, but it is what a correct client sends.
#[test]
fn a_float_histogram_without_observations_is_exposed_without_its_buckets() {
    let at_rest = |h: &mut NativeHistogram| {
        (h.count_float, h.zero_count_float) = (0.0, 0.0);
        (h.negative.counts, h.positive.counts) = (vec![0.0], vec![0.0, -0.0, 0.0, 0.0]);
    };
    let omitted = Ok(ExposedBuckets::Omitted);
    assert_eq!(check(float, at_rest), omitted);
    for counts in [vec![0.0; 5], vec![0.0, 0.0, 0.0, 1.0], vec![f64::NAN; 4]] {
        let change = |h: &mut NativeHistogram| {
            at_rest(h);
            h.positive.counts = counts;
        };
        assert!(check(float, change).is_err());
    }
    let mut body = Vec::new();
    write_double(4, 0, &mut body);
    write_varint_field(5, 6, &mut body);
    write_bytes(12, &[0x10, 1], &mut body);
    write_bytes(14, &[0; 8], &mut body);
    write_bytes(15, &[0x08, 1], &mut body);
    let mut expected = Vec::new();
    write_double(4, 0, &mut expected);
    write_varint_field(5, 6, &mut expected);
    write_bytes(15, &[0x08, 1], &mut expected);
    write_bytes(12, &[], &mut expected);
    assert_eq!(without_buckets(&body), Ok(expected.clone()));
    let read = |body: &[u8]| NativeHistogram::read(body).unwrap().check(&mut 0);
    assert_eq!((read(&body), read(&expected)), (omitted, ACCEPTED));
}

#[test]
fn fields_of_32_bits_ignore_higher_bits() {
    let mut body = Vec::new();
    write_varint_field(1, 1, &mut body);
    write_varint_field(5, 5 << 32 | 6, &mut body);
    let mut span = Vec::new();
    write_varint_field(1, 7 << 32 | 4, &mut span);
    write_varint_field(2, 9 << 32 | 1, &mut span);
    write_bytes(12, &span, &mut body);
    write_varint_field(13, 2, &mut body);
    let histogram = NativeHistogram::read(&body).unwrap();
    assert_eq!(
        (histogram.schema, &histogram.positive.spans[..]),
        (3, &[(2, 1)][..])
    );
    assert_eq!(histogram.check(&mut 0), ACCEPTED);
}
