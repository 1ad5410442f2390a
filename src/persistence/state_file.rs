//! The state of a stopped gateway, for the command line: groups are read from it and imported into it.

use super::database::{Change, Database};
use super::import_log::ImportNote;
use super::imported_groups::ReadGroups;
use super::record::RecordEncoder;
use super::reference_file::{self, ReferenceGroup};
use super::rows::Rows;
use super::startup::{StartError, read_rows, state_path};
use super::writer;
use crate::gateway::{self, ImportSummary};
use crate::store::{Config, Consumer, Store};
use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

/// The state of a stopped gateway. While this exists, no gateway can start with the file.
pub struct StateFile {
    /// The file that the operator names, which may be one of the reference.
    file: PathBuf,
    database: Database,
    rows: Rows,
    store: Store,
}

impl StateFile {
    /// Opens the state that belongs to a value of `--persistence.file`. It is made if there is none.
    ///
    /// # Errors
    ///
    /// The state cannot be read, or a gateway uses it.
    pub fn open(file: &Path) -> Result<Self, StartError> {
        let store = Store::new(Config {
            // The limits of the gateway that has written the file are not known.
            shapes_per_job_max: usize::MAX,
            exposition_bytes_max: 256 << 20,
            own_families: gateway::own_families(),
            consumers: vec![Consumer::DiskWriter],
        });
        let (database, rows, _) = read_rows(&store, &state_path(file), || false)?;
        Ok(Self {
            file: file.to_owned(),
            database,
            rows,
            store,
        })
    }

    /// Opens the state, if there is one.
    ///
    /// # Errors
    ///
    /// There is no state, or it cannot be read, or a gateway uses it.
    pub fn open_existing(file: &Path) -> Result<Self, StartError> {
        let path = state_path(file);
        match fs::metadata(&path) {
            Ok(_) => Self::open(file),
            Err(error) => Err(StartError::NoState { path, error }),
        }
    }

    /// All groups, as the reference has them.
    pub fn groups(&self) -> Vec<ReferenceGroup> {
        let groups = self.store.groups();
        let exported = groups
            .iter()
            .map(|group| reference_file::export((&**group).into()));
        exported.collect()
    }

    /// Imports groups. A group that is there in a state that is as new stays as it is. If the groups are
    /// those of the reference's file beside the state, that is noted, so that the gateway starts with both.
    ///
    /// # Errors
    ///
    /// The state is as before: a message for the operator.
    pub fn import(
        &mut self,
        groups: &[ReferenceGroup],
        reference_file: Option<&Path>,
    ) -> Result<ImportSummary, String> {
        let note = reference_file.map(note_of).transpose()?;
        let summary = ReadGroups::new(groups)
            .restore(&self.store, || false)
            .expect("nothing ends the import early");
        let mut changed = Vec::new();
        self.store.take_cut(Consumer::DiskWriter, &mut changed);
        let (rows, mut encoder) = (&mut self.rows, RecordEncoder::default());
        let changes = changed.iter().filter(|slot| slot.snapshot.is_live());
        let changes = changes.map(|slot| {
            let row = writer::row(rows.id(slot.slot), &slot.snapshot, &mut encoder);
            Change::Put {
                id: row.id,
                key: Cow::Owned(row.key),
                value: Cow::Owned(row.value),
            }
        });
        let note = note.as_ref().map(ImportNote::change);
        self.database
            .write(note.into_iter().chain(changes))
            .map_err(|error| error.to_string())?;
        Ok(summary)
    }

    /// Whether the gateway starts with this state though the file that the operator names exists: that is
    /// empty, or was imported.
    pub fn knows_reference_file(&self) -> bool {
        let Ok(content) = fs::read(&self.file) else {
            return true;
        };
        let note = self.database.named_value(ImportNote::name());
        let note = note.and_then(ImportNote::parse);
        content.is_empty() || note.is_some_and(|note| note.is_of(&content))
    }

    /// Closes the file.
    ///
    /// # Errors
    ///
    /// A message for the operator.
    pub fn close(self) -> Result<(), String> {
        self.database.close().map_err(|error| error.to_string())
    }
}

fn note_of(path: &Path) -> Result<ImportNote, String> {
    let read = || Ok(ImportNote::new(&fs::metadata(path)?, &fs::read(path)?));
    read().map_err(|error: std::io::Error| format!("cannot read {}: {error}", path.display()))
}
