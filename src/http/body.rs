//! What an answer sends.

use crate::scrape::Document;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body that is known before it is sent: nothing, some bytes, an exposition; or one that is made
/// while it is sent.
pub enum Body {
    /// No bytes.
    Empty,
    /// All of it, in one piece.
    Whole(Option<Chunk>),
    /// Pieces, made when the connection has room for them.
    Pieces(Box<dyn Iterator<Item = Bytes> + Send>),
}

/// A piece of a body.
pub enum Chunk {
    /// Bytes of their own.
    Bytes(Bytes),
    /// Pages as they lie in memory.
    Document(Box<Document>),
}

impl Body {
    /// A body of these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(Chunk::Bytes(bytes.into())))
    }

    /// Its bytes, where they lie in one piece: no exposition and nothing that is made while it is
    /// sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Whole(Some(Chunk::Bytes(bytes))) => bytes,
            Self::Empty | Self::Whole(None) => &[],
            Self::Whole(Some(Chunk::Document(_))) | Self::Pieces(_) => {
                unreachable!("answers to pushes and deletes are bytes")
            }
        }
    }

    /// A body of this exposition.
    pub fn document(document: Document) -> Self {
        Self::Whole(Some(Chunk::Document(Box::new(document))))
    }
}

impl http_body::Body for Body {
    type Data = Chunk;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Empty => None,
            Self::Whole(chunk) => chunk.take(),
            Self::Pieces(pieces) => pieces.next().map(Chunk::Bytes),
        };
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(chunk) => chunk.is_none(),
            Self::Pieces(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(chunk) => {
                SizeHint::with_exact(chunk.as_ref().map_or(0, |chunk| chunk.remaining() as u64))
            }
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.remaining(),
            Self::Document(document) => document.remaining(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.chunk(),
            Self::Document(document) => document.chunk(),
        }
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.chunks_vectored(into),
            Self::Document(document) => document.chunks_vectored(into),
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Document(document) => document.advance(count),
        }
    }
}
