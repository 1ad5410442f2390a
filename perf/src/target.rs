//! What is measured: servers that the harness starts, or one that runs somewhere.

use crate::process::ProcessUsage;
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
    /// The path that is scraped; none if what was pushed cannot be.
    pub scrape_path: Option<String>,
    /// Whether scrapes show what was pushed.
    pub is_checked: bool,
    /// Its process, where that is known.
    pub pid: Option<u32>,
    /// Ends it with this value.
    _child: Option<ChildProcess>,
}

/// A process that ends with this value.
struct ChildProcess(Child);

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where programs are that are not found by themselves.
#[derive(Clone, Debug, Default)]
pub struct Programs {
    /// The gateway; by default the one beside this program.
    pub gateway: Option<PathBuf>,
    /// A folder of other programs, before those on the PATH.
    pub folder: Option<PathBuf>,
}

impl Programs {
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
            return Ok(path.clone());
        }
        let beside = std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.join("pushgateway")));
        beside.filter(|path| path.is_file()).ok_or_else(|| {
            "the gateway is not built: cargo build --release, or --gateway PATH".to_owned()
        })
    }
}

/// Names that `start` knows, beside URLs.
pub const BUILT_IN: &str = "self, floor, sink, reference, reference-unchecked, victoria-metrics";

/// Starts a built-in target, or names a running one by its URL (`http://host:port[/prefix]`,
/// metrics at `/metrics` below).
///
/// # Errors
///
/// What it needs is missing, or it does not listen.
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
            // Unchecked it only queues pushes: a scrape need not show them.
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

/// Targets with their processes: those that are given by URL have these processes, in their order.
///
/// # Errors
///
/// There are more processes than URLs, or one of them is not there.
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

/// nginx, serving the files of a folder as they lie there, as fast as it can.
///
/// # Errors
///
/// It is not installed, or does not listen.
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

fn by_url(url: &str) -> Result<Target, String> {
    let unknown =
        || format!("{url:?} is neither one of {BUILT_IN} nor an URL such as http://localhost:9091");
    let rest = url.strip_prefix("http://").ok_or_else(unknown)?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let mut addresses = host
        .to_socket_addrs()
        .map_err(|error| format!("{host}: {error}"))?;
    let prefix = if path.is_empty() {
        String::new()
    } else {
        format!("/{}", path.trim_end_matches('/'))
    };
    Ok(Target {
        name: url.to_owned(),
        address: addresses.next().ok_or_else(unknown)?,
        prefix: format!("{prefix}/metrics"),
        scrape_path: Some(format!("{prefix}/metrics")),
        is_checked: true,
        pid: None,
        _child: None,
    })
}

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

/// Starts a program that says where it listens.
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
    // It may go on talking.
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
    fn urls_have_the_processes_in_their_order() {
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
    fn a_process_that_is_not_there_is_told() {
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
