//! Segments: the unit in which scrapes send pages. A segment has many neighbouring pages, and where
//! they are compressed, their compressed forms lie one after the other in one buffer.
//!
//! Pages are small, so that a push to one group makes few bytes stale. But a scrape of a hundred
//! thousand groups that handed the kernel each compressed page by itself would spend more time on
//! that than on copying the bytes. So neighbouring pages share a buffer. A round that changes some
//! pages of a segment makes a new buffer: it compresses the changed pages and copies the compressed
//! forms of the others. A round that a scrape waits for compresses with [`Effort::Fast`]; those
//! pages are compressed again with [`Effort::Usual`] when there is time
//! ([`Stretch::recompressed`]).
//!
//! Invariants:
//!
//! - A segment is never changed after it was made.
//! - The segments of a stretch hold the pages of the stretch in order.
//! - A segment of which no page changed is kept.
//! - A new segment has at least half of [`PageSizes::segment_bytes`], unless it is the last one of
//!   its stretch.

use super::builders::{Builders, YIELD_INTERVAL_BYTES, yield_cpu};
use super::gzip::{self, Crc, Effort};
use super::page::Page;
use super::sizes::PageSizes;
use std::cell::RefCell;
use std::sync::Arc;

/// Neighbouring pages as scrapes send them.
#[derive(Debug, Default)]
pub(super) struct Segment {
    /// The pages, in the order of the exposition.
    pub texts: Box<[Arc<[u8]>]>,
    /// The same pages compressed, if the view is kept compressed.
    pub deflated: Option<DeflatedSegment>,
    /// Bytes of `texts` together.
    len: u64,
}

/// The compressed form of a segment.
#[derive(Debug)]
pub(super) struct DeflatedSegment {
    /// Deflate blocks, none of them final.
    pub bytes: Box<[u8]>,
    pages: Box<[DeflatedPage]>,
    /// CRC of the uncompressed text of all pages.
    crc: Crc,
    /// How many pages were compressed with [`Effort::Fast`].
    n_fast_pages: usize,
}

/// Where the compressed form of a page is in its segment.
#[derive(Clone, Copy, Debug)]
struct DeflatedPage {
    /// CRC of the uncompressed text.
    crc: Crc,
    /// Where the compressed form ends in [`DeflatedSegment::bytes`]; it begins where that of the
    /// page before ends.
    end: u32,
    /// Whether the page was compressed with [`Effort::Fast`].
    is_fast: bool,
}

/// What lies between two of the gateway's own families (see [`super::view`]), as scrapes see it.
#[derive(Debug, Default)]
pub(super) struct Stretch {
    /// In the order of the exposition.
    pub segments: Box<[Arc<Segment>]>,
    /// Bytes of all pages.
    pub len: u64,
    /// Bytes of all pages compressed; 0 if they are not.
    pub deflated_len: u64,
    /// CRC of the uncompressed text of all pages; meaningless if they are not compressed.
    pub crc: Crc,
    /// How many bytes at the start of this stretch are pushed metrics of the gateway's own family
    /// in front of it. They stand under the header of the own family.
    pub own_family_len: u64,
    /// How many pages were compressed with [`Effort::Fast`].
    pub n_fast_pages: usize,
}

/// A segment of the next exposition: one that stays, or the pages of one to be made.
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

/// A page of a segment to be made.
pub(super) struct PageToPack {
    text: Arc<[u8]>,
    /// The segment in which scrapes see this page now, and its index there. Its compressed form is
    /// copied from there.
    old: Option<(Arc<Segment>, usize)>,
}

thread_local! {
    /// The buffer in which this thread puts the compressed pages of a segment one after the other.
    static PACK_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Frees the calling thread's buffer for segments. The next segment makes a new one.
pub(super) fn free_pack_buffer() {
    PACK_BUFFER.take();
}

impl Segment {
    /// A segment of these pages; compressed unless `effort` is none.
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

    /// This segment with every page compressed with [`Effort::Usual`].
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
            // Segments of usual size need less. Memory that a giant group needed is given back.
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
    /// Plans the segments of the next state of this stretch, whose pages are `pages`: which
    /// segments stay, and of which pages the others are made. Clears [`Page::is_new`]. Pages that
    /// are not new are in this stretch already, in the same order.
    pub fn plan_segments<'a>(
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
        // Position behind the last page that was found in this stretch: its segment, and its index
        // there.
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

    /// The position behind a page of this stretch.
    fn after(&self, segment: usize, index: usize) -> (usize, usize) {
        if index + 1 < self.segments[segment].texts.len() {
            (segment, index + 1)
        } else {
            (segment + 1, 0)
        }
    }

    /// Makes the stretches that were planned, each with its [`Stretch::own_family_len`], and
    /// returns them in the same order. All segments of all stretches are made at once, on all
    /// threads if there is much to do. They are compressed unless `effort` is none.
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

    /// A stretch of one segment with these pages, not compressed.
    pub fn plain(texts: Box<[Arc<[u8]>]>, own_family_len: u64) -> Self {
        let segments = if texts.is_empty() {
            Box::default()
        } else {
            [Arc::new(Segment::plain(texts))].into()
        };
        Self::of(segments, own_family_len)
    }

    /// This stretch with some pages compressed again with [`Effort::Usual`]. Whole segments are
    /// compressed again, from the first on, until that are at least `n_pages` of the pages that
    /// were compressed with [`Effort::Fast`].
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

    /// This stretch without compressed forms.
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

#[cfg(test)]
mod tests;
