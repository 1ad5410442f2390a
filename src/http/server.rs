//! Connections: accepting them, and the end of the process.

use super::closing::closed;
use super::connection;
use super::gateway::Gateway;
use super::listeners::Listeners;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long requests that are being answered may take once the process is to end.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long what clients had sent by then may take to be noticed.
const DRAIN_GRACE: Duration = Duration::from_millis(100);
/// Time between two attempts to accept, while the process or the system lacks something.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

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
                tokio::spawn(connection::serve(
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
