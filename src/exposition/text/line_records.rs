//! What the reader of lines hands to the builder of families: flat lists of family headers, samples
//! and labels.
//!
//! The lists keep the order of the lines. Families are built from them at the end of the body,
//! because a body may go back to a family that it has left.

use super::token::{Token, TokenText};
use crate::model::MetricType;

/// What the `# HELP` and `# TYPE` lines said about a family.
pub(super) struct FamilyHeader {
    pub(super) name: Token,
    pub(super) help: Option<Token>,
    /// `None` until the family has a TYPE line or a sample. The first sample makes a family without
    /// a type untyped.
    pub(super) metric_type: Option<MetricType>,
}

/// Which number of a metric a sample carries, by the suffix of the sample's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleRole {
    /// The name is that of the family, or ends with `_bucket`: the value of a plain metric, a
    /// quantile or a bucket.
    Value,
    /// The name ends with `_count`: the count of a summary or histogram.
    Count,
    /// The name ends with `_sum`: the sum of a summary or histogram.
    Sum,
}

/// A sample as its line has it.
#[derive(Clone, Copy)]
pub(super) struct SampleLine {
    /// The index of the sample's family.
    pub(super) family: u32,
    /// Where the sample's labels end in the list of all labels. They begin where those of the
    /// sample before end.
    pub(super) labels_end: u32,
    pub(super) role: SampleRole,
    /// The rank of a quantile or the upper bound of a bucket; NaN if the line has none.
    pub(super) bound: f64,
    pub(super) value: f64,
    /// The place of the value in the body.
    pub(super) number: Token,
}

/// A label of a sample. Name and value were found to be UTF-8.
#[derive(Clone, Copy)]
pub(super) struct LabelTokens {
    pub(super) name: Token,
    pub(super) value: Token,
}

/// The contents of a body, line by line.
pub(super) struct LineRecords<'a> {
    pub(super) text: TokenText<'a>,
    pub(super) families: Vec<FamilyHeader>,
    pub(super) samples: Vec<SampleLine>,
    pub(super) labels: Vec<LabelTokens>,
    /// Whether a sample has a timestamp.
    pub(super) has_timestamp: bool,
    pub(super) n_lines: u32,
}

impl LineRecords<'_> {
    /// The labels of the sample with this index, in the order of the line.
    #[inline]
    pub(super) fn labels_of(&self, sample: usize) -> &[LabelTokens] {
        let start = sample
            .checked_sub(1)
            .map_or(0, |before| self.samples[before].labels_end as usize);
        &self.labels[start..self.samples[sample].labels_end as usize]
    }

    /// Whether two samples have the same labels in the same order.
    #[inline]
    pub(super) fn have_equal_labels(&self, a: usize, b: usize) -> bool {
        let bytes =
            |label: &LabelTokens| (self.text.bytes(label.name), self.text.bytes(label.value));
        let of_a = self.labels_of(a).iter().map(bytes);
        of_a.eq(self.labels_of(b).iter().map(bytes))
    }
}
