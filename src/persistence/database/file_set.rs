//! The files that belong to one database, and how a complete new database takes the place of an
//! old one.
//!
//! | file        | what it is                                                                   |
//! |-------------|------------------------------------------------------------------------------|
//! | `F`         | the database                                                                 |
//! | `F-wal`     | SQLite's write-ahead log: what was committed and is not in `F` yet           |
//! | `F.lock`    | locked by the process that uses `F`; empty, and never removed                |
//! | `F.partial` | a new database that is being written; worthless after a crash                |
//! | `F.new`     | a complete new database that takes the place of `F`                          |
//!
//! A replacement is written as `F.partial`, flushed, and renamed to `F.new`. Then `F-wal` is removed
//! before `F.new` is renamed to `F`, because SQLite would apply the log of the old database to the
//! new one. The directory is flushed after each step.
//!
//! Invariant: while `F.new` exists, nothing is written to `F`. So after a crash at any step either
//! `F` with `F-wal` is the last state, or `F.new` is, and the next start finishes the replacement.
//!
//! The lock is a file of its own because `F` changes its identity when it is replaced. No code may open
//! `F` by itself while SQLite has it open: closing any descriptor of a file drops SQLite's locks on it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::error::OpenError;

/// The paths of one database, and the lock that keeps other processes away from them.
#[derive(Debug)]
pub(super) struct FileSet {
    directory: PathBuf,
    database: PathBuf,
    /// Held as long as this value lives.
    _lock: File,
}

impl FileSet {
    /// Takes the lock. Every file is looked for beside the target if `path` is a symbolic link.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        // Absolute: SQLite would read a name such as "file:x" as a URI.
        let database = resolve(path).map_err(|e| OpenError::from_io(path, "resolving it", &e))?;
        let directory = match database.parent() {
            Some(directory) if directory.is_dir() => directory.to_owned(),
            directory => {
                return Err(OpenError::DirectoryMissing {
                    directory: directory.unwrap_or(&database).to_owned(),
                });
            }
        };
        let lock_path = with_suffix(&database, ".lock");
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|e| OpenError::from_io(&lock_path, "opening it", &e))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                directory,
                database,
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: database }),
            Err(TryLockError::Error(e)) => Err(OpenError::from_io(&lock_path, "locking it", &e)),
        }
    }

    pub(super) fn database(&self) -> &Path {
        &self.database
    }

    pub(super) fn log(&self) -> PathBuf {
        with_suffix(&self.database, "-wal")
    }

    pub(super) fn partial(&self) -> PathBuf {
        with_suffix(&self.database, ".partial")
    }

    pub(super) fn replacement(&self) -> PathBuf {
        with_suffix(&self.database, ".new")
    }

    /// Makes created, renamed and removed files survive a power loss.
    pub(super) fn flush_directory(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    /// Removes what a crash during a replacement has left of the unfinished file.
    pub(super) fn remove_partial(&self) -> io::Result<()> {
        let partial = self.partial();
        for suffix in ["", "-wal", "-journal"] {
            remove_if_present(&with_suffix(&partial, suffix))?;
        }
        Ok(())
    }

    /// Creates `F.partial`, empty and readable for its owner only. SQLite gives its side files the
    /// mode of the database.
    pub(super) fn create_partial(&self) -> io::Result<PathBuf> {
        self.remove_partial()?;
        let path = self.partial();
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        Ok(path)
    }

    /// Makes `F.partial`, which is complete, the database. The old database must not be open.
    pub(super) fn install_partial(&self) -> io::Result<()> {
        let partial = self.partial();
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, self.replacement())?;
        self.flush_directory()?;
        self.install_new()
    }

    /// Makes `F.new`, whose name is on the disk, the database.
    pub(super) fn install_new(&self) -> io::Result<()> {
        remove_if_present(&self.log())?;
        self.flush_directory()?;
        fs::rename(self.replacement(), &self.database)?;
        self.flush_directory()
    }

    /// Renames the database and its log to `F.old` and `F.old-wal`, in place of what has these
    /// names.
    pub(super) fn move_to_old(&self) -> io::Result<PathBuf> {
        let old = with_suffix(&self.database, ".old");
        let old_log = with_suffix(&old, "-wal");
        // The database first: after a crash in between, a log without its database is refused, and
        // moved by the next try. A database without its log would be read as an older state.
        if self.database.exists() {
            remove_if_present(&old_log)?;
            self.flush_directory()?;
            fs::rename(&self.database, &old)?;
            self.flush_directory()?;
        }
        if self.log().exists() {
            fs::rename(self.log(), &old_log)?;
            self.flush_directory()?;
        }
        Ok(old)
    }
}

/// The absolute path, with a symbolic link replaced by its target.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    if path.is_symlink() {
        path.canonicalize()
    } else {
        std::path::absolute(path)
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
