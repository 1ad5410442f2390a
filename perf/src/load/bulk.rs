//! Clients that push large bodies.

use super::result::BulkTotals;
use super::run_state::RunState;
use crate::blocking_client::BlockingClient;
use crate::body::bulk_body;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// How far clients of large bodies step back for other threads: a tenth of their share.
const BULK_NICE_LEVEL: i32 = 10;

/// Pushes two bodies in turn, made beforehand, until the run is over.
pub(super) fn push_bulk(run: &RunState, client: u32) -> BulkTotals {
    let bulk = run.plan.bulk.expect("there are bulk clients");
    // It stands for another machine, and must not take the core from those whose latency is
    // measured. Of this thread alone: the harness runs on Linux.
    let _ = rustix::process::nice(BULK_NICE_LEVEL);
    let requests = [1, 2].map(|seq| {
        let body = bulk_body(bulk.series, seq);
        let mut request = format!(
            "PUT {}/job/bulk/instance/client-{client} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n",
            run.plan.prefix,
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        (request, body.len())
    });
    let mut client = BlockingClient::new(run.plan.address);
    let (mut done, began) = (BulkTotals::default(), Instant::now());
    for (request, len) in requests.iter().cycle() {
        if run.is_over.load(Relaxed) {
            break;
        }
        match client.exchange(request) {
            Ok(200..=299) => {
                (done.accepted, done.bytes) = (done.accepted + 1, done.bytes + *len as u64)
            }
            _ => done.failed += 1,
        }
    }
    done.bytes_per_second = done.bytes as f64 / began.elapsed().as_secs_f64();
    done
}
