//! Text between quotes as Go's `%q` writes it, because clients know the reference's error texts.

use std::fmt::Write as _;

/// What is quoted of a text: an error's text is for people.
const QUOTED_BYTES_MAX: usize = 1 << 10;

/// `bytes` in double quotes; what is not UTF-8 as `\xff`, what cannot be printed as `\u00a0`. Of a
/// long text the beginning, with an ellipsis behind it.
pub fn quote(bytes: &[u8]) -> String {
    if bytes.len() > QUOTED_BYTES_MAX {
        // Not within a character.
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

/// One byte, taken for the character with that number, in single quotes.
pub fn quote_byte(byte: u8) -> String {
    let mut out = String::from("'");
    push_char(char::from(byte), '\'', &mut out);
    out.push('\'');
    out
}

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
    // The standard library escapes what cannot be printed, and quotes too; behind another character
    // it leaves marks that combine with it as they are, as Go does.
    matches!(c, ' '..='~') || !c.is_ascii() && format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_as_go_does() {
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
