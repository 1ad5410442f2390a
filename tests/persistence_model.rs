//! Random changes and restarts against a plain model: after every restart the gateway shows exactly the
//! groups, values and times that it showed before.
//!
//! `PUSHGATEWAY_MODEL_SEEDS` sets how many histories are tried, for long runs by hand.

mod common;

use common::faults::{Place, wait_until_ready};
use common::{Client, Gateway};
use fastrand::Rng;
use rustix::process::Signal;
use std::collections::BTreeMap;

/// How many histories are tried.
const N_SEEDS: u64 = 6;
/// How many steps a history has.
const N_STEPS: usize = 120;

const JOBS: [&str; 5] = ["a", "b", "c", "d", "e"];
const FAMILIES: [&str; 4] = ["f0", "f1", "f2", "f3"];

/// The families of each group, with their values.
type Model = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// A gateway's process, and what it has to show.
struct History {
    place: Place,
    gateway: Gateway,
    client: Client,
    model: Model,
    random: Rng,
    n_pushed: u64,
}

fn start(place: &Place) -> (Gateway, Client) {
    let gateway = Gateway::with_flags(&[
        &place.flag(),
        "--persistence.durability=push",
        "--web.enable-admin-api",
    ]);
    wait_until_ready(&gateway);
    let client = Client::new(&gateway);
    (gateway, client)
}

impl History {
    fn new(seed: u64) -> Self {
        let place = Place::new("model");
        let (gateway, client) = start(&place);
        Self {
            place,
            gateway,
            client,
            model: Model::new(),
            random: Rng::with_seed(seed),
            n_pushed: 0,
        }
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> u16 {
        let body = body.as_bytes();
        self.client.request(method, path, &[], body).status
    }

    fn push(&mut self, job: &'static str) {
        let path = format!("/metrics/job/{job}");
        let replaces = self.random.bool();
        let n_families = self.random.usize(0..=FAMILIES.len());
        let families = self.random.choose_multiple(FAMILIES, n_families);
        self.n_pushed += 1;
        let value = self.n_pushed;
        let line = |family: &&str| format!("# TYPE {family} gauge\n{family} {value}\n");
        let body: String = families.iter().map(line).collect();
        let method = if replaces { "PUT" } else { "POST" };
        assert_eq!(self.request(method, &path, &body), 200, "{body}");
        let group = self.model.entry(job).or_default();
        if replaces {
            group.clear();
        }
        group.extend(families.into_iter().map(|family| (family, value)));
    }

    fn step(&mut self) {
        let job = *self.random.choice(&JOBS).unwrap();
        let path = format!("/metrics/job/{job}");
        match self.random.u32(0..100) {
            0..70 => self.push(job),
            70..78 => {
                // A push that is refused changes nothing but the time of the last failure.
                let body = "f0 1\nf0 2\n";
                assert_eq!(self.request("POST", &path, body), 400);
                self.model.entry(job).or_default();
            }
            78..90 => {
                assert_eq!(self.request("DELETE", &path, ""), 202);
                self.model.remove(job);
            }
            90..92 => {
                assert_eq!(self.request("PUT", "/api/v1/admin/wipe", ""), 202);
                self.model.clear();
            }
            _ => self.restart(),
        }
    }

    /// Ends the process in one of two ways, and starts the next one, which shows the same.
    fn restart(&mut self) {
        // The answer to a push that is refused does not wait for the disk. This one has it written as well.
        self.push("e");
        self.check();
        let before = shown(&self.gateway);
        if self.random.bool() {
            self.gateway.signal(Signal::TERM);
            assert_eq!(self.gateway.wait(), Some(0), "{}", self.gateway.log());
        } else {
            self.gateway.signal(Signal::KILL);
            assert_eq!(self.gateway.wait(), None);
        }
        (self.gateway, self.client) = start(&self.place);
        let after = shown(&self.gateway);
        assert_eq!(after, before);
        self.check();
    }

    /// Compares the values with the model.
    fn check(&self) {
        let mut found = Model::new();
        for job in jobs(&self.gateway) {
            found.insert(job, BTreeMap::new());
        }
        for family in FAMILIES {
            for line in self.gateway.lines(family) {
                let (job, value) = job_and_value(&line);
                found.entry(job).or_default().insert(family, value);
            }
        }
        assert_eq!(found, self.model);
    }
}

/// Everything about all groups, times included: the query API and the families of times.
fn shown(gateway: &Gateway) -> (serde_json::Value, Vec<String>) {
    let answer = gateway.request("GET", "/api/v1/metrics", &[], b"");
    assert_eq!(answer.status, 200);
    let mut groups: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
    (groups["data"].take(), gateway.lines("push_time_seconds"))
}

/// The jobs of all groups.
fn jobs(gateway: &Gateway) -> Vec<&'static str> {
    let lines = gateway.lines("push_time_seconds");
    lines.iter().map(|line| job_and_value(line).0).collect()
}

fn job_and_value(line: &str) -> (&'static str, u64) {
    let job = line.split_once("job=\"").unwrap().1;
    let job = job.split_once('"').unwrap().0;
    let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
    let job = JOBS.iter().find(|known| **known == job).unwrap();
    (job, value as u64)
}

#[test]
fn every_restart_shows_what_was_shown_before() {
    let n_seeds = std::env::var("PUSHGATEWAY_MODEL_SEEDS");
    let n_seeds = n_seeds.map_or(N_SEEDS, |n| n.parse().expect("a number"));
    for seed in 0..n_seeds {
        eprintln!("seed {seed}");
        let mut history = History::new(seed);
        for _ in 0..N_STEPS {
            history.step();
        }
        history.restart();
    }
}
