//! Cuts texts that quote what a client sent, because clients can send very long things.

use std::fmt::{self, Write as _};

/// The number of bytes after which a text is cut: 16 KiB. With the ellipsis, the text is up to
/// three bytes longer.
pub(crate) const SHOWN_BYTES_MAX: usize = 16 << 10;

/// A text that is cut after [`SHOWN_BYTES_MAX`] bytes and then ends with an ellipsis. Further
/// writes fail, so that formatting stops early.
#[derive(Debug, Default)]
pub(crate) struct ShortText {
    text: String,
    is_cut: bool,
}

impl ShortText {
    /// The text of `value`, cut if necessary.
    pub(crate) fn of(value: impl fmt::Display) -> String {
        let mut text = Self::default();
        // An error only says that the text was cut.
        let _ = write!(text, "{value}");
        text.into_string()
    }

    /// The text that was written so far.
    pub(crate) fn into_string(self) -> String {
        self.text
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let room = SHOWN_BYTES_MAX - self.text.len();
        if more.len() <= room {
            self.text.push_str(more);
            return Ok(());
        }
        self.text.push_str(&more[..more.floor_char_boundary(room)]);
        self.text.push('…');
        self.is_cut = true;
        Err(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(ShortText::of("é 1"), "é 1");
        let whole = "é".repeat(SHOWN_BYTES_MAX / 2);
        assert_eq!(ShortText::of(&whole), whole);
        let cut = ShortText::of(format!("a{whole}"));
        assert_eq!(cut, format!("a{}…", "é".repeat(SHOWN_BYTES_MAX / 2 - 1)));
        let mut text = ShortText::default();
        assert!(
            (0..SHOWN_BYTES_MAX).all(|_| text.write_char('x').is_ok())
                && text.write_char('y').is_err()
        );
        assert!(text.write_char('z').is_err());
        assert_eq!(text.into_string().len(), SHOWN_BYTES_MAX + '…'.len_utf8());
    }
}
