//! How big pages get.

/// How big pages get, and how many threads build them.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a page, about.
    pub target: usize,
    /// Threads that build and compress pages when much changed.
    pub n_threads: usize,
}

impl Sizes {
    /// Bytes of the pages that scrapes send as one where they are compressed, about.
    pub(super) fn segment(self) -> usize {
        self.target.saturating_mul(SEGMENT_PAGES)
    }
}

/// Pages of a segment: compressed some 50 KB.
const SEGMENT_PAGES: usize = 96;
