//! Servers inside the harness: what a gateway could cost at least, and what the generator costs itself.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io::Write;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Tells whoever started us where we listen.
fn announce(listener: &TcpListener) -> std::io::Result<()> {
    println!("listening {}", listener.local_addr()?);
    std::io::stdout().flush()
}

/// Bare hyper, set up as the gateway is: reads bodies, answers 200, and serves a fixed body of `metrics_bytes` to scrapes. The
/// limit of any gateway on hyper.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn floor(listen: &str, metrics_bytes: usize) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    announce(&listener)?;
    let line = b"floor{instance=\"node-0000000\",job=\"fleet\"} 1234567890.1234567\n";
    let metrics = Bytes::from(line.iter().copied().cycle().take(metrics_bytes).collect::<Vec<u8>>());
    loop {
        let (stream, _) = listener.accept().await?;
        let metrics = metrics.clone();
        tokio::spawn(async move {
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let service = service_fn(move |request: Request<Incoming>| {
                let metrics = metrics.clone();
                async move {
                    let is_scrape = request.method() == Method::GET;
                    // Read whole, and thrown away.
                    let _ = request.into_body().collect().await;
                    let body = if is_scrape { metrics } else { Bytes::new() };
                    Ok::<_, Infallible>(Response::new(Full::new(body)))
                }
            });
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(150))
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// Answers every request with the same bytes as soon as its body is there: costs as little as can be.
///
/// # Errors
///
/// The address cannot be listened on.
pub async fn sink(listen: &str) -> std::io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    announce(&listener)?;
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let mut buffer = Vec::with_capacity(16 << 10);
            while matches!(stream.read_buf(&mut buffer).await, Ok(n) if n > 0) {
                let mut done = 0;
                let mut n_requests = 0;
                while let Some(len) = request_len(&buffer[done..]).filter(|len| done + len <= buffer.len()) {
                    done += len;
                    n_requests += 1;
                }
                buffer.drain(..done);
                let answers = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".repeat(n_requests);
                if stream.write_all(&answers).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// The length of the request that `bytes` begin with, once its head is there.
fn request_len(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let lower = bytes[..head].to_ascii_lowercase();
    let name = b"content-length: ";
    let Some(at) = lower.windows(name.len()).position(|window| window == name) else { return Some(head) };
    let digits = lower[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(head + digits.fold(0, |len, digit| len * 10 + usize::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        assert_eq!(request_len(b"PUT /a HTTP/1.1\r\nContent-Length: 12\r\n\r\nx"), Some(51));
        assert_eq!(request_len(b"GET /a HTTP/1.1\r\n\r\n"), Some(19));
        assert_eq!(request_len(b"GET /a HTTP/1.1\r\n"), None);
    }
}
