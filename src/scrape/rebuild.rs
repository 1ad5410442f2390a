//! Rebuilds the blocks of the stretches that a round changes.
//!
//! Three steps: *plan* which blocks stay and which pages have to be built, as a list of tasks for
//! all stretches; *run* the tasks, on all threads if there is much to do; *assemble* the blocks of
//! each stretch from what stayed and what was built, joining neighbours that have become small.
//!
//! Pages that no changed family touches are moved, never copied.

use super::block::{Block, push_or_join};
use super::builders::Builders;
use super::changes::{LineChange, RoundChanges};
use super::page::{FamilyId, Page, PageBuilder};
use super::page_writer::PageWriter;
use super::sizes::PageSizes;

/// How many groups of a large family one task builds new pages for. A family with more changes than
/// this becomes a large family at once, so that several threads can build it.
const TASK_GROUPS_MAX: usize = 1024;
/// Lines of small new families that are built as one task: about 64 KiB of text. Without this limit
/// many small families would be a single task for a single thread.
const SHARED_TASK_LINES_MAX: usize = 1000;
/// Estimated bytes of one line, to weigh tasks.
const LINE_BYTES: usize = 100;

/// Pages to be built by one thread.
enum PageTask<'a> {
    /// Builds a shared page, or the blocks that it grows into.
    SharedPage {
        old: Option<Page>,
        families: Vec<FamilyId>,
    },
    /// Builds pages of a large family from one old page, or from none.
    LargePages {
        family: FamilyId,
        old: Option<Page>,
        lines: &'a [LineChange],
    },
}

impl PageTask<'_> {
    fn into_old(self) -> Option<Page> {
        match self {
            Self::SharedPage { old, .. } | Self::LargePages { old, .. } => old,
        }
    }
}

/// What a [`PageTask`] has built.
enum TaskOutput {
    /// By [`PageTask::SharedPage`].
    Blocks(Vec<Block>),
    /// By [`PageTask::LargePages`].
    Pages(Vec<Page>),
}

/// A block of the next exposition. `task` is the index, in [`Rebuild::tasks`], of the task that
/// builds it.
enum PlannedBlock {
    Keep(Block),
    Shared {
        task: usize,
    },
    Large {
        family: FamilyId,
        header: Option<Page>,
        pages: Vec<PlannedPages>,
    },
}

/// A page of a large family that stays, or the pages that a task builds.
enum PlannedPages {
    Keep(Page),
    Build { task: usize },
}

/// The blocks of a stretch after a round.
pub(super) struct RebuiltStretch {
    /// The index of the stretch in the view.
    pub stretch: usize,
    pub blocks: Vec<Block>,
    /// How many pages were built.
    pub n_built: usize,
}

/// The work of one round on one view.
pub(super) struct Rebuild<'a> {
    changes: &'a RoundChanges<'a>,
    sizes: PageSizes,
    writer: PageWriter<'a>,
    tasks: Vec<PageTask<'a>>,
    /// For each stretch that changes: its index in the view, and its planned blocks.
    planned: Vec<(usize, Vec<PlannedBlock>)>,
}

impl<'a> Rebuild<'a> {
    /// Nothing planned yet.
    pub fn new(changes: &'a RoundChanges<'a>, sizes: PageSizes, writer: PageWriter<'a>) -> Self {
        Self {
            changes,
            sizes,
            writer,
            tasks: Vec::new(),
            planned: Vec::new(),
        }
    }

    /// Plans which of the `blocks` of a stretch stay and which pages are built. `families` are the
    /// changed families of this stretch, in the order of their names.
    pub fn plan_stretch(&mut self, stretch: usize, blocks: Vec<Block>, families: &[FamilyId]) {
        let mut planned = Vec::with_capacity(blocks.len() + 1);
        let mut families = families.iter().copied().peekable();
        let mut blocks = blocks.into_iter().peekable();
        loop {
            // The new families that get pages of their own: those before a large family, and those
            // behind the last block. New families before a shared page become part of that page.
            let before = match blocks.peek() {
                Some(Block::Large { family, .. }) => {
                    self.changes.families_before(&mut families, Some(*family))
                }
                Some(Block::Shared(_)) => Vec::new(),
                None => self.changes.families_before(&mut families, None),
            };
            self.plan_new(before, &mut planned);
            let Some(block) = blocks.next() else { break };
            match block {
                Block::Large {
                    family,
                    header,
                    pages,
                } => {
                    if families.next_if_eq(&family).is_some() {
                        let large = self.plan_large(family, header, pages);
                        planned.push(large);
                    } else {
                        planned.push(PlannedBlock::Keep(Block::Large {
                            family,
                            header,
                            pages,
                        }));
                    }
                }
                Block::Shared(page) => {
                    let limit = blocks.peek().map(Block::first_family);
                    let of_page = self.changes.families_before(&mut families, limit);
                    if of_page.is_empty() {
                        planned.push(PlannedBlock::Keep(Block::Shared(page)));
                    } else if of_page.iter().any(|&family| self.grows_large(family)) {
                        self.plan_sections(&page, of_page, &mut planned);
                    } else {
                        planned.push(self.plan_shared(Some(page), of_page));
                    }
                }
            }
        }
        self.planned.push((stretch, planned));
    }

    /// Whether enough lines of a family change for several threads to build it.
    fn grows_large(&self, family: FamilyId) -> bool {
        self.changes.lines_of(family).len() > TASK_GROUPS_MAX
    }

    fn add_task(&mut self, task: PageTask<'a>) -> usize {
        self.tasks.push(task);
        self.tasks.len() - 1
    }

    fn plan_shared(&mut self, old: Option<Page>, families: Vec<FamilyId>) -> PlannedBlock {
        PlannedBlock::Shared {
            task: self.add_task(PageTask::SharedPage { old, families }),
        }
    }

    /// Divides a shared page into its families, because one of them grows large: then several
    /// threads can build that family.
    fn plan_sections(
        &mut self,
        page: &Page,
        families: Vec<FamilyId>,
        planned: &mut Vec<PlannedBlock>,
    ) {
        let mut families = families.into_iter().peekable();
        for section in page.sections() {
            let before = self
                .changes
                .families_before(&mut families, Some(section.family));
            self.plan_new(before, planned);
            let changed = families.next_if_eq(&section.family);
            let mut builder = PageBuilder::default();
            if changed.is_some_and(|family| self.grows_large(family)) {
                builder.copy_run(&section, 0, section.entries.len());
                let pages = self.writer.split_builder(section.family, &mut builder);
                planned.push(self.plan_large(section.family, Page::header(&[]), pages));
                continue;
            }
            builder.copy_section(&section);
            let old = builder.take_page();
            planned.push(match changed {
                None => PlannedBlock::Keep(Block::Shared(old)),
                Some(family) => self.plan_shared(Some(old), vec![family]),
            });
        }
        self.plan_new(families.collect(), planned);
    }

    /// Plans families that have no block yet.
    fn plan_new(&mut self, families: Vec<FamilyId>, planned: &mut Vec<PlannedBlock>) {
        let (mut small, mut n_lines) = (Vec::new(), 0);
        for family in families {
            let lines = self.changes.lines_of(family);
            if self.grows_large(family) {
                if !small.is_empty() {
                    planned.push(self.plan_shared(None, std::mem::take(&mut small)));
                }
                let pages = self.plan_new_pages(family, lines);
                planned.push(PlannedBlock::Large {
                    family,
                    header: None,
                    pages,
                });
                continue;
            }
            n_lines += lines.len();
            small.push(family);
            if n_lines > SHARED_TASK_LINES_MAX {
                planned.push(self.plan_shared(None, std::mem::take(&mut small)));
                n_lines = 0;
            }
        }
        if !small.is_empty() {
            planned.push(self.plan_shared(None, small));
        }
    }

    /// Plans pages of a large family for groups that come after its last page.
    fn plan_new_pages(&mut self, family: FamilyId, lines: &'a [LineChange]) -> Vec<PlannedPages> {
        let build = |lines| PlannedPages::Build {
            task: self.add_task(PageTask::LargePages {
                family,
                old: None,
                lines,
            }),
        };
        lines.chunks(TASK_GROUPS_MAX).map(build).collect()
    }

    fn plan_large(&mut self, family: FamilyId, header: Page, pages: Vec<Page>) -> PlannedBlock {
        let mut lines = self.changes.lines_of(family);
        let mut planned = Vec::with_capacity(pages.len());
        let n_pages = pages.len();
        for (index, page) in pages.into_iter().enumerate() {
            let mut n_lines = self.n_lines_up_to(lines, page.last_slot());
            // New groups behind the last page: a few go into it, many get new pages.
            if index + 1 == n_pages && lines.len() - n_lines <= TASK_GROUPS_MAX {
                n_lines = lines.len();
            }
            let (of_page, rest) = lines.split_at(n_lines);
            lines = rest;
            planned.push(if of_page.is_empty() {
                PlannedPages::Keep(page)
            } else {
                PlannedPages::Build {
                    task: self.add_task(PageTask::LargePages {
                        family,
                        old: Some(page),
                        lines: of_page,
                    }),
                }
            });
        }
        planned.extend(self.plan_new_pages(family, lines));
        PlannedBlock::Large {
            family,
            header: Some(header),
            pages: planned,
        }
    }

    /// How many of `lines` are of slots up to `slot`. Searches from the front in growing steps,
    /// because few of the lines belong to one page.
    fn n_lines_up_to(&self, lines: &[LineChange], slot: u32) -> usize {
        let is_before = |&line: &LineChange| self.changes.slot_of(line) <= slot;
        let mut end = 1;
        while end < lines.len() && is_before(&lines[end]) {
            end *= 2;
        }
        let (start, end) = (end / 2, end.min(lines.len()));
        start + lines[start..end].partition_point(is_before)
    }

    /// Builds what was planned, and returns the blocks of every stretch that was planned.
    pub fn run(mut self, builders: &Builders) -> Vec<RebuiltStretch> {
        let tasks = std::mem::take(&mut self.tasks);
        let work_bytes = tasks.iter().map(|task| self.work_bytes(task)).sum();
        let mut outputs: Vec<Option<TaskOutput>> = builders
            .map(
                &tasks,
                work_bytes,
                |task| self.first_slot(task),
                |task| self.run_task(task),
            )
            .into_iter()
            .map(Some)
            .collect();
        builders.drop_on_pool(tasks.into_iter().filter_map(PageTask::into_old).collect());
        let planned = std::mem::take(&mut self.planned);
        let rebuilt = planned
            .into_iter()
            .map(|(stretch, planned)| self.assemble_stretch(stretch, planned, &mut outputs))
            .collect();
        builders.drop_on_pool(self.writer.keys);
        rebuilt
    }

    /// Bytes that a task reads and writes, estimated.
    fn work_bytes(&self, task: &PageTask<'_>) -> usize {
        let (old, n_lines) = match task {
            PageTask::SharedPage { old, families } => {
                let n_lines = |&family: &FamilyId| self.changes.lines_of(family).len();
                (old, families.iter().map(n_lines).sum())
            }
            PageTask::LargePages { old, lines, .. } => (old, lines.len()),
        };
        old.as_ref().map_or(0, |page| page.len()) + n_lines * LINE_BYTES
    }

    /// The slot of the first group that a task reads, by which [`Builders::map`] orders the tasks;
    /// 0 for a shared page, which has groups of many slots.
    fn first_slot(&self, task: &PageTask<'_>) -> u32 {
        match task {
            PageTask::SharedPage { .. } => 0,
            PageTask::LargePages { lines, .. } => {
                lines.first().map_or(0, |&line| self.changes.slot_of(line))
            }
        }
    }

    fn run_task(&self, task: &PageTask<'_>) -> TaskOutput {
        match task {
            PageTask::SharedPage { old, families } => {
                TaskOutput::Blocks(self.writer.build_shared_page(old.as_ref(), families))
            }
            PageTask::LargePages { family, old, lines } => {
                TaskOutput::Pages(self.writer.build_large_pages(*family, old.as_ref(), lines))
            }
        }
    }

    /// Puts the built blocks and pages in the places that were planned for them, and joins
    /// neighbours that have become small.
    fn assemble_stretch(
        &self,
        stretch: usize,
        planned: Vec<PlannedBlock>,
        outputs: &mut [Option<TaskOutput>],
    ) -> RebuiltStretch {
        let mut rebuilt = RebuiltStretch {
            stretch,
            blocks: Vec::with_capacity(planned.len()),
            n_built: 0,
        };
        for planned in planned {
            match planned {
                PlannedBlock::Keep(block) => push_or_join(&mut rebuilt.blocks, block, self.sizes),
                PlannedBlock::Shared { task } => {
                    let Some(TaskOutput::Blocks(blocks)) = outputs[task].take() else {
                        unreachable!("each output is used once, where its task was planned")
                    };
                    for block in blocks {
                        rebuilt.n_built += block.n_pages();
                        push_or_join(&mut rebuilt.blocks, block, self.sizes);
                    }
                }
                PlannedBlock::Large {
                    family,
                    header,
                    pages,
                } => {
                    let (pages, n_built) = self.assemble_pages(pages, outputs);
                    rebuilt.n_built += n_built;
                    if let Some(block) = self.assemble_large(family, header, pages) {
                        push_or_join(&mut rebuilt.blocks, block, self.sizes);
                    }
                }
            }
        }
        rebuilt
    }

    /// The pages of a large family, and how many of them were built.
    fn assemble_pages(
        &self,
        planned: Vec<PlannedPages>,
        outputs: &mut [Option<TaskOutput>],
    ) -> (Vec<Page>, usize) {
        let (mut pages, mut n_built): (Vec<Page>, usize) = (Vec::with_capacity(planned.len()), 0);
        let mut add = |page: Page| match pages.last_mut() {
            Some(last) if self.sizes.should_join(last.len(), page.len()) => {
                *last = last.joined_with(&page)
            }
            _ => pages.push(page),
        };
        for planned in planned {
            match planned {
                PlannedPages::Keep(page) => add(page),
                PlannedPages::Build { task } => {
                    let Some(TaskOutput::Pages(built)) = outputs[task].take() else {
                        unreachable!("each output is used once, where its task was planned")
                    };
                    n_built += built.len();
                    built.into_iter().for_each(&mut add);
                }
            }
        }
        (pages, n_built)
    }

    /// The block of a family with these pages: none if no page is left, a shared page if the family
    /// has become small.
    fn assemble_large(
        &self,
        family: FamilyId,
        header: Option<Page>,
        pages: Vec<Page>,
    ) -> Option<Block> {
        if pages.is_empty() {
            return None;
        }
        let len: usize = pages.iter().map(|page| page.len()).sum();
        let new_header = self.writer.header_page(family, len);
        if pages.len() == 1 && self.sizes.is_small(len) {
            let mut builder = PageBuilder::default();
            let mut body = PageBuilder::default();
            let section = pages[0]
                .sections()
                .next()
                .expect("a page of a large family has one section");
            body.copy_run(&section, 0, section.entries.len());
            builder.append_section(family, new_header.text(), &body);
            return Some(Block::Shared(builder.take_page()));
        }
        // An unchanged header page stays, so that its segment can stay.
        let header = header
            .filter(|old| old.text() == new_header.text())
            .unwrap_or(new_header);
        Some(Block::Large {
            family,
            header,
            pages,
        })
    }
}
