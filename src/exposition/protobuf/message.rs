//! Splits a body into messages, and reads what a message says about its family besides metrics.

use super::error::ParseError;
use super::wire::{FieldValue, Fields, VarintError, read_varint};
use crate::exposition::go_quote::quote;
use crate::model::MetricType;

/// The messages of a body, each with the offset of the length in front of it.
///
/// Iterating ends with the body. After an error, the iterator must not be used any more.
pub(super) struct DelimitedMessages<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> DelimitedMessages<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    #[inline]
    fn next_message(&mut self) -> Result<(usize, &'a [u8]), ParseError> {
        let (place, rest) = (self.at, &self.body[self.at..]);
        let (len, len_len) = read_varint(rest).map_err(|error| match error {
            VarintError::UnexpectedEnd => ParseError::UnexpectedEnd,
            VarintError::Overflow => ParseError::LengthOverflow,
        })?;
        let len = usize::try_from(len).map_err(|_| ParseError::UnexpectedEnd)?;
        let (message, _) = rest[len_len..]
            .split_at_checked(len)
            .ok_or(ParseError::UnexpectedEnd)?;
        self.at += len_len + len;
        Ok((place, message))
    }
}

impl<'a> Iterator for DelimitedMessages<'a> {
    type Item = Result<(usize, &'a [u8]), ParseError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        (self.at < self.body.len()).then(|| self.next_message())
    }
}

/// What a message says about its family besides metrics.
pub(super) struct FamilyHeader<'a> {
    pub(super) name: &'a str,
    /// The help text, which need not be UTF-8.
    pub(super) help: Option<&'a [u8]>,
    pub(super) metric_type: MetricType,
}

impl<'a> FamilyHeader<'a> {
    /// Reads the header of a message. If a field occurs several times, the last one counts.
    ///
    /// # Errors
    ///
    /// If the message is malformed, its name not UTF-8, or its type unknown.
    pub(super) fn read(message: &'a [u8]) -> Result<Self, ParseError> {
        let (mut name, mut help, mut number) = (&[][..], None, 0);
        for field in Fields::new(message) {
            match field? {
                (1, FieldValue::Bytes(bytes)) => name = bytes,
                (2, FieldValue::Bytes(bytes)) => help = Some(bytes),
                (3, FieldValue::Varint(value)) => number = value,
                _ => {}
            }
        }
        let name = std::str::from_utf8(name).map_err(|_| ParseError::NameNotUtf8(quote(name)))?;
        // A message without a type has the default of the field: 0, a counter.
        let metric_type =
            MetricType::from_number(number).ok_or_else(|| ParseError::UnknownType {
                family: name.to_owned(),
                number,
            })?;
        Ok(Self {
            name,
            help,
            metric_type,
        })
    }
}
