//! The figures of the scenario, by name.

use crate::numbers::{format_figure, median};
use serde::Serialize;

/// The values of one figure, one per round.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct FigureValues {
    unit: &'static str,
    values: Vec<f64>,
}

/// All figures by name, in the order in which they are printed.
#[derive(Default)]
pub(super) struct Figures(pub(super) Vec<(String, FigureValues)>);

impl Figures {
    /// Adds a value to the figure `name`. A new name gets the next place in the order of printing.
    pub(super) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        let place = self
            .0
            .iter()
            .position(|(known, _)| known == name)
            .unwrap_or_else(|| {
                self.0.push((
                    name.to_owned(),
                    FigureValues {
                        unit,
                        values: Vec::new(),
                    },
                ));
                self.0.len() - 1
            });
        self.0[place].1.values.push(value);
    }

    /// The values of the figure `name`, one per round; empty if there is no such figure.
    pub(super) fn values(&self, name: &str) -> &[f64] {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map_or(&[], |(_, series)| &series.values)
    }

    /// The median of the figure `name`; NaN if it has no values.
    pub(super) fn median(&self, name: &str) -> f64 {
        median(self.values(name))
    }

    /// Prints a table of all figures.
    pub(super) fn print(&self) {
        let width = self
            .0
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        println!(
            "{:width$}  {:>10} {:>10} {:>10}  unit",
            "figure", "median", "min", "max"
        );
        for (name, series) in &self.0 {
            let of = |f: fn(f64, f64) -> f64| {
                series.values.iter().copied().reduce(f).unwrap_or(f64::NAN)
            };
            let cells = [median(&series.values), of(f64::min), of(f64::max)]
                .map(|value| format!("{:>10}", format_figure(value)));
            println!("{name:width$}  {}  {}", cells.join(" "), series.unit);
        }
    }
}
