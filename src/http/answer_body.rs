//! The body of an answer.

use crate::gateway::answer_pool::{AnswerAborted, AnswerStream};
use crate::scrape::Document;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body of an answer.
pub(super) enum AnswerBody {
    /// No bytes.
    Empty,
    /// One chunk; none once it was sent.
    Whole(Option<AnswerChunk>),
    /// Pieces, built away from the runtime's workers when the connection has room for them.
    Stream(AnswerStream),
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
            Self::Whole(Some(AnswerChunk::Document(_))) | Self::Stream(_) => {
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
    type Error = AnswerAborted;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<AnswerChunk>, AnswerAborted>>> {
        let chunk = match self.get_mut() {
            Self::Empty => None,
            Self::Whole(chunk) => chunk.take(),
            Self::Stream(stream) => {
                let piece = ready!(stream.poll_piece(context));
                let frame = |bytes| Frame::data(AnswerChunk::Bytes(bytes));
                return Poll::Ready(piece.map(|piece| piece.map(frame)));
            }
        };
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(chunk) => chunk.is_none(),
            Self::Stream(stream) => stream.is_complete(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(chunk) => {
                SizeHint::with_exact(chunk.as_ref().map_or(0, |chunk| chunk.remaining() as u64))
            }
            Self::Stream(_) => SizeHint::default(),
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
