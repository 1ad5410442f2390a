//! Clients that push large bodies back to back, each on its own thread.

use super::result::BulkTotals;
use super::run_state::RunState;
use crate::blocking_client::BlockingClient;
use crate::body::bulk_body;
use crate::request::bulk_path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Nice level of these threads: about a tenth of the CPU share of a normal thread.
const BULK_NICE_LEVEL: i32 = 10;

/// Pushes two prepared bodies alternately until the run stops. `client` numbers the client and is
/// part of its grouping key. Bodies are prepared in advance so that making them costs nothing
/// meanwhile.
pub(super) fn push_bulk(run: &RunState, client: u32) -> BulkTotals {
    let bulk = run.plan.bulk.expect("there are bulk clients");
    // This client stands for another machine, so it must not take cores from the clients whose
    // latency is measured. On Linux, `nice` affects only the calling thread.
    let _ = rustix::process::nice(BULK_NICE_LEVEL);
    let requests = [1, 2].map(|seq| {
        let body = bulk_body(run.plan.workload.values, bulk.series, seq);
        let mut request = format!(
            "PUT {} HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n",
            bulk_path(&run.plan.prefix, client),
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(&body);
        (request, body.len())
    });
    let mut client = BlockingClient::new(run.plan.address);
    let (mut totals, began) = (BulkTotals::default(), Instant::now());
    for (request, len) in requests.iter().cycle() {
        if run.must_stop.load(Relaxed) {
            break;
        }
        match client.exchange(request) {
            Ok(200..=299) => {
                totals.accepted += 1;
                totals.bytes += *len as u64;
            }
            _ => totals.failed += 1,
        }
    }
    totals.bytes_per_second = totals.bytes as f64 / began.elapsed().as_secs_f64();
    totals
}
