//! Reports: a printed table, lines of JSON, and an HTML page with plots.

mod charts;
mod conditions;
mod json_lines;
mod page;
mod plot;
#[cfg(test)]
pub(crate) mod samples;
mod summary;
mod sweep;
mod table;

pub use conditions::{GENERATOR_COST, generator_line};
pub use json_lines::JsonLines;
pub use page::{write_page, write_sweep_page};
pub use sweep::SweepPoint;
pub use table::print_table;
