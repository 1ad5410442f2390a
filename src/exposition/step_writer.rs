//! Writing a long text in small steps, so that a caller can stop after any step and go on later.

use bytes::Bytes;

/// Writes a text in steps. A step is short: a label set, a bucket, one field of a message.
pub(crate) trait StepWriter {
    /// Appends the next step to `out`. Returns false, and appends nothing, once the text is
    /// complete.
    fn write_step(&mut self, out: &mut Vec<u8>) -> bool;
}

/// A text that is written in pieces of equal size. Between two pieces only the writer's position
/// and the end of the last step are kept.
pub(crate) struct TextPieces<W> {
    writer: W,
    /// What the last step wrote beyond its piece.
    rest: Bytes,
    is_complete: bool,
}

/// A piece of a text.
pub(crate) struct TextPiece {
    pub(crate) bytes: Bytes,
    /// Nothing follows this piece.
    pub(crate) is_last: bool,
}

impl<W: StepWriter> TextPieces<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self {
            writer,
            rest: Bytes::new(),
            is_complete: false,
        }
    }

    /// Writes the next `piece_bytes` bytes, or as many as there are. `piece_bytes` is at least 1.
    pub(crate) fn next_piece(&mut self, piece_bytes: usize) -> TextPiece {
        if self.rest.len() < piece_bytes && !self.is_complete {
            // Most steps are far shorter than the quarter that is added.
            let mut out = Vec::with_capacity(piece_bytes + piece_bytes / 4);
            out.extend_from_slice(&self.rest);
            while out.len() < piece_bytes && !self.is_complete {
                self.is_complete = !self.writer.write_step(&mut out);
            }
            self.rest = out.into();
        }
        // A single step can be as long as a pushed label value or help text. What it wrote is
        // handed out piece by piece without a copy.
        let bytes = self.rest.split_to(piece_bytes.min(self.rest.len()));
        TextPiece {
            bytes,
            is_last: self.is_complete && self.rest.is_empty(),
        }
    }
}

/// All pieces of a text, for tests. Asserts that no piece is longer than `piece_bytes`.
#[cfg(test)]
pub(crate) fn write_in_pieces(writer: impl StepWriter, piece_bytes: usize) -> Vec<u8> {
    let (mut pieces, mut out) = (TextPieces::new(writer), Vec::new());
    loop {
        let piece = pieces.next_piece(piece_bytes);
        assert!(piece.bytes.len() <= piece_bytes);
        out.extend_from_slice(&piece.bytes);
        if piece.is_last {
            return out;
        }
        assert!(!piece.bytes.is_empty() || out.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the numbers below 100, and one long step.
    struct Numbers(usize);

    impl StepWriter for Numbers {
        fn write_step(&mut self, out: &mut Vec<u8>) -> bool {
            if self.0 == 100 {
                return false;
            }
            let step = format!("{},", self.0).repeat(if self.0 == 50 { 1000 } else { 1 });
            out.extend_from_slice(step.as_bytes());
            self.0 += 1;
            true
        }
    }

    #[test]
    fn pieces_of_every_size_make_the_same_text() {
        let mut whole = Vec::new();
        let mut numbers = Numbers(0);
        while numbers.write_step(&mut whole) {}
        for piece_bytes in (1..300).chain([whole.len() - 1, whole.len(), whole.len() + 1]) {
            assert_eq!(
                write_in_pieces(Numbers(0), piece_bytes),
                whole,
                "{piece_bytes}"
            );
        }
    }

    #[test]
    fn an_empty_text_is_one_empty_piece() {
        let piece = TextPieces::new(Numbers(100)).next_piece(1);
        assert!(piece.is_last && piece.bytes.is_empty());
    }
}
