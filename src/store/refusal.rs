//! Why a push is refused, and the text that its client sees. Where the reference has a text for the
//! same reason it is the same one.

use crate::model::{GroupingKey, MetricType};
use std::fmt;
use std::sync::Arc;

/// Why a push was refused.
#[derive(Clone, Debug, PartialEq)]
pub enum Refusal {
    /// A sample carries a time stamp.
    Timestamps,
    /// A protobuf metric lacks the value that the type of its family demands, or has a label that
    /// is not UTF-8; or a label name is invalid.
    Malformed {
        /// The metric as protobuf's text form shows it.
        metric: String,
        /// What is wrong with the metric.
        what: String,
    },
    /// A family has no name.
    NoName,
    /// The group would have more than 4 GiB of names, helps and labels, which are addressed by 32
    /// bits.
    TooLarge,
    /// The group would be exposed with more bytes than `Config::exposition_bytes_max`.
    ExpositionTooLarge {
        /// How many bytes it would be, approximately.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Two metrics of the push are the same series.
    DuplicateSeries {
        /// The metric as protobuf's text form shows it.
        metric: String,
    },
    /// Another group of the job exposes the same series.
    Series {
        /// The metric as protobuf's text form shows it.
        metric: String,
        /// The other group.
        owner: Arc<GroupingKey>,
    },
    /// A line would have a label name twice.
    LabelTwice {
        /// The metric as protobuf's text form shows it.
        metric: String,
        /// The name.
        label: String,
    },
    /// The family is exposed with another type.
    FamilyType {
        /// A metric as protobuf's text form shows it: one of the owner, if the owner is a known
        /// group, else the pushed one.
        metric: String,
        /// The name of the family.
        family: String,
        /// The type that was pushed.
        pushed: MetricType,
        /// The type that is exposed.
        exposed: MetricType,
        /// Who exposes it.
        owner: NameOwner,
    },
    /// A name is that of a family, and also that of a summary or histogram with a suffix.
    Suffix {
        /// The name.
        name: String,
        /// The type and name of the summary or histogram, if known.
        of: Option<(MetricType, String)>,
        /// Who exposes the other one; `None` if both are in the push.
        owner: Option<NameOwner>,
        /// True if the name is exposed and the summary or histogram was pushed; false if the name
        /// was pushed.
        is_name_exposed: bool,
    },
    /// Two family names are the same after escaping.
    EscapedName {
        /// The name that was pushed.
        pushed: String,
        /// The other name.
        exposed: String,
        /// Who exposes the other name; `None` if both are in the push.
        owner: Option<NameOwner>,
    },
    /// There is a group whose key is written otherwise and has the same canonical form.
    OtherKey {
        /// The key of that group.
        exposed: Arc<GroupingKey>,
    },
    /// The groups of the job have as many different sets of label names as
    /// `Config::shapes_per_job_max` allows, and the pushed key has another one.
    TooManyShapes {
        /// The limit.
        shapes_max: usize,
    },
    /// Several things are wrong: at least two, and none of them is a `Several` itself.
    Several {
        /// The first ones.
        listed: Box<[Refusal]>,
        /// How many more there are; of a large push perhaps not all of them.
        n_more: usize,
    },
    /// A label name of the grouping key would make every line of the group invalid.
    KeyNames {
        /// The name.
        name: String,
        /// What is wrong with the metric.
        why: &'static str,
    },
}

/// Who exposes a name or series that a push contradicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOwner {
    /// This group.
    Group(Arc<GroupingKey>),
    /// A group; which one is not known.
    Unknown,
    /// The gateway itself.
    Gateway,
}

impl fmt::Display for NameOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group(key) => write!(f, "the group {key}"),
            Self::Unknown => f.write_str("another group"),
            Self::Gateway => f.write_str("the gateway"),
        }
    }
}

impl Refusal {
    /// The reason as the value of a metric's label: one of [`Refusal::REASONS`].
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Timestamps => "timestamps",
            Self::Malformed { .. } | Self::NoName | Self::TooLarge => "malformed",
            Self::ExpositionTooLarge { .. } => "exposition_bytes",
            Self::DuplicateSeries { .. } | Self::Series { .. } => "duplicate_series",
            Self::LabelTwice { .. } => "duplicate_label",
            Self::FamilyType { .. } => "type",
            Self::Suffix { .. } | Self::EscapedName { .. } => "name",
            Self::OtherKey { .. } | Self::TooManyShapes { .. } | Self::KeyNames { .. } => {
                "grouping_key"
            }
            Self::Several { listed, .. } => listed[0].reason(),
        }
    }

    /// All values that [`Refusal::reason`] returns, sorted.
    pub const REASONS: [&str; 8] = [
        "duplicate_label",
        "duplicate_series",
        "exposition_bytes",
        "grouping_key",
        "malformed",
        "name",
        "timestamps",
        "type",
    ];
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let same = "was collected before with the same name and label values";
        match self {
            Self::Timestamps => f.write_str("pushed metrics must not have timestamps"),
            Self::Malformed { metric, what } => write!(f, "collected metric {metric} {what}"),
            Self::NoName => f.write_str("a metric family has no name"),
            Self::TooLarge => f.write_str("the group would have more than 4 GiB of labels"),
            Self::ExpositionTooLarge { bytes, bytes_max } => write!(
                f,
                "the group would be exposed with some {bytes} bytes, more than {bytes_max}, \
                 which is the limit"
            ),
            Self::DuplicateSeries { metric } => write!(f, "collected metric {metric} {same}"),
            Self::Series { metric, owner } => write!(
                f,
                "collected metric {metric} {same}; the group {owner} has it"
            ),
            Self::LabelTwice { metric, label } => {
                write!(
                    f,
                    "collected metric {metric} has two or more labels with the same name: {label}"
                )
            }
            Self::FamilyType {
                family,
                pushed,
                exposed,
                owner: NameOwner::Gateway,
                ..
            } => {
                let (pushed, exposed) = (pushed.as_proto_str(), exposed.as_proto_str());
                write!(
                    f,
                    "gathered metric family {family} has type {pushed} but should have {exposed}"
                )
            }
            // The metric is one of the owner, so that its labels say which group that is.
            Self::FamilyType {
                metric,
                pushed,
                owner: NameOwner::Group(_),
                ..
            } => {
                write!(
                    f,
                    "collected metric {metric} is not a {}",
                    pushed.as_proto_str()
                )
            }
            Self::FamilyType {
                metric, exposed, ..
            } => {
                write!(
                    f,
                    "collected metric {metric} is not a {}",
                    exposed.as_proto_str()
                )
            }
            Self::Suffix {
                name,
                of: Some((_, of)),
                owner: Some(owner),
                is_name_exposed: true,
            } => {
                let kinds = if name.ends_with("_bucket") {
                    "histogram"
                } else {
                    "histogram or summary"
                };
                write!(
                    f,
                    "collected {kinds} named {of:?} collides with previously collected metric \
                     named {name:?}"
                )?;
                write!(f, "; {owner} has it")
            }
            Self::Suffix {
                name, of, owner, ..
            } => {
                write!(
                    f,
                    "collected metric named {name:?} collides with previously collected "
                )?;
                match of {
                    Some((metric_type, of)) => write!(f, "{} named {of:?}", metric_type.as_str())?,
                    None => f.write_str("summary, histogram or suffix of one")?,
                }
                match owner {
                    // Only the reference's text: the names show that they are the gateway's own.
                    None | Some(NameOwner::Gateway) => Ok(()),
                    Some(owner) => write!(f, "; {owner} has it"),
                }
            }
            Self::EscapedName {
                pushed,
                exposed,
                owner,
            } => {
                write!(
                    f,
                    "the metric names {pushed:?} and {exposed:?} are the same once escaped"
                )?;
                owner
                    .as_ref()
                    .map_or(Ok(()), |owner| write!(f, "; {owner} has {exposed:?}"))
            }
            Self::OtherKey { exposed } => {
                write!(
                    f,
                    "the group {exposed} exists, whose grouping key is the same but for an empty \
                     instance label or escaping"
                )
            }
            Self::TooManyShapes { shapes_max } => write!(
                f,
                "the groups of this job have {shapes_max} different sets of grouping label names \
                 already, which is the limit"
            ),
            Self::Several { listed, n_more } => {
                write!(f, "{} error(s) occurred:", listed.len() + n_more)?;
                for refusal in listed {
                    write!(f, "\n* {refusal}")?;
                }
                if *n_more > 0 {
                    write!(f, "\n* and {n_more} more")?;
                }
                Ok(())
            }
            Self::KeyNames { name, why } => {
                write!(f, "the label name {name:?} of the grouping key {why}")
            }
        }
    }
}
