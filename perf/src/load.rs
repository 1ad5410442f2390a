//! The generator: threads of connections, each with its groups, and a scraper beside them.
//!
//! Closed loop: each connection sends its next push when the last one is answered. Open loop:
//! pushes have a time when they are *due*, and latency counts from then, also if the connection was
//! not free: a stall of the server shows in full. A generator that cannot keep its own schedule
//! says so.

use crate::client::Connection;
use crate::event_loop::{self, Next, Work};
use crate::ledger::{Ledger, Lie};
use crate::process;
use crate::workload::{self, Action, Requests, What, Workload};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How pushes arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arrivals {
    /// As fast as they are answered.
    Closed,
    /// So many a second over all connections; at random moments if `poisson`.
    Open { per_second: f64, poisson: bool },
}

/// A run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// The path in front of `/job/…`.
    pub prefix: String,
    pub workload: Workload,
    pub arrivals: Arrivals,
    pub connections: u32,
    pub threads: usize,
    pub keep_alive: bool,
    pub duration: Duration,
    /// Ends earlier than that after so many pushes.
    pub count: Option<u64>,
    /// Clients beside the others that push large bodies back to back.
    pub bulk: Option<Bulk>,
    pub seed: u64,
    /// Scrapes beside the pushes.
    pub scrapes: Option<Scrapes>,
    /// Whether scrapes can be compared with what was pushed.
    pub is_checked: bool,
}

/// Clients that push large bodies.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Bulk {
    pub clients: u32,
    pub series: u32,
}

/// What those did.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BulkDone {
    /// Bodies that were accepted.
    pub accepted: u64,
    /// Bodies that were not.
    pub failed: u64,
    /// Bytes of the accepted ones.
    pub bytes: u64,
    /// Bytes a second over the time from the first to the last answer.
    pub bytes_per_second: f64,
}

/// A scraper beside the pushes.
#[derive(Clone, Debug)]
pub struct Scrapes {
    pub path: String,
    pub interval: Duration,
    pub gzip: bool,
}

/// What Prometheus 3 says that it takes.
pub const ACCEPT: &str = "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1\r\nUser-Agent: Prometheus/3.5\r\n";

/// One scrape.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Scraped {
    /// Seconds to the first byte.
    pub first_byte_seconds: f64,
    /// Seconds to the last one.
    pub last_byte_seconds: f64,
    /// Bytes as they were sent.
    pub bytes: usize,
}

/// What a run showed.
pub struct Measured {
    /// Nanoseconds from when a push was due (closed loop: sent) until it was answered.
    pub latency: Histogram<u64>,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// Pushes that were not answered, by kind of error.
    pub lost: BTreeMap<String, u64>,
    pub elapsed: Duration,
    pub scrapes: Vec<Scraped>,
    /// Of the clients that push large bodies.
    pub bulk: Option<BulkDone>,
    /// The first of each kind.
    pub lies: Vec<Lie>,
    /// Nanoseconds that the generator was behind its own schedule with each push (open loop),
    /// beyond what answers took.
    pub late: Histogram<u64>,
    /// Pushes that were due (open loop), and for which no connection was free until the end.
    pub n_unsent: u64,
    /// Share of the time for which the busiest thread of the generator ran or waited for a core.
    pub busy: f64,
}

impl Measured {
    /// Answers of the expected kind, for a second.
    pub fn per_second(&self) -> f64 {
        self.n_answered() as f64 / self.elapsed.as_secs_f64()
    }

    /// All answers.
    pub fn n_answered(&self) -> u64 {
        self.statuses.values().sum()
    }
}

/// What one thread of the generator saw.
struct PerThread {
    latency: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    lost: BTreeMap<String, u64>,
    late: Histogram<u64>,
    n_unsent: u64,
    busy: f64,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("bounds that fit")
}

impl PerThread {
    fn new() -> Self {
        Self {
            latency: histogram(),
            statuses: BTreeMap::new(),
            lost: BTreeMap::new(),
            late: histogram(),
            n_unsent: 0,
            busy: 0.0,
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Shared by all threads of a run.
struct Run {
    plan: Plan,
    ledger: Arc<Ledger>,
    is_over: AtomicBool,
    n_begun: AtomicU64,
    began: Instant,
    ends: Instant,
}

impl Run {
    /// Whether nothing is to be sent any more.
    fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
            || self
                .plan
                .count
                .is_some_and(|count| self.n_begun.fetch_add(1, Relaxed) >= count)
    }
}

/// Runs a plan to its end.
pub fn run(plan: Plan, ledger: &Arc<Ledger>) -> Measured {
    let began = Instant::now();
    let run = Arc::new(Run {
        ledger: Arc::clone(ledger),
        is_over: AtomicBool::new(false),
        n_begun: AtomicU64::new(0),
        began,
        ends: began + plan.duration,
        plan,
    });
    let threads: Vec<_> = (0..run.plan.threads)
        .map(|thread| {
            let run = Arc::clone(&run);
            std::thread::spawn(move || generate(&run, thread as u32))
        })
        .collect();
    let scraper = run.plan.scrapes.clone().map(|scrapes| {
        let run = Arc::clone(&run);
        std::thread::spawn(move || scrape_beside(&run, &scrapes))
    });
    let bulk: Vec<_> = (0..run.plan.bulk.map_or(0, |bulk| bulk.clients))
        .map(|client| {
            let run = Arc::clone(&run);
            std::thread::spawn(move || push_bulk(&run, client))
        })
        .collect();
    // A thread ends early where there is a number of pushes to make.
    let tick = Duration::from_millis(if run.plan.count.is_some() { 5 } else { 50 });
    while Instant::now() < run.ends && threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(run.ends.saturating_duration_since(Instant::now()).min(tick));
    }
    run.is_over.store(true, Relaxed);
    let elapsed = run.began.elapsed();
    let mut measured = Measured {
        latency: histogram(),
        statuses: BTreeMap::new(),
        lost: BTreeMap::new(),
        elapsed,
        scrapes: Vec::new(),
        bulk: None,
        lies: Vec::new(),
        late: histogram(),
        n_unsent: 0,
        busy: 0.0,
    };
    for thread in threads {
        let of_thread = thread.join().expect("a generator panicked");
        measured
            .latency
            .add(&of_thread.latency)
            .expect("the same bounds");
        measured.late.add(&of_thread.late).expect("the same bounds");
        of_thread
            .statuses
            .into_iter()
            .for_each(|(status, n)| *measured.statuses.entry(status).or_default() += n);
        of_thread
            .lost
            .into_iter()
            .for_each(|(kind, n)| *measured.lost.entry(kind).or_default() += n);
        measured.n_unsent += of_thread.n_unsent;
        measured.busy = measured.busy.max(of_thread.busy);
    }
    for client in bulk {
        let one = client.join().expect("a bulk client panicked");
        let all = measured.bulk.get_or_insert_default();
        (all.accepted, all.failed, all.bytes) = (
            all.accepted + one.accepted,
            all.failed + one.failed,
            all.bytes + one.bytes,
        );
        all.bytes_per_second += one.bytes_per_second;
    }
    if let Some(scraper) = scraper {
        (measured.scrapes, measured.lies) = scraper.join().expect("the scraper panicked");
    }
    measured
}

fn generate(run: &Arc<Run>, thread: u32) -> PerThread {
    let plan = &run.plan;
    let mine = (thread..plan.connections).step_by(plan.threads);
    let pushers: Vec<Pusher> = mine.filter_map(|n| Pusher::new(plan, n)).collect();
    let n_pushers = pushers.len();
    let requests = Requests::new(&plan.workload, &plan.prefix, plan.keep_alive);
    let fleet = Fleet {
        run: Arc::clone(run),
        requests,
        pushers,
        seen: PerThread::new(),
        n_200: 0,
    };
    let (began, busy_before) = (Instant::now(), process::busy_time());
    let mut seen = event_loop::run(plan.address, plan.keep_alive, n_pushers, fleet).finish();
    let busy = busy_before
        .zip(process::busy_time())
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
    groups: Groups,
    schedule: Schedule,
    /// Its next request.
    n: u64,
    /// When that is due, and since when the connection has been free for it (open loop).
    waits: Option<(Instant, Instant)>,
    /// The group that it last pushed.
    last: u32,
    what: What,
    due: Instant,
}

impl Pusher {
    /// None if there is no group for this connection.
    fn new(plan: &Plan, n: u32) -> Option<Self> {
        Some(Self {
            groups: Groups::of(plan, n)?,
            schedule: Schedule::new(plan, n),
            n: 0,
            waits: None,
            last: 0,
            what: What {
                action: Action::Push,
                group: 0,
                seq: 0,
            },
            due: Instant::now(),
        })
    }
}

/// The pushers of one thread.
struct Fleet {
    run: Arc<Run>,
    requests: Requests,
    pushers: Vec<Pusher>,
    seen: PerThread,
    /// Answers of the status that nearly all have.
    n_200: u64,
}

impl Fleet {
    fn finish(mut self) -> PerThread {
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

impl Work for Fleet {
    fn next(&mut self, connection: usize, now: Instant) -> Next<'_> {
        let (run, pusher) = (&self.run, &mut self.pushers[connection]);
        pusher.due = now;
        if run.plan.arrivals != Arrivals::Closed {
            let (due, free_at) = *pusher
                .waits
                .get_or_insert_with(|| (pusher.schedule.take(run.began), now));
            if due >= run.ends || now >= run.ends {
                return Next::Nothing;
            }
            if due > now {
                return Next::At(due);
            }
            // Only what the generator's own timers and cores cost; what the server's answers cost
            // is latency.
            self.seen
                .late
                .saturating_record(nanoseconds(now - due.max(free_at)));
            pusher.due = due;
        }
        if run.is_over(now) {
            return Next::Nothing;
        }
        pusher.waits = None;
        let action = run.plan.workload.action(pusher.n);
        let group = if action == Action::Delete {
            pusher.last
        } else {
            pusher.groups.next()
        };
        let seq = if action == Action::Push {
            run.ledger.start(group)
        } else {
            pusher.n
        };
        if action == Action::Delete {
            // From here on it may be gone.
            run.ledger.delete(group);
        }
        pusher.n += 1;
        pusher.what = What { action, group, seq };
        Next::Send(self.requests.write(pusher.what))
    }

    fn answered(&mut self, connection: usize, status: u16, now: Instant) {
        let pusher = &mut self.pushers[connection];
        let What { action, group, seq } = pusher.what;
        self.seen
            .latency
            .saturating_record(nanoseconds(now - pusher.due));
        match status {
            200 => self.n_200 += 1,
            _ => *self.seen.statuses.entry(status).or_default() += 1,
        }
        if action == Action::Push && status / 100 == 2 {
            self.run.ledger.answer(group, seq);
            pusher.last = group;
        }
    }

    fn lost(&mut self, _connection: usize, why: String) {
        *self.seen.lost.entry(why).or_default() += 1;
    }
}

/// The groups of a connection, in turn: a group is written by one connection only, unless all write
/// to all.
struct Groups {
    first: u32,
    step: u32,
    n: u32,
    at: u32,
    random: Option<fastrand::Rng>,
}

impl Groups {
    fn of(plan: &Plan, n: u32) -> Option<Self> {
        let n_groups = plan.workload.n_groups();
        if plan.workload.is_shared() {
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

/// How far clients of large bodies step back for other threads: a tenth of their share.
const NICE: i32 = 10;

/// Pushes two bodies in turn, made beforehand, until the run is over.
fn push_bulk(run: &Run, client: u32) -> BulkDone {
    let bulk = run.plan.bulk.expect("there are bulk clients");
    // It stands for another machine, and must not take the core from those whose latency is
    // measured. Of this thread alone: the harness runs on Linux.
    let _ = rustix::process::nice(NICE);
    let requests = [1, 2].map(|seq| {
        let body = workload::bulk_body(bulk.series, seq);
        let mut request = format!(
            "PUT {}/job/bulk/instance/client-{client} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n",
            run.plan.prefix,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        (request, body.len())
    });
    let mut connection = Connection::new(run.plan.address);
    let (mut done, began) = (BulkDone::default(), Instant::now());
    for (request, len) in requests.iter().cycle() {
        if run.is_over.load(Relaxed) {
            break;
        }
        match connection.exchange(request) {
            Ok(200..=299) => {
                (done.accepted, done.bytes) = (done.accepted + 1, done.bytes + *len as u64)
            }
            _ => done.failed += 1,
        }
    }
    done.bytes_per_second = done.bytes as f64 / began.elapsed().as_secs_f64();
    done
}

/// Lies that are kept of a run.
const LIES_MAX: usize = 10;

fn scrape_beside(run: &Arc<Run>, scrapes: &Scrapes) -> (Vec<Scraped>, Vec<Lie>) {
    let (mut all, mut lies) = (Vec::new(), Vec::new());
    let mut connection = Connection::new(run.plan.address);
    let mut next = run.began + scrapes.interval / 2;
    while !run.is_over.load(Relaxed) {
        let wait = next.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.min(Duration::from_millis(10)));
            continue;
        }
        next += scrapes.interval;
        match scrape(
            &mut connection,
            scrapes,
            &run.ledger,
            run.plan.is_checked,
            false,
        ) {
            Ok((scraped, found)) => {
                all.push(scraped);
                lies.extend(found.into_iter().take(LIES_MAX - lies.len().min(LIES_MAX)));
            }
            Err(error) => lies.push(Lie::Broken(error.to_string())),
        }
    }
    (all, lies)
}

fn scrape(
    connection: &mut Connection,
    scrapes: &Scrapes,
    ledger: &Ledger,
    is_checked: bool,
    is_quiet: bool,
) -> std::io::Result<(Scraped, Vec<Lie>)> {
    let before = ledger.before();
    let headers = format!(
        "{ACCEPT}{}",
        if scrapes.gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        }
    );
    let began = Instant::now();
    let (body, first_byte) = connection.get(&scrapes.path, &headers)?;
    let scraped = Scraped {
        first_byte_seconds: first_byte.as_secs_f64(),
        last_byte_seconds: began.elapsed().as_secs_f64(),
        bytes: body.len(),
    };
    if !is_checked {
        return Ok((scraped, Vec::new()));
    }
    let plain = if body.starts_with(&[0x1f, 0x8b]) {
        let mut plain = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(body.as_slice()),
            &mut plain,
        )?;
        plain
    } else {
        body
    };
    Ok((scraped, ledger.check(&plain, &before, is_quiet)))
}

/// One scrape after a run, compared with everything that was answered.
///
/// # Errors
///
/// It is not answered.
pub fn final_scrape(
    address: SocketAddr,
    path: &str,
    gzip: bool,
    ledger: &Ledger,
) -> std::io::Result<(Scraped, Vec<Lie>)> {
    let scrapes = Scrapes {
        path: path.to_owned(),
        interval: Duration::ZERO,
        gzip,
    };
    scrape(&mut Connection::new(address), &scrapes, ledger, true, true)
}

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

#[cfg(test)]
mod tests {
    //! Servers that lie in one way each: the harness has to notice.

    use super::*;
    use std::collections::HashMap;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        /// Answers 200 to every so many-th push and forgets it.
        Drops(u64),
        /// Goes on showing the first push of one group.
        Stale,
        /// Takes only the first half of a push's lines.
        Tears,
        /// Answers 200 and stores nothing.
        Forgets,
        /// Does nothing for a while, once.
        Stalls(Duration),
    }

    #[derive(Default)]
    struct Stored {
        n_pushes: u64,
        groups: HashMap<String, Vec<String>>,
    }

    impl Stored {
        fn push(&mut self, instance: &str, body: &str, fault: Fault) {
            self.n_pushes += 1;
            let lines = body.lines().filter(|line| !line.starts_with('#'));
            let labels = format!("instance=\"{instance}\",job=\"fleet\"");
            let mut lines: Vec<String> = lines
                .map(|line| match line.split_once('{') {
                    Some((name, rest)) => format!("{name}{{{labels},{rest}"),
                    None => line.replacen(' ', &format!("{{{labels}}} "), 1),
                })
                .collect();
            match fault {
                Fault::Forgets => return,
                Fault::Drops(every) if self.n_pushes.is_multiple_of(every) => return,
                Fault::Stale
                    if instance == "node-0000003" && self.groups.contains_key(instance) =>
                {
                    return;
                }
                Fault::Tears if instance == "node-0000003" => {
                    let old = self.groups.get(instance).cloned().unwrap_or_default();
                    let half = lines.len() / 2;
                    lines.truncate(half);
                    lines.extend(old.into_iter().skip(half));
                }
                _ => {}
            }
            self.groups.insert(instance.to_owned(), lines);
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    }

    /// A gateway of a few lines, with a fault.
    fn serve(fault: Fault) -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let (stored, began) = (Arc::new(Mutex::new(Stored::default())), Instant::now());
                let has_stalled = Arc::new(AtomicBool::new(false));
                while let Ok((mut stream, _)) = listener.accept().await {
                    let (stored, has_stalled) = (Arc::clone(&stored), Arc::clone(&has_stalled));
                    tokio::spawn(async move {
                        let mut buffer = Vec::new();
                        loop {
                            let Some(head) =
                                buffer.windows(4).position(|window| window == b"\r\n\r\n")
                            else {
                                if !matches!(stream.read_buf(&mut buffer).await, Ok(n) if n > 0) {
                                    return;
                                }
                                continue;
                            };
                            let text = String::from_utf8(buffer[..head].to_vec()).unwrap();
                            let len = text
                                .split("Content-Length: ")
                                .nth(1)
                                .map_or(0, |rest| rest.lines().next().unwrap().parse().unwrap());
                            while buffer.len() < head + 4 + len {
                                stream.read_buf(&mut buffer).await.unwrap();
                            }
                            let body = String::from_utf8(buffer[head + 4..head + 4 + len].to_vec())
                                .unwrap();
                            buffer.drain(..head + 4 + len);
                            if let Fault::Stalls(time) = fault
                                && began.elapsed() > Duration::from_millis(500)
                                && !has_stalled.swap(true, Relaxed)
                            {
                                // The only thread of the server: nobody is answered.
                                std::thread::sleep(time);
                            }
                            let path = text.split(' ').nth(1).unwrap();
                            let answer = match path.rsplit_once('/') {
                                Some((_, instance)) if text.starts_with("PUT") => {
                                    stored.lock().unwrap().push(instance, &body, fault);
                                    String::new()
                                }
                                _ => stored
                                    .lock()
                                    .unwrap()
                                    .groups
                                    .values()
                                    .flatten()
                                    .map(|line| format!("{line}\n"))
                                    .collect(),
                            };
                            let answer = format!(
                                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}",
                                answer.len()
                            );
                            if stream.write_all(answer.as_bytes()).await.is_err() {
                                return;
                            }
                        }
                    });
                }
            });
        });
        address
    }

    fn plan(address: SocketAddr, arrivals: Arrivals) -> Plan {
        Plan {
            address,
            prefix: "/metrics".to_owned(),
            workload: Workload::fleet(40),
            arrivals,
            connections: 8,
            threads: 1,
            keep_alive: true,
            duration: Duration::from_millis(1500),
            count: None,
            bulk: None,
            seed: 1,
            scrapes: Some(Scrapes {
                path: "/metrics".to_owned(),
                interval: Duration::from_millis(100),
                gzip: false,
            }),
            is_checked: true,
        }
    }

    /// Lies seen during a run and at its end.
    fn lies(fault: Fault) -> Vec<Lie> {
        let (address, ledger) = (serve(fault), Arc::new(Ledger::new(40, false)));
        let measured = run(plan(address, Arrivals::Closed), &ledger);
        assert!(
            measured.n_answered() > 100 && measured.lost.is_empty(),
            "{:?}",
            measured.lost
        );
        let (_, last) = final_scrape(address, "/metrics", false, &ledger).unwrap();
        measured.lies.into_iter().chain(last).collect()
    }

    #[test]
    fn an_honest_server_is_believed() {
        assert_eq!(lies(Fault::None), []);
    }

    #[test]
    fn lost_stale_and_torn_pushes_are_found() {
        assert!(lies(Fault::Stale).iter().any(|lie| matches!(
            lie,
            Lie::Stale {
                group: 3,
                shown: 1,
                ..
            }
        )));
        assert!(
            lies(Fault::Tears)
                .iter()
                .any(|lie| matches!(lie, Lie::Torn { group: 3, .. }))
        );
        assert!(
            lies(Fault::Forgets)
                .iter()
                .any(|lie| matches!(lie, Lie::Missing { .. }))
        );
    }

    #[test]
    fn a_run_ends_after_so_many_pushes() {
        let mut plan = plan(serve(Fault::None), Arrivals::Closed);
        (plan.count, plan.duration) = (Some(123), Duration::from_secs(60));
        let measured = run(plan, &Arc::new(Ledger::new(40, false)));
        assert_eq!(measured.n_answered(), 123);
        assert!(measured.elapsed < Duration::from_secs(60));
    }

    /// One push in ten thousand: found by the scrapes beside the pushes, or by the last one.
    #[test]
    fn one_lost_push_in_ten_thousand_is_found() {
        let (address, ledger) = (
            serve(Fault::Drops(10_000)),
            Arc::new(Ledger::new(40, false)),
        );
        let mut found = Vec::new();
        // Whether a lost push shows depends on whether a scrape comes before the next push of its
        // group: so until it does.
        for _ in 0..40 {
            let mut plan = plan(address, Arrivals::Closed);
            plan.duration = Duration::from_millis(500);
            plan.scrapes = plan.scrapes.map(|scrapes| Scrapes {
                interval: Duration::from_millis(1),
                ..scrapes
            });
            found.extend(run(plan, &ledger).lies);
            if !found.is_empty() {
                break;
            }
        }
        assert!(
            found.iter().any(|lie| matches!(lie, Lie::Stale { .. })),
            "{found:?}"
        );
    }

    /// In a closed loop a server that stands still for a second costs eight slow pushes; in an open
    /// one all that were due meanwhile.
    #[test]
    fn a_stall_shows_in_full_in_an_open_loop() {
        let stall = Duration::from_secs(1);
        let arrivals = Arrivals::Open {
            per_second: 500.0,
            poisson: false,
        };
        let mut plan = plan(serve(Fault::Stalls(stall)), arrivals);
        plan.duration = Duration::from_secs(3);
        plan.scrapes = None;
        let measured = run(plan, &Arc::new(Ledger::new(40, false)));
        let milliseconds = |rank: f64| measured.latency.value_at_quantile(rank) / 1_000_000;
        // A third of the time of the run is the stall: pushes that were due in it waited half of it
        // in the middle.
        assert!(
            milliseconds(0.999) > 900,
            "p99.9 {} ms",
            milliseconds(0.999)
        );
        assert!(milliseconds(0.9) > 500, "p90 {} ms", milliseconds(0.9));
        // All of them were sent in the end, but for what the end cuts off.
        assert!(measured.n_unsent <= 8, "{} unsent", measured.n_unsent);
    }
}
