//! Scrapes: at intervals during a run, and once after the run. Each scrape is checked against the
//! ledger of pushed and answered requests.

use super::plan::ScrapeSettings;
use super::result::ScrapeTiming;
use super::run_state::RunState;
use crate::blocking_client::BlockingClient;
use crate::ledger::{Ledger, Violation};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The request headers by which Prometheus 3 says which formats it accepts.
pub const ACCEPT: &str = "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1\r\nUser-Agent: Prometheus/3.5\r\n";

/// How many violations of a run are kept. More would not help to find the cause.
const VIOLATIONS_MAX: usize = 10;

/// Scrapes at the intervals of `scrapes` until the run stops. Returns the timings and the first
/// violations. The first scrape starts after half an interval.
pub(super) fn scrape_beside(
    run: &Arc<RunState>,
    scrapes: &ScrapeSettings,
) -> (Vec<ScrapeTiming>, Vec<Violation>) {
    let (mut timings, mut violations) = (Vec::new(), Vec::new());
    let mut client = BlockingClient::new(run.plan.address);
    let mut next = run.began + scrapes.interval / 2;
    while !run.must_stop.load(Relaxed) {
        let wait = next.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            std::thread::sleep(wait.min(Duration::from_millis(10)));
            continue;
        }
        next += scrapes.interval;
        match scrape(
            &mut client,
            scrapes,
            &run.ledger,
            run.plan.is_checked,
            false,
        ) {
            Ok((timing, found)) => {
                timings.push(timing);
                violations.extend(
                    found
                        .into_iter()
                        .take(VIOLATIONS_MAX - violations.len().min(VIOLATIONS_MAX)),
                );
            }
            Err(error) => violations.push(Violation::Broken(error.to_string())),
        }
    }
    (timings, violations)
}

/// Scrapes once. If `is_checked`, the body is compared with the ledger; `is_quiet` says that
/// nothing is pushed meanwhile, which allows stricter checks.
fn scrape(
    client: &mut BlockingClient,
    scrapes: &ScrapeSettings,
    ledger: &Ledger,
    is_checked: bool,
    is_quiet: bool,
) -> std::io::Result<(ScrapeTiming, Vec<Violation>)> {
    let before = ledger.answered_so_far();
    let headers = format!(
        "{ACCEPT}{}",
        if scrapes.gzip {
            "Accept-Encoding: gzip\r\n"
        } else {
            ""
        }
    );
    let began = Instant::now();
    let (body, first_byte) = client.get(&scrapes.path, &headers)?;
    let timing = ScrapeTiming {
        first_byte_seconds: first_byte.as_secs_f64(),
        last_byte_seconds: began.elapsed().as_secs_f64(),
        bytes: body.len(),
    };
    if !is_checked {
        return Ok((timing, Vec::new()));
    }
    // The first two bytes of gzip (RFC 1952). Targets may answer without compression.
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
    Ok((timing, ledger.check_scrape(&plain, &before, is_quiet)))
}

/// Scrapes once after a run and compares the body with everything that was answered. Returns the
/// timing and all violations.
///
/// # Errors
///
/// The scrape is not answered, or not with status 200, or its gzip is invalid.
pub fn final_scrape(
    address: SocketAddr,
    path: &str,
    gzip: bool,
    ledger: &Ledger,
) -> std::io::Result<(ScrapeTiming, Vec<Violation>)> {
    let scrapes = ScrapeSettings {
        path: path.to_owned(),
        interval: Duration::ZERO,
        gzip,
    };
    scrape(
        &mut BlockingClient::new(address),
        &scrapes,
        ledger,
        true,
        true,
    )
}
