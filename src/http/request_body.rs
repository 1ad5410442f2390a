//! Receives the body of a request, or discards one that nobody needs. The limit on the size of a
//! body as it is sent is enforced here.

use crate::gateway::body_pieces::BodyPieces;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// Why the body of a request does not arrive. `Display` is the text for the client.
#[derive(Debug)]
pub(super) enum BodyError {
    /// The body is larger than the limit.
    TooLarge { bytes_max: u64 },
    /// The client went away or broke the protocol.
    Broken(hyper::Error),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes_max } => write!(
                f,
                "the body is larger than {bytes_max} bytes, which is the limit (--limit.body-bytes)"
            ),
            Self::Broken(error) => match std::error::Error::source(error) {
                Some(cause) if cause.to_string().contains("chunk size") => {
                    f.write_str("invalid byte in chunk length")
                }
                _ => write!(f, "the body could not be received: {error}"),
            },
        }
    }
}

/// How many bytes of one body are received before other tasks of this worker have their turn.
/// Copying them takes some tens of microseconds.
const TURN_BYTES: usize = 256 << 10;

/// Receives a body of at most `bytes_max` bytes.
///
/// # Errors
///
/// The body is larger, or the client does not send all of it. Then the connection cannot go on with
/// another request.
pub(super) async fn receive(mut body: Incoming, bytes_max: u64) -> Result<BodyPieces, BodyError> {
    // An announced size is refused before anything is received. Memory is only allocated for what
    // has been received.
    if body.size_hint().lower() > bytes_max {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let (mut received, mut n_bytes_of_turn) = (BodyPieces::default(), 0);
    while let Some(frame) = body.frame().await {
        // Any other frame is a trailer, which is ignored.
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        if (received.len() + data.len()) as u64 > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        n_bytes_of_turn += data.len();
        received.add(data);
        if n_bytes_of_turn >= TURN_BYTES {
            // Otherwise a client that sends as fast as this reads would keep other tasks waiting.
            n_bytes_of_turn = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(received)
}

/// At most this many bytes of a body that nobody needs are received. A longer body ends the
/// connection: setting up another one costs less.
const DISCARD_BYTES_MAX: u64 = 256 << 10;
/// How long the client may take to send a body that nobody needs.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// Receives and throws away a body that nobody needs, because the next request comes after it.
/// Returns whether all of the body was received; otherwise the connection has to end with the
/// answer.
///
/// A client that waits for `100 Continue` (`expects_continue`) is not told to send such a body.
pub(super) async fn discard(mut body: Incoming, expects_continue: bool) -> bool {
    if expects_continue || body.size_hint().lower() > DISCARD_BYTES_MAX {
        return false;
    }
    let receive = async {
        let mut n_bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else {
                return false;
            };
            // Any other frame is a trailer.
            n_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            if n_bytes > DISCARD_BYTES_MAX {
                return false;
            }
        }
        true
    };
    timeout(DISCARD_TIMEOUT, receive).await.unwrap_or(false)
}
