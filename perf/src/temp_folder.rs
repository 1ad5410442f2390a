//! Temporary folders.

use std::path::{Path, PathBuf};

/// A temporary folder, removed when this value is dropped.
pub struct TempFolder(PathBuf);

impl TempFolder {
    /// Creates a folder. `purpose` is part of its name.
    ///
    /// # Errors
    ///
    /// The folder cannot be created.
    pub fn new(purpose: &str) -> Result<Self, String> {
        let name = format!("pushgateway-bench-{purpose}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFolder {
    fn drop(&mut self) {
        // Best effort: the folder is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
