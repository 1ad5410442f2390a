//! Restarts under load: with a socket that outlives the process no push is refused or lost; without one a
//! second process does not start.

mod common;

use common::faults::{History, Place, numbers_by_job, push_number, wait_until_ready};
use common::{Client, Gateway};
use rustix::process::Signal;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// A process that takes over the socket, as systemd passes it: as descriptor 3, with two variables.
fn start_with_socket(socket: &TcpListener, place: &Place, flags: &[&str]) -> Gateway {
    let mut command = Command::new("sh");
    command
        .args([
            "-c",
            r#"LISTEN_FDS=1 LISTEN_PID=$$ exec "$@" 3<&0 </dev/null"#,
            "sh",
        ])
        .args([env!("CARGO_BIN_EXE_pushgateway"), "--web.systemd-socket"])
        .arg(place.flag())
        .args(flags)
        .stdin(OwnedFd::from(socket.try_clone().unwrap()));
    let gateway = Gateway::try_with_command(command).expect("it listens");
    assert_eq!(gateway.address, socket.local_addr().unwrap());
    gateway
}

/// Pushes again and again, over connections that the gateway may close after an answer. Returns what was
/// answered.
fn push_until(
    is_over: &AtomicBool,
    gateway: &Client,
    job: &str,
    n_pushed: &AtomicUsize,
) -> History {
    let mut history = History::default();
    let mut client = gateway.reconnect();
    for number in 1.. {
        if is_over.load(Relaxed) {
            break;
        }
        let answer = push_number(&mut client, job, number).or_else(|| {
            // The process had ended the idle connection before it saw the request: HTTP clients send it
            // again on a new one.
            client = client.reconnect();
            push_number(&mut client, job, number)
        });
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        history.note(job, Some(number), true);
        n_pushed.fetch_add(1, Relaxed);
        if answer.header("Connection") == Some("close") {
            client = client.reconnect();
        }
    }
    history
}

#[test]
fn no_push_is_refused_or_lost_when_a_process_takes_over_the_socket() {
    const N_PUSHERS: usize = 4;
    for durability in ["interval", "push"] {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Place::new("restart-socket");
        let flag = format!("--persistence.durability={durability}");
        let mut gateway = start_with_socket(&socket, &place, &[&flag]);
        wait_until_ready(&gateway);
        let client = Client::new(&gateway);
        let (is_over, n_pushed) = (AtomicBool::new(false), AtomicUsize::new(0));
        let histories = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for pusher in 0..N_PUSHERS {
                let (client, is_over, n_pushed) = (&client, &is_over, &n_pushed);
                let histories = &histories;
                scope.spawn(move || {
                    let history = push_until(is_over, client, &format!("p{pusher}"), n_pushed);
                    histories.lock().unwrap().push(history);
                });
            }
            let wait_for_pushes = || {
                let n = n_pushed.load(Relaxed) + 50 * N_PUSHERS;
                while n_pushed.load(Relaxed) < n && histories.lock().unwrap().is_empty() {
                    std::thread::yield_now();
                }
            };
            for _ in 0..4 {
                wait_for_pushes();
                gateway.signal(Signal::TERM);
                assert_eq!(gateway.wait(), Some(0), "{}", gateway.log());
                gateway = start_with_socket(&socket, &place, &[&flag]);
            }
            wait_for_pushes();
            is_over.store(true, Relaxed);
        });
        let found = numbers_by_job(&gateway);
        for history in histories.into_inner().unwrap() {
            assert!(history.n_answered() > 100, "{}", history.n_answered());
            let contradictions = history.contradictions_of_its_jobs(&found);
            assert!(contradictions.is_empty(), "{contradictions:?}");
        }
    }
}

#[test]
fn a_second_process_on_the_same_address_or_file_ends_with_status_1() {
    let place = Place::new("restart-second");
    let gateway = place.start();
    assert_eq!(gateway.put("/metrics/job/x", "a 1\nb 1\n").status, 200);
    let end_of = |address: &str, flags: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_pushgateway"))
            .arg(format!("--web.listen-address={address}"))
            .args(flags)
            .output()
            .unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{log}");
        log
    };
    let address = gateway.address.to_string();
    let log = end_of(&address, &[]);
    assert!(
        log.contains(&format!("cannot listen on {address:?}").replace('"', "\\\"")),
        "{log}"
    );
    let log = end_of("127.0.0.1:0", &[&place.flag()]);
    assert!(
        log.contains("pushes.db is in use by another process"),
        "{log}"
    );
    assert_eq!(gateway.put("/metrics/job/x", "a 2\nb 2\n").status, 200);
    drop(gateway);
    assert_eq!(numbers_by_job(&place.start())["x"], 2);
}
