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

use super::assembly::{Assembly, WantedViews};
use super::catalog::{Catalog, HelpConflict};
use super::exposition::{Exposition, ViewPages};
use super::format::Format;
use super::gzip::Effort;
use super::page::FamilyId;
use super::segment::Stretch;
use super::view::{Builders, Group, Input, Item, Sizes, View};
use crate::store::{Consumer, MarkedSlot, Snapshot, Store};
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
const SHOWN_EARLY_PAGES: usize = if cfg!(gateway_loom) { 1 } else { 32 };
/// To compress a page takes as long as to count references of so many, about.
const PAGES_PER_COMPRESSED: usize = 64;
/// Pages that are compressed better at a time: whoever comes meanwhile waits for those.
const POLISHED_PAGES: usize = 384;

/// What comparing two snapshots weighs, in bytes of work.
const GROUP_WEIGHT: usize = 100;

/// How a group differs from what is shown of it.
#[derive(Clone, Copy)]
struct Difference {
    /// Both have the same layout, and so the same plan.
    has_same_layout: bool,
    /// Which of the plan's first sources show the same then, a bit each.
    same: u64,
}

impl Difference {
    /// How many sources it tells of; of the others, and of other layouts, it says that they differ,
    /// and nobody asks.
    const N: usize = u64::BITS as usize;
    const UNKNOWN: Self = Self {
        has_same_layout: false,
        same: 0,
    };

    /// Whether both snapshots show the same at a position of the plan, if that is known.
    fn is_same(self, position: u32) -> Option<bool> {
        (position < Self::N as u32).then(|| self.same >> position & 1 == 1)
    }
}

/// Makes expositions. There is one; it belongs to the thread that runs the rounds.
pub struct Assembler {
    sizes: Sizes,
    builders: Builders,
    n_own: usize,
    catalog: Catalog,
    /// By slot: what the views show.
    groups: Vec<Option<Group>>,
    n_groups: u64,
    n_samples: u64,
    views: Vec<View>,
    /// By family id; kept for their memory.
    items: Vec<Vec<Item>>,
}

impl Assembler {
    /// One that has seen nothing. `own_families` are the names of the gateway's own families in
    /// ascending order.
    pub fn new<'a>(own_families: impl IntoIterator<Item = &'a str>, sizes: Sizes) -> Self {
        let own: Vec<&str> = own_families.into_iter().collect();
        Self {
            sizes,
            builders: Builders::new(sizes.n_threads),
            n_own: own.len(),
            views: vec![View::new(Format::PLAIN, own.len())],
            catalog: Catalog::new(own),
            groups: Vec::new(),
            n_groups: 0,
            n_samples: 0,
            items: Vec::new(),
        }
    }

    /// Frees what this thread and those that build pages keep to work with, and has each of them
    /// call `release_memory`.
    pub fn tidy(&self, release_memory: fn()) {
        self.builders.tidy(release_memory);
    }

    /// Runs a round: takes what is marked in `store`, brings every format that is wanted up to
    /// date, and publishes the exposition. `now_ms` tells which formats are still wanted, `effort`
    /// how the round compresses. Where that takes a while, and plain text is wanted as well, it is
    /// published before. `on_shown` is called each time something was published, before what it
    /// replaced is freed.
    pub fn run_round(
        &mut self,
        store: &Store,
        assembly: &Assembly,
        now_ms: u64,
        effort: Effort,
        on_shown: impl Fn(),
    ) -> RoundReport {
        let round = assembly.rounds.begin();
        let wanted = assembly.wanted(now_ms);
        let mut taken = Vec::new();
        store.take_cut(Consumer::Assembler, &mut taken);
        let report = self.update_pages(taken, &wanted, |passed| {
            store.pass_tombstones(Consumer::Assembler, passed)
        });
        // To show it early is to count a reference of every page, changed or not.
        let is_much = |view: &View| {
            report.n_pages >= SHOWN_EARLY_PAGES.max(view.n_pages() / PAGES_PER_COMPRESSED)
        };
        let is_long = |view: &View| view.gzip && (view.is_stale() || is_much(view));
        let is_plain_wanted = self.views.iter().any(|view| wanted.has_plain(view.format));
        if is_plain_wanted && self.views.iter().any(is_long) {
            let plain = |view: &View| (false, view.plain_stretches(&self.catalog));
            assembly.publish_plain(self.exposition_of(plain));
            assembly.rounds.show_plain(round);
            on_shown();
        }
        self.update_segments(effort);
        // To free a fleet's pages takes milliseconds, for which nobody shall wait.
        let replaced = [assembly.current(true), assembly.current(false)];
        assembly.publish(self.exposition());
        assembly.rounds.end(round);
        on_shown();
        drop(replaced);
        report
    }

    /// How many pages were compressed while somebody waited, and could be compressed better.
    pub fn n_fast_pages(&self) -> usize {
        self.views.iter().map(View::n_fast).sum()
    }

    /// Compresses some of those as well as usual, a few milliseconds of work, and publishes the
    /// exposition, which says the same as before. Returns how many it were.
    pub fn polish(&mut self, assembly: &Assembly) -> usize {
        let before = self.n_fast_pages();
        if let Some(view) = self.views.iter_mut().find(|view| view.n_fast() > 0) {
            view.polish(POLISHED_PAGES, &self.builders);
            assembly.publish(self.exposition());
        }
        before - self.n_fast_pages()
    }

    /// `retire` is told of the groups whose deletion the pages show by now.
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
        // Stable: of a slot that was taken several times the last one is the newest.
        taken.sort_by_key(|taken| taken.slot);
        let mut deleted = Vec::new();
        let mut changes = Vec::with_capacity(taken.len());
        let mut touched = Vec::new();
        taken.dedup_by(|next, newest| {
            let is_same = next.slot == newest.slot;
            if is_same {
                std::mem::swap(next, newest);
            }
            is_same
        });
        let differences = self.differences(&taken);
        let mut passed = Vec::with_capacity(taken.len());
        let mut n_left = taken.len();
        for (taken, difference) in taken.into_iter().zip(differences) {
            if !taken.snapshot.is_live() {
                deleted.push(Arc::clone(&taken.snapshot));
            }
            passed.extend(self.note_change(taken, difference, n_left, &mut changes, &mut touched));
            n_left -= 1;
        }
        report.help_conflicts = self.catalog.settle_headers();
        let catalog = &self.catalog;
        touched.sort_unstable_by(|&a, &b| catalog.compare(a, b));
        let input = Input {
            catalog,
            groups: &self.groups,
            changes: &changes,
            items: &self.items,
            touched: &touched,
        };
        // The plain format is kept until somebody asks for another one; after that each view costs
        // what its bytes do.
        let is_kept = |format| wanted.has(format) || (format == Format::PLAIN && !wanted.any());
        self.views.retain(|view| is_kept(view.format));
        for view in &mut self.views {
            match (view.gzip, wanted.has_gzip(view.format)) {
                (true, false) => view.drop_gzip(),
                (_, gzip) => view.gzip = gzip,
            }
            report.n_pages += view.apply(&input, self.sizes, &self.builders);
        }
        // Not before: what the pages are built from would wait behind it.
        self.builders.drop_aside(passed);
        for &family in &touched {
            let items = &mut self.items[family as usize];
            // The items of a whole fleet are megabytes that the next round does not need.
            if items.capacity() > 1024 {
                *items = Vec::new()
            } else {
                items.clear()
            }
        }
        let gone = self.catalog.end_round();
        self.views
            .iter_mut()
            .for_each(|view| view.forget_plans(&gone));
        report.n_pages += self.add_views(wanted);
        if !deleted.is_empty() {
            self.give_back_places();
            retire(&deleted);
        }
        report
    }

    /// Where most groups are gone, their places take no memory any more.
    fn give_back_places(&mut self) {
        let n_places = self
            .groups
            .iter()
            .rposition(Option::is_some)
            .map_or(0, |last| last + 1);
        self.groups.truncate(n_places);
        if n_places < self.groups.capacity() / 4 {
            self.groups.shrink_to(n_places * 2);
        }
    }

    /// How the groups differ from what is shown, on all threads: to look at two snapshots each is
    /// to wait for memory.
    fn differences(&self, taken: &[MarkedSlot]) -> Vec<Difference> {
        let difference = |taken: &MarkedSlot| {
            let old = self
                .groups
                .get(taken.slot as usize)
                .and_then(Option::as_ref);
            let Some(old) = old.filter(|_| taken.snapshot.is_live()) else {
                return Difference::UNKNOWN;
            };
            if !old.snapshot.has_layout_of(&taken.snapshot) {
                return Difference::UNKNOWN;
            }
            let sources = &self.catalog.plan(old.plan).sources;
            let mut same = 0;
            for (position, (_, source)) in sources.iter().enumerate().take(Difference::N) {
                same |= u64::from(source.is_same(&old.snapshot, &taken.snapshot)) << position;
            }
            Difference {
                has_same_layout: true,
                same,
            }
        };
        self.builders.map(
            taken,
            taken.len() * GROUP_WEIGHT,
            |taken| taken.slot,
            difference,
        )
    }

    /// Replaces the group of a slot, and notes for each family whose lines change what becomes of
    /// them. So many are left to be noted, with this one. Returns the snapshot that was there.
    fn note_change(
        &mut self,
        taken: MarkedSlot,
        difference: Difference,
        n_left: usize,
        changes: &mut Vec<u32>,
        touched: &mut Vec<FamilyId>,
    ) -> Option<Arc<Snapshot>> {
        let index = taken.slot as usize;
        if self.groups.len() <= index {
            self.groups.resize_with(index + 1, || None);
        }
        let change = u32::try_from(changes.len()).expect("slots are numbered by 32 bits");
        if let Some(group) = self.groups[index]
            .as_mut()
            .filter(|_| difference.has_same_layout)
        {
            if Arc::ptr_eq(&group.snapshot, &taken.snapshot) {
                return None;
            }
            changes.push(taken.slot);
            let plan = self.catalog.plan(group.plan);
            for (position, (family, source)) in (0..).zip(&plan.sources) {
                if !difference
                    .is_same(position)
                    .unwrap_or_else(|| source.is_same(&group.snapshot, &taken.snapshot))
                {
                    let items = &mut self.items[*family as usize];
                    if items.is_empty() {
                        touched.push(*family);
                        // Where a whole fleet was pushed, all its groups are about to follow.
                        items.reserve(n_left.min(plan.n_groups()));
                    }
                    items.push(Item {
                        change,
                        source: position,
                    });
                }
            }
            return Some(std::mem::replace(&mut group.snapshot, taken.snapshot));
        }
        let old = self.groups[index].take();
        let new = taken
            .snapshot
            .is_live()
            .then(|| self.catalog.use_plan(&taken.snapshot));
        self.items
            .resize_with(self.catalog.n_family_ids(), Vec::new);
        let items = &mut self.items;
        let mut add = |family: FamilyId, source: u32| {
            let items = &mut items[family as usize];
            if items.is_empty() {
                touched.push(family);
            }
            items.push(Item { change, source });
        };
        let old_plan = old.as_ref().map(|old| self.catalog.plan(old.plan));
        let new_plan = new.map(|plan| self.catalog.plan(plan));
        if let Some(old_plan) = old_plan {
            for (family, _) in &old_plan.sources {
                if new_plan.is_none_or(|new_plan| !new_plan.has(*family)) {
                    add(*family, Item::REMOVED);
                }
            }
            self.n_groups -= 1;
            self.n_samples -= old_plan.n_samples;
        }
        if let Some(new_plan) = new_plan {
            for (position, (family, _)) in (0..).zip(&new_plan.sources) {
                add(*family, position);
            }
            self.n_groups += 1;
            self.n_samples += new_plan.n_samples;
        }
        let old = old.map(|old| {
            self.catalog.release_plan(old.plan);
            old.snapshot
        });
        self.groups[index] = new.map(|plan| Group {
            snapshot: taken.snapshot,
            plan,
        });
        changes.push(taken.slot);
        old
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
        let mut items: Vec<Vec<Item>> = vec![Vec::new(); self.catalog.n_family_ids()];
        let mut changes = Vec::new();
        let mut touched = Vec::new();
        for (slot, group) in (0..).zip(&self.groups) {
            let Some(group) = group else { continue };
            let change = u32::try_from(changes.len()).expect("slots are numbered by 32 bits");
            for (source, (family, _)) in (0..).zip(&self.catalog.plan(group.plan).sources) {
                let items = &mut items[*family as usize];
                if items.is_empty() {
                    touched.push(*family);
                }
                items.push(Item { change, source });
            }
            changes.push(slot);
        }
        touched.sort_unstable_by(|&a, &b| self.catalog.compare(a, b));
        let input = Input {
            catalog: &self.catalog,
            groups: &self.groups,
            changes: &changes,
            items: &items,
            touched: &touched,
        };
        let mut n_pages = 0;
        for format in missing {
            let mut view = View::new(format, self.n_own);
            view.gzip = wanted.has_gzip(format);
            n_pages += view.apply(&input, self.sizes, &self.builders);
            self.views.push(view);
        }
        n_pages
    }

    /// Makes of the pages what scrapes send.
    fn update_segments(&mut self, effort: Effort) {
        for view in &mut self.views {
            view.publish(&self.catalog, effort, self.sizes, &self.builders);
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
            n_groups: self.n_groups,
            n_samples: self.n_samples,
            n_families: self.catalog.n_families(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Families, FamiliesBuilder, GroupingKey, MetricFlags, MetricType};
    use crate::scrape::Document;
    use bytes::Buf;
    use std::collections::BTreeMap;
    use std::io::Read;

    const OWN: &[(&str, MetricType)] =
        &[("m_own", MetricType::Counter), ("x_own", MetricType::Gauge)];

    fn sizes(target: usize) -> Sizes {
        Sizes {
            target,
            n_threads: 2,
        }
    }

    /// Families as name, help and values of as many metrics.
    type Pushed = Vec<(String, Option<String>, Vec<f64>)>;

    fn families(pushed: &Pushed) -> Families {
        let mut builder = FamiliesBuilder::new();
        for (name, help, values) in pushed {
            builder.family(name, MetricType::Gauge, help.as_deref());
            for (i, value) in values.iter().enumerate() {
                builder.label("i", &i.to_string());
                builder.value(value.to_bits());
                builder.end_metric(MetricFlags::default());
            }
        }
        builder.finish().unwrap()
    }

    /// Snapshots with layouts shared as the store shares them.
    #[derive(Default)]
    struct Snapshots {
        layouts: Vec<Arc<crate::store::Layout>>,
        version: u64,
    }

    impl Snapshots {
        fn live(&mut self, slot: u32, pushed: &Pushed) -> MarkedSlot {
            let families = families(pushed);
            let key = key(slot);
            let known = self
                .layouts
                .iter()
                .find(|layout| *layout.skeleton() == families.skeleton)
                .cloned();
            let layout = known.unwrap_or_else(|| {
                let layout =
                    Arc::new(crate::store::Layout::new(families.skeleton.clone(), &key).unwrap());
                self.layouts.push(Arc::clone(&layout));
                layout
            });
            self.version += 1;
            let push_time = i64::try_from(self.version).unwrap() * 1_000_000_000;
            let snapshot =
                Snapshot::for_test(self.version, key, layout, families.values, push_time);
            MarkedSlot {
                slot,
                snapshot: Arc::new(snapshot),
            }
        }

        fn deleted(&mut self, of: &MarkedSlot) -> MarkedSlot {
            self.version += 1;
            MarkedSlot {
                slot: of.slot,
                snapshot: Arc::new(of.snapshot.tombstone(self.version, of.snapshot.layout())),
            }
        }
    }

    fn key(slot: u32) -> Arc<GroupingKey> {
        Arc::new(GroupingKey::new([("job", "j"), ("instance", slot.to_string().as_str())]).unwrap())
    }

    fn own() -> Families {
        let mut builder = FamiliesBuilder::new();
        for (name, metric_type) in OWN {
            builder.family(name, *metric_type, Some("own"));
            builder.value(7f64.to_bits());
            builder.end_metric(MetricFlags::default());
        }
        builder.finish().unwrap()
    }

    /// Brings what was taken into what scrapes see.
    fn apply(
        assembler: &mut Assembler,
        taken: Vec<MarkedSlot>,
        wanted: &WantedViews,
        retire: impl FnOnce(&[Arc<Snapshot>]),
    ) -> RoundReport {
        let report = assembler.update_pages(taken, wanted, retire);
        assembler.update_segments(Effort::Usual);
        report
    }

    fn document(assembler: &Assembler, format: Format, gzip: bool) -> Vec<u8> {
        bytes_of(assembler.exposition(), format, gzip)
    }

    fn bytes_of(exposition: Exposition, format: Format, gzip: bool) -> Vec<u8> {
        let mut document = Document::new(Arc::new(exposition), format, gzip, &own(), OWN)
            .expect("the view is kept");
        let len = document.remaining();
        let mut bytes = Vec::new();
        // In uneven steps over slice borders.
        let mut random = fastrand::Rng::with_seed(3);
        while document.has_remaining() {
            let step = random.usize(1..=document.chunk().len().min(997));
            let mut slices = [std::io::IoSlice::new(&[]); 4];
            assert!(document.chunks_vectored(&mut slices) > 0);
            assert_eq!(&*slices[0], document.chunk());
            bytes.extend_from_slice(&document.chunk()[..step]);
            document.advance(step);
        }
        assert_eq!(bytes.len(), len);
        bytes
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes)
            .read_to_end(&mut plain)
            .expect("one valid member");
        plain
    }

    /// The exposition, made the plain way: all families of all groups, sorted.
    fn naive(groups: &BTreeMap<u32, (Pushed, u64)>, helps: &BTreeMap<String, String>) -> String {
        let mut all: BTreeMap<String, (Option<String>, String)> = BTreeMap::new();
        let mut add = |name: &str, help: Option<String>, line: String| {
            let entry = all.entry(name.to_owned()).or_default();
            entry.0 = help;
            entry.1 += &line;
        };
        for (name, _) in OWN {
            add(name, Some("own".to_owned()), format!("{name} 7\n"));
        }
        for (slot, (pushed, version)) in groups {
            for (name, _, values) in pushed {
                for (i, value) in values.iter().enumerate() {
                    let help = if name.ends_with("_own") {
                        Some("own".to_owned())
                    } else {
                        helps.get(name).cloned()
                    };
                    add(
                        name,
                        help,
                        format!("{name}{{i=\"{i}\",instance=\"{slot}\",job=\"j\"}} {value}\n"),
                    );
                }
            }
            let labels = format!("{{instance=\"{slot}\",job=\"j\"}}");
            let help = |verb| {
                Some(format!(
                    "Last Unix time when changing this group in the Pushgateway {verb}."
                ))
            };
            add(
                "push_failure_time_seconds",
                help("failed"),
                format!("push_failure_time_seconds{labels} 0\n"),
            );
            add(
                "push_time_seconds",
                help("succeeded"),
                format!("push_time_seconds{labels} {version}\n"),
            );
        }
        let mut text = String::new();
        for (name, (help, lines)) in all {
            if let Some(help) = help {
                text += &format!("# HELP {name} {help}\n");
            }
            let metric_type = if name == "m_own" { "counter" } else { "gauge" };
            text += &format!("# TYPE {name} {metric_type}\n{lines}");
        }
        text
    }

    fn wanted(formats: &[(Format, bool)]) -> WantedViews {
        let assembly = Assembly::new();
        for (format, gzip) in formats {
            assembly.ask(*format, *gzip, 1);
        }
        assembly.wanted(1)
    }

    /// Random histories: after every round the document equals what rendering everything gives,
    /// plain, compressed, and in a view that was built from the groups rather than kept up to date.
    #[test]
    fn every_round_equals_rendering_everything() {
        for seed in 0..12 {
            let mut random = fastrand::Rng::with_seed(seed);
            let target = [64, 300, 2000][random.usize(..3)];
            let n_slots = [3, 40, 200][random.usize(..3)];
            let names: Vec<String> = (0..random.usize(2..30))
                .map(|i| format!("f{i:02}_{}", "x".repeat(i % 5)))
                .collect();
            let names: Vec<String> = names
                .into_iter()
                .chain(["m_own".to_owned(), "zz".to_owned(), "a".to_owned()])
                .collect();
            let mut assembler = Assembler::new(OWN.iter().map(|(name, _)| *name), sizes(target));
            let mut snapshots = Snapshots::default();
            let mut groups: BTreeMap<u32, (Pushed, u64)> = BTreeMap::new();
            let mut last: BTreeMap<u32, MarkedSlot> = BTreeMap::new();
            let helps: BTreeMap<String, String> = names
                .iter()
                .map(|name| (name.clone(), format!("help of {name}")))
                .collect();
            for round in 0..25 {
                let mut taken = Vec::new();
                for _ in 0..random.usize(0..n_slots as usize) {
                    let slot = random.u32(..n_slots);
                    if random.u8(..10) < 3 {
                        if let Some(of) = last.remove(&slot) {
                            taken.push(snapshots.deleted(&of));
                            groups.remove(&slot);
                        }
                        continue;
                    }
                    let mut pushed: Pushed = Vec::new();
                    let (from, n) = (random.usize(..names.len()), random.usize(1..5));
                    for name in names.iter().cycle().skip(from).take(n.min(names.len())) {
                        let values = (0..random.usize(1..4))
                            .map(|_| f64::from(random.u32(..5)))
                            .collect();
                        let metric = if name == "m_own" {
                            continue;
                        } else {
                            (name.clone(), helps.get(name).cloned(), values)
                        };
                        pushed.push(metric);
                    }
                    let push = snapshots.live(slot, &pushed);
                    groups.insert(slot, (pushed, snapshots.version));
                    last.insert(
                        slot,
                        MarkedSlot {
                            slot,
                            snapshot: Arc::clone(&push.snapshot),
                        },
                    );
                    taken.push(push);
                }
                let gzip = round % 7 > 2;
                let formats = [(Format::PLAIN, gzip)];
                assembler.update_pages(taken, &wanted(&formats), |_| ());
                let expected = naive(&groups, &helps);
                let text = |bytes| String::from_utf8(bytes).expect("an exposition is text");
                let plain = assembler
                    .exposition_of(|view| (false, view.plain_stretches(&assembler.catalog)));
                assert_eq!(
                    text(bytes_of(plain, Format::PLAIN, false)),
                    expected,
                    "early: seed {seed}, round {round}"
                );
                let effort = [Effort::Fast, Effort::Usual][random.usize(..2)];
                assembler.update_segments(effort);
                let is_polished = random.bool();
                while is_polished && assembler.n_fast_pages() > 0 {
                    assembler.polish(&Assembly::new());
                }
                assert_eq!(
                    text(document(&assembler, Format::PLAIN, false)),
                    expected,
                    "seed {seed}, round {round}"
                );
                if gzip {
                    let unpacked = gunzip(&document(&assembler, Format::PLAIN, true));
                    assert_eq!(unpacked, expected.as_bytes(), "seed {seed}, round {round}");
                }
                assert_eq!(assembler.n_groups as usize, groups.len());
                let n_lines = expected
                    .lines()
                    .filter(|line| !line.starts_with('#'))
                    .count();
                assert_eq!(assembler.n_samples as usize, n_lines - OWN.len());
            }
        }
    }

    /// Large families: built by several threads, appended to, thinned out, gone.
    #[test]
    fn a_fleet_comes_and_goes() {
        let mut assembler = Assembler::new(OWN.iter().map(|(name, _)| *name), sizes(1 << 10));
        let mut snapshots = Snapshots::default();
        let mut groups = BTreeMap::new();
        let helps: BTreeMap<String, String> = [
            ("load".to_owned(), "h".to_owned()),
            ("up".to_owned(), "h".to_owned()),
        ]
        .into();
        let pushed = |i: u32| -> Pushed {
            let names = if i.is_multiple_of(3) {
                vec!["load", "up"]
            } else {
                vec!["up"]
            };
            names
                .into_iter()
                .map(|name| (name.to_owned(), Some("h".to_owned()), vec![f64::from(i)]))
                .collect()
        };
        let check = |assembler: &mut Assembler,
                     groups: &BTreeMap<u32, (Pushed, u64)>,
                     taken: Vec<MarkedSlot>| {
            apply(assembler, taken, &wanted(&[(Format::PLAIN, true)]), |_| ());
            let expected = naive(groups, &helps);
            assert!(document(assembler, Format::PLAIN, false) == expected.as_bytes());
            assert!(gunzip(&document(assembler, Format::PLAIN, true)) == expected.as_bytes());
        };
        let empty = snapshots
            .live(u32::MAX, &Vec::new())
            .snapshot
            .layout()
            .clone();
        let mut push_all = |groups: &mut BTreeMap<u32, (Pushed, u64)>,
                            slots: &mut dyn Iterator<Item = u32>,
                            shift: u32| {
            let mut taken = Vec::new();
            for slot in slots {
                taken.push(snapshots.live(slot, &pushed(slot * 3 + shift)));
                groups.insert(slot, (pushed(slot * 3 + shift), snapshots.version));
            }
            taken
        };
        // One group first, so that the fleet grows out of a shared page.
        let taken = push_all(&mut groups, &mut [7].into_iter(), 0);
        check(&mut assembler, &groups, taken);
        let taken = push_all(&mut groups, &mut (0..5000), 0);
        check(&mut assembler, &groups, taken);
        let taken = push_all(&mut groups, &mut (4000..9000).step_by(7), 1);
        check(&mut assembler, &groups, taken);
        let exposition = assembler.exposition();
        let segments = exposition.views[0]
            .stretches
            .iter()
            .flat_map(|stretch| &stretch.segments);
        let n_pages: usize = segments.map(|segment| segment.texts.len()).sum();
        assert!(n_pages > 100);
        let mut taken: Vec<MarkedSlot> = Vec::new();
        for slot in groups
            .keys()
            .copied()
            .filter(|slot| slot % 100 != 7)
            .collect::<Vec<_>>()
        {
            groups.remove(&slot);
            let snapshot = Arc::new(
                assembler.groups[slot as usize]
                    .as_ref()
                    .unwrap()
                    .snapshot
                    .tombstone(99_999, &empty),
            );
            taken.push(MarkedSlot { slot, snapshot });
        }
        check(&mut assembler, &groups, taken);
        let taken = groups.keys().map(|slot| {
            let snapshot = Arc::new(
                assembler.groups[*slot as usize]
                    .as_ref()
                    .unwrap()
                    .snapshot
                    .tombstone(99_999, &empty),
            );
            MarkedSlot {
                slot: *slot,
                snapshot,
            }
        });
        let taken = taken.collect();
        groups.clear();
        check(&mut assembler, &groups, taken);
        assert_eq!(assembler.exposition().n_families, 0);
    }

    /// Lines so long that a few groups fill what is built at once: large families, small ones
    /// beside them, and small ones in a row.
    #[test]
    fn long_lines_are_cut_into_pages_while_they_are_built() {
        let mut assembler = Assembler::new(OWN.iter().map(|(name, _)| *name), sizes(64));
        let mut snapshots = Snapshots::default();
        let mut groups = BTreeMap::new();
        let long = "x".repeat(1000);
        let names: Vec<String> = (0..30)
            .map(|i| format!("f{i:02}_{long}"))
            .chain([format!("big_{long}"), "n".to_owned()])
            .collect();
        let pushed = |slot: u32, value: f64| -> Pushed {
            let all = names
                .iter()
                .enumerate()
                .filter(|(i, _)| *i >= 30 || slot as usize % 30 == *i);
            all.map(|(_, name)| (name.clone(), None, vec![value; 2]))
                .collect()
        };
        let mut push_all = |slots: &mut dyn Iterator<Item = u32>, value: f64| {
            let mut taken = Vec::new();
            for slot in slots {
                taken.push(snapshots.live(slot, &pushed(slot, value)));
                groups.insert(slot, (pushed(slot, value), snapshots.version));
            }
            apply(
                &mut assembler,
                taken,
                &wanted(&[(Format::PLAIN, true)]),
                |_| (),
            );
            let expected = naive(&groups, &BTreeMap::new());
            assert!(document(&assembler, Format::PLAIN, false) == expected.as_bytes());
            assert!(gunzip(&document(&assembler, Format::PLAIN, true)) == expected.as_bytes());
            let exposition = assembler.exposition();
            let segments = exposition.views[0]
                .stretches
                .iter()
                .flat_map(|stretch| &stretch.segments);
            // None holds more than a header and the two lines of one group.
            assert!(
                segments
                    .flat_map(|segment| &segment.texts)
                    .map(|text| text.len())
                    .max()
                    < Some(3200)
            );
        };
        // Out of nothing, out of a shared page, out of pages of a large family; as they are, and
        // with more in between.
        push_all(&mut [7].into_iter(), 0.0);
        push_all(&mut (0..200), 0.0);
        push_all(&mut (0..300).step_by(2), 1.0);
        push_all(&mut (0..400), 2.0);
    }

    /// A fleet that is pushed again with a few new numbers rebuilds few pages.
    #[test]
    fn an_unchanged_family_keeps_its_pages() {
        let mut assembler = Assembler::new([], sizes(1 << 10));
        let mut snapshots = Snapshots::default();
        let push = |value: f64| -> Pushed {
            vec![
                ("changes".to_owned(), None, vec![value]),
                ("constant".to_owned(), None, vec![1.0; 3]),
            ]
        };
        let taken = (0..500)
            .map(|slot| snapshots.live(slot, &push(0.0)))
            .collect();
        let all = apply(&mut assembler, taken, &wanted(&[]), |_| ()).n_pages;
        let again = apply(
            &mut assembler,
            vec![snapshots.live(250, &push(1.0))],
            &wanted(&[]),
            |_| (),
        )
        .n_pages;
        assert!(all > 100, "{all}");
        // One page of `changes`, one of `push_time_seconds`.
        assert_eq!(again, 2);
    }

    #[test]
    fn the_first_help_stays_and_another_is_told_once() {
        let mut assembler = Assembler::new([], sizes(1 << 10));
        let mut snapshots = Snapshots::default();
        let push = |help: Option<&str>| -> Pushed {
            vec![("up".to_owned(), help.map(str::to_owned), vec![1.0])]
        };
        let text = |assembler: &Assembler| {
            let exposition = Arc::new(assembler.exposition());
            let mut document =
                Document::new(exposition, Format::PLAIN, false, &Families::default(), &[]).unwrap();
            let text = document.copy_to_bytes(document.remaining());
            String::from_utf8(text.to_vec())
                .unwrap()
                .lines()
                .find(|l| l.contains(" up "))
                .unwrap()
                .to_owned()
        };
        apply(
            &mut assembler,
            vec![snapshots.live(0, &push(None))],
            &wanted(&[]),
            |_| (),
        );
        assert_eq!(text(&assembler), "# TYPE up gauge");
        // Of two in one round the older push counts, wherever its slot is.
        let (older, newer) = (
            snapshots.live(9, &push(Some("first"))),
            snapshots.live(1, &push(Some("second"))),
        );
        let report = apply(&mut assembler, vec![newer, older], &wanted(&[]), |_| ());
        assert_eq!(text(&assembler), "# HELP up first");
        assert_eq!(report.help_conflicts.len(), 1);
        assert_eq!(report.help_conflicts[0].pushed, "second");
        let report = apply(
            &mut assembler,
            vec![snapshots.live(2, &push(Some("third")))],
            &wanted(&[]),
            |_| (),
        );
        assert_eq!(report.help_conflicts, []);
        assert_eq!(text(&assembler), "# HELP up first");
    }

    #[test]
    fn a_format_nobody_asks_for_is_dropped_and_built_again() {
        let mut assembler = Assembler::new(OWN.iter().map(|(name, _)| *name), sizes(1 << 10));
        let mut snapshots = Snapshots::default();
        let dots = Format::Text(crate::model::Escaping::Dots);
        let push: Pushed = vec![("up".to_owned(), None, vec![1.0])];
        apply(
            &mut assembler,
            vec![snapshots.live(0, &push)],
            &wanted(&[(dots, true)]),
            |_| (),
        );
        // The plain one was not asked for.
        assert_eq!(assembler.views.len(), 1);
        assert!(assembler.exposition().view(dots, true).is_some());
        apply(
            &mut assembler,
            vec![snapshots.live(1, &push)],
            &wanted(&[]),
            |_| (),
        );
        assert!(assembler.exposition().view(dots, false).is_none());
        apply(
            &mut assembler,
            vec![snapshots.live(2, &push)],
            &wanted(&[(dots, false), (Format::PLAIN, false)]),
            |_| (),
        );
        assert!(assembler.exposition().view(dots, true).is_none());
        let both = [
            document(&assembler, dots, false),
            document(&assembler, Format::PLAIN, false),
        ];
        let lines = both.map(|text| {
            String::from_utf8(text)
                .unwrap()
                .lines()
                .filter(|l| l.contains("up{"))
                .count()
        });
        assert_eq!(lines, [3, 3]);
    }

    #[test]
    fn deletions_are_retired_once_they_show() {
        let mut assembler = Assembler::new([], sizes(1 << 10));
        let mut snapshots = Snapshots::default();
        let live = snapshots.live(3, &vec![("up".to_owned(), None, vec![1.0])]);
        let deleted = snapshots.deleted(&live);
        let mut retired = Vec::new();
        apply(&mut assembler, vec![live], &wanted(&[]), |passed| {
            retired.extend(passed.iter().map(|passed| passed.version))
        });
        assert!(retired.is_empty());
        apply(&mut assembler, vec![deleted], &wanted(&[]), |passed| {
            retired.extend(passed.iter().map(|passed| passed.version))
        });
        assert_eq!(retired, [2]);
        assert_eq!(assembler.exposition().n_groups, 0);
    }
}
