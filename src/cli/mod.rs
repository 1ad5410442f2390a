//! The command line: flags with the names, defaults and syntax of the reference's, and the
//! gateway's own limits.
//!
//! The comments on the fields of [`Flags`] are the texts of `--help`. `duration.rs` reads and
//! writes durations as Go does, `size.rs` reads and writes sizes. `requested_text.rs` has what is
//! printed instead of serving, such as the version. `commands.rs` has the commands beside serving.

mod commands;
mod duration;
mod requested_text;
mod size;

pub use commands::{Command, ExportArguments, FromArguments, ImportArguments};
pub use duration::GoDuration;
pub use size::Size;

use crate::telemetry::log::{LogFormat, LogLevel, is_escaped};
use clap::{Parser, ValueEnum};
use duration::parse_duration;
use size::size_up_to;
use std::str::FromStr;

/// When a push is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DurabilityFlag {
    /// When it is in effect.
    Interval,
    /// When it is on disk.
    Push,
}

/// What to do about the reference's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFlag {
    /// Import it if nothing was imported so far; refuse to start if it has changed since.
    Auto,
    /// Import it again if it has changed since.
    File,
    /// Ignore it.
    Never,
}

/// Accepts pushes of metrics from batch jobs and shows them to Prometheus.
///
/// A drop-in replacement for the Prometheus Pushgateway: the same API, flags and metrics, made for
/// very many concurrent pushers.
///
/// Arguments can also be read from a file, one per line: pushgateway @FILE. Sizes are numbers of
/// bytes or have a unit, such as 64MB or 64MiB.
///
/// Instead of serving, the process prints a manual page for --help-man, and a script that completes
/// arguments for --completion-script-bash or --completion-script-zsh.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pushgateway",
    version,
    disable_version_flag = true,
    after_help = "Commands, each with its own --help:\n  pushgateway import    copies groups into a gateway\n  pushgateway export    copies groups into a file that the reference loads",
    max_term_width = 100
)]
pub struct Flags {
    /// Address to listen on, as HOST:PORT, or :PORT for all addresses of IPv6 and IPv4, or
    /// vsock://:PORT; without a port, any free port. May be repeated.
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = ":9091",
        help_heading = "Web"
    )]
    pub listen_addresses: Vec<String>,

    /// Listen on the sockets that systemd passes instead.
    #[arg(
        long = "web.systemd-socket",
        overrides_with = "no_systemd_socket",
        help_heading = "Web"
    )]
    pub systemd_socket: bool,

    #[arg(long = "no-web.systemd-socket", hide = true)]
    no_systemd_socket: bool,

    /// File that enables TLS and authentication. Not supported yet: the process does not start with
    /// one.
    #[arg(
        long = "web.config.file",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true,
        help_heading = "Web"
    )]
    pub web_config_file: String,

    /// Path under which metrics are shown.
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics",
        help_heading = "Web"
    )]
    pub telemetry_path: String,

    /// The URL under which users reach the gateway.
    #[arg(
        long = "web.external-url",
        value_name = "URL",
        default_value = "",
        hide_default_value = true,
        help_heading = "Web"
    )]
    pub external_url: String,

    /// Prefix of all paths; without it, the path of --web.external-url.
    #[arg(
        long = "web.route-prefix",
        value_name = "PATH",
        default_value = "",
        hide_default_value = true,
        help_heading = "Web"
    )]
    pub route_prefix: String,

    /// How long requests may take to be answered once the end of the process is requested: a
    /// duration such as 15s.
    #[arg(long = "web.drain-timeout", value_name = "DURATION", default_value = "15s", value_parser = parse_timeout, help_heading = "Web")]
    pub drain_timeout: GoDuration,

    /// Allow shutting down with PUT or POST of /-/quit.
    #[arg(
        long = "web.enable-lifecycle",
        overrides_with = "no_enable_lifecycle",
        help_heading = "Web"
    )]
    pub enable_lifecycle: bool,

    #[arg(long = "no-web.enable-lifecycle", hide = true)]
    no_enable_lifecycle: bool,

    /// Allow deleting all groups with PUT of /api/v1/admin/wipe, and importing groups with POST of
    /// /api/v1/admin/import.
    #[arg(
        long = "web.enable-admin-api",
        overrides_with = "no_enable_admin_api",
        help_heading = "Web"
    )]
    pub enable_admin_api: bool,

    #[arg(long = "no-web.enable-admin-api", hide = true)]
    no_enable_admin_api: bool,

    /// File of the reference whose groups are imported at the first start; the state is kept in FILE.db.
    /// FILE itself is never written. Without this flag the groups are kept in memory only.
    #[arg(
        long = "persistence.file",
        value_name = "FILE",
        default_value = "",
        hide_default_value = true,
        help_heading = "State"
    )]
    pub persistence_file: String,

    /// The longest that an answered push may be in memory only: a duration such as 500ms or 5m. If the
    /// disk is slower, it takes longer.
    #[arg(long = "persistence.interval", value_name = "DURATION", default_value = "1s", value_parser = parse_duration, help_heading = "State")]
    pub persistence_interval: GoDuration,

    /// When a push is answered: when it is in effect (it is on disk within the interval), or when it is
    /// on disk.
    #[arg(
        long = "persistence.durability",
        value_name = "WHEN",
        default_value = "interval",
        help_heading = "State"
    )]
    pub persistence_durability: DurabilityFlag,

    /// What to do if FILE was written by the reference and is not the one that was imported: refuse to
    /// start (auto), import it again and keep FILE.db as FILE.db.old (file), or ignore it (never).
    #[arg(
        long = "persistence.import",
        value_name = "CHOICE",
        default_value = "auto",
        help_heading = "State"
    )]
    pub persistence_import: ImportFlag,

    /// Answer every push with 202, also one that contradicts others. It is still not exposed:
    /// scrapes never fail.
    #[arg(
        long = "push.disable-consistency-check",
        overrides_with = "no_disable_consistency_check",
        help_heading = "Pushes"
    )]
    pub disable_consistency_check: bool,

    #[arg(long = "no-push.disable-consistency-check", hide = true)]
    no_disable_consistency_check: bool,

    /// Allow any UTF-8 in names of metrics and labels.
    #[arg(
        long = "push.enable-utf8-names",
        overrides_with = "no_enable_utf8_names",
        help_heading = "Pushes"
    )]
    pub enable_utf8_names: bool,

    #[arg(long = "no-push.enable-utf8-names", hide = true)]
    no_enable_utf8_names: bool,

    /// Largest body of a push, as it is sent; at most 1 GiB.
    #[arg(long = "limit.body-bytes", value_name = "SIZE", default_value = "64MiB", value_parser = size_up_to(1 << 30), help_heading = "Limits")]
    pub body_bytes_max: Size,

    /// Largest body of a push, after decompressing; at most 1 GiB.
    #[arg(long = "limit.decoded-body-bytes", value_name = "SIZE", default_value = "256MiB", value_parser = size_up_to(1 << 30), help_heading = "Limits")]
    pub decoded_bytes_max: Size,

    /// How many times its size the body of a push may decompress to; what stays below 1 MiB is
    /// always allowed.
    #[arg(
        long = "limit.decoded-ratio",
        value_name = "N",
        default_value_t = 200,
        value_parser = at_least_one::<u64>,
        help_heading = "Limits"
    )]
    pub decoded_ratio_max: u64,

    /// How many series one push may have: lines of the text format; in protobuf, metrics with their
    /// buckets and quantiles. It may have as many families.
    #[arg(
        long = "limit.series-per-push",
        value_name = "N",
        default_value_t = 1_000_000,
        value_parser = at_least_one::<usize>,
        help_heading = "Limits"
    )]
    pub series_per_push_max: usize,

    /// How many labels a series may have when it is pushed.
    #[arg(
        long = "limit.labels-per-series",
        value_name = "N",
        default_value_t = 1024,
        value_parser = at_least_one::<usize>,
        help_heading = "Limits"
    )]
    pub labels_per_series_max: usize,

    /// Largest text that one group may be exposed with, counted without escapes; at most 256 MiB,
    /// because escaped names may make it up to ten times as large, and offsets in the exposition
    /// have 32 bits.
    #[arg(long = "limit.group-exposition-bytes", value_name = "SIZE", default_value = "64MiB", value_parser = size_up_to(256 << 20), help_heading = "Limits")]
    pub exposition_bytes_max: Size,

    /// How many different sets of grouping label names the groups of one job may have.
    #[arg(
        long = "limit.shapes-per-job",
        value_name = "N",
        default_value_t = 64,
        value_parser = at_least_one::<usize>,
        help_heading = "Limits"
    )]
    pub shapes_per_job_max: usize,

    /// Log only events of this severity or above.
    #[arg(long = "log.level", value_name = "LEVEL", value_enum, ignore_case = true, default_value_t = LogLevel::Info, help_heading = "Log")]
    pub log_level: LogLevel,

    /// How the log is written.
    #[arg(long = "log.format", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Logfmt, help_heading = "Log")]
    pub log_format: LogFormat,

    /// Print the version.
    #[arg(long = "version", short = 'V')]
    version: bool,

    #[arg(long = "help-long", hide = true)]
    help_long: bool,

    #[arg(long = "help-man", hide = true)]
    help_man: bool,

    #[arg(long = "completion-script-bash", hide = true)]
    completion_script_bash: bool,

    #[arg(long = "completion-script-zsh", hide = true)]
    completion_script_zsh: bool,
}

/// Reads a duration that is not negative.
fn parse_timeout(text: &str) -> Result<GoDuration, String> {
    let duration = parse_duration(text)?;
    if duration.nanoseconds < 0 {
        return Err("the duration is negative".to_owned());
    }
    Ok(duration)
}

/// Reads a number that is not 0: a limit of 0 would refuse every push.
fn at_least_one<T: FromStr<Err: ToString> + Default + PartialEq>(text: &str) -> Result<T, String> {
    let number: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    if number == T::default() {
        return Err("the number has to be at least 1".to_owned());
    }
    Ok(number)
}

/// The arguments in the text of a file: one on each line that is not a comment, which begins with
/// `#`. Lines are taken as they are, so an empty line is an empty argument, which the parser
/// refuses.
///
/// ```
/// let arguments = pushgateway::cli::arguments_of_file("# limits\n--limit.body-bytes=1000", '@');
/// assert_eq!(arguments.len(), 1);
/// ```
pub fn arguments_of_file(text: &str, prefix: char) -> Vec<argfile::Argument> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| argfile::Argument::parse_ref(line, prefix))
        .collect()
}

/// What is wrong with the arguments, as one line: the part of clap's message before the usage, with
/// its tips.
pub fn error_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let said = text.lines().map(str::trim).take_while(|line| {
        !line.starts_with("Usage:") && !line.starts_with("For more information")
    });
    let mut out = String::new();
    for line in said.filter(|line| !line.is_empty()) {
        match line.strip_prefix("tip: ") {
            Some(tip) => out.extend([", ", tip]),
            None if out.is_empty() => out.push_str(line.strip_prefix("error: ").unwrap_or(line)),
            None => out.extend([" ", line]),
        }
    }
    // An argument may contain control characters.
    out.chars()
        .map(|c| {
            if is_escaped(c) {
                c.escape_default().to_string()
            } else {
                c.to_string()
            }
        })
        .collect()
}

impl Flags {
    /// Names and values of all flags, as the API and the status page show them.
    pub fn shown(&self) -> Vec<(String, String)> {
        let lower = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
        [
            ("limit.body-bytes", self.body_bytes_max.to_string()),
            (
                "limit.decoded-body-bytes",
                self.decoded_bytes_max.to_string(),
            ),
            ("limit.decoded-ratio", self.decoded_ratio_max.to_string()),
            (
                "limit.group-exposition-bytes",
                self.exposition_bytes_max.to_string(),
            ),
            (
                "limit.labels-per-series",
                self.labels_per_series_max.to_string(),
            ),
            (
                "limit.series-per-push",
                self.series_per_push_max.to_string(),
            ),
            ("limit.shapes-per-job", self.shapes_per_job_max.to_string()),
            ("log.format", lower(&self.log_format)),
            ("log.level", lower(&self.log_level)),
            ("persistence.file", self.persistence_file.clone()),
            (
                "persistence.durability",
                lower(&self.persistence_durability),
            ),
            ("persistence.import", lower(&self.persistence_import)),
            (
                "persistence.interval",
                self.persistence_interval.to_string(),
            ),
            (
                "push.disable-consistency-check",
                self.disable_consistency_check.to_string(),
            ),
            ("push.enable-utf8-names", self.enable_utf8_names.to_string()),
            ("web.config.file", self.web_config_file.clone()),
            ("web.drain-timeout", self.drain_timeout.to_string()),
            ("web.enable-admin-api", self.enable_admin_api.to_string()),
            ("web.enable-lifecycle", self.enable_lifecycle.to_string()),
            ("web.external-url", self.external_url.clone()),
            ("web.listen-address", self.listen_addresses.join(",")),
            // With the default filled in. The prefix is valid: otherwise the process has ended
            // before it serves the API.
            ("web.route-prefix", self.prefix().unwrap_or_default()),
            ("web.systemd-socket", self.systemd_socket.to_string()),
            ("web.telemetry-path", self.telemetry_path.clone()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }

    /// The prefix of all paths, without a slash at its end; may be empty.
    ///
    /// # Errors
    ///
    /// `--web.external-url` is not a URL, or the prefix is not a path.
    pub fn prefix(&self) -> Result<String, String> {
        let external = self.external_path()?;
        let (flag, given, prefix) = if self.route_prefix.is_empty() {
            ("external-url", &self.external_url, &external)
        } else {
            ("route-prefix", &self.route_prefix, &self.route_prefix)
        };
        let prefix = prefix.trim_matches('/');
        if prefix.is_empty() {
            return Ok(String::new());
        }
        // The reference panics over a colon or an asterisk. No request has the other characters in
        // its path, nor an empty part or a dot: paths are cleaned.
        let is_refused = |c: char| c.is_control() || matches!(c, ':' | '*' | '?' | '#');
        let is_path = prefix
            .split('/')
            .all(|part| !matches!(part, "" | "." | "..") && !part.contains(is_refused));
        if !is_path {
            return Err(format!(
                "--web.{flag}={given}: the prefix has to be a clean path such as /pushgateway, \
                 without any of :*?#"
            ));
        }
        Ok(format!("/{prefix}"))
    }

    /// The path of the external URL.
    fn external_path(&self) -> Result<String, String> {
        let url = &self.external_url;
        if url.is_empty() {
            return Ok(String::new());
        }
        let uri: hyper::Uri = url
            .parse()
            .map_err(|error| format!("--web.external-url={url}: {error}"))?;
        Ok(uri.path().to_owned())
    }
}

#[cfg(test)]
mod tests;
