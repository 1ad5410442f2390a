//! Why a database cannot be opened, written or replaced, and which of SQLite's errors mean what.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ffi;

/// A database file cannot be opened or created. The file is as it was before.
///
/// Every text is one line that names the file, what is wrong with it and what to do.
#[derive(Debug)]
pub enum OpenError {
    /// The directory of the file does not exist.
    DirectoryMissing {
        /// The directory.
        directory: PathBuf,
    },
    /// The file or its directory cannot be written.
    NotWritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Another process, or another part of this process, has the file open.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file exists already, and the caller asked for a new one.
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is no database.
    NotADatabase {
        /// The file.
        path: PathBuf,
        /// What the file is instead.
        reason: String,
    },
    /// The file is a database of another program.
    OtherProgram {
        /// The file.
        path: PathBuf,
        /// SQLite's number of the program.
        application_id: u32,
    },
    /// The file was written by a newer version.
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// The version of the file's layout.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// The content of the file is damaged.
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where, and how.
        reason: String,
    },
    /// The file that was to take the place of the database is damaged.
    DamagedReplacement {
        /// The database, which is as it was.
        path: PathBuf,
        /// The damaged file.
        replacement: PathBuf,
        /// Where, and how.
        reason: String,
    },
    /// The write-ahead log of a database exists, and the database does not.
    LogWithoutDatabase {
        /// The missing database.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// A row is intact, but the caller cannot read it.
    UnreadableRow {
        /// The file.
        path: PathBuf,
        /// The row's id.
        id: i64,
        /// The row's key.
        key: String,
        /// What the caller says.
        reason: String,
    },
    /// Reading or writing failed.
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, and what the system says.
        reason: String,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DirectoryMissing { directory } => write!(
                f,
                "the directory {} does not exist: create it, writable for the user of the gateway",
                directory.display()
            ),
            Self::NotWritable { path, reason } => write!(
                f,
                "cannot write {}: {reason}: make the file and its directory writable for the user of the gateway",
                path.display()
            ),
            Self::InUse { path } => write!(
                f,
                "{} is in use by another process: stop that process, or choose another file",
                path.display()
            ),
            Self::Exists { path } => write!(
                f,
                "{} exists already: move it away, or choose another file",
                path.display()
            ),
            Self::NotADatabase { path, reason } => write!(
                f,
                "{} is not a database of the gateway: {reason}: restore it from a backup, or move it away to start with an empty state",
                path.display()
            ),
            Self::OtherProgram {
                path,
                application_id,
            } => write!(
                f,
                "{} is the database of another program (application_id {application_id:#010x}): choose another file",
                path.display()
            ),
            Self::NewerVersion {
                path,
                found,
                supported,
            } => write!(
                f,
                "{} has version {found}, written by a newer gateway; this one reads version {supported}: use the newer gateway",
                path.display()
            ),
            Self::Damaged { path, reason } => write!(
                f,
                "{} is damaged: {reason}: restore it from a backup, or move it and its -wal file away to start with an empty state",
                path.display()
            ),
            Self::DamagedReplacement {
                path,
                replacement,
                reason,
            } => write!(
                f,
                "{}, which holds the newest state, is damaged: {reason}: restore it from a backup, or move it away to start with the older state in {}",
                replacement.display(),
                path.display()
            ),
            Self::LogWithoutDatabase { path, log } => write!(
                f,
                "{} is missing, and its log {} is not: put the file back, or move the log away to start with an empty state",
                path.display(),
                log.display()
            ),
            Self::UnreadableRow {
                path,
                id,
                key,
                reason,
            } => write!(
                f,
                "row {id} of {} cannot be read: {reason} (key {key:?}): restore the file from a backup, or move it and its -wal file away to start with an empty state",
                path.display()
            ),
            Self::Io { path, reason } => write!(
                f,
                "cannot use {}: {reason}: check the disk and the file system",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

impl OpenError {
    /// The error for a failed file operation of the system.
    pub(super) fn from_io(path: &Path, action: &str, error: &io::Error) -> Self {
        let path = path.to_owned();
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotWritable {
                    path,
                    reason: error.to_string(),
                }
            }
            _ => Self::Io {
                path,
                reason: format!("{action}: {error}"),
            },
        }
    }

    /// The error for a failed operation of SQLite while a file is opened and read.
    pub(super) fn from_sqlite(path: &Path, action: &str, error: &rusqlite::Error) -> Self {
        let path = path.to_owned();
        let reason = format!("{action}: {}", describe(error));
        match result_code(error).map(|code| code & 0xff) {
            Some(ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED) => Self::InUse { path },
            Some(ffi::SQLITE_READONLY | ffi::SQLITE_PERM | ffi::SQLITE_CANTOPEN) => {
                Self::NotWritable { path, reason }
            }
            Some(ffi::SQLITE_IOERR | ffi::SQLITE_FULL | ffi::SQLITE_NOMEM) => {
                Self::Io { path, reason }
            }
            // SQLITE_CORRUPT, SQLITE_NOTADB, and whatever damage makes of valid statements.
            _ => Self::Damaged { path, reason },
        }
    }
}

/// A batch was not written.
#[derive(Debug)]
pub enum WriteError {
    /// Nothing of the batch is in the database, which is intact: the same batch can be written
    /// again later. The disk is full, for example.
    RolledBack {
        /// What failed.
        reason: String,
    },
    /// What is on the disk is not known any more: a flush failed, or the file is damaged. Every
    /// further write fails as well, until [`Database::replace_all`](super::Database::replace_all)
    /// succeeds. The batch may or may not be found after a crash.
    Untrusted {
        /// What failed.
        reason: String,
    },
    /// Nothing of the batch was written, because SQLite cannot hold a row of this size. The
    /// caller can leave the row out.
    RowTooLarge {
        /// The row's id.
        id: i64,
        /// The size of its key and value.
        n_bytes: usize,
        /// The largest size.
        bytes_max: usize,
    },
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RolledBack { reason } => write!(f, "nothing was written: {reason}"),
            Self::Untrusted { reason } => {
                write!(f, "the database has to be written anew: {reason}")
            }
            Self::RowTooLarge {
                id,
                n_bytes,
                bytes_max,
            } => write!(
                f,
                "row {id} has {n_bytes} bytes, more than the {bytes_max} that the database can hold"
            ),
        }
    }
}

impl std::error::Error for WriteError {}

impl WriteError {
    /// Decides from SQLite's result code whether the database can be used further.
    ///
    /// | result                                   | why                                                   |
    /// |------------------------------------------|-------------------------------------------------------|
    /// | `FULL`, `IOERR_WRITE`                    | the log's frames have no commit record: rolled back   |
    /// | `BUSY`, `LOCKED`                         | nothing was written                                   |
    /// | `IOERR_FSYNC`, `IOERR_DIR_FSYNC`         | the system may have dropped what it could not write, and a second fsync would not tell |
    /// | `NOMEM`, `IOERR_NOMEM`                   | a commit may run out of memory after its record is on the disk |
    /// | every other one                          | unknown; memory has the whole state, so writing it anew is safe |
    pub(super) fn from_sqlite(action: &str, error: &rusqlite::Error) -> Self {
        let reason = format!("{action}: {}", describe(error));
        match result_code(error) {
            Some(ffi::SQLITE_FULL | ffi::SQLITE_IOERR_WRITE) => Self::RolledBack { reason },
            Some(code) if [ffi::SQLITE_BUSY, ffi::SQLITE_LOCKED].contains(&(code & 0xff)) => {
                Self::RolledBack { reason }
            }
            _ => Self::Untrusted { reason },
        }
    }
}

/// A complete new database could not be written or put in place.
#[derive(Debug)]
pub struct ReplaceError {
    /// The file that was to be replaced.
    pub path: PathBuf,
    /// What failed.
    pub reason: String,
}

impl fmt::Display for ReplaceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot replace {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for ReplaceError {}

/// The final checkpoint failed. Everything written before is safe in the database's log, which
/// the next [`Database::open`](super::Database::open) reads.
#[derive(Debug)]
pub struct CloseError {
    /// The file.
    pub path: PathBuf,
    /// What failed.
    pub reason: String,
}

impl fmt::Display for CloseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot close {} cleanly: {}",
            self.path.display(),
            self.reason
        )
    }
}

impl std::error::Error for CloseError {}

/// SQLite's extended result code.
fn result_code(error: &rusqlite::Error) -> Option<i32> {
    match error {
        rusqlite::Error::SqliteFailure(error, _) | rusqlite::Error::SqlInputError { error, .. } => {
            Some(error.extended_code)
        }
        _ => None,
    }
}

/// The error's text on one line, with the result code, which tells more than the text.
fn describe(error: &rusqlite::Error) -> String {
    let text = error.to_string().replace('\n', " ");
    match result_code(error) {
        Some(code) => format!("{text} (SQLite result code {code})"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_failure_without_a_commit_record_lets_the_file_be_used_further() {
        for (code, is_rolled_back) in [
            (ffi::SQLITE_FULL, true),
            (ffi::SQLITE_IOERR_WRITE, true),
            (ffi::SQLITE_BUSY, true),
            (ffi::SQLITE_IOERR_FSYNC, false),
            (ffi::SQLITE_IOERR_NOMEM, false),
            (ffi::SQLITE_NOMEM, false),
            (ffi::SQLITE_CORRUPT, false),
        ] {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            let error = WriteError::from_sqlite("committing", &error);
            let is = matches!(error, WriteError::RolledBack { .. });
            assert_eq!(is, is_rolled_back, "{error}");
        }
    }
}
