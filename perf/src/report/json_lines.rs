//! Raw figures, as lines of JSON.

use super::conditions::conditions;
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;

/// Raw figures, a line of JSON each, behind one that says what they were taken on and with. A line
/// is in the file as soon as it is written, so that an interrupted run keeps what it had.
pub struct JsonLines<'a>(Option<(&'a Path, std::fs::File)>);

impl<'a> JsonLines<'a> {
    /// Appends to this file, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be written.
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

    /// Writes a line.
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
