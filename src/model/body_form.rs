//! How a push was written: the bytes between its numbers.
//!
//! Most pushes of a job differ from the one before in their numbers alone. Whoever keeps the form
//! of one can read the next along it: compare the bytes between the numbers, take the numbers, and
//! have what parsing the whole would have given.
//!
//! ```text
//! body = literal number literal number … literal
//! ```
//!
//! Invariants: every number of the skeleton stands in the body exactly once, so reading along a
//! form fills all of them; the first byte of each literal that follows a number is a newline, so a
//! number cannot run on into it; the last byte of each literal before one belongs to no name, so no
//! other number can run on from it (`x+1` is a metric and its value, `x1` is not).

use super::{Families, Skeleton};

/// What a number has to be to stand where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberKind {
    /// Any number; kept as the bits of an `f64`.
    Float,
    /// A count of a histogram whose counts are integers: a whole number from 0 to 2⁶⁴ − 1, kept as
    /// an integer.
    Count,
    /// A count of a summary: any number, kept as the integer that the reference makes of it.
    SummaryCount,
}

/// Where a number of the body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormNumber {
    /// Where the literal before it ends, among all literals.
    pub literal_end: u32,
    /// Its place among the values of the push.
    pub value: u32,
    /// What it has to be.
    pub kind: NumberKind,
}

/// The bytes of a push but for its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyForm {
    literals: Box<[u8]>,
    numbers: Box<[FormNumber]>,
}

impl BodyForm {
    /// The form of `body`, whose numbers lie at these ranges in ascending order and became these
    /// values of `skeleton`. None if a value has no number of its own, or several.
    pub fn new(
        body: &[u8],
        skeleton: &Skeleton,
        numbers: impl Iterator<Item = (std::ops::Range<usize>, u32, NumberKind)>,
    ) -> Option<Self> {
        let mut literals = Vec::with_capacity(body.len());
        let mut kept = Vec::new();
        let mut is_filled = vec![false; skeleton.n_values()];
        let mut at = 0;
        for (range, value, kind) in numbers {
            let is_apart = matches!(body[..range.start].last(), Some(b' ' | b'\t' | b'}'));
            let is_last = body.get(range.end) == Some(&b'\n');
            if !is_apart || !is_last || std::mem::replace(is_filled.get_mut(value as usize)?, true)
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

    /// The numbers in the order of the body.
    pub fn numbers(&self) -> &[FormNumber] {
        &self.numbers
    }

    /// All literals, one behind the other.
    pub fn literals(&self) -> &[u8] {
        &self.literals
    }
}

impl Families {
    /// Takes the form that the push was written in, if it was kept.
    pub fn take_form(&mut self) -> Option<BodyForm> {
        self.form.take().map(|form| *form)
    }
}
