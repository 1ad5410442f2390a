//! How connections end: waiting until the process closes its connections, and closing a connection
//! so that the client still gets its last answer.
//!
//! If a socket is closed while it has unread bytes, the kernel resets the connection, and a client
//! that is still sending loses the answer. Many clients send a whole body before they read the
//! answer. So after a request that was not read to its end, [`linger`] closes only the sending side.
//! Then it reads and throws away what the client sends, until the client closes its side, too, or
//! sends nothing for [`IDLE_TIMEOUT`], or has sent for too long or too much.

use std::io;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// How long the client may send nothing before the connection is closed for good.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the gateway reads and throws away at most, whatever the client does.
const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// How many bytes are read and thrown away at a time.
const DISCARD_BYTES: usize = 32 << 10;

/// Completes when `closing` says that connections are to be closed; at once if it says so already.
pub(super) async fn until_closing(closing: &mut watch::Receiver<bool>) {
    while !*closing.borrow_and_update() {
        if closing.changed().await.is_err() {
            return;
        }
    }
}

/// Closes a connection whose last request was not read to its end. Reads and throws away at most
/// `discard_bytes_max` bytes first, so that the client gets its last answer, until the client has sent
/// nothing for `idle_timeout`.
pub(super) async fn linger(mut stream: TcpStream, discard_bytes_max: u64, idle_timeout: Duration) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let discard = async {
        let mut discard_bytes_left = discard_bytes_max;
        while discard_bytes_left > 0 {
            let Ok(Ok(())) = timeout(idle_timeout, stream.readable()).await else {
                return;
            };
            match discard_once(&stream) {
                Ok(n_bytes) if n_bytes > 0 => {
                    discard_bytes_left = discard_bytes_left.saturating_sub(n_bytes as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The client has closed its side, or has gone away.
                Ok(_) | Err(_) => return,
            }
            // A client that sends without pause must not keep other tasks waiting.
            tokio::task::yield_now().await;
        }
    };
    // An error says that the client has sent for too long.
    let _ = timeout(LINGER_TIMEOUT, discard).await;
}

fn discard_once(stream: &TcpStream) -> io::Result<usize> {
    stream.try_read(&mut [0; DISCARD_BYTES])
}
