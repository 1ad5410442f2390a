//! A file that the reference has written, files that are damaged, and groups made at random.
//!
//! One subject, so one file: most of it are tables of damaged files, each with the place and the words of
//! its error.

use super::gob_reader::GobReader;
use super::*;
use crate::exposition::json_group::{GroupWriter, ShownGroup};
use crate::exposition::text;
use crate::model::{GroupingKey, NameScheme};
use crate::store::Refusal;
use serde_json::Value;

/// Written by the Pushgateway 1.11.2.
const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/reference-1.11.2.gob");
/// What its query API shows after loading that file.
const SHOWN: &str = include_str!("../../../tests/fixtures/reference-1.11.2.json");

/// What the query API shows of these groups.
fn shown(groups: &[ReferenceGroup]) -> Value {
    let groups = groups.iter().map(|group| {
        let imported = import(group).unwrap();
        assert_eq!(imported.left_out, []);
        let shown = ShownGroup {
            labels: imported.key.labels(),
            skeleton: &imported.families.skeleton,
            family_times: Some(&imported.family_times),
            values: &imported.families.values,
            extras: &imported.families.extras,
            push_time: imported.push_times.last_push,
            failure_time: imported.push_times.last_failure,
            first_time: imported.push_times.first,
        };
        let (mut writer, mut json) = (GroupWriter::new(&shown), Vec::new());
        while writer.write_step(&shown, &mut json) {}
        serde_json::from_slice::<Value>(&json).unwrap()
    });
    groups.collect()
}

#[test]
fn the_groups_in_a_file_are_those_that_the_reference_shows() {
    let expected: Value = serde_json::from_str(SHOWN).unwrap();
    let groups = decode(FIXTURE).unwrap();
    assert_eq!(shown(&groups), expected["data"]);
    let exported: Vec<_> = groups
        .iter()
        .map(|group| export(import(group).unwrap().exported()))
        .collect();
    assert_eq!(shown(&exported), expected["data"]);
}

/// The messages of a file, without their lengths.
fn messages(file: &[u8]) -> Vec<&[u8]> {
    let (mut reader, mut messages) = (GobReader::new(file), Vec::new());
    while reader.expect_end().is_err() {
        messages.push(reader.bytes().unwrap());
    }
    messages
}

#[test]
fn a_file_that_is_written_again_has_the_bytes_that_the_reference_wrote() {
    let written = encode(&decode(FIXTURE).unwrap());
    let (written, original) = (messages(&written), messages(FIXTURE));
    // The reference has further definitions, which no value uses, behind the seven that are needed.
    assert_eq!(written[..7], original[..7]);
    assert_eq!(written[7..], original[original.len() - 1..]);
}

#[test]
fn a_family_is_exported_with_the_bytes_that_the_reference_wrote() {
    for group in decode(FIXTURE).unwrap() {
        let mut exported = export(import(&group).unwrap().exported());
        exported.families.sort_by(|a, b| a.name.cmp(&b.name));
        let mut group = group;
        group.families.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(exported, group);
    }
}

#[test]
fn a_file_of_a_gateway_without_groups_has_none() {
    assert_eq!(decode(&encode(&[])), Ok(Vec::new()));
}

/// A group, made at random.
fn group(random: &mut fastrand::Rng) -> ReferenceGroup {
    let bytes = |random: &mut fastrand::Rng| -> Vec<u8> {
        let n_bytes = random.choice([0, 1, 5, 127, 128, 300]).unwrap();
        (0..n_bytes).map(|_| random.u8(..)).collect()
    };
    let mut group = ReferenceGroup::default();
    for n in 0..random.usize(..5) {
        let name = [&[n as u8][..], &bytes(random)].concat();
        group.labels.push((name, bytes(random)));
    }
    for n in 0..random.usize(..5) {
        let seconds = random.choice([i64::MIN, -62_135_596_800, 0, 1_795_393_358, 1 << 61]);
        let nanoseconds = random.choice([0, 1, 999_999_999]).unwrap();
        group.families.push(ReferenceFamily {
            name: [&[n as u8][..], &bytes(random)].concat(),
            pushed_at: GoTime::new(seconds.unwrap(), nanoseconds).unwrap(),
            message: bytes(random),
        });
    }
    group
}

#[test]
fn what_was_encoded_decodes_to_the_same_groups() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let mut groups: Vec<_> = (0..random.usize(..5)).map(|_| group(&mut random)).collect();
        groups.sort_by(|a, b| a.labels.cmp(&b.labels));
        groups.dedup_by(|a, b| a.labels == b.labels);
        assert_eq!(decode(&encode(&groups)).as_ref(), Ok(&groups));
    }
}

#[test]
fn every_part_of_a_file_is_refused() {
    for n_bytes in 0..FIXTURE.len() {
        let error = decode(&FIXTURE[..n_bytes]).unwrap_err();
        assert!(error.offset <= n_bytes, "{n_bytes}: {error}");
    }
    let written = encode(&decode(FIXTURE).unwrap());
    for n_bytes in 0..written.len() {
        decode(&written[..n_bytes]).unwrap_err();
    }
}

/// Bytes are changed, inserted and removed; offsets of errors lie in the file, and what can be read can
/// be imported, exported and written.
#[test]
fn damaged_files_do_not_panic() {
    let mut files = Vec::new();
    for at in 0..FIXTURE.len() {
        for bit in 0..8 {
            let mut file = FIXTURE.to_vec();
            file[at] ^= 1 << bit;
            files.push(file);
        }
    }
    let mut random = fastrand::Rng::with_seed(3);
    let written = encode(&decode(FIXTURE).unwrap());
    for _ in 0..30_000 {
        let mut file = if random.bool() { FIXTURE } else { &written }.to_vec();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(..file.len());
            let byte = random.choice([0, 1, 2, 0x7f, 0x80, 0xf8, 0xfc, 0xfe, 0xff, 6, 64, 67]);
            match random.u8(..4) {
                0 => file.insert(at, byte.unwrap()),
                1 => drop(file.remove(at)),
                2 => file[at] = byte.unwrap(),
                _ => file[at] = random.u8(..),
            }
        }
        files.push(file);
    }
    let mut n_read = 0;
    for file in files {
        match decode(&file) {
            Ok(groups) => {
                n_read += 1;
                for group in &groups {
                    if let Ok(imported) = import(group) {
                        export(imported.exported());
                    }
                }
                assert_eq!(decode(&encode(&groups)), Ok(groups));
            }
            Err(error) => assert!(error.offset <= file.len(), "{error}"),
        }
    }
    assert!(n_read > 1_000, "{n_read}");
}

/// A file of these messages, each shorter than 128 bytes.
fn file(messages: &[&[u8]]) -> Vec<u8> {
    let delimited = messages.iter().flat_map(|message| {
        let length = u8::try_from(message.len()).unwrap();
        [&[length], *message].concat()
    });
    delimited.collect()
}

/// A file like one of another version: other numbers of types, fields in another order, fields that
/// nobody knows, and integers as the keys of groups. Type 2 is int, 3 is uint, 6 is string.
const OTHER_VERSION: [&[u8]; 7] = [
    // 100: a map from uint to 101.
    b"\xff\xc7\x04\x02\x06\x01\xff\xca\x00\x00",
    // 101: a struct {Extra int, Metrics 102, Labels 103}.
    b"\xff\xc9\x03\x02\x03\x01\x05Extra\x01\x04\x00\x01\x07Metrics\x01\xff\xcc\x00\x01\x06Labels\x01\xff\xce\x00\x00\x00",
    // 102: a map from string to 104. 103: one from string to string.
    b"\xff\xcb\x04\x02\x0c\x01\xff\xd0\x00\x00",
    b"\xff\xcd\x04\x02\x0c\x01\x0c\x00\x00",
    // 104: a struct {GobbableMetricFamily 105, Timestamp 106}.
    b"\xff\xcf\x03\x02\x02\x01\x14GobbableMetricFamily\x01\xff\xd2\x00\x01\x09Timestamp\x01\xff\xd4\x00\x00\x00",
    // 105: encodes itself. 106: a BinaryMarshaler.
    b"\xff\xd1\x05\x00\x00",
    b"\xff\xd3\x06\x00\x00",
];

#[test]
fn a_file_of_another_version_is_read_by_the_structure_of_its_types() {
    let time = b"\x01\x00\x00\x00\x0e\x77\x91\xf7\x00\x00\x00\x00\x05\xff\xff";
    let value = [
        b"\xff\xc8\x00\x02",
        // The group 200: Extra is 1, a family f with a message and a time.
        &b"\xff\xc8\x01\x02\x01\x01\x01f\x01\x02\x12\x00\x01\x0f"[..],
        time,
        b"\x00\x01\x01\x03job\x01j\x00",
        // The group 1: only labels.
        b"\x01\x03\x01\x03job\x01k\x00",
    ]
    .concat();
    let messages = [&OTHER_VERSION[..], &[&value]].concat();
    let label = |value: &[u8]| vec![(b"job".to_vec(), value.to_vec())];
    let expected = [
        ReferenceGroup {
            labels: label(b"j"),
            families: vec![ReferenceFamily {
                name: b"f".to_vec(),
                pushed_at: GoTime::new(0, 5).unwrap(),
                message: b"\x12\x00".to_vec(),
            }],
        },
        ReferenceGroup {
            labels: label(b"k"),
            families: Vec::new(),
        },
    ];
    assert_eq!(decode(&file(&messages)), Ok(expected.to_vec()));
}

#[test]
fn of_equal_keys_the_last_one_counts() {
    let value = [
        b"\xff\xc8\x00\x03",
        &b"\x01\x02\x01\x01f\x00\x01\x01\x03job\x01j\x00"[..],
        b"\x02\x03\x01\x03job\x01k\x00",
        // Again the labels of the first group: a label and a family twice.
        b"\x03\x02\x03\x01g\x01\x01a\x00\x01h\x00\x01g\x01\x01b\x00\x01\x02\x03job\x01x\x03job\x01j\x00",
    ]
    .concat();
    let groups = decode(&file(&[&OTHER_VERSION[..], &[&value]].concat())).unwrap();
    let shown: Vec<_> = groups
        .iter()
        .map(|group| {
            let families = group.families.iter().map(|f| (&*f.name, &*f.message));
            (&*group.labels[0].1, families.collect::<Vec<_>>())
        })
        .collect();
    assert_eq!(
        shown,
        [
            (&b"j"[..], vec![(&b"g"[..], &b"b"[..]), (b"h", b"")]),
            (b"k", vec![])
        ]
    );
}

#[test]
fn malformed_files_are_refused_where_they_are_wrong() {
    let definitions = file(&OTHER_VERSION);
    let n = definitions.len();
    let with_value = |value: &[u8]| [definitions.clone(), file(&[value])].concat();
    let without = |index: usize, value: &[u8]| {
        let mut messages = OTHER_VERSION.to_vec();
        messages.remove(index);
        [file(&messages), file(&[value])].concat()
    };
    let replaced = |index: usize, message: &[u8]| {
        let mut messages = OTHER_VERSION.to_vec();
        messages[index] = message;
        [file(&messages), file(&[b"\xff\xc8\x00\x00"])].concat()
    };
    let check = |file: &[u8], offset: usize, text: &str| {
        let error = decode(file).unwrap_err();
        assert_eq!(
            (error.offset, &*error.defect.to_string()),
            (offset, text),
            "{file:?}"
        );
    };
    check(b"", 0, "unexpected end");
    check(&definitions, n, "unexpected end");
    check(
        b"# TYPE up gauge\nup 1\n",
        0,
        "a length of 35 bytes, but 20 are left",
    );
    check(b"\xf0\x00", 0, "an integer of 16 bytes, more than 8");
    check(b"\x01\x00", 1, "type 0 is not defined");
    check(b"\x02\xff\xc8", 1, "type 100 is not defined");
    check(&with_value(b"\xff\xc8"), n + 3, "unexpected end");
    check(
        &with_value(b"\xff\xc8\x01"),
        n + 3,
        "a value that does not begin with a zero byte",
    );
    check(
        &with_value(b"\xff\xc8\x00\x00\x07"),
        n + 5,
        "trailing bytes: 1",
    );
    let trailing = [with_value(b"\xff\xc8\x00\x00"), vec![0, 0]].concat();
    check(&trailing, n + 5, "trailing bytes: 2");
    // A count that the file does not have.
    check(
        &with_value(b"\xff\xc8\x00\xf8\xff\xff\xff\xff\xff\xff\xff\xff"),
        n + 13,
        "unexpected end",
    );
    check(
        &with_value(b"\xff\xc8\x00\x01\x01\x04\x00"),
        n + 7,
        "a field that the type of its struct does not have",
    );
    check(
        &with_value(b"\xff\xc8\x00\x01\x01\x03\x01\x05a"),
        n + 8,
        "a length of 5 bytes, but 1 are left",
    );
    check(
        &with_value(b"\xff\xc8\x00\x01\x01\x02\x01\x01f\x02\x01\x01"),
        n + 11,
        "a time has 1 bytes",
    );
    check(
        &with_value(b"\xff\xca\x00"),
        n + 1,
        "the type of the file is not a map: not a file of the Pushgateway",
    );
    check(
        &with_value(b"\xff\xcc\x00"),
        n + 1,
        "a struct without the field Labels: not a file of the Pushgateway",
    );
    check(
        &with_value(b"\xff\xd6\x00"),
        n + 1,
        "type 107 is not defined",
    );
    let lost = n - OTHER_VERSION[3].len() - 1;
    check(
        &without(3, b"\xff\xc8\x00\x00"),
        lost + 1,
        "type 103 is not defined",
    );
    let lost = n - OTHER_VERSION[5].len() - 1;
    check(
        &without(5, b"\xff\xc8\x00\x00"),
        lost + 1,
        "the type of the content of families is not one that encodes itself: not a file of the Pushgateway",
    );
    // A definition of the type 101, and of the type 2⁶³.
    let at = file(&OTHER_VERSION[..1]).len();
    check(
        &replaced(1, OTHER_VERSION[0]),
        at + 1,
        "type 100 is defined twice",
    );
    check(
        &replaced(1, b"\xff\xc9\x00"),
        at + 3,
        "a definition that does not define exactly one type",
    );
    check(
        &replaced(1, b"\xff\xc9\x05\x00\x00\x00"),
        at + 6,
        "trailing bytes: 1",
    );
    check(
        &replaced(1, b"\xf8\xff\xff\xff\xff\xff\xff\xff\xff"),
        at + 1,
        "type -9223372036854775808 is not defined",
    );
    // Labels whose values are numbers.
    check(
        &replaced(3, b"\xff\xcd\x04\x02\x0c\x01\x04\x00\x00"),
        n + 1,
        "the type of labels is not a map from strings to strings: not a file of the Pushgateway",
    );
}

/// A group of the reference with these families, given as text, each pushed a second after the one
/// before.
fn exported(labels: &[(&'static str, &'static str)], families: &[&str]) -> ReferenceGroup {
    let mut group = ReferenceGroup::default();
    for (second, body) in (1..).zip(families) {
        let families = text::parse(body.as_bytes(), NameScheme::Utf8).unwrap();
        let key = GroupingKey::new(labels.iter().copied()).unwrap();
        let exported = export(ExportedGroup {
            labels: key.labels(),
            skeleton: &families.skeleton,
            values: &families.values,
            extras: &families.extras,
            family_times: None,
            push_times: PushTimes {
                last_push: second * 1_000_000_000,
                last_failure: 0,
                first: 1_000_000_000,
            },
        });
        group.labels = exported.labels;
        group
            .families
            .retain(|family| !family.name.starts_with(b"push_"));
        group.families.extend(exported.families);
    }
    group
}

fn left_out(group: &ReferenceGroup) -> (Vec<String>, Vec<String>) {
    let imported = import(group).unwrap();
    let kept = imported.families.skeleton.families();
    let left_out = imported.left_out.iter();
    (
        kept.map(|family| family.name().to_owned()).collect(),
        left_out
            .map(|f| format!("{}: {}", f.name, f.reason))
            .collect(),
    )
}

#[test]
fn labels_that_the_reference_adds_are_taken_out() {
    let group = exported(
        &[("job", "j"), ("a.b", "v")],
        &["x{job=\"own\",l=\"1\"} 1\nx{l=\"2\",instance=\"i\"} 2\n"],
    );
    let imported = import(&group).unwrap();
    let labels: Vec<Vec<_>> = (0..2)
        .map(|metric| imported.families.skeleton.metric(metric).labels().collect())
        .collect();
    assert_eq!(
        labels,
        [vec![("l", "1")], vec![("instance", "i"), ("l", "2")]]
    );
    assert_eq!(export(imported.exported()), group);
}

#[test]
fn of_families_that_contradict_each_other_the_newest_stays() {
    let group = exported(
        &[("job", "j")],
        &[
            "a_count 1\n",
            "# TYPE a summary\na_count 1\na_sum 2\n",
            "# TYPE b summary\nb_sum 1\n",
            "b_sum 1\nc 2\n",
        ],
    );
    assert_eq!(
        left_out(&group),
        (
            ["a", "b_sum", "c"].map(str::to_owned).to_vec(),
            [
                "b: collected metric named \"b_sum\" collides with previously collected summary named \"b\"",
                "a_count: collected metric named \"a_count\" collides with previously collected summary named \"a\"",
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
    let times = import(&group).unwrap().family_times;
    assert_eq!(times, [2_000_000_000, 4_000_000_000, 4_000_000_000]);
}

#[test]
fn families_that_cannot_be_exposed_are_left_out_by_name() {
    let mut group = exported(
        &[("job", "j")],
        &[
            "a 1\n",
            "b{l=\"x\"} 1\nb{l=\"y\"} 1\n",
            "c 1\n",
            "d 1\n",
            "e 1\n",
        ],
    );
    let change = |group: &mut ReferenceGroup, name: &str, from: &[u8], to: &[u8]| {
        let family = group
            .families
            .iter_mut()
            .find(|f| f.name == name.as_bytes());
        let message = &mut family.unwrap().message;
        let at = message.windows(from.len()).position(|w| w == from).unwrap();
        message.splice(at..at + from.len(), to.iter().copied());
    };
    // A truncated message, a series twice, a name that is another one, a label that is not UTF-8, and a
    // gauge that says it is a counter.
    group.families[0].message.pop();
    change(&mut group, "b", b"y", b"x");
    change(&mut group, "c", b"\x0a\x01c", b"\x0a\x01z");
    change(&mut group, "d", b"\x12\x01j", b"\x12\x01\xff");
    change(&mut group, "e", b"\x18\x03", b"\x18\x00");
    assert_eq!(
        left_out(&group),
        (
            vec![],
            [
                "a: proto: cannot parse invalid wire-format data",
                "c: the file has a family \"z\" under this name",
                "d: collected metric \"d\" { label:{name:\"instance\" value:\"\"} label:{name:\"job\" value:\"j\"} untyped:{value:1}} has a label \"job\" whose value is not utf8",
                "e: collected metric \"e\" { label:{name:\"instance\" value:\"\"} label:{name:\"job\" value:\"j\"} untyped:{value:1}} is not a COUNTER",
                "b: collected metric \"b\" { label:{name:\"instance\" value:\"\"} label:{name:\"job\" value:\"j\"} label:{name:\"l\" value:\"x\"} untyped:{value:1}} was collected before with the same name and label values",
            ]
            .map(str::to_owned)
            .to_vec()
        )
    );
}

#[test]
fn groups_that_cannot_be_pushed_to_are_refused_as_a_whole() {
    let unusable = |labels: &[(&[u8], &[u8])]| {
        let mut group = exported(&[("job", "j")], &["a 1\n"]);
        group.labels = labels
            .iter()
            .map(|(n, v)| (n.to_vec(), v.to_vec()))
            .collect();
        import(&group).unwrap_err().to_string()
    };
    assert_eq!(unusable(&[]), "job name is required");
    assert_eq!(
        unusable(&[(b"job", b"\xff")]),
        "the label \"job\" is not UTF-8"
    );
    assert_eq!(
        unusable(&[(b"__x", b"1"), (b"job", b"j")]),
        "the label name \"__x\" of the grouping key is reserved"
    );
    let labels = vec![(b"job".to_vec(), b"j".to_vec())];
    let empty = ReferenceGroup {
        labels,
        families: Vec::new(),
    };
    assert_eq!(import(&empty).unwrap_err(), UnusableGroup::Empty);
    let too_large = UnusableGroup::Refused(Refusal::TooLarge);
    assert_eq!(
        too_large.to_string(),
        "the group would have more than 4 GiB of labels"
    );
}
