//! Writes a file that the reference loads. The head of the module `reference_file` has the grammar.
//!
//! The definitions are those that the reference writes for the types of its value, with the same numbers
//! and in the same order. The reference also writes definitions that no value uses; they are left out.

use super::go_time::GoTime;
use super::gob_types::STRING;
use super::group::{ReferenceFamily, ReferenceGroup};

/// The numbers of the types, as in a file that the reference 1.11.2 has written.
const GROUP: i64 = 64;
const LABELS: i64 = 65;
const FAMILY: i64 = 66;
const TIME: i64 = 67;
const MESSAGE: i64 = 68;
const FAMILIES: i64 = 69;
const GROUPS: i64 = 70;
/// The type within `MESSAGE`. Nothing reads this number, and the file need not define the type.
const WITHIN_MESSAGE: i64 = 71;

/// Writes a file with these groups.
pub fn encode(groups: &[ReferenceGroup]) -> Vec<u8> {
    let mut value = Vec::new();
    write_int(GROUPS, &mut value);
    write_uint(0, &mut value);
    write_uint(groups.len() as u64, &mut value);
    for group in groups {
        write_group(group, &mut value);
    }
    let mut file = definitions();
    write_bytes(&value, &mut file);
    file
}

fn write_group(group: &ReferenceGroup, out: &mut Vec<u8>) {
    let mut labels: Vec<(&[u8], &[u8])> = group.labels.iter().map(|(n, v)| (&**n, &**v)).collect();
    labels.sort();
    let parts: Vec<&[u8]> = labels.iter().flat_map(|&(n, v)| [n, v]).collect();
    write_bytes(&parts.join(&0xff), out);
    write_uint(1, out);
    write_uint(labels.len() as u64, out);
    for part in parts {
        write_bytes(part, out);
    }
    write_uint(1, out);
    write_uint(group.families.len() as u64, out);
    for family in &group.families {
        write_family(family, out);
    }
    write_uint(0, out);
}

fn write_family(family: &ReferenceFamily, out: &mut Vec<u8>) {
    write_bytes(&family.name, out);
    if family.pushed_at == GoTime::ZERO {
        write_uint(2, out);
    } else {
        write_uint(1, out);
        write_bytes(&family.pushed_at.to_bytes(), out);
        write_uint(1, out);
    }
    // Also if there are no bytes: the reference panics if it has to expose a family that is left out.
    write_bytes(&family.message, out);
    write_uint(0, out);
}

/// The definitions of all types, each a message.
fn definitions() -> Vec<u8> {
    let mut out = Vec::new();
    let map = |key, element| {
        move |body: &mut Vec<u8>| {
            for id in [key, element] {
                write_uint(1, body);
                write_int(id, body);
            }
        }
    };
    let fields = |fields: [(&'static str, i64); 2]| {
        move |body: &mut Vec<u8>| {
            write_uint(1, body);
            write_uint(fields.len() as u64, body);
            for (name, id) in fields {
                write_name_and_id(name, id, body);
            }
        }
    };
    let nothing = |_: &mut Vec<u8>| {};
    let (structure, mapping, opaque) = (3, 4, 5);
    let groups = ("GroupingKeyToMetricGroup", GROUPS);
    write_definition(GROUPS, mapping, groups, map(STRING, GROUP), &mut out);
    let group = fields([("Labels", LABELS), ("Metrics", FAMILIES)]);
    write_definition(GROUP, structure, ("", GROUP), group, &mut out);
    let labels = ("map[string]string", LABELS);
    write_definition(LABELS, mapping, labels, map(STRING, STRING), &mut out);
    let families = ("NameToTimestampedMetricFamilyMap", FAMILIES);
    write_definition(FAMILIES, mapping, families, map(STRING, FAMILY), &mut out);
    let family = fields([("Timestamp", TIME), ("GobbableMetricFamily", MESSAGE)]);
    write_definition(FAMILY, structure, ("", FAMILY), family, &mut out);
    write_definition(TIME, opaque, ("Time", TIME), nothing, &mut out);
    write_definition(MESSAGE, opaque, ("", WITHIN_MESSAGE), nothing, &mut out);
    out
}

/// Writes the definition of the type `id`. `kind` is the step to its field in the struct of definitions,
/// `common` the name and number in it; `write_rest` writes the fields after `common`.
fn write_definition(
    id: i64,
    kind: u64,
    common: (&str, i64),
    write_rest: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    let mut message = Vec::new();
    write_int(-id, &mut message);
    write_uint(kind, &mut message);
    write_uint(1, &mut message);
    write_name_and_id(common.0, common.1, &mut message);
    write_rest(&mut message);
    write_uint(0, &mut message);
    write_uint(0, &mut message);
    write_bytes(&message, out);
}

/// Writes a struct of a name and a number. An empty name is left out.
fn write_name_and_id(name: &str, id: i64, out: &mut Vec<u8>) {
    if name.is_empty() {
        write_uint(2, out);
    } else {
        write_uint(1, out);
        write_bytes(name.as_bytes(), out);
        write_uint(1, out);
    }
    write_int(id, out);
    write_uint(0, out);
}

fn write_uint(value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let n_zeros = value.leading_zeros() as usize / 8;
    let n_bytes = 8 - n_zeros;
    out.push((n_bytes as u8).wrapping_neg());
    out.extend_from_slice(&value.to_be_bytes()[n_zeros..]);
}

fn write_int(value: i64, out: &mut Vec<u8>) {
    let sign_last = (value << 1) ^ (value >> 63);
    write_uint(sign_last.cast_unsigned(), out);
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_uint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::super::gob_reader::GobReader;
    use super::*;

    #[test]
    fn written_numbers_read_back_as_the_same_number() {
        let mut numbers = vec![0, 1, 127, 128, 255, 256, u64::MAX];
        numbers.extend((0..64).flat_map(|bit| [1 << bit, (1 << bit) - 1]));
        for number in numbers {
            let mut out = Vec::new();
            write_uint(number, &mut out);
            let signed = number.cast_signed();
            write_int(signed, &mut out);
            write_int(!signed, &mut out);
            let mut reader = GobReader::new(&out);
            assert_eq!(reader.uint(), Ok(number));
            assert_eq!(reader.int(), Ok(signed));
            assert_eq!(reader.int(), Ok(!signed));
            assert_eq!(reader.expect_end(), Ok(()));
        }
        let mut out = Vec::new();
        write_uint(256, &mut out);
        write_int(-70, &mut out);
        assert_eq!(out, [0xfe, 1, 0, 0xff, 0x8b]);
    }
}
