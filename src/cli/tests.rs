//! Tests of the command line: what is read, refused and shown.

use super::*;

#[test]
fn a_file_has_one_argument_on_each_line_and_comments() {
    let arguments = |text: &str| -> Vec<String> {
        let of = |argument: argfile::Argument| match argument {
            argfile::Argument::PassThrough(argument) => argument.into_string().unwrap(),
            argfile::Argument::Path(path) => format!("file {}", path.display()),
        };
        arguments_of_file(text, argfile::PREFIX)
            .into_iter()
            .map(of)
            .collect()
    };
    assert_eq!(
        arguments("# x\n--log.level\r\ninfo\n#--log.format=json\n@more"),
        ["--log.level", "info", "file more"]
    );
    assert_eq!(arguments("\n # x\n"), ["", " # x"]);
}

#[test]
fn mistakes_in_flags_are_reported_on_one_line() {
    let check = |args: &[&str], line: &str| {
        let error = Flags::try_parse_from(std::iter::once(&"pushgateway").chain(args)).unwrap_err();
        assert_eq!(error_line(&error), line);
    };
    check(&["--foo"], "unexpected argument '--foo' found");
    check(
        &["--web.enable-lifecyle"],
        "unexpected argument '--web.enable-lifecyle' found, a similar argument exists: '--web.enable-lifecycle'",
    );
    check(&["x\ny\x1b"], "unexpected argument 'x y' found");
    check(
        &["--web.listen-address"],
        "a value is required for '--web.listen-address <ADDRESS>' but none was supplied",
    );
    check(
        &["--log.format=JSON"],
        "invalid value 'JSON' for '--log.format <FORMAT>' [possible values: logfmt, json]",
    );
    check(
        &["--web.drain-timeout=-1s"],
        "invalid value '-1s' for '--web.drain-timeout <DURATION>': the duration is negative",
    );
    check(
        &["--persistence.interval=soon"],
        "invalid value 'soon' for '--persistence.interval <DURATION>': \"soon\" is no duration such as 90s or 1h30m",
    );
}

#[test]
fn every_limit_is_shown_and_refuses_0() {
    let parse = |flag: String| Flags::try_parse_from(["pushgateway".to_owned(), flag]);
    let shown = Flags::try_parse_from(["pushgateway"]).unwrap().shown();
    let command = <Flags as clap::CommandFactory>::command();
    let limits = command
        .get_arguments()
        .filter_map(|argument| argument.get_long()?.strip_prefix("limit."));
    let mut n_limits = 0;
    for limit in limits {
        n_limits += 1;
        let of_limit = format!("limit.{limit}");
        let (_, value) = shown.iter().find(|(name, _)| *name == of_limit).unwrap();
        let error = parse(format!("--limit.{limit}=0")).unwrap_err();
        assert!(error_line(&error).contains("at least"), "{error}");
        // What is shown can be given.
        let flags = parse(format!("--limit.{limit}={value}")).unwrap();
        assert_eq!(flags.shown(), shown);
    }
    assert_eq!(n_limits, 7);
}

#[test]
fn flags_are_read_as_the_reference_reads_them() {
    let flags = |args: &[&str]| Flags::try_parse_from(std::iter::once(&"pushgateway").chain(args));
    let parsed = flags(&[
        "--web.enable-lifecycle",
        "--web.listen-address=:1",
        "--web.listen-address",
        ":2",
    ])
    .unwrap();
    assert!(parsed.enable_lifecycle);
    assert_eq!(parsed.listen_addresses, [":1", ":2"]);
    assert!(
        !flags(&["--web.enable-lifecycle", "--no-web.enable-lifecycle"])
            .unwrap()
            .enable_lifecycle
    );
    assert!(flags(&["--web.telemetry-path=/one", "--web.telemetry-path=/two"]).is_err());
    assert!(flags(&["--no.such.flag"]).is_err());
    assert!(
        flags(&[
            "--limit.group-exposition-bytes=268435456",
            "--limit.body-bytes=1073741824"
        ])
        .is_ok()
    );
    assert!(flags(&["--limit.group-exposition-bytes=268435457"]).is_err());
    assert!(flags(&["--limit.decoded-body-bytes=1073741825"]).is_err());
    assert_eq!(
        flags(&["--limit.body-bytes=64MB"])
            .unwrap()
            .body_bytes_max
            .bytes,
        64_000_000
    );
    assert_eq!(
        flags(&["--log.level=WARN"]).unwrap().log_level,
        LogLevel::Warn
    );
    assert_eq!(
        flags(&["--web.listen-address="]).unwrap().listen_addresses,
        [""]
    );
    assert_eq!(
        flags(&["--web.external-url=http://x.test/p/"])
            .unwrap()
            .prefix(),
        Ok("/p".to_owned())
    );
    assert_eq!(
        flags(&["--web.external-url=/only/path"]).unwrap().prefix(),
        Ok("/only/path".to_owned())
    );
    assert_eq!(
        flags(&["--web.external-url=http://x/p", "--web.route-prefix=/"])
            .unwrap()
            .prefix(),
        Ok(String::new())
    );
    for url in [
        "http://localhost/pushgateway",
        "localhost:9091",
        "/a//b",
        "/a/../b",
        "/a?b",
    ] {
        let error = flags(&["--web.route-prefix", url]).unwrap().prefix();
        assert_eq!(
            error,
            Err(format!(
                "--web.route-prefix={url}: the prefix has to be a clean path such as \
                 /pushgateway, without any of :*?#"
            ))
        );
    }
    assert!(
        flags(&["--web.external-url=http://x/a:b"])
            .unwrap()
            .prefix()
            .is_err()
    );
    assert!(
        flags(&["--web.external-url=http://[::1"])
            .unwrap()
            .prefix()
            .is_err()
    );
}
