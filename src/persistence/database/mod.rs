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
//! | `mod.rs`   | opening, reading, writing                                                  |
//! | `row`      | rows, named values and their checksums                                     |
//! | `file_set` | the files of a database; how a new one takes the place of an old one       |
//! | `error`    | what can go wrong, and what SQLite's result codes mean                     |

mod error;
mod file_set;
mod row;
#[cfg(test)]
mod tests;

pub use error::{CloseError, OpenError, ReplaceError, WriteError};
pub use row::{Change, Row, RowRef};

use file_set::FileSet;
use row::{named_value_checksum, row_checksum};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};
use std::path::{Path, PathBuf};

/// SQLite's number of this program: "PGW1".
const APPLICATION_ID: u32 = 0x5047_5731;
/// The version of the tables.
const VERSION: u32 = 1;
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
    connection: Connection,
    files: FileSet,
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
        files.remove_partial().map_err(io("removing F.partial"))?;
        if files.replacement().exists() {
            files.install_new().map_err(io("replacing it"))?;
        }
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
        check_identity(&connection, database)?;
        check_content(&connection, database, each)?;
        Ok(Self { connection, files })
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
        let transaction = self
            .connection
            .transaction()
            .map_err(|error| WriteError::from_sqlite("beginning a batch", &error))?;
        apply(&transaction, changes)?;
        transaction
            .commit()
            .map_err(|error| WriteError::from_sqlite("committing a batch", &error))?;
        self.give_space_back()
            .map_err(|error| WriteError::from_sqlite("giving space back", &error))
    }

    /// Writes a new file with `rows`, which takes the place of the one at `path`. Named values are not
    /// kept.
    ///
    /// # Errors
    ///
    /// The old file is as before, and may have to be replaced again.
    pub fn replace_all(
        path: &Path,
        rows: impl IntoIterator<Item = Row>,
    ) -> Result<Self, ReplaceError> {
        let failed = |reason: String| ReplaceError {
            path: path.to_owned(),
            reason,
        };
        let io = |error: std::io::Error| failed(error.to_string());
        let files = FileSet::lock(path).map_err(|error| failed(error.to_string()))?;
        let partial = files.create_partial().map_err(io)?;
        let written = (|| {
            let mut connection = connect_new(&partial).map_err(|error| error.to_string())?;
            let transaction = connection
                .transaction()
                .map_err(|error| error.to_string())?;
            create_tables(&transaction).map_err(|error| error.to_string())?;
            let changes = rows.into_iter().map(Row::into_change);
            apply(&transaction, changes).map_err(|error| error.to_string())?;
            transaction.commit().map_err(|error| error.to_string())?;
            checkpoint(&connection).map_err(|error| error.to_string())?;
            connection.close().map_err(|(_, error)| error.to_string())
        })();
        written.map_err(failed)?;
        files.install_partial().map_err(io)?;
        let connection = connect(files.database()).map_err(|error| failed(error.to_string()))?;
        Ok(Self { connection, files })
    }

    /// A named value, if it was set.
    ///
    /// # Errors
    ///
    /// The value cannot be read, or is damaged.
    pub fn named_value(&self, name: &str) -> Result<Option<Vec<u8>>, OpenError> {
        let path = self.files.database();
        let found = self
            .connection
            .query_row(
                "SELECT value, crc FROM named_values WHERE name = ?1",
                [name],
                |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?)),
            )
            .optional()
            .map_err(|error| OpenError::from_sqlite(path, "reading a named value", &error))?;
        match found {
            Some((value, crc)) if crc != named_value_checksum(name, &value) => {
                Err(OpenError::Damaged {
                    path: path.to_owned(),
                    reason: format!("the checksum of the value {name:?} is wrong"),
                })
            }
            found => Ok(found.map(|(value, _)| value)),
        }
    }

    /// Writes the log back to the file, and closes it.
    ///
    /// # Errors
    ///
    /// What was written is in the log, and the next [`open`](Self::open) finds it there.
    pub fn close(self) -> Result<(), CloseError> {
        let failed = |error: &rusqlite::Error| CloseError {
            path: self.files.database().to_owned(),
            reason: error.to_string(),
        };
        checkpoint(&self.connection).map_err(|error| failed(&error))?;
        self.connection.close().map_err(|(_, error)| failed(&error))
    }

    /// Renames a closed file, with its log, to `F.old`; returns that path.
    ///
    /// # Errors
    ///
    /// Another process has the file open, or it cannot be renamed.
    pub fn move_to_old(path: &Path) -> Result<PathBuf, OpenError> {
        let files = FileSet::lock(path)?;
        files
            .move_to_old()
            .map_err(|error| OpenError::from_io(path, "renaming it", &error))
    }

    /// Gives a part of the free pages back to the file system, if there are many.
    fn give_space_back(&self) -> Result<(), rusqlite::Error> {
        let n_free: u32 = self
            .connection
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if n_free > FREE_PAGES_PER_STEP {
            let pragma = format!("PRAGMA incremental_vacuum({FREE_PAGES_PER_STEP})");
            let mut statement = self.connection.prepare_cached(&pragma)?;
            // Each row is a page.
            let mut pages = statement.query([])?;
            while pages.next()?.is_some() {}
        }
        Ok(())
    }
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
        checkpoint(&connection)?;
        connection.close().map_err(|(_, error)| error)
    })();
    made.map_err(std::io::Error::other)?;
    files.install_partial()
}

/// Opens a file with all settings and takes the lock of SQLite.
fn connect(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
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

/// Writes all of the log to the database, and empties it.
fn checkpoint(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Refuses a file that is no SQLite database, before SQLite writes to it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    use std::io::Read;
    const MAGIC: &[u8] = b"SQLite format 3\0";
    let mut header = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut header))
        .map_err(|error| OpenError::from_io(path, "reading it", &error))?;
    if header == MAGIC {
        return Ok(());
    }
    Err(OpenError::NotADatabase {
        path: path.to_owned(),
        reason: if header.is_empty() {
            "it is empty".to_owned()
        } else {
            "it begins with other bytes".to_owned()
        },
    })
}

fn check_identity(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let number = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, u32>(0))
            .map_err(|error| OpenError::from_sqlite(path, "reading its header", &error))
    };
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    let path = path.to_owned();
    if application_id != APPLICATION_ID {
        return Err(OpenError::OtherProgram {
            path,
            application_id,
        });
    }
    if version > VERSION {
        return Err(OpenError::NewerVersion {
            path,
            found: version,
            supported: VERSION,
        });
    }
    if version < VERSION {
        return Err(OpenError::Damaged {
            path,
            reason: format!("it has version {version}, which never was"),
        });
    }
    Ok(())
}

/// Checks the structure of the file and every row, and calls `each` with every row.
fn check_content(
    connection: &Connection,
    path: &Path,
    mut each: impl FnMut(RowRef<'_>) -> Result<(), String>,
) -> Result<(), OpenError> {
    let sqlite = |action: &'static str| move |error| OpenError::from_sqlite(path, action, &error);
    let damaged = |reason: String| OpenError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let verdict: String = connection
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(sqlite("checking it"))?;
    if verdict != "ok" {
        return Err(damaged(verdict.replace('\n', " ")));
    }
    let mut statement = connection
        .prepare("SELECT id, key, value, crc FROM groups ORDER BY id")
        .map_err(sqlite("reading its rows"))?;
    let mut rows = statement.query([]).map_err(sqlite("reading its rows"))?;
    while let Some(row) = rows.next().map_err(sqlite("reading its rows"))? {
        let id: i64 = row.get(0).map_err(sqlite("reading a row"))?;
        let unreadable = |_| damaged(format!("row {id} is not what it should be"));
        let key = row.get_ref(1).map_err(sqlite("reading a row"))?;
        let key = key.as_str().map_err(unreadable)?;
        let value = row.get_ref(2).map_err(sqlite("reading a row"))?;
        let value = value.as_blob().map_err(unreadable)?;
        let crc: i64 = row.get(3).map_err(sqlite("reading a row"))?;
        let row = RowRef { id, key, value };
        if crc != i64::from(row_checksum(row)) {
            return Err(damaged(format!("the checksum of row {id} is wrong")));
        }
        each(row).map_err(|reason| OpenError::UnreadableRow {
            path: path.to_owned(),
            id,
            key: key.to_owned(),
            reason,
        })?;
    }
    Ok(())
}

/// Makes all changes.
fn apply<'a>(
    transaction: &Transaction<'_>,
    changes: impl IntoIterator<Item = Change<'a>>,
) -> Result<(), WriteError> {
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
            }
        }
    }
    Ok(())
}
