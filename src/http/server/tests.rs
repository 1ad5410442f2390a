//! Tests with a server in this process, so that a test can make requests fail or wait.

use super::super::connection::{LastRequest, serve_with_hyper};
use super::super::fast_path::{self, ConnectionEnd};
use super::*;
use crate::exposition::ParseLimits;
use crate::gateway::{BodyLimits, GatewayOptions, IngestOptions};
use crate::http::Routes;
use crate::model::NameScheme;
use crate::telemetry::Endpoint;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The client of connections that a test serves itself.
const CLIENT: Endpoint = Endpoint::Ip(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 1)));

/// How long a test waits for anything before it fails.
const TIMEOUT: Duration = Duration::from_secs(30);

struct TestServer {
    gateway: Arc<Gateway>,
    front_end: Arc<FrontEnd>,
    address: SocketAddr,
}

impl TestServer {
    /// Starts a server on a free loopback port, in the background.
    fn start() -> Self {
        Self::with_head_timeout(crate::http::head::HEAD_TIMEOUT)
    }

    /// Does the same with another time for the heads of requests.
    fn with_head_timeout(head_timeout: Duration) -> Self {
        let gateway = Gateway::start(GatewayOptions {
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
            disk: None,
            import_reader: |_| Err("nothing is imported".to_owned()),
            release_memory: || (),
            request_release: || (),
        })
        .expect("threads start");
        let options = HttpOptions {
            routes: Routes::new("", "/metrics"),
            is_check_announced: true,
            is_lifecycle_enabled: false,
            drain_timeout: Duration::ZERO,
            flags: Vec::new(),
        };
        let listeners = Listeners::bind(&["127.0.0.1:0".to_owned()]).unwrap();
        let [Endpoint::Ip(address)] = listeners.addresses()[..] else {
            panic!("one socket of TCP");
        };
        let mut server = Server::new(Arc::clone(&gateway), options, listeners).unwrap();
        let shared = Arc::get_mut(&mut server.front_end).expect("nothing has started");
        shared.head_timeout = head_timeout;
        let front_end = Arc::clone(&server.front_end);
        tokio::spawn(server.run());
        Self {
            gateway,
            front_end,
            address,
        }
    }

    /// Opens a connection and sends `requests`.
    async fn send(&self, requests: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(requests.as_bytes()).await.unwrap();
        stream
    }

    /// Sends `requests` on a new connection, and returns what is answered until the connection is
    /// closed.
    async fn exchange(&self, requests: &str) -> String {
        read_to_end(&mut self.send(requests).await).await
    }

    /// Whether no connection is served.
    fn is_idle(&self) -> bool {
        // The test, the server and the task that accepts share the front end; so does every
        // connection.
        Arc::strong_count(&self.front_end) == 3
    }
}

async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answers = String::new();
    let read = stream.read_to_string(&mut answers);
    let read = tokio::time::timeout(TIMEOUT, read).await;
    read.expect("the connection is closed").unwrap();
    answers
}

async fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let wait = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let wait = tokio::time::timeout(TIMEOUT, wait).await;
    wait.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

fn push(job: &str, header: &str) -> String {
    format!("PUT /metrics/job/{job} HTTP/1.1\r\nHost: h\r\n{header}Content-Length: 4\r\n\r\nx 1\n")
}

/// How many bytes the body of [`large_push`] has.
const LARGE_BYTES: usize = 300 << 10;

/// A push with a body that is parsed away from the runtime's workers.
fn large_push(job: &str, header: &str) -> String {
    let body = format!("x 1\n#{}\n", " ".repeat(LARGE_BYTES - 6));
    format!(
        "PUT /metrics/job/{job} HTTP/1.1\r\nHost: h\r\n{header}Content-Length: {LARGE_BYTES}\r\n\r\n{body}"
    )
}

/// `push_received` panics in tests for pushes to the job `panics`.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_panic_ends_one_connection_with_500_and_is_counted() {
    let server = TestServer::start();
    let mut other = server.send(&push("other", "")).await;
    // The second form is one for hyper.
    for (n, header) in ["", "Expect: 100-continue\r\n"].into_iter().enumerate() {
        let requests = push("fine", "") + &push("panics", header);
        let answers = server.exchange(&requests).await;
        let (fine, panicked) = answers[1..].split_once("HTTP/1.1 ").unwrap();
        assert!(fine.starts_with("TTP/1.1 200 OK\r\n"), "{answers}");
        let panicked = panicked
            .split_once("HTTP/1.1 ")
            .map_or(panicked, |(_, after_100)| after_100);
        assert!(
            panicked.starts_with("500 Internal Server Error\r\n"),
            "{answers}"
        );
        assert!(panicked.contains("\r\nconnection: close\r\n"), "{answers}");
        assert!(panicked.ends_with("this is a bug\n"), "{answers}");
        assert_eq!(server.gateway.telemetry.n_panics(), n as u64 + 1);
    }
    let close = push("other", "Connection: close\r\n");
    other.write_all(close.as_bytes()).await.unwrap();
    let answers = read_to_end(&mut other).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{answers}");
    assert_eq!(server.gateway.groups().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_push_into_a_full_queue_is_told_to_come_back_and_changes_nothing() {
    const CLOSE: &str = "Connection: close\r\n";
    let server = TestServer::start();
    let pool = server.gateway.ingester.parse_pool();
    let rooms: Vec<_> = std::iter::from_fn(|| pool.reserve(LARGE_BYTES)).collect();
    let refused = server.exchange(&large_push("j", CLOSE)).await;
    assert!(
        refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
        "{refused}"
    );
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    assert!(server.gateway.groups().is_empty());
    let scrape = format!("GET /metrics HTTP/1.1\r\nHost: h\r\n{CLOSE}\r\n");
    let scraped = server.exchange(&scrape).await;
    let counted = "\npushgateway_pushes_refused_total{reason=\"queue_full\"} 1\n";
    assert!(scraped.contains(counted), "{scraped}");
    drop(rooms);
    let accepted = server.exchange(&large_push("j", CLOSE)).await;
    assert!(accepted.starts_with("HTTP/1.1 200 OK\r\n"), "{accepted}");
    assert_eq!(server.gateway.groups().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_push_whose_connection_is_reset_while_it_waits_is_never_stored() {
    let server = TestServer::start();
    let pool = server.gateway.ingester.parse_pool();
    let blocked = pool.block_lane(LARGE_BYTES);
    let stream = server.send(&large_push("gone", "")).await;
    wait_until("the push is queued", || pool.n_bodies(LARGE_BYTES) == 1).await;
    socket2::SockRef::from(&stream)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(stream);
    wait_until("the reset is noticed", || server.is_idle()).await;
    drop(blocked);
    wait_until("the push is forgotten", || pool.n_bodies(LARGE_BYTES) == 0).await;
    assert!(server.gateway.groups().is_empty());
}

/// The client sends more than the gateway reads before the panic, and reads only then.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_client_that_goes_on_sending_gets_the_answer_to_a_request_that_panicked() {
    let server = TestServer::start();
    let more = push("later", "").repeat(20_000);
    let answers = server.exchange(&(push("panics", "") + &more)).await;
    assert!(
        answers.starts_with("HTTP/1.1 500 Internal Server Error\r\n"),
        "{answers}"
    );
    assert!(answers.ends_with("this is a bug\n"), "{answers}");
    assert!(server.gateway.groups().is_empty());
}

/// A connection on which a client has sent `begun` and nothing else: the client's end and the
/// gateway's.
async fn begun_connection(begun: &str) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(client, listener.accept());
    let (mut client, (accepted, _)) = (client.unwrap(), accepted.unwrap());
    client.write_all(begun.as_bytes()).await.unwrap();
    accepted.readable().await.unwrap();
    (client, accepted)
}

#[tokio::test]
async fn half_a_head_is_not_left_to_hyper_when_its_time_is_over() {
    let server = TestServer::with_head_timeout(Duration::from_millis(1));
    let end_after = async |begun: &str| {
        let (_client, mut accepted) = begun_connection(begun).await;
        let (_close, mut closing) = watch::channel(false);
        fast_path::serve(&server.front_end, &CLIENT, &mut accepted, &mut closing).await
    };
    let head = "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n";
    assert_eq!(end_after(head).await, ConnectionEnd::Closed);
    // The head is complete: hyper waits for the body.
    let begun = format!("{head}\r\nx");
    let handed_over = ConnectionEnd::HandedOver {
        unanswered: begun.clone().into(),
        head_deadline: None,
    };
    assert_eq!(end_after(&begun).await, handed_over);
}

#[tokio::test]
async fn the_time_for_a_head_goes_on_when_its_beginning_is_left_to_hyper() {
    let server = TestServer::start();
    let head = "PUT /metrics/job/j HTTP/1.1\r\nHost: h\r\n";
    let (mut client, mut accepted) = begun_connection(head).await;
    let (_close, mut closing) = watch::channel(false);
    let send_the_rest = async {
        // So that the head arrives in two pieces.
        tokio::task::yield_now().await;
        let rest = format!("X: {}", "x".repeat(20 << 10));
        client.write_all(rest.as_bytes()).await.unwrap();
    };
    let served = fast_path::serve(&server.front_end, &CLIENT, &mut accepted, &mut closing);
    let (end, ()) = tokio::join!(served, send_the_rest);
    let ConnectionEnd::HandedOver {
        unanswered,
        head_deadline: Some(_),
    } = end
    else {
        panic!("{end:?}");
    };
    // As if the time were over. hyper's own timer would wait for minutes.
    let now = Some(std::time::Instant::now());
    let served = serve_with_hyper(
        &mut accepted,
        unanswered,
        now,
        &CLIENT,
        &server.front_end,
        &mut closing,
    );
    let served = tokio::time::timeout(TIMEOUT, served).await;
    assert_eq!(served.expect("the connection ends"), LastRequest::Complete);
}
