//! Accepts connections until the process is to end, then drains them: waits until all requests that
//! were sent by then are answered.

use super::accept_back_off::{AcceptBackOff, AcceptFailureLog};
use super::closing::until_closing;
use super::connection;
use super::front_end::{FrontEnd, HttpOptions};
use super::listeners::{Listener, Listeners};
use crate::gateway::Gateway;
use crate::gateway::catch::catch_in;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// How long the gateway goes on accepting once the process is to end, so that it notices what
/// clients had sent by then.
const DRAIN_GRACE: Duration = Duration::from_millis(100);

/// Serves a gateway over HTTP.
pub struct Server {
    front_end: Arc<FrontEnd>,
    listeners: Vec<Listener>,
}

impl Server {
    /// A server that begins to accept connections when it is [run](Self::run), in the runtime that
    /// calls this.
    ///
    /// # Errors
    ///
    /// The runtime cannot watch a socket.
    pub fn new(
        gateway: Arc<Gateway>,
        options: HttpOptions,
        listeners: Listeners,
    ) -> io::Result<Self> {
        Ok(Self {
            front_end: Arc::new(FrontEnd::new(gateway, options)),
            listeners: listeners.into_listeners()?,
        })
    }

    /// Serves until [`Gateway::request_shutdown`] is called, and then until every request that was
    /// sent by then is answered, or [`HttpOptions::drain_timeout`] has passed. A client that is
    /// silent in the middle of its request is not waited for. Requests that are not answered by then
    /// go on until the runtime ends.
    pub async fn run(self) {
        let front_end = self.front_end;
        let (close, closing) = watch::channel(false);
        // Every connection holds a sender: when all of them are dropped, all connections have
        // ended.
        let (connection, mut connections) = mpsc::channel::<Infallible>(1);
        let failures = Arc::new(AcceptFailureLog::new());
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            accepting.spawn(accept(
                listener,
                Arc::clone(&front_end),
                Arc::clone(&failures),
                closing.clone(),
                connection.clone(),
            ));
        }
        drop(connection);
        front_end.gateway.shutdown_requested().await;
        front_end.begin_draining();
        tracing::info!("shutting down: answering what was asked");
        let drained = async {
            // Requests that have arrived and were not seen yet are answered, too: those of
            // connections that wait to be accepted, and those that wait to be read.
            tokio::time::sleep(DRAIN_GRACE).await;
            close.send_replace(true);
            while accepting.join_next().await.is_some() {}
            connections.recv().await;
        };
        let timeout = front_end.options.drain_timeout;
        if tokio::time::timeout(timeout, drained).await.is_err() {
            tracing::warn!(?timeout, "some requests were not answered in time");
        }
        front_end.refusal_log.finish();
    }
}

/// Accepts connections until `closing` says that connections are to be closed and none is waiting.
async fn accept(
    listener: Listener,
    front_end: Arc<FrontEnd>,
    failures: Arc<AcceptFailureLog>,
    mut closing: watch::Receiver<bool>,
    connection: mpsc::Sender<Infallible>,
) {
    let mut back_off = AcceptBackOff::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            _ = until_closing(&mut closing) => return,
        };
        match accepted {
            Ok((stream, client)) => {
                back_off = AcceptBackOff::new();
                let serving = connection::serve(
                    stream,
                    client,
                    Arc::clone(&front_end),
                    closing.clone(),
                    connection.clone(),
                );
                let front_end = Arc::clone(&front_end);
                tokio::spawn(async move {
                    // Panics in a request are caught further inside, and are answered.
                    if catch_in(serving).await.is_err() {
                        front_end.gateway.telemetry.count_panic();
                    }
                });
            }
            Err(error) => {
                // A client that went away before it was accepted costs nothing. Other errors, such
                // as a lack of file descriptors, pass.
                if !matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
                ) {
                    failures.log(&error);
                    if *closing.borrow() {
                        // Connections that cannot be accepted are not waited for.
                        return;
                    }
                    tokio::select! {
                        () = tokio::time::sleep(back_off.next_pause()) => {}
                        () = until_closing(&mut closing) => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
