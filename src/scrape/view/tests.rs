//! Tests of views: sizes of pages, stretches, and what a round builds.

use super::*;
use crate::scrape::changes::LineChanges;
use crate::scrape::exposed_groups::ExposedGroups;
use crate::scrape::testing::{OWN, Pushed, Snapshots};
use crate::store::MarkedSlot;
use std::collections::BTreeMap;

/// A view in plain text, with what the assembler keeps beside it.
struct Fixture {
    view: View,
    catalog: Catalog,
    groups: ExposedGroups,
    builders: Builders,
    sizes: PageSizes,
}

impl Fixture {
    fn new(page_bytes: usize) -> Self {
        Self {
            view: View::new(Format::PLAIN, OWN.len()),
            catalog: Catalog::new(OWN.iter().map(|(name, _)| *name)),
            groups: ExposedGroups::default(),
            builders: Builders::new(1),
            sizes: PageSizes { page_bytes },
        }
    }

    /// Runs a round with these snapshots, which are in ascending order of slots; returns how
    /// many pages were built.
    fn round(&mut self, taken: Vec<MarkedSlot>) -> usize {
        let mut lines = LineChanges::default();
        let differences = self
            .groups
            .differences(&taken, &self.catalog, &self.builders);
        lines
            .by_family
            .resize_with(self.catalog.n_family_ids(), Vec::new);
        for (taken, difference) in taken.into_iter().zip(differences) {
            self.groups
                .replace_group(taken, difference, 1, &mut self.catalog, &mut lines);
        }
        self.catalog.update_headers();
        lines.sort(&self.catalog);
        let changes = lines.with_groups(&self.catalog, &self.groups.by_slot);
        let n_built = self.view.update_pages(&changes, self.sizes, &self.builders);
        self.view.forget_plans(&self.catalog.remove_unused());
        self.view
            .update_segments(&self.catalog, Effort::Usual, self.sizes, &self.builders);
        n_built
    }

    fn text_of(&self, stretch: usize) -> String {
        let pages = self.view.stretches[stretch].published.segments.iter();
        let bytes: Vec<u8> = pages
            .flat_map(|segment| &segment.texts)
            .flat_map(|text| text.iter().copied())
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    /// The blocks of all stretches: `None` for a shared page, else the name of the large family;
    /// and the lengths of the pages.
    fn blocks(&self) -> Vec<(Option<String>, Vec<usize>)> {
        let blocks = self.view.stretches.iter().flat_map(|s| &s.blocks);
        blocks
            .map(|block| match block {
                Block::Shared(page) => (None, vec![page.len()]),
                Block::Large { family, pages, .. } => (
                    Some(self.catalog.family(*family).name.to_string()),
                    pages.iter().map(|page| page.len()).collect(),
                ),
            })
            .collect()
    }

    /// Panics unless no page is above double the page size, no two neighbours should be one page,
    /// and no large family fits into a shared page.
    fn assert_sizes(&self) {
        let page_bytes = self.sizes.page_bytes;
        let should_join = |a: usize, b: usize| a + b <= page_bytes && a.min(b) < page_bytes / 2;
        for stretch in &self.view.stretches {
            for pair in stretch.blocks.windows(2) {
                if let [Block::Shared(a), Block::Shared(b)] = pair {
                    let (a, b) = (a.len(), b.len());
                    assert!(!should_join(a, b), "not joined: {a}, {b}");
                }
            }
        }
        for (family, pages) in self.blocks() {
            for &len in &pages {
                assert!(len <= 2 * page_bytes, "not split: {family:?}, {len}");
            }
            for pair in pages.windows(2) {
                assert!(!should_join(pair[0], pair[1]), "{family:?}: {pair:?}");
            }
            let is_small = pages.iter().sum::<usize>() < page_bytes / 2;
            assert!(family.is_none() || pages.len() > 1 || !is_small);
        }
    }
}

fn gauges(names: &[&str], value: f64) -> Pushed {
    let gauge = |name: &&str| ((*name).to_owned(), None, vec![value]);
    names.iter().map(gauge).collect()
}

#[test]
fn pages_keep_their_sizes_while_groups_come_and_go() {
    let mut fixture = Fixture::new(400);
    let mut snapshots = Snapshots::default();
    let mut random = fastrand::Rng::with_seed(5);
    let names = ["a", "b", "c", "m_own", "n", "o", "y", "z"];
    let mut groups: BTreeMap<u32, MarkedSlot> = BTreeMap::new();
    for round in 0..60 {
        let mut taken = Vec::new();
        // The store grows for 30 rounds and shrinks after that.
        let mut slots: Vec<u32> = (0..random.u32(1..30)).map(|_| random.u32(..100)).collect();
        slots.sort_unstable();
        slots.dedup();
        for slot in slots {
            let is_deleted = random.u32(..60) < round;
            if let (Some(group), true) = (groups.get(&slot), is_deleted) {
                taken.push(snapshots.deleted(group));
                groups.remove(&slot);
            } else if !is_deleted {
                let n = random.usize(1..=names.len());
                let push = snapshots.live(slot, &gauges(&names[..n], 1.0));
                let snapshot = Arc::clone(&push.snapshot);
                groups.insert(slot, MarkedSlot { slot, snapshot });
                taken.push(push);
            }
        }
        fixture.round(taken);
        fixture.assert_sizes();
    }
}

#[test]
fn a_family_becomes_large_and_moves_back_into_a_shared_page() {
    let mut fixture = Fixture::new(2000);
    let mut snapshots = Snapshots::default();
    let mut push = |slots: std::ops::Range<u32>| -> Vec<MarkedSlot> {
        let names = ["a", "b"];
        slots
            .map(|slot| snapshots.live(slot, &gauges(&names, 1.0)))
            .collect()
    };
    // All four families, the push times included, on one page; those behind m_own on another.
    fixture.round(push(0..4));
    let is_shared: Vec<bool> = fixture.blocks().iter().map(|(l, _)| l.is_none()).collect();
    assert_eq!(is_shared, [true, true], "{:?}", fixture.blocks());
    let fleet = push(4..400);
    let tombstones: Vec<MarkedSlot> = fleet
        .iter()
        .map(|taken| Snapshots::default().deleted(taken))
        .collect();
    fixture.round(fleet);
    let large: Vec<Option<String>> = fixture.blocks().into_iter().map(|b| b.0).collect();
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        large,
        [
            name("a"),
            name("b"),
            name("push_failure_time_seconds"),
            name("push_time_seconds")
        ]
    );
    fixture.round(tombstones);
    let is_shared: Vec<bool> = fixture.blocks().iter().map(|(l, _)| l.is_none()).collect();
    assert_eq!(is_shared, [true, true], "{:?}", fixture.blocks());
}

/// Own families are `m_own` and `x_own`.
#[test]
fn families_lie_in_the_stretch_behind_the_own_family_before_them() {
    let names = ["a", "m_ow", "m_own", "m_own_", "x", "x_own", "z"];
    let families_of = |text: String| -> Vec<String> {
        let name = |line: &str| line.split([' ', '{']).next().unwrap().to_owned();
        let mut names: Vec<String> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(name)
            .collect();
        names.dedup();
        names
    };
    // Once with all families on shared pages, once with large ones.
    for (page_bytes, n_groups) in [(1 << 20, 3), (100, 40)] {
        let mut fixture = Fixture::new(page_bytes);
        let mut snapshots = Snapshots::default();
        let push = |slot| snapshots.live(slot, &gauges(&names, 1.0));
        fixture.round((0..n_groups).map(push).collect());
        let texts = [0, 1, 2].map(|stretch| fixture.text_of(stretch));
        let times = ["push_failure_time_seconds", "push_time_seconds"];
        let expected: [&[&str]; 3] = [
            &["a", "m_ow"],
            &["m_own", "m_own_", times[0], times[1], "x"],
            &["x_own", "z"],
        ];
        assert_eq!(texts.clone().map(families_of), expected);
        for (stretch, own) in [(1, "m_own"), (2, "x_own")] {
            let text = &texts[stretch];
            // The header of an own family is written with the gateway's metrics.
            assert!(!text.contains(&format!("# TYPE {own} ")));
            let n_bytes: usize = text
                .lines()
                .filter(|line| line.starts_with(&format!("{own}{{")))
                .map(|line| line.len() + 1)
                .sum();
            assert!(text.starts_with(&format!("{own}{{")) && n_bytes > 0);
            let published = &fixture.view.stretches[stretch].published;
            assert_eq!(published.own_family_len, n_bytes as u64);
        }
        assert_eq!(fixture.view.stretches[0].published.own_family_len, 0);
    }
}

#[test]
fn a_plan_id_that_is_given_out_again_renders_the_new_layout() {
    let mut fixture = Fixture::new(1 << 20);
    let mut snapshots = Snapshots::default();
    let first = snapshots.live(0, &gauges(&["a"], 1.0));
    let tombstone = snapshots.deleted(&first);
    fixture.round(vec![first]);
    fixture.round(vec![tombstone]);
    assert_eq!(fixture.text_of(0), "");
    fixture.round(vec![snapshots.live(0, &gauges(&["b"], 2.0))]);
    assert_eq!(fixture.catalog.n_plan_ids(), 1, "the id was not used again");
    assert_eq!(
        fixture.text_of(0),
        "# TYPE b gauge\nb{i=\"0\",instance=\"0\",job=\"j\"} 2\n"
    );
}

/// Pages that a round does not touch are moved, not copied: their text stays where it is.
#[test]
fn a_round_builds_only_the_pages_of_changed_lines() {
    let mut fixture = Fixture::new(200);
    let mut snapshots = Snapshots::default();
    let mut push = |slot, value| snapshots.live(slot, &gauges(&["a", "b"], value));
    fixture.round((0..100).map(|slot| push(slot, 1.0)).collect());
    let texts = |fixture: &Fixture| -> Vec<*const u8> {
        let blocks = fixture.view.stretches.iter().flat_map(|s| &s.blocks);
        let pages = blocks.flat_map(Block::pages);
        pages.map(|page| page.text().as_ptr()).collect()
    };
    let before = texts(&fixture);
    let changed = push(50, 2.0);
    // One page of each of `a`, `b` and `push_time_seconds`.
    assert_eq!(fixture.round(vec![changed]), 3);
    let after = texts(&fixture);
    assert_eq!(before.len(), after.len());
    let n_new = after.iter().filter(|text| !before.contains(text)).count();
    assert_eq!(n_new, 3);
}
