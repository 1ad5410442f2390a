//! The state file: an SQLite database of rows and named values.
//!
//! Nothing here knows groups: a row is an id, a readable key and opaque bytes. SQLite makes a batch
//! of changes take effect completely or not at all, also if the process or the machine dies. SQLite
//! does not check its pages, so every row and named value has a checksum of its own.
//!
//! | setting                          | why                                                              |
//! |----------------------------------|------------------------------------------------------------------|
//! | `locking_mode=EXCLUSIVE`, first  | the index of the log stays in memory: there is no `-shm` file, which could end the process with SIGBUS on a full disk |
//! | `journal_mode=WAL`               | a commit is one sequential write and one fsync                   |
//! | `synchronous=FULL`               | a commit that has returned survives a power loss                 |
//! | `auto_vacuum=INCREMENTAL`        | the file shrinks in small steps                                  |
//! | `temp_store=MEMORY`              | nothing is written outside of the file's directory               |
//! | `wal_autocheckpoint`             | a long log: the stall of writing it back is rarer                |
//!
//! | file       | subject                                                                    |
//! |------------|----------------------------------------------------------------------------|
//! | `mod.rs`   | opening, writing, replacing                                                |
//! | `content`  | reading and checking all that a file has                                   |
//! | `row`      | rows, named values and their checksums                                     |
//! | `file_set` | the files of a database; how a new one takes the place of an old one       |
//! | `error`    | what can go wrong, and what SQLite's result codes mean                     |

mod content;
mod error;
mod file_set;
mod row;
#[cfg(test)]
mod tests;

pub use error::{CloseError, OpenError, ReplaceError, WriteError};
pub use row::{Change, Row, RowRef};

use content::{
    APPLICATION_ID, VERSION, check_content, check_header, check_identity, read_named_values,
};
use file_set::FileSet;
use row::{named_value_checksum, row_checksum};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The log is written back to the database when it has this many pages of 4 KiB. The stall that this
/// makes is rarer with a longer log; the log takes up to 80 MB.
const LOG_PAGES_MAX: u32 = 20_000;
/// Free pages are given back when there are more than this, this many at a time.
const FREE_PAGES_PER_STEP: u32 = 256;

/// The largest row of SQLite (`SQLITE_MAX_LENGTH`).
const ROW_BYTES_MAX: usize = 1_000_000_000;

const TABLES: &str = "
    CREATE TABLE groups (
        id INTEGER PRIMARY KEY, key TEXT NOT NULL, value BLOB NOT NULL, crc INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE named_values (
        name TEXT PRIMARY KEY, value BLOB NOT NULL, crc INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;";

/// An open state file. No other process can open it meanwhile.
#[derive(Debug)]
pub struct Database {
    /// `None` if the file is in doubt and has to be replaced.
    connection: Option<Connection>,
    files: FileSet,
    named_values: BTreeMap<String, Vec<u8>>,
}

impl Database {
    /// Opens the file at `path`, which is made if there is none. Checks all of it, and calls `each`
    /// with every row, in the order of ids. Finishes a replacement that the end of a process has
    /// interrupted.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. The file is as before. It is never taken for an empty one because it is damaged.
    /// If `each` returns an error, [`OpenError::UnreadableRow`] with its text.
    pub fn open(
        path: &Path,
        each: impl FnMut(RowRef<'_>) -> Result<(), String>,
    ) -> Result<Self, OpenError> {
        let files = FileSet::lock(path)?;
        let io = |action: &'static str| {
            let path = files.database().to_owned();
            move |error| OpenError::from_io(&path, action, &error)
        };
        finish_replacement(&files)?;
        let database = files.database();
        let is_new = match std::fs::metadata(database) {
            Ok(_) => false,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if files.log().exists() {
                    return Err(OpenError::LogWithoutDatabase {
                        path: database.to_owned(),
                        log: files.log(),
                    });
                }
                create(&files).map_err(io("making it"))?;
                true
            }
            Err(error) => return Err(io("looking for it")(error)),
        };
        if !is_new {
            check_header(database)?;
        }
        let sqlite =
            |action: &'static str| move |error| OpenError::from_sqlite(path, action, &error);
        let connection = connect(database).map_err(sqlite("opening it"))?;
        // SQLite has made the log, and ignores later if its name cannot be made to survive a power loss.
        files
            .flush_directory()
            .map_err(io("flushing its directory"))?;
        check_identity(&connection, database)?;
        check_content(&connection, database, each)?;
        let named_values = read_named_values(&connection, database)?;
        Ok(Self {
            connection: Some(connection),
            files,
            named_values,
        })
    }

    /// Whether nothing can be written until [`replace_all`](Self::replace_all) succeeds.
    pub fn is_in_doubt(&self) -> bool {
        self.connection.is_none()
    }

    /// Applies all of `changes` in one transaction. What was written is on the disk when this
    /// returns.
    ///
    /// # Errors
    ///
    /// [`WriteError`], which says whether the database can still be used. Nothing of the changes is
    /// in effect, except perhaps after [`WriteError::Untrusted`].
    pub fn write<'a>(
        &mut self,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<(), WriteError> {
        let Some(connection) = &mut self.connection else {
            return Err(WriteError::Untrusted {
                reason: "an earlier batch has failed".to_owned(),
            });
        };
        let written = write_batch(connection, &mut self.named_values, changes);
        if let Err(WriteError::Untrusted { .. }) = written {
            self.connection = None;
        }
        written
    }

    /// Writes a new file with the named values of this one and with `changes`, which takes the place of
    /// this one. Other processes are kept away meanwhile.
    ///
    /// # Errors
    ///
    /// Nothing can be written until a later call succeeds. The old file or the new one is in place.
    pub fn replace_all<'a>(
        &mut self,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<(), ReplaceError> {
        self.connection = None;
        let replaced = self.try_replace_all(changes);
        let connection = replaced.map_err(|reason| ReplaceError {
            path: self.files.database().to_owned(),
            reason,
        })?;
        self.connection = Some(connection);
        Ok(())
    }

    fn try_replace_all<'a>(
        &mut self,
        changes: impl IntoIterator<Item = Change<'a>>,
    ) -> Result<Connection, String> {
        let io = |error: std::io::Error| error.to_string();
        let sqlite = |error: rusqlite::Error| error.to_string();
        let partial = self.files.create_partial().map_err(io)?;
        let mut connection = connect_new(&partial).map_err(sqlite)?;
        let transaction = connection.transaction().map_err(sqlite)?;
        create_tables(&transaction).map_err(sqlite)?;
        let kept = self.named_values.clone().into_iter();
        let kept = kept.map(|(name, value)| Change::SetNamedValue {
            name: name.into(),
            value: value.into(),
        });
        let named_values = apply(&transaction, kept.chain(changes)).map_err(|e| e.to_string())?;
        transaction.commit().map_err(sqlite)?;
        close(connection).map_err(sqlite)?;
        self.files.install_partial().map_err(io)?;
        self.named_values = named_values;
        let connection = connect(self.files.database()).map_err(sqlite)?;
        // As when a file is opened.
        self.files.flush_directory().map_err(io)?;
        Ok(connection)
    }

    /// A named value, if it was set.
    pub fn named_value(&self, name: &str) -> Option<&[u8]> {
        self.named_values.get(name).map(Vec::as_slice)
    }

    /// Gives all free pages back to the file system, writes the log back to the file, and closes it.
    ///
    /// # Errors
    ///
    /// What was written is in the log, and the next [`open`](Self::open) finds it there.
    pub fn close(self) -> Result<(), CloseError> {
        let Some(connection) = self.connection else {
            return Ok(());
        };
        free_pages(&connection, u32::MAX)
            .or_else(|error| match WriteError::from_sqlite("", &error) {
                // Only the size of the file suffers.
                WriteError::RolledBack { .. } => Ok(()),
                _ => Err(error),
            })
            .and_then(|()| close(connection))
            .map_err(|error| CloseError {
                path: self.files.database().to_owned(),
                reason: error.to_string(),
            })
    }

    /// Renames a closed file, with its log, to `F.old`; returns that path.
    ///
    /// # Errors
    ///
    /// Another process has the file open, or it cannot be renamed.
    pub fn move_to_old(path: &Path) -> Result<PathBuf, OpenError> {
        let files = FileSet::lock(path)?;
        // Otherwise the next start would take the replacement for the file.
        finish_replacement(&files)?;
        files
            .move_to_old()
            .map_err(|error| OpenError::from_io(path, "renaming it", &error))
    }
}

/// Finishes or forgets a replacement that the end of a process has interrupted. The old file is given
/// up only for a new one that can be read.
fn finish_replacement(files: &FileSet) -> Result<(), OpenError> {
    let replacement = files.replacement();
    let io = |action| {
        let path = &replacement;
        move |error| OpenError::from_io(path, action, &error)
    };
    files
        .remove_partial()
        .map_err(io("removing an unfinished one"))?;
    if !replacement.try_exists().map_err(io("looking for it"))? {
        return Ok(());
    }
    check_replacement(&replacement).map_err(|error| match error {
        OpenError::Damaged { path, reason } | OpenError::NotADatabase { path, reason } => {
            OpenError::DamagedReplacement {
                path: files.database().to_owned(),
                replacement: path,
                reason,
            }
        }
        error => error,
    })?;
    files.install_new().map_err(io("renaming it"))
}

/// Checks all of a replacement, and closes it.
fn check_replacement(path: &Path) -> Result<(), OpenError> {
    check_header(path)?;
    let sqlite = |action: &'static str| move |error| OpenError::from_sqlite(path, action, &error);
    let connection = connect(path).map_err(sqlite("opening it"))?;
    check_identity(&connection, path)?;
    check_content(&connection, path, |_| Ok(()))?;
    read_named_values(&connection, path)?;
    close(connection).map_err(sqlite("closing it"))
}

/// Applies all of `changes`, and notes the named values that they set.
fn write_batch<'a>(
    connection: &mut Connection,
    named_values: &mut BTreeMap<String, Vec<u8>>,
    changes: impl IntoIterator<Item = Change<'a>>,
) -> Result<(), WriteError> {
    let transaction = connection
        .transaction()
        .map_err(|error| WriteError::from_sqlite("beginning a batch", &error))?;
    let set = apply(&transaction, changes)?;
    transaction
        .commit()
        .map_err(|error| WriteError::from_sqlite("committing a batch", &error))?;
    named_values.extend(set);
    let given_back = give_space_back(connection)
        .map_err(|error| WriteError::from_sqlite("giving space back", &error));
    match given_back {
        // The batch is on disk. The next one tries this again.
        Ok(()) | Err(WriteError::RolledBack { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Gives a part of the free pages back to the file system, if there are many.
fn give_space_back(connection: &Connection) -> Result<(), rusqlite::Error> {
    let n_free: u32 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    if n_free > FREE_PAGES_PER_STEP {
        free_pages(connection, FREE_PAGES_PER_STEP)?;
    }
    Ok(())
}

/// Gives up to `n_pages_max` free pages back.
fn free_pages(connection: &Connection, n_pages_max: u32) -> Result<(), rusqlite::Error> {
    // SQLite takes what is no `i32` for "all".
    let pragma = format!("PRAGMA incremental_vacuum({n_pages_max})");
    let mut statement = connection.prepare_cached(&pragma)?;
    // Each row is a page.
    let mut pages = statement.query([])?;
    while pages.next()?.is_some() {}
    Ok(())
}

/// Makes a new file with empty tables. Until it is complete it has another name, so that a crash leaves
/// no file without tables.
fn create(files: &FileSet) -> std::io::Result<()> {
    let partial = files.create_partial()?;
    let made = (|| {
        let mut connection = connect_new(&partial)?;
        let transaction = connection.transaction()?;
        create_tables(&transaction)?;
        transaction.commit()?;
        close(connection)
    })();
    made.map_err(std::io::Error::other)?;
    files.install_partial()
}

/// Opens a file with all settings and takes the lock of SQLite.
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Before the first use of the file. A connection that is dropped leaves file and log as they are:
    // one of them may be damaged, and the first use finds that already.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.busy_timeout(std::time::Duration::ZERO)?;
    set(&connection, "locking_mode", "EXCLUSIVE", "exclusive")?;
    set(&connection, "journal_mode", "WAL", "wal")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES_MAX)?;
    // Takes the lock, which stays.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
    Ok(connection)
}

/// Sets something that SQLite may not set, and checks that it has.
fn set(
    connection: &Connection,
    name: &str,
    value: &str,
    expected: &str,
) -> Result<(), rusqlite::Error> {
    connection.pragma_update_and_check(None, name, value, |row| {
        let is: String = row.get(0)?;
        if is == expected {
            Ok(())
        } else {
            Err(rusqlite::Error::InvalidParameterName(format!(
                "{name} is {is} instead of {expected}"
            )))
        }
    })
}

/// Opens a new file, which has no tables yet.
fn connect_new(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    // Only has an effect before the first table. Later it would write to the file at each start.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    drop(connection);
    connect(path)
}

fn create_tables(transaction: &Transaction<'_>) -> Result<(), rusqlite::Error> {
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.execute_batch(TABLES)
}

/// Writes all of the log to the database, and removes it.
fn close(connection: Connection) -> Result<(), rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    connection.close().map_err(|(_, error)| error)
}

/// Makes all changes. Returns the named values that they set.
fn apply<'a>(
    transaction: &Transaction<'_>,
    changes: impl IntoIterator<Item = Change<'a>>,
) -> Result<BTreeMap<String, Vec<u8>>, WriteError> {
    let mut named_values = BTreeMap::new();
    let failed = |error| WriteError::from_sqlite("writing a batch", &error);
    let mut put = transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO groups (id, key, value, crc) VALUES (?1, ?2, ?3, ?4)",
        )
        .map_err(failed)?;
    let mut delete = transaction
        .prepare_cached("DELETE FROM groups WHERE id = ?1")
        .map_err(failed)?;
    for change in changes {
        match change {
            Change::Put { id, key, value } => {
                // SQLite needs some bytes of the limit itself.
                let n_bytes = key.len() + value.len() + 64;
                if n_bytes > ROW_BYTES_MAX {
                    return Err(WriteError::RowTooLarge {
                        id,
                        n_bytes,
                        bytes_max: ROW_BYTES_MAX,
                    });
                }
                let crc = row_checksum(RowRef {
                    id,
                    key: &key,
                    value: &value,
                });
                put.execute((id, &*key, &*value, crc)).map_err(failed)?;
            }
            Change::Delete { id } => {
                delete.execute([id]).map_err(failed)?;
            }
            Change::SetNamedValue { name, value } => {
                let crc = named_value_checksum(&name, &value);
                transaction
                    .execute(
                        "INSERT OR REPLACE INTO named_values (name, value, crc) VALUES (?1, ?2, ?3)",
                        (&*name, &*value, crc),
                    )
                    .map_err(failed)?;
                named_values.insert(name.into_owned(), value.into_owned());
            }
        }
    }
    Ok(named_values)
}
