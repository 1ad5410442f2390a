//! Which file of the reference was imported into the state file.
//!
//! The state file remembers that as a named value. At a later start the reference's file may be another
//! one: the operator went back to the reference for a while, which has pushes that this gateway has
//! never seen. Then neither of the two states may be chosen silently.

use super::database::Change;
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

/// The name of the value in the state file.
const NAME: &str = "imported_file";

/// A file of the reference: its size, its modification time and the checksum of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImportNote {
    size: u64,
    modified_ns: i128,
    sha256: [u8; 32],
}

impl ImportNote {
    /// The note of a file with this content.
    pub fn new(metadata: &Metadata, content: &[u8]) -> Self {
        Self {
            size: metadata.size(),
            modified_ns: modified_ns(metadata),
            sha256: Sha256::digest(content).into(),
        }
    }

    /// Whether a file with this content is the one of the note. It may have been copied, so its time
    /// does not matter.
    pub fn is_of(&self, content: &[u8]) -> bool {
        self.sha256 == <[u8; 32]>::from(Sha256::digest(content))
    }

    /// The change by which a batch notes this.
    pub fn change(&self) -> Change<'static> {
        let hex: String = self.sha256.iter().map(|b| format!("{b:02x}")).collect();
        let text = format!("{} {} {hex}", self.size, self.modified_ns);
        Change::SetNamedValue {
            name: Cow::Borrowed(NAME),
            value: Cow::Owned(text.into_bytes()),
        }
    }

    /// The name under which a state file has its note.
    pub const fn name() -> &'static str {
        NAME
    }

    /// Reads what [`change`](Self::change) has written.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(' ');
        let (size, modified_ns, hex) = (words.next()?, words.next()?, words.next()?);
        if words.next().is_some() || hex.len() != 64 || !hex.is_ascii() {
            return None;
        }
        let mut sha256 = [0; 32];
        for (n, byte) in sha256.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).ok()?;
        }
        Some(Self {
            size: size.parse().ok()?,
            modified_ns: modified_ns.parse().ok()?,
            sha256,
        })
    }
}

fn modified_ns(metadata: &Metadata) -> i128 {
    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_survives() {
        let note = ImportNote {
            size: 17,
            modified_ns: -5,
            sha256: std::array::from_fn(|n| n as u8 * 7),
        };
        let Change::SetNamedValue { name, value } = note.change() else {
            panic!("a note is a named value");
        };
        assert_eq!(name, ImportNote::name());
        assert_eq!(ImportNote::parse(&value), Some(note));
        for n in 0..value.len() {
            assert_eq!(ImportNote::parse(&value[..n]), None);
        }
    }
}
