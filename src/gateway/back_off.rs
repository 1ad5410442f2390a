//! How long a push or deletion waits before it tries again, while another push is in the way.
//!
//! Most pushes are in the way for microseconds, so the first attempts only let other work run. A
//! push of many series, or one whose thread the kernel has suspended, can be in the way for
//! milliseconds. Then the pauses grow, so that waiting costs no processor time.

use std::time::Duration;

/// How many attempts follow each other with nothing but a yield in between.
const YIELDS_MAX: u32 = 4;
/// The first pause after that.
const PAUSE_MIN: Duration = Duration::from_micros(50);
/// The longest pause. tokio's timer rounds pauses up to whole milliseconds.
const PAUSE_MAX: Duration = Duration::from_millis(4);

/// The pauses between the attempts of one push or deletion.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    n_waits: u32,
}

impl BackOff {
    /// How long to sleep now; `None` if it is enough to yield.
    fn next_pause(&mut self) -> Option<Duration> {
        let n_pauses = self.n_waits.checked_sub(YIELDS_MAX);
        self.n_waits = self.n_waits.saturating_add(1);
        n_pauses.map(|n| {
            PAUSE_MIN
                .saturating_mul(1u32.checked_shl(n).unwrap_or(u32::MAX))
                .min(PAUSE_MAX)
        })
    }

    /// Waits while other tasks run on this worker.
    pub async fn wait(&mut self) {
        match self.next_pause() {
            None => tokio::task::yield_now().await,
            Some(pause) => tokio::time::sleep(pause).await,
        }
    }

    /// Has the calling thread wait.
    pub fn wait_on_thread(&mut self) {
        match self.next_pause() {
            None => std::thread::yield_now(),
            Some(pause) => std::thread::sleep(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_some_yields_and_grow_to_a_limit() {
        let mut back_off = BackOff::default();
        let pauses: Vec<_> = (0..100).map(|_| back_off.next_pause()).collect();
        assert_eq!(pauses[..4], [None; 4]);
        let micros = |n: usize| pauses[n].map(|pause| pause.as_micros());
        assert_eq!([4, 5, 6].map(micros), [Some(50), Some(100), Some(200)]);
        assert_eq!([11, 99].map(micros), [Some(4_000); 2]);
    }
}
