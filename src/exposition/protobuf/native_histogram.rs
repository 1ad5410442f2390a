//! Decodes the buckets of a native histogram.
//!
//! The format is that of `io.prometheus.client.Histogram`, fields 5 to 14:
//!
//! ```text
//! schema (5)   zero_threshold (6)   zero_count (7, or 8 as a float)
//! negative_span (9)    negative_delta (10)  negative_count (11)
//! positive_span (12)   positive_delta (13)  positive_count (14)
//! ```
//!
//! In schema `s`, bucket `i` ends at 2^(`i` / 2^`s`) and begins where bucket `i` - 1 ends. Spans
//! say which buckets exist: a span skips `offset` buckets and has the `length` buckets after these.
//! Integer counts are stored as differences (`delta`) from the bucket before, float counts as they
//! are (`count`).

use super::wire::{FieldValue, Fields, MalformedMessage, read_varint};

/// A bucket of a native histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct NativeBucket {
    /// The lower limit of the observations in the bucket.
    pub(crate) lower: f64,
    /// The upper limit of the observations in the bucket.
    pub(crate) upper: f64,
    /// The number of observations in the bucket.
    pub(crate) count: f64,
    /// Whether an observation equal to the lower limit is in the bucket.
    pub(crate) has_lower: bool,
    /// Whether an observation equal to the upper limit is in the bucket.
    pub(crate) has_upper: bool,
}

/// The fields of the buckets for negative or for positive observations.
#[derive(Default)]
pub(super) struct BucketFields {
    /// Offsets and lengths.
    pub(super) spans: Vec<(i32, u32)>,
    pub(super) deltas: Vec<i64>,
    pub(super) counts: Vec<f64>,
}

/// The largest number of buckets that are decoded for each sign. A span is a few bytes and can
/// announce any number of buckets; buckets that the message has no counts for are not decoded
/// either.
const BUCKETS_MAX: usize = 1 << 20;

/// Decodes the buckets of the native histogram in `body`, a `Histogram` message. Returns those with
/// observations in ascending order, or `None` if the message has no native histogram or is
/// malformed.
///
/// A histogram is native if it has a span, as in the reference's query API. A schema and a zero
/// bucket alone are not enough.
pub(crate) fn native_buckets(body: &[u8]) -> Option<Vec<NativeBucket>> {
    let (mut schema, mut zero_threshold, mut zero_count) = (0, 0.0, 0.0);
    let (mut negative, mut positive) = (BucketFields::default(), BucketFields::default());
    for field in Fields::new(body) {
        match field.ok()? {
            (5, FieldValue::Varint(value)) => schema = zigzag32(value),
            (6, FieldValue::Fixed64(bits)) => zero_threshold = f64::from_bits(bits),
            (7, FieldValue::Varint(value)) => zero_count = value as f64,
            (8, FieldValue::Fixed64(bits)) => zero_count = f64::from_bits(bits),
            (number @ 9..=11, value) => negative.read(number - 9, value).ok()?,
            (number @ 12..=14, value) => positive.read(number - 12, value).ok()?,
            _ => {}
        }
    }
    if negative.spans.is_empty() && positive.spans.is_empty() {
        return None;
    }
    if !(-4..=8).contains(&schema) {
        return None;
    }
    let bounds = bounds(schema);
    let bucket = |(index, count): (i64, f64)| {
        (
            bound(schema, &bounds, index - 1),
            bound(schema, &bounds, index),
            count,
        )
    };
    let mut buckets: Vec<NativeBucket> = negative
        .buckets()
        .into_iter()
        .rev()
        .map(bucket)
        .map(|(low, high, count)| NativeBucket {
            lower: -high,
            upper: -low,
            count,
            has_lower: true,
            has_upper: false,
        })
        .collect();
    let zero = NativeBucket {
        lower: -zero_threshold,
        upper: zero_threshold,
        count: zero_count,
        has_lower: true,
        has_upper: true,
    };
    buckets.push(zero);
    let positive = positive.buckets().into_iter().map(bucket);
    buckets.extend(positive.map(|(lower, upper, count)| NativeBucket {
        lower,
        upper,
        count,
        has_lower: false,
        has_upper: true,
    }));
    buckets.retain(|bucket| bucket.count != 0.0);
    Some(buckets)
}

fn zigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The value of a field of 32 bits. As in other readers of protobuf, higher bits do not count.
pub(super) fn zigzag32(value: u64) -> i32 {
    let value = value as u32;
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

impl BucketFields {
    /// The number of buckets that the spans announce.
    pub(super) fn n_in_spans(&self) -> u64 {
        self.spans
            .iter()
            .map(|&(_, length)| u64::from(length))
            .sum()
    }

    /// Reads a span (`field` 0), deltas (1) or counts (2). Packed deltas end where they are
    /// malformed.
    ///
    /// # Errors
    ///
    /// If a span is malformed.
    pub(super) fn read(
        &mut self,
        field: u64,
        value: FieldValue<'_>,
    ) -> Result<(), MalformedMessage> {
        match (field, value) {
            (0, FieldValue::Bytes(span)) => {
                let (mut offset, mut length) = (0, 0);
                for field in Fields::new(span) {
                    match field? {
                        (1, FieldValue::Varint(value)) => offset = zigzag32(value),
                        (2, FieldValue::Varint(value)) => length = value as u32,
                        _ => {}
                    }
                }
                self.spans.push((offset, length));
            }
            (1, FieldValue::Varint(value)) => self.deltas.push(zigzag(value)),
            (1, FieldValue::Bytes(mut packed)) => {
                while let Ok((value, len)) = read_varint(packed) {
                    self.deltas.push(zigzag(value));
                    packed = &packed[len..];
                }
            }
            (2, FieldValue::Fixed64(bits)) => self.counts.push(f64::from_bits(bits)),
            (2, FieldValue::Bytes(packed)) => {
                self.counts.extend(
                    packed
                        .as_chunks::<8>()
                        .0
                        .iter()
                        .map(|bits| f64::from_le_bytes(*bits)),
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// The indices of the buckets, with their counts.
    fn buckets(&self) -> Vec<(i64, f64)> {
        let mut count = 0i64;
        let of_deltas = self.deltas.iter().map(|delta| {
            count = count.wrapping_add(*delta);
            count as f64
        });
        let counts: Vec<f64> = if self.counts.is_empty() {
            of_deltas.collect()
        } else {
            self.counts.clone()
        };
        let mut index = 0i64;
        let mut indices = Vec::new();
        for &(offset, length) in &self.spans {
            index += i64::from(offset);
            let left = counts.len().min(BUCKETS_MAX) - indices.len();
            for _ in 0..u64::from(length).min(left as u64) {
                indices.push(index);
                index += 1;
            }
        }
        indices.into_iter().zip(counts).collect()
    }
}

/// The limits of the buckets from 0.5 up to 1, 1 excluded. They are computed in the way of
/// client_golang, so that they are the same to the bit.
fn bounds(schema: i32) -> Vec<f64> {
    let mut bounds = vec![0.5];
    for n in 1..=schema {
        // The first factor is the square root of two. Go's `Exp2` returns the `f64` below it.
        let factor = if n == 1 {
            std::f64::consts::SQRT_2.next_down()
        } else {
            (-f64::from(n)).exp2().exp2()
        };
        let coarser = std::mem::take(&mut bounds);
        for bound in coarser {
            bounds.push(bound);
            bounds.push(bound * factor);
        }
    }
    bounds
}

/// The upper limit of the bucket `index`. `bounds` are those of the schema.
fn bound(schema: i32, bounds: &[f64], index: i64) -> f64 {
    let clamp = |exponent: i64| i32::try_from(exponent.clamp(-2000, 2000)).expect("clamped");
    if schema <= 0 {
        return 2f64.powi(clamp(index.saturating_mul(1 << -schema)));
    }
    let n = bounds.len().cast_signed() as i64;
    let fraction =
        bounds[usize::try_from(index.rem_euclid(n)).expect("a remainder is not negative")];
    fraction * 2f64.powi(clamp(index.div_euclid(n) + 1))
}

#[cfg(test)]
mod tests {
    use super::super::wire::{write_bytes, write_double, write_varint_field};
    use super::*;

    #[test]
    fn the_schema_sets_the_limits_of_buckets() {
        let mut body = Vec::new();
        write_varint_field(5, 2, &mut body);
        write_double(6, 0.001f64.to_bits(), &mut body);
        write_varint_field(7, 2, &mut body);
        let span = |offset: u64, length| {
            let mut span = Vec::new();
            write_varint_field(1, offset, &mut span);
            write_varint_field(2, length, &mut span);
            span
        };
        write_bytes(9, &span(0, 1), &mut body);
        write_varint_field(10, 6, &mut body);
        write_bytes(12, &span(0, 2), &mut body);
        write_bytes(12, &span(2, 1), &mut body);
        write_bytes(13, &[2, 2, 1], &mut body);
        let shown: Vec<(f64, f64, f64)> = native_buckets(&body)
            .unwrap()
            .iter()
            .map(|bucket| (bucket.lower, bucket.upper, bucket.count))
            .collect();
        assert_eq!(
            shown,
            [
                (-1.0, -0.707_106_781_186_547_5, 3.0),
                (-0.001, 0.001, 2.0),
                (0.707_106_781_186_547_5, 1.0, 1.0),
                (1.0, std::f64::consts::SQRT_2.next_down(), 2.0),
                (2.0, 2.828_427_124_746_19, 1.0)
            ]
        );
    }

    #[test]
    fn a_histogram_without_a_span_is_not_native() {
        let mut body = Vec::new();
        assert_eq!(native_buckets(&body), None);
        write_varint_field(5, 6, &mut body);
        write_double(6, 2.9e-39f64.to_bits(), &mut body);
        write_varint_field(7, 2, &mut body);
        assert_eq!(native_buckets(&body), None);
        // Instrumented processes that have not observed anything send an empty span, to say that
        // the histogram is native.
        write_bytes(12, &[], &mut body);
        assert_eq!(native_buckets(&body).map(|buckets| buckets.len()), Some(1));
    }

    #[test]
    fn buckets_without_counts_are_not_decoded() {
        let mut body = Vec::new();
        write_varint_field(5, 0, &mut body);
        let mut span = Vec::new();
        write_varint_field(2, u64::MAX, &mut span);
        write_bytes(12, &span, &mut body);
        write_varint_field(13, 2, &mut body);
        assert_eq!(native_buckets(&body).unwrap().len(), 1);
    }
}
