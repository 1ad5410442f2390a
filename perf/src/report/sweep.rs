//! The points of a sweep.

use crate::measurement::{GaveUp, Measurement};
use serde::Serialize;

/// What was measured at one value of the axis.
pub struct SweepPoint {
    /// The value of the axis.
    pub value: f64,
    /// The rows that were measured at this value.
    pub rows: Vec<Measurement>,
    /// The targets that gave up here.
    pub gave_up: Vec<GaveUp>,
    /// Which targets were left out because they gave up at a smaller value, and what else a reader
    /// should know.
    pub notes: Vec<String>,
}

/// The targets that gave up at a point, and its notes, as a line of JSON.
#[derive(Serialize)]
pub struct LeftOutLine<'a> {
    axis: &'a str,
    value: f64,
    left_out: Vec<String>,
}

impl SweepPoint {
    /// The targets that gave up here and the notes, to be written as a line of JSON; `None` if
    /// there are none. `axis` is the name of the axis.
    pub fn left_out<'a>(&self, axis: &'a str) -> Option<LeftOutLine<'a>> {
        let gave_up = self.gave_up.iter().map(ToString::to_string);
        let left_out: Vec<String> = gave_up.chain(self.notes.iter().cloned()).collect();
        (!left_out.is_empty()).then_some(LeftOutLine {
            axis,
            value: self.value,
            left_out,
        })
    }
}
