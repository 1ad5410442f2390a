//! A connection that never waits: for the event loop, which has many of them on one thread.

use crate::answer::AnswerReader;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

#[derive(Default)]
pub struct PushConnection {
    /// Made when it is needed.
    pub stream: Option<TcpStream>,
    pub reader: AnswerReader,
    /// When the request under way was sent.
    pub sent_at: Option<Instant>,
    /// What the socket did not take of it at once, and how much of that it has taken since.
    pub unsent: Vec<u8>,
    n_unsent_written: usize,
}

impl PushConnection {
    pub fn close(&mut self) {
        // Closing takes it out of epoll.
        self.stream = None;
        self.unsent.clear();
        self.n_unsent_written = 0;
        self.reader.reset();
    }

    pub fn send(
        &mut self,
        epoll: &OwnedFd,
        n: usize,
        address: SocketAddr,
        request: &[u8],
    ) -> io::Result<()> {
        let is_new = self.stream.is_none();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(start_connecting(address)?),
        };
        // Over loopback a connection is there at once; elsewhere the socket takes nothing yet.
        let n_written = match stream.write(request) {
            Ok(n_written) => n_written,
            Err(error) if would_block(&error) => 0,
            Err(error) => return Err(error),
        };
        let interest = if n_written < request.len() {
            EventFlags::IN | EventFlags::OUT
        } else {
            EventFlags::IN
        };
        let data = EventData::new_u64(n as u64);
        if is_new {
            epoll::add(epoll, &*stream, data, interest)?;
        } else if n_written < request.len() {
            epoll::modify(epoll, &*stream, data, interest)?;
        }
        self.unsent.extend_from_slice(&request[n_written..]);
        Ok(())
    }

    pub fn send_rest(&mut self, epoll: &OwnedFd, n: usize) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        match stream.write(&self.unsent[self.n_unsent_written..]) {
            Ok(n_written) => self.n_unsent_written += n_written,
            Err(error) if would_block(&error) => {}
            Err(error) => return Err(error),
        }
        if self.n_unsent_written == self.unsent.len() {
            self.unsent.clear();
            self.n_unsent_written = 0;
            epoll::modify(epoll, stream, EventData::new_u64(n as u64), EventFlags::IN)?;
        }
        Ok(())
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn start_connecting(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}
