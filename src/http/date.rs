//! The `date` header of answers on the fast path (RFC 9110, section 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date { line: [0; DATE_BYTES], until: None }) };
}

const DATE_BYTES: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// The header line of the current second; each thread formats its own once a second.
struct Date {
    line: [u8; DATE_BYTES],
    /// When the next second begins; none before the first use.
    until: Option<Instant>,
}

/// Calls `write` with the header line of an answer that is given at `now`.
pub(super) fn with_date_line(now: Instant, write: impl FnOnce(&[u8])) {
    DATE.with_borrow_mut(|date| write(date.line_at(now)));
}

impl Date {
    fn line_at(&mut self, now: Instant) -> &[u8] {
        if self.until.is_none_or(|until| until <= now) {
            let time = SystemTime::now();
            let line = format!("date: {}\r\n", httpdate::fmt_http_date(time));
            self.line.copy_from_slice(line.as_bytes());
            let since = time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            self.until =
                Some(now + Duration::from_nanos(1_000_000_000 - u64::from(since.subsec_nanos())));
        }
        &self.line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_anew_every_second() {
        let mut date = Date {
            line: [0; DATE_BYTES],
            until: None,
        };
        let now = Instant::now();
        let first = date.line_at(now).to_vec();
        let until = date.until.expect("it was written");
        assert!(
            first.starts_with(b"date: ") && until > now && until <= now + Duration::from_secs(1)
        );
        date.line = [b'x'; DATE_BYTES];
        assert_eq!(
            date.line_at(until - Duration::from_nanos(1)),
            [b'x'; DATE_BYTES]
        );
        assert!(date.line_at(until).starts_with(b"date: "));
    }
}
