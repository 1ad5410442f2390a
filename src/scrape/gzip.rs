//! Makes one gzip member out of parts that were compressed at different times.
//!
//! ```text
//! header | page | … | own families | page | … | final block | CRC-32 | length
//! ```
//!
//! A page is deflate blocks, none of them final, padded to a whole byte. Own families are stored
//! blocks. The parts are in one member, because curl and browsers silently stop after the first
//! member, although several are legal (RFC 1952, section 2.2). The CRC of the member is combined
//! from the CRCs of the parts.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use std::cell::RefCell;

/// The header of a member (RFC 1952, section 2.3): magic number, method deflate, no flags, no time,
/// no extra flags, operating system unknown.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// A final block with fixed Huffman codes and no content (RFC 1951, section 3.2.6).
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
/// Bytes of the final block, the CRC and the length.
pub(super) const TRAILER_LEN: usize = 10;

/// The CRC-32 of some text, and the length of that text in bytes, which is needed to combine CRCs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Crc {
    value: u32,
    len: u64,
}

impl Crc {
    /// The CRC of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(bytes);
        Self {
            value: hasher.finalize(),
            len: bytes.len() as u64,
        }
    }

    /// The CRC of this text followed by the text of `next`.
    #[must_use]
    pub fn then(self, next: Self) -> Self {
        if self.len == 0 {
            return next;
        }
        let mut hasher = Hasher::new_with_initial_len(self.value, self.len);
        hasher.combine(&Hasher::new_with_initial_len(next.value, next.len));
        Self {
            value: hasher.finalize(),
            len: self.len + next.len,
        }
    }

    /// The final block and the trailer of a member with this text.
    pub(super) fn trailer(self) -> [u8; TRAILER_LEN] {
        let mut trailer = [0; TRAILER_LEN];
        trailer[..2].copy_from_slice(&FINAL_BLOCK);
        trailer[2..6].copy_from_slice(&self.value.to_le_bytes());
        // The length modulo 2^32 (RFC 1952, section 2.3.1).
        trailer[6..].copy_from_slice(&(self.len as u32).to_le_bytes());
        trailer
    }
}

/// How hard pages are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For rounds that a scrape waits for: nearly twice as fast as [`Effort::Usual`]; the result is
    /// a third longer.
    Fast,
    /// For work that no scrape waits for.
    Usual,
}

impl Effort {
    /// zlib's compression level. Level 3 is no option: a third slower than level 2, it makes the
    /// result only one per cent shorter.
    fn level(self) -> Compression {
        Compression::new(match self {
            Self::Fast => 1,
            Self::Usual => 2,
        })
    }
}

thread_local! {
    /// This thread's compressor, with the effort it is set to. Its tables take 300 KB, so it is
    /// reset and used again.
    static COMPRESSOR: RefCell<Option<(Effort, Compress)>> = const { RefCell::new(None) };
}

/// Frees the calling thread's compressor. The next page makes a new one.
pub(super) fn free_compressor() {
    COMPRESSOR.set(None);
}

/// Appends `bytes` compressed to `out`: deflate blocks, none of them final, ended by a sync flush
/// so that they are padded to a whole byte.
pub(super) fn deflate(bytes: &[u8], effort: Effort, out: &mut Vec<u8>) {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (has_effort, compressor) =
            kept.get_or_insert_with(|| (effort, Compress::new(effort.level(), false)));
        compressor.reset();
        if *has_effort != effort {
            compressor
                .set_level(effort.level())
                .expect("the compressor was reset and holds no input");
            *has_effort = effort;
        }
        loop {
            // Enough for text in one turn; data that does not compress takes more turns.
            out.reserve(bytes.len() / 4 + 128);
            let read = usize::try_from(compressor.total_in()).expect("a page fits into memory");
            compressor
                .compress_vec(&bytes[read..], out, FlushCompress::Sync)
                .expect("deflate takes any input");
            // zlib's rule: the flush is complete if there is room left in the output.
            if out.len() < out.capacity() {
                break;
            }
        }
    });
}

/// Appends `bytes` to `out` as stored, uncompressed blocks (RFC 1951, section 3.2.4), which are
/// made by copying.
pub(super) fn store(bytes: &[u8], out: &mut Vec<u8>) {
    for block in bytes.chunks(usize::from(u16::MAX)) {
        let len = u16::try_from(block.len()).expect("a chunk is at most 65,535 bytes");
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut out)
            .expect("one valid member");
        out
    }

    #[test]
    fn parts_compressed_apart_make_one_member() {
        let noise: Vec<u8> = std::iter::repeat_with({
            let mut random = fastrand::Rng::with_seed(1);
            move || random.u8(..)
        })
        .take(200_000)
        .collect();
        let parts: [&[u8]; 9] = [
            b"",
            b"up 1\n",
            &noise,
            b"x",
            &[b'a'; 100_000],
            b"",
            &noise,
            &noise,
            b"y",
        ];
        let (mut member, mut crc, mut plain) = (HEADER.to_vec(), Crc::default(), Vec::new());
        for (i, part) in parts.iter().enumerate() {
            match i % 3 {
                0 => deflate(part, Effort::Usual, &mut member),
                1 => deflate(part, Effort::Fast, &mut member),
                _ => store(part, &mut member),
            }
            crc = crc.then(Crc::of(part));
            plain.extend_from_slice(part);
        }
        member.extend_from_slice(&crc.trailer());
        assert_eq!(gunzip(&member), plain);
    }

    #[test]
    fn an_empty_text_is_a_valid_member() {
        let mut member = HEADER.to_vec();
        member.extend_from_slice(&Crc::default().trailer());
        assert_eq!(gunzip(&member), b"");
    }
}
