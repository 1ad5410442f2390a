//! The types that a file defines, and values of types that nobody here knows.
//!
//! ```text
//! definition = struct { ArrayT, SliceT, StructT, MapT, GobEncoderT, BinaryMarshalerT, TextMarshalerT }, one of them
//! ArrayT     = struct { common, Elem int, Len int }       SliceT = struct { common, Elem int }
//! StructT    = struct { common, Field slice of struct { Name string, Id int } }
//! MapT       = struct { common, Key int, Elem int }       the others = struct { common }
//! common     = struct { Name string, Id int }
//! ```
//!
//! `Name` and `Id` in `common` say nothing that is needed: a definition is for the type that its message
//! names.

use super::gob_reader::{DecodeError, GobDefect, GobReader};
use ahash::AHashMap;

/// The number of the type `string`.
pub(super) const STRING: i64 = 6;

/// How many types of an unknown value may lie within each other. The reference's own types need seven.
const DEPTH_MAX: u32 = 32;

/// A type that the file defines.
#[derive(Debug)]
pub(super) enum GobType<'a> {
    /// An array or slice.
    List { element: i64 },
    /// A struct with these fields.
    Struct(Vec<GobField<'a>>),
    /// A map.
    Map { key: i64, element: i64 },
    /// A type that encodes itself: its values are bytes.
    Opaque,
}

/// A field of a struct.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct GobField<'a> {
    pub name: &'a [u8],
    pub field_type: i64,
}

/// The types that a file defines, by number.
#[derive(Default)]
pub(super) struct TypeTable<'a> {
    types: AHashMap<i64, GobType<'a>>,
}

impl<'a> TypeTable<'a> {
    /// The type with this number, if the file defines it.
    pub fn get(&self, id: i64) -> Option<&GobType<'a>> {
        self.types.get(&id)
    }

    /// Reads a definition. `id` is the number of the type, which was read at `offset`.
    pub fn read_definition(
        &mut self,
        id: i64,
        offset: usize,
        reader: &mut GobReader<'a>,
    ) -> Result<(), DecodeError> {
        let body_at = reader.offset();
        let (mut defined, mut n_defined) = (GobType::Opaque, 0);
        reader.fields(|reader, kind| {
            n_defined += 1;
            defined = read_type(kind, reader)?;
            Ok(())
        })?;
        if n_defined != 1 {
            return GobReader::error(body_at, GobDefect::NotOneType);
        }
        match self.types.insert(id, defined) {
            None => Ok(()),
            Some(_) => GobReader::error(offset, GobDefect::TypeDefinedTwice(id)),
        }
    }

    /// Skips a value of the type with the number `id`.
    pub fn skip(&self, id: i64, reader: &mut GobReader<'a>) -> Result<(), DecodeError> {
        self.skip_nested(id, reader, 0)
    }

    fn skip_nested(
        &self,
        id: i64,
        reader: &mut GobReader<'a>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        let offset = reader.offset();
        if depth == DEPTH_MAX {
            return GobReader::error(offset, GobDefect::NestedTooDeeply);
        }
        match id {
            // bool, int, uint, float
            1..=4 => return reader.uint().map(drop),
            // bytes, string
            5 | STRING => return reader.bytes().map(drop),
            // complex
            7 => {
                reader.uint()?;
                return reader.uint().map(drop);
            }
            8 => return GobReader::error(offset, GobDefect::InterfaceValue),
            _ => {}
        }
        match self.get(id) {
            None => GobReader::error(offset, GobDefect::UnknownType(id)),
            Some(GobType::Opaque) => reader.bytes().map(drop),
            Some(&GobType::List { element }) => {
                let n_elements = reader.uint()?;
                (0..n_elements).try_for_each(|_| self.skip_nested(element, reader, depth + 1))
            }
            Some(&GobType::Map { key, element }) => {
                let n_elements = reader.uint()?;
                (0..n_elements).try_for_each(|_| {
                    self.skip_nested(key, reader, depth + 1)?;
                    self.skip_nested(element, reader, depth + 1)
                })
            }
            Some(GobType::Struct(fields)) => reader.fields(|reader, index| {
                let Some(field) = fields.get(index) else {
                    return GobReader::error(reader.offset(), GobDefect::NoSuchField);
                };
                self.skip_nested(field.field_type, reader, depth + 1)
            }),
        }
    }
}

/// Reads the type whose definition is the field `kind` of the struct of definitions.
fn read_type<'a>(kind: usize, reader: &mut GobReader<'a>) -> Result<GobType<'a>, DecodeError> {
    let offset = reader.offset();
    let mut numbers = [0; 2];
    let mut fields = Vec::new();
    reader.fields(|reader, index| match (kind, index) {
        (0..=6, 0) => skip_common(reader),
        (2, 1) => {
            for _ in 0..reader.uint()? {
                fields.push(read_field(reader)?);
            }
            Ok(())
        }
        (0 | 3, 1 | 2) | (1, 1) => {
            numbers[index - 1] = reader.int()?;
            Ok(())
        }
        _ => GobReader::error(reader.offset(), GobDefect::NoSuchField),
    })?;
    let [first, second] = numbers;
    Ok(match kind {
        0 | 1 => GobType::List { element: first },
        2 => GobType::Struct(fields),
        3 => GobType::Map {
            key: first,
            element: second,
        },
        4..=6 => GobType::Opaque,
        _ => return GobReader::error(offset, GobDefect::NoSuchField),
    })
}

/// Skips the name and the number in a definition.
fn skip_common(reader: &mut GobReader<'_>) -> Result<(), DecodeError> {
    reader.fields(|reader, index| match index {
        0 => reader.bytes().map(drop),
        1 => reader.int().map(drop),
        _ => GobReader::error(reader.offset(), GobDefect::NoSuchField),
    })
}

/// Reads a field in the definition of a struct.
fn read_field<'a>(reader: &mut GobReader<'a>) -> Result<GobField<'a>, DecodeError> {
    let mut field = GobField::default();
    reader.fields(|reader, index| {
        match index {
            0 => field.name = reader.bytes()?,
            1 => field.field_type = reader.int()?,
            _ => return GobReader::error(reader.offset(), GobDefect::NoSuchField),
        }
        Ok(())
    })?;
    Ok(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with types of every kind: 64 a list of strings, 65 a struct {a int, b 64, c 65, d 8},
    /// 66 a map from string to 65, 67 opaque.
    fn table() -> TypeTable<'static> {
        let mut table = TypeTable::default();
        for (id, definition) in [
            (64, &b"\x02\x01\x01\x01x\x00\x01\x0c\x00\x00"[..]),
            (
                65,
                b"\x03\x02\x04\x01\x01a\x01\x04\x00\x01\x01b\x01\xff\x80\x00\x01\x01c\x01\xff\x82\x00\x01\x01d\x01\x10\x00\x00\x00",
            ),
            (66, b"\x04\x02\x0c\x01\xff\x82\x00\x00"),
            (67, b"\x05\x01\x02\xff\x8e\x00\x00\x00"),
        ] {
            let mut reader = GobReader::new(definition);
            table.read_definition(id, 0, &mut reader).unwrap();
            assert_eq!(reader.expect_end(), Ok(()), "{id}");
        }
        table
    }

    fn skip(id: i64, bytes: &[u8]) -> Result<usize, DecodeError> {
        let mut reader = GobReader::new(bytes);
        table().skip(id, &mut reader)?;
        Ok(reader.offset())
    }

    #[test]
    fn values_of_every_type_are_skipped() {
        for (id, bytes, n_skipped) in [
            (1, &b"\x01"[..], 1),
            (2, b"\xff\x80", 2),
            (4, b"\xfe\x40\x45\x00", 3),
            (5, b"\x02ab", 3),
            (6, b"\x00", 1),
            (7, b"\x01\x02\x03", 2),
            (64, b"\x02\x01a\x00\x07", 4),
            (65, b"\x00", 1),
            (65, b"\x01\x05\x01\x01\x01a\x01\x01\x05\x00\x00", 11),
            (66, b"\x02\x01a\x00\x01b\x01\x02\x00", 9),
            (67, b"\x03abcd", 4),
        ] {
            assert_eq!(skip(id, bytes), Ok(n_skipped), "{id}: {bytes:?}");
        }
    }

    #[test]
    fn values_that_cannot_be_skipped_are_refused() {
        let nested = [3; 40];
        for (id, bytes, offset, defect) in [
            (9, &b"\x00"[..], 0, GobDefect::UnknownType(9)),
            (-1, b"\x00", 0, GobDefect::UnknownType(-1)),
            (8, b"\x00", 0, GobDefect::InterfaceValue),
            (65, b"\x04\x00", 1, GobDefect::InterfaceValue),
            (65, b"\x05\x00", 1, GobDefect::NoSuchField),
            (65, &nested, 32, GobDefect::NestedTooDeeply),
            // A count that the file does not have.
            (64, b"\xfc\xff\xff\xff\xff\x00", 6, GobDefect::UnexpectedEnd),
        ] {
            assert_eq!(skip(id, bytes), GobReader::error(offset, defect), "{id}");
        }
    }

    #[test]
    fn definitions_that_define_no_type_are_refused() {
        for (definition, offset, defect) in [
            (&b"\x00"[..], 0, GobDefect::NotOneType),
            (b"\x05\x00\x01\x00\x00", 0, GobDefect::NotOneType),
            (b"\x08\x00\x00", 1, GobDefect::NoSuchField),
            (b"\x05\x02\x00\x00", 2, GobDefect::NoSuchField),
            (b"\x05\x01\x03\x00", 3, GobDefect::NoSuchField),
            (b"\x03\x02\x01\x03\x00", 4, GobDefect::NoSuchField),
            (b"\x04\x02\x0c", 3, GobDefect::UnexpectedEnd),
        ] {
            let read = TypeTable::default().read_definition(70, 0, &mut GobReader::new(definition));
            assert_eq!(read, GobReader::error(offset, defect), "{definition:?}");
        }
        let mut table = TypeTable::default();
        let mut define = || table.read_definition(70, 5, &mut GobReader::new(b"\x05\x00\x00"));
        assert_eq!(define(), Ok(()));
        assert_eq!(
            define(),
            GobReader::error(5, GobDefect::TypeDefinedTwice(70))
        );
    }
}
