//! Sockets that listen.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use tokio::net::TcpListener;

/// How many connections may wait to be accepted. The system lowers this to its own limit, which is
/// smaller on any system.
const BACKLOG: i32 = 65_535;

/// Sockets that listen.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens on addresses such as `:9091`, `127.0.0.1:9091`, `[::1]:9091` or `localhost:9091`.
    ///
    /// An address without a host stands for all addresses of IPv6 and IPv4; one without a port
    /// (`127.0.0.1:`, or an empty string) for any port that is free.
    ///
    /// # Errors
    ///
    /// A text is not an address, or the process cannot listen there. The error names the address.
    pub fn bind(addresses: &[String]) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in addresses {
            let with_address = |error: io::Error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot listen on {address:?}: {error}"),
                )
            };
            let any_port = if address.is_empty() {
                ":0"
            } else if address.ends_with(':') {
                "0"
            } else {
                ""
            };
            let address = format!("{address}{any_port}");
            let resolved: Vec<SocketAddr> = match address.strip_prefix(':') {
                Some(port) => format!("[::]:{port}")
                    .to_socket_addrs()
                    .map_err(with_address)?
                    .collect(),
                None => address
                    .to_socket_addrs()
                    .map_err(with_address)?
                    .take(1)
                    .collect(),
            };
            for resolved in resolved {
                let bound = bind(resolved).or_else(|error| {
                    // The machine may have no IPv6.
                    let is_any = resolved.ip() == std::net::Ipv6Addr::UNSPECIFIED;
                    if is_any {
                        bind((std::net::Ipv4Addr::UNSPECIFIED, resolved.port()).into())
                    } else {
                        Err(error)
                    }
                });
                listeners.push(bound.map_err(with_address)?);
            }
        }
        Ok(Self(listeners))
    }

    /// Takes over the sockets that systemd passes to the process (`LISTEN_FDS`, see
    /// sd_listen_fds(3)). Call this once, before the process starts its first thread.
    ///
    /// # Errors
    ///
    /// systemd passed no socket, or one that is not a listening TCP socket.
    pub fn from_systemd() -> io::Result<Self> {
        let mut passed = listenfd::ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..passed.len() {
            if let Some(listener) = passed.take_tcp_listener(index)? {
                listener.set_nonblocking(true)?;
                listeners.push(TcpListener::from_std(listener)?);
            }
        }
        if listeners.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "systemd passed no sockets (LISTEN_FDS)",
            ));
        }
        Ok(Self(listeners))
    }

    /// The addresses that the sockets listen on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    pub(super) fn into_sockets(self) -> Vec<TcpListener> {
        self.0
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
