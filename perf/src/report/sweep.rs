//! Points of a sweep.

use crate::measure::Row;
use serde::Serialize;

/// A point of a sweep.
pub struct Point {
    /// Where it is on the axis.
    pub value: f64,
    /// What was measured there.
    pub rows: Vec<Row>,
    /// What was not, and why.
    pub notes: Vec<String>,
}

/// What a point of a sweep has no rows for.
#[derive(Serialize)]
pub struct LeftOut<'a> {
    axis: &'a str,
    value: f64,
    left_out: &'a [String],
}

impl Point {
    /// Its notes, as a line of JSON.
    pub fn left_out<'a>(&'a self, axis: &'a str) -> LeftOut<'a> {
        LeftOut {
            axis,
            value: self.value,
            left_out: &self.notes,
        }
    }
}
