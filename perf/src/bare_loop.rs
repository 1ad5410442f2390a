//! The least that requests over kept connections cost on this machine: no client that asks the
//! kernel for a `send` and a `recv` a request can take less.
//!
//! It sends the same bytes always, looks at no answer and reads the clock once a batch. Nearly all
//! of it is the kernel's: over loopback a `send` does the receiver's part of TCP as well.

use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Sends `request` over so many connections, again with each answer; how many were answered.
///
/// # Errors
///
/// The server is not there, or does not answer.
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
            let stream = &mut connections[usize::try_from(data.u64()).expect("it was one")];
            if stream.read(&mut buffer)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            n_answered += 1;
            // The socket has room: it holds nothing else.
            stream.write_all(request)?;
        }
    }
    Ok(n_answered)
}
