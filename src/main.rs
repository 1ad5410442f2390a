//! The process: from the command line to a gateway that serves HTTP, and to an exit status.

use clap::Parser;
use pushgateway::cli::{self, Flags};
use pushgateway::exposition::ParseLimits;
use pushgateway::gateway::{BodyLimits, Gateway, GatewayOptions, IngestOptions};
use pushgateway::http::{HttpOptions, Listeners, Routes, Server};
use pushgateway::model::NameScheme;
use pushgateway::telemetry::log;
use std::cell::Cell;
use std::error::Error;
use std::io::{self, Write};
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
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        // Mistakes are reported as the reference reports them.
        Err(error) if error.use_stderr() => return fail(&cli::error_line(&error)),
        // Help, which goes to standard output.
        Err(requested) => {
            let _ = requested.print();
            return ExitCode::SUCCESS;
        }
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
    if !flags.persistence_file.is_empty() {
        tracing::warn!(
            file = flags.persistence_file,
            "groups are kept in memory only: --persistence.file is not supported yet"
        );
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
    let served = serve(http_options, listeners, signals, &gateway);
    let end = runtime.block_on(served)?;
    runtime.shutdown_timeout(TASKS_END_TIMEOUT);
    // From here on no request is answered. State that is kept on disk is committed here once there
    // is such state, also after a second signal.
    match end {
        End::Drained => tracing::info!("ended"),
        End::SecondSignal => return Err("ended at once, as a second signal requested".into()),
    }
    Ok(())
}

/// How long tasks may take to come to their next await once the server has ended.
const TASKS_END_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the server has ended.
enum End {
    /// The end was requested, and what was asked before was answered, or the time for that is over.
    Drained,
    /// A second signal has ended the wait for that.
    SecondSignal,
}

async fn serve(
    http_options: HttpOptions,
    listeners: Listeners,
    signals: Signals,
    gateway: &Arc<Gateway>,
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
    })
}

/// The signals that the process handles.
struct Signals {
    end: EndSignals,
    others: OtherSignals,
}

impl Signals {
    /// Has the process handle its signals. They are kept from here on until they are received.
    fn register() -> io::Result<Self> {
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
