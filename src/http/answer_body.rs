//! The body of an answer.

use crate::scrape::Document;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer.
pub(super) enum AnswerBody {
    /// No bytes.
    Empty,
    /// One chunk; none once it was sent.
    Whole(Option<AnswerChunk>),
    /// Chunks, made when the connection has room for them.
    Chunks(Box<dyn Iterator<Item = Bytes> + Send>),
}

/// A part of a body.
pub(super) enum AnswerChunk {
    /// Bytes.
    Bytes(Bytes),
    /// An exposition: pages that are sent from where they lie, without a copy.
    Document(Box<Document>),
}

impl AnswerBody {
    /// A body of these bytes.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(AnswerChunk::Bytes(bytes.into())))
    }

    /// The bytes of the answer to a push or delete, which are neither an exposition nor made while
    /// they are sent.
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Whole(Some(AnswerChunk::Bytes(bytes))) => bytes,
            Self::Empty | Self::Whole(None) => &[],
            Self::Whole(Some(AnswerChunk::Document(_))) | Self::Chunks(_) => {
                unreachable!("answers to pushes and deletes are bytes")
            }
        }
    }

    /// A body of this exposition.
    pub fn document(document: Document) -> Self {
        Self::Whole(Some(AnswerChunk::Document(Box::new(document))))
    }
}

impl http_body::Body for AnswerBody {
    type Data = AnswerChunk;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<AnswerChunk>, Infallible>>> {
        let chunk = match self.get_mut() {
            Self::Empty => None,
            Self::Whole(chunk) => chunk.take(),
            Self::Chunks(chunks) => chunks.next().map(AnswerChunk::Bytes),
        };
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(chunk) => chunk.is_none(),
            Self::Chunks(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(chunk) => {
                SizeHint::with_exact(chunk.as_ref().map_or(0, |chunk| chunk.remaining() as u64))
            }
            Self::Chunks(_) => SizeHint::default(),
        }
    }
}

impl Buf for AnswerChunk {
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
