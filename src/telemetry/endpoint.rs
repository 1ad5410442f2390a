//! The address of one end of a connection, as the log shows it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The context ID that stands for all contexts of the machine (`VMADDR_CID_ANY`).
const ANY_CONTEXT: u32 = u32::MAX;

/// The address of one end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Of TCP over IPv4 or IPv6.
    Ip(SocketAddr),
    /// Of a vsock, over which a virtual machine and its host talk.
    Vsock {
        /// The context ID: which machine.
        context: u32,
        /// The port.
        port: u32,
    },
}

impl Endpoint {
    /// An address of TCP. One that embeds an address of IPv4, as a socket for both IPv6 and IPv4
    /// reports it, becomes that address.
    pub fn ip(address: SocketAddr) -> Self {
        Self::Ip(SocketAddr::new(address.ip().to_canonical(), address.port()))
    }

    /// The host, without the port.
    pub(crate) fn host(&self) -> ClientHost {
        match self {
            Self::Ip(address) => ClientHost::Ip(address.ip()),
            Self::Vsock { context, .. } => ClientHost::Vsock(*context),
        }
    }
}

/// The host of an [`Endpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ClientHost {
    Ip(IpAddr),
    /// The context ID of a vsock.
    Vsock(u32),
}

impl fmt::Display for ClientHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Vsock(context) => write!(f, "vsock://{context}"),
        }
    }
}

/// Addresses of vsock are written as `--web.listen-address` takes them: `vsock://3:1024`, or
/// `vsock://:1024` for all contexts.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Vsock {
                context: ANY_CONTEXT,
                port,
            } => write!(f, "vsock://:{port}"),
            Self::Vsock { context, port } => write!(f, "vsock://{context}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_the_flag_takes_them() {
        let ip = |address: &str| Endpoint::ip(address.parse().unwrap()).to_string();
        assert_eq!(ip("[::1]:9091"), "[::1]:9091");
        assert_eq!(ip("[::ffff:10.0.0.1]:9091"), "10.0.0.1:9091");
        let vsock = |context| {
            Endpoint::Vsock {
                context,
                port: 9091,
            }
            .to_string()
        };
        assert_eq!(vsock(ANY_CONTEXT), "vsock://:9091");
        assert_eq!(vsock(3), "vsock://3:9091");
    }
}
