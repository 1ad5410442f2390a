//! Builds pages: copies the runs of old pages that did not change, and renders the lines between
//! them.
//!
//! Several threads use one [`PageWriter`] at once. Each thread keeps its buffer for the pages of
//! large families.

use super::block::Block;
use super::changes::{LineChange, RoundChanges};
use super::format::{Format, RenderedKey, Template};
use super::page::{FamilyId, Page, PageBuilder, Section};
use super::render_plan::{RenderPlan, ValueSource};
use super::sizes::PageSizes;
use crate::store::Snapshot;
use std::cell::RefCell;

/// Bytes of buffer that a thread keeps from one task to the next. A buffer that grew larger, for a
/// giant group, is shrunk to this size.
const KEPT_BUILDER_BYTES: usize = 1 << 20;

thread_local! {
    /// The buffer in which this thread builds pages of large families.
    static LARGE_PAGES_BUILDER: RefCell<PageBuilder> = RefCell::default();
}

/// Frees the calling thread's buffer for pages. The next page makes a new one.
pub(super) fn free_page_builder() {
    LARGE_PAGES_BUILDER.take();
}

/// Builds the pages of one view in one round.
pub(super) struct PageWriter<'a> {
    pub changes: &'a RoundChanges<'a>,
    pub sizes: PageSizes,
    pub format: Format,
    /// By id of the render plan, then by source of the plan.
    pub templates: &'a [Option<Box<[Template]>>],
    /// The grouping keys of the slots that changed, in the order of [`RoundChanges::slots`]; none
    /// for a slot without a group.
    pub keys: Vec<Option<RenderedKey>>,
}

/// A shared page while it is built, and the blocks into which it was cut so far.
#[derive(Default)]
struct SharedPageInProgress {
    blocks: Vec<Block>,
    page: PageBuilder,
    /// The metrics of the family that is being built.
    family_body: PageBuilder,
    /// The header of that family. Written after the metrics, because a protobuf header holds their
    /// length.
    family_header: Vec<u8>,
}

impl PageWriter<'_> {
    /// Builds the pages of a large family that take the place of the `old` page, with the changes
    /// `lines`. Without an old page, the pages have only these lines.
    pub fn build_large_pages(
        &self,
        family: FamilyId,
        old: Option<&Page>,
        lines: &[LineChange],
    ) -> Vec<Page> {
        LARGE_PAGES_BUILDER.with_borrow_mut(|builder| {
            let mut pages = Vec::new();
            let section = old
                .and_then(|page| page.sections().next())
                .unwrap_or(Section::empty(family));
            self.copy_and_render(&section, lines, builder, &mut pages);
            pages.append(&mut self.split_builder(family, builder));
            builder.shrink_to(KEPT_BUILDER_BYTES);
            pages
        })
    }

    /// Builds the blocks that take the place of the `old` shared page, with the changes of
    /// `families`, which are in the order of their names. Without an old page, the blocks have only
    /// these families.
    pub fn build_shared_page(&self, old: Option<&Page>, families: &[FamilyId]) -> Vec<Block> {
        let mut shared = SharedPageInProgress::default();
        let mut families = families.iter().copied().peekable();
        for section in old.into_iter().flat_map(Page::sections) {
            for family in self
                .changes
                .families_before(&mut families, Some(section.family))
            {
                self.build_section(&Section::empty(family), &mut shared);
            }
            if families.next_if_eq(&section.family).is_some() {
                self.build_section(&section, &mut shared);
            } else {
                shared.page.copy_section(&section);
            }
        }
        for family in families {
            self.build_section(&Section::empty(family), &mut shared);
        }
        self.end_shared_page(&mut shared);
        shared.blocks
    }

    /// Cuts the entries in `builder`, all of one large family, into pages: a single page unless it
    /// would be oversized. Empties the builder.
    pub fn split_builder(&self, family: FamilyId, builder: &mut PageBuilder) -> Vec<Page> {
        if builder.is_empty() {
            return Vec::new();
        }
        let page_bytes = if self.sizes.is_oversized(builder.len()) {
            self.sizes.page_bytes
        } else {
            usize::MAX
        };
        builder.take_pages_of(family, page_bytes)
    }

    /// A page with nothing but the header of a family whose metrics have `metrics_len` bytes.
    pub fn header_page(&self, family: FamilyId, metrics_len: usize) -> Page {
        let mut header = Vec::new();
        self.write_header(family, metrics_len, &mut header);
        Page::header(&header)
    }

    /// Copies the entries of `old` that stay, and renders `lines` between them; both are in
    /// ascending order of slots. Whenever `builder` is full, its entries are moved to `pages`.
    fn copy_and_render(
        &self,
        old: &Section<'_>,
        lines: &[LineChange],
        builder: &mut PageBuilder,
        pages: &mut Vec<Page>,
    ) {
        let entries = old.entries;
        // Entries before `copied` are done. Those from `copied` to `at` stay, and are copied in one
        // run.
        let (mut copied, mut at) = (0, 0);
        for &line in lines {
            let slot = self.changes.slot_of(line);
            while at < entries.len() && entries[at].slot < slot {
                at += 1;
            }
            if copied < at {
                builder.copy_run(old, copied, at);
            }
            if at < entries.len() && entries[at].slot == slot {
                at += 1;
            }
            copied = at;
            if line.source != LineChange::REMOVED {
                builder.entry(slot, |out| self.render(line, out));
            }
            if self.is_full(builder) {
                pages.append(&mut self.split_builder(old.family, builder));
            }
        }
        if copied < entries.len() {
            builder.copy_run(old, copied, entries.len());
        }
    }

    /// Whether a builder has to be cut into pages before more is added to it: its memory is
    /// limited, and its offsets have 32 bits.
    fn is_full(&self, builder: &PageBuilder) -> bool {
        builder.len() > self.sizes.builder_bytes_max()
    }

    /// Writes the lines of one group in one family.
    fn render(&self, line: LineChange, out: &mut Vec<u8>) {
        let group = self
            .changes
            .group(self.changes.slot_of(line))
            .expect("lines that are not removed have a group");
        let key = self.keys[line.slot_index as usize]
            .as_ref()
            .expect("made for every slot that has a group");
        let plan = self.changes.catalog.plan(group.plan);
        let template = &self.templates[group.plan as usize]
            .as_ref()
            .expect("made for the plan of every changed group")[line.source as usize];
        render_source(plan, line.source, template, &group.snapshot, key, out);
    }

    /// Builds one family of a shared page. A family that does not fit into one builder becomes a
    /// large family, in a block of its own.
    fn build_section(&self, old: &Section<'_>, shared: &mut SharedPageInProgress) {
        let family = old.family;
        let mut pages = Vec::new();
        let lines = self.changes.lines_of(family);
        self.copy_and_render(old, lines, &mut shared.family_body, &mut pages);
        if !pages.is_empty() {
            pages.append(&mut self.split_builder(family, &mut shared.family_body));
            self.end_shared_page(shared);
            let header = self.header_page(family, pages.iter().map(|page| page.len()).sum());
            shared.blocks.push(Block::Large {
                family,
                header,
                pages,
            });
        } else if !shared.family_body.is_empty() {
            self.write_header(family, shared.family_body.len(), &mut shared.family_header);
            shared
                .page
                .append_section(family, &shared.family_header, &shared.family_body);
        }
        shared.family_body.clear();
        if self.is_full(&shared.page) {
            self.end_shared_page(shared);
        }
    }

    /// Makes a block of the shared page built so far, or several if the page is oversized.
    fn end_shared_page(&self, shared: &mut SharedPageInProgress) {
        if shared.page.is_empty() {
            return;
        }
        let page = shared.page.take_page();
        if self.sizes.is_oversized(page.len()) {
            shared.blocks.append(&mut self.split(&page));
        } else {
            shared.blocks.push(Block::Shared(page));
        }
    }

    /// Splits an oversized shared page into smaller ones. A family that alone exceeds the size of a
    /// page becomes a large family.
    fn split(&self, page: &Page) -> Vec<Block> {
        let page_bytes = self.sizes.page_bytes;
        let mut blocks = Vec::new();
        let mut shared = PageBuilder::default();
        let flush = |shared: &mut PageBuilder, blocks: &mut Vec<Block>| {
            if !shared.is_empty() {
                blocks.push(Block::Shared(shared.take_page()));
            }
        };
        for section in page.sections() {
            let len = section.whole().len();
            if shared.len() + len > page_bytes {
                flush(&mut shared, &mut blocks);
            }
            // A single group cannot be split.
            if len <= page_bytes || section.entries.len() == 1 {
                shared.copy_section(&section);
                continue;
            }
            let mut body = PageBuilder::default();
            body.copy_run(&section, 0, section.entries.len());
            let header = self.header_page(section.family, body.len());
            let pages = body.take_pages_of(section.family, page_bytes);
            blocks.push(Block::Large {
                family: section.family,
                header,
                pages,
            });
        }
        flush(&mut shared, &mut blocks);
        blocks
    }

    /// Replaces the content of `out` by the header of a family. Leaves `out` empty for the
    /// gateway's own families, because [`super::document`] writes their header with their metrics;
    /// and for a native part in text, where the header of the main part stands for both.
    fn write_header(&self, family: FamilyId, metrics_len: usize, out: &mut Vec<u8>) {
        out.clear();
        if self.changes.catalog.family(family).is_own {
            return;
        }
        let header = self.changes.catalog.header_of(family);
        if header.follows_main_part && !self.format.repeats_header() {
            return;
        }
        self.format.write_header(
            header.name,
            header.help,
            header.metric_type,
            metrics_len,
            out,
        );
    }
}

/// Renders the lines of `snapshot` whose numbers come from one source of its plan.
fn render_source(
    plan: &RenderPlan,
    source: u32,
    template: &Template,
    snapshot: &Snapshot,
    key: &RenderedKey,
    out: &mut Vec<u8>,
) {
    // Nanoseconds to seconds in one division, as the reference does, so that the number is the
    // same.
    let seconds = |time: i64| [(time as f64 / 1e9).to_bits()];
    match &plan.sources[source as usize].1 {
        ValueSource::FailureTime => {
            template.render(key, &seconds(snapshot.failure_time), &[], 0, out)
        }
        ValueSource::PushTime => template.render(key, &seconds(snapshot.push_time), &[], 0, out),
        ValueSource::Pushed {
            values, metrics, ..
        } => {
            let extras = &snapshot.extras;
            let from = extras.partition_point(|extra| (extra.metric as usize) < metrics.start);
            let to = extras.partition_point(|extra| (extra.metric as usize) < metrics.end);
            template.render(
                key,
                &snapshot.values[values.clone()],
                &extras[from..to],
                metrics.start,
                out,
            );
        }
    }
}
