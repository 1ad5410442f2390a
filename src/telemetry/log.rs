//! The log: one line for each event on standard error, in logfmt or JSON, with the reference's
//! keys: `ts`, `level` and `msg`, then those of the event.
//!
//! An event is always one line, because control characters are escaped in both formats.
//!
//! Logging never blocks: a line goes into a bounded queue, and a thread writes the lines. While
//! nobody reads standard error, lines beyond 1024 are dropped and counted.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt::{self, Write as _};
use std::panic::PanicHookInfo;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, SystemTime};
use time::OffsetDateTime;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// `ts=… level=info msg="…" key=value`
    Logfmt,
    /// One JSON object on each line.
    Json,
}

/// The least severe events that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// Every event.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// What went wrong.
    Error,
}

/// How many lines may wait to be written.
const QUEUED_LINES_MAX: usize = 1024;
/// How long [`finish`] waits for the lines in the queue to be written.
const FINISH_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends the thread that writes, once its queue is empty, when it is dropped.
static WRITER: Mutex<Option<WorkerGuard>> = Mutex::new(None);
/// Counts the lines that had no room in the queue.
static DROPPED_LINES: OnceLock<ErrorCounter> = OnceLock::new();

/// Sets up the log of the process, also for panics. Call this once, and [`finish`] at the end.
pub fn init(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES_MAX)
        .thread_name("log")
        .finish(std::io::stderr());
    let _ = DROPPED_LINES.set(writer.error_counter());
    *WRITER.lock().unwrap_or_else(PoisonError::into_inner) = Some(guard);
    let layer = tracing_subscriber::fmt::layer()
        .event_format(LineFormatter(format))
        .with_writer(writer);
    tracing_subscriber::registry()
        .with(level)
        .with(layer)
        .init();
    // The standard library's hook writes to standard error itself, and may block.
    std::panic::set_hook(Box::new(log_panic));
}

/// Waits until the lines that were logged so far are written, for at most two seconds. Nothing is
/// logged after that.
pub fn finish() {
    let guard = WRITER.lock().unwrap_or_else(PoisonError::into_inner).take();
    // On a thread of its own: if the queue stays full, dropping the guard says so on standard
    // output, which may be blocked as standard error is.
    let (finished, is_finished) = mpsc::channel();
    let dropping = std::thread::Builder::new().spawn(move || {
        drop(guard);
        let _ = finished.send(());
    });
    if dropping.is_ok() {
        let _ = is_finished.recv_timeout(FINISH_TIMEOUT);
    }
}

/// How many lines were dropped.
pub(super) fn n_dropped_lines() -> usize {
    DROPPED_LINES.get().map_or(0, ErrorCounter::dropped_lines)
}

/// Logs a panic.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let location = panic.location().map(ToString::to_string);
    let err = panic.payload_as_str().unwrap_or_default();
    // Only if the environment asks for one: RUST_BACKTRACE.
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread, location, err, backtrace, "panic; this is a bug");
    if thread == "main" {
        // The process ends.
        finish();
    }
}

/// Formats events as lines.
struct LineFormatter(LogFormat);

impl<S, N> FormatEvent<S, N> for LineFormatter
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        let mut line = LogLine::new(self.0);
        line.text("ts", &timestamp(date_time(SystemTime::now())));
        line.text("level", level);
        // The macros put the message in front of the other fields.
        event.record(&mut line);
        writer.write_str(&line.finish())
    }
}

/// A time of the wall clock in UTC; the nearest one that can be written if the year is before 1970
/// or has more than four digits.
fn date_time(time: SystemTime) -> OffsetDateTime {
    /// The last second of the year 9999, since the Unix epoch.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    OffsetDateTime::UNIX_EPOCH + since.unwrap_or_default().min(LAST)
}

/// As the reference writes it: `2026-11-24T15:37:04.259Z`.
fn timestamp(at: OffsetDateTime) -> String {
    let (date, time) = (at.date(), at.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second, millisecond) = time.as_hms_milli();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// A line that is being written.
struct LogLine {
    format: LogFormat,
    out: String,
}

impl LogLine {
    fn new(format: LogFormat) -> Self {
        Self {
            format,
            out: String::new(),
        }
    }

    /// Begins the next key and value.
    fn key(&mut self, key: &str) {
        match self.format {
            LogFormat::Logfmt => {
                if !self.out.is_empty() {
                    self.out.push(' ');
                }
                self.out.push_str(key);
                self.out.push('=');
            }
            LogFormat::Json => {
                self.out.push(if self.out.is_empty() { '{' } else { ',' });
                self.quoted(key);
                self.out.push(':');
            }
        }
    }

    /// Writes a key and a text, which logfmt quotes only where it has to.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        let is_plain = |c: char| !is_escaped(c) && !matches!(c, ' ' | '"' | '=');
        if self.format == LogFormat::Logfmt && !value.is_empty() && value.chars().all(is_plain) {
            self.out.push_str(value);
        } else {
            self.quoted(value);
        }
    }

    /// Writes a key and a number or boolean, which neither format quotes.
    fn bare(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// Writes a quoted text with JSON's escapes, which programs that read logfmt know as well.
    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                c if is_escaped(c) => {
                    let _ = write!(self.out, "\\u{:04x}", u32::from(c));
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn finish(mut self) -> String {
        self.out.push_str(if self.format == LogFormat::Json {
            "}\n"
        } else {
            "\n"
        });
        self.out
    }
}

/// Whether `c` is shown as an escape: control characters, what ends a line for some programs that
/// read logs, and the invisible characters that change the direction of text, with which a text can
/// be made to look like another one.
pub(crate) fn is_escaped(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

/// The key of a field; the reference calls the message `msg`.
fn key_of(field: &Field) -> &str {
    if field.name() == "message" {
        "msg"
    } else {
        field.name()
    }
}

impl Visit for LogLine {
    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.bare(key_of(field), value)
        } else {
            self.text(key_of(field), &value.to_string())
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.bare(key_of(field), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.bare(key_of(field), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.bare(key_of(field), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(key_of(field), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(key_of(field), &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct KeptBytes(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for KeptBytes {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `log` writes, with `T` for the time.
    fn written(format: LogFormat, log: impl Fn()) -> String {
        let kept = KeptBytes::default();
        let writer = kept.clone();
        let layer = tracing_subscriber::fmt::layer()
            .event_format(LineFormatter(format))
            .with_writer(move || writer.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let time_len = "2026-11-24T15:37:04.259Z".len();
        let mut out = String::new();
        for line in text.lines() {
            let at = line.find("20").unwrap();
            out += &format!("{}T{}\n", &line[..at], &line[at + time_len..]);
        }
        out
    }

    fn log() {
        tracing::info!(address = %"[::]:9091", n = 3, ok = true, "listening");
        tracing::error!(
            err = "a \"b\"\n\x1b[0m\u{2028}\\",
            empty = "",
            path = "C:\\x",
            "cannot run"
        );
        tracing::debug!("one word: {}", 1);
        tracing::warn!(x = 1.5, "plain");
    }

    #[test]
    fn logfmt_has_the_references_keys_and_one_line_for_each_event() {
        let expected = r#"ts=T level=info msg=listening address=[::]:9091 n=3 ok=true
ts=T level=error msg="cannot run" err="a \"b\"\n\u001b[0m\u2028\\" empty="" path=C:\x
ts=T level=debug msg="one word: 1"
ts=T level=warn msg=plain x=1.5
"#;
        assert_eq!(written(LogFormat::Logfmt, log), expected);
    }

    #[test]
    fn json_has_the_references_keys_and_one_line_for_each_event() {
        let expected = r#"{"ts":"T","level":"info","msg":"listening","address":"[::]:9091","n":3,"ok":true}
{"ts":"T","level":"error","msg":"cannot run","err":"a \"b\"\n\u001b[0m\u2028\\","empty":"","path":"C:\\x"}
{"ts":"T","level":"debug","msg":"one word: 1"}
{"ts":"T","level":"warn","msg":"plain","x":1.5}
"#;
        let text = written(LogFormat::Json, log);
        assert_eq!(text, expected);
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
    }

    #[test]
    fn characters_that_hide_what_a_line_says_are_escaped() {
        let invisible: Vec<char> = ['\0', '\t', '\x1b', '\x7f', '\u{85}', '\u{9b}', '\u{61c}']
            .into_iter()
            .chain('\u{200e}'..='\u{200f}')
            .chain('\u{2028}'..='\u{202e}')
            .chain('\u{2066}'..='\u{2069}')
            .collect();
        for format in [LogFormat::Logfmt, LogFormat::Json] {
            for &c in &invisible {
                let line = written(format, || tracing::info!(job = format!("a{c}b"), "x"));
                assert!(!line.contains(c), "{line:?}");
                assert!(line.contains("\"a\\"), "{line:?}");
            }
        }
        let plain = written(LogFormat::Logfmt, || {
            tracing::info!(job = "أب-üß-日本", "x")
        });
        assert!(plain.contains("job=أب-üß-日本"), "{plain}");
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_795_534_624_259_999_999).unwrap();
        assert_eq!(timestamp(at), "2026-11-24T15:37:04.259Z");
        let second = Duration::from_secs(1);
        let epoch = SystemTime::UNIX_EPOCH;
        let written = |time| timestamp(date_time(time));
        assert_eq!(written(epoch + second), "1970-01-01T00:00:01.000Z");
        assert_eq!(written(epoch - second), "1970-01-01T00:00:00.000Z");
        for seconds in [253_402_300_800, 1 << 60] {
            let time = epoch + Duration::from_secs(seconds);
            assert_eq!(written(time), "9999-12-31T23:59:59.000Z");
        }
    }
}
