//! The reference Pushgateway as a process.

use super::TIMEOUT;
use super::outside::NotRun;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running reference Pushgateway, which is killed when this value is dropped.
pub struct Reference {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Reference {
    /// Starts the reference with these flags on a free loopback port. Returns once it listens. The
    /// environment variable `PUSHGATEWAY_REFERENCE` names its binary (1.11.2).
    pub fn start(flags: &[&str]) -> Result<Self, NotRun> {
        let binary = std::env::var_os("PUSHGATEWAY_REFERENCE").ok_or_else(|| {
            NotRun::Program(
                "PUSHGATEWAY_REFERENCE does not name the reference's binary: .ci/peers fetches it"
                    .to_owned(),
            )
        })?;
        // A port that is free now: the reference cannot report which port it took.
        let address = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let child = Command::new(binary)
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .stderr(Stdio::null())
            .spawn()
            .expect("the reference starts");
        let deadline = Instant::now() + TIMEOUT;
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "the reference does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { child, address })
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // Fails if the process has already ended, which is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
