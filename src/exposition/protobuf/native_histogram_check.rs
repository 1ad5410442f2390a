//! Refuses native histograms that a Prometheus which scrapes them could not read.
//!
//! A histogram that breaks one of these rules makes Prometheus 3.5 drop everything that the gateway
//! exposes, or ends the Prometheus process. The rules are what its parser
//! (`ProtobufParser.Histogram`), `Histogram.Compact` and `Histogram.Validate` check, and what they
//! assume without a check. Whatever Prometheus stores is accepted, also where it makes little sense
//! (a schema of 99, a zero threshold of -1 or NaN, a float count that differs from the buckets).
//!
//! - A histogram is *native* if it has a span, a zero threshold above 0 or an integer zero count
//!   above 0. No rule applies to other histograms.
//! - It is a *float* histogram if its float count or float zero count is above 0. Then only the
//!   float counts are read; else only the integer count, zero count and deltas.
//! - The lengths of the spans of each side (negative, positive) add up to the number of its buckets.
//! - No bucket has a count below 0. A bucket is *populated* if its count is not 0.
//! - The indices of the populated buckets of a side ascend. (An offset may be negative where there
//!   are only empty buckets: Prometheus drops these first.) No index is beyond ±2³⁰.
//! - The count of an integer histogram is the sum of its buckets and its zero count. If the sum of
//!   the observations is NaN, the count may be larger, because NaN is in no bucket.
//! - In schema -53, bounds are listed one by one, for which this format has no field. So only the
//!   positive bucket 0 may be populated; zero count and zero threshold are 0.
//! - The gaps between the buckets do not take too long to close: see [`GAP_MOVES_MAX`].

use super::native_histogram::{BucketFields, zigzag32};
use super::wire::{FieldValue, Fields, MalformedMessage, write_bytes};
use std::fmt;

/// The largest number of elements that Prometheus may have to move, at each scrape, to close the
/// gaps in the native histograms of one push.
///
/// Prometheus closes each run of empty buckets by copying everything behind it, so the work grows
/// with the square of the number of buckets. Prometheus 3.5 needs 0.15 to 0.25 seconds for this many
/// moves, and a minute for a histogram of 300,000 buckets of which every other one is empty. A
/// histogram of 160 buckets, the usual limit of client libraries, of which every other one is empty
/// takes 6,400 moves.
pub(super) const GAP_MOVES_MAX: u64 = 100_000_000;

/// The largest distance of a populated bucket from bucket 0. In the finest schema, 8, the largest
/// `f64` has an index of about 262,000. Prometheus computes gaps with 32 bits, so the distance of
/// two buckets must fit these.
const INDEX_MAX: u64 = 1 << 30;

/// The schema of histograms with custom bounds.
const CUSTOM_BOUNDS_SCHEMA: i32 = -53;

/// How a native histogram that is accepted is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExposedBuckets {
    /// As they were pushed.
    Pushed,
    /// Without: see [`NativeHistogram::is_float_without_observations`].
    Omitted,
}

/// Whether buckets count negative or positive observations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Negative,
    Positive,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Negative => "negative",
            Self::Positive => "positive",
        })
    }
}

/// The rule that a native histogram breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HistogramDefect {
    SpanLengths {
        side: Side,
        n_in_spans: u64,
        n_buckets: u64,
    },
    NegativeCount {
        side: Side,
        index: i64,
    },
    BucketOrder {
        side: Side,
        index: i64,
    },
    IndexTooLarge {
        side: Side,
        index: i64,
    },
    Count {
        count: u64,
        in_buckets: u64,
    },
    CustomBounds,
    TooManyGaps,
}

impl fmt::Display for HistogramDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpanLengths {
                side,
                n_in_spans,
                n_buckets,
            } => write!(
                f,
                "its {side} spans need {n_in_spans} buckets, but there are {n_buckets}"
            ),
            Self::NegativeCount { side, index } => {
                write!(f, "its {side} bucket {index} has a count below 0")
            }
            Self::BucketOrder { side, index } => write!(
                f,
                "its {side} bucket {index} does not come after the bucket before it"
            ),
            Self::IndexTooLarge { side, index } => write!(
                f,
                "its {side} bucket {index} is more than {INDEX_MAX} away from bucket 0, which is \
                 the limit"
            ),
            Self::Count { count, in_buckets } => write!(
                f,
                "its count is {count}, but its buckets hold {in_buckets} observations"
            ),
            Self::CustomBounds => write!(
                f,
                "its schema is {CUSTOM_BOUNDS_SCHEMA}, but it has no custom bounds"
            ),
            Self::TooManyGaps => write!(
                f,
                "there are too many gaps between the buckets of this push: a scrape moves more \
                 than {GAP_MOVES_MAX} elements to close them, which is the limit"
            ),
        }
    }
}

/// The fields of a `Histogram` message that matter to the rules.
#[derive(Default)]
pub(super) struct NativeHistogram {
    count: u64,
    count_float: f64,
    sum: f64,
    schema: i32,
    zero_threshold: f64,
    zero_count: u64,
    zero_count_float: f64,
    negative: BucketFields,
    positive: BucketFields,
}

impl NativeHistogram {
    /// Reads a `Histogram` message.
    ///
    /// # Errors
    ///
    /// If the message is malformed.
    pub(super) fn read(body: &[u8]) -> Result<Self, MalformedMessage> {
        let mut this = Self::default();
        for field in Fields::new(body) {
            match field? {
                (1, FieldValue::Varint(value)) => this.count = value,
                (2, FieldValue::Fixed64(bits)) => this.sum = f64::from_bits(bits),
                (4, FieldValue::Fixed64(bits)) => this.count_float = f64::from_bits(bits),
                (5, FieldValue::Varint(value)) => this.schema = zigzag32(value),
                (6, FieldValue::Fixed64(bits)) => this.zero_threshold = f64::from_bits(bits),
                (7, FieldValue::Varint(value)) => this.zero_count = value,
                (8, FieldValue::Fixed64(bits)) => this.zero_count_float = f64::from_bits(bits),
                (number @ 9..=11, value) => this.negative.read(number - 9, value)?,
                (number @ 12..=14, value) => this.positive.read(number - 12, value)?,
                _ => {}
            }
        }
        Ok(this)
    }

    /// Checks the histogram. `gap_moves` is the number of elements to be moved for the histograms
    /// of the push that were checked before; those of this histogram are added. A valid histogram
    /// takes time in proportion to its buckets and spans.
    ///
    /// # Errors
    ///
    /// The first rule that the histogram breaks.
    pub(super) fn check(mut self, gap_moves: &mut u64) -> Result<ExposedBuckets, HistogramDefect> {
        let is_native = !self.negative.spans.is_empty()
            || !self.positive.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0;
        if !is_native {
            return Ok(ExposedBuckets::Pushed);
        }
        let is_float = self.count_float > 0.0 || self.zero_count_float > 0.0;
        let exposed_buckets = if !is_float && self.is_float_without_observations() {
            (self.negative, self.positive) = Default::default();
            ExposedBuckets::Omitted
        } else {
            ExposedBuckets::Pushed
        };
        let negative = check_side(Side::Negative, &self.negative, is_float, gap_moves)?;
        let positive = check_side(Side::Positive, &self.positive, is_float, gap_moves)?;
        if *gap_moves > GAP_MOVES_MAX {
            return Err(HistogramDefect::TooManyGaps);
        }
        if self.schema == CUSTOM_BOUNDS_SCHEMA {
            let is_zero_empty = if is_float {
                self.zero_count_float == 0.0
            } else {
                self.zero_count == 0
            };
            // Indices ascend, so a single populated bucket remains: the one with index 0.
            if negative.populated.is_some()
                || positive.populated.is_some_and(|indices| indices != (0, 0))
                || !is_zero_empty
                || self.zero_threshold != 0.0
            {
                return Err(HistogramDefect::CustomBounds);
            }
        }
        // Prometheus wraps these sums, too. The counts of float histograms are not compared.
        let in_buckets = negative
            .n_observations
            .wrapping_add(positive.n_observations)
            .wrapping_add(self.zero_count);
        let is_count_right = if self.sum.is_nan() {
            in_buckets <= self.count
        } else {
            in_buckets == self.count
        };
        if is_float || is_count_right {
            Ok(exposed_buckets)
        } else {
            Err(HistogramDefect::Count {
                count: self.count,
                in_buckets,
            })
        }
    }

    /// Whether this is a float histogram with buckets but without observations, as a gauge
    /// histogram at rest is. Prometheus 3.5 takes it for an integer histogram, because its count is
    /// not above 0, and then misses the deltas of its buckets. Without the buckets, Prometheus
    /// reads the same histogram: all of them are empty.
    fn is_float_without_observations(&self) -> bool {
        let sides = [&self.negative, &self.positive];
        sides.iter().any(|side| !side.counts.is_empty())
            && sides.iter().all(|side| {
                side.deltas.is_empty()
                    && side.counts.len() as u64 == side.n_in_spans()
                    && side.counts.iter().all(|&count| count == 0.0)
            })
    }
}

/// A `Histogram` message without its buckets. An empty span says that it is native all the same.
pub(super) fn without_buckets(body: &[u8]) -> Result<Vec<u8>, MalformedMessage> {
    let mut out = Vec::with_capacity(body.len());
    let (mut fields, mut start) = (Fields::new(body), 0);
    while let Some(field) = fields.next() {
        let (number, _) = field?;
        let end = body.len() - fields.n_bytes_left();
        if !(9..=14).contains(&number) {
            out.extend_from_slice(&body[start..end]);
        }
        start = end;
    }
    write_bytes(12, &[], &mut out);
    Ok(out)
}

/// The count of a bucket, as far as it matters.
enum BucketCount {
    Negative,
    Empty,
    /// With the count of an integer histogram. NaN is not empty either.
    Populated(u64),
}

/// What the buckets of one side are together.
#[derive(Default)]
struct SideSummary {
    /// The first and the last index of a populated bucket.
    populated: Option<(i64, i64)>,
    /// The number of observations in the buckets of an integer histogram.
    n_observations: u64,
}

/// Checks the buckets of one side. Adds the elements to be moved to `gap_moves`.
fn check_side(
    side: Side,
    fields: &BucketFields,
    is_float: bool,
    gap_moves: &mut u64,
) -> Result<SideSummary, HistogramDefect> {
    if is_float {
        let counts = fields.counts.iter().map(|&count| {
            if count < 0.0 {
                BucketCount::Negative
            } else if count == 0.0 {
                BucketCount::Empty
            } else {
                BucketCount::Populated(0)
            }
        });
        check_buckets(side, fields, counts, gap_moves)
    } else {
        let mut count = 0i64;
        let counts = fields.deltas.iter().map(|&delta| {
            count = count.wrapping_add(delta);
            match u64::try_from(count) {
                Err(_) => BucketCount::Negative,
                Ok(0) => BucketCount::Empty,
                Ok(count) => BucketCount::Populated(count),
            }
        });
        check_buckets(side, fields, counts, gap_moves)
    }
}

/// As [`check_side`], with the counts of the buckets.
fn check_buckets(
    side: Side,
    fields: &BucketFields,
    mut counts: impl ExactSizeIterator<Item = BucketCount>,
    gap_moves: &mut u64,
) -> Result<SideSummary, HistogramDefect> {
    let (n_in_spans, n_buckets) = (fields.n_in_spans(), counts.len() as u64);
    if n_in_spans != n_buckets {
        return Err(HistogramDefect::SpanLengths {
            side,
            n_in_spans,
            n_buckets,
        });
    }
    let (mut summary, mut index, mut n_left) = (SideSummary::default(), 0i64, n_buckets);
    for (n, &(offset, length)) in fields.spans.iter().enumerate() {
        index += i64::from(offset);
        // A run of empty buckets is closed by moving the buckets and spans behind it.
        let (n_spans_left, mut in_gap) = ((fields.spans.len() - n) as u64, false);
        for count in counts.by_ref().take(length as usize) {
            if in_gap && !matches!(count, BucketCount::Empty) {
                *gap_moves += n_left + n_spans_left;
                in_gap = false;
            }
            n_left -= 1;
            match count {
                BucketCount::Negative => {
                    return Err(HistogramDefect::NegativeCount { side, index });
                }
                BucketCount::Empty => in_gap = true,
                BucketCount::Populated(_) if index.unsigned_abs() > INDEX_MAX => {
                    return Err(HistogramDefect::IndexTooLarge { side, index });
                }
                BucketCount::Populated(n_observations) => {
                    let (first, last) = summary.populated.unwrap_or((index, i64::MIN));
                    if index <= last {
                        return Err(HistogramDefect::BucketOrder { side, index });
                    }
                    summary.populated = Some((first, index));
                    summary.n_observations = summary.n_observations.wrapping_add(n_observations);
                }
            }
            index += 1;
        }
        if in_gap {
            *gap_moves += n_left + n_spans_left;
        }
    }
    Ok(summary)
}

#[cfg(test)]
mod tests;
