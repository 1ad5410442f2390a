//! Brings the state from disk into the store when the process starts.
//!
//! `F` is the file that the operator names, which may be one of the reference; `F.db` is the state file.
//!
//! | `F.db`              | `F`                                  | what happens                                        |
//! |---------------------|--------------------------------------|-----------------------------------------------------|
//! | absent or empty     | absent or empty                      | starts without groups                               |
//! | absent or empty     | a file of the reference              | its groups are imported, and noted in `F.db`        |
//! | has groups          | absent or empty                      | starts with the groups of `F.db`                    |
//! | has groups          | the file that was imported into it   | starts with the groups of `F.db`                    |
//! | has groups          | another file                         | refuses to start: the operator has to choose        |
//! | any                 | any, with [`ImportChoice::Never`]    | starts with the groups of `F.db`                    |
//! | has groups          | another file, [`ImportChoice::File`] | `F.db` becomes `F.db.old`, `F` is imported          |
//!
//! `F` is never written.

use super::PersistenceOptions;
use super::database::{Database, OpenError, RowRef};
use super::import_log::ImportNote;
use super::imported_groups::ReadGroups;
use super::record::RecordDecoder;
use super::reference_file;
use super::rows::Rows;
use crate::gateway::{Gateway, ImportSummary};
use crate::model::GroupingKey;
use crate::store::{Consumer, RestoreOutcome, Store};
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What the operator decides about the reference's file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImportChoice {
    /// Import it if there is no state file yet; refuse to start if there is one that knows nothing of it.
    #[default]
    Auto,
    /// Import it even if there is a state file, which is set aside, unless it was imported already.
    File,
    /// Do not look at it.
    Never,
}

/// Why the state cannot be restored. `Display` is one line for the operator.
#[derive(Debug)]
pub enum StartError {
    /// The process is to end before all groups are restored.
    Stopped,
    /// The state file cannot be opened.
    Open(OpenError),
    /// The reference's file cannot be read or decoded.
    Reference {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// There is a state file, and a file of the reference that was not imported into it.
    TwoStates {
        /// The reference's file.
        reference: PathBuf,
        /// The state file.
        state: PathBuf,
    },
    /// What was imported cannot be written.
    Import(String),
    /// There is no state file.
    NoState {
        /// Where it would be.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("ended before all groups were restored"),
            Self::Open(error) => error.fmt(f),
            Self::Reference { path, reason } => write!(
                f,
                "cannot import {}: {reason}: restore it from a backup, or move it away to start without its groups",
                path.display()
            ),
            Self::TwoStates { reference, state } => write!(
                f,
                "there are two states: {} has changed since it was imported into {}: start once with --persistence.import=file to import it again (the other one is kept as {}.old), or with --persistence.import=never to ignore it",
                reference.display(),
                state.display(),
                state.display(),
            ),
            Self::NoState { path, error } => {
                write!(f, "there is no state to read: {}: {error}", path.display())
            }
            Self::Import(error) => write!(f, "cannot write what was imported: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The state file after its groups were restored.
pub(super) struct Restored {
    pub path: PathBuf,
    pub database: Database,
    pub rows: Rows,
    /// Where the groups came from, if they are not in the file yet.
    pub imported: Option<ImportNote>,
}

/// The state file that belongs to a file that the operator names.
pub(super) fn state_path(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".db");
    name.into()
}

/// Restores the groups and returns the file. Ends early when `must_stop` says so.
pub(super) fn restore(
    gateway: &Gateway,
    options: &PersistenceOptions,
    must_stop: impl Fn() -> bool,
) -> Result<Restored, StartError> {
    let path = state_path(&options.file);
    if options.import != ImportChoice::Never
        && let Some(reference) = ReferenceFile::find(&options.file)?
        && let Some(chosen) = choose(reference, &path, options.import)?
    {
        return import(gateway, chosen, path, must_stop);
    }
    restore_state_file(gateway, path, must_stop)
}

/// A file of the reference that is not empty.
struct ReferenceFile {
    path: PathBuf,
    metadata: fs::Metadata,
}

impl ReferenceFile {
    /// The file with this path, if there is one that is not empty.
    fn find(path: &Path) -> Result<Option<Self>, StartError> {
        match fs::metadata(path) {
            Ok(metadata) => Ok((metadata.len() > 0).then(|| Self {
                path: path.to_owned(),
                metadata,
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StartError::Reference {
                path: path.to_owned(),
                reason: error.to_string(),
            }),
        }
    }

    fn read(&self) -> Result<Vec<u8>, StartError> {
        fs::read(&self.path).map_err(|error| StartError::Reference {
            path: self.path.clone(),
            reason: error.to_string(),
        })
    }
}

/// A file of the reference that is to be imported.
struct ChosenFile {
    path: PathBuf,
    content: Vec<u8>,
    note: ImportNote,
    /// There is a state file with groups, which is kept under another name.
    sets_state_aside: bool,
}

/// Decides whether the reference's file is imported.
fn choose(
    reference: ReferenceFile,
    state: &Path,
    choice: ImportChoice,
) -> Result<Option<ChosenFile>, StartError> {
    let content = reference.read()?;
    let chosen = |content: Vec<u8>, sets_state_aside| ChosenFile {
        path: reference.path.clone(),
        note: ImportNote::new(&reference.metadata, &content),
        content,
        sets_state_aside,
    };
    if !state.exists() {
        return Ok(Some(chosen(content, false)));
    }
    let mut n_rows = 0;
    let database = Database::open(state, |_| {
        n_rows += 1;
        Ok(())
    })
    .map_err(StartError::Open)?;
    let note = database.named_value(ImportNote::name());
    let note = note.and_then(ImportNote::parse);
    // An error says that the file could not be tidied up, which the next opening does.
    let _ = database.close();
    match note {
        Some(note) if note.is_of(&content) => Ok(None),
        // The process died while it imported.
        None if n_rows == 0 => Ok(Some(chosen(content, false))),
        _ if choice == ImportChoice::File => Ok(Some(chosen(content, true))),
        _ => Err(StartError::TwoStates {
            reference: reference.path.clone(),
            state: state.to_owned(),
        }),
    }
}

/// Imports a file of the reference into an empty store.
fn import(
    gateway: &Gateway,
    chosen: ChosenFile,
    path: PathBuf,
    must_stop: impl Fn() -> bool,
) -> Result<Restored, StartError> {
    let began = Instant::now();
    // First: a file that cannot be read changes nothing.
    let groups =
        reference_file::decode(&chosen.content).map_err(|error| StartError::Reference {
            path: chosen.path.clone(),
            reason: error.to_string(),
        })?;
    if chosen.sets_state_aside {
        let old = Database::move_to_old(&path).map_err(StartError::Open)?;
        tracing::info!(file = %old.display(), "the state before the import is kept");
    }
    let database = Database::open(&path, |_| Ok(())).map_err(StartError::Open)?;
    let summary = ReadGroups::new(&groups)
        .restore(gateway.store(), must_stop)
        .ok_or(StartError::Stopped)?;
    log_import(&chosen.path, &summary, began);
    note_restored(gateway, summary.n_groups);
    Ok(Restored {
        path,
        database,
        rows: Rows::default(),
        imported: Some(chosen.note),
    })
}

fn log_import(path: &Path, summary: &ImportSummary, began: Instant) {
    let ImportSummary {
        n_groups,
        n_left_out_groups,
        n_left_out_families,
        ..
    } = summary;
    let (file, seconds) = (path.display(), began.elapsed().as_secs_f64());
    tracing::info!(%file, n_groups, seconds, "imported the groups of the reference's file");
    if *n_left_out_groups + *n_left_out_families > 0 {
        tracing::warn!(%file, n_left_out_groups, n_left_out_families, "left out what contradicts something newer or is invalid");
    }
}

/// Restores the groups of the state file, which is made if there is none.
fn restore_state_file(
    gateway: &Gateway,
    path: PathBuf,
    must_stop: impl Fn() -> bool,
) -> Result<Restored, StartError> {
    let began = Instant::now();
    let (database, rows, n_groups) = read_rows(gateway.store(), &path, must_stop)?;
    note_restored(gateway, n_groups);
    let (file, seconds) = (path.display(), began.elapsed().as_secs_f64());
    tracing::info!(%file, n_groups, seconds, "restored the groups");
    Ok(Restored {
        path,
        database,
        rows,
        imported: None,
    })
}

/// Opens the state file, which is made if there is none, and brings its groups into an empty store.
/// Returns the file, its rows and the number of groups.
pub(super) fn read_rows(
    store: &Store,
    path: &Path,
    must_stop: impl Fn() -> bool,
) -> Result<(Database, Rows, usize), StartError> {
    let mut decoder = RecordDecoder::default();
    // By the bytes of the labels.
    let mut ids: HashMap<Box<[u8]>, i64, ahash::RandomState> = HashMap::default();
    let mut is_stopped = false;
    let database = Database::open(path, |row| {
        if must_stop() {
            is_stopped = true;
            return Err("the process is to end".to_owned());
        }
        let key = restore_row(store, &mut decoder, row)?;
        ids.insert(key.labels().as_bytes().into(), row.id);
        Ok(())
    });
    let database = match database {
        Ok(database) => database,
        Err(_) if is_stopped => return Err(StartError::Stopped),
        Err(error) => return Err(StartError::Open(error)),
    };
    let mut rows = Rows::default();
    let mut taken = Vec::new();
    // Nothing was pushed so far: what is taken is what was restored, so it is in the file.
    store.take_cut(Consumer::DiskWriter, &mut taken);
    for slot in &taken {
        if let Some(id) = ids.get(slot.snapshot.key().labels().as_bytes()) {
            rows.note_restored(*id, slot);
        }
    }
    Ok((database, rows, ids.len()))
}

fn note_restored(gateway: &Gateway, n_groups: usize) {
    gateway.telemetry.disk.n_restored.set(n_groups as u64);
}

/// Brings the group of a row into the store and returns its key.
fn restore_row(
    store: &Store,
    decoder: &mut RecordDecoder,
    row: RowRef<'_>,
) -> Result<Arc<GroupingKey>, String> {
    let mut group = decoder.decode(row.value).map_err(|e| e.to_string())?;
    let key = Arc::clone(group.key());
    match store.restore_when_free(&mut group, std::thread::yield_now) {
        RestoreOutcome::Restored => {}
        RestoreOutcome::Outdated => return Err("the file has the group twice".to_owned()),
        RestoreOutcome::Refused(refusal) => {
            return Err(format!("the group cannot be restored: {refusal}"));
        }
        RestoreOutcome::Busy => unreachable!("tried until it is not"),
    }
    if let Some(snapshot) = store.group(&key) {
        decoder.keep_layout(row.value, snapshot.layout());
    }
    Ok(key)
}
