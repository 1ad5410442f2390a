//! Runs a plan: starts its threads and adds up what they saw.

use super::bulk::push_bulk;
use super::plan::Plan;
use super::pushers::run_pushers;
use super::result::{RunResult, new_histogram};
use super::run_state::RunState;
use super::scraper::scrape_beside;
use crate::ledger::Ledger;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Runs a plan to its end.
pub fn run(plan: Plan, ledger: &Arc<Ledger>) -> RunResult {
    let began = Instant::now();
    let run = Arc::new(RunState {
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
            std::thread::spawn(move || run_pushers(&run, thread as u32))
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
    let mut measured = RunResult {
        latency: new_histogram(),
        statuses: BTreeMap::new(),
        unanswered: BTreeMap::new(),
        elapsed,
        scrapes: Vec::new(),
        bulk: None,
        violations: Vec::new(),
        lateness: new_histogram(),
        n_unsent: 0,
        busy: 0.0,
    };
    for thread in threads {
        let of_thread = thread.join().expect("a generator panicked");
        measured
            .latency
            .add(&of_thread.latency)
            .expect("the same bounds");
        measured
            .lateness
            .add(&of_thread.lateness)
            .expect("the same bounds");
        of_thread
            .statuses
            .into_iter()
            .for_each(|(status, n)| *measured.statuses.entry(status).or_default() += n);
        of_thread
            .unanswered
            .into_iter()
            .for_each(|(kind, n)| *measured.unanswered.entry(kind).or_default() += n);
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
        (measured.scrapes, measured.violations) = scraper.join().expect("the scraper panicked");
    }
    measured
}
