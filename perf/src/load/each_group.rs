//! Pushes or deletes each group once.

use super::plan::Plan;
use crate::event_loop::{self, NextStep, RequestSource};
use crate::ledger::Ledger;
use crate::request::RequestWriter;
use crate::workload::{Action, RequestSpec};
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
const CONNECTIONS_PER_THREAD: usize = 16;

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
            let each = EachGroupThread {
                ledger: Arc::clone(ledger),
                action,
                groups: Arc::clone(&groups),
                next: Arc::clone(&next),
                deadline,
                requests: RequestWriter::new(&plan.workload, &plan.prefix, true),
                under_way: [(0, 0); CONNECTIONS_PER_THREAD],
            };
            let address = plan.address;
            std::thread::spawn(move || {
                drop(event_loop::run(address, true, CONNECTIONS_PER_THREAD, each))
            })
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
struct EachGroupThread {
    ledger: Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    /// The place of the next group.
    next: Arc<AtomicU64>,
    deadline: Instant,
    requests: RequestWriter,
    /// By connection: group and push.
    under_way: [(u32, u64); CONNECTIONS_PER_THREAD],
}

impl RequestSource for EachGroupThread {
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
        if now >= self.deadline {
            return NextStep::Finished;
        }
        let index =
            usize::try_from(self.next.fetch_add(1, Relaxed)).expect("counted by the groups");
        let Some(&group) = self.groups.get(index) else {
            return NextStep::Finished;
        };
        let seq = match self.action {
            Action::Delete => {
                self.ledger.record_delete(group);
                0
            }
            Action::Push | Action::Clash => self.ledger.begin_push(group),
        };
        self.under_way[connection] = (group, seq);
        NextStep::Send(self.requests.write(RequestSpec {
            action: self.action,
            group,
            seq,
        }))
    }

    fn on_answer(&mut self, connection: usize, status: u16, _now: Instant) {
        if self.action == Action::Push && status / 100 == 2 {
            let (group, seq) = self.under_way[connection];
            self.ledger.record_answer(group, seq);
        }
    }

    fn on_failure(&mut self, _connection: usize, _why: String) {}
}
