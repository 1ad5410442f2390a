//! Reads what gob values are made of: numbers, strings, the steps of structs. The head of the module
//! `reference_file` has the grammar.
//!
//! Invariant: reading consumes at least one byte or fails. So a loop over a count that the file claims
//! ends with the file.

use super::go_time::TimeDefect;
use std::fmt;

/// Why bytes are not a file of the reference, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// The offset in the file of what cannot be read.
    pub offset: usize,
    /// What is wrong there.
    pub defect: GobDefect,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GobDefect {
    /// Something has to follow, but the file or the message ends.
    UnexpectedEnd,
    /// An integer has more than 8 bytes.
    IntegerTooLong {
        /// The number of its bytes.
        n_bytes: u8,
    },
    /// Something is longer than what is left of the file or the message.
    LengthTooLarge {
        /// The length.
        length: u64,
        /// How many bytes are left.
        n_left: usize,
    },
    /// Bytes follow what should be the last thing in the file or the message.
    TrailingBytes {
        /// How many.
        n_bytes: usize,
    },
    /// A value that is no struct does not begin with a zero byte.
    NoZeroByte,
    /// No type has this number.
    UnknownType(i64),
    /// A type is defined twice.
    TypeDefinedTwice(i64),
    /// A definition of a type does not define exactly one type.
    NotOneType,
    /// A struct has a value for a field that its type does not have.
    NoSuchField,
    /// The type is not the one that the reference writes.
    OtherType {
        /// What the type is of.
        of: &'static str,
        /// What the reference writes.
        expected: &'static str,
    },
    /// A struct lacks a field that the reference's has.
    FieldMissing(&'static str),
    /// A value of an unknown field cannot be skipped, because it says itself which type it has.
    InterfaceValue,
    /// The types of unknown fields are nested too deeply.
    NestedTooDeeply,
    /// A time is not encoded as Go does.
    Time(TimeDefect),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.offset, self.defect)
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for GobDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnexpectedEnd => f.write_str("unexpected end"),
            Self::IntegerTooLong { n_bytes } => {
                write!(f, "an integer of {n_bytes} bytes, more than 8")
            }
            Self::LengthTooLarge { length, n_left } => {
                write!(f, "a length of {length} bytes, but {n_left} are left")
            }
            Self::TrailingBytes { n_bytes } => write!(f, "trailing bytes: {n_bytes}"),
            Self::NoZeroByte => f.write_str("a value that does not begin with a zero byte"),
            Self::UnknownType(id) => write!(f, "type {id} is not defined"),
            Self::TypeDefinedTwice(id) => write!(f, "type {id} is defined twice"),
            Self::NotOneType => f.write_str("a definition that does not define exactly one type"),
            Self::NoSuchField => f.write_str("a field that the type of its struct does not have"),
            Self::OtherType { of, expected } => {
                write!(
                    f,
                    "the type of {of} is not {expected}: not a file of the Pushgateway"
                )
            }
            Self::FieldMissing(name) => {
                write!(
                    f,
                    "a struct without the field {name}: not a file of the Pushgateway"
                )
            }
            Self::InterfaceValue => f.write_str("an unknown field of an interface type"),
            Self::NestedTooDeeply => f.write_str("an unknown field that is nested too deeply"),
            Self::Time(defect) => defect.fmt(f),
        }
    }
}

/// Reads a part of a file from its start.
pub(super) struct GobReader<'a> {
    /// The file up to the end of the part.
    file: &'a [u8],
    /// The offset of the next byte.
    offset: usize,
}

impl<'a> GobReader<'a> {
    /// A reader of the whole file.
    pub fn new(file: &'a [u8]) -> Self {
        Self { file, offset: 0 }
    }

    /// The offset in the file of the next byte.
    pub fn offset(&self) -> usize {
        self.offset
    }

    fn n_left(&self) -> usize {
        self.file.len() - self.offset
    }

    /// The error that what begins at `offset` has this defect.
    pub fn error<T>(offset: usize, defect: GobDefect) -> Result<T, DecodeError> {
        Err(DecodeError { offset, defect })
    }

    /// Takes `n_bytes`, which are announced at `announced_at`.
    fn take(&mut self, n_bytes: usize) -> Option<&'a [u8]> {
        let taken = self.file.get(self.offset..)?.get(..n_bytes)?;
        self.offset += n_bytes;
        Some(taken)
    }

    /// Reads a uint.
    pub fn uint(&mut self) -> Result<u64, DecodeError> {
        let offset = self.offset;
        let end = DecodeError {
            offset,
            defect: GobDefect::UnexpectedEnd,
        };
        let first = self.take(1).ok_or(end)?[0];
        if first < 0x80 {
            return Ok(first.into());
        }
        let n_bytes = first.wrapping_neg();
        if n_bytes > 8 {
            return Self::error(offset, GobDefect::IntegerTooLong { n_bytes });
        }
        let bytes = self.take(n_bytes.into()).ok_or(end)?;
        let append = |value, &byte: &u8| value << 8 | u64::from(byte);
        Ok(bytes.iter().fold(0, append))
    }

    /// Reads an int.
    pub fn int(&mut self) -> Result<i64, DecodeError> {
        let value = self.uint()?;
        let half = (value >> 1).cast_signed();
        Ok(if value & 1 == 1 { !half } else { half })
    }

    /// Reads a string, or another value that is written as a length and bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let offset = self.offset;
        let length = self.uint()?;
        let n_left = self.n_left();
        usize::try_from(length)
            .ok()
            .and_then(|n_bytes| self.take(n_bytes))
            .ok_or(DecodeError {
                offset,
                defect: GobDefect::LengthTooLarge { length, n_left },
            })
    }

    /// Takes a message: its content without the length.
    pub fn message(&mut self) -> Result<GobReader<'a>, DecodeError> {
        let content = self.bytes()?;
        Ok(GobReader {
            file: &self.file[..self.offset],
            offset: self.offset - content.len(),
        })
    }

    /// Reads a struct: calls `read_field` with the index of each field that has a value.
    pub fn fields(
        &mut self,
        mut read_field: impl FnMut(&mut Self, usize) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        // The index of the first field that may come next.
        let mut next = 0usize;
        loop {
            let offset = self.offset;
            let step = self.uint()?;
            if step == 0 {
                return Ok(());
            }
            let index = usize::try_from(step - 1)
                .ok()
                .and_then(|skipped| next.checked_add(skipped))
                .filter(|&index| index < usize::MAX);
            match index {
                Some(index) => {
                    read_field(self, index)?;
                    next = index + 1;
                }
                None => return Self::error(offset, GobDefect::NoSuchField),
            }
        }
    }

    /// Checks that nothing is left.
    pub fn expect_end(&self) -> Result<(), DecodeError> {
        match self.n_left() {
            0 => Ok(()),
            n_bytes => Self::error(self.offset, GobDefect::TrailingBytes { n_bytes }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_go_encodes_them() {
        for (bytes, uint, int) in [
            (&[0][..], 0, 0),
            (&[1], 1, -1),
            (&[2], 2, 1),
            (&[0x7f], 127, -64),
            (&[0xff, 0x80], 128, 64),
            (&[0xff, 0x8b], 139, -70),
            (&[0xfe, 0x01, 0x00], 256, 128),
            // Go reads an integer with zeros in front, though it writes none.
            (&[0xfe, 0x00, 0x05], 5, -3),
            (
                &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                u64::MAX,
                i64::MIN,
            ),
            (
                &[0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe],
                u64::MAX - 1,
                i64::MAX,
            ),
        ] {
            assert_eq!(GobReader::new(bytes).uint(), Ok(uint), "{bytes:?}");
            assert_eq!(GobReader::new(bytes).int(), Ok(int), "{bytes:?}");
        }
    }

    #[test]
    fn an_integer_that_the_file_ends_within_is_refused() {
        for bytes in [&[][..], &[0xf8], &[0xfe, 1], &[0xff]] {
            assert_eq!(
                GobReader::new(bytes).uint(),
                GobReader::error(0, GobDefect::UnexpectedEnd)
            );
        }
    }

    #[test]
    fn integers_of_more_than_eight_bytes_are_refused() {
        for (first, n_bytes) in [(0xf7, 9), (0x81, 127), (0x80, 128)] {
            let bytes = [first; 200];
            assert_eq!(
                GobReader::new(&bytes).uint(),
                GobReader::error(0, GobDefect::IntegerTooLong { n_bytes })
            );
        }
    }

    #[test]
    fn strings_are_read_within_what_is_left() {
        let mut reader = GobReader::new(b"\x02ab\x00\x02c");
        assert_eq!(reader.bytes(), Ok(&b"ab"[..]));
        assert_eq!(reader.bytes(), Ok(&b""[..]));
        let too_large = GobDefect::LengthTooLarge {
            length: 2,
            n_left: 1,
        };
        assert_eq!(reader.bytes(), GobReader::error(4, too_large));
        let huge = [0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0];
        let too_large = GobDefect::LengthTooLarge {
            length: u64::MAX,
            n_left: 1,
        };
        assert_eq!(
            GobReader::new(&huge).bytes(),
            GobReader::error(0, too_large)
        );
    }

    #[test]
    fn a_message_does_not_reach_beyond_its_length() {
        let mut reader = GobReader::new(b"\x02\x01\x05\x07");
        let mut message = reader.message().unwrap();
        assert_eq!(message.uint(), Ok(1));
        assert_eq!(
            message.bytes(),
            GobReader::error(
                2,
                GobDefect::LengthTooLarge {
                    length: 5,
                    n_left: 0
                }
            )
        );
        assert_eq!(reader.offset(), 3);
        assert_eq!(
            reader.expect_end(),
            GobReader::error(3, GobDefect::TrailingBytes { n_bytes: 1 })
        );
    }

    #[test]
    fn a_struct_steps_over_the_fields_that_it_leaves_out() {
        let read = |bytes: &[u8]| {
            let mut fields = Vec::new();
            GobReader::new(bytes)
                .fields(|reader, index| {
                    fields.push((index, reader.uint()?));
                    Ok(())
                })
                .map(|()| fields)
        };
        assert_eq!(read(&[0]), Ok(vec![]));
        assert_eq!(read(&[1, 7, 3, 8, 0]), Ok(vec![(0, 7), (3, 8)]));
        assert_eq!(read(&[1, 7]), GobReader::error(2, GobDefect::UnexpectedEnd));
        let far = [
            1, 7, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9,
        ];
        assert_eq!(read(&far), GobReader::error(2, GobDefect::NoSuchField));
    }
}
