//! Brings groups of the reference into the store.
//!
//! The reference may have groups that contradict each other: they were pushed with its check disabled.
//! This gateway never exposes such groups. So groups come in the order of their last push, the newest
//! first, and of a later one that contradicts them the families are left out that do. If that does not
//! help, the whole group is.

use super::reference_file::{self, ImportedGroup, LeftOutFamily, ReferenceGroup};
use crate::gateway::{ImportSummary, LeftOut, RestoreJob};
use crate::model::{Families, FamiliesBuilder, GroupingKey};
use crate::store::{GroupTimes, Refusal, RestoreOutcome, RestoredGroup, Store};
use std::fmt::Display;
use std::sync::Arc;

/// Groups of the reference as values of this gateway, in the order in which they come into the store.
#[derive(Debug)]
pub(crate) struct ReadGroups {
    groups: Vec<ImportedGroup>,
    /// What was left out so far.
    summary: ImportSummary,
}

/// Reads a body of an import, which is a file of the reference.
///
/// # Errors
///
/// What is wrong with the file, and where.
pub fn read_import(body: &[u8]) -> Result<RestoreJob, String> {
    let groups = reference_file::decode(body).map_err(|error| error.to_string())?;
    let read = ReadGroups::new(&groups);
    Ok(Box::new(move |store| {
        read.restore(store, || false)
            .expect("nothing ends the import early")
    }))
}

impl ReadGroups {
    /// Makes values of this gateway of groups of the reference.
    pub fn new(groups: &[ReferenceGroup]) -> Self {
        let mut summary = ImportSummary::default();
        let mut imported = Vec::with_capacity(groups.len());
        for group in groups {
            match reference_file::import(group) {
                Ok(group) => imported.push(group),
                Err(error) => leave_out_group(&mut summary, &labels_text(group), &error),
            }
        }
        imported.sort_by_key(|group| std::cmp::Reverse(group.push_times.last_push));
        Self {
            groups: imported,
            summary,
        }
    }

    /// Brings the groups into the store; `None` if `must_stop` said to end early.
    pub fn restore(self, store: &Store, must_stop: impl Fn() -> bool) -> Option<ImportSummary> {
        let mut summary = self.summary;
        for group in self.groups {
            if must_stop() {
                return None;
            }
            restore_group(store, group, &mut summary);
        }
        Some(summary)
    }
}

fn restore_group(store: &Store, group: ImportedGroup, summary: &mut ImportSummary) {
    let ImportedGroup {
        key,
        mut families,
        mut family_times,
        push_times,
        left_out,
    } = group;
    let key = Arc::new(key);
    for LeftOutFamily { name, reason } in &left_out {
        leave_out_family(summary, &key, name, reason);
    }
    loop {
        let times = GroupTimes {
            push_time: push_times.last_push,
            failure_time: push_times.last_failure,
            first_time: push_times.first,
            family_times: (!family_times.is_empty()).then(|| family_times.as_slice().into()),
        };
        let mut restored = RestoredGroup::new(Arc::clone(&key), families.clone(), times);
        let refusal = match store.restore_when_free(&mut restored, std::thread::yield_now) {
            RestoreOutcome::Restored => {
                summary.n_groups += 1;
                return;
            }
            RestoreOutcome::Outdated => {
                summary.n_outdated += 1;
                return;
            }
            RestoreOutcome::Refused(refusal) => refusal,
            RestoreOutcome::Busy => unreachable!("tried until it is not"),
        };
        let Some(index) = contradicting_family(&refusal, &families) else {
            leave_out_group(summary, &key.to_string(), &refusal);
            return;
        };
        let name = families.skeleton.family(index).name().to_owned();
        leave_out_family(summary, &key, &name, &refusal);
        families = without_family(&families, index);
        family_times.remove(index);
    }
}

/// The family that a refusal is about.
fn contradicting_family(refusal: &Refusal, families: &Families) -> Option<usize> {
    let is_it = |name: &str| match refusal {
        Refusal::FamilyType { family, .. } => name == family,
        Refusal::Suffix {
            name: exposed,
            of: Some((_, pushed)),
            is_name_exposed: true,
            ..
        } => name == pushed && exposed.starts_with(pushed.as_str()),
        Refusal::Suffix { name: pushed, .. } => name == pushed,
        Refusal::EscapedName { pushed, .. } => name == pushed,
        _ => false,
    };
    let mut families = families.skeleton.families();
    families.position(|family| is_it(family.name()))
}

/// The families without one of them.
fn without_family(families: &Families, index: usize) -> Families {
    let mut builder = FamiliesBuilder::new();
    for family in families.skeleton.families().filter(|f| f.index() != index) {
        builder.copy_family(families, family);
    }
    builder
        .finish()
        .expect("a part of the families is smaller than all of them")
}

fn leave_out_group(summary: &mut ImportSummary, group: &str, reason: &impl Display) {
    summary.leave_out_group(&group, reason);
    log_last(summary);
}

fn leave_out_family(
    summary: &mut ImportSummary,
    key: &GroupingKey,
    family: &str,
    reason: &impl Display,
) {
    summary.leave_out_family(key, family, reason);
    log_last(summary);
}

/// Logs what was left out last, unless so much was left out before that it is not listed.
fn log_last(summary: &ImportSummary) {
    if summary.n_left_out_groups + summary.n_left_out_families > summary.left_out.len() {
        return;
    }
    if let Some(LeftOut {
        group,
        family,
        reason,
    }) = summary.left_out.last()
    {
        match family {
            Some(family) => tracing::warn!(group, family, err = reason, "left out a family"),
            None => tracing::warn!(group, err = reason, "left out a group"),
        }
    }
}

/// The labels of a group that may not have a valid key.
fn labels_text(group: &ReferenceGroup) -> String {
    let mut labels: Vec<String> = group
        .labels
        .iter()
        .map(|(name, value)| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            format!("{}={:?}", text(name), text(value))
        })
        .collect();
    labels.sort_unstable();
    format!("{{{}}}", labels.join(","))
}
