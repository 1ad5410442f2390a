//! Pushes or deletes every group once, as fast as possible: preloading, and steps of scenarios.

use super::plan::{ANSWER_TIMEOUT, Plan};
use crate::blocking_client::BlockingClient;
use crate::event_loop::{self, NextStep, RequestSource};
use crate::ledger::Ledger;
use crate::request::{RequestWriter, bulk_path, clash_path};
use crate::workload::{Action, RequestSpec, WorkloadKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Creates all groups of the workload by pushing each of them once. Stops after `time_max`. Returns
/// the number of groups whose push was accepted.
pub fn preload(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    time_max: Duration,
    progress: impl Fn(u64),
) -> u32 {
    let groups: Arc<[u32]> = (0..plan.workload.n_groups()).collect();
    for_each_group(plan, ledger, Action::Push, groups, time_max, progress).n_accepted
}

/// Deletes these groups, and what else a run of the plan may have left on the server: the groups of
/// the clients that push large bodies, and those of pushes that had to be refused. Stops after
/// `time_max`. Returns how many of `groups` were deleted.
pub fn delete_groups(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    groups: Arc<[u32]>,
    time_max: Duration,
) -> u32 {
    let deadline = Instant::now() + time_max;
    let mut paths: Vec<String> = (0..plan.bulk.map_or(0, |bulk| bulk.clients))
        .map(|client| bulk_path(&plan.prefix, client))
        .collect();
    if plan.workload.kind == WorkloadKind::Clash {
        paths.extend(groups.iter().map(|&group| clash_path(&plan.prefix, group)));
    }
    let mut client = BlockingClient::new(plan.address);
    for path in paths {
        let request = format!("DELETE {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: 0\r\n\r\n");
        if Instant::now() >= deadline || client.exchange(request.as_bytes()).is_err() {
            break;
        }
    }
    let left = deadline.saturating_duration_since(Instant::now());
    for_each_group(plan, ledger, Action::Delete, groups, left, |_| ()).n_accepted
}

/// What [`for_each_group`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EachGroupTotals {
    /// Number of groups for which a request was sent.
    pub n_sent: u32,
    /// Number of requests that were answered with a 2xx status.
    pub n_accepted: u32,
}

/// Connections of each thread of [`for_each_group`].
const CONNECTIONS_PER_THREAD: usize = 16;

/// Sends one request of the kind `action` for each of `groups`, over 16 connections per thread.
/// Stops after `time_max`. Calls `progress` with the number of requests sent so far, every 2 ms.
pub fn for_each_group(
    plan: &Plan,
    ledger: &Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    time_max: Duration,
    progress: impl Fn(u64),
) -> EachGroupTotals {
    let next_index = Arc::new(AtomicU64::new(0));
    let n_accepted = Arc::new(AtomicU32::new(0));
    let deadline = Instant::now() + time_max;
    let threads: Vec<_> = (0..plan.threads)
        .map(|_| {
            let source = EachGroupThread {
                ledger: Arc::clone(ledger),
                action,
                groups: Arc::clone(&groups),
                next_index: Arc::clone(&next_index),
                n_accepted: Arc::clone(&n_accepted),
                deadline,
                requests: RequestWriter::new(&plan.workload, &plan.prefix, true),
                in_flight: [(0, 0); CONNECTIONS_PER_THREAD],
            };
            let address = plan.address;
            std::thread::spawn(move || {
                drop(event_loop::run(
                    address,
                    true,
                    ANSWER_TIMEOUT,
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
    EachGroupTotals {
        n_sent: u32::try_from(n_sent()).expect("there are at most u32::MAX groups"),
        n_accepted: n_accepted.load(Relaxed),
    }
}

/// The requests of one thread of [`for_each_group`].
struct EachGroupThread {
    ledger: Arc<Ledger>,
    action: Action,
    groups: Arc<[u32]>,
    /// Index in `groups` of the next group, shared by all threads.
    next_index: Arc<AtomicU64>,
    /// Number of requests answered with a 2xx status, shared by all threads.
    n_accepted: Arc<AtomicU32>,
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
        if status / 100 != 2 {
            return;
        }
        // Relaxed: read after the threads have been joined.
        self.n_accepted.fetch_add(1, Relaxed);
        if self.action == Action::Push {
            let (group, seq) = self.in_flight[connection];
            self.ledger.record_answer(group, seq);
        }
    }

    fn on_failure(&mut self, _connection: usize, _why: String) {}
}
