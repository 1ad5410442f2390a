//! A value that may be missing or out of date without harm.

use std::sync::{Arc, Mutex};

/// A guess that only makes error texts more helpful.
///
/// No decision depends on the value, so that no protocol has to order it and loom need not see it.
/// No thread waits for the lock: a thread that does not get it at once goes on without the value.
#[derive(Debug)]
pub struct Hint<T>(Mutex<Option<Arc<T>>>);

impl<T> Hint<T> {
    /// Holds `value`.
    pub fn new(value: Option<Arc<T>>) -> Self {
        Self(Mutex::new(value))
    }

    /// The value; `None` also while another thread changes it.
    pub fn get(&self) -> Option<Arc<T>> {
        self.0.try_lock().ok().and_then(|value| value.clone())
    }

    /// Replaces the value by `next` of it. Does nothing while another thread reads or changes the
    /// value.
    pub fn change(&self, next: impl FnOnce(Option<Arc<T>>) -> Option<Arc<T>>) {
        if let Ok(mut value) = self.0.try_lock() {
            *value = next(value.take());
        }
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_hint_that_is_being_changed_is_missing_and_stays_as_it_is() {
        let hint = Hint::new(Some(Arc::new(1)));
        hint.change(|value| {
            assert_eq!(hint.get(), None);
            hint.change(|_| unreachable!("the lock is held"));
            value.map(|value| Arc::new(*value + 1))
        });
        assert_eq!(hint.get(), Some(Arc::new(2)));
    }
}
