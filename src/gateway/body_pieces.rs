//! The received body of a request, in the pieces in which it came.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A received body. Joining the pieces of a large one takes milliseconds, so that is left to the
/// thread that parses it ([`into_bytes`](Self::into_bytes)).
#[derive(Debug, Default)]
pub(crate) struct BodyPieces {
    pieces: SmallVec<[Bytes; 1]>,
    /// What came after the last piece, copied together because it came in small pieces.
    last: BytesMut,
    len: usize,
}

/// Smaller pieces are copied together. A piece keeps a whole read buffer alive, so a client that
/// sends byte by byte would make the gateway keep many bytes for each.
const PIECE_BYTES_MIN: usize = 16 << 10;

impl BodyPieces {
    /// Appends what was received next.
    pub fn add(&mut self, data: Bytes) {
        self.len += data.len();
        if data.len() < PIECE_BYTES_MIN && !self.pieces.is_empty() {
            self.last.extend_from_slice(&data);
            return;
        }
        if !self.last.is_empty() {
            self.pieces.push(self.last.split().freeze());
        }
        // Most bodies have no other piece than this.
        self.pieces.push(data);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The whole body; without a copy if it came in one piece.
    pub fn into_bytes(mut self) -> Bytes {
        if self.last.is_empty() && self.pieces.len() <= 1 {
            return self.pieces.pop().unwrap_or_default();
        }
        let mut whole = BytesMut::with_capacity(self.len);
        self.pieces
            .iter()
            .for_each(|piece| whole.extend_from_slice(piece));
        whole.extend_from_slice(&self.last);
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_in_order() {
        let check = |lens: &[usize]| {
            let (mut received, mut whole) = (BodyPieces::default(), Vec::new());
            for (i, &len) in lens.iter().enumerate() {
                let piece = vec![b'a' + u8::try_from(i % 26).unwrap(); len];
                whole.extend_from_slice(&piece);
                received.add(piece.into());
            }
            assert!(received.pieces.len() <= 1 + whole.len() / PIECE_BYTES_MIN * 2);
            assert_eq!(received.len(), whole.len());
            assert_eq!(received.into_bytes(), whole, "{lens:?}");
        };
        let large = PIECE_BYTES_MIN;
        for lens in [
            &[][..],
            &[5],
            &[large],
            &[1, 2, 3],
            &[1, large, 2, 3, large, large + 1, 4],
            &[large, 1, 1],
        ] {
            check(lens);
        }
        check(&[1; 1000]);
    }
}
