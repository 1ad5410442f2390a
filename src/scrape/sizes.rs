//! How big pages get: when a page is split, when neighbours are joined, and how many pages make a
//! segment.

/// How big pages get.
#[derive(Clone, Copy, Debug)]
pub struct PageSizes {
    /// Bytes that a page should have, before compression. Pages above double this size are split;
    /// two neighbours that together stay below it are joined if one of them is below half of it.
    pub page_bytes: usize,
}

/// Pages in a segment. Compressed, a segment is about 50 KB.
const SEGMENT_PAGES: usize = 96;

/// Pages that are built in one buffer before the buffer is cut into pages. This bounds the buffer
/// to a megabyte or two, however long the lines of a thousand groups are.
const BUILDER_PAGES_MAX: usize = 256;

impl PageSizes {
    /// Bytes of uncompressed text in a segment: the unit in which scrapes send compressed pages.
    pub(super) fn segment_bytes(self) -> usize {
        self.page_bytes.saturating_mul(SEGMENT_PAGES)
    }

    /// Bytes above which a buffer of built lines is cut into pages.
    pub(super) fn builder_bytes_max(self) -> usize {
        self.page_bytes.saturating_mul(BUILDER_PAGES_MAX)
    }

    /// Whether a page of `len` bytes is split.
    pub(super) fn is_oversized(self, len: usize) -> bool {
        len > 2 * self.page_bytes
    }

    /// Whether a large family of `len` bytes moves back into a shared page.
    pub(super) fn is_small(self, len: usize) -> bool {
        len < self.page_bytes / 2
    }

    /// Whether two neighbouring pages of these lengths become one.
    pub(super) fn should_join(self, a: usize, b: usize) -> bool {
        a + b <= self.page_bytes && self.is_small(a.min(b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_split_above_double_their_size_and_join_when_one_is_below_half() {
        let sizes = PageSizes { page_bytes: 100 };
        assert!(!sizes.is_oversized(200) && sizes.is_oversized(201));
        assert!(sizes.is_small(49) && !sizes.is_small(50));
        for (a, b, is_joined) in [
            (49, 51, true),
            (51, 49, true),
            (49, 52, false),
            (50, 50, false),
            (0, 100, true),
            (0, 101, false),
        ] {
            assert_eq!(sizes.should_join(a, b), is_joined, "{a} + {b}");
        }
    }

    /// A page that was just split or joined is not joined or split again by the next round.
    #[test]
    fn splitting_and_joining_do_not_undo_each_other() {
        let sizes = PageSizes { page_bytes: 100 };
        for a in 0..=200 {
            for b in 0..=200 {
                assert!(!(sizes.should_join(a, b) && sizes.is_oversized(a + b)));
            }
        }
    }
}
