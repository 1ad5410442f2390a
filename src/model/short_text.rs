//! Texts for people about what a client sent, which may be very long.

use std::fmt::{self, Write as _};

/// Bytes that are shown of something, about.
pub const SHOWN_LEN_MAX: usize = 16 << 10;

/// A text that ends with an ellipsis where it is long enough. Writing more to it fails, so that
/// whoever formats stops there.
#[derive(Debug, Default)]
pub struct ShortText {
    text: String,
    is_cut: bool,
}

impl ShortText {
    /// The text of `value`.
    pub fn of(value: impl fmt::Display) -> String {
        let mut text = Self::default();
        // An error says that it was long enough.
        let _ = write!(text, "{value}");
        text.into_string()
    }

    /// What was written.
    pub fn into_string(self) -> String {
        self.text
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        if self.is_cut {
            return Err(fmt::Error);
        }
        let room = SHOWN_LEN_MAX - self.text.len();
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
        let whole = "é".repeat(SHOWN_LEN_MAX / 2);
        assert_eq!(ShortText::of(&whole), whole);
        let cut = ShortText::of(format!("a{whole}"));
        assert_eq!(cut, format!("a{}…", "é".repeat(SHOWN_LEN_MAX / 2 - 1)));
        let mut text = ShortText::default();
        assert!(
            (0..SHOWN_LEN_MAX).all(|_| text.write_char('x').is_ok())
                && text.write_char('y').is_err()
        );
        assert!(text.write_char('z').is_err());
        assert_eq!(text.into_string().len(), SHOWN_LEN_MAX + '…'.len_utf8());
    }
}
