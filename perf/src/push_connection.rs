//! A non-blocking connection. The event loop runs many of them on one thread.

use crate::answer::AnswerReader;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

/// One connection and the state of its request in flight.
#[derive(Default)]
pub struct PushConnection {
    /// Opened by the first request, and again by the first request after a close.
    pub stream: Option<TcpStream>,
    pub reader: AnswerReader,
    /// When the request in flight was sent; `None` if there is none.
    pub sent_at: Option<Instant>,
    /// The end of that request, which the socket did not take at once.
    pub unsent: Vec<u8>,
    /// How many bytes of `unsent` the socket has taken since.
    n_unsent_written: usize,
}

impl PushConnection {
    /// Closes the connection and forgets its unfinished request and answer.
    pub fn close(&mut self) {
        // Closing a descriptor also removes it from epoll.
        self.stream = None;
        self.unsent.clear();
        self.n_unsent_written = 0;
        self.reader.reset();
    }

    /// Sends a request, and opens the connection first if it is closed. `n` is the connection's
    /// number, by which epoll reports events. What the socket does not take now is kept for
    /// [`send_rest`](Self::send_rest).
    ///
    /// # Errors
    ///
    /// The connection cannot be opened, or has failed.
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
        // Over loopback `connect` completes at once. Over a network the socket takes nothing yet.
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

    /// Sends more of the request in flight, once epoll has reported that the socket takes more.
    ///
    /// # Errors
    ///
    /// The connection has failed.
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

/// Opens a non-blocking socket and starts to connect it, without waiting for the end of that.
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
