//! Tests of the assembler without a store: random histories, whose expositions are compared with
//! plainly rendered ones, and the rules of a round.

use super::*;
use crate::model::{Families, MetricType};
use crate::scrape::Document;
use crate::scrape::testing::{OWN, Pushed, Snapshots, bytes_of, gunzip, render_plainly};
use bytes::Buf;
use std::collections::BTreeMap;

fn new_assembler(own_families: &[(&str, MetricType)], page_bytes: usize) -> Assembler {
    let names = own_families.iter().map(|(name, _)| *name);
    Assembler::new(names, PageSizes { page_bytes }, 2)
}

/// Runs a round with the snapshots taken, without publishing an exposition.
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

fn wanted(formats: &[(Format, bool)]) -> WantedViews {
    let rendezvous = Rendezvous::new();
    for (format, gzip) in formats {
        rendezvous.request_format(*format, *gzip, 1);
    }
    rendezvous.wanted(1)
}

/// Mostly the same help; another one, an empty one or none in one of `other` cases.
fn random_help(random: &mut fastrand::Rng, other: usize) -> Option<String> {
    let others = [Some("another"), Some("some other"), Some(""), None];
    let help = if random.usize(..other) == 0 {
        random.choice(others).expect("not empty")
    } else {
        Some("help")
    };
    help.map(str::to_owned)
}

/// Random histories of pushes and deletes. After every round the document has to equal what
/// rendering all groups from nothing gives: plain text published early, plain text, and compressed
/// text.
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
        let mut assembler = new_assembler(OWN, target);
        let mut snapshots = Snapshots::default();
        let mut groups: BTreeMap<u32, (Pushed, u64)> = BTreeMap::new();
        let mut last: BTreeMap<u32, MarkedSlot> = BTreeMap::new();
        // Few histories have many contradictions of helps: pages of a family are mostly rebuilt
        // because of other changes.
        let other_help = random.usize(1..10);
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
                        (name.clone(), random_help(&mut random, other_help), values)
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
            let expected = render_plainly(&groups);
            let text = |bytes| String::from_utf8(bytes).expect("an exposition is text");
            let plain =
                assembler.exposition_of(|view| (false, view.plain_stretches(&assembler.catalog)));
            assert_eq!(
                text(bytes_of(plain, Format::PLAIN, false)),
                expected,
                "early: seed {seed}, round {round}"
            );
            let effort = [Effort::Fast, Effort::Usual][random.usize(..2)];
            assembler.update_segments(effort);
            let is_recompressed = random.bool();
            while is_recompressed && assembler.n_fast_pages() > 0 {
                assembler.recompress(&Rendezvous::new());
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
            assert_eq!(assembler.groups.n_groups as usize, groups.len());
            let n_lines = expected
                .lines()
                .filter(|line| !line.starts_with('#'))
                .count();
            assert_eq!(assembler.groups.n_samples as usize, n_lines - OWN.len());
        }
    }
}

/// Large families are built by several threads, get more groups, lose most of them, and disappear.
#[test]
fn a_fleet_comes_and_goes() {
    let mut assembler = new_assembler(OWN, 1 << 10);
    let mut snapshots = Snapshots::default();
    let mut groups = BTreeMap::new();
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
        let expected = render_plainly(groups);
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
    // A single group comes first, so that the fleet grows out of a shared page.
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
            assembler.groups.by_slot[slot as usize]
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
            assembler.groups.by_slot[*slot as usize]
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

/// The lines are so long that a few groups fill a page builder: in large families, in small ones
/// beside them, and in many small ones in a row.
#[test]
fn long_lines_are_cut_into_pages_while_they_are_built() {
    let mut assembler = new_assembler(OWN, 64);
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
        let expected = render_plainly(&groups);
        assert!(document(&assembler, Format::PLAIN, false) == expected.as_bytes());
        assert!(gunzip(&document(&assembler, Format::PLAIN, true)) == expected.as_bytes());
        let exposition = assembler.exposition();
        let segments = exposition.views[0]
            .stretches
            .iter()
            .flat_map(|stretch| &stretch.segments);
        // No page holds more than a header and the two lines of one group.
        assert!(
            segments
                .flat_map(|segment| &segment.texts)
                .map(|text| text.len())
                .max()
                < Some(3200)
        );
    };
    // Pages are built from nothing, from a shared page, and from pages of a large family; first
    // with the same groups, then with more groups in between.
    push_all(&mut [7].into_iter(), 0.0);
    push_all(&mut (0..200), 0.0);
    push_all(&mut (0..300).step_by(2), 1.0);
    push_all(&mut (0..400), 2.0);
}

/// A push of which few numbers are new rebuilds few pages.
#[test]
fn an_unchanged_family_keeps_its_pages() {
    let mut assembler = new_assembler(&[], 1 << 10);
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
    // One page of `changes` and one of `push_time_seconds`.
    assert_eq!(again, 2);
}

/// The lines of the exposition that begin with `#`.
fn headers(assembler: &Assembler) -> String {
    let exposition = Arc::new(assembler.exposition());
    let mut document =
        Document::new(exposition, Format::PLAIN, false, &Families::default(), &[]).unwrap();
    let text = document.copy_to_bytes(document.remaining());
    let text = String::from_utf8(text.to_vec()).unwrap();
    let headers = text
        .lines()
        .filter(|l| l.starts_with('#') && l.contains(" up "));
    headers.collect::<Vec<_>>().join("\n")
}

/// Once with a small family, once with a large one, of which most pages stay as they are.
#[test]
fn the_exposed_help_follows_from_the_groups_that_exist() {
    for n_groups in [0, 2000] {
        let mut assembler = new_assembler(&[], 1 << 10);
        let mut snapshots = Snapshots::default();
        let push = |help: Option<&str>| -> Pushed {
            vec![("up".to_owned(), help.map(str::to_owned), vec![1.0])]
        };
        let mut round = |taken| {
            let report = apply(&mut assembler, taken, &wanted(&[]), |_| ());
            let conflicts = report.help_conflicts.into_iter();
            let conflicts: Vec<String> = conflicts
                .map(|conflict| format!("{} {}", conflict.exposed, conflict.other))
                .collect();
            (headers(&assembler), conflicts)
        };
        round(
            (0..n_groups)
                .map(|n| snapshots.live(n, &push(None)))
                .collect(),
        );
        let (a, b, c) = (n_groups, n_groups + 1, n_groups + 2);
        let with = |help: &str| format!("# HELP up {help}\n# TYPE up gauge");
        let none: [String; 0] = [];
        let replaced = snapshots.live(a, &push(Some("A")));
        assert_eq!(round(vec![replaced]), (with("A"), none.to_vec()));
        // Regression test: the help of the group's first push was kept.
        let of_a = snapshots.live(a, &push(Some("B")));
        assert_eq!(round(vec![of_a]), (with("B"), none.to_vec()));
        let of_b = snapshots.live(b, &push(Some("C")));
        let (tombstone_b, again_b) = (snapshots.deleted(&of_b), of_b.snapshot.clone());
        assert_eq!(round(vec![of_b]), (with("B"), vec!["B C".to_owned()]));
        let of_c = snapshots.live(c, &push(Some("A")));
        let tombstone_c = snapshots.deleted(&of_c);
        assert_eq!(round(vec![of_c]), (with("A"), vec!["A B".to_owned()]));
        // What is deleted leaves nothing behind, and a pair is reported once.
        assert_eq!(round(vec![tombstone_c]), (with("B"), none.to_vec()));
        assert_eq!(round(vec![tombstone_b]), (with("B"), none.to_vec()));
        let again_b = MarkedSlot {
            slot: b,
            snapshot: again_b,
        };
        let tombstone_b = snapshots.deleted(&again_b);
        assert_eq!(round(vec![again_b]), (with("B"), none.to_vec()));
        // An empty help counts if there is no other; else it is as if there were none.
        let of_a = snapshots.live(a, &push(Some("")));
        let without_a = snapshots.live(a, &push(None));
        assert_eq!(round(vec![of_a]), (with("C"), none.to_vec()));
        assert_eq!(round(vec![tombstone_b]), (with(""), none.to_vec()));
        let bare = "# TYPE up gauge".to_owned();
        assert_eq!(round(vec![without_a]), (bare, none.to_vec()));
    }
}

#[test]
fn a_format_that_is_not_asked_for_is_dropped_and_built_again_later() {
    let mut assembler = new_assembler(OWN, 1 << 10);
    let mut snapshots = Snapshots::default();
    let dots = Format::Text(crate::model::Escaping::Dots);
    let push: Pushed = vec![("up".to_owned(), None, vec![1.0])];
    apply(
        &mut assembler,
        vec![snapshots.live(0, &push)],
        &wanted(&[(dots, true)]),
        |_| (),
    );
    // The plain format was not asked for.
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
fn deletions_are_retired_when_the_pages_show_them() {
    let mut assembler = new_assembler(&[], 1 << 10);
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
