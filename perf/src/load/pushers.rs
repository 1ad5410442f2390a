//! One thread of the generator: its connections, the groups that each of them pushes to, and the
//! times at which pushes are due.

use super::plan::{ANSWER_TIMEOUT, Arrivals, Plan};
use super::result::new_histogram;
use super::run_state::RunState;
use crate::event_loop::{self, NextStep, RequestSource};
use crate::process;
use crate::request::RequestWriter;
use crate::workload::{Action, RequestSpec};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one thread of the generator measured. The fields are those of
/// [`RunResult`](super::RunResult).
pub(super) struct ThreadResult {
    pub(super) latency: Histogram<u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
    pub(super) unexpected: BTreeMap<u16, u64>,
    pub(super) unanswered: BTreeMap<String, u64>,
    pub(super) lateness: Histogram<u64>,
    pub(super) n_unsent: u64,
    pub(super) busy: f64,
}

impl ThreadResult {
    fn new() -> Self {
        Self {
            latency: new_histogram(),
            statuses: BTreeMap::new(),
            unexpected: BTreeMap::new(),
            unanswered: BTreeMap::new(),
            lateness: new_histogram(),
            n_unsent: 0,
            busy: 0.0,
        }
    }
}

/// Saturates at `u64::MAX`: about 584 years.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs the connections of thread number `thread` to the end of the run. Connections are dealt out
/// to threads in turn.
pub(super) fn run_pushers(run: &Arc<RunState>, thread: u32) -> ThreadResult {
    let plan = &run.plan;
    let connections = (thread..plan.connections).step_by(plan.threads);
    let pushers: Vec<Pusher> = connections.filter_map(|n| Pusher::new(plan, n)).collect();
    let n_pushers = pushers.len();
    let requests = RequestWriter::new(&plan.workload, &plan.prefix, plan.keep_alive);
    let pusher_thread = PusherThread {
        run: Arc::clone(run),
        requests,
        pushers,
        result: ThreadResult::new(),
        n_200: 0,
    };
    let (began, busy_before) = (Instant::now(), process::thread_busy_time());
    let mut result = event_loop::run(
        plan.address,
        plan.keep_alive,
        ANSWER_TIMEOUT,
        n_pushers,
        pusher_thread,
    )
    .finish();
    let busy = busy_before
        .zip(process::thread_busy_time())
        .map_or(Duration::ZERO, |(before, after)| {
            after.saturating_sub(before)
        });
    result.busy = busy.as_secs_f64() / began.elapsed().as_secs_f64();
    result
}

/// The times at which the pushes of one connection are due (open loop).
struct Schedule {
    random: fastrand::Rng,
    arrivals: Arrivals,
    connections: f64,
    /// When the next push is due, in seconds since the run began.
    next_due_seconds: f64,
}

impl Schedule {
    fn new(plan: &Plan, n: u32) -> Self {
        let mut this = Self {
            random: fastrand::Rng::with_seed(plan.seed ^ u64::from(n)),
            arrivals: plan.arrivals,
            connections: f64::from(plan.connections),
            next_due_seconds: 0.0,
        };
        // Connections start one after the other, so that pushes are spread evenly from the
        // beginning.
        if let Arrivals::Open {
            per_second,
            poisson,
        } = plan.arrivals
        {
            this.next_due_seconds = if poisson {
                this.gap_seconds()
            } else {
                f64::from(n) / per_second
            };
        }
        this
    }

    /// Seconds from one push of this connection to the next. With `poisson` the gaps are
    /// exponentially distributed around the same mean.
    fn gap_seconds(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Closed => 0.0,
            Arrivals::Open {
                per_second,
                poisson: false,
            } => self.connections / per_second,
            Arrivals::Open {
                per_second,
                poisson: true,
            } => -(1.0 - self.random.f64()).ln() * self.connections / per_second,
        }
    }

    /// Returns when the next push is due, and advances to the push after it.
    fn take_next(&mut self, began: Instant) -> Instant {
        let due = began + Duration::from_secs_f64(self.next_due_seconds);
        self.next_due_seconds += self.gap_seconds();
        due
    }
}

/// One connection: its groups, its schedule, and its current push.
struct Pusher {
    groups: GroupRotation,
    schedule: Schedule,
    /// Number of requests sent.
    n_requests: u64,
    /// Open loop: the next push, once the connection is free for it.
    pending: Option<PendingPush>,
    /// The group of the last accepted push.
    last_group: u32,
    /// The request in flight.
    request: RequestSpec,
    /// The moment from which the latency of that request counts.
    latency_from: Instant,
}

/// A push of an open loop that is not sent yet.
#[derive(Clone, Copy)]
struct PendingPush {
    due: Instant,
    /// Since when the connection has been free.
    free_since: Instant,
}

impl Pusher {
    /// Connection number `n` of the run; `None` if there are fewer groups than connections, so that
    /// no group is left for this one.
    fn new(plan: &Plan, n: u32) -> Option<Self> {
        Some(Self {
            groups: GroupRotation::of(plan, n)?,
            schedule: Schedule::new(plan, n),
            n_requests: 0,
            pending: None,
            last_group: 0,
            request: RequestSpec {
                action: Action::Push,
                group: 0,
                seq: 0,
            },
            latency_from: Instant::now(),
        })
    }
}

/// All connections of one thread, as the source of requests of its event loop.
struct PusherThread {
    run: Arc<RunState>,
    requests: RequestWriter,
    pushers: Vec<Pusher>,
    result: ThreadResult,
    /// Number of answers with status 200, counted apart because nearly all answers have it.
    n_200: u64,
}

impl PusherThread {
    /// Completes the result after the end of the event loop: counts the pushes that were due and
    /// not sent.
    fn finish(mut self) -> ThreadResult {
        if self.n_200 > 0 {
            self.result.statuses.insert(200, self.n_200);
        }
        let plan = &self.run.plan;
        if plan.arrivals != Arrivals::Closed && plan.count.is_none() {
            for pusher in &mut self.pushers {
                let mut due = match pusher.pending {
                    Some(pending) => pending.due,
                    None => pusher.schedule.take_next(self.run.began),
                };
                while due < self.run.ends {
                    self.result.n_unsent += 1;
                    due = pusher.schedule.take_next(self.run.began);
                }
            }
        }
        self.result
    }
}

impl RequestSource for PusherThread {
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
        let (run, pusher) = (&self.run, &mut self.pushers[connection]);
        pusher.latency_from = now;
        if run.plan.arrivals != Arrivals::Closed {
            let PendingPush { due, free_since } =
                *pusher.pending.get_or_insert_with(|| PendingPush {
                    due: pusher.schedule.take_next(run.began),
                    free_since: now,
                });
            if due >= run.ends || now >= run.ends {
                return NextStep::Finished;
            }
            if due > now {
                return NextStep::WaitUntil(due);
            }
            // Lateness counts from when the connection was free. It measures delays of the
            // generator alone; delays of the server's answers belong to the latency.
            self.result
                .lateness
                .saturating_record(nanoseconds(now - due.max(free_since)));
            pusher.latency_from = due;
        }
        if !run.take_permit(now) {
            return NextStep::Finished;
        }
        pusher.pending = None;
        let action = run.plan.workload.action(pusher.n_requests);
        let group = if action == Action::Delete {
            pusher.last_group
        } else {
            pusher.groups.take_next()
        };
        let seq = if action == Action::Push {
            run.ledger.begin_push(group)
        } else {
            pusher.n_requests
        };
        if action == Action::Delete {
            // Recorded before sending: from here on a scrape may rightly miss the group.
            run.ledger.record_delete(group);
        }
        pusher.n_requests += 1;
        pusher.request = RequestSpec { action, group, seq };
        NextStep::Send(self.requests.write(pusher.request))
    }

    fn on_answer(&mut self, connection: usize, status: u16, now: Instant) {
        let pusher = &mut self.pushers[connection];
        let RequestSpec { action, group, seq } = pusher.request;
        self.result
            .latency
            .saturating_record(nanoseconds(now - pusher.latency_from));
        match status {
            200 => self.n_200 += 1,
            _ => *self.result.statuses.entry(status).or_default() += 1,
        }
        if !action.expects(status) {
            *self.result.unexpected.entry(status).or_default() += 1;
        }
        if action == Action::Push && status / 100 == 2 {
            self.run.ledger.record_answer(group, seq);
            pusher.last_group = group;
        }
    }

    fn on_failure(&mut self, _connection: usize, why: String) {
        *self.result.unanswered.entry(why).or_default() += 1;
    }
}

/// The groups of one connection, in turn. Each group is written by one connection only, unless the
/// workload shares groups: then every connection picks groups at random from all of them.
struct GroupRotation {
    first: u32,
    step: u32,
    n_groups: u32,
    next: u32,
    /// Only if groups are shared.
    random: Option<fastrand::Rng>,
}

impl GroupRotation {
    fn of(plan: &Plan, n: u32) -> Option<Self> {
        let n_groups = plan.workload.n_groups();
        if plan.workload.has_shared_groups() {
            let random = fastrand::Rng::with_seed(plan.seed ^ u64::from(n));
            return Some(Self {
                first: 0,
                step: 1,
                n_groups,
                next: 0,
                random: Some(random),
            });
        }
        // With more connections than groups, the surplus connections have nothing to do.
        (n < n_groups).then_some(Self {
            first: n,
            step: plan.connections,
            n_groups,
            next: n,
            random: None,
        })
    }

    fn take_next(&mut self) -> u32 {
        if let Some(random) = &mut self.random {
            return random.u32(..self.n_groups);
        }
        let group = self.next;
        self.next += self.step;
        if self.next >= self.n_groups {
            self.next = self.first;
        }
        group
    }
}
