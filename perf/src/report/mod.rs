//! What a reader gets: a table, lines of JSON, a page with plots.

mod conditions;
mod json_lines;
mod page;
mod plot;
mod summary;
mod sweep;
mod table;

pub use conditions::{GENERATOR, generator_line};
pub use json_lines::JsonLines;
pub use page::{write, write_sweep};
pub use sweep::Point;
pub use table::table;
