//! Threads of connections, each with its groups.

use super::plan::{Arrivals, Plan};
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

/// What one thread of the generator saw.
pub(super) struct ThreadResult {
    pub(super) latency: Histogram<u64>,
    pub(super) statuses: BTreeMap<u16, u64>,
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
            unanswered: BTreeMap::new(),
            lateness: new_histogram(),
            n_unsent: 0,
            busy: 0.0,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(super) fn run_pushers(run: &Arc<RunState>, thread: u32) -> ThreadResult {
    let plan = &run.plan;
    let mine = (thread..plan.connections).step_by(plan.threads);
    let pushers: Vec<Pusher> = mine.filter_map(|n| Pusher::new(plan, n)).collect();
    let n_pushers = pushers.len();
    let requests = RequestWriter::new(&plan.workload, &plan.prefix, plan.keep_alive);
    let thread_source = PusherThread {
        run: Arc::clone(run),
        requests,
        pushers,
        seen: ThreadResult::new(),
        n_200: 0,
    };
    let (began, busy_before) = (Instant::now(), process::thread_busy_time());
    let mut seen =
        event_loop::run(plan.address, plan.keep_alive, n_pushers, thread_source).finish();
    let busy = busy_before
        .zip(process::thread_busy_time())
        .map_or(Duration::ZERO, |(before, after)| {
            after.saturating_sub(before)
        });
    seen.busy = busy.as_secs_f64() / began.elapsed().as_secs_f64();
    seen
}

/// When the pushes of a connection are due.
struct Schedule {
    random: fastrand::Rng,
    arrivals: Arrivals,
    connections: f64,
    /// Seconds since the run began.
    next: f64,
}

impl Schedule {
    fn new(plan: &Plan, n: u32) -> Self {
        let mut this = Self {
            random: fastrand::Rng::with_seed(plan.seed ^ u64::from(n)),
            arrivals: plan.arrivals,
            connections: f64::from(plan.connections),
            next: 0.0,
        };
        // Connections begin one after the other, not all at once.
        if let Arrivals::Open {
            per_second,
            poisson,
        } = plan.arrivals
        {
            this.next = if poisson {
                this.gap()
            } else {
                f64::from(n) / per_second
            };
        }
        this
    }

    fn gap(&mut self) -> f64 {
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

    /// The next push is due then.
    fn take(&mut self, began: Instant) -> Instant {
        let due = began + Duration::from_secs_f64(self.next);
        self.next += self.gap();
        due
    }
}

/// What a connection pushes.
struct Pusher {
    groups: GroupRotation,
    schedule: Schedule,
    /// Its next request.
    n: u64,
    /// When that is due, and since when the connection has been free for it (open loop).
    waits: Option<(Instant, Instant)>,
    /// The group that it last pushed.
    last: u32,
    what: RequestSpec,
    due: Instant,
}

impl Pusher {
    /// None if there is no group for this connection.
    fn new(plan: &Plan, n: u32) -> Option<Self> {
        Some(Self {
            groups: GroupRotation::of(plan, n)?,
            schedule: Schedule::new(plan, n),
            n: 0,
            waits: None,
            last: 0,
            what: RequestSpec {
                action: Action::Push,
                group: 0,
                seq: 0,
            },
            due: Instant::now(),
        })
    }
}

/// The pushers of one thread.
struct PusherThread {
    run: Arc<RunState>,
    requests: RequestWriter,
    pushers: Vec<Pusher>,
    seen: ThreadResult,
    /// Answers of the status that nearly all have.
    n_200: u64,
}

impl PusherThread {
    fn finish(mut self) -> ThreadResult {
        if self.n_200 > 0 {
            self.seen.statuses.insert(200, self.n_200);
        }
        let plan = &self.run.plan;
        if plan.arrivals != Arrivals::Closed && plan.count.is_none() {
            for pusher in &mut self.pushers {
                let mut due = pusher
                    .waits
                    .map_or_else(|| pusher.schedule.take(self.run.began), |(due, _)| due);
                while due < self.run.ends {
                    self.seen.n_unsent += 1;
                    due = pusher.schedule.take(self.run.began);
                }
            }
        }
        self.seen
    }
}

impl RequestSource for PusherThread {
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
        let (run, pusher) = (&self.run, &mut self.pushers[connection]);
        pusher.due = now;
        if run.plan.arrivals != Arrivals::Closed {
            let (due, free_at) = *pusher
                .waits
                .get_or_insert_with(|| (pusher.schedule.take(run.began), now));
            if due >= run.ends || now >= run.ends {
                return NextStep::Finished;
            }
            if due > now {
                return NextStep::WaitUntil(due);
            }
            // Only what the generator's own timers and cores cost; what the server's answers cost
            // is latency.
            self.seen
                .lateness
                .saturating_record(nanoseconds(now - due.max(free_at)));
            pusher.due = due;
        }
        if run.is_over(now) {
            return NextStep::Finished;
        }
        pusher.waits = None;
        let action = run.plan.workload.action(pusher.n);
        let group = if action == Action::Delete {
            pusher.last
        } else {
            pusher.groups.next()
        };
        let seq = if action == Action::Push {
            run.ledger.begin_push(group)
        } else {
            pusher.n
        };
        if action == Action::Delete {
            // From here on it may be gone.
            run.ledger.record_delete(group);
        }
        pusher.n += 1;
        pusher.what = RequestSpec { action, group, seq };
        NextStep::Send(self.requests.write(pusher.what))
    }

    fn on_answer(&mut self, connection: usize, status: u16, now: Instant) {
        let pusher = &mut self.pushers[connection];
        let RequestSpec { action, group, seq } = pusher.what;
        self.seen
            .latency
            .saturating_record(nanoseconds(now - pusher.due));
        match status {
            200 => self.n_200 += 1,
            _ => *self.seen.statuses.entry(status).or_default() += 1,
        }
        if action == Action::Push && status / 100 == 2 {
            self.run.ledger.record_answer(group, seq);
            pusher.last = group;
        }
    }

    fn on_failure(&mut self, _connection: usize, why: String) {
        *self.seen.unanswered.entry(why).or_default() += 1;
    }
}

/// The groups of a connection, in turn: a group is written by one connection only, unless all write
/// to all.
struct GroupRotation {
    first: u32,
    step: u32,
    n: u32,
    at: u32,
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
                n: n_groups,
                at: 0,
                random: Some(random),
            });
        }
        // More connections than groups: the others have nothing to do.
        (n < n_groups).then_some(Self {
            first: n,
            step: plan.connections,
            n: n_groups,
            at: n,
            random: None,
        })
    }

    fn next(&mut self) -> u32 {
        if let Some(random) = &mut self.random {
            return random.u32(..self.n);
        }
        let group = self.at;
        self.at += self.step;
        if self.at >= self.n {
            self.at = self.first;
        }
        group
    }
}
