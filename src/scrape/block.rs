//! What a stretch is a row of.

use super::page::{FamilyId, Page};

pub(super) enum Block {
    Shared(Page),
    Large {
        family: FamilyId,
        header: Page,
        pages: Vec<Page>,
    },
}

impl Block {
    pub fn n_pages(&self) -> usize {
        match self {
            Self::Shared(_) => 1,
            Self::Large { pages, .. } => pages.len(),
        }
    }

    pub fn pages_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &mut [][..]),
            Self::Large { header, pages, .. } => (header, &mut pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    pub fn pages(&self) -> impl Iterator<Item = &Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &[][..]),
            Self::Large { header, pages, .. } => (header, &pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    pub fn first_family(&self) -> FamilyId {
        match self {
            Self::Shared(page) => page.first_family().expect("a shared page has a family"),
            Self::Large { family, .. } => *family,
        }
    }
}
