//! Reads a body along the form of an earlier one: the short way past the parser.
//!
//! Most pushes of a job differ from the push before only in their numbers. The [form](BodyForm) of
//! the earlier body has the bytes between the numbers. If the new body has the same bytes, then it
//! has the same names, types, help texts and labels, and only its numbers are read. A body that
//! differs anywhere else is not of this form; the caller parses it as a whole.

use super::float::{parse_float, to_u64_as_go_does};
use crate::model::{BodyForm, NumberKind};

/// Reads the numbers of `body` into `values` if the body is of this form. Returns whether it is. If
/// it is not, some of the values may have been overwritten.
///
/// `values` must have as many places as the skeleton of the form's body has values. Places and
/// kinds of the numbers are the same as when the body is parsed as a whole.
///
/// # Examples
///
/// ```
/// use pushgateway::exposition::{ParseLimits, text};
/// use pushgateway::model::NameScheme;
///
/// let first = b"rows 41\nseconds 0.5\n";
/// let mut families = text::parse_with_form(first, NameScheme::Legacy, ParseLimits::NONE)?;
/// let form = families.take_form().expect("each number has its place");
///
/// let mut values = families.values;
/// assert!(text::parse_along(&form, b"rows 42\nseconds 0.25\n", &mut values));
/// assert_eq!(values, [42f64.to_bits(), 0.25f64.to_bits()]);
///
/// assert!(!text::parse_along(&form, b"rows 42\nhours 1\n", &mut values));
/// # Ok::<(), text::ParseError>(())
/// ```
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
                // The parser keeps the counts of a histogram as floats if one of them is not an
                // integer below 2⁶⁴. `as` saturates, so 2⁶⁴ and all numbers above become u64::MAX,
                // and NaN fails the comparison. Negative counts, -0 among them, are left to the
                // parser.
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

/// Reads the number at the end of a line. Returns it with the rest of the body from the newline on.
/// Gives the same numbers as [`parse_float`], to the bit.
fn read_number(bytes: &[u8]) -> Option<(f64, &[u8])> {
    // The short way: digits, perhaps with a point among them. 19 digits always fit 64 bits.
    let mut integer = 0u64;
    let mut at = read_digits(bytes, &mut integer);
    let mut n_digits = at;
    let mut n_decimals = 0;
    if at > 0 && bytes.get(at) == Some(&b'.') {
        n_decimals = read_digits(&bytes[at + 1..], &mut integer);
        n_digits += n_decimals;
        at += 1 + n_decimals;
    }
    if n_digits > 0 && n_digits <= 19 && bytes.get(at) == Some(&b'\n') {
        return Some((quotient(integer, n_decimals), &bytes[at..]));
    }
    let end = memchr::memchr(b'\n', bytes)?;
    Some((parse_float(&bytes[..end])?, &bytes[end..]))
}

/// Reads the digits at the start of `bytes`: appends them to `integer`, modulo 2⁶⁴. Returns how
/// many there are.
fn read_digits(bytes: &[u8], integer: &mut u64) -> usize {
    let mut n = 0;
    while let Some(chunk) = bytes[n..].first_chunk::<8>() {
        // Eight bytes at a time, the first one in the lowest byte of the word. The exclusive or
        // with "00000000" makes each digit its value, 0 to 9, and every other byte 10 or more.
        // Adding 118 (0x76) sets the highest bit of a byte that is 10 or more. So the lowest bit of
        // `others` that is set marks the first byte that is not a digit.
        let word = u64::from_le_bytes(*chunk) ^ 0x3030_3030_3030_3030;
        let others = (((word & 0x7f7f_7f7f_7f7f_7f7f) + 0x7676_7676_7676_7676) | word)
            & 0x8080_8080_8080_8080;
        let n_digits = others.trailing_zeros() / 8;
        if n_digits == 0 {
            return n;
        }
        *integer = integer
            .wrapping_mul(POWERS_OF_TEN[n_digits as usize])
            .wrapping_add(eight_digits(word << (64 - 8 * n_digits)));
        n += n_digits as usize;
        if n_digits < 8 {
            return n;
        }
    }
    // Fewer than eight bytes are left of the body.
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

/// The number that eight digits spell. Each byte of the word is the value of a digit, the first
/// digit in the lowest byte.
fn eight_digits(digits: u64) -> u64 {
    // Neighbours are joined three times: digits to pairs, pairs to fours, fours to all eight.
    let pairs = digits.wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32
}

/// The `f64` nearest to `integer` / 10^`n_decimals`; of two that are equally near, the one with an
/// even significand. `n_decimals` is at most 19.
fn quotient(integer: u64, n_decimals: usize) -> f64 {
    let power = POWERS_OF_TEN[n_decimals];
    // Integers up to 2⁵³ and powers of ten up to 10¹⁵ are exact as `f64`, so only the division
    // rounds.
    if integer <= 1 << 53 && n_decimals <= 15 || integer == 0 {
        // Signed, because the processor has an instruction that converts signed integers.
        return integer.cast_signed() as f64 / power.cast_signed() as f64;
    }
    // The integer is shifted so that its highest bit is the highest of 128. The divisor is below
    // 2⁶⁴, so the quotient has at least 64 bits, more than the 55 that rounding looks at. A rest of
    // the division only decides between "halfway" and "more than halfway": the lowest bit of the
    // quotient is set to say so. Then the conversion to `f64` rounds once, and the division by a
    // power of two is exact.
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

    /// Reads `body` along the form of `first` and returns whether it is of that form. If so, checks
    /// that parsing the body as a whole gives the same families.
    fn is_of_form(first: &str, body: &str) -> bool {
        let before = parse(first.as_bytes(), NameScheme::Legacy).unwrap();
        let mut values = vec![7; before.skeleton.n_values()];
        let is_read = parse_along(
            &form(first).expect("it has a form"),
            body.as_bytes(),
            &mut values,
        );
        if is_read {
            let families =
                parse(body.as_bytes(), NameScheme::Legacy).expect("a body of a form is valid");
            assert_eq!(
                (&families.skeleton, &families.values),
                (&before.skeleton, &values),
                "{body:?}"
            );
        }
        is_read
    }

    const BODY: &str = "# HELP a About.\n# TYPE a gauge\na{x=\"1\"} 1\n\nb 2.5\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\n\
        h_bucket{le=\"+Inf\"} 4\nh_sum 1.25\nh_count 4\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\nb{y=\"2\"} 3\n# the end\n";

    #[test]
    fn a_body_with_other_numbers_is_of_the_form() {
        assert!(is_of_form(BODY, BODY));
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
                is_of_form(BODY, &BODY.replace("b 2.5", &format!("b {number}"))),
                "{number}"
            );
        }
        assert!(is_of_form(BODY, &BODY.replace("s_count 3", "s_count -1.5")));
        assert!(is_of_form(
            BODY,
            &BODY.replace("} 4\n", "} 18446744073709549568\n")
        ));
    }

    #[test]
    fn a_body_that_differs_in_anything_but_numbers_is_not_of_the_form() {
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
            assert!(
                !is_of_form(BODY, &BODY.replace(from, to)),
                "{from:?} {to:?}"
            );
        }
        assert!(!is_of_form(BODY, ""));
    }

    #[test]
    fn a_body_has_no_form_if_a_number_has_no_fixed_place() {
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
    fn numbers_are_the_same_as_those_of_parse_float() {
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
                // What many jobs push: seconds with many decimals. Among them are numbers halfway
                // between two `f64`s and numbers with more digits than an `f64` has.
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
