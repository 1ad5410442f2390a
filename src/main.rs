//! The process: from the command line to a gateway that serves HTTP, and to an exit status.

use clap::Parser;
use pushgateway::cli::{
    self, Command, DurabilityFlag, ExportArguments, Flags, FromArguments, ImportArguments,
    ImportFlag,
};
use pushgateway::exposition::ParseLimits;
use pushgateway::gateway::{BodyLimits, Durability, Gateway, GatewayOptions, IngestOptions};
use pushgateway::http::{HttpOptions, Listeners, Routes, Server};
use pushgateway::model::NameScheme;
use pushgateway::persistence::{self, ImportChoice, Persistence, PersistenceOptions, StartError};
use pushgateway::telemetry::log;
use pushgateway::transfer::{self, Address, Source, Target};
use std::cell::Cell;
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Makes the allocator return to the system what the calling thread has freed.
#[expect(unsafe_code, reason = "a function of a C library")]
fn release_memory() {
    // SAFETY: any thread may call mi_collect at any time; it only touches memory that is free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

/// How often the runtime's workers were asked to give memory back.
static N_RELEASE_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The runtime, once there is one.
static RUNTIME: OnceLock<tokio::runtime::Handle> = OnceLock::new();

/// Asks the runtime's workers to give memory back when they have nothing to do next.
fn request_release() {
    // Relaxed: a worker that sees the number late gives memory back when it is idle again.
    N_RELEASE_REQUESTS.fetch_add(1, Relaxed);
    if let Some(runtime) = RUNTIME.get() {
        // Wakes the workers that sleep, so that they go to sleep again.
        for _ in 0..runtime.metrics().num_workers() {
            runtime.spawn(async {});
        }
    }
}

/// Gives memory back if that was requested since this thread has last done so. For workers that have
/// nothing to do.
fn release_if_requested() {
    thread_local! {
        static N_SEEN: Cell<u64> = const { Cell::new(0) };
    }
    let n_requests = N_RELEASE_REQUESTS.load(Relaxed);
    if N_SEEN.replace(n_requests) != n_requests {
        release_memory();
    }
}

fn main() -> ExitCode {
    let arguments = match argfile::expand_args(cli::arguments_of_file, argfile::PREFIX) {
        Ok(arguments) => arguments,
        Err(error) => return fail(&format!("cannot read the file of arguments: {error}")),
    };
    if let Some(command) = Command::parse(&arguments) {
        return match command {
            Ok(command) => run_command(&command),
            Err(error) => end_early(&error),
        };
    }
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        Err(error) => return end_early(&error),
    };
    if let Some(text) = flags.requested_text() {
        let written = io::stdout().write_all(&text);
        return written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    // Before the first thread: the environment is changed.
    let from_systemd = flags.systemd_socket.then(Listeners::from_systemd);
    log::init(flags.log_format, flags.log_level);
    let status = match run(&flags, from_systemd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(err = %error, "cannot run");
            ExitCode::FAILURE
        }
    };
    log::finish();
    status
}

/// Reports a mistake as the reference does, or prints help.
fn end_early(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        return fail(&cli::error_line(error));
    }
    let _ = error.print();
    ExitCode::SUCCESS
}

/// Copies groups.
fn run_command(command: &Command) -> ExitCode {
    let copied = match command {
        Command::Import(arguments) => import(arguments),
        Command::Export(arguments) => export(arguments),
    };
    match copied {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("pushgateway: error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn import(arguments: &ImportArguments) -> Result<String, String> {
    let from = &arguments.from;
    let source = match (running_source(from)?, &arguments.from_file) {
        (Some(source), _) => source,
        (None, Some(path)) => Source::ReferenceFile(path.clone()),
        (None, None) => unreachable!("one of the flags is required"),
    };
    let target = match (&arguments.to_url, &arguments.persistence_file) {
        (Some(url), _) => Target::Running(address(
            "to-url",
            url,
            &arguments.to_headers,
            from.ca_file.as_deref(),
        )?),
        (None, Some(file)) => Target::State(file.clone()),
        (None, None) => unreachable!("one of the flags is required"),
    };
    transfer::copy(&source, &target)
}

fn export(arguments: &ExportArguments) -> Result<String, String> {
    let source = match (
        running_source(&arguments.from)?,
        &arguments.persistence_file,
    ) {
        (Some(source), _) => source,
        (None, Some(file)) => Source::State(file.clone()),
        (None, None) => unreachable!("one of the flags is required"),
    };
    let target = Target::ReferenceFile {
        path: arguments.output.clone(),
        may_replace: arguments.force,
    };
    transfer::copy(&source, &target)
}

fn running_source(from: &FromArguments) -> Result<Option<Source>, String> {
    let Some(url) = &from.from_url else {
        return Ok(None);
    };
    let path = from.from_telemetry_path.trim_matches('/');
    Ok(Some(Source::Running {
        address: address("from-url", url, &from.from_headers, from.ca_file.as_deref())?,
        telemetry_path: format!("/{path}"),
    }))
}

fn address(
    flag: &str,
    url: &str,
    headers: &[String],
    ca_file: Option<&Path>,
) -> Result<Address, String> {
    // Without the URL in the text: it may have a password.
    let mut address: Address = url.parse().map_err(|error| format!("--{flag}: {error}"))?;
    for header in headers {
        address = address.with_header(header)?;
    }
    if let Some(path) = ca_file {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let pem = std::fs::read(path).map_err(|error| failed(&error))?;
        address = address
            .with_authorities(&pem)
            .map_err(|error| failed(&error))?;
    }
    Ok(address)
}

/// Reports a mistake on the command line.
fn fail(message: &str) -> ExitCode {
    eprintln!("pushgateway: error: {message}, try --help");
    ExitCode::FAILURE
}

/// Checks the flags, then serves until the end of the process is requested.
fn run(flags: &Flags, from_systemd: Option<io::Result<Listeners>>) -> Result<(), Box<dyn Error>> {
    let http_options = http_options(flags)?;
    if !flags.web_config_file.is_empty() {
        // The operator asked for protection: starting without it would be worse than not starting.
        return Err(format!(
            "--web.config.file={} is not supported yet",
            flags.web_config_file
        )
        .into());
    }
    raise_open_files_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_park(release_if_requested)
        .build()?;
    let _ = RUNTIME.set(runtime.handle().clone());
    // As early as possible: until then such a signal ends the process.
    let signals = {
        let _context = runtime.enter();
        Signals::register()?
    };
    let listeners = from_systemd.unwrap_or_else(|| Listeners::bind(&flags.listen_addresses))?;
    let gateway = Gateway::start(gateway_options(flags))?;
    let mut persistence = match persistence_options(flags) {
        Some(options) => {
            let persistence = Persistence::start(Arc::clone(&gateway), options)?;
            persistence.wait_until_restored(RESTORE_GRACE);
            Some(persistence)
        }
        None => None,
    };
    let served = serve(http_options, listeners, signals, &gateway, &mut persistence);
    let end = runtime.block_on(served)?;
    runtime.shutdown_timeout(TASKS_END_TIMEOUT);
    // From here on no request is answered: what was pushed goes to disk, also after a second signal.
    if let Some(persistence) = persistence {
        persistence.finish()?;
    }
    match end {
        End::Drained => tracing::info!("ended"),
        End::SecondSignal => return Err("ended at once, as a second signal requested".into()),
        End::NotRestored(error) => return Err(error.into()),
    }
    Ok(())
}

/// Where the state is kept; `None` for in memory only.
fn persistence_options(flags: &Flags) -> Option<PersistenceOptions> {
    /// The writer is not busy all the time, however short the interval is.
    const INTERVAL_MIN: Duration = Duration::from_millis(10);
    let interval_ns = u64::try_from(flags.persistence_interval.nanoseconds).unwrap_or(0);
    (!flags.persistence_file.is_empty()).then(|| PersistenceOptions {
        file: flags.persistence_file.clone().into(),
        interval: Duration::from_nanos(interval_ns).max(INTERVAL_MIN),
        import: match flags.persistence_import {
            ImportFlag::Auto => ImportChoice::Auto,
            ImportFlag::File => ImportChoice::File,
            ImportFlag::Never => ImportChoice::Never,
        },
        is_push_durable: flags.persistence_durability == DurabilityFlag::Push,
    })
}

/// When pushes are answered; `None` if the state is kept in memory only.
fn disk_durability(flags: &Flags) -> Option<Durability> {
    (!flags.persistence_file.is_empty()).then_some(match flags.persistence_durability {
        DurabilityFlag::Interval => Durability::Interval,
        DurabilityFlag::Push => Durability::Push,
    })
}

/// For so long connections wait to be accepted while the state is restored. Later they are accepted, and
/// pushes and scrapes are answered 503.
const RESTORE_GRACE: Duration = Duration::from_millis(500);

/// How long tasks may take to come to their next await once the server has ended.
const TASKS_END_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the server has ended.
enum End {
    /// The end was requested, and what was asked before was answered, or the time for that is over.
    Drained,
    /// A second signal has ended the wait for that.
    SecondSignal,
    /// The state on disk cannot be restored.
    NotRestored(StartError),
}

async fn serve(
    http_options: HttpOptions,
    listeners: Listeners,
    signals: Signals,
    gateway: &Arc<Gateway>,
    persistence: &mut Option<Persistence>,
) -> io::Result<End> {
    let addresses = listeners.addresses();
    let server = Server::new(Arc::clone(gateway), http_options, listeners)?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting pushgateway");
    for address in addresses {
        tracing::info!(%address, "listening");
    }
    let Signals { end, others } = signals;
    tokio::spawn(others.log());
    Ok(tokio::select! {
        () = server.run() => End::Drained,
        () = end.end_on_second(gateway) => End::SecondSignal,
        error = not_restored(persistence) => End::NotRestored(error),
    })
}

/// Completes with the reason if the state on disk cannot be restored.
async fn not_restored(persistence: &mut Option<Persistence>) -> StartError {
    match persistence {
        Some(persistence) => persistence.failure().await,
        None => std::future::pending().await,
    }
}

/// The signals that the process handles.
struct Signals {
    end: EndSignals,
    others: OtherSignals,
}

impl Signals {
    /// Has the process handle its signals. They are kept from here on until they are received.
    fn register() -> io::Result<Self> {
        // Sent when a file reaches the limit of its size. Once it is handled, the write fails instead, which
        // is as good as a full disk. The handler stays when this is dropped.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        Ok(Self {
            end: EndSignals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            },
            others: OtherSignals {
                hangup: signal(SignalKind::hangup())?,
                user1: signal(SignalKind::user_defined1())?,
                user2: signal(SignalKind::user_defined2())?,
            },
        })
    }
}

/// The signals that request the end of the process.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Requests the end of the process at the first signal. Completes at the second one, or at the
    /// first one if the end was requested over HTTP before.
    async fn end_on_second(mut self, gateway: &Gateway) {
        tokio::select! {
            () = self.recv() => gateway.request_shutdown(),
            () = gateway.shutdown_requested() => {}
        }
        let requested_at = Instant::now();
        loop {
            self.recv().await;
            if !is_repetition(requested_at, Instant::now()) {
                return;
            }
            tracing::info!("signal ignored: the end was requested less than a second ago");
        }
    }
}

/// Whether a signal to end the process only repeats the request for that: supervisors and
/// terminals may send several signals at once.
fn is_repetition(requested_at: Instant, now: Instant) -> bool {
    now.duration_since(requested_at) < Duration::from_secs(1)
}

/// Signals that would end a process that does not handle them.
struct OtherSignals {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl OtherSignals {
    /// Logs each of them.
    async fn log(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => tracing::info!("SIGHUP: there is nothing to reload yet"),
                _ = self.user1.recv() => tracing::info!("SIGUSR1 ignored"),
                _ = self.user2.recv() => tracing::info!("SIGUSR2 ignored"),
            }
        }
    }
}

fn http_options(flags: &Flags) -> Result<HttpOptions, Box<dyn Error>> {
    let telemetry_path = &flags.telemetry_path;
    let prefix = flags.prefix()?;
    if !telemetry_path.starts_with('/') {
        return Err(
            format!("--web.telemetry-path={telemetry_path} has to begin with a slash").into(),
        );
    }
    let routes = Routes::new(&prefix, telemetry_path);
    if routes.is_telemetry_path_taken() {
        return Err(
            format!("--web.telemetry-path={telemetry_path} is where something else is").into(),
        );
    }
    Ok(HttpOptions {
        routes: if flags.enable_admin_api {
            routes.with_admin()
        } else {
            routes
        },
        is_check_announced: !flags.disable_consistency_check,
        is_lifecycle_enabled: flags.enable_lifecycle,
        drain_timeout: Duration::from_nanos(flags.drain_timeout.nanoseconds.unsigned_abs()),
        flags: flags.shown(),
    })
}

fn gateway_options(flags: &Flags) -> GatewayOptions {
    GatewayOptions {
        ingest: IngestOptions {
            names: if flags.enable_utf8_names {
                NameScheme::Utf8
            } else {
                NameScheme::Legacy
            },
            body_limits: BodyLimits {
                body_bytes_max: flags.body_bytes_max.bytes,
                decoded_bytes_max: flags.decoded_bytes_max.bytes,
                decoded_ratio_max: flags.decoded_ratio_max,
            },
            parse_limits: ParseLimits {
                series_max: flags.series_per_push_max,
                labels_max: flags.labels_per_series_max,
            },
        },
        shapes_per_job_max: flags.shapes_per_job_max,
        exposition_bytes_max: flags.exposition_bytes_max.bytes,
        disk: disk_durability(flags),
        import_reader: persistence::read_import,
        release_memory,
        request_release,
    }
}

/// Raises the limit on open files as far as the system allows: every connection takes a descriptor.
fn raise_open_files_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )
    .is_err()
    {
        tracing::warn!(limit = ?limit.current, "cannot raise the limit of open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_within_a_second_of_the_first_only_repeats_it() {
        let requested_at = Instant::now();
        let after = |ms| requested_at + Duration::from_millis(ms);
        assert!(is_repetition(requested_at, requested_at));
        assert!(is_repetition(requested_at, after(999)));
        assert!(!is_repetition(requested_at, after(1000)));
    }
}
