//! Raw figures as lines of JSON.

use super::conditions::conditions;
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;

/// Appends raw figures to a file, one line of JSON per row. The first line holds the conditions
/// under which the figures were taken. Each line is written to the file at once, so an interrupted
/// run keeps the rows that it has measured. Without a file, rows are ignored.
pub struct JsonLines<'a>(Option<(&'a Path, std::fs::File)>);

impl<'a> JsonLines<'a> {
    /// Opens the file for appending, if a path is given, and writes the line with the conditions.
    ///
    /// # Errors
    ///
    /// The file cannot be opened or written.
    pub fn open(path: Option<&'a Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        let mut this = Self(Some((
            path,
            file.map_err(|error| format!("{}: {error}", path.display()))?,
        )));
        this.append(&conditions())?;
        Ok(this)
    }

    /// Appends one row.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn append<R: Serialize>(&mut self, row: &R) -> Result<(), String> {
        let Some((path, file)) = &mut self.0 else {
            return Ok(());
        };
        let line = serde_json::to_string(row).map_err(|error| error.to_string())?;
        writeln!(file, "{line}").map_err(|error| format!("{}: {error}", path.display()))
    }
}
