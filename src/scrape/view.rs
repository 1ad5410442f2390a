//! A view: all pages of one format, and how a round changes them.
//!
//! The gateway's own families, whose numbers change with every scrape, are not part of a view. They
//! are spliced in when a document is sent (see [`super::document`]), and cut the view into
//! *stretches*: what lies before the first own family, between each two of them, and behind the
//! last one. A stretch is a list of [blocks](Block) in the order of family names.
//!
//! A round changes a view in two steps. [`View::update_pages`] builds the pages that changed.
//! [`View::update_segments`] packs, and compresses if that is wanted, the pages into the segments
//! that scrapes send; only then do scrapes see the change.

use super::block::Block;
use super::builders::Builders;
use super::catalog::Catalog;
use super::changes::RoundChanges;
use super::format::{Format, Template};
use super::gzip::Effort;
use super::page_writer::PageWriter;
use super::rebuild::Rebuild;
use super::render_plan::RenderPlanId;
use super::segment::Stretch;
use super::sizes::PageSizes;
use std::sync::Arc;

/// Cost of rendering one grouping key, as bytes of work for [`Builders::map`].
const KEY_WORK_BYTES: usize = 50;

/// A stretch as it is built, and as scrapes see it.
#[derive(Default)]
struct StretchState {
    blocks: Vec<Block>,
    published: Arc<Stretch>,
    /// `blocks` have changed since `published` was made.
    is_changed: bool,
}

/// All pages of one format.
pub(super) struct View {
    pub format: Format,
    /// Whether the pages are kept compressed as well.
    pub gzip: bool,
    /// By id of the render plan, then by source of the plan. None for a plan that no changed group
    /// had since the view was made.
    templates: Vec<Option<Box<[Template]>>>,
    /// One more than the gateway has own families.
    stretches: Vec<StretchState>,
}

impl View {
    /// An empty view, cut by `n_own` families of the gateway.
    pub fn new(format: Format, n_own: usize) -> Self {
        let stretches = (0..=n_own).map(|_| StretchState::default()).collect();
        Self {
            format,
            gzip: false,
            templates: Vec::new(),
            stretches,
        }
    }

    /// The stretches as of the last [`View::update_segments`].
    pub fn stretches(&self) -> impl ExactSizeIterator<Item = &Arc<Stretch>> {
        self.stretches.iter().map(|stretch| &stretch.published)
    }

    /// The stretches as of the last [`View::update_pages`], without compressed forms.
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
                stretch.own_family_len(catalog),
            ))
        };
        self.stretches.iter().map(plain).collect()
    }

    /// How many pages scrapes see.
    pub fn n_pages(&self) -> usize {
        self.stretches
            .iter()
            .flat_map(|stretch| &stretch.published.segments)
            .map(|segment| segment.texts.len())
            .sum()
    }

    /// Whether the view is to be kept compressed, but a whole stretch has no compressed form yet.
    pub fn lacks_gzip(&self) -> bool {
        self.stretches
            .iter()
            .any(|stretch| stretch.lacks_gzip(self.gzip))
    }

    /// How many pages were compressed with [`Effort::Fast`].
    pub fn n_fast_pages(&self) -> usize {
        self.stretches
            .iter()
            .map(|stretch| stretch.published.n_fast_pages)
            .sum()
    }

    /// Compresses about `n_pages` of those again, with [`Effort::Usual`].
    pub fn recompress(&mut self, n_pages: usize, builders: &Builders) {
        let mut n_left = n_pages;
        for stretch in self
            .stretches
            .iter_mut()
            .filter(|stretch| stretch.published.n_fast_pages > 0)
        {
            if n_left == 0 {
                return;
            }
            let before = stretch.published.n_fast_pages;
            stretch.published = Arc::new(stretch.published.recompressed(n_left, builders));
            n_left = n_left.saturating_sub(before - stretch.published.n_fast_pages);
        }
    }

    /// Frees the templates of render plans that are gone. Their ids may be given to other plans
    /// afterwards.
    pub fn forget_plans(&mut self, gone: &[RenderPlanId]) {
        for &id in gone {
            if let Some(template) = self.templates.get_mut(id as usize) {
                *template = None;
            }
        }
    }

    /// Stops keeping the pages compressed.
    pub fn drop_gzip(&mut self) {
        self.gzip = false;
        for stretch in &mut self.stretches {
            stretch.published = Arc::new(stretch.published.without_gzip());
        }
    }

    /// Builds the pages that `changes` touch, and returns how many were built. Scrapes see them
    /// after [`View::update_segments`].
    pub fn update_pages(
        &mut self,
        changes: &RoundChanges<'_>,
        sizes: PageSizes,
        builders: &Builders,
    ) -> usize {
        self.make_templates(changes);
        let render_key = |slot: &u32| {
            changes
                .group(*slot)
                .map(|group| self.format.render_key(group.snapshot.key().labels()))
        };
        let keys = builders.map(
            changes.slots,
            changes.slots.len() * KEY_WORK_BYTES,
            |slot| *slot,
            render_key,
        );
        let writer = PageWriter {
            changes,
            sizes,
            format: self.format,
            templates: &self.templates,
            keys,
        };
        let mut rebuild = Rebuild::new(changes, sizes, writer);
        let stretch_of = |family| changes.catalog.family(family).stretch;
        for families in changes
            .families
            .chunk_by(|&a, &b| stretch_of(a) == stretch_of(b))
        {
            let stretch = stretch_of(families[0]);
            let blocks = std::mem::take(&mut self.stretches[stretch].blocks);
            rebuild.plan_stretch(stretch, blocks, families);
        }
        let mut n_built = 0;
        for rebuilt in rebuild.run(builders) {
            n_built += rebuilt.n_built;
            let stretch = &mut self.stretches[rebuilt.stretch];
            stretch.blocks = rebuilt.blocks;
            stretch.is_changed = true;
        }
        n_built
    }

    /// Makes the templates of the plans that changed groups have, where they are missing.
    fn make_templates(&mut self, changes: &RoundChanges<'_>) {
        self.templates
            .resize_with(changes.catalog.n_plan_ids(), || None);
        for plan_id in changes
            .slots
            .iter()
            .filter_map(|slot| changes.group(*slot))
            .map(|group| group.plan)
        {
            let template = &mut self.templates[plan_id as usize];
            if template.is_some() {
                continue;
            }
            let plan = changes.catalog.plan(plan_id);
            let names: Vec<&str> = plan.layout.key_names().iter().map(|name| &**name).collect();
            *template = Some(
                plan.sources
                    .iter()
                    .map(|(id, source)| {
                        let family = changes.catalog.family_of_source(plan, source);
                        let part = changes.catalog.family(*id).part;
                        self.format.template(family, part, &names, true)
                    })
                    .collect(),
            );
        }
    }

    /// Makes the segments of the stretches that changed, and compresses them with `effort` if the
    /// view is kept compressed.
    pub fn update_segments(
        &mut self,
        catalog: &Catalog,
        effort: Effort,
        sizes: PageSizes,
        builders: &Builders,
    ) {
        let gzip = self.gzip;
        let stale = self.stretches.iter_mut();
        let mut stale: Vec<&mut StretchState> = stale
            .filter(|stretch| stretch.lacks_gzip(gzip) || stretch.is_changed)
            .collect();
        let plan = |stretch: &mut &mut StretchState| {
            let own_family_len = stretch.own_family_len(catalog);
            stretch.is_changed = false;
            let pages = stretch.blocks.iter_mut().flat_map(Block::pages_mut);
            (
                stretch.published.plan_segments(pages, sizes, gzip),
                own_family_len,
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
    /// Whether what is published has no compressed form, although the view keeps them (`gzip`).
    fn lacks_gzip(&self, gzip: bool) -> bool {
        gzip && self.published.len > 0 && self.published.deflated_len == 0
    }

    /// See [`Stretch::own_family_len`].
    fn own_family_len(&self, catalog: &Catalog) -> u64 {
        match self.blocks.first() {
            Some(block) if catalog.family(block.first_family()).is_own => block.first_family_len(),
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
