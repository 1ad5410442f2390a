//! Rounds: from the snapshots that changed to the next exposition.
//!
//! One assembler owns the bookkeeping. It takes the marked slots (a cut, see `store`), finds for
//! each what it was and what it is, and tells each view, family by family, which groups have new
//! lines. Cost: proportional to what changed and to the pages that hold it, never to the store;
//! only the list of pages is copied as a whole.
//!
//! Invariant: `groups` is what the views show. A round changes both or neither, as far as a scrape
//! can see: plain text is published when the pages of all views are done, and the exposition when
//! all that is sent compressed is.

use super::builders::Builders;
use super::catalog::{Catalog, HelpConflict};
use super::changes::{LineChange, LineChanges};
use super::exposed_groups::ExposedGroups;
use super::exposition::{Exposition, ViewPages};
use super::format::Format;
use super::gzip::{Effort, free_compressor};
use super::page_writer::free_page_builder;
use super::rendezvous::{Rendezvous, WantedViews};
use super::segment::{Stretch, free_pack_buffer};
use super::sizes::PageSizes;
use super::view::View;
use crate::store::{Consumer, Snapshot, Store, Taken};
use std::sync::Arc;

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// Groups that were looked at because a push or delete marked them.
    pub n_marked: usize,
    /// Pages that were built anew, over all formats.
    pub n_pages: usize,
    /// Families pushed with another help than the one exposed, told once each.
    pub help_conflicts: Vec<HelpConflict>,
}

/// A round that built so many pages shows them before it compresses them, which takes milliseconds.
/// In models, each one that built any.
const EARLY_PUBLISH_PAGES_MIN: usize = if cfg!(gateway_loom) { 1 } else { 32 };
/// To compress a page takes as long as to count references of so many, about.
const PAGE_REFS_PER_COMPRESSION: usize = 64;
/// Pages that are compressed better at a time: whoever comes meanwhile waits for those.
const RECOMPRESS_BATCH_PAGES: usize = 384;

/// Makes expositions. There is one; it belongs to the thread that runs the rounds.
pub struct Assembler {
    sizes: PageSizes,
    builders: Builders,
    n_own: usize,
    catalog: Catalog,
    groups: ExposedGroups,
    views: Vec<View>,
    /// By family id; kept for their memory.
    lines_by_family: Vec<Vec<LineChange>>,
}

impl Assembler {
    /// One that has seen nothing. `own_families` are the names of the gateway's own families in
    /// ascending order.
    pub fn new<'a>(
        own_families: impl IntoIterator<Item = &'a str>,
        sizes: PageSizes,
        n_threads: usize,
    ) -> Self {
        let own: Vec<&str> = own_families.into_iter().collect();
        Self {
            sizes,
            builders: Builders::new(n_threads),
            n_own: own.len(),
            views: vec![View::new(Format::PLAIN, own.len())],
            catalog: Catalog::new(own),
            groups: ExposedGroups::default(),
            lines_by_family: Vec::new(),
        }
    }

    /// Frees what this thread and those that build pages keep to work with, and has each of them
    /// call `release_memory`: an allocator that has blocks of one size side by side cannot give back
    /// the others' memory as long as one is in use.
    pub fn free_buffers(&self, release_memory: fn()) {
        self.builders.run_on_each_thread(|| {
            free_page_builder();
            free_pack_buffer();
            free_compressor();
            release_memory();
        });
    }

    /// Runs a round: takes what is marked in `store`, brings every format that is wanted up to
    /// date, and publishes the exposition. `now_ms` tells which formats are still wanted, `effort`
    /// how the round compresses. Where that takes a while, and plain text is wanted as well, it is
    /// published before. `on_published` is called each time something was published, before what it
    /// replaced is freed.
    pub fn run_round(
        &mut self,
        store: &Store,
        rendezvous: &Rendezvous,
        now_ms: u64,
        effort: Effort,
        on_published: impl Fn(),
    ) -> RoundReport {
        let round = rendezvous.rounds.begin();
        let wanted = rendezvous.wanted(now_ms);
        let mut taken = Vec::new();
        store.take_cut(Consumer::Assembler, &mut taken);
        let report = self.update_pages(taken, &wanted, |deleted| {
            store.retire(Consumer::Assembler, deleted)
        });
        // To show it early is to count a reference of every page, changed or not.
        let is_much_built = |view: &View| {
            report.n_pages
                >= EARLY_PUBLISH_PAGES_MIN.max(view.n_pages() / PAGE_REFS_PER_COMPRESSION)
        };
        let is_slow_to_compress =
            |view: &View| view.gzip && (view.lacks_gzip() || is_much_built(view));
        let is_plain_wanted = self.views.iter().any(|view| wanted.has_plain(view.format));
        if is_plain_wanted && self.views.iter().any(is_slow_to_compress) {
            let plain = |view: &View| (false, view.plain_stretches(&self.catalog));
            rendezvous.publish_plain(self.exposition_of(plain));
            rendezvous.rounds.show_plain(round);
            on_published();
        }
        self.update_segments(effort);
        // To free a fleet's pages takes milliseconds, for which nobody shall wait.
        let replaced = [rendezvous.current(true), rendezvous.current(false)];
        rendezvous.publish(self.exposition());
        rendezvous.rounds.end(round);
        on_published();
        drop(replaced);
        report
    }

    /// How many pages were compressed while somebody waited, and could be compressed better.
    pub fn n_fast_pages(&self) -> usize {
        self.views.iter().map(View::n_fast_pages).sum()
    }

    /// Compresses some of those as well as usual, a few milliseconds of work, and publishes the
    /// exposition, which says the same as before. Returns how many it were.
    pub fn recompress(&mut self, rendezvous: &Rendezvous) -> usize {
        let before = self.n_fast_pages();
        if let Some(view) = self.views.iter_mut().find(|view| view.n_fast_pages() > 0) {
            view.recompress(RECOMPRESS_BATCH_PAGES, &self.builders);
            rendezvous.publish(self.exposition());
        }
        before - self.n_fast_pages()
    }

    /// `retire` is told of the groups whose deletion the pages show by now.
    fn update_pages(
        &mut self,
        mut taken: Vec<Taken>,
        wanted: &WantedViews,
        retire: impl FnOnce(&[Arc<Snapshot>]),
    ) -> RoundReport {
        let mut report = RoundReport {
            n_marked: taken.len(),
            ..RoundReport::default()
        };
        keep_newest_of_each_slot(&mut taken);
        let mut deleted = Vec::new();
        let mut lines = LineChanges {
            slots: Vec::with_capacity(taken.len()),
            by_family: std::mem::take(&mut self.lines_by_family),
            families: Vec::new(),
        };
        let differences = self
            .groups
            .differences(&taken, &self.catalog, &self.builders);
        let mut replaced = Vec::with_capacity(taken.len());
        let mut n_left = taken.len();
        for (taken, difference) in taken.into_iter().zip(differences) {
            if !taken.snapshot.is_live() {
                deleted.push(Arc::clone(&taken.snapshot));
            }
            replaced.extend(self.groups.replace_group(
                taken,
                difference,
                n_left,
                &mut self.catalog,
                &mut lines,
            ));
            n_left -= 1;
        }
        report.help_conflicts = self.catalog.update_headers();
        lines.sort(&self.catalog);
        let changes = lines.with_groups(&self.catalog, &self.groups.by_slot);
        // The plain format is kept until somebody asks for another one; after that each view costs
        // what its bytes do.
        let is_kept = |format| wanted.has(format) || (format == Format::PLAIN && !wanted.any());
        self.views.retain(|view| is_kept(view.format));
        for view in &mut self.views {
            match (view.gzip, wanted.has_gzip(view.format)) {
                (true, false) => view.drop_gzip(),
                (_, gzip) => view.gzip = gzip,
            }
            report.n_pages += view.update_pages(&changes, self.sizes, &self.builders);
        }
        // Not before: what the pages are built from would wait behind it.
        self.builders.drop_on_pool(replaced);
        self.lines_by_family = lines.into_empty();
        let gone = self.catalog.remove_unused();
        self.views
            .iter_mut()
            .for_each(|view| view.forget_plans(&gone));
        report.n_pages += self.add_views(wanted);
        if !deleted.is_empty() {
            self.groups.shrink();
            retire(&deleted);
        }
        report
    }

    /// Builds the formats that are wanted and not kept yet from all groups; returns how many pages
    /// that took.
    fn add_views(&mut self, wanted: &WantedViews) -> usize {
        let missing: Vec<Format> = Format::all()
            .filter(|&f| wanted.has(f) && self.views.iter().all(|view| view.format != f))
            .collect();
        if missing.is_empty() {
            return 0;
        }
        let lines = self.groups.all_lines(&self.catalog);
        let changes = lines.with_groups(&self.catalog, &self.groups.by_slot);
        let mut n_pages = 0;
        for format in missing {
            let mut view = View::new(format, self.n_own);
            view.gzip = wanted.has_gzip(format);
            n_pages += view.update_pages(&changes, self.sizes, &self.builders);
            self.views.push(view);
        }
        n_pages
    }

    /// Makes of the pages what scrapes send.
    fn update_segments(&mut self, effort: Effort) {
        for view in &mut self.views {
            view.update_segments(&self.catalog, effort, self.sizes, &self.builders);
        }
    }

    fn exposition(&self) -> Exposition {
        self.exposition_of(|view| (view.gzip, view.stretches().cloned().collect()))
    }

    fn exposition_of(
        &self,
        stretches: impl Fn(&View) -> (bool, Box<[Arc<Stretch>]>),
    ) -> Exposition {
        let views = self.views.iter().map(|view| {
            let (gzip, stretches) = stretches(view);
            ViewPages {
                format: view.format,
                gzip,
                stretches,
            }
        });
        Exposition {
            views: views.collect(),
            n_groups: self.groups.n_groups,
            n_samples: self.groups.n_samples,
            n_families: self.catalog.n_families(),
        }
    }
}

/// Sorts by slot and keeps the last one of each.
fn keep_newest_of_each_slot(taken: &mut Vec<Taken>) {
    // Stable: of a slot that was taken several times the last one is the newest.
    taken.sort_by_key(|taken| taken.slot);
    taken.dedup_by(|next, newest| {
        let is_same = next.slot == newest.slot;
        if is_same {
            std::mem::swap(next, newest);
        }
        is_same
    });
}

#[cfg(test)]
mod tests;
