//! Runs a plan: starts the threads, waits for their end and adds up their results.

use super::bulk::push_bulk;
use super::plan::Plan;
use super::pushers::run_pushers;
use super::result::RunResult;
use super::run_state::RunState;
use super::scraper::scrape_beside;
use crate::ledger::Ledger;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Runs a plan to its end and returns what was measured. Pushes and deletes are recorded in
/// `ledger`.
pub fn run(plan: Plan, ledger: &Arc<Ledger>) -> RunResult {
    let began = Instant::now();
    let run = Arc::new(RunState {
        ledger: Arc::clone(ledger),
        must_stop: AtomicBool::new(false),
        n_permits: AtomicU64::new(0),
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
    // If the plan limits the number of pushes, threads end before the time is up, and `elapsed`
    // must not be much longer than they ran: look every 5 ms instead of every 50 ms.
    let poll_interval = Duration::from_millis(if run.plan.count.is_some() { 5 } else { 50 });
    while Instant::now() < run.ends && threads.iter().any(|thread| !thread.is_finished()) {
        std::thread::sleep(
            run.ends
                .saturating_duration_since(Instant::now())
                .min(poll_interval),
        );
    }
    run.must_stop.store(true, Relaxed);
    let elapsed = run.began.elapsed();
    let mut result = RunResult {
        elapsed,
        ..RunResult::empty()
    };
    for thread in threads {
        let thread_result = thread.join().expect("a generator panicked");
        result
            .latency
            .add(&thread_result.latency)
            .expect("the same bounds");
        result
            .lateness
            .add(&thread_result.lateness)
            .expect("the same bounds");
        thread_result
            .statuses
            .into_iter()
            .for_each(|(status, n)| *result.statuses.entry(status).or_default() += n);
        thread_result
            .unexpected
            .into_iter()
            .for_each(|(status, n)| *result.unexpected.entry(status).or_default() += n);
        thread_result
            .unanswered
            .into_iter()
            .for_each(|(kind, n)| *result.unanswered.entry(kind).or_default() += n);
        result.n_unsent += thread_result.n_unsent;
        result.busy = result.busy.max(thread_result.busy);
    }
    for client in bulk {
        let one = client.join().expect("a bulk client panicked");
        let all = result.bulk.get_or_insert_default();
        (all.accepted, all.failed, all.bytes) = (
            all.accepted + one.accepted,
            all.failed + one.failed,
            all.bytes + one.bytes,
        );
        all.bytes_per_second += one.bytes_per_second;
    }
    if let Some(scraper) = scraper {
        (result.scrapes, result.violations) = scraper.join().expect("the scraper panicked");
    }
    result
}
