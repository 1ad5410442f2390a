//! Blocks: what a stretch of the exposition consists of, in the order of family names.
//!
//! A block is either one page that several small families share, or one large family with a page
//! for its header and pages for its groups. Neighbouring shared pages are joined when they are
//! small, see [`PageSizes::should_join`].

use super::page::{FamilyId, Page, PageBuilder};
use super::sizes::PageSizes;

/// Neighbouring families of a stretch, and their pages.
pub(super) enum Block {
    /// Whole small families on one page.
    Shared(Page),
    /// One large family, which shares its pages with no other.
    Large {
        family: FamilyId,
        /// The `# HELP` and `# TYPE` lines, or what corresponds to them in another format. Empty
        /// for a family whose header the gateway writes with its own metrics.
        header: Page,
        /// The groups, in ascending order of slots. Never empty.
        pages: Vec<Page>,
    },
}

impl Block {
    /// How many pages have metrics: all but the header of a large family.
    pub fn n_pages(&self) -> usize {
        match self {
            Self::Shared(_) => 1,
            Self::Large { pages, .. } => pages.len(),
        }
    }

    /// All pages, in the order of the exposition.
    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &[][..]),
            Self::Large { header, pages, .. } => (header, &pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    /// Like [`Block::pages`], to be changed.
    pub fn pages_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &mut [][..]),
            Self::Large { header, pages, .. } => (header, &mut pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    /// The first family in the order of names.
    pub fn first_family(&self) -> FamilyId {
        match self {
            Self::Shared(page) => page.first_family().expect("a shared page has a family"),
            Self::Large { family, .. } => *family,
        }
    }

    /// Bytes of the first family, its header included in a shared page and left out in a large
    /// family. The gateway's own families have an empty header here, so for them both are the bytes
    /// of the metrics.
    pub fn first_family_len(&self) -> u64 {
        match self {
            Self::Shared(page) => page
                .sections()
                .next()
                .map_or(0, |section| section.whole().len() as u64),
            Self::Large { pages, .. } => pages.iter().map(|page| page.len() as u64).sum(),
        }
    }
}

/// Appends a block to `blocks`, or joins it with the last one if both are shared pages and small
/// enough together.
pub(super) fn push_or_join(blocks: &mut Vec<Block>, block: Block, sizes: PageSizes) {
    if let (Some(Block::Shared(last)), Block::Shared(page)) = (blocks.last_mut(), &block)
        && sizes.should_join(last.len(), page.len())
    {
        let mut both = PageBuilder::default();
        last.sections()
            .chain(page.sections())
            .for_each(|section| both.copy_section(&section));
        *last = both.take_page();
    } else {
        blocks.push(block);
    }
}
