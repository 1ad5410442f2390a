//! The `date` header of answers on the fast path (RFC 9110, section 6.6.1).

use std::cell::RefCell;
use std::time::{Duration, Instant, SystemTime};

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date::UNREAD) };
}

const DATE_BYTES: usize = "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n".len();

/// The header line of the current second; each thread formats its own once a second.
struct Date {
    line: [u8; DATE_BYTES],
    /// Whether the clock shows a time that can be written. A server whose clock is wrong sends no
    /// date.
    is_writable: bool,
    /// When the next second begins; none before the first use.
    until: Option<Instant>,
}

/// Calls `write` with the header line of an answer that is given at `now`.
pub(super) fn with_date_line(now: Instant, write: impl FnOnce(&[u8])) {
    DATE.with_borrow_mut(|date| write(date.line_at(now, SystemTime::now)));
}

/// Whether `time` can be written as a date: years have four digits, and none is before 1970.
pub(super) fn is_writable(time: SystemTime) -> bool {
    /// The end of the year 9999, in seconds since the Unix epoch.
    const YEAR_10000: Duration = Duration::from_secs(253_402_300_800);
    time.duration_since(SystemTime::UNIX_EPOCH)
        .is_ok_and(|since| since < YEAR_10000)
}

impl Date {
    const UNREAD: Self = Self {
        line: [0; DATE_BYTES],
        is_writable: false,
        until: None,
    };

    /// The line of an answer that is given at `now`; empty if the time cannot be written.
    /// `wall_clock` is called at most once a second.
    fn line_at(&mut self, now: Instant, wall_clock: impl FnOnce() -> SystemTime) -> &[u8] {
        if self.until.is_none_or(|until| until <= now) {
            let time = wall_clock();
            self.is_writable = is_writable(time);
            if self.is_writable {
                let line = format!("date: {}\r\n", httpdate::fmt_http_date(time));
                self.line.copy_from_slice(line.as_bytes());
            }
            let since = time
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default();
            self.until =
                Some(now + Duration::from_nanos(1_000_000_000 - u64::from(since.subsec_nanos())));
        }
        if self.is_writable { &self.line } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_anew_every_second() {
        let mut date = Date::UNREAD;
        let now = Instant::now();
        let first = date.line_at(now, SystemTime::now).to_vec();
        let until = date.until.expect("it was written");
        assert!(
            first.starts_with(b"date: ") && until > now && until <= now + Duration::from_secs(1)
        );
        date.line = [b'x'; DATE_BYTES];
        let before = until - Duration::from_nanos(1);
        assert_eq!(date.line_at(before, SystemTime::now), [b'x'; DATE_BYTES]);
        assert!(date.line_at(until, SystemTime::now).starts_with(b"date: "));
    }

    #[test]
    fn no_date_is_written_while_the_clock_is_before_1970_or_after_9999() {
        let second = Duration::from_secs(1);
        let year_10000 = SystemTime::UNIX_EPOCH + Duration::from_secs(253_402_300_800);
        for (time, line) in [
            (SystemTime::UNIX_EPOCH - second, ""),
            (
                SystemTime::UNIX_EPOCH,
                "date: Thu, 01 Jan 1970 00:00:00 GMT\r\n",
            ),
            (
                year_10000 - second,
                "date: Fri, 31 Dec 9999 23:59:59 GMT\r\n",
            ),
            (year_10000, ""),
            (year_10000 + second * u32::MAX, ""),
        ] {
            let mut date = Date::UNREAD;
            let written = date.line_at(Instant::now(), || time).to_vec();
            assert_eq!(String::from_utf8(written).unwrap(), line);
        }
    }
}
