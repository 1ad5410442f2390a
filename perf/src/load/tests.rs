//! Tests that run the generator against small servers with one fault each, and check that the
//! harness notices the fault.

use super::{Arrivals, Plan, ScrapeSettings, final_scrape, run};
use crate::ledger::{Ledger, Violation};
use crate::workload::Workload;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Answers every n-th push with 200, but does not store it.
    Drops(u64),
    /// Keeps showing the first push of group 3.
    Stale,
    /// Stores only the first half of the lines of a push to group 3.
    Tears,
    /// Answers every push with 200, but stores nothing.
    Forgets,
    /// Stops answering once, for this long.
    Stalls(Duration),
}

/// What such a server keeps.
#[derive(Default)]
struct Stored {
    n_pushes: u64,
    /// Lines of the exposition, by the value of the label `instance`.
    groups: HashMap<String, Vec<String>>,
}

impl Stored {
    /// Stores a push, unless the fault says otherwise.
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
            Fault::Stale if instance == "node-0000003" && self.groups.contains_key(instance) => {
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

/// Starts a minimal gateway with a fault.
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
                        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n")
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
                        let body =
                            String::from_utf8(buffer[head + 4..head + 4 + len].to_vec()).unwrap();
                        buffer.drain(..head + 4 + len);
                        if let Fault::Stalls(time) = fault
                            && began.elapsed() > Duration::from_millis(500)
                            && !has_stalled.swap(true, Relaxed)
                        {
                            // The server has only this thread, so no connection is served.
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

/// A run of 1.5 s with 40 groups over 8 connections, and a scrape every 100 ms.
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
        scrapes: Some(ScrapeSettings {
            path: "/metrics".to_owned(),
            interval: Duration::from_millis(100),
            gzip: false,
        }),
        is_checked: true,
    }
}

/// Violations that a run and its final scrape find.
fn violations(fault: Fault) -> Vec<Violation> {
    let (address, ledger) = (serve(fault), Arc::new(Ledger::new(&Workload::fleet(40))));
    let result = run(plan(address, Arrivals::Closed), &ledger);
    assert!(
        result.n_answered() > 100 && result.unanswered.is_empty(),
        "{:?}",
        result.unanswered
    );
    let (_, last) = final_scrape(address, "/metrics", false, &ledger).unwrap();
    result.violations.into_iter().chain(last).collect()
}

#[test]
fn a_correct_server_passes_all_checks() {
    assert_eq!(violations(Fault::None), []);
}

#[test]
fn lost_stale_and_torn_pushes_are_found() {
    assert!(violations(Fault::Stale).iter().any(|violation| matches!(
        violation,
        Violation::Stale {
            group: 3,
            shown: 1,
            ..
        }
    )));
    assert!(
        violations(Fault::Tears)
            .iter()
            .any(|violation| matches!(violation, Violation::Torn { group: 3, .. }))
    );
    assert!(
        violations(Fault::Forgets)
            .iter()
            .any(|violation| matches!(violation, Violation::Missing { .. }))
    );
}

#[test]
fn a_run_ends_after_the_planned_number_of_pushes() {
    let mut plan = plan(serve(Fault::None), Arrivals::Closed);
    (plan.count, plan.duration) = (Some(123), Duration::from_secs(60));
    let result = run(plan, &Arc::new(Ledger::new(&Workload::fleet(40))));
    assert_eq!(result.n_answered(), 123);
    assert!(result.elapsed < Duration::from_secs(60));
}

#[test]
fn one_lost_push_in_ten_thousand_is_found() {
    let (address, ledger) = (
        serve(Fault::Drops(10_000)),
        Arc::new(Ledger::new(&Workload::fleet(40))),
    );
    let mut found = Vec::new();
    // A lost push is only visible until the next push of its group. So the run is repeated until a
    // scrape falls into that time.
    for _ in 0..40 {
        let mut plan = plan(address, Arrivals::Closed);
        plan.duration = Duration::from_millis(500);
        plan.scrapes = plan.scrapes.map(|scrapes| ScrapeSettings {
            interval: Duration::from_millis(1),
            ..scrapes
        });
        found.extend(run(plan, &ledger).violations);
        if !found.is_empty() {
            break;
        }
    }
    assert!(
        found
            .iter()
            .any(|violation| matches!(violation, Violation::Stale { .. })),
        "{found:?}"
    );
}

/// In a closed loop, a server that stalls for a second only causes eight slow pushes, one per
/// connection. In an open loop, all pushes that are due during the stall are slow.
#[test]
fn an_open_loop_measures_a_stall_in_full() {
    let stall = Duration::from_secs(1);
    let arrivals = Arrivals::Open {
        per_second: 500.0,
        poisson: false,
    };
    let mut plan = plan(serve(Fault::Stalls(stall)), arrivals);
    plan.duration = Duration::from_secs(3);
    plan.scrapes = None;
    let result = run(plan, &Arc::new(Ledger::new(&Workload::fleet(40))));
    let milliseconds = |rank: f64| result.latency.value_at_quantile(rank) / 1_000_000;
    // The stall takes a third of the run. The pushes that were due during the stall waited for half
    // of it in the median.
    assert!(
        milliseconds(0.999) > 900,
        "p99.9 {} ms",
        milliseconds(0.999)
    );
    assert!(milliseconds(0.9) > 500, "p90 {} ms", milliseconds(0.9));
    // All pushes were sent in the end, except at most one per connection when the run ended.
    assert!(result.n_unsent <= 8, "{} unsent", result.n_unsent);
}
