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
    match run(&flags, from_systemd) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(err = %error, "cannot run");
            ExitCode::FAILURE
        }
    }
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
    let listeners = from_systemd.unwrap_or_else(|| Listeners::bind(&flags.listen_addresses))?;
    runtime.block_on(serve(flags, http_options, listeners))
}

async fn serve(
    flags: &Flags,
    http_options: HttpOptions,
    listeners: Listeners,
) -> Result<(), Box<dyn Error>> {
    let gateway = Gateway::start(gateway_options(flags))?;
    // Before the log says that the process listens: a supervisor may send a signal right after
    // that.
    let signals = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    ];
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting pushgateway");
    for address in listeners.addresses() {
        tracing::info!(%address, "listening");
    }
    tokio::spawn(end_on_signals(signals, Arc::clone(&gateway)));
    Server::new(gateway, http_options, listeners)?.run().await;
    tracing::info!("ended");
    Ok(())
}

/// Requests the end of the process at the first signal, and ends it at the second.
async fn end_on_signals([mut terminate, mut interrupt]: [Signal; 2], gateway: Arc<Gateway>) {
    for is_second in [false, true] {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if is_second {
            tracing::warn!("second signal: ending at once");
            std::process::exit(1);
        }
        gateway.request_shutdown();
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
