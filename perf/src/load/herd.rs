//! A herd: every group pushes once, all at the same instant and each over a new connection, as when
//! the cron jobs of a fleet end on the minute.
//!
//! Answer times count from that instant, for all pushes alike. So they include the time that the
//! generator takes to open the connections, which the result states as well.

use super::plan::Plan;
use super::result::{HerdTotals, RunResult, new_histogram};
use crate::event_loop::{self, NextStep, RequestSource};
use crate::ledger::Ledger;
use crate::request::RequestWriter;
use crate::workload::{Action, RequestSpec};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The largest herd. Each connection needs a local port, and Linux has 28,232 of them for one
/// server unless it is configured otherwise.
pub const HERD_SIZE_MAX: u32 = 28_000;

/// Time between the start of the threads and the instant at which the herd pushes.
const LEAD_TIME: Duration = Duration::from_millis(50);

/// Pushes each group of the plan's workload once, at the same instant. A push that has no answer
/// after the plan's duration is lost. Pushes are recorded in `ledger`.
pub fn run_herd(plan: &Plan, ledger: &Arc<Ledger>) -> RunResult {
    let instant = Instant::now() + LEAD_TIME;
    let n_threads = u32::try_from(plan.threads).expect("few threads");
    let threads: Vec<_> = (0..n_threads)
        .map(|thread| {
            let source = HerdThread {
                ledger: Arc::clone(ledger),
                requests: RequestWriter::new(&plan.workload, &plan.prefix, true),
                instant,
                pushes: (thread..plan.workload.groups)
                    .step_by(plan.threads)
                    .map(|group| HerdPush { group, seq: 0 })
                    .collect(),
                answer_times: new_histogram(),
                last_sent: instant,
                last_answer: None,
                statuses: BTreeMap::new(),
                unanswered: BTreeMap::new(),
            };
            let (address, patience) = (plan.address, plan.duration);
            let n_connections = source.pushes.len();
            // Without `keep_alive` the client closes its connection after the answer, like a job
            // that ends.
            std::thread::spawn(move || {
                event_loop::run(address, false, patience, n_connections, source)
            })
        })
        .collect();
    let mut result = RunResult::empty();
    let (mut last_sent, mut last_answer) = (instant, None);
    for thread in threads {
        let thread = thread.join().expect("a generator panicked");
        result
            .latency
            .add(&thread.answer_times)
            .expect("the same bounds");
        for (status, n) in thread.statuses {
            *result.statuses.entry(status).or_default() += n;
            if !Action::Push.expects(status) {
                *result.unexpected.entry(status).or_default() += n;
            }
        }
        for (kind, n) in thread.unanswered {
            *result.unanswered.entry(kind).or_default() += n;
        }
        last_sent = last_sent.max(thread.last_sent);
        last_answer = last_answer.max(thread.last_answer);
    }
    let since = |moment: Instant| moment.saturating_duration_since(instant).as_secs_f64();
    result.elapsed = last_answer.map_or(plan.duration, |last| last - instant);
    let refused = result.unexpected.values().sum();
    result.herd = Some(HerdTotals {
        pushes: plan.workload.groups,
        answered: result.n_answered() - refused,
        refused,
        lost: result.unanswered.values().sum(),
        last_answer_seconds: last_answer.map(since),
        sent_within_seconds: since(last_sent),
    });
    result
}

/// One push of a herd.
struct HerdPush {
    group: u32,
    /// Its sequence number; 0 until the push is sent.
    seq: u64,
}

/// The pushes of one thread, each over its own connection.
struct HerdThread {
    ledger: Arc<Ledger>,
    requests: RequestWriter,
    instant: Instant,
    pushes: Vec<HerdPush>,
    answer_times: Histogram<u64>,
    last_sent: Instant,
    last_answer: Option<Instant>,
    statuses: BTreeMap<u16, u64>,
    unanswered: BTreeMap<String, u64>,
}

impl RequestSource for HerdThread {
    fn next_step(&mut self, connection: usize, now: Instant) -> NextStep<'_> {
        let push = &mut self.pushes[connection];
        if push.seq > 0 {
            return NextStep::Finished;
        }
        if now < self.instant {
            return NextStep::WaitUntil(self.instant);
        }
        push.seq = self.ledger.begin_push(push.group);
        self.last_sent = now;
        NextStep::Send(self.requests.write(RequestSpec {
            action: Action::Push,
            group: push.group,
            seq: push.seq,
        }))
    }

    fn on_answer(&mut self, connection: usize, status: u16, now: Instant) {
        let nanoseconds = (now - self.instant).as_nanos();
        self.answer_times
            .saturating_record(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.last_answer = self.last_answer.max(Some(now));
        *self.statuses.entry(status).or_default() += 1;
        if status / 100 == 2 {
            let HerdPush { group, seq } = self.pushes[connection];
            self.ledger.record_answer(group, seq);
        }
    }

    fn on_failure(&mut self, _connection: usize, why: String) {
        *self.unanswered.entry(why).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Arrivals;
    use crate::workload::{Workload, WorkloadKind};
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    fn plan(address: SocketAddr, groups: u32, threads: usize) -> Plan {
        Plan {
            address,
            prefix: "/metrics".to_owned(),
            workload: Workload {
                kind: WorkloadKind::Herd,
                ..Workload::fleet(groups)
            },
            arrivals: Arrivals::Closed,
            connections: 1,
            threads,
            keep_alive: true,
            duration: Duration::from_secs(2),
            count: None,
            bulk: None,
            seed: 1,
            scrapes: None,
            is_checked: true,
        }
    }

    /// Starts a server that reads one push from each connection and treats connections in turn: of
    /// five, the first three are answered 200, one is answered 503, and one is closed without an
    /// answer.
    fn serve() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for (n, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                // The last line of a fleet push.
                while !request
                    .windows(25)
                    .any(|window| window.starts_with(b"batch_step_seconds_count "))
                    || !request.ends_with(b"\n")
                {
                    let mut buffer = [0; 4096];
                    let n = stream.read(&mut buffer).unwrap();
                    assert!(n > 0, "the push is sent completely");
                    request.extend_from_slice(&buffer[..n]);
                }
                let status = match n % 5 {
                    0..3 => "200 OK",
                    3 => "503 Service Unavailable",
                    _ => continue,
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        address
    }

    #[test]
    fn a_herd_counts_answered_refused_and_lost_pushes() {
        for threads in [1, 2] {
            let plan = plan(serve(), 50, threads);
            let ledger = Arc::new(Ledger::new(&plan.workload));
            let result = run_herd(&plan, &ledger);
            let herd = result.herd.unwrap();
            assert_eq!(
                (herd.pushes, herd.answered, herd.refused, herd.lost),
                (50, 30, 10, 10),
                "{:?}",
                result.unanswered
            );
            assert_eq!(result.statuses, BTreeMap::from([(200, 30), (503, 10)]));
            assert_eq!(result.unexpected, BTreeMap::from([(503, 10)]));
            assert_eq!(result.latency.len(), 40);
            let last = herd.last_answer_seconds.unwrap();
            // Histograms round up to three significant digits.
            assert!(result.latency.max() as f64 / 1e9 >= last, "{last}");
            assert!(herd.sent_within_seconds > 0.0);
            assert_eq!(ledger.pushed_groups().len(), 50);
        }
    }

    #[test]
    fn a_herd_that_nobody_answers_is_lost_and_has_no_last_answer() {
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let plan = plan(address, 20, 1);
        let result = run_herd(&plan, &Arc::new(Ledger::new(&plan.workload)));
        let herd = result.herd.unwrap();
        assert_eq!((herd.answered, herd.refused, herd.lost), (0, 0, 20));
        assert_eq!(herd.last_answer_seconds, None);
        assert_eq!(
            result.unanswered,
            BTreeMap::from([("connection refused".to_owned(), 20)])
        );
    }
}
