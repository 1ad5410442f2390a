//! Which blocks of a stretch stay, which are built anew, and how they are put together.

use super::block::Block;
use super::changes::LineChange;
use super::page::{FamilyId, Page, PageBuilder};
use super::page_writer::Context;

/// Groups of a family in one piece of work where a family is built from nothing.
const RUN_GROUPS: usize = 1024;

pub(super) enum Job<'a> {
    Shared {
        old: Option<Page>,
        touched: Vec<FamilyId>,
    },
    Run {
        family: FamilyId,
        old: Option<Page>,
        items: &'a [LineChange],
    },
}

impl Job<'_> {
    pub fn into_old(self) -> Option<Page> {
        match self {
            Self::Shared { old, .. } | Self::Run { old, .. } => old,
        }
    }
}

pub(super) enum Built {
    Blocks(Vec<Block>),
    Pages(Vec<Page>),
}

/// A block as it will be, some of it still to be built.
pub(super) enum Next {
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

pub(super) enum NextPages {
    Keep(Page),
    Build { job: usize },
}

pub(super) struct Finished {
    pub blocks: Vec<Block>,
    pub n_built: usize,
}

impl<'a> Context<'a> {
    /// Tells which blocks stay and which are to be built, and notes the work.
    pub fn plan_stretch(
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
        for section in page.sections() {
            let before = self.families_before(&mut touched, Some(section.family));
            self.plan_new(before, jobs, next);
            let mine: Vec<FamilyId> = touched.next_if_eq(&section.family).into_iter().collect();
            let mut builder = PageBuilder::default();
            if mine
                .iter()
                .any(|&family| self.items(family).len() > RUN_GROUPS)
            {
                builder.copy_run(&section, 0, section.entries.len());
                let pages = self.cut(section.family, &mut builder);
                next.push(self.plan_large(section.family, Page::header(&[]), pages, jobs));
                continue;
            }
            builder.copy_section(&section);
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
        items: &'a [LineChange],
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
    fn n_up_to(&self, items: &[LineChange], slot: u32) -> usize {
        let is_before = |&item: &LineChange| self.slot(item) <= slot;
        let mut end = 1;
        while end < items.len() && is_before(&items[end]) {
            end *= 2;
        }
        let (start, end) = (end / 2, end.min(items.len()));
        start + items[start..end].partition_point(is_before)
    }

    /// Bytes that a job reads and writes, roughly.
    pub fn weight(&self, job: &Job<'_>) -> usize {
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
    pub fn first_slot(&self, job: &Job<'_>) -> u32 {
        match job {
            Job::Shared { .. } => 0,
            Job::Run { items, .. } => items.first().map_or(0, |&item| self.slot(item)),
        }
    }

    pub fn build(&self, job: &Job<'_>) -> Built {
        match job {
            Job::Shared { old, touched } => Built::Blocks(self.build_shared(old.as_ref(), touched)),
            Job::Run { family, old, items } => {
                Built::Pages(self.build_run(*family, old.as_ref(), items))
            }
        }
    }

    /// Puts what was built into its places and joins neighbours that have become small.
    pub fn finish_stretch(&self, next: Vec<Next>, built: &mut [Option<Built>]) -> Finished {
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
            last.sections()
                .chain(page.sections())
                .for_each(|section| both.copy_section(&section));
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
            let section = pages[0]
                .sections()
                .next()
                .expect("a page of a large family has one section");
            body.copy_run(&section, 0, section.entries.len());
            builder.append_section(family, fresh.text(), &body);
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
