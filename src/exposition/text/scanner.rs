//! Splits a body in the text format into tokens.
//!
//! ```text
//! word        = bytes except blanks (space, tab) and newline      a number, a keyword
//! name        = plain | [ plain ] quote bytes quote               the plain part belongs to the name
//! plain       = start { start | digit }                           start: letter, "_", in metric names also ":"
//! label value = bytes except quote and newline, then a quote
//! help        = bytes to the end of the line
//! ```
//!
//! In quoted names, label values and help texts the escapes `\\`, `\n` and `\"` are decoded; a
//! backslash before another byte is an error.
//!
//! Every token must be followed by another byte: a body that ends within a token, or directly after
//! one, is refused.

use super::error::ParseError;
use super::token::{BODY_BYTES_END, Token, TokenText};

/// Whether a name is that of a metric or of a label. The discriminants are the
/// [classes](BYTE_CLASSES) of the bytes that may begin such a name.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum NameKind {
    /// A metric. Colons are allowed.
    Metric = LABEL_START | COLON,
    /// A label. Colons are not allowed.
    Label = LABEL_START,
}

/// Byte class: a letter, an underscore or a quote.
const LABEL_START: u8 = 1;
/// Byte class: a colon.
const COLON: u8 = 2;
/// Byte class: a digit.
const DIGIT: u8 = 4;

/// The class of each byte, 0 for a byte that no unquoted name contains.
static BYTE_CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        if byte.is_ascii_alphabetic() || byte == b'_' || byte == b'"' {
            table[i] = LABEL_START;
        } else if byte == b':' {
            table[i] = COLON;
        } else if byte.is_ascii_digit() {
            table[i] = DIGIT;
        }
        i += 1;
    }
    table
};

/// A position in a body, and the tokens read so far.
pub(super) struct Scanner<'a> {
    text: TokenText<'a>,
    at: usize,
    line: u32,
}

impl<'a> Scanner<'a> {
    /// A scanner in front of the first line of `body`.
    ///
    /// # Errors
    ///
    /// If the body is too long for the offsets of tokens.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, ParseError> {
        let scanner = Self {
            text: TokenText::new(body),
            at: 0,
            line: 0,
        };
        if body.len() >= BODY_BYTES_END {
            return Err(ParseError::Line {
                line: 1,
                message: "a body of the text format must be below 2 GiB".to_owned(),
            });
        }
        Ok(scanner)
    }

    /// The text of the tokens that were read.
    #[inline]
    pub(super) fn text(&self) -> &TokenText<'a> {
        &self.text
    }

    /// The text of the tokens that were read, and the number of the last line.
    pub(super) fn into_text(self) -> (TokenText<'a>, u32) {
        (self.text, self.line)
    }

    /// The number of the current line, counted from 1.
    pub(super) fn line(&self) -> u32 {
        self.line
    }

    /// An error in the current line.
    pub(super) fn error<T>(&self, message: impl Into<String>) -> Result<T, ParseError> {
        Err(ParseError::Line {
            line: self.line,
            message: message.into(),
        })
    }

    /// Begins a line; returns its first byte after blanks, or `None` at the end of the body.
    #[inline]
    pub(super) fn begin_line(&mut self) -> Option<u8> {
        self.line = self.line.saturating_add(1);
        self.skip_blanks();
        self.text.body.get(self.at).copied()
    }

    /// The next byte. Does not move the position.
    #[inline]
    pub(super) fn peek(&self) -> Result<u8, ParseError> {
        match self.text.body.get(self.at) {
            Some(&byte) => Ok(byte),
            None => self.error("unexpected end of input stream"),
        }
    }

    /// Skips the next byte, which the caller has seen.
    #[inline]
    pub(super) fn skip_byte(&mut self) {
        self.at += 1;
    }

    /// Skips spaces and tabs.
    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.text.body.get(self.at) {
            self.at += 1;
        }
    }

    /// Skips the rest of the line and its newline, which must be there.
    pub(super) fn skip_line(&mut self) -> Result<(), ParseError> {
        match memchr::memchr(b'\n', &self.text.body[self.at..]) {
            Some(len) => {
                self.at += len + 1;
                Ok(())
            }
            None => {
                self.at = self.text.body.len();
                self.peek().map(|_| ())
            }
        }
    }

    /// Reads the rest of the line and its newline, which must be there. Backslashes are left out,
    /// as in the reference, which drops them where it reads to the end of a line without escapes.
    pub(super) fn rest_of_line(&mut self) -> Result<Vec<u8>, ParseError> {
        let start = self.at;
        self.skip_line()?;
        let is_kept = |&byte: &u8| byte != b'\\';
        let rest = self.text.body[start..self.at - 1].iter().copied();
        Ok(rest.filter(is_kept).collect())
    }

    /// Reads up to the next blank or newline, which must be there.
    pub(super) fn token_to_blank(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        let is_end = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'\n');
        self.at = self.text.body[start..]
            .iter()
            .position(is_end)
            .map_or(self.text.body.len(), |len| start + len);
        self.peek()?;
        Ok(self.text.body_token(start..self.at))
    }

    /// Reads a name: plain, quoted, or with quoted parts. The name is empty if the next byte cannot
    /// begin one.
    pub(super) fn name(&mut self, kind: NameKind) -> Result<Token, ParseError> {
        let start = self.at;
        let rest = &self.text.body[start..];
        let start_classes = kind as u8;
        if rest
            .first()
            .is_some_and(|&byte| BYTE_CLASSES[byte as usize] & start_classes != 0)
        {
            let is_end = |&byte: &u8| {
                BYTE_CLASSES[byte as usize] & (start_classes | DIGIT) == 0 || byte == b'"'
            };
            self.at = rest
                .iter()
                .position(is_end)
                .map_or(self.text.body.len(), |len| start + len);
            if self.text.body.get(self.at) == Some(&b'"') {
                return self.quoted_name(start, kind);
            }
        }
        self.peek()?;
        Ok(self.text.body_token(start..self.at))
    }

    /// Reads the quoted rest of a name that began at `name_start`. The next byte is the opening
    /// quote; the name ends with the closing one.
    fn quoted_name(&mut self, name_start: usize, kind: NameKind) -> Result<Token, ParseError> {
        let start = self.begin_unescaping(name_start);
        self.at += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\n' => {
                    let noun = match kind {
                        NameKind::Metric => "metric",
                        NameKind::Label => "label",
                    };
                    let name = self.text.quoted(self.text.unescaped_token(start));
                    return self.error(format!("{noun} name {name} contains unescaped new-line"));
                }
                b'\\' => self.unescape_next()?,
                byte => self.text.unescaped.push(byte),
            }
            self.at += 1;
        }
        self.at += 1;
        self.peek()?;
        Ok(self.text.unescaped_token(start))
    }

    /// Reads a label value and its closing quote. The opening quote was read.
    #[inline]
    pub(super) fn label_value(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        self.at += memchr::memchr3(b'"', b'\\', b'\n', &self.text.body[start..])
            .unwrap_or(self.text.body.len() - start);
        let value = match self.peek()? {
            b'"' => self.text.body_token(start..self.at),
            b'\n' => return self.newline_in_value(self.text.body_token(start..self.at)),
            _ => self.escaped_label_value(start)?,
        };
        self.at += 1;
        Ok(value)
    }

    /// Reads the rest of a label value that began at `value_start`, from its first backslash on.
    /// Leaves the closing quote.
    fn escaped_label_value(&mut self, value_start: usize) -> Result<Token, ParseError> {
        let start = self.begin_unescaping(value_start);
        loop {
            match self.peek()? {
                b'"' => return Ok(self.text.unescaped_token(start)),
                b'\n' => return self.newline_in_value(self.text.unescaped_token(start)),
                b'\\' => self.unescape_next()?,
                byte => self.text.unescaped.push(byte),
            }
            self.at += 1;
        }
    }

    fn newline_in_value<T>(&self, value: Token) -> Result<T, ParseError> {
        let value = self.text.quoted(value);
        self.error(format!("label value {value} contains unescaped new-line"))
    }

    /// Reads the rest of the line as a help text, and the newline, which must be there.
    pub(super) fn help(&mut self) -> Result<Token, ParseError> {
        let start = self.at;
        self.at += memchr::memchr2(b'\n', b'\\', &self.text.body[start..])
            .unwrap_or(self.text.body.len() - start);
        let help = if self.peek()? == b'\\' {
            self.escaped_help(start)?
        } else {
            self.text.body_token(start..self.at)
        };
        self.at += 1;
        Ok(help)
    }

    /// Reads the rest of a help text that began at `help_start`, from its first backslash on.
    /// Leaves the newline.
    fn escaped_help(&mut self, help_start: usize) -> Result<Token, ParseError> {
        let start = self.begin_unescaping(help_start);
        loop {
            match self.peek()? {
                b'\n' => return Ok(self.text.unescaped_token(start)),
                b'\\' => self.unescape_next()?,
                byte => self.text.unescaped.push(byte),
            }
            self.at += 1;
        }
    }

    /// Copies what was read since `token_start` to the unescaped text; returns where the copy
    /// begins.
    fn begin_unescaping(&mut self, token_start: usize) -> usize {
        let start = self.text.unescaped.len();
        let read = &self.text.body[token_start..self.at];
        self.text.unescaped.extend_from_slice(read);
        start
    }

    /// Decodes an escape sequence. The next byte is its backslash before the call, and its second
    /// byte afterwards.
    fn unescape_next(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        match self.peek()? {
            byte @ (b'\\' | b'"') => self.text.unescaped.push(byte),
            b'n' => self.text.unescaped.push(b'\n'),
            byte => return self.error(format!("invalid escape sequence '\\{}'", char::from(byte))),
        }
        Ok(())
    }
}
