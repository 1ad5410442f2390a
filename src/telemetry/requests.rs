//! Counts of HTTP requests, with the reference's names and labels.

use super::distribution::Distribution;
use super::own_families::OwnFamiliesBuilder;
use crate::sync::Statistic;
use std::time::Duration;

/// The label `handler` of a request: its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    ApiMetrics,
    ApiStatus,
    Delete,
    Healthy,
    Import,
    Push,
    Quit,
    Ready,
    Static,
    Status,
    Wipe,
}

const HANDLERS: [(Handler, &str); 11] = [
    (Handler::ApiMetrics, "api/v1/metrics"),
    (Handler::ApiStatus, "api/v1/status"),
    (Handler::Delete, "delete"),
    (Handler::Healthy, "healthy"),
    (Handler::Import, "import"),
    (Handler::Push, "push"),
    (Handler::Quit, "quit"),
    (Handler::Ready, "ready"),
    (Handler::Static, "static"),
    (Handler::Status, "status"),
    (Handler::Wipe, "wipe"),
];

/// The label `method` of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Delete,
    Get,
    Post,
    Put,
}

const METHODS: [&str; 4] = ["delete", "get", "post", "put"];

/// The status codes that are counted; any other code counts as the first of these.
const CODES: [u16; 10] = [500, 200, 202, 400, 403, 404, 405, 408, 413, 503];
/// The places of the codes above in ascending order of the codes.
const CODE_ORDER: [usize; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 0, 9];

/// How many copies of the counters there are, so that cores do not wait for each other's cache
/// lines. Each thread counts in one of them, and a scrape adds them up.
const N_STRIPES: usize = 16;

#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    /// By handler, method and code.
    counts: [[[Statistic; CODES.len()]; METHODS.len()]; HANDLERS.len()],
    /// Of POST, then of PUT.
    pushes: [PushDistributions; 2],
}

#[derive(Default)]
struct PushDistributions {
    /// The sizes of requests, in bytes.
    sizes: Distribution,
    /// The times until the answers, in nanoseconds.
    times: Distribution,
}

/// Counts and distributions of requests.
#[derive(Default)]
pub(crate) struct Requests(Box<[Stripe; N_STRIPES]>);

/// The stripe of the calling thread.
fn stripe() -> usize {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static N_THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        // Relaxed: the threads only have to get different numbers.
        static STRIPE: usize = N_THREADS.fetch_add(1, Relaxed) % N_STRIPES;
    }
    STRIPE.with(|stripe| *stripe)
}

impl Requests {
    /// Counts a request that was answered with `code`.
    pub fn count(&self, handler: Handler, method: Method, code: u16) {
        let code = CODES.iter().position(|&known| known == code).unwrap_or(0);
        self.0[stripe()].counts[handler as usize][method as usize][code].add(1);
    }

    /// Counts a push of `size` bytes that was answered after `took`, at `now_ms` of a monotonic
    /// clock.
    pub fn count_push(&self, method: Method, size: u64, took: Duration, now_ms: u64) {
        let PushDistributions { sizes, times } =
            &self.0[stripe()].pushes[usize::from(method == Method::Put)];
        sizes.record(size, now_ms);
        times.record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), now_ms);
    }

    /// Adds the families to the gateway's own.
    pub(super) fn write(&self, own: &mut OwnFamiliesBuilder, now_ms: u64) {
        own.summary(
            "pushgateway_http_push_duration_seconds",
            "HTTP request duration for pushes to the Pushgateway.",
        );
        self.write_pushes(own, now_ms, |pushes| &pushes.times, 1e9);
        own.summary(
            "pushgateway_http_push_size_bytes",
            "HTTP request size for pushes to the Pushgateway.",
        );
        self.write_pushes(own, now_ms, |pushes| &pushes.sizes, 1.0);
        own.counter(
            "pushgateway_http_requests_total",
            "Total HTTP requests processed by the Pushgateway, excluding scrapes.",
        );
        for code in CODE_ORDER {
            for (handler, handler_name) in HANDLERS {
                for (method, method_name) in METHODS.iter().enumerate() {
                    let count: u64 = self
                        .0
                        .iter()
                        .map(|stripe| stripe.counts[handler as usize][method][code].get())
                        .sum();
                    if count > 0 {
                        let code = CODES[code].to_string();
                        own.value(
                            &[
                                ("code", &code),
                                ("handler", handler_name),
                                ("method", method_name),
                            ],
                            count as f64,
                        );
                    }
                }
            }
        }
    }

    /// Adds the metrics of a summary of pushes, in units of `unit`.
    fn write_pushes(
        &self,
        own: &mut OwnFamiliesBuilder,
        now_ms: u64,
        which: fn(&PushDistributions) -> &Distribution,
        unit: f64,
    ) {
        for (place, method) in ["post", "put"].into_iter().enumerate() {
            let parts = || self.0.iter().map(|stripe| which(&stripe.pushes[place]));
            let (count, sum) = parts()
                .map(Distribution::totals)
                .fold((0, 0), |(n, all), (count, sum)| (n + count, all + sum));
            if count == 0 {
                continue;
            }
            let ranks = [0.1, 0.5, 0.9];
            let values = Distribution::quantiles(parts(), ranks, now_ms);
            let quantiles: [(f64, f64); 3] = std::array::from_fn(|i| (ranks[i], values[i] / unit));
            own.quantiles(&[("method", method)], count, sum as f64 / unit, &quantiles);
        }
    }
}
