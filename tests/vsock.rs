//! The gateway listens on vsock, over which virtual machines talk to their host.

mod common;

use common::Gateway;
use common::outside::{NotRun, run_tests};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{Read, Write};
use std::process::ExitCode;

/// The context ID of this machine, whichever it is (`VMADDR_CID_LOCAL`).
const LOCAL_CONTEXT: u32 = 1;

fn main() -> ExitCode {
    run_tests![
        the_gateway_listens_on_vsock,
        pushes_and_scrapes_are_exchanged_over_vsock
    ]
}

/// A gateway that listens on vsock, too, and the port there.
fn gateway_on_vsock() -> Result<(Gateway, u32), NotRun> {
    if let Err(error) = Socket::new(Domain::VSOCK, Type::STREAM, None) {
        return Err(NotRun::Machine(format!(
            "this system has no vsock: {error}"
        )));
    }
    let gateway = Gateway::with_flags(&["--web.listen-address=vsock://:"]);
    let line = gateway.wait_for_log("address=vsock://:");
    let (_, port) = line.rsplit_once(':').unwrap();
    Ok((gateway, port.trim().parse().expect("a port")))
}

fn the_gateway_listens_on_vsock() -> Result<(), NotRun> {
    let (gateway, _) = gateway_on_vsock()?;
    // The other listener works beside it.
    assert_eq!(gateway.put("/metrics/job/j", "x 1\n").status, 200);
    Ok(())
}

fn pushes_and_scrapes_are_exchanged_over_vsock() -> Result<(), NotRun> {
    let (_gateway, port) = gateway_on_vsock()?;
    let connect = || {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None).expect("as above");
        let connected = socket.connect(&SockAddr::vsock(LOCAL_CONTEXT, port));
        connected.map(|()| socket).map_err(|error| {
            NotRun::Machine(format!(
                "this machine cannot reach itself over vsock (modprobe vsock_loopback): {error}"
            ))
        })
    };
    let exchange = |request: &str| -> Result<String, NotRun> {
        let mut socket = connect()?;
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        Ok(answer)
    };
    let head = "HTTP/1.1\r\nHost: h\r\nConnection: close\r\n";
    let push = exchange(&format!(
        "PUT /metrics/job/j {head}Content-Length: 4\r\n\r\nx 1\n"
    ))?;
    assert!(push.starts_with("HTTP/1.1 200 OK\r\n"), "{push}");
    let scrape = exchange(&format!("GET /metrics {head}\r\n"))?;
    assert!(
        scrape.contains("x{instance=\"\",job=\"j\"} 1\n"),
        "{scrape}"
    );
    Ok(())
}
