//! Sends the same generated requests to the reference Pushgateway and to the gateway, and compares
//! the answers.
//!
//! Statuses, kinds of answers, texts of parse errors, redirects and expositions must be the same.
//! Requests whose answers differ on purpose are not generated, or the difference is listed in
//! [`explanation`].
//!
//! Environment: `PUSHGATEWAY_REFERENCE` names the reference's binary (1.11.2);
//! `PUSHGATEWAY_DIFFERENTIAL` is the number of requests (default 600), and also the seed of the
//! generator.

mod common;

use common::outside::{NotRun, run_tests};
use common::reference::Reference;
use common::{Client, Gateway, Response, TIMEOUT, gzip, read_response};
use pushgateway::exposition::{protobuf, text};
use pushgateway::model::{Escaping, LabelSet, NameScheme};
use std::fmt::Write as _;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;

fn main() -> ExitCode {
    run_tests![generated_requests_are_answered_as_by_the_reference,]
}

/// A generated request.
#[derive(Debug)]
struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
}

/// One of `from`, at random.
fn pick<T: Clone>(random: &mut fastrand::Rng, from: &[T]) -> T {
    from[random.usize(..from.len())].clone()
}

/// A path: mostly of a group, sometimes an unusual one.
fn path(random: &mut fastrand::Rng) -> String {
    if random.u8(..25) == 0 {
        let odd = [
            "/metrics/job/",
            "/metrics/job",
            "/metrics/",
            "/Metrics/job/a",
            "/metrics/JOB/a/l/v",
            "/metrics/jobs/a",
            "/nope",
            "/metrics//job/a",
            "/metrics/job/a/../b",
            "/metrics/job/a/./l/v",
            "/metrics/job/a%2",
            "/metrics/job/a%zz/l/v",
            "/metrics/job@base64",
            "/metrics/job@base64/",
            "/api/v1/nope",
            "/-/ready/",
            "/-/quit",
            "/api/v1/status/x",
            "/metrics/job/a?x=1",
        ];
        return pick(random, &odd).to_owned();
    }
    let mut path = pick(
        random,
        &[
            "/metrics/job/a",
            "/metrics/job/a",
            "/metrics/job/b",
            "/metrics/job/c%20d",
            "/metrics/job/a+b",
            "/metrics/job@base64/YQ",
            "/metrics/job@base64/YQ==",
            "/metrics/job@base64/!",
            "/metrics/job@base64/=",
        ],
    )
    .to_owned();
    for _ in 0..random.usize(..3) {
        // Instances are never empty: an empty one breaks every scrape of the reference.
        let instance = ["/instance/i", "/instance/k", "/instance@base64/aQ"];
        let others = [
            "/l/v",
            "/l/w",
            "/l@base64/dg==",
            "/m/",
            "/m/x%2Fy",
            "/1x/v",
            "/__x/v",
            "/job/z",
            "/l/%C3%BC",
            "/l@base64/=",
            "/m",
            "/l/%22%0A%5C",
        ];
        path += if random.u8(..3) == 0 {
            pick(random, &instance)
        } else {
            pick(random, &others)
        };
    }
    path
}

/// A body of valid families. Types are chosen at random for each name, so some pushes contradict
/// others.
fn valid_body(random: &mut fastrand::Rng) -> String {
    let mut body = String::new();
    let mut names = vec!["f0", "f1", "f2", "f3", "f0_count", "f1_sum", "g_total"];
    random.shuffle(&mut names);
    for name in &names[..random.usize(..4)] {
        let labels: &[&str] = &[
            "",
            "{l=\"x\"}",
            "{l=\"y\",k=\"\"}",
            "{job=\"own\"}",
            "{k=\"\\\"\\\\\\n\"}",
            "{instance=\"own\"}",
        ];
        if random.u8(..3) == 0 {
            let _ = writeln!(body, "# HELP {name} Some help.");
        }
        match random.u8(..7) {
            0..3 => {
                if random.bool() {
                    let _ = writeln!(
                        body,
                        "# TYPE {name} {}",
                        pick(random, &["gauge", "counter", "untyped", "Gauge"])
                    );
                }
                for _ in 0..=random.usize(..2) {
                    let value = pick(
                        random,
                        &[
                            "1",
                            "-2.5",
                            "1e9",
                            "NaN",
                            "+Inf",
                            "0.00001",
                            "123456789",
                            "-0",
                        ],
                    );
                    let stamp = if random.u8(..30) == 0 { " 1234" } else { "" };
                    let _ = writeln!(body, "{name}{} {value}{stamp}", pick(random, labels));
                }
            }
            3 => {
                let _ = write!(
                    body,
                    "# TYPE {name} summary\n{name}{{quantile=\"0.5\"}} 2\n{name}_sum 3\n{name}_count 4\n"
                );
            }
            4 => {
                let _ = write!(
                    body,
                    "# TYPE {name} histogram\n{name}_bucket{{le=\"1\"}} 2\n{name}_sum 3.5\n{name}_count 4\n"
                );
            }
            _ => {
                let _ = writeln!(body, "{name}{} {}", pick(random, labels), random.u32(..100));
            }
        }
    }
    body
}

/// Converts a body to delimited protobuf; `None` if the body is not valid.
fn as_protobuf(body: &str) -> Option<Vec<u8>> {
    let families = text::parse(body.as_bytes(), NameScheme::Legacy)
        .ok()
        .filter(|families| families.broken_rule.is_none())?;
    let (key, mut out) = (
        protobuf::KeyFields::new(&LabelSet::default(), Escaping::AllowUtf8),
        Vec::new(),
    );
    for family in families.skeleton.families() {
        let template = protobuf::FamilyTemplate::new(family, &[], false, Escaping::AllowUtf8);
        let mut metrics = Vec::new();
        template.render(
            &key,
            &families.values[family.value_range()],
            &[],
            0,
            &mut metrics,
        );
        protobuf::write_header(
            family.name(),
            family.help(),
            family.metric_type(),
            Escaping::AllowUtf8,
            metrics.len(),
            &mut out,
        );
        out.extend_from_slice(&metrics);
    }
    Some(out)
}

/// A request: mostly a push, as text or protobuf, compressed or not, and sometimes damaged.
fn request(random: &mut fastrand::Rng) -> Request {
    let method = pick(
        random,
        &[
            "PUT", "PUT", "PUT", "POST", "POST", "DELETE", "GET", "PATCH", "OPTIONS",
        ],
    );
    let method = if random.u8(..4) > 0 {
        pick(random, &["PUT", "POST", "DELETE"])
    } else {
        method
    };
    let mut headers = Vec::new();
    let text = valid_body(random);
    let mut body = text.clone().into_bytes();
    match random.u8(..10) {
        // A byte is replaced, removed or inserted.
        0 | 1 if !body.is_empty() => {
            let at = random.usize(..body.len());
            match random.u8(..3) {
                0 => body[at] = pick(random, b"#{}\"\\\n\t =,x_:1.e\r"),
                1 => {
                    body.remove(at);
                }
                _ => body.insert(at, pick(random, b"#{}\"\\\n\t =,x_:1.e\r")),
            }
        }
        2 => {
            if let Some(message) = as_protobuf(&text) {
                let whole = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
                headers.push(("Content-Type", whole));
                body = message;
                if random.u8(..5) == 0 {
                    body.truncate(random.usize(..=body.len()));
                }
            }
        }
        3 => {
            headers.push(("Content-Encoding", "gzip"));
            body = gzip(&body);
            if random.u8(..5) == 0 {
                body.truncate(random.usize(..=body.len()));
            }
        }
        4 => headers.push((
            "Content-Type",
            pick(
                random,
                &[
                    "text/plain",
                    "application/json",
                    "text/plain; version=0.0.4; charset=utf-8",
                ],
            ),
        )),
        5 => headers.push((
            "Content-Encoding",
            pick(random, &["identity", "br", "deflate"]),
        )),
        _ => {}
    }
    if !matches!(method, "PUT" | "POST") {
        body.clear();
        headers.clear();
    }
    Request {
        method,
        path: path(random),
        headers,
        body,
    }
}

/// Sends a request over a new connection. Returns `None` if the connection is closed without an
/// answer, as the reference does when it panics.
fn send(address: SocketAddr, request: &Request) -> Option<Response> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut head = format!(
        "{} {} HTTP/1.1\r\nHost: pushgateway.test\r\nConnection: close\r\n",
        request.method, request.path
    );
    for (name, value) in &request.headers {
        let _ = write!(head, "{name}: {value}\r\n");
    }
    if matches!(request.method, "PUT" | "POST") {
        let _ = write!(head, "Content-Length: {}\r\n", request.body.len());
    }
    head += "\r\n";
    stream
        .write_all(&[head.as_bytes(), &request.body].concat())
        .expect("the server reads");
    read_response(&mut BufReader::new(stream), false)
}

/// The part of an answer that must be the same.
fn class(response: &Response) -> String {
    let text = String::from_utf8_lossy(&response.body).into_owned();
    let text = text.trim_end();
    let what = if text.starts_with("pushed metrics are invalid or inconsistent") {
        // If there are several contradictions, the order of a Go map decides which one the
        // reference names.
        "inconsistent".to_owned()
    } else if response
        .header("content-type")
        .is_some_and(|kind| kind.starts_with("text/plain; version") || kind.contains("html"))
    {
        "page".to_owned()
    } else if text.starts_with('{') {
        "json".to_owned()
    } else {
        text.to_owned()
    };
    format!(
        "{} {:?} {:?} {what}",
        response.status,
        response.header("location"),
        response.header("allow")
    )
}

/// Why two answers may differ; `None` if they must not.
fn explanation(
    request: &Request,
    reference: Option<&Response>,
    ours: &Response,
) -> Option<&'static str> {
    let text = |response: &Response| String::from_utf8_lossy(&response.body).into_owned();
    let Some(reference) = reference else {
        return (ours.status == 400).then_some("the reference panics where a line has no name");
    };
    if ours.status == 400 && reference.status == 400 && text(ours).contains("invalid metric name") {
        return Some("the reference takes a line without a name for the metric before it");
    }
    if ours.status == 400 && reference.status == 400 && text(ours).starts_with("flate: corrupt") {
        return Some("the reference tells the offset");
    }
    if request.path.starts_with("/api/v1/status/") {
        return Some("the API's paths are redirected properly");
    }
    None
}

/// The pushed lines of an exposition, sorted. Of push times only whether they are zero.
fn exposition(address: SocketAddr) -> Vec<String> {
    // The reference queues some requests. All of them are done when it answers this push.
    let sync = Request {
        method: "PUT",
        path: "/metrics/job/sync".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    assert_eq!(send(address, &sync).expect("an answer").status, 200);
    let scrape = Request {
        method: "GET",
        path: "/metrics".to_owned(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let scrape = send(address, &scrape).expect("an answer");
    assert_eq!(scrape.status, 200, "{}", scrape.text());
    let own = ["go_", "process_", "pushgateway_", "promhttp_"];
    let mut lines: Vec<String> = scrape
        .text()
        .lines()
        .filter(|line| {
            let name = line.strip_prefix("# TYPE ").unwrap_or(line);
            !line.starts_with("# HELP ") && !own.iter().any(|own| name.starts_with(own))
        })
        .map(|line| match line.rsplit_once(' ') {
            Some((series, value)) if line.starts_with("push_") && value != "0" => {
                format!("{series} nonzero")
            }
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

fn generated_requests_are_answered_as_by_the_reference() -> Result<(), NotRun> {
    let reference = Reference::start(&["--persistence.file=", "--web.enable-admin-api"])?;
    let gateway = Gateway::with_flags(&["--web.enable-admin-api"]);
    let n_requests: u64 =
        std::env::var("PUSHGATEWAY_DIFFERENTIAL").map_or(600, |n| n.parse().expect("a number"));
    let mut random = fastrand::Rng::with_seed(n_requests);
    let (mut n_explained, mut statuses) = (0, std::collections::BTreeMap::<u16, u64>::new());
    let mut since_wipe: Vec<Request> = Vec::new();
    for n in 0..n_requests {
        let request = request(&mut random);
        let (theirs, ours) = (
            send(reference.address, &request),
            send(gateway.address, &request).expect("an answer"),
        );
        *statuses.entry(ours.status).or_default() += 1;
        since_wipe.push(request);
        let request = since_wipe.last().expect("just pushed");
        if theirs.as_ref().map(class) != Some(class(&ours)) {
            let explained = explanation(request, theirs.as_ref(), &ours);
            let theirs = theirs.as_ref().map(class);
            assert!(
                explained.is_some(),
                "request {n}: {request:?}\nbody {:?}\nreference {theirs:?}\nours      {:?}",
                String::from_utf8_lossy(&request.body),
                class(&ours)
            );
            n_explained += 1;
        }
        if since_wipe.len() == 25 || n + 1 == n_requests {
            let (theirs, ours) = (exposition(reference.address), exposition(gateway.address));
            if theirs != ours {
                let only = |a: &[String], b: &[String]| {
                    a.iter()
                        .filter(|line| !b.contains(line))
                        .cloned()
                        .collect::<Vec<_>>()
                };
                panic!(
                    "after request {n}: only the reference {:?}, only ours {:?}\n{since_wipe:#?}",
                    only(&theirs, &ours),
                    only(&ours, &theirs)
                );
            }
            let wipe = Request {
                method: "PUT",
                path: "/api/v1/admin/wipe".to_owned(),
                headers: Vec::new(),
                body: Vec::new(),
            };
            for address in [reference.address, gateway.address] {
                assert_eq!(send(address, &wipe).expect("an answer").status, 202);
            }
            since_wipe.clear();
        }
    }
    println!("{n_requests} requests, {n_explained} differences explained, statuses {statuses:?}");
    assert!(
        [200, 202, 400]
            .iter()
            .all(|status| statuses.contains_key(status)),
        "{statuses:?}"
    );
    // The gateway still serves requests over kept connections.
    assert_eq!(
        Client::new(&gateway)
            .request("GET", "/-/healthy", &[], b"")
            .status,
        200
    );
    Ok(())
}
