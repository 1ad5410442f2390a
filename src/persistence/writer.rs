//! Writes what has changed to the state file, batch by batch.
//!
//! Each batch is a cut: the state of all groups at one moment, later than every push that was answered
//! before the batch began. So the file never holds groups that contradict each other, whenever the
//! process dies. A group that was pushed a thousand times since the last batch is written once.
//!
//! | after a batch that                     | the groups of the batch | the file                            | the next batch     |
//! |----------------------------------------|-------------------------|-------------------------------------|--------------------|
//! | was committed                          | are forgotten           | has them                            | when it is due     |
//! | was rolled back (the disk is full)     | wait for the next one   | is as before                        | after `RETRY_DELAY`|
//! | leaves the file in doubt (fsync failed)| wait for the next one   | is written anew, and then replaced  | after `RETRY_DELAY`|
//!
//! For the third case the writer knows which state of which group is in the file. It does not read
//! that from the file, which may not be what was written. The states are those that the store has as
//! well, except for groups that were pushed since the last batch.

use super::database::{Change, Database, Row, WriteError};
use super::import_log::ImportNote;
use super::record::RecordEncoder;
use super::rows::{Rows, WrittenRow};
use super::startup::Restored;
use crate::gateway::Gateway;
use crate::gateway::disk::DiskProgress;
use crate::gateway::service_state::Impediment;
use crate::store::{Consumer, MarkedSlot, Snapshot};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the writer waits after a batch that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);
/// At least this long passes between two lines of the log about a disk that fails or is too slow.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The writer.
pub(super) struct Writer {
    gateway: Arc<Gateway>,
    path: PathBuf,
    database: Database,
    rows: Rows,
    /// What the next batch notes about an import.
    imported: Option<ImportNote>,
    /// Groups that have changed and are not written, by slot, each with the id of its row.
    pending: HashMap<u32, (i64, Arc<Snapshot>), ahash::RandomState>,
    encoder: RecordEncoder,
    interval: Duration,
    last_logged: Option<Instant>,
}

impl Writer {
    /// A writer that goes on with the file that was restored.
    pub fn new(gateway: Arc<Gateway>, restored: Restored, interval: Duration) -> Self {
        let Restored {
            path,
            database,
            rows,
            imported,
        } = restored;
        Self {
            gateway,
            path,
            database,
            rows,
            imported,
            pending: HashMap::default(),
            encoder: RecordEncoder::default(),
            interval,
            last_logged: None,
        }
    }

    /// Writes the groups that were imported, if there were any, in one batch with the note of where they
    /// came from.
    ///
    /// # Errors
    ///
    /// They cannot be written: a message for the operator. The file is as before.
    pub fn write_imported(&mut self) -> Result<(), String> {
        if self.imported.is_none() {
            return Ok(());
        }
        let gateway = Arc::clone(&self.gateway);
        let disk = gateway.disk.as_ref().expect("there is a writer");
        self.write_batch(disk)
    }

    /// Writes batches until `must_stop` says that the process is to end. Then writes the last one.
    ///
    /// # Errors
    ///
    /// The last batch cannot be written: a message for the operator.
    pub fn run(mut self, must_stop: impl Fn() -> bool) -> Result<(), String> {
        let gateway = Arc::clone(&self.gateway);
        let disk = gateway.disk.as_ref().expect("there is a writer");
        let mut due = Instant::now() + self.interval;
        loop {
            // First: a batch after this has everything.
            let is_last = must_stop();
            let now = Instant::now();
            let is_requested = disk.take_request();
            if !is_last && !is_requested && now < due {
                disk.sleep(due - now);
                continue;
            }
            let result = self.write_batch(disk);
            let took = now.elapsed();
            match result {
                Ok(()) if is_last => return self.close(),
                Ok(()) => {
                    // At most half of a core. Pushes that wait for a batch do not wait for this.
                    due = now + self.interval.max(2 * took);
                    self.note_pace(took);
                }
                Err(error) if is_last => return Err(error),
                Err(error) => {
                    self.note_failure(disk, &error);
                    due = Instant::now() + RETRY_DELAY;
                    // Those who wait were told. Requests since then are for the next attempt.
                    while Instant::now() < due && !must_stop() {
                        disk.sleep(due.saturating_duration_since(Instant::now()));
                    }
                }
            }
        }
    }

    /// Takes a cut and writes it.
    fn write_batch(&mut self, disk: &DiskProgress) -> Result<(), String> {
        let began = Instant::now();
        let began_ms = self.gateway.clock.now_ms();
        let batch = disk.batches.begin();
        let mut taken = Vec::new();
        self.gateway
            .store()
            .take_cut(Consumer::DiskWriter, &mut taken);
        for MarkedSlot { slot, snapshot } in taken {
            let id = match self.pending.get(&slot) {
                Some((id, _)) => *id,
                None => self.rows.id(slot),
            };
            self.pending.insert(slot, (id, snapshot));
        }
        if !self.pending.is_empty() || self.imported.is_some() || self.database.is_in_doubt() {
            self.write_pending()?;
            self.gateway.telemetry.disk.n_commits.add(1);
            self.gateway
                .telemetry
                .disk
                .n_rows
                .add(self.pending.len() as u64);
            self.forget_pending();
        }
        let busy_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.gateway.telemetry.disk.busy_ns.add(busy_ns);
        self.gateway.telemetry.disk.committed_at_ms.set(began_ms);
        if self.gateway.service.has(Impediment::DiskFailed) {
            self.gateway.service.clear(Impediment::DiskFailed);
            self.last_logged = None;
            tracing::info!(file = %self.path.display(), "the state is written to disk again");
        }
        disk.batches.commit(batch);
        disk.notify();
        Ok(())
    }

    /// Writes the pending groups. If the file is in doubt, writes all groups to a new file.
    fn write_pending(&mut self) -> Result<(), String> {
        if self.database.is_in_doubt() {
            return self.write_anew();
        }
        let (rows, encoder) = (&self.rows, &mut self.encoder);
        let note = self.imported.as_ref().map(ImportNote::change);
        let changes = self.pending.iter().filter_map(|(slot, (id, group))| {
            if group.is_live() {
                let Row { id, key, value } = row(*id, group, encoder);
                Some(Change::Put {
                    id,
                    key: Cow::Owned(key),
                    value: Cow::Owned(value),
                })
            } else {
                // A group that was pushed and deleted between two batches is not in the file.
                rows.by_slot
                    .contains_key(slot)
                    .then_some(Change::Delete { id: *id })
            }
        });
        match self.database.write(note.into_iter().chain(changes)) {
            Ok(()) => {
                self.imported = None;
                Ok(())
            }
            Err(error @ (WriteError::RolledBack { .. } | WriteError::RowTooLarge { .. })) => {
                Err(error.to_string())
            }
            Err(error @ WriteError::Untrusted { .. }) => {
                tracing::error!(err = %error, "the state file is in doubt and will be written anew");
                self.write_anew()
            }
        }
    }

    /// Writes all groups to a new file, which then replaces the old one.
    fn write_anew(&mut self) -> Result<(), String> {
        let written = self.rows.by_slot.iter();
        let unchanged = written.filter(|(slot, _)| !self.pending.contains_key(slot));
        let unchanged = unchanged.map(|(_, row)| (row.id, &row.group));
        let changed = self.pending.values().map(|(id, group)| (*id, group));
        let encoder = &mut self.encoder;
        let rows = unchanged
            .chain(changed.filter(|(_, group)| group.is_live()))
            .map(|(id, group)| row(id, group, encoder).into());
        let note = self.imported.as_ref().map(ImportNote::change);
        self.database
            .replace_all(note.into_iter().chain(rows))
            .map_err(|error| error.to_string())?;
        self.imported = None;
        Ok(())
    }

    /// The pending groups are in the file.
    fn forget_pending(&mut self) {
        let mut tombstones = Vec::new();
        for (slot, (id, group)) in self.pending.drain() {
            if group.is_live() {
                self.rows.by_slot.insert(slot, WrittenRow { id, group });
            } else {
                self.rows.by_slot.remove(&slot);
                tombstones.push(group);
            }
        }
        // Memory for many groups is not kept for few.
        self.pending.shrink_to(1024);
        self.gateway
            .store()
            .pass_tombstones(Consumer::DiskWriter, &tombstones);
    }

    /// The process ends: nothing is pending.
    fn close(self) -> Result<(), String> {
        self.database.close().map_err(|error| error.to_string())
    }

    fn note_failure(&mut self, disk: &DiskProgress, error: &str) {
        self.gateway.telemetry.disk.n_failures.add(1);
        self.gateway.service.raise(Impediment::DiskFailed);
        // Those who wait see that, and are answered.
        disk.notify();
        if self.is_log_due() {
            tracing::error!(
                err = error,
                n_groups = self.pending.len(),
                "cannot write the state to disk; trying again every second"
            );
        }
    }

    /// Logs if batches take longer than the interval.
    fn note_pace(&mut self, took: Duration) {
        if took > self.interval && !self.interval.is_zero() && self.is_log_due() {
            tracing::warn!(
                seconds = took.as_secs_f64(),
                "writing the state to disk takes longer than the interval between two batches"
            );
        }
    }

    fn is_log_due(&mut self) -> bool {
        let is_due = self
            .last_logged
            .is_none_or(|logged| logged.elapsed() >= LOG_INTERVAL);
        if is_due {
            self.last_logged = Some(Instant::now());
        }
        is_due
    }
}

/// The row of a group.
pub(super) fn row(id: i64, group: &Snapshot, encoder: &mut RecordEncoder) -> Row {
    let mut value = Vec::with_capacity(512);
    encoder.encode(group, &mut value);
    Row {
        id,
        key: group.key().to_string(),
        value,
    }
}
