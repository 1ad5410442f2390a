//! The wire format: tags, varints, lengths.

/// A field's value as it lies on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    /// A fixed32 or a group: nothing that is read here.
    Other,
}

/// Bytes that are not in the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// Nested groups that are passed over at most.
const GROUPS_MAX: u32 = 100;

/// Reads the fields of one message.
#[derive(Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn next_field(&mut self) -> Result<Option<(u64, Value<'a>)>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (field, wire_type) = self.tag()?;
        // The end of a group that did not begin.
        if wire_type == 4 {
            return Err(Malformed);
        }
        Ok(Some((field, self.value(field, wire_type, 0)?)))
    }

    fn tag(&mut self) -> Result<(u64, u64), Malformed> {
        let tag = self.varint()?;
        if tag >> 3 == 0 || tag >> 32 != 0 {
            Err(Malformed)
        } else {
            Ok((tag >> 3, tag & 7))
        }
    }

    fn value(&mut self, field: u64, wire_type: u64, depth: u32) -> Result<Value<'a>, Malformed> {
        Ok(match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(
                self.take(8)?.try_into().map_err(|_| Malformed)?,
            )),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(len)?)
            }
            3 if depth < GROUPS_MAX => loop {
                let (inner, wire_type) = self.tag()?;
                if wire_type != 4 {
                    self.value(inner, wire_type, depth + 1)?;
                } else if inner == field {
                    break Value::Other;
                } else {
                    return Err(Malformed);
                }
            },
            5 => {
                self.take(4)?;
                Value::Other
            }
            _ => return Err(Malformed),
        })
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let (value, len) = read_varint(self.0).map_err(|_| Malformed)?;
        self.0 = &self.0[len..];
        Ok(value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.next_field();
        if field.is_err() {
            self.0 = &[];
        }
        field.transpose()
    }
}

/// Why there is no varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoVarint {
    /// The bytes end within it.
    End,
    /// It does not fit 64 bits.
    Overflow,
}

/// The varint that `bytes` begin with, and how long it is.
pub(super) fn read_varint(bytes: &[u8]) -> Result<(u64, usize), NoVarint> {
    let mut value = 0;
    for (i, &byte) in bytes.iter().enumerate().take(10) {
        if i == 9 && byte > 1 {
            return Err(NoVarint::Overflow);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Ok((value, i + 1));
        }
    }
    Err(if bytes.len() < 10 {
        NoVarint::End
    } else {
        NoVarint::Overflow
    })
}

pub(super) fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A length-delimited field.
pub(super) fn write_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    write_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

pub(super) fn write_varint_field(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3);
    write_varint(value, out);
}

/// A double, given by its bits.
pub(super) fn write_double(field: u8, bits: u64, out: &mut Vec<u8>) {
    out.push(field << 3 | 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_as_they_are_written() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            write_varint(value, &mut bytes);
            assert_eq!(read_varint(&bytes), Ok((value, bytes.len())));
            assert_eq!(varint_len(value), bytes.len());
            assert_eq!(read_varint(&bytes[..bytes.len() - 1]), Err(NoVarint::End));
        }
        assert_eq!(read_varint(&[0xff; 11]), Err(NoVarint::Overflow));
    }

    #[test]
    fn groups_and_fixed32_are_passed_over() {
        // Group 1 { varint field 2 }, fixed32 field 3, varint field 4.
        let fields: Result<Vec<_>, _> =
            Fields::new(&[0x0b, 0x10, 5, 0x0c, 0x1d, 1, 2, 3, 4, 0x20, 9]).collect();
        assert_eq!(
            fields,
            Ok(vec![
                (1, Value::Other),
                (3, Value::Other),
                (4, Value::Varint(9))
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
