//! Reads the groups in a file of the reference. The head of the module `reference_file` has the grammar.

use super::go_time::GoTime;
use super::gob_reader::{DecodeError, GobDefect, GobReader};
use super::gob_types::{GobField, GobType, STRING, TypeTable};
use super::group::{ReferenceFamily, ReferenceGroup};
use ahash::AHashMap;
use std::collections::BTreeMap;

/// Reads the groups in a file, in the order of the file. An empty file is an error: whether that counts
/// as a missing file is the caller's decision.
///
/// The keys of the groups are not trusted but their labels are. If several groups have the same labels,
/// or a group has several families of the same name, the last one counts.
///
/// # Errors
///
/// The first thing in the file that the reference would not have written.
pub fn decode(file: &[u8]) -> Result<Vec<ReferenceGroup>, DecodeError> {
    let mut reader = GobReader::new(file);
    let mut types = TypeTable::default();
    loop {
        let mut message = reader.message()?;
        let id_at = message.offset();
        let id = message.int()?;
        match id.checked_neg() {
            Some(defined) if defined > 0 => {
                types.read_definition(defined, id_at, &mut message)?;
                message.expect_end()?;
            }
            Some(_) => {
                let groups = FileType::find(&types, id, id_at)?.read(&mut message)?;
                message.expect_end()?;
                reader.expect_end()?;
                return Ok(groups);
            }
            None => return GobReader::error(id_at, GobDefect::UnknownType(id)),
        }
    }
}

/// The types of a file, as far as what is read depends on them.
struct FileType<'t, 'a> {
    types: &'t TypeTable<'a>,
    /// The type of the groups' keys.
    key: i64,
    group: StructType<'t, 'a>,
    family: StructType<'t, 'a>,
}

/// The type of a struct of which two fields are read.
struct StructType<'t, 'a> {
    fields: &'t [GobField<'a>],
    /// The indices of the two fields.
    known: [usize; 2],
}

impl<'t, 'a> FileType<'t, 'a> {
    /// Finds the types below the type `id` of the file's value. Errors are at `offset`.
    fn find(types: &'t TypeTable<'a>, id: i64, offset: usize) -> Result<Self, DecodeError> {
        let other = |of, expected| DecodeError {
            offset,
            defect: GobDefect::OtherType { of, expected },
        };
        let map = |id, of| match types.get(id) {
            Some(&GobType::Map { key, element }) => Ok((key, element)),
            Some(_) => Err(other(of, "a map")),
            None => GobReader::error(offset, GobDefect::UnknownType(id)),
        };
        let structure = |id, of, names: [&'static str; 2]| {
            let Some(GobType::Struct(fields)) = types.get(id) else {
                return Err(other(of, "a struct"));
            };
            let mut known = [0; 2];
            for (place, name) in known.iter_mut().zip(names) {
                *place = fields
                    .iter()
                    .position(|field| field.name == name.as_bytes())
                    .ok_or(DecodeError {
                        offset,
                        defect: GobDefect::FieldMissing(name),
                    })?;
            }
            Ok(StructType { fields, known })
        };
        let (key, group) = map(id, "the file")?;
        let group = structure(group, "groups", ["Labels", "Metrics"])?;
        if map(group.field_type(0), "labels")? != (STRING, STRING) {
            return Err(other("labels", "a map from strings to strings"));
        }
        let (name, family) = map(group.field_type(1), "families")?;
        if name != STRING {
            return Err(other("families", "a map from strings to structs"));
        }
        let family = structure(family, "families", ["Timestamp", "GobbableMetricFamily"])?;
        for index in 0..2 {
            if !matches!(types.get(family.field_type(index)), Some(GobType::Opaque)) {
                return Err(other("the content of families", "one that encodes itself"));
            }
        }
        Ok(Self {
            types,
            key,
            group,
            family,
        })
    }

    /// Reads the file's value.
    fn read(&self, reader: &mut GobReader<'a>) -> Result<Vec<ReferenceGroup>, DecodeError> {
        let offset = reader.offset();
        if reader.uint()? != 0 {
            return GobReader::error(offset, GobDefect::NoZeroByte);
        }
        let mut groups = LastOfEach::default();
        for _ in 0..reader.uint()? {
            self.types.skip(self.key, reader)?;
            let (labels, families) = self.read_group(reader)?;
            groups.put(labels, families);
        }
        let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
        Ok(groups
            .into_iter()
            .map(|(labels, families)| ReferenceGroup {
                labels: labels.into_iter().map(owned).collect(),
                families,
            })
            .collect())
    }

    /// Reads a group: its labels and families.
    fn read_group(&self, reader: &mut GobReader<'a>) -> Result<GroupParts<'a>, DecodeError> {
        let mut labels = BTreeMap::new();
        let mut families = LastOfEach::default();
        self.group.read(self.types, reader, |reader, place| {
            for _ in 0..reader.uint()? {
                let name = reader.bytes()?;
                if place == 0 {
                    labels.insert(name, reader.bytes()?);
                } else {
                    families.put(name, self.read_family(name, reader)?);
                }
            }
            Ok(())
        })?;
        let families = families.into_iter().map(|(_, family)| family).collect();
        Ok((labels, families))
    }

    /// Reads what the family `name` is mapped to.
    fn read_family(
        &self,
        name: &[u8],
        reader: &mut GobReader<'a>,
    ) -> Result<ReferenceFamily, DecodeError> {
        let mut family = ReferenceFamily {
            name: name.to_vec(),
            ..ReferenceFamily::default()
        };
        self.family.read(self.types, reader, |reader, place| {
            let offset = reader.offset();
            let bytes = reader.bytes()?;
            if place == 0 {
                family.pushed_at = GoTime::from_bytes(bytes).map_err(|defect| DecodeError {
                    offset,
                    defect: GobDefect::Time(defect),
                })?;
            } else {
                family.message = bytes.to_vec();
            }
            Ok(())
        })?;
        Ok(family)
    }
}

/// The labels of a group, sorted, and its families.
type GroupParts<'a> = (BTreeMap<&'a [u8], &'a [u8]>, Vec<ReferenceFamily>);

impl<'a> StructType<'_, 'a> {
    /// The number of the type of one of the two fields.
    fn field_type(&self, place: usize) -> i64 {
        self.fields[self.known[place]].field_type
    }

    /// Reads a struct: calls `read_known` for those of the two fields that have a value, and skips all
    /// other fields.
    fn read(
        &self,
        types: &TypeTable<'a>,
        reader: &mut GobReader<'a>,
        mut read_known: impl FnMut(&mut GobReader<'a>, usize) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        reader.fields(|reader, index| {
            if let Some(place) = self.known.iter().position(|&known| known == index) {
                return read_known(reader, place);
            }
            match self.fields.get(index) {
                Some(field) => types.skip(field.field_type, reader),
                None => GobReader::error(reader.offset(), GobDefect::NoSuchField),
            }
        })
    }
}

/// A map that keeps the order in which its keys were first put.
struct LastOfEach<K, V> {
    places: AHashMap<K, usize>,
    values: Vec<V>,
}

impl<K, V> Default for LastOfEach<K, V> {
    fn default() -> Self {
        Self {
            places: AHashMap::new(),
            values: Vec::new(),
        }
    }
}

impl<K: Eq + std::hash::Hash, V> LastOfEach<K, V> {
    fn put(&mut self, key: K, value: V) {
        let n_values = self.values.len();
        match *self.places.entry(key).or_insert(n_values) {
            place if place == n_values => self.values.push(value),
            place => self.values[place] = value,
        }
    }

    fn into_iter(self) -> impl Iterator<Item = (K, V)> {
        let mut keys: Vec<(usize, K)> = self
            .places
            .into_iter()
            .map(|(key, place)| (place, key))
            .collect();
        keys.sort_unstable_by_key(|&(place, _)| place);
        keys.into_iter().map(|(_, key)| key).zip(self.values)
    }
}
