//! What a database holds: rows and named values, and the checksum that protects both.

use std::borrow::Cow;

/// A row that is handed over as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Chosen by the caller; names the row in later changes.
    pub id: i64,
    /// For people who read the file with the `sqlite3` command line.
    pub key: String,
    /// Opaque here.
    pub value: Vec<u8>,
}

impl From<Row> for Change<'_> {
    /// The change that writes the row.
    fn from(row: Row) -> Self {
        Self::Put {
            id: row.id,
            key: Cow::Owned(row.key),
            value: Cow::Owned(row.value),
        }
    }
}

/// A row as it is read from the file; valid only while the reader looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a> {
    /// See [`Row::id`].
    pub id: i64,
    /// See [`Row::key`].
    pub key: &'a str,
    /// See [`Row::value`].
    pub value: &'a [u8],
}

/// One step of a batch. The steps of a batch apply in their order, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// Inserts the row, or replaces the row with this id.
    Put {
        /// See [`Row::id`].
        id: i64,
        /// See [`Row::key`].
        key: Cow<'a, str>,
        /// See [`Row::value`].
        value: Cow<'a, [u8]>,
    },
    /// Removes the row with this id, if there is one.
    Delete {
        /// See [`Row::id`].
        id: i64,
    },
    /// Sets a named value, which [`Database::named_value`](super::Database::named_value) returns.
    SetNamedValue {
        /// The name.
        name: Cow<'a, str>,
        /// The value.
        value: Cow<'a, [u8]>,
    },
}

/// The CRC-32C of a row. The length of the key is part of the checksum, so that no byte can move
/// from the key to the value unnoticed.
pub(super) fn row_checksum(row: RowRef<'_>) -> u32 {
    let mut crc = crc32c::crc32c(&row.id.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &(row.key.len() as u64).to_le_bytes());
    crc = crc32c::crc32c_append(crc, row.key.as_bytes());
    crc32c::crc32c_append(crc, row.value)
}

/// The CRC-32C of a named value: of its name's length, its name and its value.
pub(super) fn named_value_checksum(name: &str, value: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&(name.len() as u64).to_le_bytes());
    crc = crc32c::crc32c_append(crc, name.as_bytes());
    crc32c::crc32c_append(crc, value)
}
