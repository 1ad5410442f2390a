//! Quotes text like Go's `%q`, because clients know the error texts of the reference.

use std::fmt::Write as _;

/// The number of bytes of a text that are quoted: 1 KiB. The texts are for people, and a client can
/// send very long names.
const QUOTED_BYTES_MAX: usize = 1 << 10;

/// Puts `bytes` in double quotes. Bytes that are not UTF-8 are written like `\xff`, characters that
/// cannot be printed like `\u00a0`. If the text is longer than 1 KiB, only its start is quoted, and
/// an ellipsis follows the quotes.
pub(crate) fn quote(bytes: &[u8]) -> String {
    if bytes.len() > QUOTED_BYTES_MAX {
        // Cut in front of a character, not within one.
        let end = (QUOTED_BYTES_MAX - 3..=QUOTED_BYTES_MAX)
            .rev()
            .find(|&end| bytes[end] & 0xc0 != 0x80);
        return quote(&bytes[..end.unwrap_or(QUOTED_BYTES_MAX)]) + "…";
    }
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|c| push_char(c, '"', &mut out));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out.push('"');
    out
}

/// Puts the character with the code point `byte` in single quotes.
pub(crate) fn quote_byte(byte: u8) -> String {
    let mut out = String::from("'");
    push_char(char::from(byte), '\'', &mut out);
    out.push('\'');
    out
}

/// Appends a character, escaped if it cannot be printed or is the quote.
fn push_char(c: char, quote: char, out: &mut String) {
    let short = match c {
        '\x07' => Some('a'),
        '\x08' => Some('b'),
        '\x0c' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        '\x0b' => Some('v'),
        '\\' => Some('\\'),
        _ if c == quote => Some(quote),
        _ => None,
    };
    // Writing to a String cannot fail.
    let _ = match short {
        Some(short) => write!(out, "\\{short}"),
        None if is_printable(c) => out.write_char(c),
        None if u32::from(c) < 0x80 => write!(out, "\\x{:02x}", u32::from(c)),
        None if u32::from(c) < 0x1_0000 => write!(out, "\\u{:04x}", u32::from(c)),
        None => write!(out, "\\U{:08x}", u32::from(c)),
    };
}

fn is_printable(c: char) -> bool {
    // `escape_debug` escapes characters that cannot be printed, and quotes. It also escapes
    // combining marks, unless they follow another character; Go does not escape them.
    matches!(c, ' '..='~') || !c.is_ascii() && format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_quotes_it() {
        for (bytes, quoted) in [
            (&b"a\"b\\"[..], r#""a\"b\\""#),
            (b"1\x00\x0b\x7f", r#""1\x00\v\x7f""#),
            (b"\xff", r#""\xff""#),
            ("ü\u{a0}1'".as_bytes(), "\"ü\\u00a01'\""),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
        ] {
            assert_eq!(quote(bytes), quoted);
        }
        let long = "ü".repeat(QUOTED_BYTES_MAX);
        assert_eq!(
            quote(long.as_bytes()),
            format!("\"{}\"…", "ü".repeat(QUOTED_BYTES_MAX / 2))
        );
        assert_eq!(
            quote(&[0xbf; 2000]),
            format!("\"{}\"…", "\\xbf".repeat(QUOTED_BYTES_MAX))
        );
        assert_eq!(quote_byte(b'\''), r"'\''");
        assert_eq!(quote_byte(0xff), "'ÿ'");
        assert_eq!(quote_byte(b'"'), "'\"'");
    }
}
