//! ScrapeSettings beside the pushes, and the one after them.

use super::plan::ScrapeSettings;
use super::result::ScrapeTiming;
use super::run_state::RunState;
use crate::blocking_client::BlockingClient;
use crate::ledger::{Ledger, Violation};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What Prometheus 3 says that it takes.
pub const ACCEPT: &str = "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1\r\nUser-Agent: Prometheus/3.5\r\n";

/// Lies that are kept of a run.
const VIOLATIONS_MAX: usize = 10;

pub(super) fn scrape_beside(
    run: &Arc<RunState>,
    scrapes: &ScrapeSettings,
) -> (Vec<ScrapeTiming>, Vec<Violation>) {
    let (mut all, mut violations) = (Vec::new(), Vec::new());
    let mut client = BlockingClient::new(run.plan.address);
    let mut next = run.began + scrapes.interval / 2;
    while !run.is_over.load(Relaxed) {
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
            Ok((scraped, found)) => {
                all.push(scraped);
                violations.extend(
                    found
                        .into_iter()
                        .take(VIOLATIONS_MAX - violations.len().min(VIOLATIONS_MAX)),
                );
            }
            Err(error) => violations.push(Violation::Broken(error.to_string())),
        }
    }
    (all, violations)
}

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
    let scraped = ScrapeTiming {
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
    Ok((scraped, ledger.check_scrape(&plain, &before, is_quiet)))
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
