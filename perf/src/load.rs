//! The generator: threads of connections, each with its groups, and a scraper beside them.
//!
//! Closed loop: each connection sends its next push when the last one is answered. Open loop: pushes have a time when they are *due*,
//! and latency counts from then, also if the connection was not free: a stall of the server shows in full. A generator that cannot
//! keep its own schedule says so.

use crate::client::Connection;
use crate::ledger::{Ledger, Lie};
use crate::workload::{Action, What, Workload};
use hdrhistogram::Histogram;
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
    pub seed: u64,
    /// Scrapes beside the pushes.
    pub scrapes: Option<Scrapes>,
    /// Whether scrapes can be compared with what was pushed.
    pub is_checked: bool,
}

/// A scraper beside the pushes.
#[derive(Clone, Debug)]
pub struct Scrapes {
    pub path: String,
    pub interval: Duration,
    pub gzip: bool,
}

/// What Prometheus 3 says that it takes.
const ACCEPT: &str = "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1\r\nUser-Agent: Prometheus/3.5\r\n";

/// One scrape.
#[derive(Clone, Copy, Debug, serde::Serialize)]
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
    /// The first of each kind.
    pub lies: Vec<Lie>,
    /// How far behind its own schedule the generator was at worst (open loop), beyond what answers took.
    pub late_max: Duration,
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

struct PerThread {
    latency: Histogram<u64>,
    statuses: BTreeMap<u16, u64>,
    lost: BTreeMap<String, u64>,
    late_max: Duration,
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("bounds that fit")
}

/// Shared by all connections of a run.
struct Run {
    plan: Plan,
    ledger: Arc<Ledger>,
    is_over: AtomicBool,
    began: Instant,
}

/// Runs a plan to its end. `progress` is told the number of answers now and then.
pub fn run(plan: Plan, ledger: &Arc<Ledger>, progress: impl Fn(u64)) -> Measured {
    let run = Arc::new(Run { ledger: Arc::clone(ledger), is_over: AtomicBool::new(false), began: Instant::now(), plan });
    let n_done = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..run.plan.threads)
        .map(|thread| {
            let (run, n_done) = (Arc::clone(&run), Arc::clone(&n_done));
            std::thread::spawn(move || generate(&run, thread as u32, &n_done))
        })
        .collect();
    let scraper = run.plan.scrapes.clone().map(|scrapes| {
        let run = Arc::clone(&run);
        std::thread::spawn(move || scrape_beside(&run, &scrapes))
    });
    while run.began.elapsed() < run.plan.duration {
        std::thread::sleep(Duration::from_millis(100).min(run.plan.duration));
        progress(n_done.load(Relaxed));
    }
    run.is_over.store(true, Relaxed);
    let elapsed = run.began.elapsed();
    let mut measured = Measured {
        latency: histogram(),
        statuses: BTreeMap::new(),
        lost: BTreeMap::new(),
        elapsed,
        scrapes: Vec::new(),
        lies: Vec::new(),
        late_max: Duration::ZERO,
    };
    for thread in threads {
        let of_thread = thread.join().expect("a generator panicked");
        measured.latency.add(&of_thread.latency).expect("the same bounds");
        of_thread.statuses.into_iter().for_each(|(status, n)| *measured.statuses.entry(status).or_default() += n);
        of_thread.lost.into_iter().for_each(|(kind, n)| *measured.lost.entry(kind).or_default() += n);
        measured.late_max = measured.late_max.max(of_thread.late_max);
    }
    if let Some(scraper) = scraper {
        (measured.scrapes, measured.lies) = scraper.join().expect("the scraper panicked");
    }
    measured
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn generate(run: &Arc<Run>, thread: u32, n_done: &Arc<AtomicU64>) -> PerThread {
    runtime().block_on(async {
        let mine = (thread..run.plan.connections).step_by(run.plan.threads);
        let tasks: Vec<_> = mine.map(|n| tokio::spawn(connection(Arc::clone(run), n, Arc::clone(n_done)))).collect();
        let mut all =
            PerThread { latency: histogram(), statuses: BTreeMap::new(), lost: BTreeMap::new(), late_max: Duration::ZERO };
        for task in tasks {
            let one = task.await.expect("a connection panicked");
            all.latency.add(&one.latency).expect("the same bounds");
            one.statuses.into_iter().for_each(|(status, n)| *all.statuses.entry(status).or_default() += n);
            one.lost.into_iter().for_each(|(kind, n)| *all.lost.entry(kind).or_default() += n);
            all.late_max = all.late_max.max(one.late_max);
        }
        all
    })
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
        if let Arrivals::Open { per_second, poisson } = plan.arrivals {
            this.next = if poisson { this.gap() } else { f64::from(n) / per_second };
        }
        this
    }

    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Closed => 0.0,
            Arrivals::Open { per_second, poisson: false } => self.connections / per_second,
            Arrivals::Open { per_second, poisson: true } => -(1.0 - self.random.f64()).ln() * self.connections / per_second,
        }
    }
}

async fn connection(run: Arc<Run>, n: u32, n_done: Arc<AtomicU64>) -> PerThread {
    let plan = &run.plan;
    let mut measured =
        PerThread { latency: histogram(), statuses: BTreeMap::new(), lost: BTreeMap::new(), late_max: Duration::ZERO };
    let groups = Groups::of(plan, n);
    let Some(mut groups) = groups else { return measured };
    let mut connection = Connection::new(plan.address);
    let (mut request, mut scratch) = (Vec::new(), Vec::new());
    let mut schedule = Schedule::new(plan, n);
    let mut last = 0;
    for i in 0.. {
        if run.is_over.load(Relaxed) {
            break;
        }
        let mut due = Instant::now();
        if plan.arrivals != Arrivals::Closed {
            due = run.began + Duration::from_secs_f64(schedule.next);
            if due > run.began + plan.duration {
                break;
            }
            schedule.next += schedule.gap();
            let free_at = Instant::now();
            if free_at < due {
                tokio::time::sleep_until(due.into()).await;
                // Only what the generator's own timers and cores cost; what the server's answers cost is latency.
                measured.late_max = measured.late_max.max(due.elapsed());
            }
        }
        let action = plan.workload.action(i);
        let group = if action == Action::Delete { last } else { groups.next() };
        let seq = if action == Action::Push { run.ledger.start(group) } else { i };
        plan.workload.write_request(What { action, group, seq }, &plan.prefix, plan.keep_alive, &mut request, &mut scratch);
        if action == Action::Delete {
            // From here on it may be gone.
            run.ledger.delete(group);
        }
        let answer = connection.exchange(&request).await;
        let took = due.elapsed();
        match answer {
            Ok(status) => {
                let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
                measured.latency.saturating_record(took);
                *measured.statuses.entry(status).or_default() += 1;
                if action == Action::Push && status / 100 == 2 {
                    run.ledger.answer(group, seq);
                    last = group;
                }
                n_done.fetch_add(1, Relaxed);
            }
            Err(error) => *measured.lost.entry(error.kind().to_string()).or_default() += 1,
        }
    }
    measured
}

/// The groups of a connection, in turn: a group is written by one connection only, unless all write to all.
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
            return Some(Self { first: 0, step: 1, n: n_groups, at: 0, random: Some(random) });
        }
        // More connections than groups: the others have nothing to do.
        (n < n_groups).then_some(Self { first: n, step: plan.connections, n: n_groups, at: n, random: None })
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

/// Lies that are kept of a run.
const LIES_MAX: usize = 10;

fn scrape_beside(run: &Arc<Run>, scrapes: &Scrapes) -> (Vec<Scraped>, Vec<Lie>) {
    runtime().block_on(async {
        let (mut all, mut lies) = (Vec::new(), Vec::new());
        let mut connection = Connection::new(run.plan.address);
        let mut next = run.began + scrapes.interval / 2;
        while !run.is_over.load(Relaxed) {
            if Instant::now() < next {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            next += scrapes.interval;
            match scrape(&mut connection, scrapes, &run.ledger, run.plan.is_checked, false).await {
                Ok((scraped, found)) => {
                    all.push(scraped);
                    lies.extend(found.into_iter().take(LIES_MAX - lies.len().min(LIES_MAX)));
                }
                Err(error) => lies.push(Lie::Broken(error.to_string())),
            }
        }
        (all, lies)
    })
}

async fn scrape(
    connection: &mut Connection,
    scrapes: &Scrapes,
    ledger: &Ledger,
    is_checked: bool,
    is_quiet: bool,
) -> std::io::Result<(Scraped, Vec<Lie>)> {
    let before = ledger.before();
    let headers = format!("{ACCEPT}{}", if scrapes.gzip { "Accept-Encoding: gzip\r\n" } else { "" });
    let began = Instant::now();
    let (body, first_byte) = connection.get(&scrapes.path, &headers).await?;
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
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(body.as_slice()), &mut plain)?;
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
pub fn final_scrape(address: SocketAddr, path: &str, gzip: bool, ledger: &Ledger) -> std::io::Result<(Scraped, Vec<Lie>)> {
    let scrapes = Scrapes { path: path.to_owned(), interval: Duration::ZERO, gzip };
    runtime().block_on(scrape(&mut Connection::new(address), &scrapes, ledger, true, true))
}

/// Pushes every group once, until `patience` is over; how many were made.
pub fn preload(plan: &Plan, ledger: &Arc<Ledger>, patience: Duration, progress: impl Fn(u64)) -> u32 {
    let n_groups = plan.workload.n_groups();
    let next = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + patience;
    let threads: Vec<_> = (0..plan.threads)
        .map(|_| {
            let (plan, ledger, next) = (plan.clone(), Arc::clone(ledger), Arc::clone(&next));
            std::thread::spawn(move || {
                runtime().block_on(async {
                    let tasks: Vec<_> = (0..16)
                        .map(|_| {
                            let (plan, ledger, next) = (plan.clone(), Arc::clone(&ledger), Arc::clone(&next));
                            tokio::spawn(async move {
                                let mut connection = Connection::new(plan.address);
                                let (mut request, mut scratch) = (Vec::new(), Vec::new());
                                while Instant::now() < deadline {
                                    let group = next.fetch_add(1, Relaxed);
                                    if group >= u64::from(n_groups) {
                                        break;
                                    }
                                    let group = u32::try_from(group).expect("groups have 32 bits");
                                    let seq = ledger.start(group);
                                    let write = &plan.workload;
                                    write.write_request(
                                        What { action: Action::Push, group, seq },
                                        &plan.prefix,
                                        true,
                                        &mut request,
                                        &mut scratch,
                                    );
                                    if matches!(connection.exchange(&request).await, Ok(200..=299)) {
                                        ledger.answer(group, seq);
                                    }
                                }
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.expect("a connection panicked");
                    }
                });
            })
        })
        .collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(Duration::from_millis(50));
        progress(next.load(Relaxed).min(u64::from(n_groups)));
    }
    threads.into_iter().for_each(|thread| thread.join().expect("the preload panicked"));
    u32::try_from(next.load(Relaxed).min(u64::from(n_groups))).expect("groups have 32 bits")
}
