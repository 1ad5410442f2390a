//! The commands beside serving: `pushgateway import` and `pushgateway export`.
//!
//! A command is the first argument. Every other command line is that of [`Flags`](super::Flags), as on
//! the reference, which has no commands.

use clap::{Args, Parser};
use std::ffi::OsString;
use std::path::PathBuf;

/// What the process does instead of serving.
#[derive(Clone, Debug)]
pub enum Command {
    /// Copies groups into a gateway.
    Import(ImportArguments),
    /// Copies groups into a file that the reference loads.
    Export(ExportArguments),
}

/// Where a running gateway or reference is.
#[derive(Args, Clone, Debug, Default)]
pub struct FromArguments {
    /// Copy the groups of this running reference or gateway, such as http://old:9091. The URL may have a
    /// user:password@ and a path, which is the route prefix.
    #[arg(long = "from-url", value_name = "URL")]
    pub from_url: Option<String>,

    /// Send this header, as "Name: value", with requests to --from-url. May be repeated.
    #[arg(long = "from-header", value_name = "HEADER", requires = "from_url")]
    pub from_headers: Vec<String>,

    /// Where --from-url shows its metrics (its --web.telemetry-path), below the path of the URL.
    #[arg(
        long = "from-telemetry-path",
        value_name = "PATH",
        default_value = "/metrics"
    )]
    pub from_telemetry_path: String,

    /// File with the certificates of the authorities that https is trusted by, in PEM, in place of the
    /// well-known ones.
    #[arg(long = "ca-file", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
}

/// Copies groups with their times into a gateway. Where the gateway has a group that was pushed as late
/// or later, that one stays.
///
/// The source is a running reference, a running gateway, or the file of the reference. It is not changed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pushgateway import",
    bin_name = "pushgateway import",
    max_term_width = 100,
    group = clap::ArgGroup::new("source").args(["from_url", "from_file"]).required(true),
    group = clap::ArgGroup::new("target").args(["to_url", "persistence_file"]).required(true),
    after_help = "\
Examples:
  From a running reference into a running gateway, which was started with --web.enable-admin-api:
    pushgateway import --from-url=http://old:9091 --to-url=http://new:9091
  From a running reference into the state of a gateway that is not running:
    pushgateway import --from-url=http://old:9091 --persistence.file=/var/lib/pushgateway/state
  From the file of a reference that is stopped:
    pushgateway import --from-file=/var/lib/prometheus/pushgateway.data --to-url=http://new:9091"
)]
pub struct ImportArguments {
    /// The source, if it is running.
    #[command(flatten)]
    pub from: FromArguments,

    /// Copy the groups in this file of the reference.
    #[arg(long = "from-file", value_name = "FILE")]
    pub from_file: Option<PathBuf>,

    /// Copy the groups into this running gateway, which needs --web.enable-admin-api.
    #[arg(long = "to-url", value_name = "URL")]
    pub to_url: Option<String>,

    /// Send this header, as "Name: value", with requests to --to-url. May be repeated.
    #[arg(long = "to-header", value_name = "HEADER", requires = "to_url")]
    pub to_headers: Vec<String>,

    /// Copy the groups into the state (FILE.db) of a gateway that is not running. It is made if there is
    /// none.
    #[arg(long = "persistence.file", value_name = "FILE")]
    pub persistence_file: Option<PathBuf>,
}

/// Copies all groups with their times into a file that the reference loads (its --persistence.file).
///
/// The source is a gateway that is not running, or a running gateway or reference. It is not changed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "pushgateway export",
    bin_name = "pushgateway export",
    max_term_width = 100,
    group = clap::ArgGroup::new("source").args(["from_url", "persistence_file"]).required(true),
    after_help = "\
Examples:
  Back to the reference, from the state of a gateway that is not running:
    pushgateway export --persistence.file=/var/lib/pushgateway/state --output=pushgateway.data
  A backup of a running gateway or reference:
    pushgateway export --from-url=http://gateway:9091 --output=backup.data"
)]
pub struct ExportArguments {
    /// The source, if it is running.
    #[command(flatten)]
    pub from: FromArguments,

    /// Copy the groups in the state (FILE.db) of a gateway that is not running.
    #[arg(long = "persistence.file", value_name = "FILE")]
    pub persistence_file: Option<PathBuf>,

    /// The file to write.
    #[arg(long = "output", value_name = "FILE")]
    pub output: PathBuf,

    /// Replace the file if it exists.
    #[arg(long = "force")]
    pub force: bool,
}

impl Command {
    /// The command that the arguments begin with, after the name of the program; `None` if they begin
    /// with none.
    ///
    /// # Errors
    ///
    /// The arguments after the command are wrong, or ask for help.
    pub fn parse(arguments: &[OsString]) -> Option<Result<Self, clap::Error>> {
        let (command, rest) = arguments.get(1..)?.split_first()?;
        let arguments = std::iter::once(command).chain(rest);
        match command.to_str()? {
            "import" => Some(ImportArguments::try_parse_from(arguments).map(Self::Import)),
            "export" => Some(ExportArguments::try_parse_from(arguments).map(Self::Export)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::error_line;
    use super::*;

    fn parse(arguments: &[&str]) -> Option<Result<Command, String>> {
        let arguments: Vec<OsString> = std::iter::once(&"pushgateway")
            .chain(arguments)
            .map(Into::into)
            .collect();
        Command::parse(&arguments).map(|result| result.map_err(|error| error_line(&error)))
    }

    #[test]
    fn only_a_command_as_the_first_argument_is_one() {
        for serving in [
            &[][..],
            &["--persistence.file=import"],
            &["--log.level", "import"],
            &["x"],
        ] {
            assert!(parse(serving).is_none(), "{serving:?}");
        }
        assert!(matches!(
            parse(&["import", "--from-url=http://a", "--to-url=http://b"]),
            Some(Ok(Command::Import(_)))
        ));
        assert!(matches!(
            parse(&["export", "--persistence.file=a", "--output", "b", "--force"]),
            Some(Ok(Command::Export(ExportArguments { force: true, .. })))
        ));
    }

    #[test]
    fn a_command_has_one_source_and_one_target() {
        let error = |arguments: &[&str]| parse(arguments).unwrap().unwrap_err();
        for (arguments, text) in [
            (&["import", "--to-url=http://b"][..], "--from-url"),
            (&["import", "--from-url=http://a"], "--to-url"),
            (
                &[
                    "import",
                    "--from-url=http://a",
                    "--to-url=http://b",
                    "--persistence.file=c",
                ],
                "cannot be used with",
            ),
            (&["export", "--output=b"], "--from-url"),
            (&["export", "--persistence.file=a"], "--output"),
            (
                &["export", "--persistence.file=a", "--output=b", "c"],
                "unexpected argument 'c'",
            ),
        ] {
            let line = error(arguments);
            assert!(line.contains(text) && !line.contains('\n'), "{line}");
        }
    }
}
