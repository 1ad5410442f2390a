//! The assembler runs the rounds: each turns the snapshots that changed into the next exposition.
//!
//! A round takes the slots that pushes and deletes have marked, and with them the state of all
//! groups at one moment (a cut, see [`Store::take_cut`]). It compares each taken snapshot with the
//! one that the views show, and tells every view, family by family, which groups have new lines.
//! The views rebuild the pages with these lines.
//!
//! Cost: proportional to what changed and to the pages that hold it, never to what the store holds.
//! Only the list of pages is copied as a whole.
//!
//! Invariant: `groups` is what the views show. For a scrape both change at once: plain text is
//! published when the pages of all views are built, the whole exposition when all views that are
//! kept compressed are compressed.

use super::builders::Builders;
use super::catalog::Catalog;
use super::changes::{LineChange, LineChanges};
use super::exposed_groups::ExposedGroups;
use super::exposition::{Exposition, ViewPages};
use super::format::Format;
use super::gzip::{Effort, free_compressor};
use super::help_texts::HelpConflict;
use super::page_writer::free_page_builder;
use super::rendezvous::{Rendezvous, WantedViews};
use super::segment::{Stretch, free_pack_buffer};
use super::sizes::PageSizes;
use super::view::View;
use crate::store::{Consumer, MarkedSlot, Snapshot, Store};
use std::sync::Arc;

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundReport {
    /// How many marked slots the round took. A slot that was taken twice in the round counts twice.
    pub n_marked: usize,
    /// How many pages were built, in all formats together.
    pub n_pages: usize,
    /// How many samples fewer the groups expose than before the round.
    pub n_removed_samples: u64,
    /// Families for which groups have different helps. Each pair of helps is reported once.
    pub help_conflicts: Vec<HelpConflict>,
}

/// A round that built at least this many pages publishes them as plain text before it compresses
/// them, because compressing them takes milliseconds. In loom models a single page is enough.
const EARLY_PUBLISH_PAGES_MIN: usize = if cfg!(gateway_loom) { 1 } else { 32 };
/// Compressing one page takes about as long as counting a reference to this many pages.
const PAGE_REFS_PER_COMPRESSION: usize = 64;
/// How many pages [`Assembler::recompress`] compresses at a time. A scrape that comes during a
/// batch and needs a round waits until the batch is done.
const RECOMPRESS_BATCH_PAGES: usize = 384;

/// Turns the groups of a store into expositions, round by round.
///
/// There is one assembler for a store. It belongs to the thread that runs the rounds, and shares
/// with scrapes only the [`Rendezvous`].
///
/// ```
/// use bytes::Buf;
/// use pushgateway::model::Families;
/// use pushgateway::scrape::{Assembler, Document, Effort, Format, PageSizes, Rendezvous};
/// use pushgateway::store::{Config, Store};
///
/// let store = Store::new(Config::default());
/// let rendezvous = Rendezvous::new();
/// let mut assembler = Assembler::new([], PageSizes { page_bytes: 4096 }, 1);
///
/// // A scrape asks for plain text and finds that no round has run yet.
/// let now_ms = 1;
/// let count = rendezvous
///     .try_current(&store, Format::PLAIN, false, now_ms)
///     .expect_err("no exposition yet");
/// assembler.run_round(&store, &rendezvous, now_ms, Effort::Fast, || ());
/// assert!(rendezvous.has_reached(count));
///
/// let exposition = rendezvous.current(false);
/// let document = Document::new(exposition, Format::PLAIN, false, &Families::default(), &[]);
/// assert_eq!(document.expect("plain text was asked for").remaining(), 0);
/// ```
pub struct Assembler {
    sizes: PageSizes,
    builders: Builders,
    /// How many families the gateway has itself.
    n_own: usize,
    catalog: Catalog,
    groups: ExposedGroups,
    /// The formats that are kept up to date, one view each.
    views: Vec<View>,
    /// Empty lists, by family id; kept for their memory (see [`LineChanges::into_empty`]).
    lines_by_family: Vec<Vec<LineChange>>,
}

impl Assembler {
    /// An assembler that has run no round. `own_families` are the names of the gateway's own
    /// families in ascending order. With `n_threads` above 1, that many threads build and compress
    /// pages when much has changed.
    ///
    /// # Panics
    ///
    /// If `own_families` are not in ascending order.
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

    /// Frees the buffers that the calling thread and the threads that build pages keep between
    /// rounds, then calls `release_memory` on each of these threads.
    ///
    /// The buffers are freed first, because an allocator that puts blocks of one size side by side
    /// cannot give back the memory of freed blocks as long as one of the neighbouring blocks is in
    /// use.
    pub fn free_buffers(&self, release_memory: fn()) {
        self.builders.run_on_each_thread(|| {
            free_page_builder();
            free_pack_buffer();
            free_compressor();
            release_memory();
        });
    }

    /// Runs a round: takes the marked slots of `store`, updates every format that is wanted, and
    /// publishes the exposition at `rendezvous`.
    ///
    /// `now_ms`, in milliseconds of the clock that was passed to [`Rendezvous::try_current`],
    /// decides which formats are still wanted. `effort` is how pages are compressed. If compressing
    /// takes long and plain text is wanted too, plain text is published before anything is
    /// compressed. `on_published` is called after each publication, and before the replaced
    /// exposition is freed.
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
        let n_samples_before = self.groups.n_samples;
        let mut report = self.update_pages(taken, &wanted, |deleted| {
            store.pass_tombstones(Consumer::Assembler, deleted)
        });
        report.n_removed_samples = n_samples_before.saturating_sub(self.groups.n_samples);
        // Publishing plain text early costs a reference count of every page, changed or not.
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
        // Freeing the pages of a whole fleet takes milliseconds. The scrapes that wait for this
        // round are woken before, so the replaced expositions are kept until then.
        let replaced = [rendezvous.current(true), rendezvous.current(false)];
        rendezvous.publish(self.exposition());
        rendezvous.rounds.end(round);
        on_published();
        drop(replaced);
        report
    }

    /// How many pages were compressed with [`Effort::Fast`] and could be compressed better.
    pub fn n_fast_pages(&self) -> usize {
        self.views.iter().map(View::n_fast_pages).sum()
    }

    /// Compresses some of those pages again with [`Effort::Usual`], which takes a few milliseconds,
    /// and publishes the exposition, whose text is the same as before. Returns how many pages they
    /// were.
    pub fn recompress(&mut self, rendezvous: &Rendezvous) -> usize {
        let before = self.n_fast_pages();
        if let Some(view) = self.views.iter_mut().find(|view| view.n_fast_pages() > 0) {
            view.recompress(RECOMPRESS_BATCH_PAGES, &self.builders);
            rendezvous.publish(self.exposition());
        }
        before - self.n_fast_pages()
    }

    /// Updates groups and pages with the snapshots taken; scrapes see them when the exposition is
    /// published. `retire` is called with the deleted groups that the pages do not show any more.
    fn update_pages(
        &mut self,
        mut taken: Vec<MarkedSlot>,
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
        let headers = self.catalog.update_headers();
        report.help_conflicts = headers.conflicts;
        // After the lines of all groups were added.
        for family in headers.other_parts {
            lines.add_header(family);
        }
        lines.sort(&self.catalog);
        let changes = lines.with_groups(&self.catalog, &self.groups.by_slot);
        // The plain format is kept even if no format is wanted. Any other view, and this one once
        // others are wanted, is kept only while it is wanted: each costs what its bytes cost.
        let is_kept = |format| wanted.has(format) || (format == Format::PLAIN && !wanted.any());
        self.views.retain(|view| is_kept(view.format));
        for view in &mut self.views {
            match (view.gzip, wanted.has_gzip(view.format)) {
                (true, false) => view.drop_gzip(),
                (_, gzip) => view.gzip = gzip,
            }
            report.n_pages += view.update_pages(&changes, self.sizes, &self.builders);
        }
        // Dropped after the pages were built: the pool would have worked on this first.
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

    /// Adds views for the formats that are wanted and not kept yet, built from all groups. Returns
    /// how many pages were built.
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

    /// Packs the pages of all views into the segments that scrapes send.
    fn update_segments(&mut self, effort: Effort) {
        for view in &mut self.views {
            view.update_segments(&self.catalog, effort, self.sizes, &self.builders);
        }
    }

    /// The exposition as of the last [`Assembler::update_segments`].
    fn exposition(&self) -> Exposition {
        self.exposition_of(|view| (view.gzip, view.stretches().cloned().collect()))
    }

    /// An exposition in which `stretches` gives for each view whether it is compressed, and its
    /// stretches.
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

/// Sorts by slot and keeps the newest snapshot of each slot.
fn keep_newest_of_each_slot(taken: &mut Vec<MarkedSlot>) {
    // The sort is stable: of a slot that was taken several times, the newest snapshot comes last.
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
mod family_part_tests;
#[cfg(test)]
mod tests;
