//! The pages of one format, and how a round changes them.
//!
//! A view is cut into *stretches* by the gateway's own families, whose numbers change with every
//! scrape and which are spliced in between. A stretch is a row of *blocks* in the order of family
//! names: a shared page of whole small families, or a large family with a page for its header and
//! as many as it needs for its groups.
//!
//! Sizes: a page is about [`Sizes::target`] bytes. Above double it is split; neighbours that are
//! together below it, one of them below half, become one. What is being built is cut whenever it is
//! [`RUN_PAGES`] long.

use super::catalog::{Catalog, Plan, PlanId, Source};
use super::format::{Format, KeyForm, Template};
use super::gzip::{Effort, free_compressor};
use super::page::{FamilyId, Page, PageBuilder, PartRef};
use super::segment::{Stretch, free_packed};
use crate::store::Snapshot;
use rayon::prelude::*;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

/// How big pages get, and how many threads build them.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Bytes of a page, about.
    pub target: usize,
    /// Threads that build and compress pages when much changed.
    pub n_threads: usize,
}

impl Sizes {
    /// Bytes of the pages that scrapes send as one where they are compressed, about.
    pub(super) fn segment(self) -> usize {
        self.target.saturating_mul(SEGMENT_PAGES)
    }
}

/// Pages of a segment: compressed some 50 KB.
const SEGMENT_PAGES: usize = 96;
/// Groups of a family in one piece of work where a family is built from nothing.
const RUN_GROUPS: usize = 1024;
/// Pages that are built before they are cut: a megabyte or two, however long the lines of a
/// thousand groups are.
const RUN_PAGES: usize = 256;
/// Below this many bytes, about, a second thread costs more than it saves.
const PARALLEL_BYTES: usize = 512 << 10;

/// After so many bytes of work, about, others have their turn.
pub(super) const TURN_BYTES: usize = 128 << 10;

/// Lets other threads run, where there are more than cores: a push that has just arrived would wait
/// for milliseconds, the scheduler's slice, until a thread that builds pages had its turn.
pub(super) fn give_way() {
    std::thread::yield_now();
}

/// So many at a time are dropped by other threads.
const DROPPED_MANY: usize = 4096;

/// What making a key's form weighs, in bytes of work.
const KEY_WEIGHT: usize = 50;

/// A group as it is exposed.
pub(super) struct Group {
    pub snapshot: Arc<Snapshot>,
    pub plan: PlanId,
}

/// What a change means for one family: the place in the plan's sources to render from, or that the
/// lines go.
#[derive(Clone, Copy)]
pub(super) struct Item {
    pub change: u32,
    pub source: u32,
}

impl Item {
    pub const REMOVED: u32 = u32::MAX;
}

/// What a round brings to a view. Items of a family are in ascending order of slots.
pub(super) struct Input<'a> {
    pub catalog: &'a Catalog,
    /// By slot: what is exposed from now on.
    pub groups: &'a [Option<Group>],
    /// The slots that changed.
    pub changes: &'a [u32],
    /// By family id.
    pub items: &'a [Vec<Item>],
    /// Families that have items, by name.
    pub touched: &'a [FamilyId],
}

impl Input<'_> {
    fn group(&self, slot: u32) -> Option<&Group> {
        self.groups.get(slot as usize).and_then(Option::as_ref)
    }
}

enum Block {
    Shared(Page),
    Large {
        family: FamilyId,
        header: Page,
        pages: Vec<Page>,
    },
}

impl Block {
    fn n_pages(&self) -> usize {
        match self {
            Self::Shared(_) => 1,
            Self::Large { pages, .. } => pages.len(),
        }
    }

    fn pages_mut(&mut self) -> impl Iterator<Item = &mut Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &mut [][..]),
            Self::Large { header, pages, .. } => (header, &mut pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    fn pages(&self) -> impl Iterator<Item = &Page> {
        let (first, rest) = match self {
            Self::Shared(page) => (page, &[][..]),
            Self::Large { header, pages, .. } => (header, &pages[..]),
        };
        std::iter::once(first).chain(rest)
    }

    fn first_family(&self) -> FamilyId {
        match self {
            Self::Shared(page) => page.first_family().expect("a shared page has a family"),
            Self::Large { family, .. } => *family,
        }
    }
}

#[derive(Default)]
struct StretchState {
    blocks: Vec<Block>,
    published: Arc<Stretch>,
    /// Blocks have changed since it was published.
    is_changed: bool,
}

/// The pages of one format.
pub(super) struct View {
    pub format: Format,
    /// Whether pages are kept compressed as well.
    pub gzip: bool,
    /// By plan.
    templates: Vec<Option<Box<[Template]>>>,
    stretches: Vec<StretchState>,
}

enum Job<'a> {
    Shared {
        old: Option<Page>,
        touched: Vec<FamilyId>,
    },
    Run {
        family: FamilyId,
        old: Option<Page>,
        items: &'a [Item],
    },
}

impl Job<'_> {
    fn into_old(self) -> Option<Page> {
        match self {
            Self::Shared { old, .. } | Self::Run { old, .. } => old,
        }
    }
}

enum Built {
    Blocks(Vec<Block>),
    Pages(Vec<Page>),
}

/// A block as it will be, some of it still to be built.
enum Next {
    Keep(Block),
    Shared {
        job: usize,
    },
    Large {
        family: FamilyId,
        header: Option<Page>,
        pages: Vec<NextPages>,
    },
}

enum NextPages {
    Keep(Page),
    Build { job: usize },
}

impl View {
    pub fn new(format: Format, n_own: usize) -> Self {
        let stretches = (0..=n_own).map(|_| StretchState::default()).collect();
        Self {
            format,
            gzip: false,
            templates: Vec::new(),
            stretches,
        }
    }

    /// As scrapes see them.
    pub fn stretches(&self) -> impl ExactSizeIterator<Item = &Arc<Stretch>> {
        self.stretches.iter().map(|stretch| &stretch.published)
    }

    /// What they will be, without their compressed forms.
    pub fn plain_stretches(&self, catalog: &Catalog) -> Box<[Arc<Stretch>]> {
        let plain = |stretch: &StretchState| {
            if !stretch.is_changed {
                return Arc::clone(&stretch.published);
            }
            let pages = stretch
                .blocks
                .iter()
                .flat_map(Block::pages)
                .filter(|page| !page.is_empty());
            Arc::new(Stretch::plain(
                pages.map(|page| Arc::clone(page.text())).collect(),
                stretch.joined_len(catalog),
            ))
        };
        self.stretches.iter().map(plain).collect()
    }

    /// Pages that scrapes see.
    pub fn n_pages(&self) -> usize {
        self.stretches
            .iter()
            .flat_map(|stretch| &stretch.published.segments)
            .map(|segment| segment.texts.len())
            .sum()
    }

    /// Whether there are stretches all of which is yet to be compressed.
    pub fn is_stale(&self) -> bool {
        self.stretches
            .iter()
            .any(|stretch| stretch.is_stale(self.gzip))
    }

    /// Pages that were compressed while somebody waited.
    pub fn n_fast(&self) -> usize {
        self.stretches
            .iter()
            .map(|stretch| stretch.published.n_fast)
            .sum()
    }

    /// Compresses some `n_pages` of those anew.
    pub fn polish(&mut self, n_pages: usize, builders: &Builders) {
        let mut n_left = n_pages;
        for stretch in self
            .stretches
            .iter_mut()
            .filter(|stretch| stretch.published.n_fast > 0)
        {
            if n_left == 0 {
                return;
            }
            let before = stretch.published.n_fast;
            stretch.published = Arc::new(stretch.published.polished(n_left, builders));
            n_left = n_left.saturating_sub(before - stretch.published.n_fast);
        }
    }

    /// Forgets templates of layouts that are in use no more.
    pub fn forget_plans(&mut self, gone: &[PlanId]) {
        for &id in gone {
            if let Some(template) = self.templates.get_mut(id as usize) {
                *template = None;
            }
        }
    }

    /// Stops keeping pages compressed.
    pub fn drop_gzip(&mut self) {
        self.gzip = false;
        for stretch in &mut self.stretches {
            stretch.published = Arc::new(stretch.published.without_deflated());
        }
    }

    /// Brings the pages up to date; returns how many were built. Scrapes see them after
    /// [`View::publish`].
    pub fn apply(&mut self, input: &Input<'_>, sizes: Sizes, builders: &Builders) -> usize {
        self.make_templates(input);
        let key = |slot: &u32| {
            input
                .group(*slot)
                .map(|group| self.format.key(group.snapshot.key().labels()))
        };
        let keys = builders.map(
            input.changes,
            input.changes.len() * KEY_WEIGHT,
            |slot| *slot,
            key,
        );
        let context = Context {
            input,
            sizes,
            format: self.format,
            templates: &self.templates,
            keys,
        };
        let mut jobs = Vec::new();
        let mut next: Vec<(usize, Vec<Next>)> = Vec::new();
        for touched in input
            .touched
            .chunk_by(|&a, &b| input.catalog.family(a).stretch == input.catalog.family(b).stretch)
        {
            let stretch = input.catalog.family(touched[0]).stretch;
            let blocks = std::mem::take(&mut self.stretches[stretch].blocks);
            next.push((stretch, context.plan_stretch(blocks, touched, &mut jobs)));
        }
        let weight = jobs.iter().map(|job| context.weight(job)).sum();
        let mut built: Vec<Option<Built>> = builders
            .map(
                &jobs,
                weight,
                |job| context.first_slot(job),
                |job| context.build(job),
            )
            .into_iter()
            .map(Some)
            .collect();
        builders.drop_aside(jobs.into_iter().filter_map(Job::into_old).collect());
        let mut n_built = 0;
        for (stretch, next) in next {
            let blocks = context.finish_stretch(next, &mut built);
            n_built += blocks.n_built;
            self.stretches[stretch].blocks = blocks.blocks;
            self.stretches[stretch].is_changed = true;
        }
        builders.drop_aside(context.keys);
        n_built
    }

    fn make_templates(&mut self, input: &Input<'_>) {
        self.templates
            .resize_with(input.catalog.n_plan_ids(), || None);
        for plan_id in input
            .changes
            .iter()
            .filter_map(|slot| input.group(*slot))
            .map(|group| group.plan)
        {
            let template = &mut self.templates[plan_id as usize];
            if template.is_some() {
                continue;
            }
            let plan = input.catalog.plan(plan_id);
            let names: Vec<&str> = plan.layout.key_names().iter().map(|name| &**name).collect();
            *template = Some(
                plan.sources
                    .iter()
                    .map(|(_, source)| {
                        self.format.template(
                            input.catalog.source_family(plan, source),
                            &names,
                            true,
                        )
                    })
                    .collect(),
            );
        }
    }

    /// Makes the segments of the stretches that changed. `effort` is what they are compressed with,
    /// where they are.
    pub fn publish(
        &mut self,
        catalog: &Catalog,
        effort: Effort,
        sizes: Sizes,
        builders: &Builders,
    ) {
        let gzip = self.gzip;
        let stale = self.stretches.iter_mut();
        let mut stale: Vec<&mut StretchState> = stale
            .filter(|stretch| stretch.is_stale(gzip) || stretch.is_changed)
            .collect();
        let plan = |stretch: &mut &mut StretchState| {
            let joined_len = stretch.joined_len(catalog);
            stretch.is_changed = false;
            (
                stretch.published.plan(
                    stretch.blocks.iter_mut().flat_map(Block::pages_mut),
                    sizes,
                    gzip,
                ),
                joined_len,
            )
        };
        let planned = stale.iter_mut().map(plan).collect();
        let made = Stretch::make_all(planned, gzip.then_some(effort), builders);
        stale
            .into_iter()
            .zip(made)
            .for_each(|(stretch, made)| stretch.published = Arc::new(made));
    }
}

impl StretchState {
    /// What is published lacks the compressed form that the view has by now.
    fn is_stale(&self, gzip: bool) -> bool {
        gzip && self.published.len > 0 && self.published.deflated_len == 0
    }

    fn joined_len(&self, catalog: &Catalog) -> u64 {
        let Some(block) = self
            .blocks
            .first()
            .filter(|block| catalog.family(block.first_family()).is_own)
        else {
            return 0;
        };
        match block {
            Block::Shared(page) => page
                .parts()
                .next()
                .map_or(0, |part| part.whole().len() as u64),
            Block::Large { pages, .. } => pages.iter().map(|page| page.len() as u64).sum(),
        }
    }
}

struct Finished {
    blocks: Vec<Block>,
    n_built: usize,
}

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

/// Frees what the calling thread keeps to build and compress pages with.
fn free_kept() {
    BUILDER.take();
    free_packed();
    free_compressor();
}

/// Memory that a thread keeps to build pages in.
const BUILDER_BYTES: usize = 1 << 20;

struct Context<'a> {
    input: &'a Input<'a>,
    sizes: Sizes,
    format: Format,
    templates: &'a [Option<Box<[Template]>>],
    /// By change.
    keys: Vec<Option<KeyForm>>,
}

impl<'a> Context<'a> {
    fn items(&self, family: FamilyId) -> &'a [Item] {
        &self.input.items[family as usize]
    }

    fn slot(&self, item: Item) -> u32 {
        self.input.changes[item.change as usize]
    }

    /// Tells which blocks stay and which are to be built, and notes the work.
    fn plan_stretch(
        &self,
        blocks: Vec<Block>,
        touched: &[FamilyId],
        jobs: &mut Vec<Job<'a>>,
    ) -> Vec<Next> {
        let mut next = Vec::with_capacity(blocks.len() + 1);
        let mut touched = touched.iter().copied().peekable();
        let mut blocks = blocks.into_iter().peekable();
        loop {
            // Families before the next block that is theirs alone, or behind the last one.
            let before = match blocks.peek() {
                Some(Block::Large { family, .. }) => {
                    self.families_before(&mut touched, Some(*family))
                }
                Some(Block::Shared(_)) => Vec::new(),
                None => self.families_before(&mut touched, None),
            };
            self.plan_new(before, jobs, &mut next);
            let Some(block) = blocks.next() else { break };
            match block {
                Block::Large {
                    family,
                    header,
                    pages,
                } => {
                    if touched.next_if_eq(&family).is_some() {
                        next.push(self.plan_large(family, header, pages, jobs));
                    } else {
                        next.push(Next::Keep(Block::Large {
                            family,
                            header,
                            pages,
                        }));
                    }
                }
                Block::Shared(page) => {
                    let limit = blocks.peek().map(Block::first_family);
                    let mine = self.families_before(&mut touched, limit);
                    if mine.is_empty() {
                        next.push(Next::Keep(Block::Shared(page)));
                    } else if mine
                        .iter()
                        .any(|&family| self.items(family).len() > RUN_GROUPS)
                    {
                        self.plan_apart(&page, mine, jobs, &mut next);
                    } else {
                        jobs.push(Job::Shared {
                            old: Some(page),
                            touched: mine,
                        });
                        next.push(Next::Shared {
                            job: jobs.len() - 1,
                        });
                    }
                }
            }
        }
        next
    }

    /// A shared page in which a family grows large: it is taken apart, so that many threads can
    /// build the large ones.
    fn plan_apart(
        &self,
        page: &Page,
        touched: Vec<FamilyId>,
        jobs: &mut Vec<Job<'a>>,
        next: &mut Vec<Next>,
    ) {
        let mut touched = touched.into_iter().peekable();
        for part in page.parts() {
            let before = self.families_before(&mut touched, Some(part.family));
            self.plan_new(before, jobs, next);
            let mine: Vec<FamilyId> = touched.next_if_eq(&part.family).into_iter().collect();
            let mut builder = PageBuilder::default();
            if mine
                .iter()
                .any(|&family| self.items(family).len() > RUN_GROUPS)
            {
                builder.copy_run(&part, 0, part.entries.len());
                let pages = self.cut(part.family, &mut builder);
                next.push(self.plan_large(part.family, Page::header(&[]), pages, jobs));
                continue;
            }
            builder.copy_part(&part);
            let old = builder.take_page();
            if mine.is_empty() {
                next.push(Next::Keep(Block::Shared(old)));
            } else {
                jobs.push(Job::Shared {
                    old: Some(old),
                    touched: mine,
                });
                next.push(Next::Shared {
                    job: jobs.len() - 1,
                });
            }
        }
        self.plan_new(touched.collect(), jobs, next);
    }

    fn families_before(
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
    fn plan_new(&self, families: Vec<FamilyId>, jobs: &mut Vec<Job<'a>>, next: &mut Vec<Next>) {
        let mut small: Vec<FamilyId> = Vec::new();
        let flush = |small: &mut Vec<FamilyId>, jobs: &mut Vec<Job<'a>>, next: &mut Vec<Next>| {
            if !small.is_empty() {
                jobs.push(Job::Shared {
                    old: None,
                    touched: std::mem::take(small),
                });
                next.push(Next::Shared {
                    job: jobs.len() - 1,
                });
            }
        };
        let mut n_items = 0;
        for family in families {
            let items = self.items(family);
            if items.len() > RUN_GROUPS {
                flush(&mut small, jobs, next);
                let pages = self.plan_runs(family, items, jobs);
                next.push(Next::Large {
                    family,
                    header: None,
                    pages,
                });
                continue;
            }
            n_items += items.len();
            small.push(family);
            // Some 64 KiB of lines: many small families are many pieces of work.
            if n_items > 1000 {
                flush(&mut small, jobs, next);
                n_items = 0;
            }
        }
        flush(&mut small, jobs, next);
    }

    fn plan_runs(
        &self,
        family: FamilyId,
        items: &'a [Item],
        jobs: &mut Vec<Job<'a>>,
    ) -> Vec<NextPages> {
        let run = |items| {
            jobs.push(Job::Run {
                family,
                old: None,
                items,
            });
            NextPages::Build {
                job: jobs.len() - 1,
            }
        };
        items.chunks(RUN_GROUPS).map(run).collect()
    }

    fn plan_large(
        &self,
        family: FamilyId,
        header: Page,
        pages: Vec<Page>,
        jobs: &mut Vec<Job<'a>>,
    ) -> Next {
        let mut items = self.items(family);
        let mut next = Vec::with_capacity(pages.len());
        let n_pages = pages.len();
        for (index, page) in pages.into_iter().enumerate() {
            let last_slot = page.last_slot();
            let mut mine = self.n_up_to(items, last_slot);
            // New groups behind the last page: a few go into it, many get pages of their own.
            if index + 1 == n_pages && items.len() - mine <= RUN_GROUPS {
                mine = items.len();
            }
            let (here, rest) = items.split_at(mine);
            items = rest;
            if here.is_empty() {
                next.push(NextPages::Keep(page));
            } else {
                jobs.push(Job::Run {
                    family,
                    old: Some(page),
                    items: here,
                });
                next.push(NextPages::Build {
                    job: jobs.len() - 1,
                });
            }
        }
        next.extend(self.plan_runs(family, items, jobs));
        Next::Large {
            family,
            header: Some(header),
            pages: next,
        }
    }

    /// How many of `items` are of slots up to this one: looked for near the first ones, a page has
    /// few.
    fn n_up_to(&self, items: &[Item], slot: u32) -> usize {
        let is_before = |&item: &Item| self.slot(item) <= slot;
        let mut end = 1;
        while end < items.len() && is_before(&items[end]) {
            end *= 2;
        }
        let (start, end) = (end / 2, end.min(items.len()));
        start + items[start..end].partition_point(is_before)
    }

    /// Bytes that a job reads and writes, roughly.
    fn weight(&self, job: &Job<'_>) -> usize {
        const LINE: usize = 100;
        match job {
            Job::Shared { old, touched } => {
                old.as_ref().map_or(0, |page| page.len())
                    + touched
                        .iter()
                        .map(|&id| self.items(id).len() * LINE)
                        .sum::<usize>()
            }
            Job::Run { old, items, .. } => {
                old.as_ref().map_or(0, |page| page.len()) + items.len() * LINE
            }
        }
    }

    /// The first group that a job looks at.
    fn first_slot(&self, job: &Job<'_>) -> u32 {
        match job {
            Job::Shared { .. } => 0,
            Job::Run { items, .. } => items.first().map_or(0, |&item| self.slot(item)),
        }
    }

    fn build(&self, job: &Job<'_>) -> Built {
        match job {
            Job::Shared { old, touched } => Built::Blocks(self.build_shared(old.as_ref(), touched)),
            Job::Run { family, old, items } => BUILDER.with_borrow_mut(|builder| {
                let mut pages = Vec::new();
                let none = PartRef::none(*family);
                let part = old
                    .as_ref()
                    .and_then(|page| page.parts().next())
                    .unwrap_or(none);
                self.merge(&part, items, builder, &mut pages);
                pages.append(&mut self.cut(*family, builder));
                builder.shrink_to(BUILDER_BYTES);
                Built::Pages(pages)
            }),
        }
    }

    /// Entries of a large family as pages: one unless it is above double the target.
    fn cut(&self, family: FamilyId, builder: &mut PageBuilder) -> Vec<Page> {
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
        old: &PartRef<'_>,
        items: &[Item],
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
            if item.source != Item::REMOVED {
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

    fn render(&self, item: Item, out: &mut Vec<u8>) {
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

    fn build_shared(&self, old: Option<&Page>, touched: &[FamilyId]) -> Vec<Block> {
        let mut building = Building::default();
        let mut touched = touched.iter().copied().peekable();
        for part in old.into_iter().flat_map(Page::parts) {
            for family in self.families_before(&mut touched, Some(part.family)) {
                self.build_part(&PartRef::none(family), &mut building);
            }
            if touched.next_if_eq(&part.family).is_some() {
                self.build_part(&part, &mut building);
            } else {
                building.shared.copy_part(&part);
            }
        }
        for family in touched {
            self.build_part(&PartRef::none(family), &mut building);
        }
        self.end_shared(&mut building);
        building.blocks
    }

    /// Builds a family of a shared page; as a block of its own if it is far too large for one.
    fn build_part(&self, old: &PartRef<'_>, building: &mut Building) {
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
                .append_part(family, &building.header, &building.body);
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
        for part in page.parts() {
            let len = part.whole().len();
            if shared.len() + len > target {
                flush(&mut shared, &mut blocks);
            }
            if len <= target || part.entries.len() == 1 {
                shared.copy_part(&part);
                continue;
            }
            let mut run = PageBuilder::default();
            run.copy_run(&part, 0, part.entries.len());
            let header = self.header_page(part.family, run.len());
            let pages = run.take_pages_of(part.family, target);
            blocks.push(Block::Large {
                family: part.family,
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

    fn header_page(&self, family: FamilyId, metrics_len: usize) -> Page {
        let mut header = Vec::new();
        self.write_header(family, metrics_len, &mut header);
        Page::header(&header)
    }

    /// Puts what was built into its places and joins neighbours that have become small.
    fn finish_stretch(&self, next: Vec<Next>, built: &mut [Option<Built>]) -> Finished {
        let mut finished = Finished {
            blocks: Vec::with_capacity(next.len()),
            n_built: 0,
        };
        for next in next {
            match next {
                Next::Keep(block) => self.add_block(&mut finished.blocks, block),
                Next::Shared { job } => {
                    let Some(Built::Blocks(blocks)) = built[job].take() else {
                        unreachable!("a job builds its kind, once")
                    };
                    finished.n_built += blocks.iter().map(Block::n_pages).sum::<usize>();
                    blocks
                        .into_iter()
                        .for_each(|block| self.add_block(&mut finished.blocks, block));
                }
                Next::Large {
                    family,
                    header,
                    pages,
                } => {
                    let (pages, n_built) = self.finish_pages(pages, built);
                    finished.n_built += n_built;
                    if let Some(block) = self.finish_large(family, header, pages) {
                        self.add_block(&mut finished.blocks, block);
                    }
                }
            }
        }
        finished
    }

    fn add_block(&self, blocks: &mut Vec<Block>, block: Block) {
        if let (Some(Block::Shared(last)), Block::Shared(page)) = (blocks.last_mut(), &block)
            && self.should_join(last.len(), page.len())
        {
            let mut both = PageBuilder::default();
            last.parts()
                .chain(page.parts())
                .for_each(|part| both.copy_part(&part));
            *last = both.take_page();
        } else {
            blocks.push(block);
        }
    }

    fn should_join(&self, a: usize, b: usize) -> bool {
        a + b <= self.sizes.target && a.min(b) < self.sizes.target / 2
    }

    fn finish_pages(
        &self,
        next: Vec<NextPages>,
        built: &mut [Option<Built>],
    ) -> (Vec<Page>, usize) {
        let (mut pages, mut n_built): (Vec<Page>, usize) = (Vec::with_capacity(next.len()), 0);
        let mut add = |page: Page| match pages.last_mut() {
            Some(last) if self.should_join(last.len(), page.len()) => {
                *last = last.joined_with(&page)
            }
            _ => pages.push(page),
        };
        for next in next {
            match next {
                NextPages::Keep(page) => add(page),
                NextPages::Build { job } => {
                    let Some(Built::Pages(new)) = built[job].take() else {
                        unreachable!("a job builds its kind, once")
                    };
                    n_built += new.len();
                    new.into_iter().for_each(&mut add);
                }
            }
        }
        (pages, n_built)
    }

    /// A large family with these pages: nothing without any, a shared page if it has become small.
    fn finish_large(
        &self,
        family: FamilyId,
        header: Option<Page>,
        pages: Vec<Page>,
    ) -> Option<Block> {
        if pages.is_empty() {
            return None;
        }
        let len: usize = pages.iter().map(|page| page.len()).sum();
        let fresh = self.header_page(family, len);
        if pages.len() == 1 && len < self.sizes.target / 2 {
            let mut builder = PageBuilder::default();
            let mut body = PageBuilder::default();
            let part = pages[0]
                .parts()
                .next()
                .expect("a page of a large family has one part");
            body.copy_run(&part, 0, part.entries.len());
            builder.append_part(family, fresh.text(), &body);
            return Some(Block::Shared(builder.take_page()));
        }
        // An unchanged header stays in its segment.
        let header = header
            .filter(|old| old.text() == fresh.text())
            .unwrap_or(fresh);
        Some(Block::Large {
            family,
            header,
            pages,
        })
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

/// The threads that build pages when much has changed. They live as long as the assembler, so that
/// what they allocate with, and compress with, is made once.
pub(super) struct Builders(Option<rayon::ThreadPool>);

impl Builders {
    /// So many threads; none if the system gives none, or one is asked for: then the caller's does
    /// the work.
    pub fn new(n_threads: usize) -> Self {
        let name = |_| "page-builder".to_owned();
        let pool = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .thread_name(name)
                .build()
                .ok()
        };
        Self((n_threads > 1).then(pool).flatten())
    }

    /// Has each of the threads, and the calling one, free what it keeps to work with, and then call
    /// `release_memory`: an allocator that has blocks of one size side by side cannot give back the
    /// others' memory as long as one is in use.
    pub fn tidy(&self, release_memory: fn()) {
        let tidy = || {
            free_kept();
            release_memory();
        };
        if let Some(pool) = &self.0 {
            pool.broadcast(|_| tidy());
        }
        tidy();
    }

    /// Drops all of these; on the threads if there are many, while the caller goes on.
    pub fn drop_aside<T: Send + 'static>(&self, mut items: Vec<T>) {
        let Some(pool) = &self.0 else { return };
        while items.len() >= DROPPED_MANY {
            let some = items.split_off(items.len() - DROPPED_MANY);
            pool.spawn(move || drop(some));
        }
    }

    /// `f` of every item, in order, on all threads if `weight` (bytes of work) is worth it. Each
    /// thread takes neighbours in the order of `place`: items that look at the same groups find
    /// them in the cache.
    pub fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        weight: usize,
        place: impl Fn(&T) -> u32,
        f: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        let pool = self.0.as_ref().filter(|_| weight >= PARALLEL_BYTES);
        let turn = (TURN_BYTES * items.len() / weight.max(1)).max(1);
        let f = |(nth, item): (usize, &T)| {
            if nth.is_multiple_of(turn) {
                give_way();
            }
            f(item)
        };
        if items.is_sorted_by_key(&place) {
            return match pool {
                Some(pool) => pool.install(|| items.par_iter().enumerate().map(&f).collect()),
                None => items.iter().enumerate().map(f).collect(),
            };
        }
        let mut order: Vec<(u32, usize)> = items.iter().map(place).zip(0..).collect();
        order.sort_unstable();
        let of_place =
            |(nth, &(_, index)): (usize, &(u32, usize))| (index, f((nth, &items[index])));
        let mut done: Vec<(usize, R)> = match pool {
            Some(pool) => pool.install(|| order.par_iter().enumerate().map(of_place).collect()),
            None => order.iter().enumerate().map(of_place).collect(),
        };
        done.sort_unstable_by_key(|&(index, _)| index);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
