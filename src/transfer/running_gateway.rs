//! Reads the groups of a running gateway or reference.
//!
//! It is asked for the list of its groups, then for its exposition. Groups that change in between are
//! read again, together with all others, until every group was read in a consistent state once, or until
//! that was tried several times.

use super::assembly::{AssembledGroup, Assembly, assemble};
use super::client::{Answer, Client};
use super::listed_groups::{Labels, read_list};
use super::plain_values::{Losses, plain_group};
use super::progress::{self, Progress};
use crate::persistence::reference_file::ReferenceGroup;
use std::collections::{BTreeSet, HashMap};

/// How often the groups are read at most.
const ATTEMPTS_MAX: usize = 5;

/// How many groups or families a warning names.
const NAMED_MAX: usize = 10;

const LIST_PATH: &str = "/api/v1/metrics";

/// Protobuf has all that was pushed, and this is how names stay as they were pushed.
const ACCEPT: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;escaping=allow-utf-8";

/// Reads all groups.
///
/// # Errors
///
/// The groups cannot be read: one line for the operator.
pub(super) fn read(client: &Client, telemetry_path: &str) -> Result<Vec<ReferenceGroup>, String> {
    let mut attempts = Attempts::default();
    let progress = Progress::spinner(&format!("reading {}", client.address()));
    for n in 1.. {
        let list = client.get(LIST_PATH, "application/json", &progress)?;
        if list.status != 200 {
            return Err(client.unexpected(LIST_PATH, &list));
        }
        let exposition = client.get(telemetry_path, ACCEPT, &progress)?;
        let listed =
            read_list(&list.body).map_err(|e| format!("{}{LIST_PATH}: {e}", client.address()))?;
        match exposition.status {
            200 => {}
            500 => {
                let mut losses = Losses::default();
                let groups: Result<_, String> = listed
                    .iter()
                    .map(|group| plain_group(group, &mut losses))
                    .collect();
                warn_about_losses(&client.unexpected(telemetry_path, &exposition), &losses);
                return groups;
            }
            _ => return Err(client.unexpected(telemetry_path, &exposition)),
        }
        check_format(&exposition)
            .and_then(|()| assemble(&listed, &exposition.body))
            .map_err(|error| format!("{}{telemetry_path}: {error}", client.address()))
            .map(|assembly| attempts.add(assembly))?;
        if attempts.is_complete() || n == ATTEMPTS_MAX {
            break;
        }
    }
    progress.finish();
    let (groups, warnings) = attempts.finish();
    warnings.iter().for_each(|warning| progress::warn(warning));
    Ok(groups)
}

fn check_format(exposition: &Answer) -> Result<(), String> {
    let content_type = &exposition.content_type;
    if content_type.contains("vnd.google.protobuf") && content_type.contains("delimited") {
        return Ok(());
    }
    Err(format!(
        "not an exposition in delimited protobuf but {content_type:?}"
    ))
}

/// What was read so far.
#[derive(Default)]
struct Attempts {
    /// The groups that the last attempt has read.
    last: Vec<AssembledGroup>,
    n_unlisted: usize,
    /// The last consistent state of each group, from earlier attempts.
    consistent: HashMap<Labels, ReferenceGroup>,
}

impl Attempts {
    fn add(&mut self, assembly: Assembly) {
        for group in std::mem::replace(&mut self.last, assembly.groups) {
            if group.is_consistent {
                self.consistent.insert(group.labels, group.group);
            }
        }
        self.n_unlisted = assembly.n_unlisted;
    }

    /// Whether every group that exists was read in a consistent state.
    fn is_complete(&self) -> bool {
        let is_read = |group: &AssembledGroup| {
            group.is_consistent || self.consistent.contains_key(&group.labels)
        };
        self.n_unlisted == 0 && self.last.iter().all(is_read)
    }

    /// The groups, and warnings about those that were never read in a consistent state.
    fn finish(mut self) -> (Vec<ReferenceGroup>, Vec<String>) {
        let mut changed = BTreeSet::new();
        let mut groups = Vec::with_capacity(self.last.len());
        for group in self.last {
            if group.is_consistent {
                groups.push(group.group);
            } else if let Some(earlier) = self.consistent.remove(&group.labels) {
                groups.push(earlier);
            } else {
                changed.insert(format!("{:?}", group.labels));
                groups.push(group.group);
            }
        }
        let mut warnings = Vec::new();
        if !changed.is_empty() {
            warnings.push(format!(
                "{} groups changed each time they were read; they may lack series, or have times that are not those of their values: {}",
                changed.len(),
                first_names(&changed)
            ));
        }
        if self.n_unlisted > 0 {
            warnings.push(format!(
                "{} groups were pushed for the first time while groups were read, and are missing",
                self.n_unlisted
            ));
        }
        (groups, warnings)
    }
}

fn warn_about_losses(scrape_error: &str, losses: &Losses) {
    progress::warn(&format!(
        "the exposition cannot be read ({scrape_error}); values come from the query API, which has no exemplars, no created timestamps, no gauge histograms, and of native histograms only count and sum"
    ));
    for (what, names) in [
        (
            "gauge histograms that are left out",
            &losses.gauge_histograms,
        ),
        (
            "native histograms without buckets",
            &losses.native_histograms,
        ),
    ] {
        if !names.is_empty() {
            progress::warn(&format!("{what}: {}", first_names(names)));
        }
    }
}

/// The first of the names.
fn first_names(names: &BTreeSet<String>) -> String {
    let first: Vec<&str> = names.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", first.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(job: &str, state: u8, is_consistent: bool) -> AssembledGroup {
        AssembledGroup {
            labels: [("job".to_owned(), job.to_owned())].into(),
            group: ReferenceGroup {
                labels: vec![(b"job".to_vec(), vec![state])],
                families: Vec::new(),
            },
            is_consistent,
        }
    }

    fn assembly(groups: Vec<AssembledGroup>, n_unlisted: usize) -> Assembly {
        Assembly { groups, n_unlisted }
    }

    fn states(groups: &[ReferenceGroup]) -> Vec<u8> {
        groups.iter().map(|group| group.labels[0].1[0]).collect()
    }

    #[test]
    fn a_group_has_its_last_consistent_state() {
        let mut attempts = Attempts::default();
        attempts.add(assembly(
            vec![
                group("a", 1, true),
                group("b", 1, false),
                group("gone", 1, true),
            ],
            0,
        ));
        assert!(!attempts.is_complete());
        attempts.add(assembly(vec![group("a", 2, false), group("b", 2, true)], 1));
        assert!(!attempts.is_complete(), "a group is missing");
        attempts.add(assembly(vec![group("a", 3, false), group("b", 3, true)], 0));
        assert!(attempts.is_complete());
        let (groups, warnings) = attempts.finish();
        assert_eq!(states(&groups), [1, 3]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn groups_that_changed_each_time_are_taken_with_a_warning() {
        let mut attempts = Attempts::default();
        attempts.add(assembly(vec![group("a", 1, false)], 2));
        let (groups, warnings) = attempts.finish();
        assert_eq!(states(&groups), [1]);
        assert!(warnings[0].contains("\"a\""), "{warnings:?}");
        assert!(warnings[1].starts_with("2 groups"), "{warnings:?}");
    }

    #[test]
    fn a_warning_names_the_first_ten() {
        let names = (0..12).map(|n| format!("f{n:02}")).collect();
        let text = first_names(&names);
        assert!(text.starts_with("f00, f01, ") && text.ends_with("f09 and 2 more"));
    }
}
