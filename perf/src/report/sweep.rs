//! Points of a sweep.

use crate::measure::Measurement;
use serde::Serialize;

/// A point of a sweep.
pub struct SweepPoint {
    /// Where it is on the axis.
    pub value: f64,
    /// What was measured there.
    pub rows: Vec<Measurement>,
    /// What was not, and why.
    pub notes: Vec<String>,
}

/// What a point of a sweep has no rows for.
#[derive(Serialize)]
pub struct LeftOutLine<'a> {
    axis: &'a str,
    value: f64,
    left_out: &'a [String],
}

impl SweepPoint {
    /// Its notes, as a line of JSON.
    pub fn left_out<'a>(&'a self, axis: &'a str) -> LeftOutLine<'a> {
        LeftOutLine {
            axis,
            value: self.value,
            left_out: &self.notes,
        }
    }
}
