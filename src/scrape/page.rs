//! A page: a range of the exposition that is rendered and freed as one.
//!
//! The format demands that an exposition is ordered by families: first a family's header, then the
//! lines of every group that has the family. So a push changes lines in as many places as it has
//! families, each on another page.
//!
//! ```text
//! page     = section*                    families in the order of names
//! section  = header entry*               groups in ascending order of slots
//! entry    = line*                       the lines of one group in the family
//! ```
//!
//! A page is never changed after it was made. To change lines, a new page is built from runs of
//! entries copied from the old one and from newly rendered lines.
//!
//! Invariants: a page has at most one section of each family; ends ascend, and the last one is the
//! length of the page.

use std::sync::Arc;

/// The number of a family in the catalog. Numbers are used again.
pub(super) type FamilyId = u32;

/// The lines of one group in one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageEntry {
    /// The slot of the group.
    pub slot: u32,
    /// Where the lines end: an offset in the page. They begin where the header or the entry before
    /// ends.
    pub end: u32,
}

/// Where one family's section of a page ends. The section has a header, which may be empty, and
/// entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SectionEnds {
    family: FamilyId,
    /// Where the header ends: an offset in the page.
    header_end: u32,
    /// How many entries of the page come before the end of this section.
    entries_end: u32,
}

/// A range of the exposition. The view owns the page; scrapes share its text.
#[derive(Debug)]
pub(super) struct Page {
    text: Arc<[u8]>,
    sections: Box<[SectionEnds]>,
    entries: Box<[PageEntry]>,
    /// The slot of the last entry; 0 if there is none.
    last_slot: u32,
    /// No segment holds this page yet. Set when the page is made, cleared by `Stretch::plan`.
    pub is_new: bool,
}

impl Page {
    fn new(text: &[u8], sections: Box<[SectionEnds]>, entries: Box<[PageEntry]>) -> Self {
        let last_slot = entries.last().map_or(0, |entry| entry.slot);
        Self {
            text: text.into(),
            sections,
            entries,
            last_slot,
            is_new: true,
        }
    }

    /// A page with nothing but the header of a large family.
    pub fn header(text: &[u8]) -> Self {
        Self::new(text, Box::default(), Box::default())
    }

    /// The bytes that a scrape sends.
    pub fn text(&self) -> &Arc<[u8]> {
        &self.text
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether the page has no bytes.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The family of the first section; none for the header page of a large family.
    pub fn first_family(&self) -> Option<FamilyId> {
        self.sections.first().map(|section| section.family)
    }

    /// The slot of the last entry. The page has to have entries.
    pub fn last_slot(&self) -> u32 {
        debug_assert!(
            !self.entries.is_empty(),
            "a page of a large family has entries"
        );
        self.last_slot
    }

    /// The sections of the page, in the order of family names.
    pub fn sections(&self) -> impl Iterator<Item = Section<'_>> {
        (0..self.sections.len()).map(|index| {
            let (start, entries_start) =
                match index.checked_sub(1).map(|before| self.sections[before]) {
                    None => (0, 0),
                    Some(before) => (self.end_of(before), before.entries_end as usize),
                };
            let section = self.sections[index];
            Section {
                family: section.family,
                body_start: section.header_end,
                header_start: start,
                entries: &self.entries[entries_start..section.entries_end as usize],
                bytes: &self.text,
            }
        })
    }

    /// Where a section ends: an offset in the page.
    fn end_of(&self, section: SectionEnds) -> u32 {
        let last = (section.entries_end as usize)
            .checked_sub(1)
            .map(|last| self.entries[last].end);
        last.unwrap_or(0).max(section.header_end)
    }

    /// A page with the entries of this page and of the next one, both of one large family.
    pub fn joined_with(&self, next: &Self) -> Self {
        debug_assert!(self.sections.len() == 1 && next.sections.len() == 1);
        let shift = u32_len(self.len());
        let mut bytes = Vec::with_capacity(self.len() + next.len());
        bytes.extend_from_slice(&self.text);
        bytes.extend_from_slice(&next.text);
        let entries: Box<[PageEntry]> = self
            .entries
            .iter()
            .copied()
            .chain(next.entries.iter().map(|entry| PageEntry {
                slot: entry.slot,
                end: entry.end + shift,
            }))
            .collect();
        let section = SectionEnds {
            entries_end: u32_len(entries.len()),
            ..self.sections[0]
        };
        Self::new(&bytes, [section].into(), entries)
    }
}

/// One family's section of a page, with its bytes.
#[derive(Clone, Copy)]
pub(super) struct Section<'a> {
    pub family: FamilyId,
    /// Where the header begins: an offset in `bytes`.
    header_start: u32,
    /// Where the header ends and the first entry begins.
    body_start: u32,
    /// The entries of this section; their ends are offsets in `bytes`.
    pub entries: &'a [PageEntry],
    /// The bytes of the whole page.
    bytes: &'a [u8],
}

impl<'a> Section<'a> {
    /// An empty section, for a family that no page has yet.
    pub fn empty(family: FamilyId) -> Section<'static> {
        Section {
            family,
            header_start: 0,
            body_start: 0,
            entries: &[],
            bytes: &[],
        }
    }

    /// The lines of the entries `from..to`.
    pub fn run(&self, from: usize, to: usize) -> &'a [u8] {
        &self.bytes[self.start_of(from) as usize..self.start_of(to) as usize]
    }

    /// Where entry `index` begins, or the last entry ends: an offset in the page.
    pub fn start_of(&self, index: usize) -> u32 {
        if index == 0 {
            self.body_start
        } else {
            self.entries[index - 1].end
        }
    }

    /// Header and entries.
    pub fn whole(&self) -> &'a [u8] {
        &self.bytes[self.header_start as usize..self.start_of(self.entries.len()) as usize]
    }

    /// Bytes of the header.
    pub fn header_len(&self) -> u32 {
        self.body_start - self.header_start
    }

    /// Where the header begins: an offset in the page.
    pub fn header_start(&self) -> u32 {
        self.header_start
    }
}

/// A page while it is built. Keeps its memory from page to page.
#[derive(Default)]
pub(super) struct PageBuilder {
    bytes: Vec<u8>,
    sections: Vec<SectionEnds>,
    entries: Vec<PageEntry>,
}

impl PageBuilder {
    /// Bytes built so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds the lines that `render` writes as the entry of a group. If `render` writes nothing
    /// there is no entry.
    pub fn entry(&mut self, slot: u32, render: impl FnOnce(&mut Vec<u8>)) {
        let before = self.bytes.len();
        render(&mut self.bytes);
        if self.bytes.len() > before {
            self.entries.push(PageEntry {
                slot,
                end: u32_len(self.bytes.len()),
            });
        }
    }

    /// Appends the entries `from..to` of an old section, without its header.
    pub fn copy_run(&mut self, old: &Section<'_>, from: usize, to: usize) {
        let (start, here) = (old.start_of(from), u32_len(self.bytes.len()));
        self.bytes.extend_from_slice(old.run(from, to));
        self.entries
            .extend(old.entries[from..to].iter().map(|e| PageEntry {
                slot: e.slot,
                end: e.end - start + here,
            }));
    }

    /// Appends an old section, header included.
    pub fn copy_section(&mut self, old: &Section<'_>) {
        let (start, here) = (old.header_start(), u32_len(self.bytes.len()));
        self.bytes.extend_from_slice(old.whole());
        self.entries.extend(old.entries.iter().map(|e| PageEntry {
            slot: e.slot,
            end: e.end - start + here,
        }));
        self.end_section(old.family, here + old.header_len());
    }

    /// Ends the section of a family. Its header ends at `header_end`, and its entries are those
    /// that were added since the section before ended.
    fn end_section(&mut self, family: FamilyId, header_end: u32) {
        self.sections.push(SectionEnds {
            family,
            header_end,
            entries_end: u32_len(self.entries.len()),
        });
    }

    /// Appends a section with this header and the entries of `body`.
    pub fn append_section(&mut self, family: FamilyId, header: &[u8], body: &PageBuilder) {
        self.bytes.extend_from_slice(header);
        let shift = u32_len(self.bytes.len());
        self.bytes.extend_from_slice(&body.bytes);
        self.entries.extend(body.entries.iter().map(|e| PageEntry {
            slot: e.slot,
            end: e.end + shift,
        }));
        self.end_section(family, shift);
    }

    /// Removes everything built so far.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.sections.clear();
        self.entries.clear();
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Frees memory above `n_bytes` for the bytes, and above what entries of 16 bytes each need for
    /// that many bytes.
    pub fn shrink_to(&mut self, n_bytes: usize) {
        self.bytes.shrink_to(n_bytes);
        self.entries.shrink_to(n_bytes / 16);
    }

    /// The page built so far. The builder is empty afterwards and keeps its memory.
    pub fn take_page(&mut self) -> Page {
        let page = Page::new(
            &self.bytes,
            self.sections.as_slice().into(),
            self.entries.as_slice().into(),
        );
        self.clear();
        page
    }

    /// The entries built so far, cut into pages of about the same length: up to `page_bytes` bytes
    /// and one entry. The entries have to be of one family and without a header. The builder is
    /// empty afterwards.
    pub fn take_pages_of(&mut self, family: FamilyId, page_bytes: usize) -> Vec<Page> {
        let len = self.bytes.len();
        let n_pages = len.div_ceil(page_bytes).max(1);
        let mut pages = Vec::with_capacity(n_pages);
        let (mut first, mut start) = (0, 0);
        for index in 0..self.entries.len() {
            let end = self.entries[index].end as usize;
            if end < len * (pages.len() + 1) / n_pages {
                continue;
            }
            let shift = u32_len(start);
            let entries: Box<[PageEntry]> = self.entries[first..=index]
                .iter()
                .map(|e| PageEntry {
                    slot: e.slot,
                    end: e.end - shift,
                })
                .collect();
            let section = SectionEnds {
                family,
                header_end: 0,
                entries_end: u32_len(entries.len()),
            };
            pages.push(Page::new(
                &self.bytes[start..end],
                [section].into(),
                entries,
            ));
            (first, start) = (index + 1, end);
        }
        self.clear();
        pages
    }
}

/// A length or offset in a page. Pages are below 4 GiB: a builder is cut into pages whenever it
/// holds more than a megabyte or two and an entry ends, and the store limits how many bytes a group
/// may be exposed with so that its entry is below 4 GiB even with every name escaped.
fn u32_len(len: usize) -> u32 {
    u32::try_from(len).expect("a page is below 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(entries: &[(u32, &str)]) -> PageBuilder {
        let mut builder = PageBuilder::default();
        for &(slot, lines) in entries {
            builder.entry(slot, |out| out.extend_from_slice(lines.as_bytes()));
        }
        builder
    }

    fn slots_and_lines(page: &Page) -> Vec<(u32, String)> {
        let mut all = Vec::new();
        for section in page.sections() {
            for (i, entry) in section.entries.iter().enumerate() {
                all.push((
                    entry.slot,
                    String::from_utf8(section.run(i, i + 1).to_vec()).unwrap(),
                ));
            }
        }
        all
    }

    #[test]
    fn a_page_knows_the_lines_of_each_group() {
        let mut builder = PageBuilder::default();
        builder.append_section(7, b"# a\n", &built(&[(1, "a 1\n"), (4, "a 22\n")]));
        builder.append_section(9, b"# bb\n", &built(&[(1, "b 1\n"), (2, "")]));
        let page = builder.take_page();
        assert_eq!(&page.text()[..], b"# a\na 1\na 22\n# bb\nb 1\n");
        assert_eq!(
            slots_and_lines(&page),
            [
                (1, "a 1\n".to_owned()),
                (4, "a 22\n".to_owned()),
                (1, "b 1\n".to_owned())
            ]
        );
        let second = page.sections().nth(1).unwrap();
        assert_eq!(
            (second.family, second.whole()),
            (9, b"# bb\nb 1\n".as_slice())
        );

        let mut copy = PageBuilder::default();
        copy.copy_section(&second);
        let copied = copy.take_page();
        assert_eq!(slots_and_lines(&copied), [(1, "b 1\n".to_owned())]);
        assert_eq!(&copied.text()[..], second.whole());
    }

    #[test]
    fn pages_of_a_large_family_are_cut_evenly_and_can_be_joined() {
        let lines: Vec<String> = (0..100).map(|i| format!("a {i}\n")).collect();
        let entries: Vec<(u32, &str)> = lines
            .iter()
            .enumerate()
            .map(|(i, line)| (i as u32, line.as_str()))
            .collect();
        let pages = built(&entries).take_pages_of(3, 64);
        assert!(
            pages.len() > 5
                && pages
                    .iter()
                    .all(|page| page.len() >= 56 && page.len() <= 70)
        );
        let whole = pages.into_iter().reduce(|a, b| a.joined_with(&b)).unwrap();
        assert_eq!(&whole.text()[..], lines.concat().as_bytes());
        assert_eq!(slots_and_lines(&whole).len(), 100);
        assert_eq!(whole.last_slot(), 99);
    }
}
