//! A received body.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A body in the pieces in which it came: to put those of a large one together takes milliseconds.
#[derive(Debug, Default)]
pub(crate) struct BodyPieces {
    pieces: SmallVec<[Bytes; 1]>,
    /// What is not a piece yet, because it is small.
    last: BytesMut,
    len: usize,
}

/// What is smaller is copied: else a client that sends byte by byte would have many bytes kept for
/// each.
const PIECE_BYTES_MIN: usize = 16 << 10;

impl BodyPieces {
    pub fn add(&mut self, data: Bytes) {
        self.len += data.len();
        if data.len() < PIECE_BYTES_MIN && !self.pieces.is_empty() {
            self.last.extend_from_slice(&data);
            return;
        }
        if !self.last.is_empty() {
            self.pieces.push(self.last.split().freeze());
        }
        // Most bodies come in one piece.
        self.pieces.push(data);
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All of it in one piece.
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
    fn pieces_are_put_together_in_order() {
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
