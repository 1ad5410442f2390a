//! Pushes or deletes each group once.

use super::plan::Plan;
use crate::event_loop::{self, Next, Work};
use crate::ledger::Ledger;
use crate::request::Requests;
use crate::workload::{Action, What};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Pushes every group once, until `patience` is over; how many were made.
pub fn preload(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    patience: Duration,
    progress: impl Fn(u64),
) -> u32 {
    let groups: Arc<[u32]> = (0..plan.workload.n_groups()).collect();
    for_each_group(plan, ledger, Action::Push, groups, patience, progress)
}

/// Connections a thread of [`for_each_group`].
const N_EACH: usize = 16;

/// Pushes or deletes each of these groups once over 16 connections a thread, until `patience` is
/// over; how many were begun.
pub fn for_each_group(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    patience: Duration,
    progress: impl Fn(u64),
) -> u32 {
    let next = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + patience;
    let threads: Vec<_> = (0..plan.threads)
        .map(|_| {
            let each = Each {
                ledger: Arc::clone(ledger),
                action,
                groups: Arc::clone(&groups),
                next: Arc::clone(&next),
                deadline,
                requests: Requests::new(&plan.workload, &plan.prefix, true),
                under_way: [(0, 0); N_EACH],
            };
            let address = plan.address;
            std::thread::spawn(move || drop(event_loop::run(address, true, N_EACH, each)))
        })
        .collect();
    let n_begun = || next.load(Relaxed).min(groups.len() as u64);
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(2));
        progress(n_begun());
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("a generator panicked"));
    u32::try_from(n_begun()).expect("groups have 32 bits")
}

/// One thread of [`for_each_group`].
struct Each {
    ledger: Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    /// The place of the next group.
    next: Arc<AtomicU64>,
    deadline: Instant,
    requests: Requests,
    /// By connection: group and push.
    under_way: [(u32, u64); N_EACH],
}

impl Work for Each {
    fn next(&mut self, connection: usize, now: Instant) -> Next<'_> {
        if now >= self.deadline {
            return Next::Nothing;
        }
        let index =
            usize::try_from(self.next.fetch_add(1, Relaxed)).expect("counted by the groups");
        let Some(&group) = self.groups.get(index) else {
            return Next::Nothing;
        };
        let seq = match self.action {
            Action::Delete => {
                self.ledger.delete(group);
                0
            }
            Action::Push | Action::Clash => self.ledger.start(group),
        };
        self.under_way[connection] = (group, seq);
        Next::Send(self.requests.write(What {
            action: self.action,
            group,
            seq,
        }))
    }

    fn answered(&mut self, connection: usize, status: u16, _now: Instant) {
        if self.action == Action::Push && status / 100 == 2 {
            let (group, seq) = self.under_way[connection];
            self.ledger.answer(group, seq);
        }
    }

    fn lost(&mut self, _connection: usize, _why: String) {}
}
