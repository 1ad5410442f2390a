//! What a scrape sends: the pages as they are, and between them the gateway's own families, which change with every scrape.
//!
//! A document copies no page. It is a [`Buf`] over all of them, so that a server can hand the kernel many at once.

use super::exposition::{Exposition, ViewPages};
use super::format::{Format, KeyForm, Template};
use super::gzip::{self, Crc};
use super::page::Page;
use crate::model::{Families, Family, LabelSet, MetricType};
use bytes::{Buf, Bytes};
use std::io::IoSlice;
use std::sync::Arc;

/// A whole exposition in one format, plain or compressed.
#[derive(Debug)]
pub struct Document {
    exposition: Arc<Exposition>,
    /// Which view of the exposition.
    view: usize,
    gzip: bool,
    /// Own families and, in gzip, what frames them: small, made for this scrape.
    small: Bytes,
    pieces: Box<[Piece]>,
    remaining: usize,
    /// Where reading is: piece, page within it, byte within that.
    piece: usize,
    page: usize,
    offset: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// A range of `small`.
    Small(std::ops::Range<usize>),
    /// All pages of a stretch.
    Stretch(usize),
}

/// Writes own families and keeps the pieces in order.
struct Splicer {
    gzip: bool,
    small: Vec<u8>,
    small_start: usize,
    /// Own families that are not framed yet.
    pending: Vec<u8>,
    pieces: Vec<Piece>,
    crc: Crc,
    len: u64,
}

impl Splicer {
    fn new(gzip: bool) -> Self {
        let small = if gzip { gzip::HEADER.to_vec() } else { Vec::new() };
        Self { gzip, small, small_start: 0, pending: Vec::new(), pieces: Vec::new(), crc: Crc::default(), len: 0 }
    }

    fn stretch(&mut self, index: usize, view: &ViewPages) {
        let stretch = &view.stretches[index];
        if stretch.pages.is_empty() {
            return;
        }
        self.end_small();
        self.pieces.push(Piece::Stretch(index));
        if self.gzip {
            self.crc = self.crc.then(stretch.crc);
            self.len += stretch.deflated_len;
        } else {
            self.len += stretch.len;
        }
    }

    fn end_small(&mut self) {
        if !self.pending.is_empty() {
            if self.gzip {
                self.crc = self.crc.then(Crc::of(&self.pending));
                gzip::store(&self.pending, &mut self.small);
            } else {
                self.small.extend_from_slice(&self.pending);
            }
            self.pending.clear();
        }
        if self.small.len() > self.small_start {
            self.pieces.push(Piece::Small(self.small_start..self.small.len()));
            self.len += (self.small.len() - self.small_start) as u64;
            self.small_start = self.small.len();
        }
    }
}

impl Document {
    /// The document of a view of `exposition` with the gateway's `own` families (each named in `own_families`, in that order)
    /// spliced in; none if the exposition does not keep that view.
    pub fn new(
        exposition: Arc<Exposition>,
        format: Format,
        gzip: bool,
        own: &Families,
        own_families: &[(&str, MetricType)],
    ) -> Option<Self> {
        let view_pages = exposition.view(format, gzip)?;
        let view = exposition.views.iter().position(|view| std::ptr::eq(view, view_pages))?;
        let mut splicer = Splicer::new(gzip);
        let key = format.key(&LabelSet::default());
        splicer.stretch(0, view_pages);
        for (index, (name, metric_type)) in own_families.iter().enumerate() {
            let family = own.skeleton.families().find(|family| family.name() == *name);
            let joined_len = view_pages.stretches[index + 1].joined_len;
            write_own(format, name, *metric_type, family, own, &key, joined_len, &mut splicer.pending);
            splicer.stretch(index + 1, view_pages);
        }
        splicer.end_small();
        if gzip {
            splicer.small.extend_from_slice(&splicer.crc.trailer());
            splicer.end_small();
        }
        let remaining = usize::try_from(splicer.len).expect("what is in memory has a length");
        let (small, pieces) = (splicer.small.into(), splicer.pieces.into());
        Some(Self { exposition, view, gzip, small, pieces, remaining, piece: 0, page: 0, offset: 0 })
    }

    fn pages(&self, stretch: usize) -> &[Arc<Page>] {
        &self.exposition.views[self.view].stretches[stretch].pages
    }

    fn bytes<'a>(&self, page: &'a Page) -> &'a [u8] {
        if self.gzip { &page.deflated().expect("a gzip view keeps every page compressed").bytes } else { page.bytes() }
    }

    /// Whole slices from the reading position on.
    fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.pieces.iter().enumerate().skip(self.piece);
        let all = pieces.flat_map(move |(index, piece)| {
            let first = if index == self.piece { self.page } else { 0 };
            let (small, pages) = match piece {
                Piece::Small(range) => (Some(&self.small[range.clone()]), &[][..]),
                Piece::Stretch(stretch) => (None, &self.pages(*stretch)[first..]),
            };
            small.into_iter().chain(pages.iter().map(|page| self.bytes(page)))
        });
        let mut skip = self.offset;
        all.map(move |slice| &slice[std::mem::take(&mut skip)..]).filter(|slice| !slice.is_empty())
    }

    /// The slice that reading is in, whole.
    fn current(&self) -> Option<&[u8]> {
        Some(match self.pieces.get(self.piece)? {
            Piece::Small(range) => &self.small[range.clone()],
            Piece::Stretch(stretch) => self.bytes(&self.pages(*stretch)[self.page]),
        })
    }

    fn next_slice(&mut self) {
        self.offset = 0;
        self.page += 1;
        let n_pages = match &self.pieces[self.piece] {
            Piece::Small(_) => 1,
            Piece::Stretch(stretch) => self.pages(*stretch).len(),
        };
        if self.page == n_pages {
            (self.piece, self.page) = (self.piece + 1, 0);
        }
    }
}

impl Buf for Document {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.slices().next().unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let mut n = 0;
        for (place, slice) in into.iter_mut().zip(self.slices()) {
            *place = IoSlice::new(slice);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut count: usize) {
        assert!(count <= self.remaining, "advanced by {count} of {}", self.remaining);
        self.remaining -= count;
        while let Some(current) = self.current() {
            let left = current.len() - self.offset;
            if count < left {
                self.offset += count;
                return;
            }
            count -= left;
            self.next_slice();
        }
    }
}

/// Writes one of the gateway's own families; where pushed metrics of the same name follow, the header stands for both.
#[expect(clippy::too_many_arguments, reason = "one place calls it, in a loop over all but the last")]
fn write_own(
    format: Format,
    name: &str,
    metric_type: MetricType,
    family: Option<Family<'_>>,
    own: &Families,
    key: &KeyForm,
    joined_len: u64,
    out: &mut Vec<u8>,
) {
    let mut metrics = Vec::new();
    if let Some(family) = family {
        let template: Template = format.template(family, &[], false);
        template.render(key, &own.values[family.value_range()], &[], family.metric_range().start, &mut metrics);
    }
    let joined_len = usize::try_from(joined_len).expect("what is in memory has a length");
    if metrics.is_empty() && joined_len == 0 {
        return;
    }
    let help = family.and_then(|family| family.help());
    format.write_header(name, help, metric_type, metrics.len() + joined_len, out);
    out.extend_from_slice(&metrics);
}
