//! Reads and checks all that a file has when it is opened.
//!
//! | what                  | refused if                                                     |
//! |-----------------------|----------------------------------------------------------------|
//! | the header            | it is not one of SQLite: SQLite would write to an empty file   |
//! | the identity          | the file is of another program, or of a newer version          |
//! | the structure         | `PRAGMA quick_check` finds something                           |
//! | rows and named values | a checksum is wrong, or the caller cannot read a row           |

use super::error::OpenError;
use super::row::{RowRef, named_value_checksum, row_checksum};
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;

/// SQLite's number of this program: "PGW1".
pub(super) const APPLICATION_ID: u32 = 0x5047_5731;
/// The version of the tables.
pub(super) const VERSION: u32 = 1;

/// Refuses a file that is no SQLite database, before SQLite writes to it.
pub(super) fn check_header(path: &Path) -> Result<(), OpenError> {
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

pub(super) fn check_identity(connection: &Connection, path: &Path) -> Result<(), OpenError> {
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
pub(super) fn check_content(
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

/// Reads all named values.
pub(super) fn read_named_values(
    connection: &Connection,
    path: &Path,
) -> Result<BTreeMap<String, Vec<u8>>, OpenError> {
    let sqlite = |error| OpenError::from_sqlite(path, "reading its named values", &error);
    let mut statement = connection
        .prepare("SELECT name, value, crc FROM named_values")
        .map_err(sqlite)?;
    let mut rows = statement.query([]).map_err(sqlite)?;
    let mut named_values = BTreeMap::new();
    while let Some(row) = rows.next().map_err(sqlite)? {
        let name: String = row.get(0).map_err(sqlite)?;
        let value: Vec<u8> = row.get(1).map_err(sqlite)?;
        let crc: u32 = row.get(2).map_err(sqlite)?;
        if crc != named_value_checksum(&name, &value) {
            return Err(OpenError::Damaged {
                path: path.to_owned(),
                reason: format!("the checksum of the value {name:?} is wrong"),
            });
        }
        named_values.insert(name, value);
    }
    Ok(named_values)
}
