//! What scrapes send of the pages: segments, many pages each, that are contiguous where they are
//! compressed.
//!
//! A page is small, so that little has to be made anew where one of its groups was pushed. To hand
//! the kernel a hundred thousand groups compressed, page by page, would cost more than to copy the
//! bytes. So the compressed forms of neighbouring pages lie in one buffer. A round that changes
//! some of them makes a new buffer: it compresses those, and copies the others. A round that a
//! scrape waits for compresses fast; what was compressed so is compressed again when there is time
//! ([`Segment::recompressed`]).
//!
//! Invariants: a segment is never written again; the segments of a stretch have its pages in order;
//! a segment is kept as long as nothing of it changed; and one that is made has at least half of
//! [`PageSizes::segment`], unless it is the last one.

use super::builders::{Builders, YIELD_INTERVAL_BYTES, yield_cpu};
use super::gzip::{self, Crc, Effort};
use super::page::Page;
use super::sizes::PageSizes;
use std::cell::RefCell;
use std::sync::Arc;

/// Some pages as scrapes send them.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub texts: Box<[Arc<[u8]>]>,
    pub deflated: Option<DeflatedSegment>,
    len: u64,
}

/// The compressed form of a segment.
#[derive(Debug)]
pub(super) struct DeflatedSegment {
    pub bytes: Box<[u8]>,
    pages: Box<[DeflatedPage]>,
    crc: Crc,
    n_fast_pages: usize,
}

/// The compressed form of a page.
#[derive(Clone, Copy, Debug)]
struct DeflatedPage {
    crc: Crc,
    /// Where it ends in the bytes of the segment.
    end: u32,
    is_fast: bool,
}

/// What lies between two of the gateway's own families, as scrapes see it.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// In the order of the exposition.
    pub segments: Box<[Arc<Segment>]>,
    /// Bytes of all pages.
    pub len: u64,
    /// Bytes of all pages compressed, 0 if they are not.
    pub deflated_len: u64,
    /// CRC of all pages; only where they are compressed.
    pub crc: Crc,
    /// Bytes of pushed metrics that belong to the own family before this stretch.
    pub own_family_len: u64,
    /// Pages that were compressed while somebody waited.
    pub n_fast_pages: usize,
}

/// A segment as it will be.
pub(super) enum PlannedSegment {
    Keep(Arc<Segment>),
    Make(Vec<PageToPack>),
}

impl PlannedSegment {
    fn pages(&self) -> Option<&[PageToPack]> {
        match self {
            Self::Keep(_) => None,
            Self::Make(pages) => Some(pages),
        }
    }
}

/// A page of a segment that is to be made.
pub(super) struct PageToPack {
    text: Arc<[u8]>,
    /// The segment that has it already, and where.
    old: Option<(Arc<Segment>, usize)>,
}

thread_local! {
    static PACK_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Frees what the calling thread keeps to pack segments in.
pub(super) fn free_pack_buffer() {
    PACK_BUFFER.take();
}

impl Segment {
    /// With a compressed form if it is told how to make one.
    fn make(pages: &[PageToPack], effort: Option<Effort>) -> Self {
        let texts = pages.iter().map(|page| Arc::clone(&page.text)).collect();
        Self {
            deflated: effort.map(|effort| DeflatedSegment::make(pages, effort)),
            ..Self::plain(texts)
        }
    }

    fn plain(texts: Box<[Arc<[u8]>]>) -> Self {
        let len = texts.iter().map(|text| text.len() as u64).sum();
        Self {
            texts,
            deflated: None,
            len,
        }
    }

    fn n_fast_pages(&self) -> usize {
        self.deflated
            .as_ref()
            .map_or(0, |deflated| deflated.n_fast_pages)
    }

    /// This one with every page compressed as well as usual.
    fn recompressed(self: &Arc<Self>) -> Self {
        let is_fast = |index: usize| {
            self.deflated
                .as_ref()
                .is_none_or(|deflated| deflated.pages[index].is_fast)
        };
        let page_to_pack = |(index, text): (usize, &Arc<[u8]>)| PageToPack {
            text: Arc::clone(text),
            old: (!is_fast(index)).then(|| (Arc::clone(self), index)),
        };
        let pages: Vec<PageToPack> = self.texts.iter().enumerate().map(page_to_pack).collect();
        Self::make(&pages, Some(Effort::Usual))
    }

    fn without_gzip(&self) -> Self {
        Self {
            texts: self.texts.clone(),
            deflated: None,
            len: self.len,
        }
    }
}

impl DeflatedSegment {
    fn make(to_pack: &[PageToPack], effort: Effort) -> Self {
        PACK_BUFFER.with_borrow_mut(|packed| {
            packed.clear();
            let (mut pages, mut crc) = (Vec::with_capacity(to_pack.len()), Crc::default());
            let mut n_bytes_since_yield = 0;
            for page in to_pack {
                let old = page
                    .old
                    .as_ref()
                    .and_then(|(segment, index)| Some((segment.deflated.as_ref()?, *index)));
                let (crc_of_page, is_fast) = match old {
                    Some((old, index)) => {
                        packed.extend_from_slice(old.page(index));
                        (old.pages[index].crc, old.pages[index].is_fast)
                    }
                    None => {
                        n_bytes_since_yield += page.text.len();
                        if n_bytes_since_yield >= YIELD_INTERVAL_BYTES {
                            n_bytes_since_yield = 0;
                            yield_cpu();
                        }
                        gzip::deflate(&page.text, effort, packed);
                        (Crc::of(&page.text), effort == Effort::Fast)
                    }
                };
                let end = u32::try_from(packed.len()).expect("a segment is below 4 GiB");
                pages.push(DeflatedPage {
                    crc: crc_of_page,
                    end,
                    is_fast,
                });
                crc = crc.then(crc_of_page);
            }
            let n_fast_pages = pages.iter().filter(|page| page.is_fast).count();
            let made = Self {
                bytes: packed.as_slice().into(),
                pages: pages.into(),
                crc,
                n_fast_pages,
            };
            // Pages of usual size take little; one of a giant group is not worth its memory.
            packed.shrink_to(1 << 20);
            made
        })
    }

    fn page(&self, index: usize) -> &[u8] {
        let start = index
            .checked_sub(1)
            .map_or(0, |before| self.pages[before].end);
        &self.bytes[start as usize..self.pages[index].end as usize]
    }
}

impl Stretch {
    /// Tells which segments of this stretch stay where its pages are `pages` now, and what to make
    /// the others of. Pages that are not new are in this stretch, in the same order.
    pub fn plan<'a>(
        &self,
        pages: impl Iterator<Item = &'a mut Page>,
        sizes: PageSizes,
        gzip: bool,
    ) -> Vec<PlannedSegment> {
        let pages: Vec<(&Arc<[u8]>, bool)> = pages
            .filter(|page| !page.is_empty())
            .map(|page| {
                let is_new = std::mem::replace(&mut page.is_new, false);
                (page.text(), is_new)
            })
            .collect();
        let (full, half) = (sizes.segment_bytes(), sizes.segment_bytes() / 2);
        let mut next = Vec::new();
        let (mut made, mut made_len) = (Vec::new(), 0);
        // Where the page after the last one that was found is: segment and page.
        let (mut segment, mut index) = (0, 0);
        let mut rest = &pages[..];
        while let Some(&(text, is_new)) = rest.first() {
            let mut old = None;
            if !is_new {
                while !Arc::ptr_eq(&self.segments[segment].texts[index], text) {
                    (segment, index) = self.after(segment, index);
                }
                let here = &self.segments[segment];
                let is_whole = || {
                    here.texts.len() <= rest.len()
                        && here
                            .texts
                            .iter()
                            .zip(rest)
                            .all(|(a, (b, _))| Arc::ptr_eq(a, b))
                };
                let is_end = made.is_empty() || made_len >= half;
                if index == 0 && is_end && here.deflated.is_some() == gzip && is_whole() {
                    if !made.is_empty() {
                        next.push(PlannedSegment::Make(std::mem::take(&mut made)));
                        made_len = 0;
                    }
                    next.push(PlannedSegment::Keep(Arc::clone(here)));
                    rest = &rest[here.texts.len()..];
                    (segment, index) = (segment + 1, 0);
                    continue;
                }
                old = Some((Arc::clone(here), index));
                (segment, index) = self.after(segment, index);
            }
            made_len += text.len();
            made.push(PageToPack {
                text: Arc::clone(text),
                old,
            });
            if made_len >= full {
                next.push(PlannedSegment::Make(std::mem::take(&mut made)));
                made_len = 0;
            }
            rest = &rest[1..];
        }
        if !made.is_empty() {
            next.push(PlannedSegment::Make(made));
        }
        next
    }

    fn after(&self, segment: usize, index: usize) -> (usize, usize) {
        if index + 1 < self.segments[segment].texts.len() {
            (segment, index + 1)
        } else {
            (segment + 1, 0)
        }
    }

    /// Makes what was planned for several stretches at once, on all threads; in the same order.
    /// Compresses it if it is told how.
    pub fn make_all(
        planned: Vec<(Vec<PlannedSegment>, u64)>,
        effort: Option<Effort>,
        builders: &Builders,
    ) -> Vec<Self> {
        let to_make: Vec<&[PageToPack]> = planned
            .iter()
            .flat_map(|(next, _)| next)
            .filter_map(PlannedSegment::pages)
            .collect();
        let is_compressed = |page: &PageToPack| {
            page.old
                .as_ref()
                .is_some_and(|(segment, _)| segment.deflated.is_some())
        };
        let work_bytes = |page: &PageToPack| {
            if effort.is_some() && !is_compressed(page) {
                page.text.len() * 3
            } else {
                100
            }
        };
        let work_bytes = to_make.iter().copied().flatten().map(work_bytes).sum();
        let mut segments = builders
            .map(
                &to_make,
                work_bytes,
                |_| 0,
                |pages| Arc::new(Segment::make(pages, effort)),
            )
            .into_iter();
        let mut stretches = Vec::with_capacity(planned.len());
        for (next, own_family_len) in planned {
            let segment = |next| match next {
                PlannedSegment::Keep(segment) => segment,
                PlannedSegment::Make(_) => segments.next().expect("as many as were planned"),
            };
            stretches.push(Self::of(
                next.into_iter().map(segment).collect(),
                own_family_len,
            ));
        }
        stretches
    }

    fn of(segments: Box<[Arc<Segment>]>, own_family_len: u64) -> Self {
        let mut this = Self {
            own_family_len,
            ..Self::default()
        };
        for segment in &segments {
            this.len += segment.len;
            if let Some(deflated) = &segment.deflated {
                this.deflated_len += deflated.bytes.len() as u64;
                this.crc = this.crc.then(deflated.crc);
                this.n_fast_pages += deflated.n_fast_pages;
            }
        }
        Self { segments, ..this }
    }

    /// These texts of pages, none of them compressed.
    pub fn plain(texts: Box<[Arc<[u8]>]>, own_family_len: u64) -> Self {
        let segments = if texts.is_empty() {
            Box::default()
        } else {
            [Arc::new(Segment::plain(texts))].into()
        };
        Self::of(segments, own_family_len)
    }

    /// Compresses up to `n_pages` of the pages that were compressed fast as well as usual, and
    /// those that share their segments.
    pub fn recompressed(&self, n_pages: usize, builders: &Builders) -> Self {
        let mut n_left = n_pages;
        let mut is_due = |segment: &Arc<Segment>| {
            let is_due = segment.n_fast_pages() > 0 && n_left > 0;
            n_left = n_left.saturating_sub(segment.n_fast_pages());
            is_due
        };
        let segments: Vec<(&Arc<Segment>, bool)> = self
            .segments
            .iter()
            .map(|segment| (segment, is_due(segment)))
            .collect();
        let work_bytes = |(segment, is_due): &(&Arc<Segment>, bool)| {
            if *is_due { segment.len as usize * 3 } else { 0 }
        };
        let work_bytes = segments.iter().map(work_bytes).sum();
        let recompressed = |&(segment, is_due): &(&Arc<Segment>, bool)| {
            if is_due {
                Arc::new(segment.recompressed())
            } else {
                Arc::clone(segment)
            }
        };
        Self::of(
            builders
                .map(&segments, work_bytes, |_| 0, recompressed)
                .into(),
            self.own_family_len,
        )
    }

    /// The same pages, none of them compressed.
    pub fn without_gzip(&self) -> Self {
        Self::of(
            self.segments
                .iter()
                .map(|segment| Arc::new(segment.without_gzip()))
                .collect(),
            self.own_family_len,
        )
    }
}
