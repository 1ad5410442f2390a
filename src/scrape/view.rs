//! The pages of one format, and how a round changes them.
//!
//! A view is cut into *stretches* by the gateway's own families, whose numbers change with every
//! scrape and which are spliced in between. A stretch is a row of *blocks* in the order of family
//! names: a shared page of whole small families, or a large family with a page for its header and
//! as many as it needs for its groups.
//!
//! Sizes: a page is about [`Sizes::target`] bytes. Above double it is split; neighbours that are
//! together below it, one of them below half, become one. What is being built is cut whenever it is
//! 256 pages long.

use super::block::Block;
use super::builders::Builders;
use super::catalog::{Catalog, PlanId};
use super::changes::RoundChanges;
use super::format::{Format, Template};
use super::gzip::Effort;
use super::page_writer::Context;
use super::rebuild::{Built, Job, Next};
use super::segment::Stretch;
use super::sizes::Sizes;
use std::sync::Arc;

/// What making a key's form weighs, in bytes of work.
const KEY_WEIGHT: usize = 50;

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
    pub fn apply(&mut self, input: &RoundChanges<'_>, sizes: Sizes, builders: &Builders) -> usize {
        self.make_templates(input);
        let key = |slot: &u32| {
            input
                .group(*slot)
                .map(|group| self.format.key(group.snapshot.fixed.key.labels()))
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

    fn make_templates(&mut self, input: &RoundChanges<'_>) {
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
                .sections()
                .next()
                .map_or(0, |section| section.whole().len() as u64),
            Block::Large { pages, .. } => pages.iter().map(|page| page.len() as u64).sum(),
        }
    }
}
