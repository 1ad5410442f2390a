//! Targets: the servers that are measured. The harness starts the built-in ones; others are given
//! by URL.

use crate::process::ProcessUsage;
use crate::reachability;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server to push to.
pub struct Target {
    pub name: String,
    pub address: SocketAddr,
    /// The path in front of `/job/…`.
    pub prefix: String,
    /// The path that is scraped; `None` if the target cannot be scraped for what was pushed.
    pub scrape_path: Option<String>,
    /// Whether scrapes show what was pushed, so that they can be checked.
    pub is_checked: bool,
    /// The id of its process, if known.
    pub pid: Option<u32>,
    /// Kills the process when this value is dropped; `None` if the harness did not start it.
    _child: Option<ChildProcess>,
}

impl Target {
    /// Whether the harness did not start this target, so that it goes on after the measurement.
    pub fn is_foreign(&self) -> bool {
        self._child.is_none()
    }
}

/// A process that is killed when this value is dropped.
struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // Fails if the process has already ended, which is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where the programs of targets are.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The gateway's binary; by default the one in the folder of this program.
    pub gateway: Option<PathBuf>,
    /// A folder of other programs, searched before the PATH.
    pub folder: Option<PathBuf>,
}

impl Programs {
    /// Finds a program in `folder` or on the PATH.
    fn find(&self, name: &str) -> Result<PathBuf, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = self
            .folder
            .iter()
            .cloned()
            .chain(std::env::split_paths(&path));
        folders
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
            .ok_or_else(|| {
                format!("{name} is not on the PATH; --programs DIR names the folder that has it")
            })
    }

    /// Finds a program in one folder.
    fn find_in(&self, name: &str, folder: &Path) -> Result<PathBuf, String> {
        let path = folder.join(name);
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!("{name} is not installed (apt-get install {name})"))
        }
    }

    fn gateway(&self) -> Result<PathBuf, String> {
        if let Some(path) = &self.gateway {
            return if path.is_file() {
                Ok(path.clone())
            } else {
                Err(format!("{}: no such file", path.display()))
            };
        }
        let beside = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.join("pushgateway")));
        beside.filter(|path| path.is_file()).ok_or_else(|| {
            "the gateway is not built: cargo build --release, or --gateway PATH".to_owned()
        })
    }
}

/// The names that [`start`] knows, as printed in errors.
pub const BUILT_IN: &str = "self, floor, sink, reference, reference-unchecked, victoria-metrics";

/// Starts a built-in target, or addresses a running server by its URL (`http://host:port[/prefix]`,
/// with the metrics at `/metrics` below that). `floor_bytes` is the size of the body that `floor`
/// serves to scrapes.
///
/// # Errors
///
/// A program is missing, the target does not begin to listen, or the name is unknown.
pub fn start(name: &str, programs: &Programs, floor_bytes: usize) -> Result<Target, String> {
    match name {
        "self" => {
            let mut command = Command::new(programs.gateway()?);
            command.args([
                "--web.listen-address=127.0.0.1:0",
                "--web.enable-admin-api",
                "--log.level=info",
            ]);
            let (child, address) = spawn_announcing(
                command.stdout(Stdio::null()).stderr(Stdio::piped()),
                "address=",
            )?;
            Ok(pushgateway_like(name, address, child))
        }
        "floor" | "sink" => {
            let exe = std::env::current_exe().map_err(|error| error.to_string())?;
            let mut command = Command::new(exe);
            command
                .args(["serve", name, "--listen", "127.0.0.1:0", "--metrics-bytes"])
                .arg(floor_bytes.to_string());
            let (child, address) = spawn_announcing(
                command.stdout(Stdio::piped()).stderr(Stdio::null()),
                "listening ",
            )?;
            let scrape_path = (name == "floor").then(|| "/metrics".to_owned());
            Ok(Target {
                scrape_path,
                is_checked: false,
                ..pushgateway_like(name, address, child)
            })
        }
        "reference" | "reference-unchecked" => {
            let address = free_address()?;
            let mut command = Command::new(programs.find("prometheus-pushgateway")?);
            command.args([
                format!("--web.listen-address={address}"),
                "--persistence.file=".to_owned(),
            ]);
            if name == "reference-unchecked" {
                command.arg("--push.disable-consistency-check");
            }
            // Without its consistency check, the reference only queues pushes: a scrape need not
            // show a push that was answered.
            let is_checked = name == "reference";
            let child = spawn_silent(&mut command, address)?;
            Ok(Target {
                is_checked,
                ..pushgateway_like(name, address, child)
            })
        }
        "victoria-metrics" => {
            let address = free_address()?;
            let folder =
                std::env::temp_dir().join(format!("pushgateway-bench-vm-{}", address.port()));
            let mut command = Command::new(programs.find("victoria-metrics")?);
            command
                .arg(format!("-httpListenAddr={address}"))
                .arg(format!("-storageDataPath={}", folder.display()));
            let child = spawn_silent(&mut command, address)?;
            let target = pushgateway_like(name, address, child);
            Ok(Target {
                prefix: "/api/v1/import/prometheus/metrics".to_owned(),
                scrape_path: None,
                is_checked: false,
                ..target
            })
        }
        url => by_url(url),
    }
}

/// Checks that all targets can be measured, without starting any: built-in ones have their program,
/// and those given by URL answer. Takes less than a second for each.
///
/// # Errors
///
/// A program is missing, a server does not answer, or a name is unknown.
pub fn check<'a>(
    names: impl IntoIterator<Item = &'a str>,
    programs: &Programs,
) -> Result<(), String> {
    for name in names {
        match name {
            "self" => drop(programs.gateway()?),
            "floor" | "sink" => {}
            "reference" | "reference-unchecked" => drop(programs.find("prometheus-pushgateway")?),
            "victoria-metrics" => drop(programs.find("victoria-metrics")?),
            url => {
                let target = by_url(url)?;
                let base = target.prefix.trim_end_matches("/metrics");
                reachability::check_answers(url, target.address, base)?;
            }
        }
    }
    Ok(())
}

/// Pairs target names with process ids: the targets that are given by URL get `pids` in their
/// order.
///
/// # Errors
///
/// There are more process ids than URLs, or a process does not exist or may not be looked at.
pub fn with_pids(names: &[String], pids: &[u32]) -> Result<Vec<(String, Option<u32>)>, String> {
    let is_url = |name: &String| name.starts_with("http://");
    let n_urls = names.iter().filter(|name| is_url(name)).count();
    if pids.len() > n_urls {
        let n = pids.len();
        return Err(format!(
            "--pid names {n} process(es), and {n_urls} of the targets are given by URL: it is for those alone"
        ));
    }
    if let Some(pid) = pids.iter().find(|&&pid| ProcessUsage::of(pid).is_none()) {
        return Err(format!(
            "--pid {pid}: there is no such process, or it is not ours to look at"
        ));
    }
    let mut pids = pids.iter().copied();
    Ok(names
        .iter()
        .map(|name| (name.clone(), if is_url(name) { pids.next() } else { None }))
        .collect())
}

/// Starts nginx, configured to serve the files of a folder as fast as possible.
///
/// # Errors
///
/// nginx is not installed, or does not listen.
pub fn start_nginx(programs: &Programs, folder: &Path) -> Result<Target, String> {
    let address = free_address()?;
    let nginx = programs
        .find("nginx")
        .or_else(|_| programs.find_in("nginx", Path::new("/usr/sbin")))?;
    let configuration = format!(
        "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log /dev/null;\nevents {{ worker_connections 1024; }}\n\
         http {{\n access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;\n\
         client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;\n\
         uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;\n\
         server {{ listen {address}; root {folder}; }}\n}}\n",
        folder = folder.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, configuration).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut command = Command::new(nginx);
    command
        .arg("-p")
        .arg(folder)
        .arg("-c")
        .arg(&path)
        .arg("-e")
        .arg("/dev/null");
    let child = spawn_silent(&mut command, address)?;
    Ok(Target {
        scrape_path: None,
        is_checked: false,
        ..pushgateway_like("nginx", address, child)
    })
}

/// Starts Prometheus with the configuration `prometheus.yml` in a folder, which also gets its data.
///
/// # Errors
///
/// Prometheus is not installed, or does not listen.
pub fn start_prometheus(programs: &Programs, folder: &Path) -> Result<Target, String> {
    let address = free_address()?;
    let mut command = Command::new(programs.find("prometheus")?);
    command
        .arg(format!("--web.listen-address={address}"))
        .arg(format!("--config.file={}/prometheus.yml", folder.display()))
        .arg(format!("--storage.tsdb.path={}/data", folder.display()));
    let child = spawn_silent(&mut command, address)?;
    Ok(pushgateway_like("prometheus", address, child))
}

fn by_url(url: &str) -> Result<Target, String> {
    let unknown =
        || format!("{url:?} is neither one of {BUILT_IN} nor an URL such as http://localhost:9091");
    let rest = url.strip_prefix("http://").ok_or_else(unknown)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let addresses: Vec<SocketAddr> = host
        .to_socket_addrs()
        .map_err(|error| format!("{url}: {error}"))?
        .collect();
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("/{}", path.trim_end_matches('/'))
    };
    Ok(Target {
        name: url.to_owned(),
        address: reachability::first_reachable(url, &addresses)?,
        prefix: format!("{prefix}/metrics"),
        scrape_path: Some(format!("{prefix}/metrics")),
        is_checked: true,
        pid: None,
        _child: None,
    })
}

/// A target with the paths of a Pushgateway, run by this process.
fn pushgateway_like(name: &str, address: SocketAddr, child: Child) -> Target {
    Target {
        name: name.to_owned(),
        address,
        prefix: "/metrics".to_owned(),
        scrape_path: Some("/metrics".to_owned()),
        is_checked: true,
        pid: Some(child.id()),
        _child: Some(ChildProcess(child)),
    }
}

/// A loopback address that is free now, for programs that cannot report which port they took.
fn free_address() -> Result<SocketAddr, String> {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .map_err(|error| error.to_string())
}

fn spawn(command: &mut Command) -> Result<Child, String> {
    let program = Path::new(command.get_program()).display().to_string();
    command
        .spawn()
        .map_err(|error| format!("{program}: {error}"))
}

/// Starts a program that prints a line with the address on which it listens, after the text
/// `before_address`.
fn spawn_announcing(
    command: &mut Command,
    before_address: &str,
) -> Result<(Child, SocketAddr), String> {
    let mut child = spawn(command)?;
    let output: Box<dyn std::io::Read + Send> = match (child.stdout.take(), child.stderr.take()) {
        (Some(stdout), _) => Box::new(stdout),
        (None, Some(stderr)) => Box::new(stderr),
        (None, None) => unreachable!("one of them is piped"),
    };
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let announced = lines
        .by_ref()
        .find_map(|line| line.split_once(before_address)?.1.trim().parse().ok());
    // Keep reading, so that the program is not blocked by a full pipe.
    std::thread::spawn(move || lines.for_each(drop));
    match announced {
        Some(address) => Ok((child, address)),
        None => {
            let _ = child.kill();
            Err(format!(
                "{:?} did not begin to listen",
                command.get_program()
            ))
        }
    }
}

/// Starts a program that listens on `address`, and waits up to 20 s until it does.
fn spawn_silent(command: &mut Command, address: SocketAddr) -> Result<Child, String> {
    let mut child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    let deadline = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline || matches!(child.try_wait(), Ok(Some(_))) {
            let _ = child.kill();
            return Err(format!(
                "{:?} did not begin to listen",
                command.get_program()
            ));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(child)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_get_the_process_ids_in_their_order() {
        let names = ["self", "http://a", "floor", "http://b"].map(str::to_owned);
        let own = std::process::id();
        let of = |pids: &[u32]| {
            Ok::<Vec<_>, String>(
                with_pids(&names, pids)?
                    .into_iter()
                    .map(|(_, pid)| pid)
                    .collect(),
            )
        };
        assert_eq!(of(&[]), Ok(vec![None; 4]));
        assert_eq!(of(&[own]), Ok(vec![None, Some(own), None, None]));
        assert_eq!(of(&[own, own]), Ok(vec![None, Some(own), None, Some(own)]));
        assert!(
            with_pids(&names, &[own; 3])
                .unwrap_err()
                .contains("given by URL")
        );
        assert!(
            with_pids(&names[..1], &[own])
                .unwrap_err()
                .contains("given by URL")
        );
    }

    #[test]
    fn a_target_that_cannot_be_measured_is_found_without_starting_any() {
        let programs = Programs {
            gateway: Some(PathBuf::from("/nowhere/pushgateway")),
            folder: None,
        };
        let error = |name: &str| check([name], &programs).unwrap_err();
        assert_eq!(error("self"), "/nowhere/pushgateway: no such file");
        assert!(error("nonsense").contains("is neither one of"));
        let url = format!("http://{}", free_address().unwrap());
        assert_eq!(
            error(&url),
            format!("{url} does not answer: connection refused")
        );
    }

    #[test]
    fn a_process_that_does_not_exist_is_reported() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = child.id();
        child.wait().unwrap();
        let error = with_pids(&["http://a".to_owned()], &[pid]).unwrap_err();
        assert_eq!(
            error,
            format!("--pid {pid}: there is no such process, or it is not ours to look at")
        );
    }
}
