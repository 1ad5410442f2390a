//! Sockets: listening, connections, and the end of both.

use super::answer::Unread;
use super::fast_path::{self, End};
use super::gateway::Gateway;
use super::lingering::Lingering;
use super::service;
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long requests that are being answered may take once the process is to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long what clients had sent by then may take to be noticed.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
/// Time for a head; also for an idle connection, because hyper has one timer for both: clients keep
/// theirs for up to 90 s.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(150);
/// Time between two attempts to accept, while the process or the system lacks something.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);
/// More than any system allows: it takes its own limit then.
const BACKLOG: i32 = 65_535;

/// Of a body that is refused for its size, so many times the limit is still read, and at least so
/// many bytes: its client gets the answer.
const DISCARD_BODIES: u64 = 4;
const DISCARD_BYTES: u64 = 16 << 20;

/// Sockets that listen.
pub struct Listeners(Vec<TcpListener>);

impl Listeners {
    /// Listens on addresses like `:9091`, `127.0.0.1:9091`, `[::1]:9091` or `localhost:9091`.
    /// Without a host: on all of IPv6 and IPv4. Without a port (`127.0.0.1:`, or nothing at all):
    /// on any that is free.
    ///
    /// # Errors
    ///
    /// The address is none, or cannot be listened on.
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
                    // A machine without IPv6.
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

    /// The sockets that systemd passes to the process (`LISTEN_FDS`, sd_listen_fds(3)). Call once,
    /// before any thread is started.
    ///
    /// # Errors
    ///
    /// There are none, or one is no listening TCP socket.
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

    /// Where they listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
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

/// Serves a gateway on sockets.
pub struct Server {
    gateway: Arc<Gateway>,
    listeners: Listeners,
}

impl Server {
    /// A server that begins to accept when it is run.
    pub fn new(gateway: Arc<Gateway>, listeners: Listeners) -> Self {
        Self { gateway, listeners }
    }

    /// Serves until a shutdown is requested, and then until what was asked by then is answered, or
    /// half a minute has passed.
    pub async fn run(self) {
        let gateway = self.gateway;
        let (close, closing) = watch::channel(false);
        // Every connection holds a sender; when all are gone, so are the connections.
        let (connection, mut connections) = mpsc::channel::<Infallible>(1);
        let mut accepting = JoinSet::new();
        for listener in self.listeners.0 {
            accepting.spawn(accept(
                listener,
                Arc::clone(&gateway),
                closing.clone(),
                connection.clone(),
            ));
        }
        drop(connection);
        gateway.shutdown_requested().await;
        gateway.begin_draining();
        tracing::info!("shutting down: answering what was asked");
        // Clients whose requests have arrived but were not seen yet get their answers, too:
        // connections that wait to be accepted, and requests that wait to be read.
        tokio::time::sleep(DRAIN_GRACE).await;
        close.send_replace(true);
        while accepting.join_next().await.is_some() {}
        if tokio::time::timeout(DRAIN_MAX, connections.recv())
            .await
            .is_err()
        {
            tracing::warn!(
                "some requests were not answered within {} seconds",
                DRAIN_MAX.as_secs()
            );
        }
    }
}

async fn accept(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    mut closing: watch::Receiver<bool>,
    connection: mpsc::Sender<Infallible>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            // Nobody waits to be accepted.
            _ = closed(&mut closing) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                tokio::spawn(serve(
                    stream,
                    Arc::clone(&gateway),
                    closing.clone(),
                    connection.clone(),
                ));
            }
            Err(error) => {
                // A client that has gone again already costs nothing; a lack of descriptors passes.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    tracing::warn!(err = %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_BACK_OFF).await;
                }
            }
        }
    }
}

/// Completes when connections are to be closed, also if that was so before.
pub(super) async fn closed(closing: &mut watch::Receiver<bool>) {
    while !*closing.borrow_and_update() {
        if closing.changed().await.is_err() {
            return;
        }
    }
}

async fn serve(
    mut stream: TcpStream,
    gateway: Arc<Gateway>,
    mut closing: watch::Receiver<bool>,
    _connection: mpsc::Sender<Infallible>,
) {
    // Answers are small and whole: nothing to wait for.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match fast_path::serve(&gateway, &mut stream, &mut closing).await {
        End::Closed => {}
        // On the heap: connections that are idle keep no room for it.
        End::HandedOver(again) => {
            Box::pin(serve_with_hyper(stream, again, &gateway, &mut closing)).await
        }
    }
}

/// Serves a connection of which `again` was read already, to its end.
async fn serve_with_hyper(
    stream: TcpStream,
    again: Bytes,
    gateway: &Gateway,
    closing: &mut watch::Receiver<bool>,
) {
    let is_unread = AtomicBool::new(false);
    let service = service_fn(|request| {
        let is_unread = &is_unread;
        async move {
            let response = service::answer(gateway, request).await;
            if response.extensions().get::<Unread>().is_some() {
                // Relaxed: of this task alone.
                is_unread.store(true, Relaxed);
            }
            Ok::<_, Infallible>(response)
        }
    });
    let discard_bytes_max = gateway
        .options
        .body_bytes_max
        .saturating_mul(DISCARD_BODIES)
        .max(DISCARD_BYTES);
    let stream = Lingering::new(stream, again, &is_unread, discard_bytes_max);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        // A client that has sent its request whole may close its side, as `nc -N` does, and is
        // answered.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let closed = closed(closing);
    tokio::pin!(closed);
    let mut is_registered = false;
    let result = std::future::poll_fn(|context| {
        // First: what has arrived is read before the connection may count as idle.
        if let Poll::Ready(result) = connection.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        // Once it was polled it wakes this task, and draining begins before that: no need to poll
        // it with every request.
        if std::mem::replace(&mut is_registered, true) && !gateway.is_draining() {
            return Poll::Pending;
        }
        closed.as_mut().poll(context).map(|()| None)
    })
    .await;
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(err = %error, "connection broken");
    }
}
