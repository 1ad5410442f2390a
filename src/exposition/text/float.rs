//! Numbers of the text format, read, written and converted as the reference does it, which is
//! written in Go.

/// Reads the number that `token` spells, or returns `None` if the reference would refuse the token.
///
/// Accepted, in any case of letters: decimal numbers with or without an exponent; `Inf` and
/// `Infinity` with or without a sign; `NaN` without a sign. A number too small for an `f64` is
/// zero. Refused: hexadecimal numbers, underscores, and numbers too large for an `f64`.
pub(crate) fn parse_float(token: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(token).ok()?;
    let value: f64 = text.parse().ok()?;
    if value.is_finite() {
        return Some(value);
    }
    let is_signed = matches!(token.first(), Some(b'+' | b'-'));
    // `inf` and `nan` contain an "n". A number that is infinite without one, such as `1e999`,
    // overflowed.
    let is_spelled_out = token.iter().any(|b| b.eq_ignore_ascii_case(&b'n'));
    (is_spelled_out && !(value.is_nan() && is_signed)).then_some(value)
}

/// Writes `value` as Go's `FormatFloat(value, 'g', -1, 64)` does: the shortest digits that read
/// back as the same number, with an exponent from 1e+06 on and below 0.0001. Only a negative zero
/// is written without its sign.
pub(crate) fn write_float(value: f64, out: &mut Vec<u8>) {
    // The short way for the most common numbers, small integers.
    let integer = value as i64;
    if integer.unsigned_abs() < 1_000_000 && integer as f64 == value {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
        return;
    }
    if !value.is_finite() {
        let spelled: &[u8] = if value.is_nan() {
            b"NaN"
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        };
        out.extend_from_slice(spelled);
        return;
    }
    let mut buffer = zmij::Buffer::new();
    let decimal = Decimal::parse(buffer.format_finite(value.abs()).as_bytes());
    if value < 0.0 {
        out.push(b'-');
    }
    decimal.write(out);
}

/// Converts a number to the integer that the reference keeps as the count of a summary: what Go's
/// conversion from `float64` to `uint64` gives on amd64. Negative numbers wrap around 2⁶⁴; numbers
/// out of range, and NaN, become 2⁶³.
pub(super) fn to_u64_as_go_does(value: f64) -> u64 {
    if value < 9_223_372_036_854_775_808.0 {
        if value < -9_223_372_036_854_775_808.0 {
            1 << 63
        } else {
            (value as i64).cast_unsigned()
        }
    } else if value < 18_446_744_073_709_551_616.0 {
        value as u64
    } else {
        1 << 63
    }
}

/// A positive decimal number: 0.d₁d₂d₃… × 10^`point`, where the digits dᵢ begin and end with
/// another digit than zero.
struct Decimal {
    /// The digits in ASCII. The shortest digits of an `f64` are at most 17.
    digits: [u8; 24],
    n_digits: usize,
    point: i32,
}

impl Decimal {
    /// Reads a number that is spelled like `1234.5`, `0.001` or `1.5e-7`.
    fn parse(text: &[u8]) -> Self {
        let mut this = Self {
            digits: [0; 24],
            n_digits: 0,
            point: 0,
        };
        let (mantissa, exponent) = match memchr::memchr(b'e', text) {
            Some(at) => (&text[..at], read_exponent(&text[at + 1..])),
            None => (text, 0),
        };
        let mut before_point = true;
        for &b in mantissa {
            match b {
                b'.' => before_point = false,
                b'0' if this.n_digits == 0 => this.point -= i32::from(!before_point),
                digit => {
                    this.digits[this.n_digits] = digit;
                    this.n_digits += 1;
                    this.point += i32::from(before_point);
                }
            }
        }
        this.point += exponent;
        while this.n_digits > 0 && this.digits[this.n_digits - 1] == b'0' {
            this.n_digits -= 1;
        }
        this
    }

    /// Writes the number with an exponent if that is below -4 or above 5.
    fn write(&self, out: &mut Vec<u8>) {
        let digits = &self.digits[..self.n_digits];
        let exponent = self.point - 1;
        if !(-4..6).contains(&exponent) {
            out.push(digits[0]);
            if digits.len() > 1 {
                out.push(b'.');
                out.extend_from_slice(&digits[1..]);
            }
            out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
            let exponent = exponent.unsigned_abs();
            if exponent < 10 {
                out.push(b'0');
            }
            out.extend_from_slice(itoa::Buffer::new().format(exponent).as_bytes());
        } else if self.point <= 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(
                b'0',
                self.point.unsigned_abs() as usize,
            ));
            out.extend_from_slice(digits);
        } else {
            let point = self.point.unsigned_abs() as usize;
            if digits.len() <= point {
                out.extend_from_slice(digits);
                out.extend(std::iter::repeat_n(b'0', point - digits.len()));
            } else {
                out.extend_from_slice(&digits[..point]);
                out.push(b'.');
                out.extend_from_slice(&digits[point..]);
            }
        }
    }
}

fn read_exponent(text: &[u8]) -> i32 {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let value = digits
        .iter()
        .fold(0, |value, &b| value * 10 + i32::from(b - b'0'));
    if is_negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-1.0, "-1"),
            (7.3, "7.3"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (-1e6, "-1e+06"),
            (250_000.0, "250000"),
            (999_999.5, "999999.5"),
            (1_234_567.5, "1.2345675e+06"),
            (1.795_398_3e9, "1.7953983e+09"),
            (0.0001, "0.0001"),
            (0.00012, "0.00012"),
            (0.00001, "1e-05"),
            (1e20, "1e+20"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (9_007_199_254_740_992.0, "9.007199254740992e+15"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(written(value), text, "{value:e}");
        }
    }

    #[test]
    fn a_written_number_reads_back_as_the_same_number() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100_000 {
            let value = f64::from_bits(random.u64(..));
            if value.is_nan() {
                continue;
            }
            let text = written(value);
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        for text in [
            "1",
            "+1",
            "1.",
            ".5",
            "1e5",
            "1E+5",
            "inf",
            "+Inf",
            "-INFINITY",
            "nan",
            "1e-400",
            "007",
        ] {
            assert!(parse_float(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "", ".", "+", "1e", "1_0", "0x10", "0x1p4", "1p4", "+nan", "-NaN", "1e400", "-1e400",
            "1,5", "infi", "1 ",
        ] {
            assert_eq!(parse_float(text.as_bytes()), None, "{text}");
        }
    }
}
