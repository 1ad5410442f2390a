//! Durations as Go reads and writes them.

/// A duration that is read and written as Go does it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoDuration {
    /// The duration; negative durations are allowed, as in the reference.
    pub nanoseconds: i64,
}

/// Reads a duration as Go's `time.ParseDuration` does, such as `90s`, `1h30m`, `+1.5s` or `-1m`.
///
/// # Errors
///
/// The text is not a duration, or the duration is longer than 64 bits of nanoseconds hold.
pub(super) fn parse_duration(text: &str) -> Result<GoDuration, String> {
    let error = || format!("{text:?} is no duration such as 90s or 1h30m");
    let (sign, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (-1.0, &text[1..]),
        Some(b'+') => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if unsigned == "0" {
        return Ok(GoDuration { nanoseconds: 0 });
    }
    // Microseconds are written with the micro sign (U+00B5) or the Greek letter (U+03BC).
    let units = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let (mut rest, mut total) = (unsigned, 0.0);
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(error)?;
        let (number, after) = rest.split_at(digits);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let (_, factor) = units
            .iter()
            .find(|(known, _)| *known == unit)
            .ok_or_else(error)?;
        total += number.parse::<f64>().map_err(|_| error())? * factor;
        rest = after;
    }
    if unsigned.is_empty() || total > 9e18 {
        Err(error())
    } else {
        Ok(GoDuration {
            nanoseconds: (sign * total) as i64,
        })
    }
}

/// Writes a duration as Go does, such as `1m30s`, `5m0s` or `250ms`.
impl std::fmt::Display for GoDuration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        let (seconds, fraction) = (
            self.nanoseconds.unsigned_abs() / 1_000_000_000,
            self.nanoseconds.unsigned_abs() % 1_000_000_000,
        );
        if seconds == 0 && fraction > 0 {
            return match fraction {
                ..1_000 => write!(f, "{fraction}ns"),
                1_000..1_000_000 => write!(f, "{}µs", fraction as f64 / 1e3),
                _ => write!(f, "{}ms", fraction as f64 / 1e6),
            };
        }
        let (hours, minutes, seconds) = (
            seconds / 3600,
            seconds / 60 % 60,
            (seconds % 60) as f64 + fraction as f64 / 1e9,
        );
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if hours > 0 || minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        write!(f, "{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, shown) in [
            ("90s", "1m30s"),
            ("5m", "5m0s"),
            ("1h", "1h0m0s"),
            ("250ms", "250ms"),
            ("1.5s", "1.5s"),
            ("0", "0s"),
            ("+1s", "1s"),
            ("-1s", "-1s"),
            ("-1m.5s", "-1m0.5s"),
            ("-0", "0s"),
            ("5μs", "5µs"),
            ("1s1s", "2s"),
        ] {
            assert_eq!(
                parse_duration(text).map(|duration| duration.to_string()),
                Ok(shown.to_owned())
            );
        }
        for bad in ["", "5", "m", "5x", "-", "+", "--1s", ".s", "1e3s", " 1s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }
}
