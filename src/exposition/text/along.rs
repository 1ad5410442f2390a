//! Reading a push along the form of an earlier one.
//!
//! A fleet's pushes differ in their numbers. Where the bytes between them are those of a form that was parsed before, names, types,
//! helps and labels are known, and only the numbers are read. A body that differs anywhere else is none of this form, and is parsed
//! as a whole.

use super::parse::to_u64_as_go_does;
use super::parse_float;
use crate::model::{BodyForm, NumberKind};

/// Reads the numbers of `body` into `values`, which has a place for each; returns whether the body is of this form. If not, `values`
/// may have been written to in part.
pub fn parse_along(form: &BodyForm, body: &[u8], values: &mut [u64]) -> bool {
    let (mut rest, mut literals) = (body, form.literals());
    let mut start = 0;
    for number in form.numbers() {
        let literal;
        (literal, literals) = literals.split_at((number.literal_end - start) as usize);
        start = number.literal_end;
        let Some(after) = rest.strip_prefix(literal) else { return false };
        let Some((value, after)) = read_number(after) else { return false };
        rest = after;
        values[number.value as usize] = match number.kind {
            NumberKind::Float => value.to_bits(),
            NumberKind::Count => {
                let count = value as u64;
                // A negative zero is a number of its own, 2⁶⁴ is one too many, and NaN equals nothing.
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
    // Most numbers are a few digits, perhaps with a point: exact as a quotient of two integers that an `f64` holds.
    let (mut integer, mut at) = (0u64, 0);
    let mut n_decimals = None;
    while let Some(&byte) = bytes.get(at).filter(|_| at < 17) {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            integer = integer * 10 + u64::from(digit);
        } else if byte == b'.' && n_decimals.is_none() && at > 0 {
            n_decimals = Some(at);
        } else {
            break;
        }
        at += 1;
    }
    if bytes.get(at) == Some(&b'\n') && at > 0 && integer <= EXACT_MAX {
        let value = match n_decimals {
            None => integer as f64,
            Some(point) => integer as f64 / POWERS_OF_TEN[at - point - 1],
        };
        return Some((value, &bytes[at..]));
    }
    let end = memchr::memchr(b'\n', bytes)?;
    Some((parse_float(&bytes[..end])?, &bytes[end..]))
}

/// Every integer up to this one is an `f64`.
const EXACT_MAX: u64 = 1 << 53;
/// So is every one of these: their quotient is rounded once, which is what reading a decimal number means.
const POWERS_OF_TEN: [f64; 17] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16];

#[cfg(test)]
mod tests {
    use super::super::{parse, parse_with_form};
    use super::*;
    use crate::model::NameScheme;

    fn form(body: &str) -> Option<BodyForm> {
        parse_with_form(body.as_bytes(), NameScheme::Legacy).unwrap().take_form()
    }

    /// Reads `body` along the form of `first`; what comes out has to be what parsing gives.
    fn along(first: &str, body: &str) -> bool {
        let before = parse(first.as_bytes(), NameScheme::Legacy).unwrap();
        let mut values = vec![7; before.skeleton.n_values()];
        let is_of_form = parse_along(&form(first).expect("it has a form"), body.as_bytes(), &mut values);
        if is_of_form {
            let families = parse(body.as_bytes(), NameScheme::Legacy).expect("what is of a form is valid");
            assert_eq!((&families.skeleton, &families.values), (&before.skeleton, &values), "{body:?}");
        }
        is_of_form
    }

    const BODY: &str = "# HELP a About.\n# TYPE a gauge\na{x=\"1\"} 1\n\nb 2.5\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\n\
        h_bucket{le=\"+Inf\"} 4\nh_sum 1.25\nh_count 4\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 2\ns_count 3\nb{y=\"2\"} 3\n# the end\n";

    #[test]
    fn a_body_with_other_numbers_is_of_the_form() {
        assert!(along(BODY, BODY));
        for number in
            ["0", "17", "-1", "1e3", "NaN", "+Inf", "1795000000.1234567", "0.1", "123456789012345678901234567890", ".5", "5."]
        {
            assert!(along(BODY, &BODY.replace("b 2.5", &format!("b {number}"))), "{number}");
        }
        assert!(along(BODY, &BODY.replace("s_count 3", "s_count -1.5")));
        assert!(along(BODY, &BODY.replace("} 4\n", "} 18446744073709549568\n")));
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
            "# TYPE h histogram\nh_count 1\nh_count 2\nh_sum 1\n",
            "# TYPE h histogram\nh_count 1.5\nh_sum 1\n",
            "# TYPE h histogram\nh_count 1\n",
        ] {
            assert_eq!(form(body), None, "{body}");
        }
    }

    #[test]
    fn numbers_are_read_as_by_the_parser() {
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..200_000 {
            let mut text = String::new();
            for _ in 0..random.usize(..20) {
                text.push(*random.choice(b"0123456789012345678901234567890123456789.e-+").unwrap() as char);
            }
            let line = format!("{text}\n");
            let read = read_number(line.as_bytes());
            assert_eq!(read.map(|(value, _)| value.to_bits()), parse_float(text.as_bytes()).map(f64::to_bits), "{text}");
            assert!(read.is_none_or(|(_, rest)| rest == b"\n"));
        }
    }
}
