//! Receives the body of a request. The limit on its size as it is sent is enforced here.

use crate::gateway::body_pieces::BodyPieces;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::fmt;

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
