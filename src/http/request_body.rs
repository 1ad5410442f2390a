//! Receiving the body of a request.

use crate::gateway::body_pieces::BodyPieces;
use crate::gateway::decode::DecodeError;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::fmt;

/// Why there is no body.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is larger than the limit.
    TooLarge { bytes_max: u64 },
    /// It cannot be decompressed.
    Decode(DecodeError),
    /// The client went away or broke the protocol.
    Broken(hyper::Error),
}

impl From<DecodeError> for BodyError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes_max } => write!(
                f,
                "the body is larger than {bytes_max} bytes, which is the limit (--limit.body-bytes)"
            ),
            Self::Decode(error) => {
                error.fmt(f)?;
                match error {
                    DecodeError::TooLarge { .. } => f.write_str(" (--limit.decoded-body-bytes)"),
                    DecodeError::RatioTooLarge { .. } => f.write_str(" (--limit.decoded-ratio)"),
                    DecodeError::Corrupt(_) => Ok(()),
                }
            }
            Self::Broken(error) => match std::error::Error::source(error) {
                Some(cause) if cause.to_string().contains("chunk size") => {
                    f.write_str("invalid byte in chunk length")
                }
                _ => write!(f, "the body could not be received: {error}"),
            },
        }
    }
}

/// After so many bytes of a body others have their turn: it takes some tens of microseconds to copy
/// them.
const TURN_BYTES: usize = 256 << 10;

/// Receives a body whole.
pub(super) async fn receive(mut body: Incoming, bytes_max: u64) -> Result<BodyPieces, BodyError> {
    // What is announced is refused before it is sent, but never allocated for.
    if body.size_hint().lower() > bytes_max {
        return Err(BodyError::TooLarge { bytes_max });
    }
    let (mut received, mut n_bytes_of_turn) = (BodyPieces::default(), 0);
    while let Some(frame) = body.frame().await {
        // Trailers say nothing here.
        let Ok(data) = frame.map_err(BodyError::Broken)?.into_data() else {
            continue;
        };
        if (received.len() + data.len()) as u64 > bytes_max {
            return Err(BodyError::TooLarge { bytes_max });
        }
        n_bytes_of_turn += data.len();
        received.add(data);
        if n_bytes_of_turn >= TURN_BYTES {
            // A client that sends as fast as it is read would keep the worker to itself.
            n_bytes_of_turn = 0;
            tokio::task::yield_now().await;
        }
    }
    Ok(received)
}
