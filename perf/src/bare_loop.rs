//! The cheapest possible client: a lower bound for what requests over kept connections cost on this
//! machine. No client that uses one `send` and one `recv` per request can need less CPU.
//!
//! The loop always sends the same bytes, parses no answer, and reads the clock once per batch of
//! answers. Nearly all of its cost is spent in the kernel: over loopback, `send` also does the
//! receiver's part of TCP.

use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Sends `request` over `n_connections` connections, and again after each answer, for `duration`.
/// Returns the number of answers.
///
/// # Errors
///
/// The server cannot be reached, or closes a connection.
pub fn run(
    address: SocketAddr,
    n_connections: u32,
    duration: Duration,
    request: &[u8],
) -> io::Result<u64> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut connections = Vec::with_capacity(n_connections as usize);
    for n in 0..n_connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.write_all(request)?;
        stream.set_nonblocking(true)?;
        epoll::add(
            &epoll,
            &stream,
            EventData::new_u64(n.into()),
            EventFlags::IN,
        )?;
        connections.push(stream);
    }
    let (mut buffer, mut events) = ([0; 4096], Vec::with_capacity(256));
    let (mut n_answered, ends) = (0, Instant::now() + duration);
    while Instant::now() < ends {
        events.clear();
        epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None)?;
        for &epoll::Event { data, .. } in &events {
            let stream =
                &mut connections[usize::try_from(data.u64()).expect("the number of a connection")];
            if stream.read(&mut buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            n_answered += 1;
            // The socket can take the request at once, because its send buffer is empty.
            stream.write_all(request)?;
        }
    }
    Ok(n_answered)
}
