//! Pushes or deletes every group once, as fast as possible: preloading, and steps of scenarios.

use super::plan::Plan;
use crate::event_loop::{self, NextStep, RequestSource};
use crate::ledger::Ledger;
use crate::request::RequestWriter;
use crate::workload::{Action, RequestSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Creates all groups of the workload by pushing each of them once. Stops after `time_max`. Returns
/// the number of groups for which a push was sent.
pub fn preload(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    time_max: Duration,
    progress: impl Fn(u64),
) -> u32 {
    let groups: Arc<[u32]> = (0..plan.workload.n_groups()).collect();
    for_each_group(plan, ledger, Action::Push, groups, time_max, progress)
}

/// Connections of each thread of [`for_each_group`].
const CONNECTIONS_PER_THREAD: usize = 16;

/// Sends one request of the kind `action` for each of `groups`, over 16 connections per thread.
/// Stops after `time_max`. Calls `progress` with the number of requests sent so far, every 2 ms.
/// Returns the number of groups for which a request was sent.
pub fn for_each_group(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    time_max: Duration,
    progress: impl Fn(u64),
) -> u32 {
    let next_index = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + time_max;
    let threads: Vec<_> = (0..plan.threads)
        .map(|_| {
            let source = EachGroupThread {
                ledger: Arc::clone(ledger),
                action,
                groups: Arc::clone(&groups),
                next_index: Arc::clone(&next_index),
                deadline,
                requests: RequestWriter::new(&plan.workload, &plan.prefix, true),
                in_flight: [(0, 0); CONNECTIONS_PER_THREAD],
            };
            let address = plan.address;
            std::thread::spawn(move || {
                drop(event_loop::run(
                    address,
                    true,
                    CONNECTIONS_PER_THREAD,
                    source,
                ))
            })
        })
        .collect();
    let n_sent = || next_index.load(Relaxed).min(groups.len() as u64);
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(2));
        progress(n_sent());
    }
    threads
        .into_iter()
        .for_each(|thread| thread.join().expect("a generator panicked"));
    u32::try_from(n_sent()).expect("there are at most u32::MAX groups")
}

/// The requests of one thread of [`for_each_group`].
struct EachGroupThread {
    ledger: Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    /// Index in `groups` of the next group, shared by all threads.
    next_index: Arc<AtomicU64>,
    deadline: Instant,
    requests: RequestWriter,
    /// Group and sequence number of the request in flight, by connection.
    in_flight: [(u32, u64); CONNECTIONS_PER_THREAD],
}

impl RequestSource for EachGroupThread {
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
        if now >= self.deadline {
            return NextStep::Finished;
        }
        let index = usize::try_from(self.next_index.fetch_add(1, Relaxed))
            .expect("an index of at most the number of groups and connections");
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
        self.in_flight[connection] = (group, seq);
        NextStep::Send(self.requests.write(RequestSpec {
            action: self.action,
            group,
            seq,
        }))
    }

    fn on_answer(&mut self, connection: usize, status: u16, _now: Instant) {
        if self.action == Action::Push && status / 100 == 2 {
            let (group, seq) = self.in_flight[connection];
            self.ledger.record_answer(group, seq);
        }
    }

    fn on_failure(&mut self, _connection: usize, _why: String) {}
}
