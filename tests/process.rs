//! The process as its supervisor sees it: signals, and how it ends.

mod common;

use common::{Gateway, read_response};
use rustix::process::Signal;
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The head of a push that announces `len` bytes.
fn head(len: usize) -> String {
    format!("PUT /metrics/job/half HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n")
}

/// A client that sends a large body slowly, but never stops for long.
fn slow_client(gateway: &Gateway) {
    let mut stream = gateway.connect();
    write!(stream, "{}\r\n# ", head(1_000_000)).unwrap();
    std::thread::spawn(move || {
        while stream.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(50));
        }
    });
}

/// Clients that have sent half a request and send no more, of every kind that the gateway waits for.
fn silent_clients(gateway: &Gateway) -> Vec<TcpStream> {
    let large = "# ".repeat(50_000);
    let half_requests = [
        head(4),
        format!("{}\r\n", head(4)),
        format!("{}\r\nx", head(4)),
        // More than the fast path reads.
        format!("{}\r\n{large}", head(1_000_000)),
        format!("{}X: {large}", head(4)),
        format!(
            "{}Transfer-Encoding: chunked\r\n\r\n4\r\nx",
            "PUT /metrics/job/half HTTP/1.1\r\nHost: h\r\n"
        ),
        format!("{}Expect: 100-continue\r\n\r\n", head(4)),
    ];
    let mut clients: Vec<TcpStream> = half_requests
        .iter()
        .map(|request| {
            let mut stream = gateway.connect();
            // The gateway may refuse the long head while it is sent.
            let _ = stream.write_all(request.as_bytes());
            stream
        })
        .collect();
    // Refused before its body was read, which would be thrown away if it came.
    let mut stream = gateway.connect();
    write!(stream, "{}\r\n", head(1 << 40)).unwrap();
    let answer = read_response(&mut BufReader::new(&stream), false).expect("an answer");
    assert_eq!(answer.status, 413);
    clients.push(stream);
    clients
}

#[test]
fn only_the_signals_for_that_end_the_process() {
    let mut gateway = Gateway::start();
    for (signal, text) in [
        (Signal::HUP, "nothing to reload yet"),
        (Signal::USR1, "SIGUSR1 ignored"),
        (Signal::USR2, "SIGUSR2 ignored"),
    ] {
        gateway.signal(signal);
        gateway.wait_for_log(text);
    }
    assert_eq!(gateway.put("/metrics/job/j", "x 1\n").status, 200);
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait(), Some(0));
}

/// With a timeout of an hour, a client that is waited for would fail these tests.
#[test]
fn half_a_request_does_not_delay_the_end() {
    let flags = ["--web.drain-timeout=1h", "--web.enable-lifecycle"];
    let mut gateway = Gateway::with_flags(&flags);
    let _clients = silent_clients(&gateway);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    assert!(!gateway.log().contains("not answered"), "{}", gateway.log());

    let mut gateway = Gateway::with_flags(&flags);
    let _clients = silent_clients(&gateway);
    assert_eq!(gateway.put("/-/quit", "").status, 200);
    assert_eq!(gateway.wait(), Some(0));
    assert!(!gateway.log().contains("not answered"), "{}", gateway.log());
}

#[test]
fn draining_ends_with_its_timeout() {
    let mut gateway = Gateway::with_flags(&["--web.drain-timeout=300ms"]);
    slow_client(&gateway);
    gateway.signal(Signal::TERM);
    assert_eq!(gateway.wait(), Some(0));
    gateway.wait_for_log("some requests were not answered in time");
}

#[test]
fn a_second_signal_ends_the_process_at_once_after_a_second() {
    let mut gateway = Gateway::with_flags(&["--web.drain-timeout=1h"]);
    slow_client(&gateway);
    gateway.signal(Signal::TERM);
    gateway.wait_for_log("shutting down");
    std::thread::sleep(Duration::from_secs(1));
    gateway.signal(Signal::INT);
    assert_eq!(gateway.wait(), Some(1));
    gateway.wait_for_log("second signal");
}
