//! The numbers of pushes.
//!
//! Every number is a function of the group, the push's sequence number and the line. The first
//! number of a push tells its sequence number ([`sequence_number`]), so the values that a scrape
//! shows for a group tell which push they belong to.
//!
//! The kind of the values decides how well an exposition compresses, and with that how long a
//! scrape takes. Fleets in the field are somewhere between the two kinds.

use crate::workload::N_FLEET_LINES;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// How the values of different groups and pushes relate to each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ValueKind {
    /// Groups that have pushed equally often resemble each other: counters grow with the number of
    /// pushes, gauges have three digits, and times share their first digits.
    #[default]
    Similar,
    /// No value resembles those of other groups and pushes: counters of 10 digits, durations of 15
    /// to 17 digits.
    Independent,
}

impl ValueKind {
    /// The name, as `--values` accepts it and as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Similar => "similar",
            Self::Independent => "independent",
        }
    }
}

/// Ten to the power of 7.
const SEVEN_DIGITS: u64 = 10_000_000;

/// The digits behind the decimal point.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Decimals {
    None,
    Seven(u64),
    Fourteen(u64),
}

/// A number of a push.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Number {
    integer: u64,
    decimals: Decimals,
}

impl Number {
    const fn whole(integer: u64) -> Self {
        Self {
            integer,
            decimals: Decimals::None,
        }
    }

    /// With seven digits behind the decimal point, taken from the end of `digits`.
    const fn with_seven(integer: u64, digits: u64) -> Self {
        Self {
            integer,
            decimals: Decimals::Seven(digits % SEVEN_DIGITS),
        }
    }

    /// A counter of 10 digits.
    pub fn ten_digits(random: u64) -> Self {
        Self::whole(1_000_000_000 + random % 9_000_000_000)
    }

    /// A duration of 15 to 17 digits: up to three in front of the decimal point, 14 behind it.
    pub fn duration(random: u64, other_random: u64) -> Self {
        Self {
            integer: 1 + random % 999,
            decimals: Decimals::Fourteen(other_random % (SEVEN_DIGITS * SEVEN_DIGITS)),
        }
    }

    /// Appends the decimal digits.
    pub fn write(self, out: &mut Vec<u8>) {
        write_integer(self.integer, out);
        match self.decimals {
            Decimals::None => {}
            Decimals::Seven(digits) => {
                out.push(b'.');
                write_seven_digits(digits, out);
            }
            Decimals::Fourteen(digits) => {
                out.push(b'.');
                write_seven_digits(digits / SEVEN_DIGITS, out);
                write_seven_digits(digits % SEVEN_DIGITS, out);
            }
        }
    }
}

/// Appends a whole number.
pub fn write_integer(integer: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
}

/// Appends a number with at least seven digits, filled up with leading zeros.
pub fn write_seven_digits(number: u64, out: &mut Vec<u8>) {
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(match number {
        0..SEVEN_DIGITS => &buffer.format(SEVEN_DIGITS + number).as_bytes()[1..],
        _ => buffer.format(number).as_bytes(),
    });
}

/// A pseudo-random number that is a function of group, sequence number and line.
pub fn pseudo_random(group: u32, seq: u64, line: u64) -> u64 {
    let mut x = (u64::from(group) << 40) ^ (seq << 8) ^ line;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The number of one of the families or series that some workloads add to the twelve lines of a
/// fleet: a counter.
pub fn extra_counter(kind: ValueKind, group: u32, seq: u64, line: u64, step: u64) -> Number {
    let random = pseudo_random(group, seq, line);
    match kind {
        ValueKind::Similar => Number::whole(seq * step + random % step),
        ValueKind::Independent => Number::ten_digits(random),
    }
}

/// The same: a gauge of seconds.
pub fn extra_gauge(kind: ValueKind, group: u32, seq: u64, line: u64) -> Number {
    let random = pseudo_random(group, seq, line);
    match kind {
        ValueKind::Similar => Number::with_seven(random % 1000, random / 1000),
        ValueKind::Independent => {
            Number::duration(random, pseudo_random(group, seq, line ^ 1 << 39))
        }
    }
}

/// The numbers of the twelve lines of a fleet push.
pub fn fleet_numbers(kind: ValueKind, group: u32, seq: u64) -> [Number; N_FLEET_LINES] {
    match kind {
        ValueKind::Similar => similar_numbers(group, seq),
        ValueKind::Independent => independent_numbers(group, seq),
    }
}

fn similar_numbers(group: u32, seq: u64) -> [Number; N_FLEET_LINES] {
    let random = |line| pseudo_random(group, seq, line);
    let gauge = |line| Number::whole(100 + random(line) % 900);
    let (fast, slow) = (seq * 3 + random(8) % 3, random(9) % 50);
    [
        Number::whole(seq),
        Number::whole(seq * 731 + random(1) % 700),
        Number::whole(seq * 613 + random(2) % 600),
        gauge(3),
        gauge(4),
        gauge(5),
        Number::with_seven(1_795_000_000 + seq, random(6)),
        Number::with_seven(1_795_000_000 + seq, random(7)),
        Number::whole(fast),
        Number::whole(fast + slow),
        Number::with_seven(seq * 2, random(10)),
        Number::whole(fast + slow),
    ]
}

fn independent_numbers(group: u32, seq: u64) -> [Number; N_FLEET_LINES] {
    let random = |line| pseudo_random(group, seq, line);
    let duration = |line| Number::duration(random(line), random(line + 16));
    // Times of the last four months.
    let time =
        |line| Number::with_seven(1_785_000_000 + random(line) % 10_000_000, random(line + 16));
    // Both together have 10 digits as well.
    let (fast, slow) = (
        1_000_000_000 + random(8) % 4_000_000_000,
        random(9) % 4_000_000_000,
    );
    [
        Number::whole(SCRAMBLED_MIN + scramble(group, seq)),
        Number::ten_digits(random(1)),
        Number::ten_digits(random(2)),
        duration(3),
        duration(4),
        duration(5),
        time(6),
        time(7),
        Number::whole(fast),
        Number::whole(fast + slow),
        duration(10),
        Number::whole(fast + slow),
    ]
}

/// The sequence number of a push, from the first of its numbers as a scrape shows it. `None` if no
/// push of the group has that number.
pub fn sequence_number(kind: ValueKind, group: u32, first: f64) -> Option<u64> {
    // Above 2^53 not every whole number is a float.
    let is_whole = first.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&first);
    if !is_whole {
        return None;
    }
    match kind {
        ValueKind::Similar => Some(first as u64),
        ValueKind::Independent => (first as u64)
            .checked_sub(SCRAMBLED_MIN)
            .filter(|&scrambled| scrambled <= SCRAMBLED_MASK)
            .map(|scrambled| unscramble(group, scrambled)),
    }
}

/// Scrambled sequence numbers have 33 bits: with this added they have 10 digits.
const SCRAMBLED_MIN: u64 = 1_000_000_000;
const SCRAMBLED_MASK: u64 = (1 << 33) - 1;
/// Odd, so multiplying by it is undone by multiplying by its inverse modulo 2^33.
const FACTOR: u64 = 0x1_9e37_79b9;
const FACTOR_INVERSE: u64 = inverse_of_odd(FACTOR) & SCRAMBLED_MASK;

/// The inverse of an odd number modulo 2^64, by Newton's iteration: each step doubles the number of
/// correct bits, beginning with three.
const fn inverse_of_odd(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// Maps the sequence numbers of a group, below 2^33, one to one to numbers without a pattern.
fn scramble(group: u32, seq: u64) -> u64 {
    let mut x = (seq ^ pseudo_random(group, 0, 0)) & SCRAMBLED_MASK;
    for _ in 0..2 {
        x = x.wrapping_mul(FACTOR) & SCRAMBLED_MASK;
        // Undoes itself, because the shift is more than half of the bits.
        x ^= x >> 17;
    }
    x
}

fn unscramble(group: u32, scrambled: u64) -> u64 {
    let mut x = scrambled;
    for _ in 0..2 {
        x ^= x >> 17;
        x = x.wrapping_mul(FACTOR_INVERSE) & SCRAMBLED_MASK;
    }
    x ^ (pseudo_random(group, 0, 0) & SCRAMBLED_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(kind: ValueKind, group: u32, seq: u64) -> [String; N_FLEET_LINES] {
        fleet_numbers(kind, group, seq).map(|number| {
            let mut text = Vec::new();
            number.write(&mut text);
            String::from_utf8(text).unwrap()
        })
    }

    #[test]
    fn the_first_number_tells_the_push() {
        for kind in [ValueKind::Similar, ValueKind::Independent] {
            for (group, seq) in [
                (0, 1),
                (0, 2),
                (7, 1),
                (7, 123_456_789),
                (999_999, (1 << 33) - 1),
            ] {
                let first: f64 = texts(kind, group, seq)[0].parse().unwrap();
                assert_eq!(
                    sequence_number(kind, group, first),
                    Some(seq),
                    "{kind:?} {group} {seq}"
                );
            }
            for first in [f64::NAN, -1.0, 0.5, 1e300] {
                assert_eq!(sequence_number(kind, 0, first), None, "{kind:?} {first}");
            }
        }
        assert_eq!(
            sequence_number(ValueKind::Independent, 0, 999_999_999.0),
            None
        );
        assert_eq!(sequence_number(ValueKind::Independent, 0, 1e10), None);
    }

    #[test]
    fn independent_values_have_their_digits_and_do_not_repeat() {
        let mut seen = std::collections::HashSet::new();
        for (group, seq) in (0..50).flat_map(|group| (1..50).map(move |seq| (group, seq))) {
            let texts = texts(ValueKind::Independent, group, seq);
            for (line, text) in texts.iter().enumerate() {
                let n_digits = text.bytes().filter(u8::is_ascii_digit).count();
                let expected = if text.contains('.') { 15..=17 } else { 10..=10 };
                assert!(expected.contains(&n_digits), "line {line}: {text}");
            }
            // The last line repeats the bucket `+Inf`.
            for text in &texts[..N_FLEET_LINES - 1] {
                assert!(seen.insert(text.clone()), "{text} of {group} {seq}");
            }
        }
    }

    #[test]
    fn similar_counters_grow_by_about_the_same_step() {
        for group in [3, 4] {
            assert_eq!(texts(ValueKind::Similar, group, 41)[0], "41");
            let written: u64 = texts(ValueKind::Similar, group, 41)[1].parse().unwrap();
            assert!((41 * 731..42 * 731).contains(&written));
        }
    }
}
