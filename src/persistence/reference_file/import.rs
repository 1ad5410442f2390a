//! Makes values of this gateway of groups of the reference.
//!
//! Messages are read by the parser that reads pushes, with the same checks. The reference writes the
//! labels of the group, and an empty `instance` if there is no other, into every metric; both are taken
//! out again, as this gateway adds them when it exposes a metric.
//!
//! The reference accepts things that this gateway refuses, and more if its check was disabled. What
//! cannot be exposed is left out, family by family; of families that contradict each other the one that
//! was pushed last stays. Contradictions between groups are not looked for: the store finds them.

use super::export::ExportedGroup;
use super::group::{ReferenceFamily, ReferenceGroup};
use super::push_times::{PushTimes, is_marker};
use crate::exposition::protobuf;
use crate::model::{Families, FamiliesBuilder, Family, GroupingKey, InvalidKey};
use crate::store::{Refusal, check_families, check_key};
use std::fmt;

/// A group of the reference as values of this gateway.
#[derive(Clone, Debug)]
pub struct ImportedGroup {
    /// The grouping key.
    pub key: GroupingKey,
    /// The families, in the order of their names: so groups with the same families have the same
    /// layout, though the reference writes them in a random order. The families with the times of
    /// pushes are not among them.
    pub families: Families,
    /// When each family was pushed, in the order of `families`, in nanoseconds after the Unix epoch.
    pub family_times: Vec<i64>,
    /// When the group was pushed to.
    pub push_times: PushTimes,
    /// The families of the reference that are not among `families`.
    pub left_out: Vec<LeftOutFamily>,
}

/// A family that was left out.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOutFamily {
    /// The name of the family.
    pub name: String,
    /// Why the family was left out.
    pub reason: LeftOutReason,
}

/// Why a family was left out.
#[derive(Clone, Debug, PartialEq)]
pub enum LeftOutReason {
    /// The message is not a metric family.
    Malformed(protobuf::ParseError),
    /// The message is a family with this other name.
    OtherName(String),
    /// A push of the family would be refused; or one of those families of the group that were pushed
    /// later, together with this one.
    Refused(Refusal),
}

/// Why a group cannot be imported.
#[derive(Clone, Debug, PartialEq)]
pub enum UnusableGroup {
    /// A label is not UTF-8. This is its name.
    LabelNotUtf8(String),
    /// The labels make no grouping key.
    InvalidKey(InvalidKey),
    /// A push to the group would be refused.
    Refused(Refusal),
    /// The group has no families and was never pushed to.
    Empty,
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::OtherName(name) => write!(f, "the file has a family {name:?} under this name"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl fmt::Display for UnusableGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LabelNotUtf8(name) => write!(f, "the label {name:?} is not UTF-8"),
            Self::InvalidKey(error) => error.fmt(f),
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Empty => f.write_str("nothing was ever pushed"),
        }
    }
}

impl std::error::Error for UnusableGroup {}

impl ImportedGroup {
    /// The group as it would be exported.
    pub fn exported(&self) -> ExportedGroup<'_> {
        ExportedGroup {
            labels: self.key.labels(),
            skeleton: &self.families.skeleton,
            values: &self.families.values,
            extras: &self.families.extras,
            family_times: Some(&self.family_times),
            push_times: self.push_times,
        }
    }
}

/// Makes values of this gateway of a group of the reference.
///
/// # Errors
///
/// Nothing of the group can be used.
pub fn import(group: &ReferenceGroup) -> Result<ImportedGroup, UnusableGroup> {
    let key = grouping_key(group)?;
    let push_times = PushTimes::of(group);
    if push_times == PushTimes::default() {
        return Err(UnusableGroup::Empty);
    }
    let mut left_out = Vec::new();
    let mut candidates: Vec<Candidate> = Vec::new();
    for family in group.families.iter().filter(|family| !is_marker(family)) {
        match read_family(family, &key) {
            Ok(families) => candidates.push(Candidate {
                families,
                pushed_at: family.pushed_at.unix_ns().unwrap_or(push_times.last_push),
            }),
            Err(reason) => left_out.push(LeftOutFamily {
                name: String::from_utf8_lossy(&family.name).into_owned(),
                reason,
            }),
        }
    }
    candidates.sort_by(|a, b| a.name().cmp(b.name()));
    let mut families = assemble(&candidates, &key).and_then(|families| {
        check_families(&families, &key)?;
        Ok(families)
    });
    if families.is_err() {
        candidates = without_contradictions(candidates, &key, &mut left_out);
        families = assemble(&candidates, &key);
    }
    Ok(ImportedGroup {
        families: families.map_err(UnusableGroup::Refused)?,
        family_times: candidates.iter().map(|c| c.pushed_at).collect(),
        key,
        push_times,
        left_out,
    })
}

/// The grouping key of a group.
fn grouping_key(group: &ReferenceGroup) -> Result<GroupingKey, UnusableGroup> {
    let mut labels = Vec::with_capacity(group.labels.len());
    for (name, value) in &group.labels {
        match (str::from_utf8(name), str::from_utf8(value)) {
            (Ok(name), Ok(value)) => labels.push((name, value)),
            _ => {
                let name = String::from_utf8_lossy(name).into_owned();
                return Err(UnusableGroup::LabelNotUtf8(name));
            }
        }
    }
    let key = GroupingKey::new(labels).map_err(UnusableGroup::InvalidKey)?;
    check_key(&key).map_err(UnusableGroup::Refused)?;
    Ok(key)
}

/// A family that may be imported.
struct Candidate {
    /// The one family.
    families: Families,
    pushed_at: i64,
}

impl Candidate {
    fn family(&self) -> Family<'_> {
        self.families.skeleton.family(0)
    }

    fn name(&self) -> &str {
        self.family().name()
    }
}

/// Reads the message of a family.
fn read_family(family: &ReferenceFamily, key: &GroupingKey) -> Result<Families, LeftOutReason> {
    let mut delimited = Vec::with_capacity(family.message.len() + 10);
    protobuf::write_delimited(&family.message, &mut delimited);
    let families = protobuf::parse(&delimited).map_err(LeftOutReason::Malformed)?;
    let name = families.skeleton.family(0).name();
    if name.as_bytes() != family.name {
        return Err(LeftOutReason::OtherName(name.to_owned()));
    }
    if families.broken_rule.is_some() {
        check_families(&families, key).map_err(LeftOutReason::Refused)?;
    }
    Ok(families)
}

/// All candidates as the families of one group, without the labels that the reference has added.
fn assemble<'a>(
    candidates: impl IntoIterator<Item = &'a Candidate>,
    key: &GroupingKey,
) -> Result<Families, Refusal> {
    let mut builder = FamiliesBuilder::new();
    for candidate in candidates {
        let family = candidate.family();
        builder.family(family.name(), family.metric_type(), family.help());
        let mut extras = candidate.families.extras.iter().peekable();
        for metric in family.metrics() {
            for (name, value) in metric.labels() {
                let is_added = name == "instance" && value.is_empty();
                if !is_added && key.labels().get(name).is_none() {
                    builder.label(name, value);
                }
            }
            metric.bounds().for_each(|bound| builder.bound(bound));
            for &value in candidate.families.values_of(metric) {
                builder.value(value);
            }
            let index = builder.end_metric(metric.flags());
            if let Some(extra) = extras.next_if(|e| e.metric as usize == metric.index()) {
                builder.extra(index, &extra.body);
            }
        }
    }
    builder.finish().map_err(|_| Refusal::TooLarge)
}

/// The candidates without those that contradict themselves or one that was pushed later.
fn without_contradictions(
    mut candidates: Vec<Candidate>,
    key: &GroupingKey,
    left_out: &mut Vec<LeftOutFamily>,
) -> Vec<Candidate> {
    let mut kept: Vec<Candidate> = Vec::new();
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.pushed_at));
    for candidate in candidates {
        let checked = assemble(kept.iter().chain([&candidate]), key)
            .and_then(|families| check_families(&families, key));
        match checked {
            Ok(()) => kept.push(candidate),
            Err(refusal) => left_out.push(LeftOutFamily {
                name: candidate.name().to_owned(),
                reason: LeftOutReason::Refused(refusal),
            }),
        }
    }
    kept.sort_by(|a, b| a.name().cmp(b.name()));
    kept
}
