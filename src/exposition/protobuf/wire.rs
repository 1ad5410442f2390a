//! The wire format of protobuf.
//!
//! ```text
//! message = { tag value }
//! tag     = varint                 field number × 8 + wire type
//! value   = varint                 wire type 0
//!         | 8 bytes                wire type 1
//!         | length bytes           wire type 2; length: a varint
//!         | message end            wire type 3, a group; end: a tag with the same number, wire type 4
//!         | 4 bytes                wire type 5
//! varint  = 7 bits a byte, the lowest first, with the highest bit set in all bytes but the last
//! ```

/// The value of a field, by wire type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FieldValue<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// A fixed32 or a group. No field of a metric family has these types.
    Other,
}

/// A message is not in the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MalformedMessage;

/// The largest depth of nested groups. Groups are skipped recursively, so this bounds the stack.
const GROUP_DEPTH_MAX: u32 = 100;

/// The fields of one message: field numbers with values. Ends after an error.
#[derive(Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// How many bytes of the message are not read yet.
    pub fn n_bytes_left(&self) -> usize {
        self.0.len()
    }

    fn next_field(&mut self) -> Result<Option<(u64, FieldValue<'a>)>, MalformedMessage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (field, wire_type) = self.tag()?;
        // Wire type 4 ends a group, and none began.
        if wire_type == 4 {
            return Err(MalformedMessage);
        }
        Ok(Some((field, self.value(field, wire_type, 0)?)))
    }

    /// Reads a tag: field number and wire type.
    fn tag(&mut self) -> Result<(u64, u64), MalformedMessage> {
        let tag = self.varint()?;
        if tag >> 3 == 0 || tag >> 32 != 0 {
            Err(MalformedMessage)
        } else {
            Ok((tag >> 3, tag & 7))
        }
    }

    /// Reads a value. `depth` is the number of groups around it.
    fn value(
        &mut self,
        field: u64,
        wire_type: u64,
        depth: u32,
    ) -> Result<FieldValue<'a>, MalformedMessage> {
        Ok(match wire_type {
            0 => FieldValue::Varint(self.varint()?),
            1 => FieldValue::Fixed64(u64::from_le_bytes(
                self.take(8)?.try_into().map_err(|_| MalformedMessage)?,
            )),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| MalformedMessage)?;
                FieldValue::Bytes(self.take(len)?)
            }
            3 if depth < GROUP_DEPTH_MAX => loop {
                let (inner, wire_type) = self.tag()?;
                if wire_type != 4 {
                    self.value(inner, wire_type, depth + 1)?;
                } else if inner == field {
                    break FieldValue::Other;
                } else {
                    return Err(MalformedMessage);
                }
            },
            5 => {
                self.take(4)?;
                FieldValue::Other
            }
            _ => return Err(MalformedMessage),
        })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], MalformedMessage> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(MalformedMessage)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, MalformedMessage> {
        let (value, len) = read_varint(self.0).map_err(|_| MalformedMessage)?;
        self.0 = &self.0[len..];
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, FieldValue<'a>), MalformedMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.next_field();
        if field.is_err() {
            self.0 = &[];
        }
        field.transpose()
    }
}

/// Why a varint cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum VarintError {
    /// The bytes end within the varint.
    UnexpectedEnd,
    /// The varint does not fit 64 bits.
    Overflow,
}

/// Reads the varint at the start of `bytes`. Returns the value and the varint's length in bytes.
pub(super) fn read_varint(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        if i == 9 && byte > 1 {
            return Err(VarintError::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 {
        VarintError::UnexpectedEnd
    } else {
        VarintError::Overflow
    })
}

/// Appends a varint to `out`.
pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number of bytes of a varint with this value.
pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a field of bytes (a string or a message) to `out`.
pub(super) fn write_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a field with a varint to `out`.
pub(super) fn write_varint_field(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3);
    write_varint(value, out);
}

/// Appends a field with a double, given by its bits, to `out`.
pub(super) fn write_double(field: u8, bits: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_varints_read_back_as_the_same_number() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write_varint(value, &mut bytes);
            assert_eq!(read_varint(&bytes), Ok((value, bytes.len())));
            assert_eq!(varint_len(value), bytes.len());
            assert_eq!(
                read_varint(&bytes[..bytes.len() - 1]),
                Err(VarintError::UnexpectedEnd)
            );
        }
        assert_eq!(read_varint(&[0xff; 11]), Err(VarintError::Overflow));
    }

    #[test]
    fn groups_and_fixed32_are_skipped() {
        // Field 1: a group with a varint in field 2. Field 3: a fixed32. Field 4: a varint.
        let fields: Result<Vec<_>, _> =
            Fields::new(&[0x0b, 0x10, 5, 0x0c, 0x1d, 1, 2, 3, 4, 0x20, 9]).collect();
        assert_eq!(
            fields,
            Ok(vec![
                (1, FieldValue::Other),
                (3, FieldValue::Other),
                (4, FieldValue::Varint(9))
            ])
        );
        for bad in [
            &[0x0b, 0x10, 5][..],
            &[0x0c],
            &[0x0b, 0x14],
            &[0x00],
            &[0x0a, 5, 1],
            &[0x0f],
            &[0x09, 1],
        ] {
            assert!(Fields::new(bad).any(|field| field.is_err()), "{bad:?}");
        }
    }
}
