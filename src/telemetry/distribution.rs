//! Quantiles over the last ten minutes, recorded without waiting.
//!
//! Numbers fall into buckets whose width is at most 1/64 of their value; five sets of buckets of
//! two minutes each take turns. A quantile is the middle of the bucket it falls into: at most 0.8 %
//! off, and exact below 128.

use crate::sync::Statistic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const WINDOW_MS: u64 = 2 * 60 * 1000;
const N_WINDOWS: usize = 5;
/// Buckets for each power of two, as a power of two.
const PRECISION: u32 = 6;
/// Numbers from 2⁴⁴ on (five hours in nanoseconds, 16 TiB) fall into the last bucket.
const N_BUCKETS: usize = ((44 - PRECISION as usize) << PRECISION) + (1 << PRECISION);

#[derive(Default)]
struct Window {
    /// Which two minutes, counted from the clock's beginning, plus one; 0 for never used.
    turn: AtomicU64,
    /// Made when something is counted: most gateways see one kind of push.
    counts: OnceLock<Box<[AtomicU32]>>,
}

impl Window {
    fn counts(&self) -> &[AtomicU32] {
        self.counts
            .get_or_init(|| (0..N_BUCKETS).map(|_| AtomicU32::new(0)).collect())
    }
}

/// A distribution of whole numbers.
#[derive(Default)]
pub struct Distribution {
    windows: [Window; N_WINDOWS],
    count: Statistic,
    sum: Statistic,
}

fn bucket_of(value: u64) -> usize {
    let exponent = (63 - (value | 1).leading_zeros()).saturating_sub(PRECISION);
    let bucket = ((exponent as usize) << PRECISION) + (value >> exponent) as usize;
    bucket.min(N_BUCKETS - 1)
}

fn middle_of(bucket: usize) -> f64 {
    if bucket < 2 << PRECISION {
        return bucket as f64;
    }
    let exponent = (bucket >> PRECISION) - 1;
    let low = ((bucket - (exponent << PRECISION)) as u64) << exponent;
    low as f64 + ((1u64 << exponent) - 1) as f64 / 2.0
}

impl Distribution {
    /// Records a number at `now_ms` of a clock that does not go back.
    pub fn record(&self, value: u64, now_ms: u64) {
        self.count.add(1);
        self.sum.add(value);
        let turn = now_ms / WINDOW_MS + 1;
        let window = &self.windows[(turn as usize) % N_WINDOWS];
        let before = window.turn.load(Relaxed);
        // Relaxed throughout: a statistic. Whoever is first in a new turn empties the buckets; what
        // others record meanwhile may be lost.
        if before != turn
            && window
                .turn
                .compare_exchange(before, turn, Relaxed, Relaxed)
                .is_ok()
            && before != 0
        {
            window
                .counts()
                .iter()
                .for_each(|count| count.store(0, Relaxed));
        }
        window.counts()[bucket_of(value)].fetch_add(1, Relaxed);
    }

    /// How many numbers were ever recorded, and their sum.
    pub fn totals(&self) -> (u64, u64) {
        (self.count.get(), self.sum.get())
    }

    /// The quantiles of these ascending ranks over the last ten minutes and over all of `parts`;
    /// NaN for none recorded.
    pub fn quantiles<'a, const N: usize>(
        parts: impl Iterator<Item = &'a Self>,
        ranks: [f64; N],
        now_ms: u64,
    ) -> [f64; N] {
        let turn = now_ms / WINDOW_MS + 1;
        let is_recent = |window: &&Window| {
            let of = window.turn.load(Relaxed);
            of != 0 && of + N_WINDOWS as u64 > turn
        };
        let recent: Vec<&[AtomicU32]> = parts
            .flat_map(|part| part.windows.iter().filter(is_recent))
            .map(Window::counts)
            .collect();
        let count = |bucket: usize| {
            recent
                .iter()
                .map(|counts| u64::from(counts[bucket].load(Relaxed)))
                .sum::<u64>()
        };
        let counts: Vec<u64> = (0..N_BUCKETS).map(count).collect();
        let total: u64 = counts.iter().sum();
        ranks.map(|rank| {
            let wanted = (rank * total as f64).ceil().max(1.0) as u64;
            let mut seen = 0;
            let bucket = counts.iter().position(|&count| {
                seen += count;
                seen >= wanted
            });
            bucket.map_or(f64::NAN, middle_of)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_exact_and_large_ones_nearly() {
        for value in (0..128).chain([128, 1000, 123_456_789, 1 << 43]) {
            let middle = middle_of(bucket_of(value));
            assert!(
                (middle - value as f64).abs() <= value as f64 * 0.008,
                "{value}: {middle}"
            );
            if value < 128 {
                assert_eq!(middle, value as f64);
            }
        }
        assert_eq!(bucket_of(u64::MAX), N_BUCKETS - 1);
        assert!((1..N_BUCKETS).all(|bucket| middle_of(bucket) > middle_of(bucket - 1)));
    }

    #[test]
    fn quantiles_forget_after_ten_minutes() {
        let (first, second) = (Distribution::default(), Distribution::default());
        let quantile = |rank, now_ms| {
            Distribution::quantiles([&first, &second].into_iter(), [rank], now_ms)[0]
        };
        (1..=99).for_each(|value| [&first, &second][value % 2].record(value as u64, 0));
        first.record(100, 0);
        assert_eq!(
            [0.1, 0.5, 0.9].map(|rank| quantile(rank, 1)),
            [10.0, 50.0, 90.0]
        );
        second.record(7, 5 * WINDOW_MS);
        assert_eq!(quantile(0.5, 5 * WINDOW_MS), 7.0);
        assert!(quantile(0.5, 11 * WINDOW_MS).is_nan());
        assert_eq!(
            (
                first.totals().0 + second.totals().0,
                first.totals().1 + second.totals().1
            ),
            (101, 5057)
        );
    }
}
