//! What the operator sees while groups are copied: a bar or a spinner on a terminal, nothing
//! elsewhere. Warnings are lines on standard error in both cases.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// Something that takes a while.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Work whose amount is not known.
    pub fn spinner(what: &str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.set_style(style("{spinner} {msg}: {binary_bytes} [{elapsed}]"));
        // The bar is drawn on standard error, and only if that is a terminal.
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Work on a number of groups.
    pub fn groups(what: &str, n_groups: usize) -> Self {
        let bar = ProgressBar::new(n_groups as u64).with_message(what.to_owned());
        bar.set_style(style("{msg}: {pos}/{len} groups {wide_bar} [{elapsed}]"));
        Self(bar)
    }

    /// Notes that more groups are done.
    pub fn advance(&self, n: usize) {
        self.0.inc(n as u64);
    }

    /// Notes that more bytes were received. A bar of groups does not show them.
    pub fn advance_bytes(&self, n_bytes: usize) {
        if self.0.length().is_none() {
            self.0.inc(n_bytes as u64);
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are in this file")
}

/// Prints a warning.
pub(super) fn warn(text: &str) {
    eprintln!("pushgateway: warning: {text}");
}
