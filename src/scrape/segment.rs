//! What scrapes send of the pages: segments, many pages each, that are contiguous where they are compressed.
//!
//! A page is small, so that little has to be made anew where one of its groups was pushed. To hand the kernel a hundred thousand groups
//! compressed, page by page, would cost more than to copy the bytes. So the compressed forms of neighbouring pages lie in one buffer. A
//! round that changes some of them makes a new buffer: it compresses those, and copies the others.
//!
//! Invariants: a segment is never written again; the segments of a stretch have its pages in order; a segment is kept as long as
//! nothing of it changed; and one that is made has at least half of [`Sizes::segment`], unless it is the last one.

use super::gzip::{self, Crc};
use super::page::Page;
use super::view::{Builders, Sizes, give_way};
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
    /// Where each page ends.
    ends: Box<[u32]>,
    /// Of each page.
    crcs: Box<[Crc]>,
    crc: Crc,
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

impl Segment {
    fn make(pieces: &[Piece], gzip: bool) -> Self {
        let texts: Box<[Arc<[u8]>]> = pieces.iter().map(|piece| Arc::clone(&piece.text)).collect();
        let len = texts.iter().map(|text| text.len() as u64).sum();
        Self { texts, deflated: gzip.then(|| Deflated::make(pieces)), len }
    }

    fn without_deflated(&self) -> Self {
        Self { texts: self.texts.clone(), deflated: None, len: self.len }
    }
}

impl Deflated {
    fn make(pieces: &[Piece]) -> Self {
        PACKED.with_borrow_mut(|packed| {
            packed.clear();
            let (mut ends, mut crcs, mut crc) =
                (Vec::with_capacity(pieces.len()), Vec::with_capacity(pieces.len()), Crc::default());
            for piece in pieces {
                let old = piece.old.as_ref().and_then(|(segment, index)| Some((segment.deflated.as_ref()?, *index)));
                let crc_of_page = match old {
                    Some((old, index)) => {
                        packed.extend_from_slice(old.page(index));
                        old.crcs[index]
                    }
                    None => {
                        give_way();
                        gzip::deflate(&piece.text, packed);
                        Crc::of(&piece.text)
                    }
                };
                ends.push(u32::try_from(packed.len()).expect("a segment is below 4 GiB"));
                crcs.push(crc_of_page);
                crc = crc.then(crc_of_page);
            }
            let made = Self { bytes: packed.as_slice().into(), ends: ends.into(), crcs: crcs.into(), crc };
            // Pages of usual size take little; one of a giant group is not worth its memory.
            packed.shrink_to(1 << 20);
            made
        })
    }

    fn page(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start as usize..self.ends[index] as usize]
    }
}

impl Stretch {
    /// Tells which segments of this stretch stay where its pages are `pages` now, and what to make the others of. Pages that are not
    /// new are in this stretch, in the same order.
    pub fn plan<'a>(&self, pages: impl Iterator<Item = &'a mut Page>, sizes: Sizes, gzip: bool) -> Vec<Next> {
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
                let is_whole =
                    || here.texts.len() <= rest.len() && here.texts.iter().zip(rest).all(|(a, (b, _))| Arc::ptr_eq(a, b));
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
            made.push(Piece { text: Arc::clone(text), old });
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
        if index + 1 < self.segments[segment].texts.len() { (segment, index + 1) } else { (segment + 1, 0) }
    }

    /// Makes what was planned for several stretches at once, on all threads; in the same order.
    pub fn make_all(planned: Vec<(Vec<Next>, u64)>, gzip: bool, builders: &Builders) -> Vec<Self> {
        let to_make: Vec<&[Piece]> = planned.iter().flat_map(|(next, _)| next).filter_map(Next::pieces).collect();
        let weight = |piece: &Piece| if gzip && piece.old.is_none() { piece.text.len() * 3 } else { 100 };
        let weight = to_make.iter().copied().flatten().map(weight).sum();
        let mut segments = builders.map(&to_make, weight, |_| 0, |pieces| Arc::new(Segment::make(pieces, gzip))).into_iter();
        let mut stretches = Vec::with_capacity(planned.len());
        for (next, joined_len) in planned {
            let segment = |next| match next {
                Next::Keep(segment) => segment,
                Next::Make(_) => segments.next().expect("as many as were planned"),
            };
            stretches.push(Self::of(next.into_iter().map(segment).collect(), joined_len));
        }
        stretches
    }

    fn of(segments: Box<[Arc<Segment>]>, joined_len: u64) -> Self {
        let mut this = Self { joined_len, ..Self::default() };
        for segment in &segments {
            this.len += segment.len;
            if let Some(deflated) = &segment.deflated {
                this.deflated_len += deflated.bytes.len() as u64;
                this.crc = this.crc.then(deflated.crc);
            }
        }
        Self { segments, ..this }
    }

    /// The same pages, none of them compressed.
    pub fn without_deflated(&self) -> Self {
        Self::of(self.segments.iter().map(|segment| Arc::new(segment.without_deflated())).collect(), self.joined_len)
    }
}
