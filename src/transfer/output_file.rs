//! Writes a file that, whenever the process or the machine stops, is complete or not there.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Checks whether the file may be written.
///
/// # Errors
///
/// There is a file already, and it must not be replaced.
pub(super) fn check(path: &Path, may_replace: bool) -> Result<(), String> {
    if !may_replace && fs::symlink_metadata(path).is_ok() {
        return Err(format!(
            "{} exists already: choose another file, or replace it with --force",
            path.display()
        ));
    }
    Ok(())
}

/// Writes the file beside its place, has the disk store it, and renames it.
///
/// # Errors
///
/// The file was not written. What was there before is still there.
pub(super) fn write(path: &Path, content: &[u8], may_replace: bool) -> Result<(), String> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = PathBuf::from(name);
    let written = write_temporary(&temporary, content)
        .map_err(|error| format!("cannot write {}: {error}", temporary.display()))
        .and_then(|()| put_in_place(&temporary, path, may_replace));
    if written.is_err() {
        // An error says that it is not there.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn write_temporary(temporary: &Path, content: &[u8]) -> std::io::Result<()> {
    // Metrics may be confidential, as in the files of the gateway and of the reference.
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(temporary)?;
    file.write_all(content)?;
    file.sync_all()
}

fn put_in_place(temporary: &Path, path: &Path, may_replace: bool) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot write {}: {error}", path.display());
    if may_replace {
        fs::rename(temporary, path).map_err(failed)?;
    } else {
        // Unlike renaming, linking fails if another process has made the file meanwhile.
        fs::hard_link(temporary, path).map_err(failed)?;
        fs::remove_file(temporary).map_err(failed)?;
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_exists_is_only_replaced_on_request() {
        let name = format!("pushgateway-output-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("state");
        check(&path, false).unwrap();
        write(&path, b"one", false).unwrap();
        assert!(check(&path, false).is_err());
        assert!(write(&path, b"two", false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        check(&path, true).unwrap();
        write(&path, b"two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let missing = directory.join("missing").join("state");
        assert!(
            write(&missing, b"x", false)
                .unwrap_err()
                .contains("missing")
        );
        // No temporary file stays behind.
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }
}
