//! Builds pages: what stays of old ones, and between it what is rendered anew.

use super::block::Block;
use super::catalog::{Plan, Source};
use super::changes::{LineChange, RoundChanges};
use super::format::{Format, KeyForm, Template};
use super::page::{FamilyId, Page, PageBuilder, Section};
use super::sizes::Sizes;
use crate::store::Snapshot;
use std::cell::RefCell;
use std::cmp::Ordering;

/// Pages that are built before they are cut: a megabyte or two, however long the lines of a
/// thousand groups are.
const RUN_PAGES: usize = 256;

/// Shared pages on their way.
#[derive(Default)]
struct Building {
    blocks: Vec<Block>,
    /// The shared page that families are added to.
    shared: PageBuilder,
    /// The entries of the family that is being built.
    body: PageBuilder,
    /// Its header.
    header: Vec<u8>,
}

thread_local! {
    /// What pages of large families are built in.
    static BUILDER: RefCell<PageBuilder> = RefCell::default();
}

/// Frees what the calling thread keeps to build pages with.
pub(super) fn free_builder() {
    BUILDER.take();
}

/// Memory that a thread keeps to build pages in.
const BUILDER_BYTES: usize = 1 << 20;

pub(super) struct Context<'a> {
    pub input: &'a RoundChanges<'a>,
    pub sizes: Sizes,
    pub format: Format,
    pub templates: &'a [Option<Box<[Template]>>],
    /// By change.
    pub keys: Vec<Option<KeyForm>>,
}

impl<'a> Context<'a> {
    pub fn items(&self, family: FamilyId) -> &'a [LineChange] {
        &self.input.items[family as usize]
    }

    pub fn slot(&self, item: LineChange) -> u32 {
        self.input.changes[item.change as usize]
    }

    pub fn families_before(
        &self,
        touched: &mut std::iter::Peekable<impl Iterator<Item = FamilyId>>,
        limit: Option<FamilyId>,
    ) -> Vec<FamilyId> {
        let is_before = |id: &FamilyId| {
            limit.is_none_or(|limit| self.input.catalog.compare(*id, limit) == Ordering::Less)
        };
        std::iter::from_fn(|| touched.next_if(is_before)).collect()
    }

    /// Families that have no block yet: large ones get one of their own at once, so that many
    /// threads can build it.
    /// Builds the pages of a large family that come out of an old one and items.
    pub fn build_run(
        &self,
        family: FamilyId,
        old: Option<&Page>,
        items: &[LineChange],
    ) -> Vec<Page> {
        BUILDER.with_borrow_mut(|builder| {
            let mut pages = Vec::new();
            let none = Section::none(family);
            let section = old.and_then(|page| page.sections().next()).unwrap_or(none);
            self.merge(&section, items, builder, &mut pages);
            pages.append(&mut self.cut(family, builder));
            builder.shrink_to(BUILDER_BYTES);
            pages
        })
    }

    /// Entries of a large family as pages: one unless it is above double the target.
    pub fn cut(&self, family: FamilyId, builder: &mut PageBuilder) -> Vec<Page> {
        if builder.is_empty() {
            return Vec::new();
        }
        let target = if builder.len() > 2 * self.sizes.target {
            self.sizes.target
        } else {
            usize::MAX
        };
        builder.take_pages_of(family, target)
    }

    /// Whether a builder holds enough to be cut. Its offsets have 32 bits.
    fn is_full(&self, builder: &PageBuilder) -> bool {
        builder.len() > RUN_PAGES.saturating_mul(self.sizes.target)
    }

    /// Takes the untouched runs of `old` and renders the items between them. What a full builder
    /// holds becomes pages.
    fn merge(
        &self,
        old: &Section<'_>,
        items: &[LineChange],
        builder: &mut PageBuilder,
        pages: &mut Vec<Page>,
    ) {
        let entries = old.entries;
        let (mut copied, mut at) = (0, 0);
        for &item in items {
            let slot = self.slot(item);
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
            if item.source != LineChange::REMOVED {
                builder.entry(slot, |out| self.render(item, out));
            }
            if self.is_full(builder) {
                pages.append(&mut self.cut(old.family, builder));
            }
        }
        if copied < entries.len() {
            builder.copy_run(old, copied, entries.len());
        }
    }

    fn render(&self, item: LineChange, out: &mut Vec<u8>) {
        let group = self
            .input
            .group(self.slot(item))
            .expect("an item that is not removed has a group");
        let key = self.keys[item.change as usize]
            .as_ref()
            .expect("made for every snapshot");
        let plan = self.input.catalog.plan(group.plan);
        let template = &self.templates[group.plan as usize]
            .as_ref()
            .expect("made before")[item.source as usize];
        render_source(plan, item.source, template, &group.snapshot, key, out);
    }

    pub fn build_shared(&self, old: Option<&Page>, touched: &[FamilyId]) -> Vec<Block> {
        let mut building = Building::default();
        let mut touched = touched.iter().copied().peekable();
        for section in old.into_iter().flat_map(Page::sections) {
            for family in self.families_before(&mut touched, Some(section.family)) {
                self.build_section(&Section::none(family), &mut building);
            }
            if touched.next_if_eq(&section.family).is_some() {
                self.build_section(&section, &mut building);
            } else {
                building.shared.copy_section(&section);
            }
        }
        for family in touched {
            self.build_section(&Section::none(family), &mut building);
        }
        self.end_shared(&mut building);
        building.blocks
    }

    /// Builds a family of a shared page; as a block of its own if it is far too large for one.
    fn build_section(&self, old: &Section<'_>, building: &mut Building) {
        let family = old.family;
        let mut pages = Vec::new();
        self.merge(old, self.items(family), &mut building.body, &mut pages);
        if !pages.is_empty() {
            pages.append(&mut self.cut(family, &mut building.body));
            self.end_shared(building);
            let header = self.header_page(family, pages.iter().map(|page| page.len()).sum());
            building.blocks.push(Block::Large {
                family,
                header,
                pages,
            });
        } else if !building.body.is_empty() {
            self.write_header(family, building.body.len(), &mut building.header);
            building
                .shared
                .append_section(family, &building.header, &building.body);
        }
        building.body.clear();
        if self.is_full(&building.shared) {
            self.end_shared(building);
        }
    }

    /// What was built of a shared page becomes one, or the blocks that it is split into.
    fn end_shared(&self, building: &mut Building) {
        if building.shared.is_empty() {
            return;
        }
        let page = building.shared.take_page();
        if page.len() <= 2 * self.sizes.target {
            building.blocks.push(Block::Shared(page));
        } else {
            building.blocks.append(&mut self.split(&page));
        }
    }

    /// Parts of an overgrown page as blocks of their own.
    fn split(&self, page: &Page) -> Vec<Block> {
        let target = self.sizes.target;
        let mut blocks = Vec::new();
        let mut shared = PageBuilder::default();
        let flush = |shared: &mut PageBuilder, blocks: &mut Vec<Block>| {
            if !shared.is_empty() {
                blocks.push(Block::Shared(shared.take_page()));
            }
        };
        for section in page.sections() {
            let len = section.whole().len();
            if shared.len() + len > target {
                flush(&mut shared, &mut blocks);
            }
            if len <= target || section.entries.len() == 1 {
                shared.copy_section(&section);
                continue;
            }
            let mut run = PageBuilder::default();
            run.copy_run(&section, 0, section.entries.len());
            let header = self.header_page(section.family, run.len());
            let pages = run.take_pages_of(section.family, target);
            blocks.push(Block::Large {
                family: section.family,
                header,
                pages,
            });
        }
        flush(&mut shared, &mut blocks);
        blocks
    }

    fn write_header(&self, family: FamilyId, metrics_len: usize, out: &mut Vec<u8>) {
        out.clear();
        let info = self.input.catalog.family(family);
        if !info.is_own {
            self.format.write_header(
                &info.name,
                info.help.as_deref(),
                info.metric_type,
                metrics_len,
                out,
            );
        }
    }

    pub fn header_page(&self, family: FamilyId, metrics_len: usize) -> Page {
        let mut header = Vec::new();
        self.write_header(family, metrics_len, &mut header);
        Page::header(&header)
    }
}

fn render_source(
    plan: &Plan,
    source: u32,
    template: &Template,
    snapshot: &Snapshot,
    key: &KeyForm,
    out: &mut Vec<u8>,
) {
    // As the reference computes it: nanoseconds to seconds in one division.
    let seconds = |time: i64| [(time as f64 / 1e9).to_bits()];
    match &plan.sources[source as usize].1 {
        Source::FailureTime => template.render(key, &seconds(snapshot.failure_time), &[], 0, out),
        Source::PushTime => template.render(key, &seconds(snapshot.push_time), &[], 0, out),
        Source::Pushed {
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
