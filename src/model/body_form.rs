//! The form of a body in the text format: the bytes between its numbers.
//!
//! Most pushes of a job differ from the push before only in their numbers. With the form of one
//! body, the next body can be read without parsing it: compare the bytes between the numbers, and
//! read the numbers. The result is the same as that of parsing.
//!
//! ```text
//! body = literal { number literal }
//! ```
//!
//! Invariants:
//!
//! - Every value of the skeleton has exactly one number in the body. So reading a body along a form
//!   sets all values.
//! - Each literal after a number begins with a newline. So the number ends where the literal
//!   begins.
//! - Each literal in front of a number ends with a blank or a closing brace. So another number at
//!   this place cannot become part of a name: `x+1` is the metric `x` with a value, but `x1` is a
//!   name without a value.

use super::skeleton::Skeleton;

/// What a number of a body must be, and how it is kept, at a place of a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NumberKind {
    /// Any number. Kept as the bits of an `f64`.
    Float,
    /// A count of a histogram whose counts are integers: an integer from 0 to 2⁶⁴ − 1. Kept as an
    /// integer.
    Count,
    /// A count of a summary: any number. Kept as the integer to which the reference converts it.
    SummaryCount,
}

/// A number of a body: where it is, and which value it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FormNumber {
    /// Where the literal in front of the number ends, in [`BodyForm::literals`].
    pub(crate) literal_end: u32,
    /// The index of the value that the number becomes.
    pub(crate) value: u32,
    /// What the number must be.
    pub(crate) kind: NumberKind,
}

/// The bytes of a body without its numbers, and where the numbers belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyForm {
    literals: Box<[u8]>,
    numbers: Box<[FormNumber]>,
}

impl BodyForm {
    /// The form of `body`. `numbers` are the numbers of the body in ascending order: the byte range
    /// of each, the index of the value that it became, and what it must be.
    ///
    /// Returns `None` if the body has no form: if the invariants at the head of this file would not
    /// hold for the values of `skeleton`.
    pub(crate) fn new(
        body: &[u8],
        skeleton: &Skeleton,
        numbers: impl Iterator<Item = (std::ops::Range<usize>, u32, NumberKind)>,
    ) -> Option<Self> {
        let mut literals = Vec::with_capacity(body.len());
        let mut kept = Vec::new();
        let mut is_filled = vec![false; skeleton.n_values()];
        let mut at = 0;
        for (range, value, kind) in numbers {
            let is_apart_from_name =
                matches!(body[..range.start].last(), Some(b' ' | b'\t' | b'}'));
            let is_at_line_end = body.get(range.end) == Some(&b'\n');
            if !is_apart_from_name
                || !is_at_line_end
                || std::mem::replace(is_filled.get_mut(value as usize)?, true)
            {
                return None;
            }
            literals.extend_from_slice(&body[at..range.start]);
            at = range.end;
            kept.push(FormNumber {
                literal_end: u32::try_from(literals.len()).ok()?,
                value,
                kind,
            });
        }
        literals.extend_from_slice(&body[at..]);
        is_filled.iter().all(|&is_filled| is_filled).then(|| Self {
            literals: literals.into(),
            numbers: kept.into(),
        })
    }

    /// The numbers, in the order of the body.
    pub(crate) fn numbers(&self) -> &[FormNumber] {
        &self.numbers
    }

    /// All literals, one after the other.
    pub(crate) fn literals(&self) -> &[u8] {
        &self.literals
    }
}
