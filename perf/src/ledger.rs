//! The ledger of a run: what was pushed and answered. Scrapes are checked against it.
//!
//! A scrape must show every push that was answered before the scrape began, or a later one, and
//! each group must show the values of exactly one push.

use crate::body::{GroupValues, expected_values, line_index};
use crate::values::{ValueKind, sequence_number};
use crate::workload::{N_FLEET_LINES, Workload};
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::time::Instant;

/// A difference between a scrape and the ledger that no correct gateway shows.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// A group is not in the scrape, although a push of it was answered.
    Missing { group: u32 },
    /// A group shows an older push than one that was answered before the scrape began.
    Stale {
        group: u32,
        shown: u64,
        answered: u64,
    },
    /// A group shows parts of several pushes, or only a part of one.
    Torn { group: u32, seq: u64 },
    /// A group shows values that were never pushed, or is in the scrape although it was deleted.
    Invented { group: u32 },
    /// The scrape failed, or its body is not a valid exposition.
    Broken(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { group } => {
                write!(f, "group {group} was pushed and answered, and is missing")
            }
            Self::Stale {
                group,
                shown,
                answered,
            } => {
                write!(
                    f,
                    "group {group} shows push {shown}, though push {answered} had been answered"
                )
            }
            Self::Torn { group, seq } => write!(f, "group {group} does not show all of push {seq}"),
            Self::Invented { group } => write!(f, "group {group} shows what was not pushed"),
            Self::Broken(what) => write!(f, "the scrape is broken: {what}"),
        }
    }
}

/// The pushes of one group. Sequence numbers grow from 1; 0 means that there is none.
#[derive(Default)]
struct GroupAccount {
    /// The highest sequence number that was sent.
    started: AtomicU64,
    /// The highest sequence number that was answered.
    answered: AtomicU64,
    /// 1 if a delete was recorded after the last answered push, else 0.
    deleted: AtomicU64,
}

/// When a push was sent, and when it was answered, if it was.
type PushTimes = (Instant, Option<Instant>);

/// All pushes of a run, by group.
pub struct Ledger {
    accounts: Vec<GroupAccount>,
    values: ValueKind,
    has_shared_groups: bool,
    /// The times of each push, by group and sequence number. Only used if several connections push
    /// to one group at the same time: the order of their answers then decides what a scrape may
    /// show.
    push_times: Mutex<HashMap<(u32, u64), PushTimes>>,
}

/// What had been answered before a scrape began.
pub struct AnsweredBefore {
    at: Instant,
    /// For each group: the highest sequence number answered, and whether the group was deleted
    /// since.
    answered: Vec<(u64, bool)>,
}

impl Ledger {
    /// An empty ledger of the groups of a workload.
    pub fn new(workload: &Workload) -> Self {
        let accounts = (0..workload.n_groups())
            .map(|_| GroupAccount::default())
            .collect();
        Self {
            accounts,
            values: workload.values,
            has_shared_groups: workload.has_shared_groups(),
            push_times: Mutex::default(),
        }
    }

    /// The groups to which a push was sent.
    pub fn pushed_groups(&self) -> Vec<u32> {
        (0..)
            .zip(&self.accounts)
            .filter(|(_, account)| account.started.load(Acquire) > 0)
            .map(|(group, _)| group)
            .collect()
    }

    /// Records that a push of the group is about to be sent, and returns its sequence number.
    pub fn begin_push(&self, group: u32) -> u64 {
        // AcqRel: pairs with the Acquire in `check_scrape`, so that a push which a scrape shows is
        // known to have been sent.
        let seq = self.accounts[group as usize].started.fetch_add(1, AcqRel) + 1;
        if self.has_shared_groups {
            self.push_times
                .lock()
                .expect("no thread panics while it holds the lock")
                .insert((group, seq), (Instant::now(), None));
        }
        seq
    }

    /// Records that the push was accepted.
    pub fn record_answer(&self, group: u32, seq: u64) {
        let account = &self.accounts[group as usize];
        account
            .deleted
            .store(0, std::sync::atomic::Ordering::Release);
        // AcqRel: pairs with the Acquire in `answered_so_far`.
        account.answered.fetch_max(seq, AcqRel);
        if self.has_shared_groups
            && let Some((_, ended)) = self
                .push_times
                .lock()
                .expect("no thread panics while it holds the lock")
                .get_mut(&(group, seq))
        {
            *ended = Some(Instant::now());
        }
    }

    /// Records that a delete of the group is about to be sent.
    pub fn record_delete(&self, group: u32) {
        self.accounts[group as usize]
            .deleted
            .store(1, std::sync::atomic::Ordering::Release);
    }

    /// Returns what has been answered by now. To be called before a scrape is sent.
    pub fn answered_so_far(&self) -> AnsweredBefore {
        let answered = self
            .accounts
            .iter()
            .map(|account| {
                (
                    account.answered.load(Acquire),
                    account.deleted.load(Acquire) == 1,
                )
            })
            .collect();
        AnsweredBefore {
            at: Instant::now(),
            answered,
        }
    }

    /// Compares the body of a scrape with the ledger and returns all violations. The scrape was
    /// sent after `before` was taken. `is_quiet`: nothing was pushed or deleted meanwhile.
    pub fn check_scrape(
        &self,
        scrape: &[u8],
        before: &AnsweredBefore,
        is_quiet: bool,
    ) -> Vec<Violation> {
        let shown = match read_groups(scrape, self.accounts.len()) {
            Ok(shown) => shown,
            Err(what) => return vec![Violation::Broken(what)],
        };
        let mut violations = Vec::new();
        for (group, (shown, &(answered, is_deleted))) in
            (0..).zip(shown.iter().zip(&before.answered))
        {
            let Some(shown) = shown else {
                // If groups are deleted during the run, only a quiet scrape can tell whether this
                // one should be there.
                let may_be_gone = is_deleted || (self.has_deletes() && !is_quiet);
                if answered > 0 && !may_be_gone {
                    violations.push(Violation::Missing { group });
                }
                continue;
            };
            let seq = sequence_number(self.values, group, shown[0]).unwrap_or(0);
            let started = self.accounts[group as usize].started.load(Acquire);
            if seq == 0 || seq > started || (is_deleted && is_quiet) {
                violations.push(Violation::Invented { group });
            } else if *shown != expected_values(self.values, group, seq) {
                violations.push(Violation::Torn { group, seq });
            } else if self.is_stale(group, seq, answered, before.at) {
                violations.push(Violation::Stale {
                    group,
                    shown: seq,
                    answered,
                });
            }
        }
        violations
    }

    /// Whether any group is recorded as deleted.
    fn has_deletes(&self) -> bool {
        self.accounts
            .iter()
            .any(|account| account.deleted.load(Acquire) == 1)
    }

    /// Whether a scrape that was sent at `at` should have shown a later push than `seq`. `answered`
    /// is the highest sequence number that had been answered by then.
    fn is_stale(&self, group: u32, seq: u64, answered: u64, at: Instant) -> bool {
        if !self.has_shared_groups {
            return seq < answered;
        }
        // Concurrent pushes may take effect in any order. So a push is stale only if another push
        // was sent after the first one was answered, and was answered before the scrape was sent.
        let push_times = self
            .push_times
            .lock()
            .expect("no thread panics while it holds the lock");
        let Some((_, Some(ended))) = push_times.get(&(group, seq)) else {
            return false;
        };
        let later = |(began, ended_then): &PushTimes| {
            began > ended && ended_then.is_some_and(|then| then < at)
        };
        (seq + 1..=answered).any(|other| push_times.get(&(group, other)).is_some_and(later))
    }
}

/// Parses the values of the fleet lines from a scrape: an entry for each group, `None` if the
/// scrape does not have it.
fn read_groups(scrape: &[u8], n_groups: usize) -> Result<Vec<Option<GroupValues>>, String> {
    let text = std::str::from_utf8(scrape).map_err(|error| error.to_string())?;
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("it does not end with a line".to_owned());
    }
    let mut groups: Vec<Option<GroupValues>> = vec![None; n_groups];
    for line in text.lines().filter(|line| line.starts_with("batch_")) {
        let parts = line
            .split_once('{')
            .and_then(|(name, rest)| Some((name, rest.rsplit_once("} ")?)));
        let Some((name, (labels, value))) = parts else {
            return Err(format!("no sample: {line}"));
        };
        if !labels.contains("job=\"fleet") {
            continue;
        }
        let instance = labels
            .split("instance=\"node-")
            .nth(1)
            .and_then(|rest| rest.get(..7))
            .and_then(|id| id.parse().ok());
        let Some(group): Option<usize> = instance.filter(|&group| group < n_groups) else {
            continue;
        };
        let Some(place) = line_index(name, labels) else {
            continue;
        };
        let shown = groups[group].get_or_insert([f64::NAN; N_FLEET_LINES]);
        if !shown[place].is_nan() {
            return Err(format!("a series stands twice: {line}"));
        }
        shown[place] = value.parse().map_err(|_| format!("no number: {line}"))?;
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::RequestWriter;
    use crate::workload::{Action, RequestSpec, WorkloadKind};

    /// The lines of a push as a gateway exposes them.
    fn exposed(group: u32, seq: u64) -> String {
        let mut requests = RequestWriter::new(&Workload::fleet(9), "", true);
        requests.write(RequestSpec {
            action: Action::Push,
            group,
            seq,
        });
        let body = requests.body().to_vec();
        let labels = format!("instance=\"node-{group:07}\",job=\"fleet\"");
        let line = |line: &str| match line.split_once('{') {
            Some((name, rest)) => format!("{name}{{{labels},{rest}\n"),
            None => line.replacen(' ', &format!("{{{labels}}} "), 1) + "\n",
        };
        String::from_utf8(body)
            .unwrap()
            .lines()
            .filter(|text| !text.starts_with('#'))
            .map(line)
            .collect()
    }

    fn ledger(pushes: &[(u32, u64)]) -> Ledger {
        let ledger = Ledger::new(&Workload::fleet(9));
        for &(group, n) in pushes {
            for _ in 0..n {
                let seq = ledger.begin_push(group);
                ledger.record_answer(group, seq);
            }
        }
        ledger
    }

    fn violations(ledger: &Ledger, scrape: &str) -> Vec<Violation> {
        ledger.check_scrape(scrape.as_bytes(), &ledger.answered_so_far(), true)
    }

    #[test]
    fn a_correct_scrape_has_no_violations() {
        let ledger = ledger(&[(0, 3), (4, 1)]);
        assert_eq!(violations(&ledger, &(exposed(0, 3) + &exposed(4, 1))), []);
    }

    #[test]
    fn violations_are_found_by_kind() {
        let ledger = ledger(&[(0, 3), (4, 1)]);
        let both = exposed(0, 3) + &exposed(4, 1);
        assert_eq!(
            violations(&ledger, &exposed(0, 3)),
            [Violation::Missing { group: 4 }]
        );
        assert_eq!(
            violations(&ledger, &(exposed(0, 2) + &exposed(4, 1))),
            [Violation::Stale {
                group: 0,
                shown: 2,
                answered: 3
            }]
        );
        let torn = both.replace("batch_workers", "other_workers");
        assert_eq!(
            violations(&ledger, &torn),
            [
                Violation::Torn { group: 0, seq: 3 },
                Violation::Torn { group: 4, seq: 1 }
            ]
        );
        assert_eq!(
            violations(&ledger, &(both.clone() + &exposed(5, 1))),
            [Violation::Invented { group: 5 }]
        );
        assert!(matches!(
            violations(&ledger, &(both.clone() + &exposed(4, 1)))[..],
            [Violation::Broken(_)]
        ));
        assert!(matches!(
            violations(&ledger, both.trim_end())[..],
            [Violation::Broken(_)]
        ));
    }

    #[test]
    fn a_deleted_group_must_not_be_shown() {
        let ledger = ledger(&[(0, 1), (4, 1)]);
        ledger.record_delete(4);
        assert_eq!(violations(&ledger, &exposed(0, 1)), []);
        assert_eq!(
            violations(&ledger, &(exposed(0, 1) + &exposed(4, 1))),
            [Violation::Invented { group: 4 }]
        );
    }

    #[test]
    fn any_of_several_concurrent_pushes_may_be_the_last() {
        let ledger = Ledger::new(&Workload {
            kind: WorkloadKind::Hot,
            ..Workload::fleet(1)
        });
        let (first, second) = (ledger.begin_push(0), ledger.begin_push(0));
        ledger.record_answer(0, second);
        ledger.record_answer(0, first);
        assert_eq!(violations(&ledger, &exposed(0, first)), []);
        let third = ledger.begin_push(0);
        ledger.record_answer(0, third);
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert_eq!(violations(&ledger, &exposed(0, first)).len(), 1);
        assert_eq!(violations(&ledger, &exposed(0, third)), []);
    }
}
