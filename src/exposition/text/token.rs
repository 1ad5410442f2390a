//! Tokens of the text format: names, values, numbers and help texts, stored as places in the text
//! that was read.
//!
//! A token is 8 bytes, whatever its length. Most tokens lie in the body. A token that contains an
//! escape sequence or quotes is decoded into a second buffer, the unescaped text, and lies there.

use crate::exposition::go_quote::quote;
use std::borrow::Cow;
use std::ops::Range;

/// The bit of [`Token::start`] that says that the token lies in the unescaped text.
const UNESCAPED: u32 = 1 << 31;

/// Bodies must be shorter than this, in bytes: 2 GiB. Offsets into the body and into the unescaped
/// text, which is never longer than the body, then fit 31 bits.
pub(super) const BODY_BYTES_END: usize = UNESCAPED as usize;

/// The place of a token's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    start: u32,
    len: u32,
}

impl Token {
    /// Whether the token contained escapes or quotes and so lies in the unescaped text.
    #[inline]
    pub(super) fn is_unescaped(self) -> bool {
        self.start & UNESCAPED != 0
    }

    /// Whether the token has no text.
    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The byte range of the token in the text in which the token lies.
    #[inline]
    pub(super) fn range(self) -> Range<usize> {
        let start = (self.start & !UNESCAPED) as usize;
        start..start + self.len as usize
    }
}

/// The text in which tokens lie: the body, and what was unescaped from it.
pub(super) struct TokenText<'a> {
    pub(super) body: &'a [u8],
    /// The body as a string, if all of it is UTF-8. Tokens in the body then need no check.
    utf8_body: Option<&'a str>,
    pub(super) unescaped: Vec<u8>,
}

impl<'a> TokenText<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self {
            body,
            utf8_body: std::str::from_utf8(body).ok(),
            unescaped: Vec::new(),
        }
    }

    /// The token at `range` of the body.
    #[inline]
    pub(super) fn body_token(&self, range: Range<usize>) -> Token {
        Token {
            start: to_u32(range.start),
            len: to_u32(range.end - range.start),
        }
    }

    /// The token from `start` to the end of the unescaped text.
    #[inline]
    pub(super) fn unescaped_token(&self, start: usize) -> Token {
        Token {
            start: to_u32(start) | UNESCAPED,
            len: to_u32(self.unescaped.len() - start),
        }
    }

    /// The bytes of a token.
    #[inline]
    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        if token.is_unescaped() {
            &self.unescaped[token.range()]
        } else {
            &self.body[token.range()]
        }
    }

    /// The bytes of a token, borrowed from the body where possible and copied otherwise.
    #[inline]
    pub(super) fn long_lived_bytes(&self, token: Token) -> Cow<'a, [u8]> {
        if token.is_unescaped() {
            Cow::Owned(self.unescaped[token.range()].to_vec())
        } else {
            Cow::Borrowed(&self.body[token.range()])
        }
    }

    /// A token as a string, or `None` if the token is not UTF-8.
    #[inline]
    pub(super) fn str(&self, token: Token) -> Option<&str> {
        match self.utf8_body {
            Some(body) if !token.is_unescaped() => Some(&body[token.range()]),
            _ => std::str::from_utf8(self.bytes(token)).ok(),
        }
    }

    /// A token that the reader has found to be UTF-8, as a string.
    #[inline]
    pub(super) fn checked_str(&self, token: Token) -> &str {
        self.str(token)
            .expect("names and label values were checked when they were read")
    }

    /// A token in double quotes, for error texts.
    pub(super) fn quoted(&self, token: Token) -> String {
        quote(self.bytes(token))
    }
}

/// An offset, a length or a number of things in a body, in 32 bits.
#[inline]
pub(super) fn to_u32(n: usize) -> u32 {
    u32::try_from(n).expect("bodies are below 2 GiB")
}
