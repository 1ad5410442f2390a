//! The points of a sweep.

use crate::measure::Measurement;
use serde::Serialize;

/// What was measured at one value of the axis.
pub struct SweepPoint {
    /// The value of the axis.
    pub value: f64,
    /// The rows that were measured at this value.
    pub rows: Vec<Measurement>,
    /// Which targets were left out or incomplete, and why.
    pub notes: Vec<String>,
}

/// The notes of a point, as a line of JSON.
#[derive(Serialize)]
pub struct LeftOutLine<'a> {
    axis: &'a str,
    value: f64,
    left_out: &'a [String],
}

impl SweepPoint {
    /// The notes of this point, to be written as a line of JSON. `axis` is the name of the axis.
    pub fn left_out<'a>(&'a self, axis: &'a str) -> LeftOutLine<'a> {
        LeftOutLine {
            axis,
            value: self.value,
            left_out: &self.notes,
        }
    }
}
