//! Gzip as one member out of parts that were compressed long before.
//!
//! ```text
//! header | deflate of a page, not final, up to a byte border | … | stored block of the own families | … | final block | CRC-32, length
//! ```
//!
//! Several members would be legal (RFC 1952, 2.2), but curl and browsers silently stop after the
//! first. The CRC of the whole is combined from those of the parts.

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use std::cell::RefCell;

/// RFC 1952, 2.3: magic, deflate, no flags, no time, no extra flags, operating system unknown.
pub(super) const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// RFC 1951, 3.2.6: a final block of fixed Huffman codes that holds nothing but its end.
const FINAL_BLOCK: [u8; 2] = [0x03, 0x00];
/// Bytes of the final block, the CRC and the length.
pub(super) const TRAILER_LEN: usize = 10;

/// A CRC-32 together with the length it covers, so that it can be combined.
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

    /// The CRC of what this covers followed by what `next` covers.
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

    /// The final block and the trailer of a member whose content this covers.
    pub(super) fn trailer(self) -> [u8; TRAILER_LEN] {
        let mut trailer = [0; TRAILER_LEN];
        trailer[..2].copy_from_slice(&FINAL_BLOCK);
        trailer[2..6].copy_from_slice(&self.value.to_le_bytes());
        // RFC 1952: the length modulo 2^32.
        trailer[6..].copy_from_slice(&(self.len as u32).to_le_bytes());
        trailer
    }
}

/// What a page is compressed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Somebody waits for it: nearly twice as fast as what is usual, and a third longer.
    Fast,
    /// Nobody does.
    Usual,
}

impl Effort {
    /// zlib's level. The speed of level 3 is a third lower than that of level 2, for one per cent
    /// of the length.
    fn level(self) -> Compression {
        Compression::new(match self {
            Self::Fast => 1,
            Self::Usual => 2,
        })
    }
}

thread_local! {
    // A compressor is 300 KB of tables; one a thread is reset and used again.
    static COMPRESSOR: RefCell<Option<(Effort, Compress)>> = const { RefCell::new(None) };
}

/// Frees the calling thread's compressor; the next page that it compresses makes another one.
pub(super) fn free_compressor() {
    COMPRESSOR.set(None);
}

/// Appends `bytes` compressed: deflate blocks, none of them final, up to a byte border.
pub(super) fn deflate(bytes: &[u8], effort: Effort, out: &mut Vec<u8>) {
    COMPRESSOR.with_borrow_mut(|kept| {
        let (has_effort, compressor) =
            kept.get_or_insert_with(|| (effort, Compress::new(effort.level(), false)));
        compressor.reset();
        if *has_effort != effort {
            compressor
                .set_level(effort.level())
                .expect("nothing is on its way in a compressor that was reset");
            *has_effort = effort;
        }
        loop {
            // Enough for text at once; data that does not compress takes another turn.
            out.reserve(bytes.len() / 4 + 128);
            let read = usize::try_from(compressor.total_in()).expect("a page fits memory");
            compressor
                .compress_vec(&bytes[read..], out, FlushCompress::Sync)
                .expect("deflate takes any input");
            // zlib: a flush is complete when it left room in the output.
            if out.len() < out.capacity() {
                break;
            }
        }
    });
}

/// Appends `bytes` as stored blocks (RFC 1951, 3.2.4), which take no time to make.
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
    fn parts_make_one_member() {
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
    fn nothing_at_all_is_a_member_too() {
        let mut member = HEADER.to_vec();
        member.extend_from_slice(&Crc::default().trailer());
        assert_eq!(gunzip(&member), b"");
    }
}
