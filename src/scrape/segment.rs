//! What scrapes send of the pages: segments, many pages each, that are contiguous where they are
//! compressed.
//!
//! A page is small, so that little has to be made anew where one of its groups was pushed. To hand
//! the kernel a hundred thousand groups compressed, page by page, would cost more than to copy the
//! bytes. So the compressed forms of neighbouring pages lie in one buffer. A round that changes
//! some of them makes a new buffer: it compresses those, and copies the others. A round that a
//! scrape waits for compresses fast; what was compressed so is compressed again when there is time
//! ([`Segment::polished`]).
//!
//! Invariants: a segment is never written again; the segments of a stretch have its pages in order;
//! a segment is kept as long as nothing of it changed; and one that is made has at least half of
//! [`Sizes::segment`], unless it is the last one.

use super::builders::{Builders, TURN_BYTES, give_way};
use super::gzip::{self, Crc, Effort};
use super::page::Page;
use super::sizes::Sizes;
use std::cell::RefCell;
use std::sync::Arc;

/// Some pages as scrapes send them.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub texts: Box<[Arc<[u8]>]>,
    pub deflated: Option<Deflated>,
    len: u64,
}

/// The compressed form of a segment.
#[derive(Debug)]
pub(super) struct Deflated {
    pub bytes: Box<[u8]>,
    pages: Box<[DeflatedPage]>,
    crc: Crc,
    n_fast: usize,
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
    pub joined_len: u64,
    /// Pages that were compressed while somebody waited.
    pub n_fast: usize,
}

/// A segment as it will be.
pub(super) enum Next {
    Keep(Arc<Segment>),
    Make(Vec<Piece>),
}

impl Next {
    fn pieces(&self) -> Option<&[Piece]> {
        match self {
            Self::Keep(_) => None,
            Self::Make(pieces) => Some(pieces),
        }
    }
}

/// A page of a segment that is to be made.
pub(super) struct Piece {
    text: Arc<[u8]>,
    /// The segment that has it already, and where.
    old: Option<(Arc<Segment>, usize)>,
}

thread_local! {
    static PACKED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Frees what the calling thread keeps to pack segments in.
pub(super) fn free_packed() {
    PACKED.take();
}

impl Segment {
    /// With a compressed form if it is told how to make one.
    fn make(pieces: &[Piece], effort: Option<Effort>) -> Self {
        let texts = pieces.iter().map(|piece| Arc::clone(&piece.text)).collect();
        Self {
            deflated: effort.map(|effort| Deflated::make(pieces, effort)),
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

    fn n_fast(&self) -> usize {
        self.deflated.as_ref().map_or(0, |deflated| deflated.n_fast)
    }

    /// This one with every page compressed as well as usual.
    fn polished(self: &Arc<Self>) -> Self {
        let is_fast = |index: usize| {
            self.deflated
                .as_ref()
                .is_none_or(|deflated| deflated.pages[index].is_fast)
        };
        let piece = |(index, text): (usize, &Arc<[u8]>)| Piece {
            text: Arc::clone(text),
            old: (!is_fast(index)).then(|| (Arc::clone(self), index)),
        };
        let pieces: Vec<Piece> = self.texts.iter().enumerate().map(piece).collect();
        Self::make(&pieces, Some(Effort::Usual))
    }

    fn without_deflated(&self) -> Self {
        Self {
            texts: self.texts.clone(),
            deflated: None,
            len: self.len,
        }
    }
}

impl Deflated {
    fn make(pieces: &[Piece], effort: Effort) -> Self {
        PACKED.with_borrow_mut(|packed| {
            packed.clear();
            let (mut pages, mut crc) = (Vec::with_capacity(pieces.len()), Crc::default());
            let mut n_bytes_of_turn = 0;
            for piece in pieces {
                let old = piece
                    .old
                    .as_ref()
                    .and_then(|(segment, index)| Some((segment.deflated.as_ref()?, *index)));
                let (crc_of_page, is_fast) = match old {
                    Some((old, index)) => {
                        packed.extend_from_slice(old.page(index));
                        (old.pages[index].crc, old.pages[index].is_fast)
                    }
                    None => {
                        n_bytes_of_turn += piece.text.len();
                        if n_bytes_of_turn >= TURN_BYTES {
                            n_bytes_of_turn = 0;
                            give_way();
                        }
                        gzip::deflate(&piece.text, effort, packed);
                        (Crc::of(&piece.text), effort == Effort::Fast)
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
            let n_fast = pages.iter().filter(|page| page.is_fast).count();
            let made = Self {
                bytes: packed.as_slice().into(),
                pages: pages.into(),
                crc,
                n_fast,
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
        sizes: Sizes,
        gzip: bool,
    ) -> Vec<Next> {
        let pages: Vec<(&Arc<[u8]>, bool)> = pages
            .filter(|page| !page.is_empty())
            .map(|page| {
                let is_new = std::mem::replace(&mut page.is_new, false);
                (page.text(), is_new)
            })
            .collect();
        let (full, half) = (sizes.segment(), sizes.segment() / 2);
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
                        next.push(Next::Make(std::mem::take(&mut made)));
                        made_len = 0;
                    }
                    next.push(Next::Keep(Arc::clone(here)));
                    rest = &rest[here.texts.len()..];
                    (segment, index) = (segment + 1, 0);
                    continue;
                }
                old = Some((Arc::clone(here), index));
                (segment, index) = self.after(segment, index);
            }
            made_len += text.len();
            made.push(Piece {
                text: Arc::clone(text),
                old,
            });
            if made_len >= full {
                next.push(Next::Make(std::mem::take(&mut made)));
                made_len = 0;
            }
            rest = &rest[1..];
        }
        if !made.is_empty() {
            next.push(Next::Make(made));
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
        planned: Vec<(Vec<Next>, u64)>,
        effort: Option<Effort>,
        builders: &Builders,
    ) -> Vec<Self> {
        let to_make: Vec<&[Piece]> = planned
            .iter()
            .flat_map(|(next, _)| next)
            .filter_map(Next::pieces)
            .collect();
        let is_compressed = |piece: &Piece| {
            piece
                .old
                .as_ref()
                .is_some_and(|(segment, _)| segment.deflated.is_some())
        };
        let weight = |piece: &Piece| {
            if effort.is_some() && !is_compressed(piece) {
                piece.text.len() * 3
            } else {
                100
            }
        };
        let weight = to_make.iter().copied().flatten().map(weight).sum();
        let mut segments = builders
            .map(
                &to_make,
                weight,
                |_| 0,
                |pieces| Arc::new(Segment::make(pieces, effort)),
            )
            .into_iter();
        let mut stretches = Vec::with_capacity(planned.len());
        for (next, joined_len) in planned {
            let segment = |next| match next {
                Next::Keep(segment) => segment,
                Next::Make(_) => segments.next().expect("as many as were planned"),
            };
            stretches.push(Self::of(
                next.into_iter().map(segment).collect(),
                joined_len,
            ));
        }
        stretches
    }

    fn of(segments: Box<[Arc<Segment>]>, joined_len: u64) -> Self {
        let mut this = Self {
            joined_len,
            ..Self::default()
        };
        for segment in &segments {
            this.len += segment.len;
            if let Some(deflated) = &segment.deflated {
                this.deflated_len += deflated.bytes.len() as u64;
                this.crc = this.crc.then(deflated.crc);
                this.n_fast += deflated.n_fast;
            }
        }
        Self { segments, ..this }
    }

    /// These texts of pages, none of them compressed.
    pub fn plain(texts: Box<[Arc<[u8]>]>, joined_len: u64) -> Self {
        let segments = if texts.is_empty() {
            Box::default()
        } else {
            [Arc::new(Segment::plain(texts))].into()
        };
        Self::of(segments, joined_len)
    }

    /// Compresses up to `n_pages` of the pages that were compressed fast as well as usual, and
    /// those that share their segments.
    pub fn polished(&self, n_pages: usize, builders: &Builders) -> Self {
        let mut n_left = n_pages;
        let mut is_due = |segment: &Arc<Segment>| {
            let is_due = segment.n_fast() > 0 && n_left > 0;
            n_left = n_left.saturating_sub(segment.n_fast());
            is_due
        };
        let segments: Vec<(&Arc<Segment>, bool)> = self
            .segments
            .iter()
            .map(|segment| (segment, is_due(segment)))
            .collect();
        let weight = |(segment, is_due): &(&Arc<Segment>, bool)| {
            if *is_due { segment.len as usize * 3 } else { 0 }
        };
        let weight = segments.iter().map(weight).sum();
        let polished = |&(segment, is_due): &(&Arc<Segment>, bool)| {
            if is_due {
                Arc::new(segment.polished())
            } else {
                Arc::clone(segment)
            }
        };
        Self::of(
            builders.map(&segments, weight, |_| 0, polished).into(),
            self.joined_len,
        )
    }

    /// The same pages, none of them compressed.
    pub fn without_deflated(&self) -> Self {
        Self::of(
            self.segments
                .iter()
                .map(|segment| Arc::new(segment.without_deflated()))
                .collect(),
            self.joined_len,
        )
    }
}
