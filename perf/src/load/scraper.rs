//! Scrapes beside the pushes, and the one after them.

use super::measured::Scraped;
use super::plan::Scrapes;
use super::state::Run;
use crate::client::Connection;
use crate::ledger::{Ledger, Lie};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// What Prometheus 3 says that it takes.
pub const ACCEPT: &str = "Accept: text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.1\r\nUser-Agent: Prometheus/3.5\r\n";

/// Lies that are kept of a run.
const LIES_MAX: usize = 10;

pub(super) fn scrape_beside(run: &Arc<Run>, scrapes: &Scrapes) -> (Vec<Scraped>, Vec<Lie>) {
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
