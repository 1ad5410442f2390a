//! How many log lines about one client, for one reason, are written: some at once, and of further
//! ones only their number.
//!
//! Time passes in periods. The first line after a quiet time begins a period, and the caller ends
//! it some seconds later with [`LineLimiter::end_period`], which returns what was left out. Memory
//! is bounded: when many clients are counted, further ones are counted together.
//!
//! No caller waits for another one: pushes that are refused log their lines through this. A line is
//! either allowed or in exactly one number of lines that were left out: an entry is removed first and
//! closed then, and a line that finds its entry closed is counted in a new one.

use super::endpoint::{ClientHost, Endpoint};
use crate::sync::{AtomicU64, Keyed, Registry};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};

/// How many lines about one client and reason are allowed in a period.
const LINES_MAX: u64 = 5;
/// How many clients and reasons are counted apart.
const SOURCES_MAX: u64 = 256;
/// Closes an entry: its number of lines was read for the last time.
const CLOSED: u64 = 1 << 63;

/// Limits how many lines are logged.
#[derive(Default)]
pub(crate) struct LineLimiter {
    sources: Registry<SourceLines>,
    /// How many entries `sources` has, roughly: threads that insert at the same time each see room.
    n_sources: AtomicU64,
    /// 1 from the first line of a period until its end.
    is_period_open: AtomicU64,
}

/// Lines of which only the number is logged.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LeftOutLines {
    /// Whom they are about.
    pub source: LineSource,
    /// How many there were.
    pub n_lines: u64,
}

/// Whom lines are about, and why they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LineSource {
    /// None for all clients that are not counted apart.
    pub client: Option<ClientHost>,
    /// One of few texts.
    pub reason: &'static str,
}

/// Whether a line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    /// Whether it may be. Otherwise it is counted.
    pub is_allowed: bool,
    /// The line begins a period, which the caller has to end.
    pub begins_period: bool,
}

struct SourceLines {
    source: LineSource,
    /// How many lines there were in this period, or above [`CLOSED`].
    n_lines: AtomicU64,
}

impl Keyed for SourceLines {
    type Key = LineSource;

    fn key(&self) -> &LineSource {
        &self.source
    }
}

impl LineLimiter {
    /// Counts a line about `client`, and says whether it may be written.
    pub fn admit(&self, client: &Endpoint, reason: &'static str) -> Admission {
        let mut source = LineSource {
            client: Some(client.host()),
            reason,
        };
        let n_lines_before = loop {
            let lines = match self.sources.get(&source) {
                Some(lines) => lines,
                // Relaxed: a rough number.
                None if source.client.is_some() && self.n_sources.load(Relaxed) >= SOURCES_MAX => {
                    source.client = None;
                    continue;
                }
                None => {
                    let make = || SourceLines {
                        source,
                        n_lines: AtomicU64::new(0),
                    };
                    let (lines, is_new) = self.sources.get_or_insert(&source, make);
                    if is_new {
                        self.n_sources.fetch_add(1, Relaxed);
                    }
                    lines
                }
            };
            // Relaxed: the numbers that `fetch_add` and `swap` return are in one order.
            let n = lines.n_lines.fetch_add(1, Relaxed);
            if n < CLOSED {
                break n;
            }
        };
        // AcqRel, after the line was counted: pairs with the swap in `end_period`. Either that
        // period's end finds the entry, or this line begins another period.
        let begins_period = self.is_period_open.swap(1, AcqRel) == 0;
        Admission {
            is_allowed: n_lines_before < LINES_MAX,
            begins_period,
        }
    }

    /// Ends the period; returns what was left out since it began.
    pub fn end_period(&self) -> Vec<LeftOutLines> {
        // AcqRel: pairs with the swap in `admit`.
        self.is_period_open.swap(0, AcqRel);
        let mut counted = Vec::new();
        self.sources
            .for_each(|lines| counted.push(Arc::clone(lines)));
        let mut left_out = Vec::new();
        for lines in counted {
            self.sources.remove(&lines);
            // Relaxed: see `admit`.
            let n_lines = lines.n_lines.swap(CLOSED, Relaxed);
            if n_lines >= CLOSED {
                // Another call has closed it.
                continue;
            }
            self.n_sources.fetch_sub(1, Relaxed);
            if n_lines > LINES_MAX {
                left_out.push(LeftOutLines {
                    source: lines.source,
                    n_lines: n_lines - LINES_MAX,
                });
            }
        }
        self.sources.flush();
        left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn client(n: u32) -> Endpoint {
        Endpoint::ip((IpAddr::from(Ipv4Addr::from(n)), 1).into())
    }

    #[test]
    fn some_lines_of_each_client_and_reason_are_allowed_and_the_rest_is_counted() {
        let limiter = LineLimiter::default();
        let n_allowed = |n_client, reason, n_lines| {
            (0..n_lines)
                .filter(|_| limiter.admit(&client(n_client), reason).is_allowed)
                .count()
        };
        assert!(limiter.admit(&client(1), "type").begins_period);
        assert!(!limiter.admit(&client(1), "name").begins_period);
        assert_eq!(n_allowed(1, "type", 9), 4);
        assert_eq!(n_allowed(1, "name", 2), 2);
        assert_eq!(n_allowed(2, "type", 7), 5);
        let mut left_out = limiter.end_period();
        left_out.sort_by_key(|lines| lines.n_lines);
        let of = |n, n_lines| LeftOutLines {
            source: LineSource {
                client: Some(client(n).host()),
                reason: "type",
            },
            n_lines,
        };
        assert_eq!(left_out, [of(2, 2), of(1, 5)]);
        // The next period begins from nothing.
        assert!(limiter.admit(&client(1), "type").begins_period);
        assert_eq!(n_allowed(1, "type", 9), 4);
        assert_eq!(limiter.end_period(), [of(1, 5)]);
        assert_eq!(limiter.end_period(), []);
    }

    #[test]
    fn many_clients_take_little_memory_and_few_lines() {
        let limiter = LineLimiter::default();
        let n_clients = 100_000;
        let n_allowed = (0..n_clients)
            .filter(|&n| limiter.admit(&client(n), "type").is_allowed)
            .count() as u64;
        assert_eq!(n_allowed, SOURCES_MAX + LINES_MAX);
        let left_out = limiter.end_period();
        assert_eq!(
            left_out,
            [LeftOutLines {
                source: LineSource {
                    client: None,
                    reason: "type"
                },
                n_lines: u64::from(n_clients) - n_allowed
            }]
        );
        assert!(limiter.admit(&client(n_clients), "type").is_allowed);
    }

    #[test]
    fn every_line_is_allowed_or_counted_while_periods_end() {
        const N_THREADS: u64 = 4;
        const N_LINES: u64 = 20_000;
        let limiter = LineLimiter::default();
        let (mut n_allowed, mut n_left_out) = (0, 0);
        let n_counted = |left_out: Vec<LeftOutLines>| -> u64 {
            left_out.iter().map(|lines| lines.n_lines).sum()
        };
        std::thread::scope(|scope| {
            let admit_all = || {
                (0..N_LINES)
                    .filter(|n| limiter.admit(&client((n % 3) as u32), "type").is_allowed)
                    .count() as u64
            };
            let threads: Vec<_> = (0..N_THREADS).map(|_| scope.spawn(admit_all)).collect();
            while threads.iter().any(|thread| !thread.is_finished()) {
                n_left_out += n_counted(limiter.end_period());
            }
            for thread in threads {
                n_allowed += thread.join().unwrap();
            }
        });
        n_left_out += n_counted(limiter.end_period());
        assert_eq!(n_allowed + n_left_out, N_THREADS * N_LINES);
    }
}
