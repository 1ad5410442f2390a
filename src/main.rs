//! Flags to gateway to exit code.

use clap::Parser;
use pushgateway::cli::{self, Flags};
use pushgateway::exposition::ParseLimits;
use pushgateway::http::{Gateway, Listeners, Options, Routes, Server};
use pushgateway::model::NameScheme;
use pushgateway::telemetry::log;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has the allocator give back to the system what the calling thread has freed.
#[expect(unsafe_code, reason = "a function of a C library")]
fn release_memory() {
    // SAFETY: mi_collect may be called by any thread at any time; it only looks at memory that is
    // free.
    unsafe { libmimalloc_sys::mi_collect(true) }
}

fn main() -> ExitCode {
    let arguments = match argfile::expand_args(cli::arguments_of_file, argfile::PREFIX) {
        Ok(arguments) => arguments,
        Err(error) => return fail(&format!("cannot read the file of arguments: {error}")),
    };
    let flags = match Flags::try_parse_from(arguments) {
        Ok(flags) => flags,
        // Help and version were asked for, and go to standard output; anything else is a mistake,
        // and one as for the reference.
        Err(error) if error.use_stderr() => return fail(&cli::error_line(&error)),
        Err(asked) => {
            let _ = asked.print();
            return ExitCode::SUCCESS;
        }
    };
    log::init(flags.log_format, flags.log_level);
    match run(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(err = %error, "cannot run");
            ExitCode::FAILURE
        }
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("pushgateway: error: {message}, try --help");
    ExitCode::FAILURE
}

fn run(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let prefix = flags.prefix()?;
    let telemetry_path = &flags.telemetry_path;
    if !telemetry_path.starts_with('/') {
        return Err(
            format!("--web.telemetry-path={telemetry_path} has to begin with a slash").into(),
        );
    }
    let routes = Routes::new(&prefix, telemetry_path);
    if routes.is_telemetry_taken() {
        return Err(
            format!("--web.telemetry-path={telemetry_path} is where something else is").into(),
        );
    }
    if !flags.web_config_file.is_empty() {
        // To go on without the protection that was asked for would be worse than not to go on.
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
    raise_open_files();
    let options = Options {
        routes: if flags.enable_admin_api {
            routes.with_admin()
        } else {
            routes
        },
        names: if flags.enable_utf8_names {
            NameScheme::Utf8
        } else {
            NameScheme::Legacy
        },
        is_check_announced: !flags.disable_consistency_check,
        is_lifecycle_enabled: flags.enable_lifecycle,
        body_bytes_max: flags.body_bytes_max,
        decoded_bytes_max: flags.decoded_bytes_max,
        decoded_ratio_max: flags.decoded_ratio_max,
        limits: ParseLimits {
            series_max: flags.series_per_push_max,
            labels_max: flags.labels_per_series_max,
        },
        shapes_per_job_max: flags.shapes_per_job_max,
        exposition_bytes_max: flags.exposition_bytes_max,
        flags: flags.shown(),
        release_memory,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listeners = if flags.systemd_socket {
            Listeners::from_systemd()?
        } else {
            Listeners::bind(&flags.listen_addresses)?
        };
        let gateway = Gateway::start(options)?;
        // Before anybody is told that it listens: a signal that comes then has to find a process
        // that knows what to do.
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "starting pushgateway");
        for address in listeners.addresses() {
            tracing::info!(%address, "listening");
        }
        let for_signals = Arc::clone(&gateway);
        tokio::spawn(async move {
            for is_second in [false, true] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if is_second {
                    tracing::warn!("second signal: ending at once");
                    std::process::exit(1);
                }
                for_signals.request_shutdown();
            }
        });
        Server::new(gateway, listeners).run().await;
        tracing::info!("ended");
        Ok(())
    })
}

/// Every connection takes a descriptor.
fn raise_open_files() {
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
