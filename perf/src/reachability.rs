//! Whether a server that was given by URL answers, found out in less than a second.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a server may take until it accepts a connection, over all its addresses.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);
/// How long it may then take to answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// The first address that accepts a connection. A name such as `localhost` has several addresses, and
/// servers often listen on one of them only. `url` is named in errors.
///
/// # Errors
///
/// No address accepts a connection.
pub fn first_reachable(url: &str, addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
    let timeout = CONNECT_TIMEOUT / u32::try_from(addresses.len().max(1)).expect("few addresses");
    let mut why = "it has no address".to_owned();
    for &address in addresses {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(_) => return Ok(address),
            Err(error) => why = error.kind().to_string(),
        }
    }
    Err(format!("{url} does not answer: {why}"))
}

/// Checks that a server answers a request below the path `base`, with any status. `url` is named in
/// errors.
///
/// # Errors
///
/// The server does not answer, or not with HTTP.
pub fn check_answers(url: &str, address: SocketAddr, base: &str) -> Result<(), String> {
    let failed = |why: &str| Err(format!("{url} does not answer: {why}"));
    match first_bytes(address, base) {
        Ok(answer) if answer.starts_with(b"HTTP/1.") => Ok(()),
        Ok(answer) if answer.is_empty() => failed("it closed the connection"),
        Ok(_) => failed("what it sends is not HTTP/1"),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            failed("it accepts connections, and sent nothing for half a second")
        }
        Err(error) => failed(&error.kind().to_string()),
    }
}

/// The first bytes that a server answers to a request.
fn first_bytes(address: SocketAddr, base: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(FIRST_ANSWER_TIMEOUT))?;
    let request =
        format!("GET {base}/-/ready HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 512];
    let n = stream.read(&mut answer)?;
    Ok(answer[..n].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server that accepts connections, sends `answer` to each and closes it, or keeps it open if
    /// `answer` is empty.
    fn serve(answer: &'static [u8]) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                if answer.is_empty() {
                    open.push(stream);
                } else {
                    let _ = stream.read(&mut [0; 512]);
                    let _ = stream.write_all(answer);
                }
            }
        });
        address
    }

    /// An address at which nothing listens.
    fn free_address() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    }

    #[test]
    fn a_server_that_does_not_answer_is_found() {
        let check = |address| check_answers("it", address, "");
        assert_eq!(check(serve(b"HTTP/1.1 404 Not Found\r\n\r\n")), Ok(()));
        for (address, why) in [
            (free_address(), "connection refused"),
            (
                serve(b""),
                "it accepts connections, and sent nothing for half a second",
            ),
            (serve(b"220 mail ready\r\n"), "what it sends is not HTTP/1"),
        ] {
            assert_eq!(check(address), Err(format!("it does not answer: {why}")));
        }
    }

    #[test]
    fn the_first_address_that_accepts_connections_is_used() {
        let (free, other) = (free_address(), serve(b""));
        assert_eq!(first_reachable("it", &[free, other]), Ok(other));
        assert_eq!(
            first_reachable("it", &[free]),
            Err("it does not answer: connection refused".to_owned())
        );
        assert_eq!(
            first_reachable("it", &[]),
            Err("it does not answer: it has no address".to_owned())
        );
    }
}
