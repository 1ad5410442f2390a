//! Reading a push along the form of an earlier one.
//!
//! A fleet's pushes differ in their numbers. Where the bytes between them are those of a form that
//! was parsed before, names, types, helps and labels are known, and only the numbers are read. A
//! body that differs anywhere else is none of this form, and is parsed as a whole.

use super::float::{parse_float, to_u64_as_go_does};
use crate::model::{BodyForm, NumberKind};

/// Reads the numbers of `body` into `values`, which has a place for each; returns whether the body
/// is of this form. If not, `values` may have been written to in part.
pub fn parse_along(form: &BodyForm, body: &[u8], values: &mut [u64]) -> bool {
    let (mut rest, mut literals) = (body, form.literals());
    let mut start = 0;
    for number in form.numbers() {
        let literal;
        (literal, literals) = literals.split_at((number.literal_end - start) as usize);
        start = number.literal_end;
        let Some(after) = rest.strip_prefix(literal) else {
            return false;
        };
        let Some((value, after)) = read_number(after) else {
            return false;
        };
        rest = after;
        values[number.value as usize] = match number.kind {
            NumberKind::Float => value.to_bits(),
            NumberKind::Count => {
                let count = value as u64;
                // A negative zero is a number of its own, 2⁶⁴ is one too many, and NaN equals
                // nothing.
                if count as f64 != value || value.is_sign_negative() || count == u64::MAX {
                    return false;
                }
                count
            }
            NumberKind::SummaryCount => to_u64_as_go_does(value),
        };
    }
    rest == literals
}

/// The number that a line ends with, and the rest from the newline on.
fn read_number(bytes: &[u8]) -> Option<(f64, &[u8])> {
    // Most numbers are digits, perhaps with a point among them. Nineteen digits fit 64 bits.
    let mut integer = 0u64;
    let mut at = digits(bytes, &mut integer);
    let mut n_digits = at;
    let mut n_decimals = 0;
    if at > 0 && bytes.get(at) == Some(&b'.') {
        n_decimals = digits(&bytes[at + 1..], &mut integer);
        n_digits += n_decimals;
        at += 1 + n_decimals;
    }
    if n_digits > 0 && n_digits <= 19 && bytes.get(at) == Some(&b'\n') {
        return Some((quotient(integer, n_decimals), &bytes[at..]));
    }
    let end = memchr::memchr(b'\n', bytes)?;
    Some((parse_float(&bytes[..end])?, &bytes[end..]))
}

/// Appends the digits that `bytes` begin with to `integer`, modulo 2⁶⁴; returns how many there are.
fn digits(bytes: &[u8], integer: &mut u64) -> usize {
    let mut n = 0;
    while let Some(chunk) = bytes[n..].first_chunk::<8>() {
        // Eight bytes at a time, the first one lowest. Of each what it differs from a zero: a digit
        // is below ten, and adding 118 to anything from ten on sets the highest bit.
        let word = u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030;
        let others = (((word & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | word)
            & 0x8080_8080_8080_8080;
        let n_digits = others.trailing_zeros() / 8;
        if n_digits == 0 {
            return n;
        }
        *integer = integer
            .wrapping_mul(POWERS_OF_TEN[n_digits as usize])
            .wrapping_add(number_of(word << (64 - 8 * n_digits)));
        n += n_digits as usize;
        if n_digits < 8 {
            return n;
        }
    }
    // The end of the body.
    while let Some(digit) = bytes
        .get(n)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit < 10)
    {
        *integer = integer.wrapping_mul(10).wrapping_add(u64::from(digit));
        n += 1;
    }
    n
}

/// The number of eight digits, the first one lowest in the word.
fn number_of(digits: u64) -> u64 {
    // Neighbours are put together three times: digits to pairs, pairs to fours, fours to eight.
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// The `f64` nearest to `integer` / 10^`n_decimals`, of two equally near ones the even one; at most
/// 19 decimals.
fn quotient(integer: u64, n_decimals: usize) -> f64 {
    let power = POWERS_OF_TEN[n_decimals];
    // Up to 2⁵³ and 10¹⁵ both are `f64`s, and their quotient is rounded once.
    if integer <= 1 << 53 && n_decimals <= 15 || integer == 0 {
        // Signed: the processor converts those at once.
        return integer.cast_signed() as f64 / power.cast_signed() as f64;
    }
    // With 64 bits below the point and above, the quotient has more than the 55 bits that rounding
    // looks at; what the division leaves only says that there is more.
    let shift = 64 + integer.leading_zeros();
    let dividend = u128::from(integer) << shift;
    let quotient = dividend / u128::from(power);
    let has_rest = quotient * u128::from(power) != dividend;
    (quotient | u128::from(has_rest)) as f64 / (1u128 << shift.min(127)) as f64
}

const POWERS_OF_TEN: [u64; 20] = {
    let mut powers = [1; 20];
    let mut i = 1;
    while i < powers.len() {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_with_form};
    use super::*;
    use crate::exposition::ParseLimits;
    use crate::model::NameScheme;

    fn form(body: &str) -> Option<BodyForm> {
        parse_with_form(body.as_bytes(), NameScheme::Legacy, ParseLimits::NONE)
            .unwrap()
            .take_form()
    }

    /// Reads `body` along the form of `first`; what comes out has to be what parsing gives.
    fn along(first: &str, body: &str) -> bool {
        let before = parse(first.as_bytes(), NameScheme::Legacy).unwrap();
        let mut values = vec![7; before.skeleton.n_values()];
        let is_of_form = parse_along(
            &form(first).expect("it has a form"),
            body.as_bytes(),
            &mut values,
        );
        if is_of_form {
            let families =
                parse(body.as_bytes(), NameScheme::Legacy).expect("what is of a form is valid");
            assert_eq!(
                (&families.skeleton, &families.values),
                (&before.skeleton, &values),
                "{body:?}"
            );
        }
        is_of_form
    }

    const BODY: &str = "# HELP a About.\n# TYPE a gauge\na{x=\"1\"} 1\n\nb 2.5\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\n\
        h_bucket{le=\"+Inf\"} 4\nh_sum 1.25\nh_count 4\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\nb{y=\"2\"} 3\n# the end\n";

    #[test]
    fn a_body_with_other_numbers_is_of_the_form() {
        assert!(along(BODY, BODY));
        for number in [
            "0",
            "17",
            "-1",
            "1e3",
            "NaN",
            "+Inf",
            "1795000000.1234567",
            "0.1",
            "123456789012345678901234567890",
            ".5",
            "5.",
        ] {
            assert!(
                along(BODY, &BODY.replace("b 2.5", &format!("b {number}"))),
                "{number}"
            );
        }
        assert!(along(BODY, &BODY.replace("s_count 3", "s_count -1.5")));
        assert!(along(
            BODY,
            &BODY.replace("} 4\n", "} 18446744073709549568\n")
        ));
    }

    #[test]
    fn anything_else_is_not() {
        for (from, to) in [
            ("About.", "About,"),
            ("a{x", "c{x"),
            ("2.5\n", "2.5 \n"),
            ("2.5\n", "2.5 1700000000000\n"),
            ("2.5\n", "\n"),
            ("2.5\n", "2.5\r\n"),
            ("2.5\n", "1_0\n"),
            ("2.5\n", "1e999\n"),
            ("h_count 4", "h_count -4"),
            ("h_count 4", "h_count 4.5"),
            ("h_count 4", "h_count NaN"),
            ("h_count 4", "h_count 18446744073709551616"),
            ("h_count 4", "h_count 1e20"),
            ("# the end\n", "# the end"),
            ("# the end\n", "# the end\nc 1\n"),
            ("# the end\n", ""),
        ] {
            assert!(!along(BODY, &BODY.replace(from, to)), "{from:?} {to:?}");
        }
        assert!(!along(BODY, ""));
    }

    #[test]
    fn a_body_whose_numbers_have_no_place_of_their_own_has_no_form() {
        for body in [
            "a 1 2\n",
            "a+1\n",
            "a.5\n",
            "# TYPE h histogram\nh_count 1\nh_count 2\nh_sum 1\n",
            "# TYPE h histogram\nh_count 1.5\nh_sum 1\n",
            "# TYPE h histogram\nh_count 1\n",
        ] {
            assert_eq!(form(body), None, "{body}");
        }
    }

    #[test]
    fn numbers_are_read_as_by_the_parser() {
        for text in [
            "9007199254740993",
            "9007199254740992.5",
            "9007199254740993.0",
            "0.0000000000000000",
            "1.000000000000000001",
        ] {
            let read = read_number(format!("{text}\n").as_bytes()).map(|(value, _)| value);
            assert_eq!(read, parse_float(text.as_bytes()), "{text}");
        }
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let mut text = String::new();
            for _ in 0..random.usize(..20) {
                text.push(
                    *random
                        .choice(b"0123456789012345678901234567890123456789.e-+")
                        .unwrap() as char,
                );
            }
            if random.bool() {
                // As many do: seconds with many decimals, up to halfway between two numbers and
                // beyond what is exact.
                text = format!(
                    "{}.{:0width$}",
                    random.u32(..),
                    random.u64(..) % 10_000_000,
                    width = random.usize(7..12)
                );
            }
            let line = format!("{text}\n");
            let read = read_number(line.as_bytes());
            assert_eq!(
                read.map(|(value, _)| value.to_bits()),
                parse_float(text.as_bytes()).map(f64::to_bits),
                "{text}"
            );
            assert!(read.is_none_or(|(_, rest)| rest == b"\n"));
        }
    }
}
