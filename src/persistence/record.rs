//! A group as the bytes of a row in the state file, and back.
//!
//! ```text
//! record   = version: u8, push time, failure time, first time, expiry: i64, labels, skeleton,
//!            values, family times, extras
//! labels   = n: varint, n × (name: text, value: text)
//! skeleton = length in bytes: varint, n families: varint, families
//! family   = name: text, has help: u8, help: text, type: u8, n metrics: varint, metrics
//! metric   = flags: u8, labels, n bounds: varint, n × u64, n values: varint
//! values   = n: varint, n × u64
//! times    = n: varint, n × i64                    n is 0 if all families were pushed at the push time
//! extras   = n: varint, n × (metric: varint, text)
//! text     = length in bytes: varint, bytes
//! ```
//!
//! Integers of a fixed size are little-endian. A varint has seven bits a byte, the lowest first, and
//! the highest bit of a byte says that more follow. Times are nanoseconds since the epoch; 0 stands
//! for never. The expiry is always 0: there is no expiry yet. A record carries no check sum: each
//! row of the state file has one.
//!
//! Groups of one job mostly have the same skeleton. So the encoder keeps the bytes of the skeletons
//! that it has written lately, and the decoder the layouts that it has made of such bytes.

use crate::model::{
    FamiliesBuilder, Family, GroupingKey, InvalidKey, MetricFlags, MetricType, Skeleton,
};
use crate::store::{GroupTimes, Layout, RestoredGroup, Snapshot};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

/// The version of the format that is written.
const VERSION: u8 = 1;

/// How many skeletons the encoder and the decoder keep.
const SKELETONS_MAX: usize = 16;

/// A skeleton larger than this is not kept: it takes much memory, and few groups have the same.
const KEPT_SKELETON_BYTES_MAX: usize = 64 << 10;

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The record has another version of the format.
    Version(u8),
    /// The record ends too early, or something in it is not what the format allows.
    Malformed(&'static str),
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "the record has version {version} of the format, and this gateway reads version {VERSION}"
            ),
            Self::Malformed(what) => write!(f, "the record is damaged: {what}"),
        }
    }
}

impl From<InvalidKey> for RecordError {
    fn from(_: InvalidKey) -> Self {
        Self::Malformed("the grouping key has no job")
    }
}

/// Writes groups as records.
#[derive(Debug, Default)]
pub struct RecordEncoder {
    /// By layout id, the one that was used last at the end.
    skeletons: VecDeque<(u64, Box<[u8]>)>,
}

impl RecordEncoder {
    /// Appends the record of a group to `out`.
    pub fn encode(&mut self, group: &Snapshot, out: &mut Vec<u8>) {
        out.push(VERSION);
        let expires_at = 0i64;
        for time in [
            group.push_time,
            group.failure_time,
            group.first_time,
            expires_at,
        ] {
            out.extend_from_slice(&time.to_le_bytes());
        }
        let labels = group.key().labels();
        put_varint(labels.iter().count() as u64, out);
        for (name, value) in labels.iter() {
            put_text(name.as_bytes(), out);
            put_text(value.as_bytes(), out);
        }
        put_text(self.skeleton(group.layout()), out);
        put_varint(group.values.len() as u64, out);
        for value in &group.values {
            out.extend_from_slice(&value.to_le_bytes());
        }
        let times = group.family_times().unwrap_or_default();
        put_varint(times.len() as u64, out);
        for time in times {
            out.extend_from_slice(&time.to_le_bytes());
        }
        put_varint(group.extras.len() as u64, out);
        for extra in &group.extras {
            put_varint(extra.metric.into(), out);
            put_text(&extra.body, out);
        }
    }

    /// The bytes of a layout's skeleton.
    fn skeleton(&mut self, layout: &Layout) -> &[u8] {
        let is_it = |(id, _): &(u64, _)| *id == layout.id();
        let kept = self.skeletons.iter().rposition(is_it);
        let entry = match kept.and_then(|place| self.skeletons.remove(place)) {
            Some(entry) => entry,
            None => {
                let mut bytes = Vec::new();
                put_skeleton(layout.skeleton(), &mut bytes);
                (layout.id(), bytes.into())
            }
        };
        // A skeleton that is too large is kept until the next one comes.
        self.skeletons
            .retain(|(_, bytes)| bytes.len() <= KEPT_SKELETON_BYTES_MAX);
        if self.skeletons.len() == SKELETONS_MAX {
            self.skeletons.pop_front();
        }
        self.skeletons.push_back(entry);
        &self.skeletons.back().expect("pushed").1
    }
}

/// Reads records.
#[derive(Default)]
pub struct RecordDecoder {
    /// Skeletons as bytes, with the layouts that were made of them; the one that was used last at
    /// the end.
    layouts: VecDeque<(Box<[u8]>, Arc<Layout>)>,
}

impl RecordDecoder {
    /// Reads the record of a group.
    ///
    /// # Errors
    ///
    /// [`RecordError`]. A record whose check sum is right only has one if it is of another version.
    pub fn decode(&mut self, record: &[u8]) -> Result<RestoredGroup, RecordError> {
        let mut reader = Reader(record);
        match reader.u8()? {
            VERSION => {}
            other => return Err(RecordError::Version(other)),
        }
        let push_time = reader.i64()?;
        let failure_time = reader.i64()?;
        let first_time = reader.i64()?;
        let _expires_at = reader.i64()?;
        let labels = reader.labels()?;
        let key = Arc::new(GroupingKey::new(labels)?);
        let skeleton = reader.bytes()?;
        let values = reader.u64s()?;
        let n_times = reader.count(8)?;
        let mut times = Vec::with_capacity(n_times);
        for _ in 0..n_times {
            times.push(reader.i64()?);
        }
        let n_extras = reader.count(2)?;
        let mut extras = Vec::with_capacity(n_extras);
        for _ in 0..n_extras {
            let metric = u32::try_from(reader.varint()?)
                .map_err(|_| RecordError::Malformed("the index of a metric is too large"))?;
            extras.push((metric, reader.bytes()?));
        }
        if !reader.0.is_empty() {
            return Err(RecordError::Malformed("bytes follow its end"));
        }
        let times = GroupTimes {
            push_time,
            failure_time,
            first_time,
            family_times: (!times.is_empty()).then(|| times.into()),
        };
        if let Some(layout) = self.layout(skeleton, &key)
            && extras.is_empty()
            && values.len() == layout.skeleton().n_values()
        {
            check_times(&times, layout.skeleton().n_families())?;
            return Ok(RestoredGroup::of_layout(key, layout, values, times));
        }
        let mut builder = FamiliesBuilder::new();
        read_skeleton(skeleton, &values, &extras, &mut builder)?;
        let families = builder
            .finish()
            .map_err(|_| RecordError::Malformed("it has more than 4 GiB of labels"))?;
        check_times(&times, families.skeleton.n_families())?;
        Ok(RestoredGroup::new(key, families, times))
    }

    /// Keeps the layout that a group got which was read from `record`: other groups with the same
    /// skeleton are read faster with it.
    pub fn keep_layout(&mut self, record: &[u8], layout: &Arc<Layout>) {
        let mut reader = Reader(record);
        let header = 1 + 4 * size_of::<i64>();
        let skeleton = reader
            .take(header)
            .and_then(|_| reader.labels())
            .and_then(|_| reader.bytes());
        let Ok(skeleton) = skeleton else { return };
        let is_known = |(bytes, _): &(Box<[u8]>, _)| **bytes == *skeleton;
        if skeleton.len() > KEPT_SKELETON_BYTES_MAX || self.layouts.iter().any(is_known) {
            return;
        }
        if self.layouts.len() == SKELETONS_MAX {
            self.layouts.pop_front();
        }
        self.layouts
            .push_back((skeleton.into(), Arc::clone(layout)));
    }

    /// The layout that was made of these bytes for keys with the label names of `key`, if it is
    /// kept.
    fn layout(&mut self, skeleton: &[u8], key: &GroupingKey) -> Option<Arc<Layout>> {
        let is_it = |(bytes, layout): &(Box<[u8]>, Arc<Layout>)| {
            **bytes == *skeleton
                && layout
                    .key_names()
                    .iter()
                    .map(|name| &**name)
                    .eq(key.labels().iter().map(|(name, _)| name))
        };
        let place = self.layouts.iter().rposition(is_it)?;
        let entry = self.layouts.remove(place)?;
        let layout = Arc::clone(&entry.1);
        self.layouts.push_back(entry);
        Some(layout)
    }
}

/// A group has a time for each family, or for none.
fn check_times(times: &GroupTimes, n_families: usize) -> Result<(), RecordError> {
    match &times.family_times {
        Some(times) if times.len() != n_families => Err(RecordError::Malformed(
            "it has not one time for each family",
        )),
        _ => Ok(()),
    }
}

fn put_skeleton(skeleton: &Skeleton, out: &mut Vec<u8>) {
    put_varint(skeleton.n_families() as u64, out);
    for family in skeleton.families() {
        put_family(family, out);
    }
}

fn put_family(family: Family<'_>, out: &mut Vec<u8>) {
    put_text(family.name().as_bytes(), out);
    out.push(family.help().is_some().into());
    put_text(family.help().unwrap_or_default().as_bytes(), out);
    out.push(type_code(family.metric_type()));
    put_varint(family.metrics().len() as u64, out);
    for metric in family.metrics() {
        out.push(flags_code(metric.flags()));
        put_varint(metric.labels().len() as u64, out);
        for (name, value) in metric.labels() {
            put_text(name.as_bytes(), out);
            put_text(value.as_bytes(), out);
        }
        put_varint(metric.bounds_bits().len() as u64, out);
        for bound in metric.bounds_bits() {
            out.extend_from_slice(&bound.to_le_bytes());
        }
        put_varint(metric.value_range().len() as u64, out);
    }
}

/// Builds families of the bytes of a skeleton, with their values and extras.
fn read_skeleton(
    skeleton: &[u8],
    values: &[u64],
    extras: &[(u32, &[u8])],
    builder: &mut FamiliesBuilder,
) -> Result<(), RecordError> {
    let mut reader = Reader(skeleton);
    let mut values = values.iter();
    let mut extras = extras.iter().peekable();
    for _ in 0..reader.count(5)? {
        let name = reader.text()?;
        let has_help = reader.u8()? != 0;
        let help = reader.text()?;
        let metric_type = type_of_code(reader.u8()?)?;
        builder.family(name, metric_type, has_help.then_some(help));
        for _ in 0..reader.count(4)? {
            let flags = flags_of_code(reader.u8()?)?;
            for _ in 0..reader.count(2)? {
                builder.label(reader.text()?, reader.text()?);
            }
            for _ in 0..reader.count(8)? {
                builder.bound(f64::from_bits(reader.u64()?));
            }
            for _ in 0..reader.varint()? {
                let value = values
                    .next()
                    .ok_or(RecordError::Malformed("a metric has too few values"))?;
                builder.value(*value);
            }
            let metric = builder.end_metric(flags);
            if let Some((_, body)) = extras.next_if(|(of, _)| *of == metric) {
                builder.extra(metric, body);
            }
        }
    }
    if !reader.0.is_empty() || values.next().is_some() || extras.next().is_some() {
        return Err(RecordError::Malformed("it has more than its families"));
    }
    Ok(())
}

/// The numbers of the types are those of the files that exist: they never change.
fn type_code(metric_type: MetricType) -> u8 {
    match metric_type {
        MetricType::Counter => 0,
        MetricType::Gauge => 1,
        MetricType::Summary => 2,
        MetricType::Untyped => 3,
        MetricType::Histogram => 4,
        MetricType::GaugeHistogram => 5,
    }
}

fn type_of_code(code: u8) -> Result<MetricType, RecordError> {
    Ok(match code {
        0 => MetricType::Counter,
        1 => MetricType::Gauge,
        2 => MetricType::Summary,
        3 => MetricType::Untyped,
        4 => MetricType::Histogram,
        5 => MetricType::GaugeHistogram,
        _ => return Err(RecordError::Malformed("a family has an unknown type")),
    })
}

const FLAG_CODES: [(MetricFlags, u8); 3] = [
    (MetricFlags::HAS_COUNT, 1),
    (MetricFlags::HAS_SUM, 2),
    (MetricFlags::FLOAT_COUNTS, 4),
];

fn flags_code(flags: MetricFlags) -> u8 {
    FLAG_CODES
        .iter()
        .filter(|(flag, _)| flags.has(*flag))
        .fold(0, |code, (_, bit)| code | bit)
}

fn flags_of_code(code: u8) -> Result<MetricFlags, RecordError> {
    let known = FLAG_CODES.iter().fold(0, |bits, (_, bit)| bits | bit);
    if code & !known != 0 {
        return Err(RecordError::Malformed("a metric has an unknown flag"));
    }
    Ok(FLAG_CODES
        .iter()
        .filter(|(_, bit)| code & bit != 0)
        .fold(MetricFlags::default(), |flags, (flag, _)| flags | *flag))
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_varint(text.len() as u64, out);
    out.extend_from_slice(text);
}

/// The rest of a record. Nothing is allocated by a count that the rest cannot hold.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .0
            .split_at_checked(n)
            .ok_or(RecordError::Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        Ok(self.take(1)?[0])
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        let bytes = self.take(size_of::<u64>())?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }

    fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(self.u64()?.cast_signed())
    }

    fn varint(&mut self) -> Result<u64, RecordError> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(RecordError::Malformed("a number is too long"))
    }

    /// The count of things that take at least `bytes_min` bytes each.
    fn count(&mut self, bytes_min: usize) -> Result<usize, RecordError> {
        usize::try_from(self.varint()?)
            .ok()
            .filter(|n| n.checked_mul(bytes_min).is_some_and(|n| n <= self.0.len()))
            .ok_or(RecordError::Malformed("a count is too large"))
    }

    fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let n = self.count(1)?;
        self.take(n)
    }

    fn text(&mut self) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|_| RecordError::Malformed("a text is not UTF-8"))
    }

    fn labels(&mut self) -> Result<SmallVec<[(&'a str, &'a str); 4]>, RecordError> {
        (0..self.count(2)?)
            .map(|_| Ok((self.text()?, self.text()?)))
            .collect()
    }

    fn u64s(&mut self) -> Result<SmallVec<[u64; 12]>, RecordError> {
        let n = self.count(size_of::<u64>())?;
        let bytes = self.take(n * size_of::<u64>())?;
        Ok(bytes
            .chunks_exact(size_of::<u64>())
            .map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
            .collect())
    }
}

#[cfg(test)]
mod tests;
