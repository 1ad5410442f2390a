//! The scenario: which groups are pushed, when the gateway is scraped, and when its memory is read.

use super::figures::{FigureValues, Figures};
use super::scraper::{ScrapeClient, TimedScrape};
use crate::ledger::Ledger;
use crate::load::{self, Arrivals, Plan};
use crate::numbers::{group_digits, ratios_in_order};
use crate::process::ProcessUsage;
use crate::report::JsonLines;
use crate::target::{self, Programs, Target};
use crate::temp_folder::TempFolder;
use crate::values::ValueKind;
use crate::workload::{Action, Workload};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The settings of the scenario.
#[derive(Clone, Debug)]
pub struct ScrapeCostSettings {
    pub groups: u32,
    pub rounds: u32,
    pub values: ValueKind,
    pub threads: usize,
    pub seed: u64,
    pub programs: Programs,
    pub json: Option<PathBuf>,
    /// Runs another scenario instead: create the groups, scrape once, delete all groups, and
    /// measure the memory that is left.
    pub only_delete: bool,
}

/// Longer than pushing all groups takes.
const TIMEOUT: Duration = Duration::from_secs(600);
/// Pause before each measurement, so that work left over from the previous one is finished.
const SETTLE_TIME: Duration = Duration::from_millis(500);
/// After this time without pushes and scrapes, the gateway counts as at rest.
const REST_TIME: Duration = Duration::from_secs(3);
/// When memory is measured, counted from the last delete.
const WAIT_AFTER_DELETE: Duration = Duration::from_secs(30);

/// Scrapes at rest have this many times as many rounds as other measurements: they are short, and
/// vary with the cores on which the kernel places client and server.
const AT_REST_ROUNDS_FACTOR: u32 = 3;
/// Number of scrapes at even intervals before scrapes count as expected. The gateway may have
/// learned other intervals from the scrapes before.
const N_WARM_UP_SCRAPES: u32 = 5;

/// The running scenario.
struct ScrapeScenario {
    settings: ScrapeCostSettings,
    gateway: Target,
    ledger: Arc<Ledger>,
    plan: Plan,
    figures: Figures,
    random: fastrand::Rng,
}

/// Runs the scenario and prints its figures. Returns whether the checks of scrapes found no
/// violation.
///
/// # Errors
///
/// A program is missing, or a server does not answer.
pub fn run(settings: ScrapeCostSettings) -> Result<bool, String> {
    let gateway = target::start("self", &settings.programs, 0)?;
    let workload = Workload {
        values: settings.values,
        ..Workload::fleet(settings.groups)
    };
    let ledger = Arc::new(Ledger::new(&workload));
    let plan = Plan {
        address: gateway.address,
        prefix: gateway.prefix.clone(),
        workload,
        arrivals: Arrivals::Closed,
        connections: 16,
        threads: settings.threads,
        keep_alive: true,
        duration: TIMEOUT,
        count: None,
        bulk: None,
        seed: settings.seed,
        scrapes: None,
        is_checked: true,
    };
    let random = fastrand::Rng::with_seed(settings.seed);
    let mut scenario = ScrapeScenario {
        settings,
        gateway,
        ledger,
        plan,
        figures: Figures::default(),
        random,
    };
    let has_passed = if scenario.settings.only_delete {
        scenario.measure_deletion()?
    } else {
        scenario.measure_scrapes()?
    };
    println!(
        "\n{} groups, {} values",
        group_digits(&scenario.settings.groups.to_string()),
        scenario.settings.values.name()
    );
    scenario.figures.print();
    scenario.write_json()?;
    Ok(has_passed)
}

const METRICS: &str = "/metrics";

impl ScrapeScenario {
    /// Adds the gateway's resident memory to the figure `name`.
    fn record_memory(&mut self, name: &str) {
        if let Some(usage) = self.gateway.pid.and_then(ProcessUsage::of) {
            self.figures
                .add(name, "MB", usage.resident_bytes as f64 / 1e6);
        }
    }

    /// Pushes or deletes each of these groups once.
    fn run_action(&mut self, action: Action, groups: Arc<[u32]>) {
        load::for_each_group(&self.plan, &self.ledger, action, groups, TIMEOUT, |_| ());
    }

    fn all_groups(&self) -> Arc<[u32]> {
        (0..self.settings.groups).collect()
    }

    fn print_step(&self, what: &str) {
        println!("{} groups: {what}", self.settings.groups);
    }

    /// Pushes all groups for the first time.
    fn push_new_groups(&mut self) -> ScrapeClient {
        std::thread::sleep(Duration::from_secs(1));
        self.record_memory("resident, idle");
        self.print_step("pushing all");
        let began = Instant::now();
        self.run_action(Action::Push, self.all_groups());
        self.figures.add(
            "pushes a second, new groups",
            "1/s",
            f64::from(self.settings.groups) / began.elapsed().as_secs_f64(),
        );
        self.record_memory("resident, pushed and never scraped");
        ScrapeClient::new(self.gateway.address).expect("the gateway has answered pushes")
    }

    /// The scenario of `only_delete`. Returns whether the last scrape shows no groups.
    fn measure_deletion(&mut self) -> Result<bool, String> {
        let mut scraper = self.push_new_groups();
        let got = scraper.get(METRICS, true)?;
        self.figures
            .add("first scrape, gzip: last byte", "ms", ms(got.last_byte));
        self.record_memory("resident, scraped once");
        self.print_step("deleting all");
        self.run_action(Action::Delete, self.all_groups());
        self.record_memory("resident, right after the deletion");
        std::thread::sleep(WAIT_AFTER_DELETE);
        self.record_memory("resident, 30 s later");
        let got = scraper.get(METRICS, false)?;
        self.figures
            .add("bytes of a scrape after that", "MB", got.bytes as f64 / 1e6);
        // The gateway's own metrics are far smaller than this; a million groups are far larger.
        Ok(got.bytes < 100_000)
    }

    /// The scenario without `only_delete`. Returns whether the final check found no violation.
    fn measure_scrapes(&mut self) -> Result<bool, String> {
        let mut scraper = self.push_new_groups();
        let folder = TempFolder::new("scrape")?;
        self.measure_first_scrapes(&mut scraper, folder.path())?;
        // The servers run until all figures are taken.
        let _servers = self.measure_scrapes_at_rest(&mut scraper, folder.path())?;
        self.record_memory("resident, scraped plain and gzip");
        self.measure_scrapes_after_some_pushes(&mut scraper)?;
        let push_all = self.measure_scrapes_after_all_pushes(&mut scraper)?;
        self.measure_expected_scrapes(&mut scraper, push_all)?;
        self.record_memory("resident, right after that");
        std::thread::sleep(REST_TIME);
        self.record_memory("resident, at rest after all that");
        self.measure_peak_memory()?;
        let (_, violations) = load::final_scrape(self.gateway.address, METRICS, true, &self.ledger)
            .map_err(|error| error.to_string())?;
        violations
            .iter()
            .take(5)
            .for_each(|violation| println!("FAILED: {violation}"));
        self.add_ratios();
        Ok(violations.is_empty())
    }

    /// Measures the first scrapes and the sizes of their bodies, and writes the bodies to the files
    /// `plain` and `gzip` for nginx.
    fn measure_first_scrapes(
        &mut self,
        scraper: &mut ScrapeClient,
        folder: &Path,
    ) -> Result<(), String> {
        for (name, gzip) in [("plain", false), ("gzip", true)] {
            let mut bytes = Vec::new();
            let got = scraper.get_into(METRICS, gzip, |part| bytes.extend_from_slice(part))?;
            self.figures.add(
                &format!("first scrape, {name}: last byte"),
                "ms",
                ms(got.last_byte),
            );
            self.figures
                .add(&format!("size, {name}"), "MB", got.bytes as f64 / 1e6);
            std::fs::write(folder.join(name), bytes).map_err(|error| error.to_string())?;
        }
        self.figures.add(
            "size, gzip -1",
            "MB",
            size_of_gzip(&folder.join("plain"))? as f64 / 1e6,
        );
        // The gateway may compress better what it first compressed fast, because a scrape was
        // waiting.
        std::thread::sleep(REST_TIME);
        let mut bytes = Vec::new();
        scraper.get_into(METRICS, true, |part| bytes.extend_from_slice(part))?;
        self.figures
            .add("size, gzip, at rest", "MB", bytes.len() as f64 / 1e6);
        std::fs::write(folder.join("gzip"), bytes).map_err(|error| error.to_string())
    }

    /// Measures scrapes of the unchanged store, in turn with nginx sending the same bytes and bare
    /// hyper sending as many. Returns these servers.
    fn measure_scrapes_at_rest(
        &mut self,
        scraper: &mut ScrapeClient,
        folder: &Path,
    ) -> Result<Vec<Target>, String> {
        let nginx = target::start_nginx(&self.settings.programs, folder)?;
        let mut of_nginx = ScrapeClient::new(nginx.address)?;
        // The least that a server on hyper needs that has all bytes in one piece in its memory and
        // only sends them.
        let floors = [false, true].map(|gzip| {
            let bytes = self.figures.median(if gzip {
                "size, gzip, at rest"
            } else {
                "size, plain"
            }) * 1e6;
            target::start("floor", &self.settings.programs, bytes as usize)
        });
        let floors = floors
            .into_iter()
            .collect::<Result<Vec<Target>, String>>()?;
        let mut of_floors = floors
            .iter()
            .map(|floor| ScrapeClient::new(floor.address))
            .collect::<Result<Vec<ScrapeClient>, String>>()?;
        self.print_step("scrapes of a store at rest; nginx sending the same bytes, and bare hyper as many, in turn");
        for round in 0..=self.settings.rounds * AT_REST_ROUNDS_FACTOR {
            for (name, gzip) in [("plain", false), ("gzip", true)] {
                let (ours, theirs) = (
                    scraper.get(METRICS, gzip)?,
                    of_nginx.get(&format!("/{name}"), false)?,
                );
                let of_floor = of_floors[usize::from(gzip)].get(METRICS, gzip)?;
                // The first round is a warm-up.
                if round > 0 {
                    self.figures.add(
                        &format!("at rest, {name}: last byte"),
                        "ms",
                        ms(ours.last_byte),
                    );
                    self.figures.add(
                        &format!("nginx, {name}: last byte"),
                        "ms",
                        ms(theirs.last_byte),
                    );
                    self.figures.add(
                        &format!("bare hyper, as many bytes as {name}: last byte"),
                        "ms",
                        ms(of_floor.last_byte),
                    );
                    let ratio_to = |other: &TimedScrape| {
                        ours.last_byte.as_secs_f64() / other.last_byte.as_secs_f64()
                    };
                    self.figures
                        .add(&format!("at rest / nginx, {name}"), "×", ratio_to(&theirs));
                    self.figures.add(
                        &format!("at rest / bare hyper, {name}"),
                        "×",
                        ratio_to(&of_floor),
                    );
                }
            }
        }
        Ok(floors.into_iter().chain([nginx]).collect())
    }

    /// Measures scrapes right after 1 % of the groups were pushed again.
    fn measure_scrapes_after_some_pushes(
        &mut self,
        scraper: &mut ScrapeClient,
    ) -> Result<(), String> {
        self.print_step("1 % of the groups pushed again, then a scrape at once");
        for _ in 0..self.settings.rounds {
            for (name, gzip) in [("plain", false), ("gzip", true)] {
                let mut groups: Vec<u32> = (0..self.settings.groups).collect();
                self.random.shuffle(&mut groups);
                groups.truncate((groups.len() / 100).max(1));
                std::thread::sleep(SETTLE_TIME);
                self.run_action(Action::Push, groups.into());
                let got = scraper.get(METRICS, gzip)?;
                self.figures.add(
                    &format!("1 % pushed, {name}: last byte"),
                    "ms",
                    ms(got.last_byte),
                );
            }
        }
        Ok(())
    }

    /// Measures scrapes right after all groups were pushed again. Returns how long the last pushing
    /// of all groups took.
    fn measure_scrapes_after_all_pushes(
        &mut self,
        scraper: &mut ScrapeClient,
    ) -> Result<Duration, String> {
        self.print_step("all groups pushed again, then a scrape at once");
        let mut push_all = Duration::ZERO;
        for _ in 0..self.settings.rounds.div_ceil(2) {
            std::thread::sleep(SETTLE_TIME);
            let began = Instant::now();
            self.run_action(Action::Push, self.all_groups());
            push_all = began.elapsed();
            let got = scraper.get(METRICS, true)?;
            self.figures
                .add("all pushed, gzip: last byte", "ms", ms(got.last_byte));
            self.figures
                .add("all pushed, gzip: first byte", "ms", ms(got.first_byte));
        }
        Ok(push_all)
    }

    /// Measures scrapes after all groups were pushed again, where scrapes come at even intervals,
    /// so that the gateway can work ahead. `push_all` is how long pushing all groups takes.
    fn measure_expected_scrapes(
        &mut self,
        scraper: &mut ScrapeClient,
        push_all: Duration,
    ) -> Result<(), String> {
        self.print_step("the same where a scrape is expected");
        let interval = push_all * 2 + Duration::from_secs(2);
        let began = Instant::now();
        for n in 0..=N_WARM_UP_SCRAPES + self.settings.rounds.div_ceil(3) {
            std::thread::sleep((interval * n).saturating_sub(began.elapsed()));
            let got = scraper.get(METRICS, true)?;
            if n > N_WARM_UP_SCRAPES {
                self.figures.add(
                    "all pushed, expected, gzip: last byte",
                    "ms",
                    ms(got.last_byte),
                );
            }
            if n >= N_WARM_UP_SCRAPES {
                self.run_action(Action::Push, self.all_groups());
            }
        }
        let got = scraper.get(METRICS, true)?;
        self.figures.add(
            "size, gzip, all pushed before",
            "MB",
            got.bytes as f64 / 1e6,
        );
        Ok(())
    }

    /// Measures the highest memory while all groups are pushed again and scrapes run at the same
    /// time.
    fn measure_peak_memory(&mut self) -> Result<(), String> {
        self.print_step("scrapes beside all groups being pushed again");
        let pid = self.gateway.pid.expect("the harness started the gateway");
        if ProcessUsage::reset_peak(pid) {
            let address = self.gateway.address;
            let scraping = std::thread::spawn(move || -> Result<(), String> {
                let mut scraper = ScrapeClient::new(address)?;
                (0..4).try_for_each(|n| {
                    std::thread::sleep(Duration::from_millis(200));
                    scraper.get(METRICS, n % 2 == 0).map(drop)
                })
            });
            self.run_action(Action::Push, self.all_groups());
            scraping.join().expect("a scraper panicked")?;
            let peak = ProcessUsage::of(pid)
                .map_or(f64::NAN, |usage| usage.resident_bytes_max as f64 / 1e6);
            self.figures
                .add("resident, highest beside pushes and scrapes", "MB", peak);
        }
        Ok(())
    }

    /// Adds the figures that are ratios of others.
    fn add_ratios(&mut self) {
        let plain = [
            "resident, pushed and never scraped",
            "resident, scraped plain and gzip",
            "resident, at rest after all that",
            "resident, highest beside pushes and scrapes",
        ]
        .map(|name| (name, "size, plain"));
        let gzip = ["size, gzip", "size, gzip, at rest"].map(|name| (name, "size, gzip -1"));
        for (name, to) in plain.into_iter().chain(gzip) {
            let title = match to {
                "size, gzip -1" => format!("{name} / gzip -1"),
                _ => format!("{name} / {to}"),
            };
            for ratio in ratios_in_order(self.figures.values(name), self.figures.values(to)) {
                self.figures.add(&title, "×", ratio);
            }
        }
    }

    /// Appends all figures to the JSON file, if there is one.
    fn write_json(&self) -> Result<(), String> {
        #[derive(Serialize)]
        struct Line<'a> {
            scenario: &'a str,
            groups: u32,
            values: ValueKind,
            figures: BTreeMap<&'a str, &'a FigureValues>,
        }
        let figures = self
            .figures
            .0
            .iter()
            .map(|(name, series)| (name.as_str(), series))
            .collect();
        let scenario = if self.settings.only_delete {
            "delete"
        } else {
            "scrape"
        };
        JsonLines::open(self.settings.json.as_deref())?.append(&Line {
            scenario,
            groups: self.settings.groups,
            values: self.settings.values,
            figures,
        })
    }
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The size of a file in bytes when compressed by `gzip -1`.
fn size_of_gzip(path: &Path) -> Result<u64, String> {
    let mut child = Command::new("gzip")
        .args(["-1", "-c"])
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("gzip: {error}"))?;
    let size = std::io::copy(
        &mut child.stdout.take().expect("stdout is piped"),
        &mut std::io::sink(),
    );
    child.wait().map_err(|error| error.to_string())?;
    size.map_err(|error| error.to_string())
}
