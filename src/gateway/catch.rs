//! Panics: a bug that ends one request must not end the process or another request.

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

/// Runs what the process cannot do without. If it panics, calls `fail`.
pub(crate) fn run_or_fail(run: impl FnOnce(), fail: impl FnOnce()) {
    if catch(run).is_err() {
        fail();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_what_the_process_needs_is_acted_on() {
        let (mut n_runs, mut n_failures) = (0, 0);
        run_or_fail(|| n_runs += 1, || n_failures += 1);
        run_or_fail(|| panic!("a panic for a test"), || n_failures += 10);
        assert_eq!((n_runs, n_failures), (1, 10));
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
