//! Panics: a bug that ends one request must not end the process or another request.

use crate::telemetry::log;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// A task has panicked. The panic's message has been written to standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Calls `f`.
///
/// # Errors
///
/// `f` has panicked. The caller drops what belongs to the failed request alone. What requests share
/// is safe to use after a panic: snapshots, layouts and pages never change after they are
/// published, claims and doors are released when they are dropped, and statistics are counters.
#[inline]
pub(crate) fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|_| Panicked)
}

/// Completes with the output of `future`, or with an error if the future panics: see [`catch`].
pub(crate) async fn catch_in<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch(|| future.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Runs what the process cannot do without, such as "the assembler". If it panics, ends the process with
/// status 1.
pub(crate) fn run_or_exit(name: &str, run: impl FnOnce()) {
    if catch(run).is_err() {
        tracing::error!("{name} failed; this is a bug");
        // The log is written by a thread of its own.
        log::finish();
        std::process::exit(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_what_the_process_needs_ends_it_and_is_logged() {
        const CHILD: &str = "PUSHGATEWAY_TEST_PANICS";
        if std::env::var_os(CHILD).is_some() {
            log::init(log::LogFormat::Logfmt, log::LogLevel::Info);
            run_or_exit("the assembler", || {});
            run_or_exit("the disk writer", || panic!("a panic for a test"));
        }
        let name =
            "gateway::catch::tests::a_failure_of_what_the_process_needs_ends_it_and_is_logged";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(
            log.contains("the disk writer failed; this is a bug"),
            "{log}"
        );
        assert!(!log.contains("the assembler failed"), "{log}");
    }

    #[test]
    fn a_future_that_panics_when_it_is_woken_completes_with_an_error() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        let result = runtime.block_on(catch_in(async {
            tokio::task::yield_now().await;
            assert!(std::hint::black_box(false), "a panic for a test");
        }));
        assert_eq!(result, Err(Panicked));
        assert_eq!(runtime.block_on(catch_in(async { 3 })), Ok(3));
    }
}
