//! Disk faults and power losses, by `tests/fault_shim.c`, which is loaded into the gateway's process.

use super::{Client, Gateway, Response, TIMEOUT, TempDir};
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Every call that the shim counts.
pub const ALL_CALLS: &str = "write,sync,truncate,rename,unlink,open,opendir";

/// The compiled shim. It is compiled once by each test program.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fault_shim.c");
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // Other test programs may do the same at the same time.
        let compiled = directory.join(format!("fault_shim-{}.so", std::process::id()));
        let output = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .args([&compiled, &source])
            .arg("-ldl")
            .output()
            .expect("a C compiler, which the build needs as well");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        let library = directory.join("fault_shim.so");
        fs::rename(compiled, &library).unwrap();
        library
    })
}

/// A gateway's command whose files in `directory` have faults, as these variables of the shim say.
pub fn command_with_faults(directory: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pushgateway"));
    command
        .arg("--web.listen-address=127.0.0.1:0")
        .env("LD_PRELOAD", shim())
        .env("FAULT_PATH", directory)
        .envs(variables.iter().copied());
    command
}

/// What of the writes that were never synced is on the disk after a power loss.
pub enum Unsynced<'a> {
    /// Nothing.
    Lost,
    /// A random part: each block of 512 bytes, and the names of the directory, are as they were synced or
    /// as they were last.
    PartlyWritten(&'a mut Rng),
}

/// Makes a record in the new directory `record` that says that `directory`, as it is, is on the disk.
pub fn record_all(directory: &Path, record: &Path) {
    fs::create_dir(record).unwrap();
    let mut names = String::new();
    for (inode, name) in current_names(directory) {
        let path = directory.join(&name);
        fs::copy(&path, record.join(format!("content.{inode}"))).unwrap();
        fs::hard_link(&path, record.join(format!("link.{inode}"))).unwrap();
        names += &format!("{inode} {name}\n");
    }
    fs::write(record.join("names"), names).unwrap();
}

/// Makes the directory `to` what a power loss leaves of the directory `from`, whose syncs the shim has
/// recorded in `record`.
pub fn lose_power(from: &Path, record: &Path, to: &Path, mut unsynced: Unsynced<'_>) {
    fs::create_dir(to).unwrap();
    let synced_names = fs::read_to_string(record.join("names")).unwrap_or_default();
    let synced_names = synced_names.lines().map(|line| {
        let (inode, name) = line.split_once(' ').unwrap();
        (inode.parse().unwrap(), name.to_owned())
    });
    let is_current = match &mut unsynced {
        Unsynced::Lost => false,
        Unsynced::PartlyWritten(random) => random.bool(),
    };
    let names: Vec<(u64, String)> = if is_current {
        current_names(from)
    } else {
        synced_names.collect()
    };
    for (inode, name) in names {
        let synced = fs::read(record.join(format!("content.{inode}"))).unwrap_or_default();
        let content = match &mut unsynced {
            Unsynced::Lost => synced,
            Unsynced::PartlyWritten(random) => {
                // A file that was never synced may have no link.
                let link = record.join(format!("link.{inode}"));
                let last = fs::read(link).or_else(|_| fs::read(from.join(&name)));
                mix(&synced, &last.unwrap_or_default(), random)
            }
        };
        fs::write(to.join(name), content).unwrap();
    }
}

fn current_names(directory: &Path) -> Vec<(u64, String)> {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (entry.metadata().unwrap().ino(), name)
        })
        .collect()
}

/// Each block of one or the other, and one of the two lengths.
fn mix(synced: &[u8], last: &[u8], random: &mut Rng) -> Vec<u8> {
    const BLOCK: usize = 512;
    let len = if random.bool() { synced } else { last }.len();
    let mut mixed = Vec::with_capacity(len);
    while mixed.len() < len {
        let block = mixed.len()..(mixed.len() + BLOCK).min(len);
        let of = |bytes: &[u8]| {
            let mut content = vec![0; block.len()];
            let part = bytes.get(block.start..).unwrap_or_default();
            let part = &part[..part.len().min(block.len())];
            content[..part.len()].copy_from_slice(part);
            content
        };
        mixed.extend(of(if random.bool() { synced } else { last }));
    }
    mixed
}

/// What a client did to some jobs, and what it was told about that.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// For each job the numbers that it may have: the last one that was answered, and those that were
    /// not answered since. `None`: the group may be deleted.
    possible: BTreeMap<String, BTreeSet<Option<u64>>>,
    n_answered: u64,
    n_runs: u64,
}

impl History {
    /// The number was pushed to the job, or the job was deleted; `is_answered`: successfully.
    pub fn note(&mut self, job: &str, number: Option<u64>, is_answered: bool) {
        let possible = self.possible.entry(job.to_owned()).or_default();
        if is_answered {
            possible.clear();
            self.n_answered += 1;
        } else if possible.is_empty() {
            possible.insert(None);
        }
        possible.insert(number);
    }

    /// How many changes were answered.
    pub fn n_answered(&self) -> u64 {
        self.n_answered
    }

    /// What contradicts the history in these numbers of jobs.
    pub fn contradictions(&self, found: &BTreeMap<String, u64>) -> Vec<String> {
        let unknown = found.keys().filter(|job| !self.possible.contains_key(*job));
        let unknown = unknown.map(|job| format!("{job} was never pushed"));
        let wrong = self.contradictions_of_its_jobs(found);
        wrong.into_iter().chain(unknown).collect()
    }

    /// The same, if others have pushed other jobs.
    pub fn contradictions_of_its_jobs(&self, found: &BTreeMap<String, u64>) -> Vec<String> {
        let wrong = self.possible.iter().filter_map(|(job, possible)| {
            let number = found.get(job).copied();
            let is_wrong = !possible.contains(&number);
            is_wrong.then(|| format!("{job} has {number:?}, and not one of {possible:?}"))
        });
        wrong.collect()
    }
}

/// The number in each job: the value of the families `a` and `b`, which are pushed together.
pub fn numbers_by_job(gateway: &Gateway) -> BTreeMap<String, u64> {
    let by_job = |name: &str| -> BTreeMap<String, u64> {
        let lines = gateway.lines(name);
        let number = |line: &String| {
            let job = line.split_once("job=\"").unwrap().1;
            let job = job.split_once('"').unwrap().0.to_owned();
            let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            (job, value as u64)
        };
        lines.iter().map(number).collect()
    };
    let (a, b) = (by_job("a"), by_job("b"));
    assert_eq!(a, b, "half a push");
    a
}

/// Pushes the number to the job, as two families with the same value. `None` if the gateway is gone.
pub fn push_number(client: &mut Client, job: &str, number: u64) -> Option<Response> {
    let body = format!("a {number}\nb{{x=\"y\"}} {number}\n");
    client.try_request("PUT", &format!("/metrics/job/{job}"), &[], body.as_bytes())
}

/// A directory for one run: the state file is in `state/`, what the shim needs is beside that.
pub struct Place(pub TempDir);

impl Place {
    /// An empty one.
    pub fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let place = Self(TempDir::new(&format!("{name}-{number}")));
        std::fs::create_dir(place.directory()).unwrap();
        place
    }

    /// Another one with the same files.
    pub fn copy(&self) -> Self {
        let copy = Self::new("copy");
        for entry in fs::read_dir(self.directory()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap();
            fs::copy(&path, copy.directory().join(name)).unwrap();
        }
        copy
    }

    /// Where the state file is.
    pub fn directory(&self) -> PathBuf {
        self.0.0.join("state")
    }

    /// The flag that names the state file.
    pub fn flag(&self) -> String {
        format!("--persistence.file={}/pushes", self.directory().display())
    }

    /// A process without faults.
    pub fn start(&self) -> Gateway {
        let mut gateway = Gateway::with_flags(&[&self.flag(), "--persistence.durability=push"]);
        if !has_restored(&mut gateway) {
            panic!("the process has ended: {}", gateway.log());
        }
        wait_until_ready(&gateway);
        gateway
    }

    /// A process with the shim; its log if it has ended before it listened.
    pub fn try_start_with(
        &self,
        variables: &[(&str, &str)],
        flags: &[&str],
    ) -> Result<Gateway, String> {
        let mut command = command_with_faults(&self.directory(), variables);
        command.arg(self.flag()).args(flags);
        Gateway::try_with_command(command)
    }
}

/// Waits until the groups are restored, or until the process has ended; then returns false.
pub fn has_restored(gateway: &mut Gateway) -> bool {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        // First: a process that has ended logs nothing more.
        let has_ended = gateway.has_ended();
        if gateway.log().contains("restored the groups") {
            return true;
        }
        if has_ended {
            return false;
        }
        assert!(Instant::now() < deadline, "not ready: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the gateway takes pushes and keeps them.
pub fn is_ready(gateway: &Gateway) -> bool {
    gateway.request("GET", "/-/ready", &[], b"").status == 200
}

/// Waits until the groups are restored, or until the disk is in order again.
pub fn wait_until_ready(gateway: &Gateway) {
    let deadline = Instant::now() + TIMEOUT;
    while !is_ready(gateway) {
        assert!(Instant::now() < deadline, "not ready: {}", gateway.log());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a short run pushes, with other numbers in each run; `None` deletes the job.
const CHANGES: [(&str, Option<u64>); 14] = [
    ("j0", Some(1)),
    ("j1", Some(2)),
    ("j2", Some(3)),
    ("j0", None),
    ("j0", Some(4)),
    ("j3", Some(5)),
    ("j3", None),
    ("j1", Some(6)),
    ("old", Some(7)),
    ("j4", Some(8)),
    ("j2", None),
    ("old", None),
    ("j5", Some(9)),
    ("j4", Some(10)),
];

/// Makes the changes, and notes what was answered. Ends early if the process is gone.
pub fn change(gateway: &Gateway, history: &mut History) {
    let mut client = Client::new(gateway);
    history.n_runs += 1;
    for (job, number) in CHANGES {
        let number = number.map(|number| 1000 * history.n_runs + number);
        let answer = match number {
            Some(number) => push_number(&mut client, job, number),
            None => client.try_request("DELETE", &format!("/metrics/job/{job}"), &[], b""),
        };
        let status = answer.as_ref().map(|answer| answer.status);
        history.note(job, number, matches!(status, Some(200 | 202)));
        match answer {
            None => return,
            Some(answer) if answer.status == 503 => {
                assert!(answer.header("Retry-After").is_some(), "{answer:?}");
            }
            Some(answer) => assert!([200, 202].contains(&answer.status), "{answer:?}"),
        }
    }
}

/// Runs `run` on each case, two at a time. The tests of one file that call this run one after the other.
pub fn on_each<T: Sync>(cases: &[T], run: impl Fn(&T) + Sync) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Relaxed)) {
                    run(case);
                }
            });
        }
    });
}

/// Of `all`, every one if `PUSHGATEWAY_ALL_FAULTS` is set, for long runs by hand; else every `step`th,
/// beginning with `first`.
pub fn some_of(all: std::ops::RangeInclusive<u64>, first: u64, step: usize) -> Vec<u64> {
    if std::env::var_os("PUSHGATEWAY_ALL_FAULTS").is_some() {
        return all.collect();
    }
    all.skip((first as usize) % step).step_by(step).collect()
}

/// The log of a process that does not start in this place.
pub fn start_log(place: &Place) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
        .args(["--web.listen-address=127.0.0.1:0", &place.flag()])
        .output()
        .unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{log}");
    log
}
