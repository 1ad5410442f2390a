//! Writes JSON for the query API to the letter as the reference does with Go's `encoding/json`: `<`,
//! `>` and `&` are escaped, numbers are strings.

use super::text::write_float;
use std::io::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Appends an object with these names and strings to `out`, in the given order.
pub(crate) fn write_object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, (name, value)) in pairs.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_string(value, out);
    }
    out.push(b'}');
}

/// Appends a number to `out`, as a string.
pub(super) fn write_number(value: f64, out: &mut Vec<u8>) {
    out.push(b'"');
    if value == 0.0 && value.is_sign_negative() {
        out.push(b'-');
    }
    write_float(value, out);
    out.push(b'"');
}

/// Appends a time to `out`, as a string in the form of RFC 3339, in UTC, with as many digits of the
/// second as needed. `nanoseconds` are counted from the Unix epoch.
pub(crate) fn write_time(nanoseconds: i64, out: &mut Vec<u8>) {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())
        .expect("64 bits of nanoseconds are less than 300 years");
    out.push(b'"');
    time.format_into(out, &Rfc3339)
        .expect("the year has four digits");
    out.push(b'"');
}

/// Appends a string to `out`, in quotes and escaped.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\x08' => out.extend_from_slice(b"\\b"),
            '\x0c' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        write_string("a\"\\\n\x01<&>\u{2028}ü", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""a\"\\\n\u0001\u003c\u0026\u003e\u2028ü""#
        );
    }

    #[test]
    fn every_time_of_a_push_can_be_written() {
        for (nanoseconds, text) in [
            (0, r#""1970-01-01T00:00:00Z""#),
            (1, r#""1970-01-01T00:00:00.000000001Z""#),
            (i64::MAX, r#""2262-04-11T23:47:16.854775807Z""#),
            (i64::MIN, r#""1677-09-21T00:12:43.145224192Z""#),
        ] {
            let mut out = Vec::new();
            write_time(nanoseconds, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
