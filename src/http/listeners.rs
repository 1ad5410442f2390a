//! Sockets that listen: on TCP, and on vsock, over which virtual machines talk to their host.

use crate::telemetry::Endpoint;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, TcpStream};

/// How many connections may wait to be accepted. The system lowers this to its own limit, which is
/// smaller on any system.
const BACKLOG: i32 = 65_535;
/// All contexts of the machine (`VMADDR_CID_ANY`).
const ANY_CONTEXT: u32 = u32::MAX;
/// Any vsock port that is free (`VMADDR_PORT_ANY`).
const ANY_VSOCK_PORT: u32 = u32::MAX;

/// Sockets that listen.
pub struct Listeners(Vec<Socket>);

impl Listeners {
    /// Listens on addresses such as `:9091`, `127.0.0.1:9091`, `[::1]:9091`, `localhost:9091` or
    /// `vsock://:9091`.
    ///
    /// An address without a host stands for all addresses of IPv6 and IPv4, and so do `0.0.0.0` and
    /// `[::]`, as on the reference. One without a port (`127.0.0.1`, or an empty string) stands for
    /// any port that is free. A host in front of a vsock port is ignored, as by the reference:
    /// the socket listens in all contexts of the machine.
    ///
    /// # Errors
    ///
    /// A text is not an address, or the process cannot listen there. The error names the address.
    pub fn bind(addresses: &[String]) -> io::Result<Self> {
        let mut listeners = Vec::new();
        for address in addresses {
            let bound = ListenAddress::parse(address).and_then(|address| address.bind());
            listeners.push(bound.map_err(|error| {
                let text = format!("cannot listen on {address:?}: {error}");
                io::Error::new(error.kind(), text)
            })?);
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
                listeners.push(listener.into());
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
    pub fn addresses(&self) -> Vec<Endpoint> {
        self.0
            .iter()
            .filter_map(|socket| endpoint(&socket.local_addr().ok()?))
            .collect()
    }

    /// Prepares the sockets to accept connections in the runtime that calls this.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch a socket.
    pub(super) fn into_listeners(self) -> io::Result<Vec<Listener>> {
        #[expect(unsafe_code, reason = "tokio has no listener for vsock")]
        let of = |socket: Socket| {
            Ok(if socket.domain()? == Domain::VSOCK {
                // SAFETY: a `Socket` keeps one file descriptor open as long as it lives.
                Listener::Vsock(unsafe { AsyncFd::register(socket) }?)
            } else {
                Listener::Tcp(TcpListener::from_std(socket.into())?)
            })
        };
        self.0.into_iter().map(of).collect()
    }
}

/// A socket that accepts connections.
pub(super) enum Listener {
    Tcp(TcpListener),
    Vsock(AsyncFd<Socket>),
}

impl Listener {
    /// The next connection, and the address of its client. Accepts nothing if the future is dropped
    /// before it is ready.
    ///
    /// Every connection is a `TcpStream`, so that all of them are served by the same code: a stream
    /// socket of vsock is read, written and shut down with the same system calls.
    pub async fn accept(&self) -> io::Result<(TcpStream, Endpoint)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, client) = listener.accept().await?;
                // Answers are small and written whole: there is nothing to wait for to fill a
                // packet. An error says that the client has gone, and so will the first read.
                let _ = stream.set_nodelay(true);
                Ok((stream, Endpoint::ip(client)))
            }
            Self::Vsock(listener) => {
                let accept = |socket: &Socket| socket.accept();
                let (socket, client) = listener.async_io(Interest::READABLE, accept).await?;
                socket.set_nonblocking(true)?;
                let client = endpoint(&client).ok_or(io::ErrorKind::ConnectionAborted)?;
                Ok((TcpStream::from_std(socket.into())?, client))
            }
        }
    }
}

fn endpoint(address: &SockAddr) -> Option<Endpoint> {
    let vsock = address
        .as_vsock_address()
        .map(|(context, port)| Endpoint::Vsock { context, port });
    vsock.or_else(|| address.as_socket().map(Endpoint::ip))
}

/// What `--web.listen-address` names:
///
/// ```text
/// address = [ host ] [ ":" [ port ] ] | "vsock://" [ host ] [ ":" [ port ] ] [ "/" … ]
/// host    = a name | an address of IPv4 | an address of IPv6, in brackets if a port follows
/// ```
#[derive(Debug, PartialEq, Eq)]
enum ListenAddress<'a> {
    /// All addresses of IPv6 and IPv4.
    Any {
        port: u16,
    },
    Ip(SocketAddr),
    Name {
        host: &'a str,
        port: u16,
    },
    Vsock {
        port: u32,
    },
}

impl<'a> ListenAddress<'a> {
    fn parse(address: &'a str) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what);
        if let Some(address) = address.strip_prefix("vsock://") {
            let address = address.split('/').next().unwrap_or_default();
            let port = match address.rsplit_once(':').map_or("", |(_, port)| port) {
                "" => ANY_VSOCK_PORT,
                port => port.parse().map_err(|_| invalid("invalid vsock port"))?,
            };
            return Ok(Self::Vsock { port });
        }
        if !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_digit()) {
            // Read as a host this would be an address of IPv4, as one number.
            return Err(invalid("a port is written with a colon, such as :9091"));
        }
        let (host, port) = match address.strip_prefix('[') {
            Some(address) => address
                .split_once(']')
                .filter(|(_, port)| port.is_empty() || port.starts_with(':'))
                .map(|(host, port)| (host, port.strip_prefix(':').unwrap_or_default()))
                .ok_or_else(|| invalid("invalid socket address"))?,
            None if address.parse::<Ipv6Addr>().is_ok() => (address, ""),
            None => address.rsplit_once(':').unwrap_or((address, "")),
        };
        let port = match port {
            "" => 0,
            port => port.parse().map_err(|_| invalid("invalid port value"))?,
        };
        Ok(match host.parse::<IpAddr>() {
            _ if host.is_empty() => Self::Any { port },
            Ok(ip) if ip.is_unspecified() => Self::Any { port },
            Ok(ip) => Self::Ip(SocketAddr::new(ip, port)),
            Err(_) => Self::Name { host, port },
        })
    }

    fn bind(&self) -> io::Result<Socket> {
        match *self {
            Self::Any { port } => bind_ip((Ipv6Addr::UNSPECIFIED, port).into()).or_else(|error| {
                let has_no_ipv6 = error.kind() == io::ErrorKind::AddrNotAvailable
                    || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error());
                if has_no_ipv6 {
                    bind_ip((Ipv4Addr::UNSPECIFIED, port).into())
                } else {
                    Err(error)
                }
            }),
            Self::Ip(address) => bind_ip(address),
            Self::Name { host, port } => {
                let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
                // IPv4 first, as the reference chooses.
                let address = addresses
                    .iter()
                    .find(|address| address.is_ipv4())
                    .or(addresses.first());
                bind_ip(*address.ok_or(io::ErrorKind::AddrNotAvailable)?)
            }
            Self::Vsock { port } => {
                let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
                listen(socket, &SockAddr::vsock(ANY_CONTEXT, port))
            }
        }
    }
}

fn bind_ip(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    listen(socket, &address.into())
}

fn listen(socket: Socket, address: &SockAddr) -> io::Result<Socket> {
    socket.set_nonblocking(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::ListenAddress::{Any, Ip, Name, Vsock};
    use super::*;

    #[test]
    fn addresses_are_read_as_the_help_of_the_flag_says() {
        let ip = |address: &str| Ip(address.parse().unwrap());
        let name = |host, port| Name { host, port };
        for (text, address) in [
            (":9091", Any { port: 9091 }),
            ("0.0.0.0:9091", Any { port: 9091 }),
            ("[::]:9091", Any { port: 9091 }),
            ("[0:0::0]:9091", Any { port: 9091 }),
            ("", Any { port: 0 }),
            (":", Any { port: 0 }),
            ("::", Any { port: 0 }),
            ("0.0.0.0", Any { port: 0 }),
            ("127.0.0.1:9091", ip("127.0.0.1:9091")),
            ("127.0.0.1:", ip("127.0.0.1:0")),
            ("127.0.0.1", ip("127.0.0.1:0")),
            ("[::1]:9091", ip("[::1]:9091")),
            ("[::1]", ip("[::1]:0")),
            ("::1", ip("[::1]:0")),
            ("localhost:9091", name("localhost", 9091)),
            ("localhost", name("localhost", 0)),
            ("vsock://:9091", Vsock { port: 9091 }),
            ("vsock://:70000/", Vsock { port: 70000 }),
            ("vsock://3:9091", Vsock { port: 9091 }),
            (
                "vsock://",
                Vsock {
                    port: ANY_VSOCK_PORT,
                },
            ),
        ] {
            assert_eq!(ListenAddress::parse(text).unwrap(), address, "{text}");
        }
        for text in [
            "9091",
            ":x",
            ":65536",
            "[::1",
            "[::1]9091",
            "vsock://:x",
            "vsock://:5000000000",
        ] {
            assert!(ListenAddress::parse(text).is_err(), "{text}");
        }
    }

    /// The addresses that a listener is reached at.
    fn reached_at(address: &str) -> Vec<&'static str> {
        let listeners = Listeners::bind(&[address.to_owned()]).unwrap();
        let [Endpoint::Ip(bound)] = listeners.addresses()[..] else {
            panic!("one socket of TCP");
        };
        let connects = |host: &str| {
            let host: IpAddr = host.parse().unwrap();
            std::net::TcpStream::connect((host, bound.port())).is_ok()
        };
        let mut hosts = vec!["127.0.0.1", "::1"];
        hosts.retain(|host| connects(host));
        hosts
    }

    #[test]
    fn an_unspecified_address_of_either_family_listens_on_both() {
        let both = reached_at(":0");
        assert!(both.contains(&"127.0.0.1"));
        assert_eq!(reached_at("0.0.0.0:0"), both);
        assert_eq!(reached_at("[::]:0"), both);
        assert_eq!(reached_at(""), both);
    }

    #[test]
    fn another_address_listens_alone() {
        assert_eq!(reached_at("127.0.0.1:0"), ["127.0.0.1"]);
        assert_eq!(reached_at("127.0.0.1"), ["127.0.0.1"]);
        assert_eq!(reached_at("localhost:0"), ["127.0.0.1"]);
    }

    #[test]
    fn an_error_names_the_address() {
        let error = |address: &str| {
            Listeners::bind(&[address.to_owned()])
                .err()
                .expect("an error")
                .to_string()
        };
        assert_eq!(
            error("9091"),
            "cannot listen on \"9091\": a port is written with a colon, such as :9091"
        );
        assert!(error("no.such.host.invalid:1").starts_with("cannot listen on \"no.such"));
    }
}
