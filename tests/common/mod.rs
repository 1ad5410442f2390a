//! What the tests share: a real gateway process on a free loopback port, a client that sends
//! exactly the bytes it is given, and helpers for external programs, temporary directories and
//! gzip. `outside.rs` has the harness for tests that need external programs.
#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "each test file compiles its own copy and uses a part of it"
)]

pub mod faults;
pub mod groups;
pub mod outside;
pub mod prometheus;
pub mod reference;

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for anything before it fails. Far above what a healthy gateway needs.
pub const TIMEOUT: Duration = Duration::from_secs(30);

/// A running gateway process, which is killed when this value is dropped.
pub struct Gateway {
    child: Child,
    /// The address of the first listener in the log.
    pub address: SocketAddr,
    log: Arc<Mutex<String>>,
    /// The rest of the log, if it is not to be read.
    _unread_log: Option<Lines<BufReader<ChildStderr>>>,
}

impl Gateway {
    /// Starts a gateway with its default flags.
    pub fn start() -> Self {
        Self::with_flags(&[])
    }

    /// Starts a gateway with these flags, on a free loopback port. Returns once the gateway
    /// listens.
    pub fn with_flags(flags: &[&str]) -> Self {
        Self::spawn(flags, true)
    }

    /// The same, but nobody reads its log once the gateway listens.
    pub fn with_unread_log(flags: &[&str]) -> Self {
        Self::spawn(flags, false)
    }

    fn spawn(flags: &[&str], is_log_read: bool) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pushgateway"));
        command.arg("--web.listen-address=127.0.0.1:0").args(flags);
        Self::spawn_command(command, is_log_read)
            .unwrap_or_else(|log| panic!("no address in the log: {log}"))
    }

    /// Runs a command that becomes a gateway. Returns once the gateway listens; the log if it ends before
    /// that.
    pub fn try_with_command(command: Command) -> Result<Self, String> {
        Self::spawn_command(command, true)
    }

    fn spawn_command(mut command: Command, is_log_read: bool) -> Result<Self, String> {
        command.stderr(Stdio::piped());
        let mut child = command.spawn().expect("the gateway starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let log = Arc::new(Mutex::new(String::new()));
        let mut address = None;
        for line in lines.by_ref() {
            let line = line.expect("the log is text");
            address = line
                .split_once("address=")
                .and_then(|(_, address)| address.trim().parse().ok());
            log.lock().unwrap().push_str(&(line + "\n"));
            if address.is_some() {
                break;
            }
        }
        let unread_log = if is_log_read {
            let writer = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in lines.map_while(Result::ok) {
                    writer.lock().unwrap().push_str(&(line + "\n"));
                }
            });
            None
        } else {
            Some(lines)
        };
        let Some(address) = address else {
            let _ = child.wait();
            return Err(log.lock().unwrap().clone());
        };
        Ok(Self {
            child,
            address,
            log,
            _unread_log: unread_log,
        })
    }

    /// The process ID.
    pub fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    /// Everything that the gateway has written to its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a line of the log that contains `text`, and returns the line.
    pub fn wait_for_log(&self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let log = self.log();
            if let Some(line) = log.lines().find(|line| line.contains(text)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "no {text:?} in the log: {log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The gateway's URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Opens a connection whose reads time out after [`TIMEOUT`].
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Sends one request on a new connection.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        Client::new(self).request(method, path, headers, body)
    }

    /// Pushes `body`, replacing the group.
    pub fn put(&self, path: &str, body: &str) -> Response {
        self.request("PUT", path, &[], body.as_bytes())
    }

    /// Pushes `body`, replacing the families of the same names.
    pub fn post(&self, path: &str, body: &str) -> Response {
        self.request("POST", path, &[], body.as_bytes())
    }

    /// Deletes the group.
    pub fn delete(&self, path: &str) -> Response {
        self.request("DELETE", path, &[], b"")
    }

    /// Scrapes the exposition in the text format, uncompressed.
    pub fn scrape(&self) -> String {
        let response = self.request("GET", "/metrics", &[], b"");
        assert_eq!(response.status, 200);
        response.text()
    }

    /// The samples of the metric `name` in the exposition, sorted.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let mut lines: Vec<String> = self
            .scrape()
            .lines()
            .filter(|line| {
                line.strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with(['{', ' ']))
            })
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).expect("the gateway is running");
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        let status = self.child.try_wait();
        status.expect("the gateway is our child process").is_some()
    }

    /// Waits for the process to end and returns its exit code; `None` if a signal ended it.
    pub fn wait(&mut self) -> Option<i32> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the gateway is our child process")
            {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the gateway does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Fails if the process has already ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that sends all its requests over one connection.
pub struct Client {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to the gateway.
    pub fn new(gateway: &Gateway) -> Self {
        Self {
            address: gateway.address,
            stream: BufReader::new(gateway.connect()),
        }
    }

    /// A new connection to the same address.
    pub fn reconnect(&self) -> Self {
        let stream = TcpStream::connect(self.address).expect("the gateway accepts");
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            address: self.address,
            stream: BufReader::new(stream),
        }
    }

    /// The client's end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().expect("connected")
    }

    /// Sends a request and reads the answer. A PUT or POST, and any request with a body, gets a
    /// Content-Length.
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        self.try_request(method, path, headers, body)
            .expect("the gateway answers")
    }

    /// The same; `None` if the gateway is gone.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Option<Response> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !body.is_empty() || matches!(method, "PUT" | "POST") {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).ok()?;
        // Else the connection may be reset while a response is read.
        let is_answered = self.stream.fill_buf().is_ok_and(|bytes| !bytes.is_empty());
        is_answered.then(|| read_response(&mut self.stream, method == "HEAD"))?
    }
}

/// An HTTP response, read completely.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// The value of the first header with this name, compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The status, and the body as text without white space at the end.
    pub fn status_and_text(&self) -> (u16, String) {
        (self.status, self.text().trim_end().to_owned())
    }
}

/// Reads a response and skips informational ones (100 Continue). `is_head`: the request was a HEAD,
/// so no body follows. Returns `None` if the connection ends before the first byte.
pub fn read_response(stream: &mut impl BufRead, is_head: bool) -> Option<Response> {
    let mut line = String::new();
    if stream.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status line");
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a header");
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None => break,
        }
    }
    if status == 100 {
        return read_response(stream, is_head);
    }
    let mut response = Response {
        status,
        headers,
        body: Vec::new(),
    };
    if is_head {
        return Some(response);
    }
    if let Some(len) = response.header("content-length") {
        let mut body = vec![0; len.parse().expect("a length")];
        stream.read_exact(&mut body).expect("the whole body");
        response.body = body;
    } else if response.header("transfer-encoding").is_some() {
        loop {
            let mut size = String::new();
            stream.read_line(&mut size).expect("a chunk");
            let size = usize::from_str_radix(size.trim(), 16).expect("a size");
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).expect("the whole chunk");
            if size == 0 {
                break;
            }
            response.body.extend_from_slice(&chunk[..size]);
        }
    } else if response.header("connection") == Some("close") {
        stream.read_to_end(&mut response.body).expect("the end");
    }
    Some(response)
}

/// Closes the sending side of the connection and leaves the receiving side open.
pub fn half_close(stream: &TcpStream) {
    stream
        .shutdown(Shutdown::Write)
        .expect("the connection is open");
}

/// A temporary directory, which is removed when this value is dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    /// Creates a directory whose path contains `name` and this process's id.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pushgateway-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Compresses bytes with gzip.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Decompresses a single gzip member. Any bytes after the member fail the test.
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let mut plain = Vec::new();
    decoder.read_to_end(&mut plain).expect("a valid member");
    assert!(decoder.into_inner().is_empty(), "more than one member");
    plain
}
