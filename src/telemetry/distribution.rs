//! Quantiles over the last ten minutes, recorded without waiting.
//!
//! A number falls into a bucket whose width is at most 1/64 of the number. Five sets of buckets
//! take turns, each for two minutes. A quantile is the middle of the bucket in which it lies: at
//! most 0.8 % off, and exact below 128.
//!
//! Relaxed throughout: these are statistics, no decision depends on them.

use crate::sync::Statistic;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How long numbers are recorded in one set of buckets.
const WINDOW_MS: u64 = 2 * 60 * 1000;
/// How many sets of buckets there are.
const N_WINDOWS: usize = 5;
/// There are 2 to this power buckets between a power of two and the next.
const PRECISION: u32 = 6;
/// Numbers from 2⁴⁴ on (five hours in nanoseconds, 16 TiB) fall into the last bucket.
const N_BUCKETS: usize = ((44 - PRECISION as usize) << PRECISION) + (1 << PRECISION);

/// The buckets of two minutes.
#[derive(Default)]
struct Window {
    /// Which two minutes these are, counted from 1 at the clock's start; 0 if the window was never
    /// used.
    turn: AtomicU64,
    /// Allocated when the first number is recorded: most gateways only get PUTs or only POSTs.
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
pub(super) struct Distribution {
    windows: [Window; N_WINDOWS],
    count: Statistic,
    sum: Statistic,
}

/// The bucket of a number.
fn bucket_of(value: u64) -> usize {
    let exponent = (63 - (value | 1).leading_zeros()).saturating_sub(PRECISION);
    let bucket = ((exponent as usize) << PRECISION) + (value >> exponent) as usize;
    bucket.min(N_BUCKETS - 1)
}

/// The number in the middle of a bucket.
fn middle_of(bucket: usize) -> f64 {
    if bucket < 2 << PRECISION {
        return bucket as f64;
    }
    let exponent = (bucket >> PRECISION) - 1;
    let low = ((bucket - (exponent << PRECISION)) as u64) << exponent;
    low as f64 + ((1u64 << exponent) - 1) as f64 / 2.0
}

impl Distribution {
    /// Records a number at `now_ms` of a monotonic clock.
    pub fn record(&self, value: u64, now_ms: u64) {
        self.count.add(1);
        self.sum.add(value);
        let turn = now_ms / WINDOW_MS + 1;
        let window = &self.windows[(turn as usize) % N_WINDOWS];
        let before = window.turn.load(Relaxed);
        // The first thread that records in a new turn empties the buckets. What other threads
        // record meanwhile may be lost.
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

    /// How many numbers were recorded since the start, and their sum.
    pub fn totals(&self) -> (u64, u64) {
        (self.count.get(), self.sum.get())
    }

    /// The quantiles of the numbers that all of `parts` recorded in the last ten minutes, at
    /// `ranks` from 0 to 1; NaN if nothing was recorded.
    pub fn quantiles<'a, const N: usize>(
        parts: impl Iterator<Item = &'a Self>,
        ranks: [f64; N],
        now_ms: u64,
    ) -> [f64; N] {
        let turn = now_ms / WINDOW_MS + 1;
        let is_recent = |window: &&Window| {
            let turn_of_window = window.turn.load(Relaxed);
            turn_of_window != 0 && turn_of_window + N_WINDOWS as u64 > turn
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
