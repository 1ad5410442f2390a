//! What was pushed and answered, and whether a scrape tells the truth about it.

use crate::body::{GroupValues, expected_values, line_index};
use crate::workload::N_FLEET_LINES;
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::AcqRel, Ordering::Acquire};
use std::time::Instant;

/// A lie.
#[derive(Clone, Debug, PartialEq)]
pub enum Violation {
    /// A group whose push was answered is not there.
    Missing { group: u32 },
    /// A group shows an older push than one that was answered before the scrape began.
    Stale {
        group: u32,
        shown: u64,
        answered: u64,
    },
    /// A group shows parts of several pushes.
    Torn { group: u32, seq: u64 },
    /// A group shows what was never pushed, or is there though it was deleted.
    Invented { group: u32 },
    /// The scrape is none.
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

/// A group's pushes. Its sequence numbers grow; 0 stands for none.
#[derive(Default)]
struct GroupAccount {
    started: AtomicU64,
    answered: AtomicU64,
    /// The last answered request is a delete.
    deleted: AtomicU64,
}

/// When a push began and, if it was, was answered.
type PushTimes = (Instant, Option<Instant>);

/// All pushes of a run.
pub struct Ledger {
    accounts: Vec<GroupAccount>,
    has_shared_groups: bool,
    /// Where several push to one group at a time: for each group and push when it began and was
    /// answered.
    shared: Mutex<HashMap<(u32, u64), PushTimes>>,
}

/// What had been answered when a scrape began.
pub struct AnsweredBefore {
    at: Instant,
    /// By group: the last push answered, and whether it was deleted since.
    answered: Vec<(u64, bool)>,
}

impl Ledger {
    /// Of groups that are written by one connection each, or by several at a time.
    pub fn new(n_groups: u32, has_shared_groups: bool) -> Self {
        let accounts = (0..n_groups).map(|_| GroupAccount::default()).collect();
        Self {
            accounts,
            has_shared_groups,
            shared: Mutex::default(),
        }
    }

    /// A push of a group begins; its sequence number.
    pub fn begin_push(&self, group: u32) -> u64 {
        let seq = self.accounts[group as usize].started.fetch_add(1, AcqRel) + 1;
        if self.has_shared_groups {
            self.shared
                .lock()
                .expect("no panics")
                .insert((group, seq), (Instant::now(), None));
        }
        seq
    }

    /// A push was accepted.
    pub fn record_answer(&self, group: u32, seq: u64) {
        let account = &self.accounts[group as usize];
        account
            .deleted
            .store(0, std::sync::atomic::Ordering::Release);
        account.answered.fetch_max(seq, AcqRel);
        if self.has_shared_groups
            && let Some((_, ended)) = self
                .shared
                .lock()
                .expect("no panics")
                .get_mut(&(group, seq))
        {
            *ended = Some(Instant::now());
        }
    }

    /// A group was deleted.
    pub fn record_delete(&self, group: u32) {
        self.accounts[group as usize]
            .deleted
            .store(1, std::sync::atomic::Ordering::Release);
    }

    /// What has been answered by now.
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

    /// The violations of a scrape that began after `before`. `is_quiet`: nothing was pushed meanwhile.
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
                // Where groups go again, only a quiet scrape can tell.
                let may_be_gone = is_deleted || (self.has_deletes() && !is_quiet);
                if answered > 0 && !may_be_gone {
                    violations.push(Violation::Missing { group });
                }
                continue;
            };
            let seq = shown[0] as u64;
            let started = self.accounts[group as usize].started.load(Acquire);
            if seq == 0 || seq > started || shown[0].fract() != 0.0 || (is_deleted && is_quiet) {
                violations.push(Violation::Invented { group });
            } else if *shown != expected_values(group, seq) {
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

    fn has_deletes(&self) -> bool {
        self.accounts
            .iter()
            .any(|account| account.deleted.load(Acquire) == 1)
    }

    fn is_stale(&self, group: u32, seq: u64, answered: u64, at: Instant) -> bool {
        if !self.has_shared_groups {
            return seq < answered;
        }
        // A push is stale if another one began after it was answered, and was answered before the
        // scrape began.
        let shared = self.shared.lock().expect("no panics");
        let Some((_, Some(ended))) = shared.get(&(group, seq)) else {
            return false;
        };
        let later = |(began, ended_then): &PushTimes| {
            began > ended && ended_then.is_some_and(|then| then < at)
        };
        (seq + 1..=answered).any(|other| shared.get(&(group, other)).is_some_and(later))
    }
}

/// What each group shows.
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
    use crate::workload::{Action, RequestSpec, Workload};

    /// The lines of a push as a gateway shows them.
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
        let ledger = Ledger::new(9, false);
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
    fn the_truth_is_no_lie() {
        let ledger = ledger(&[(0, 3), (4, 1)]);
        assert_eq!(violations(&ledger, &(exposed(0, 3) + &exposed(4, 1))), []);
    }

    #[test]
    fn lies_are_found_by_kind() {
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
    fn a_deleted_group_may_not_show() {
        let ledger = ledger(&[(0, 1), (4, 1)]);
        ledger.record_delete(4);
        assert_eq!(violations(&ledger, &exposed(0, 1)), []);
        assert_eq!(
            violations(&ledger, &(exposed(0, 1) + &exposed(4, 1))),
            [Violation::Invented { group: 4 }]
        );
    }

    #[test]
    fn of_pushes_at_a_time_any_may_be_the_last() {
        let ledger = Ledger::new(1, true);
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
