//! A document is what a scrape sends: the stretches of a view, and between them the gateway's own
//! families, which change with every scrape.
//!
//! ```text
//! stretch 0 | own family 0 | stretch 1 | own family 1 | stretch 2 | …
//! ```
//!
//! A document copies no page. It is a [`Buf`] over all pages, or over all compressed segments, so
//! that a server can hand the kernel many slices with one system call.
//!
//! With gzip the document is one member (see [`super::gzip`]): the own families are stored blocks,
//! and the CRC of the member is combined from the CRCs of the stretches, which are cached, and
//! those of the own families. So a scrape combines as many CRCs as there are own families, not
//! pages.

use super::exposition::{Exposition, ViewPages};
use super::family_part::FamilyPart;
use super::format::{Format, RenderedKey, Template};
use super::gzip::{self, Crc};
use super::segment::Segment;
use crate::model::{Families, Family, LabelSet, MetricType};
use bytes::{Buf, Bytes};
use std::io::IoSlice;
use std::sync::Arc;

/// A whole exposition in one format, plain or compressed, with the gateway's own families.
#[derive(Debug)]
pub struct Document {
    exposition: Arc<Exposition>,
    /// Index of the view in the exposition.
    view: usize,
    gzip: bool,
    /// The bytes made for this scrape: own families and, with gzip, the member's header, trailer
    /// and the headers of stored blocks.
    spliced: Bytes,
    parts: Box<[DocumentPart]>,
    /// Bytes that are not read yet.
    remaining: usize,
    at: ReadPosition,
}

/// The position of the next byte to be read.
#[derive(Clone, Copy, Debug, Default)]
struct ReadPosition {
    part: usize,
    /// Index of the segment in the stretch.
    segment: usize,
    /// Index of the page in the segment; 0 if the document is compressed.
    text: usize,
    /// Bytes into the spliced part, page or compressed segment.
    offset: usize,
}

/// Neighbouring bytes of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum DocumentPart {
    /// A range of [`Document::spliced`].
    Spliced(std::ops::Range<usize>),
    /// All pages of the stretch with this index.
    Stretch(usize),
}

/// Puts the parts of a document together.
struct Splicer {
    gzip: bool,
    spliced: Vec<u8>,
    /// Bytes of `spliced` before this one are part of `parts` already.
    spliced_start: usize,
    /// Text of own families that is not in `spliced` yet. With gzip, neighbouring own families
    /// share a stored block.
    pending: Vec<u8>,
    parts: Vec<DocumentPart>,
    /// With gzip: CRC of the uncompressed text so far.
    crc: Crc,
    /// Bytes of all parts so far.
    len: u64,
}

impl Splicer {
    fn new(gzip: bool) -> Self {
        let spliced = if gzip {
            gzip::HEADER.to_vec()
        } else {
            Vec::new()
        };
        Self {
            gzip,
            spliced,
            spliced_start: 0,
            pending: Vec::new(),
            parts: Vec::new(),
            crc: Crc::default(),
            len: 0,
        }
    }

    /// Appends the stretch of `view` with this index.
    fn add_stretch(&mut self, index: usize, view: &ViewPages) {
        let stretch = &view.stretches[index];
        if stretch.segments.is_empty() {
            return;
        }
        self.end_spliced();
        self.parts.push(DocumentPart::Stretch(index));
        if self.gzip {
            self.crc = self.crc.then(stretch.crc);
            self.len += stretch.deflated_len;
        } else {
            self.len += stretch.len;
        }
    }

    /// Appends what was written since the last stretch.
    fn end_spliced(&mut self) {
        if !self.pending.is_empty() {
            if self.gzip {
                self.crc = self.crc.then(Crc::of(&self.pending));
                gzip::store(&self.pending, &mut self.spliced);
            } else {
                self.spliced.extend_from_slice(&self.pending);
            }
            self.pending.clear();
        }
        if self.spliced.len() > self.spliced_start {
            self.parts.push(DocumentPart::Spliced(
                self.spliced_start..self.spliced.len(),
            ));
            self.len += (self.spliced.len() - self.spliced_start) as u64;
            self.spliced_start = self.spliced.len();
        }
    }
}

impl Document {
    /// The document of `exposition` in one format, compressed or not, with the gateway's own
    /// families spliced in.
    ///
    /// `own_families` are name and type of all own families, in the order of names that was passed
    /// to [`Assembler::new`](super::Assembler::new). `own` has their current metrics; a family that
    /// is missing there has none.
    ///
    /// Returns none if the exposition does not keep this format, or keeps it only uncompressed
    /// where `gzip` is asked for.
    pub fn new(
        exposition: Arc<Exposition>,
        format: Format,
        gzip: bool,
        own: &Families,
        own_families: &[(&str, MetricType)],
    ) -> Option<Self> {
        let view_pages = exposition.view(format, gzip)?;
        let view = exposition
            .views
            .iter()
            .position(|view| std::ptr::eq(view, view_pages))?;
        let mut splicer = Splicer::new(gzip);
        let key = format.render_key(&LabelSet::default());
        splicer.add_stretch(0, view_pages);
        for (index, (name, metric_type)) in own_families.iter().enumerate() {
            let family = own
                .skeleton
                .families()
                .find(|family| family.name() == *name);
            let own_family_len = view_pages.stretches[index + 1].own_family_len;
            write_own(
                format,
                name,
                *metric_type,
                family,
                own,
                &key,
                own_family_len,
                &mut splicer.pending,
            );
            splicer.add_stretch(index + 1, view_pages);
        }
        splicer.end_spliced();
        if gzip {
            splicer.spliced.extend_from_slice(&splicer.crc.trailer());
            splicer.end_spliced();
        }
        let remaining = usize::try_from(splicer.len).expect("a length in memory fits into usize");
        let (spliced, parts) = (splicer.spliced.into(), splicer.parts.into());
        Some(Self {
            exposition,
            view,
            gzip,
            spliced,
            parts,
            remaining,
            at: ReadPosition::default(),
        })
    }

    /// The segments of the stretch with this index.
    fn segments(&self, stretch: usize) -> &[Arc<Segment>] {
        &self.exposition.views[self.view].stretches[stretch].segments
    }

    /// The bytes from a position to the end of its slice; none at the end of the document.
    fn slice(&self, at: ReadPosition) -> Option<&[u8]> {
        let whole = match self.parts.get(at.part)? {
            DocumentPart::Spliced(range) => &self.spliced[range.clone()],
            DocumentPart::Stretch(stretch) => {
                let segment = &self.segments(*stretch)[at.segment];
                match &segment.deflated {
                    Some(deflated) if self.gzip => &*deflated.bytes,
                    _ => &segment.texts[at.text],
                }
            }
        };
        Some(&whole[at.offset..])
    }

    /// The position at which the next slice begins.
    fn after(&self, mut at: ReadPosition) -> ReadPosition {
        at.offset = 0;
        if let DocumentPart::Stretch(stretch) = &self.parts[at.part] {
            let segments = self.segments(*stretch);
            if !self.gzip && at.text + 1 < segments[at.segment].texts.len() {
                return ReadPosition {
                    text: at.text + 1,
                    ..at
                };
            }
            if at.segment + 1 < segments.len() {
                return ReadPosition {
                    segment: at.segment + 1,
                    text: 0,
                    ..at
                };
            }
        }
        ReadPosition {
            part: at.part + 1,
            ..ReadPosition::default()
        }
    }
}

impl Buf for Document {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        self.slice(self.at).unwrap_or_default()
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        let (mut n, mut at) = (0, self.at);
        for place in into {
            let Some(slice) = self.slice(at) else { break };
            *place = IoSlice::new(slice);
            at = self.after(at);
            n += 1;
        }
        n
    }

    fn advance(&mut self, mut count: usize) {
        assert!(
            count <= self.remaining,
            "advanced by {count} of {}",
            self.remaining
        );
        self.remaining -= count;
        while let Some(slice) = self.slice(self.at) {
            let left = slice.len();
            if count < left {
                self.at.offset += count;
                return;
            }
            count -= left;
            self.at = self.after(self.at);
        }
    }
}

/// Writes one of the gateway's own families: its header and its metrics. If pushed metrics of a
/// family with the same name follow, `own_family_len` bytes of them, the header stands for both.
#[expect(
    clippy::too_many_arguments,
    reason = "called in one place; a struct of these arguments would be built for that call alone"
)]
fn write_own(
    format: Format,
    name: &str,
    metric_type: MetricType,
    family: Option<Family<'_>>,
    own: &Families,
    key: &RenderedKey,
    own_family_len: u64,
    out: &mut Vec<u8>,
) {
    let mut metrics = Vec::new();
    if let Some(family) = family {
        let template: Template = format.template(family, FamilyPart::Main, &[], false);
        template.render(
            key,
            &own.values[family.value_range()],
            &[],
            family.metric_range().start,
            &mut metrics,
        );
    }
    let own_family_len =
        usize::try_from(own_family_len).expect("a length in memory fits into usize");
    if metrics.is_empty() && own_family_len == 0 {
        return;
    }
    let help = family.and_then(|family| family.help());
    format.write_header(name, help, metric_type, metrics.len() + own_family_len, out);
    out.extend_from_slice(&metrics);
}

#[cfg(test)]
mod tests;
