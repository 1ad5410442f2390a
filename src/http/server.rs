//! Accepts connections until the process is to end, then drains them: waits until all requests that
//! were sent by then are answered.

use super::accept_back_off::{AcceptBackOff, AcceptFailureLog};
use super::closing::closed;
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
            _ = closed(&mut closing) => return,
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
                        () = closed(&mut closing) => {}
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::ParseLimits;
    use crate::gateway::{BodyLimits, GatewayOptions, IngestOptions};
    use crate::http::Routes;
    use crate::model::NameScheme;
    use crate::telemetry::Endpoint;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    fn start_gateway() -> Arc<Gateway> {
        Gateway::start(GatewayOptions {
            ingest: IngestOptions {
                names: NameScheme::Legacy,
                body_limits: BodyLimits {
                    body_bytes_max: 1 << 20,
                    decoded_bytes_max: 1 << 20,
                    decoded_ratio_max: 100,
                },
                parse_limits: ParseLimits {
                    series_max: 1000,
                    labels_max: 100,
                },
            },
            shapes_per_job_max: 10,
            exposition_bytes_max: 1 << 20,
            release_memory: || (),
            request_release: || (),
        })
        .expect("threads start")
    }

    /// Sends `requests`, and returns what is answered until the connection is closed.
    async fn exchange(stream: &mut TcpStream, requests: &str) -> String {
        stream.write_all(requests.as_bytes()).await.unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).await.unwrap();
        answers
    }

    /// `push_whole` panics in tests for pushes to the job `panics`.
    #[test]
    fn a_panic_ends_one_connection_with_500_and_is_counted() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listeners = Listeners::bind(&["127.0.0.1:0".to_owned()]).unwrap();
            let [Endpoint::Ip(address)] = listeners.addresses()[..] else {
                panic!("one socket of TCP");
            };
            let options = HttpOptions {
                routes: Routes::new("", "/metrics"),
                is_check_announced: true,
                is_lifecycle_enabled: false,
                drain_timeout: Duration::ZERO,
                flags: Vec::new(),
            };
            let gateway = start_gateway();
            let server = Server::new(Arc::clone(&gateway), options, listeners).unwrap();
            tokio::spawn(server.run());
            let push = |job: &str, header: &str| {
                format!("PUT /metrics/job/{job} HTTP/1.1\r\nHost: h\r\n{header}Content-Length: 4\r\n\r\nx 1\n")
            };
            let mut other = TcpStream::connect(address).await.unwrap();
            other.write_all(push("other", "").as_bytes()).await.unwrap();
            // The second form is one for hyper.
            for (n, header) in ["", "Expect: 100-continue\r\n"].into_iter().enumerate() {
                let mut stream = TcpStream::connect(address).await.unwrap();
                let requests = push("fine", "") + &push("panics", header);
                let answers = exchange(&mut stream, &requests).await;
                let (fine, panicked) = answers[1..].split_once("HTTP/1.1 ").unwrap();
                assert!(fine.starts_with("TTP/1.1 200 OK\r\n"), "{answers}");
                let panicked = panicked
                    .split_once("HTTP/1.1 ")
                    .map_or(panicked, |(_, after_100)| after_100);
                assert!(panicked.starts_with("500 Internal Server Error\r\n"), "{answers}");
                assert!(panicked.contains("\r\nconnection: close\r\n"), "{answers}");
                assert!(panicked.ends_with("this is a bug\n"), "{answers}");
                assert_eq!(gateway.telemetry.n_panics(), n as u64 + 1);
            }
            let close = push("other", "Connection: close\r\n");
            let answers = exchange(&mut other, &close).await;
            assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
            assert_eq!(gateway.groups().len(), 2);
        });
    }
}
