//! What a real Prometheus sees of a gateway: how long its scrapes take by its own measure, what they
//! cost the gateway, and the gateway's memory.
//!
//! For each target in turn: all groups are pushed, then Prometheus scrapes the target at even
//! intervals, first while nothing is pushed, then while each group pushes once a minute.

use crate::blocking_client::BlockingClient;
use crate::ledger::Ledger;
use crate::load::{self, Arrivals, Plan};
use crate::numbers::{format_figure, format_seconds, group_digits, median, ratios_in_order};
use crate::process::ProcessUsage;
use crate::report::JsonLines;
use crate::target::{self, Programs, Target};
use crate::temp_folder::TempFolder;
use crate::values::ValueKind;
use crate::workload::{N_FLEET_LINES, Workload};
use serde::Serialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The settings of the measurement.
#[derive(Clone, Debug)]
pub struct PrometheusSettings {
    pub targets: Vec<String>,
    pub groups: u32,
    pub values: ValueKind,
    /// Number of scrapes in each part of the measurement.
    pub scrapes: u32,
    pub interval: Duration,
    /// Pushing all groups stops after this time.
    pub give_up_after: Duration,
    pub programs: Programs,
    pub json: Option<PathBuf>,
}

/// Groups push once in this time, while pushes and scrapes run at the same time.
const PUSH_INTERVAL: Duration = Duration::from_secs(60);

/// What was measured of one target. The field names are those of the JSON file.
#[derive(Clone, Debug, Serialize)]
struct PrometheusView {
    scenario: &'static str,
    target: String,
    groups: u32,
    values: ValueKind,
    interval_seconds: f64,
    /// The first scrape, for which the gateway may have to build everything.
    first_scrape_seconds: f64,
    /// `scrape_duration_seconds` of the scrapes while nothing was pushed.
    at_rest_seconds: Vec<f64>,
    /// CPU of the gateway in seconds, divided by the number of these scrapes.
    at_rest_cpu_seconds: f64,
    /// `scrape_duration_seconds` of the scrapes beside pushes.
    beside_pushes_seconds: Vec<f64>,
    /// CPU of the gateway beside pushes, scrapes and pushes together, as a share of one core.
    beside_pushes_cpu_share: f64,
    pushes_per_second: f64,
    /// `scrape_samples_scraped` of the last scrape.
    samples: f64,
    /// Resident memory at the end.
    resident_bytes: u64,
    resident_bytes_max: u64,
    /// Why the measurement is worth nothing, in words.
    failures: Vec<String>,
}

/// Measures all targets in turn and prints a table. Returns whether all scrapes were complete.
///
/// # Errors
///
/// A program is missing, or a server does not answer.
pub fn run(settings: &PrometheusSettings) -> Result<bool, String> {
    target::check(
        settings.targets.iter().map(String::as_str),
        &settings.programs,
    )?;
    let mut json = JsonLines::open(settings.json.as_deref())?;
    let mut views = Vec::new();
    for name in &settings.targets {
        let view = measure(name, settings)?;
        json.append(&view)?;
        views.push(view);
    }
    print!("{}", table(settings, &views));
    Ok(views.iter().all(|view| view.failures.is_empty()))
}

fn measure(name: &str, settings: &PrometheusSettings) -> Result<PrometheusView, String> {
    let target = target::start(name, &settings.programs, 0)?;
    let pid = target
        .pid
        .ok_or_else(|| format!("{name}: only targets that the harness starts can be measured"))?;
    let workload = Workload {
        values: settings.values,
        ..Workload::fleet(settings.groups)
    };
    let ledger = Arc::new(Ledger::new(&workload));
    let pushes_per_second = f64::from(settings.groups) / PUSH_INTERVAL.as_secs_f64();
    let plan = Plan {
        address: target.address,
        prefix: target.prefix.clone(),
        workload,
        arrivals: Arrivals::Open {
            per_second: pushes_per_second,
            poisson: true,
        },
        connections: 16,
        threads: 1,
        keep_alive: true,
        duration: settings.interval * settings.scrapes,
        count: None,
        bulk: None,
        seed: 1,
        scrapes: None,
        is_checked: false,
    };
    let groups = group_digits(&settings.groups.to_string());
    println!("{name}: pushing {groups} groups");
    let n_there = load::preload(&plan, &ledger, settings.give_up_after, |_| ());
    let mut failures = Vec::new();
    if n_there < settings.groups {
        failures.push(format!(
            "gave up after {} with {} of {groups} groups",
            format_seconds(settings.give_up_after.as_secs_f64()),
            group_digits(&n_there.to_string())
        ));
    }
    let usage = || ProcessUsage::of(pid).ok_or_else(|| format!("{name} has ended"));

    let folder = TempFolder::new("prometheus")?;
    let prometheus = start_prometheus(&settings.programs, &folder, &target, settings.interval)?;
    let mut queries = Queries::of(&prometheus);
    let timeout = settings.interval * 3 + Duration::from_secs(30);
    println!("{name}: scrapes while nothing is pushed");
    queries.wait_until_ready(timeout)?;
    queries.wait_for_scrapes(1, timeout)?;
    let before = usage()?;
    let n = settings.scrapes as usize;
    queries.wait_for_scrapes(1 + n, settings.interval * settings.scrapes + timeout)?;
    let at_rest = usage()?.since(before);

    println!(
        "{name}: scrapes beside {} pushes/s",
        format_figure(pushes_per_second)
    );
    let (before, began, n_before) = (usage()?, Instant::now(), queries.scrape_durations()?.len());
    let result = load::run(plan, &ledger);
    let (after, elapsed) = (usage()?, began.elapsed());
    for (kind, n) in &result.unanswered {
        failures.push(format!("{n} pushes were not answered: {kind}"));
    }
    let durations = queries.scrape_durations()?;
    let samples = queries.last("scrape_samples_scraped")?;
    let expected = f64::from(settings.groups) * N_FLEET_LINES as f64;
    if samples < expected {
        failures.push(format!(
            "the last scrape had {} samples, and {} were pushed",
            format_figure(samples),
            format_figure(expected)
        ));
    }
    let n_down = queries.all("up")?.iter().filter(|up| **up != 1.0).count();
    if n_down > 0 {
        failures.push(format!("{n_down} scrapes failed, says Prometheus"));
    }
    Ok(PrometheusView {
        scenario: "prometheus",
        target: name.to_owned(),
        groups: settings.groups,
        values: settings.values,
        interval_seconds: settings.interval.as_secs_f64(),
        first_scrape_seconds: durations[0],
        at_rest_seconds: durations[1..=n].to_vec(),
        at_rest_cpu_seconds: at_rest.cpu_seconds() / f64::from(settings.scrapes),
        beside_pushes_seconds: durations[n_before..].to_vec(),
        beside_pushes_cpu_share: after.since(before).cpu_seconds() / elapsed.as_secs_f64(),
        pushes_per_second,
        samples,
        resident_bytes: after.resident_bytes,
        resident_bytes_max: after.resident_bytes_max,
        failures,
    })
}

/// Starts a Prometheus that scrapes the target and keeps its data in `folder`.
fn start_prometheus(
    programs: &Programs,
    folder: &TempFolder,
    target: &Target,
    interval: Duration,
) -> Result<Target, String> {
    let configuration = configuration(&target.address.to_string(), interval);
    let path = folder.path().join("prometheus.yml");
    std::fs::write(&path, configuration).map_err(|error| format!("{}: {error}", path.display()))?;
    target::start_prometheus(programs, folder.path())
}

fn configuration(address: &str, interval: Duration) -> String {
    let ms = interval.as_millis();
    format!(
        "scrape_configs:\n- job_name: gateway\n  honor_labels: true\n  scrape_interval: {ms}ms\n  scrape_timeout: {ms}ms\n  \
         static_configs:\n  - targets: ['{address}']\n"
    )
}

/// Queries to a Prometheus about its scrapes of the target.
struct Queries(BlockingClient);

/// How often Prometheus is asked whether another scrape has ended. Each question costs it CPU.
const ASK_INTERVAL: Duration = Duration::from_millis(100);

impl Queries {
    fn of(prometheus: &Target) -> Self {
        Self(BlockingClient::new(prometheus.address))
    }

    /// All values of a metric that Prometheus itself makes for each scrape of the target, oldest
    /// first.
    fn all(&mut self, metric: &str) -> Result<Vec<f64>, String> {
        // The query is metric{job="gateway"}[1d].
        let path = format!("/api/v1/query?query={metric}%7Bjob%3D%22gateway%22%7D%5B1d%5D");
        let (body, _) = self
            .0
            .get(&path, "")
            .map_err(|error| format!("Prometheus does not answer: {error}"))?;
        values_of(&body)
    }

    fn last(&mut self, metric: &str) -> Result<f64, String> {
        let all = self.all(metric)?;
        all.last()
            .copied()
            .ok_or_else(|| format!("Prometheus has no {metric}"))
    }

    /// How long each scrape took that has ended, in seconds.
    fn scrape_durations(&mut self) -> Result<Vec<f64>, String> {
        self.all("scrape_duration_seconds")
    }

    /// Waits until Prometheus answers queries: it listens before that.
    fn wait_until_ready(&mut self, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        while let Err(error) = self.0.get("/-/ready", "") {
            if Instant::now() > deadline {
                return Err(format!("Prometheus does not get ready: {error}"));
            }
            std::thread::sleep(ASK_INTERVAL);
        }
        Ok(())
    }

    /// Waits until this many scrapes have ended since Prometheus was started.
    fn wait_for_scrapes(&mut self, n: usize, timeout: Duration) -> Result<(), String> {
        let deadline = Instant::now() + timeout;
        while self.scrape_durations()?.len() < n {
            if Instant::now() > deadline {
                return Err(format!(
                    "Prometheus has not scraped {n} times within {}",
                    format_seconds(timeout.as_secs_f64())
                ));
            }
            std::thread::sleep(ASK_INTERVAL);
        }
        Ok(())
    }
}

/// The values of the only series in an answer of the query API; empty if it has no series.
fn values_of(body: &[u8]) -> Result<Vec<f64>, String> {
    let unexpected = || {
        let text = String::from_utf8_lossy(body);
        format!("Prometheus answered {text}")
    };
    let answer: Value = serde_json::from_slice(body).map_err(|_| unexpected())?;
    let series = answer["data"]["result"].as_array().ok_or_else(unexpected)?;
    let Some(series) = series.first() else {
        return Ok(Vec::new());
    };
    let values = series["values"].as_array().ok_or_else(unexpected)?;
    values
        .iter()
        .map(|pair| pair[1].as_str().and_then(|text| text.parse().ok()))
        .collect::<Option<Vec<f64>>>()
        .ok_or_else(unexpected)
}

/// The kernel counts CPU in steps of this many seconds.
const CPU_STEP_SECONDS: f64 = 0.01;

/// The CPU of a scrape in words. Less than the kernel's step is not known precisely.
fn cpu_in_words(seconds: f64) -> String {
    if seconds < CPU_STEP_SECONDS {
        format!("below {}", format_seconds(CPU_STEP_SECONDS))
    } else {
        format_seconds(seconds)
    }
}

/// A line of the table: its title, and how to make the cell of a target.
type Figure = (String, fn(&PrometheusView) -> String);

/// The table of all targets, with the failures first and ratios to the last target at the end.
fn table(settings: &PrometheusSettings, views: &[PrometheusView]) -> String {
    let mut out = "\n".to_owned();
    for view in views {
        for failure in &view.failures {
            out += &format!("FAILED: {}: {failure}\n", view.target);
        }
    }
    out += &format!(
        "{} groups, {} values, a scrape every {}; times as Prometheus measures them\n",
        group_digits(&settings.groups.to_string()),
        settings.values.name(),
        format_seconds(settings.interval.as_secs_f64())
    );
    let rate = views
        .first()
        .map_or(f64::NAN, |view| view.pushes_per_second);
    let rate = format_figure(rate);
    let figures: [Figure; 8] = [
        ("first scrape".to_owned(), |v| {
            format_seconds(v.first_scrape_seconds)
        }),
        ("scrape at rest".to_owned(), |v| {
            format_seconds(median(&v.at_rest_seconds))
        }),
        ("gateway CPU of it".to_owned(), |v| {
            cpu_in_words(v.at_rest_cpu_seconds)
        }),
        (format!("scrape beside {rate} pushes/s"), |v| {
            format_seconds(median(&v.beside_pushes_seconds))
        }),
        ("gateway CPU meanwhile".to_owned(), |v| {
            format!("{:.1} % of a core", v.beside_pushes_cpu_share * 100.0)
        }),
        ("memory".to_owned(), |v| {
            format!("{} MB", format_figure(v.resident_bytes as f64 / 1e6))
        }),
        ("highest memory".to_owned(), |v| {
            format!("{} MB", format_figure(v.resident_bytes_max as f64 / 1e6))
        }),
        ("samples of a scrape".to_owned(), |v| {
            format_figure(v.samples)
        }),
    ];
    out += &format!("{:30}", "target");
    for view in views {
        out += &format!("  {:>20}", view.target);
    }
    for (title, cell) in &figures {
        out += &format!("\n{title:30}");
        for view in views {
            out += &format!("  {:>20}", cell(view));
        }
    }
    out.push('\n');
    if let Some((base, others)) = views.split_last() {
        for view in others {
            let ratio = |of: &[f64], to: &[f64]| format_figure(median(&ratios_in_order(of, to)));
            out += &format!(
                "{} / {}: {} × the scrape at rest, {}{} × its CPU, {} × the scrape beside pushes, {} × the memory\n",
                view.target,
                base.target,
                ratio(&view.at_rest_seconds, &base.at_rest_seconds),
                if view.at_rest_cpu_seconds < CPU_STEP_SECONDS {
                    "below "
                } else {
                    ""
                },
                ratio(
                    &[view.at_rest_cpu_seconds.max(CPU_STEP_SECONDS)],
                    &[base.at_rest_cpu_seconds]
                ),
                ratio(&view.beside_pushes_seconds, &base.beside_pushes_seconds),
                ratio(&[view.resident_bytes as f64], &[base.resident_bytes as f64]),
            );
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_a_series_are_read_from_the_answer_of_the_query_api() {
        let answer = |result: &str| {
            format!(
                r#"{{"status":"success","data":{{"resultType":"matrix","result":[{result}]}}}}"#
            )
        };
        let series = r#"{"metric":{"job":"gateway"},"values":[[1.5,"0.84"],[6.5,"1e-3"]]}"#;
        assert_eq!(values_of(answer(series).as_bytes()), Ok(vec![0.84, 0.001]));
        assert_eq!(values_of(answer("").as_bytes()), Ok(vec![]));
        for broken in [
            "",
            "{}",
            r#"{"status":"error"}"#,
            &answer(r#"{"values":[[1]]}"#),
        ] {
            assert!(values_of(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn less_cpu_than_the_kernel_counts_is_not_zero() {
        assert_eq!(cpu_in_words(0.0), "below 10 ms");
        assert_eq!(cpu_in_words(0.0099), "below 10 ms");
        assert_eq!(cpu_in_words(0.25), "250 ms");
    }

    #[test]
    fn a_scrape_may_take_as_long_as_the_interval() {
        let text = configuration("127.0.0.1:9", Duration::from_millis(2500));
        for line in [
            "  honor_labels: true\n",
            "  scrape_interval: 2500ms\n",
            "  scrape_timeout: 2500ms\n",
            "  - targets: ['127.0.0.1:9']\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn the_table_shows_both_gateways_and_what_failed() {
        let settings = PrometheusSettings {
            targets: Vec::new(),
            groups: 30_000,
            values: ValueKind::Independent,
            scrapes: 2,
            interval: Duration::from_secs(5),
            give_up_after: Duration::from_secs(60),
            programs: Programs::default(),
            json: None,
        };
        let view = |target: &str, factor: f64, failures: Vec<String>| PrometheusView {
            scenario: "prometheus",
            target: target.to_owned(),
            groups: 30_000,
            values: ValueKind::Independent,
            interval_seconds: 5.0,
            first_scrape_seconds: factor,
            at_rest_seconds: vec![factor, factor * 3.0],
            at_rest_cpu_seconds: 0.1 * factor,
            beside_pushes_seconds: vec![factor],
            beside_pushes_cpu_share: 0.02 * factor,
            pushes_per_second: 500.0,
            samples: 420_000.0,
            resident_bytes: 50_000_000,
            resident_bytes_max: 60_000_000,
            failures,
        };
        let failed = vec!["1 scrapes failed, says Prometheus".to_owned()];
        let table = table(
            &settings,
            &[view("self", 0.5, vec![]), view("reference", 2.0, failed)],
        );
        let expected = "\nFAILED: reference: 1 scrapes failed, says Prometheus\n\
                        30,000 groups, independent values, a scrape every 5 s; times as Prometheus measures them\n";
        assert!(table.starts_with(expected), "{table}");
        let line = |start: &str| {
            let line = table.lines().find(|line| line.starts_with(start)).unwrap();
            line[start.len()..]
                .split("  ")
                .map(str::trim)
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(line("scrape at rest"), ["1 s", "4 s"]);
        assert_eq!(line("gateway CPU of it"), ["50 ms", "200 ms"]);
        assert_eq!(line("scrape beside 500 pushes/s"), ["500 ms", "2 s"]);
        assert_eq!(
            line("gateway CPU meanwhile"),
            ["1.0 % of a core", "4.0 % of a core"]
        );
        assert!(
            table.contains("self / reference: 0.25 × the scrape at rest, 0.25 × its CPU"),
            "{table}"
        );
    }
}
