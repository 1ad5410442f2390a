//! Tests of the catalog: how long plans and families live, and what headers are exposed.

use super::*;
use crate::exposition::text;
use crate::model::{GroupingKey, NameScheme};
use crate::scrape::testing::{Pushed, Snapshots};
use std::sync::Arc;

fn gauge(name: &str, help: Option<&str>) -> Pushed {
    vec![(name.to_owned(), help.map(str::to_owned), vec![1.0])]
}

/// The names of the exposed families, sorted.
fn names(catalog: &Catalog) -> Vec<&str> {
    let families = catalog.families.iter().flatten();
    let mut names: Vec<&str> = families.map(|family| &*family.name).collect();
    names.sort_unstable();
    names
}

fn help_of<'a>(catalog: &'a Catalog, name: &str) -> Option<&'a str> {
    catalog.header_of(catalog.by_name[name]).help
}

const TIMES: [&str; 2] = [PUSH_FAILURE_TIME, PUSH_TIME];

#[test]
fn groups_with_one_layout_share_a_plan_until_the_last_one_goes() {
    let mut catalog = Catalog::new([]);
    let mut snapshots = Snapshots::default();
    let (first, second) = (
        snapshots.live(1, &gauge("a", None)),
        snapshots.live(2, &gauge("a", None)),
    );
    let other = snapshots.live(3, &gauge("b", None));
    let shared = catalog.acquire_plan(&first.snapshot);
    assert_eq!(catalog.acquire_plan(&second.snapshot), shared);
    let other = catalog.acquire_plan(&other.snapshot);
    assert_ne!(other, shared);
    assert_eq!(catalog.plan(shared).n_groups, 2);
    assert!(catalog.remove_unused().is_empty());
    catalog.release_plan(shared);
    assert!(catalog.remove_unused().is_empty());
    catalog.release_plan(shared);
    // Until the round ends both are there: it has lines to remove.
    assert_eq!(catalog.plan(shared).n_groups, 0);
    assert_eq!(names(&catalog), ["a", "b", TIMES[0], TIMES[1]]);
    assert_eq!(catalog.remove_unused(), [shared]);
    assert_eq!(names(&catalog), ["b", TIMES[0], TIMES[1]]);
    catalog.release_plan(other);
    assert_eq!(catalog.remove_unused(), [other]);
    assert_eq!(catalog.n_families(), 0);
    // The ids are given out again.
    let again = snapshots.live(4, &gauge("c", None));
    assert!(catalog.acquire_plan(&again.snapshot) < 2);
    assert_eq!((catalog.n_plan_ids(), catalog.n_family_ids()), (2, 4));
}

#[test]
fn a_plan_that_is_released_and_acquired_in_one_round_stays() {
    let mut catalog = Catalog::new([]);
    let mut snapshots = Snapshots::default();
    let first = snapshots.live(1, &gauge("a", Some("help")));
    let id = catalog.acquire_plan(&first.snapshot);
    catalog.update_headers();
    catalog.remove_unused();
    catalog.release_plan(id);
    let second = snapshots.live(2, &gauge("a", Some("help")));
    assert_eq!(catalog.acquire_plan(&second.snapshot), id);
    assert_eq!(catalog.update_headers().conflicts, []);
    assert!(catalog.remove_unused().is_empty());
    assert_eq!(catalog.plan(id).n_groups, 1);
    assert_eq!(help_of(&catalog, "a"), Some("help"));
}

#[test]
fn sources_name_the_values_of_their_families() {
    let mut catalog = Catalog::new([]);
    let mut snapshots = Snapshots::default();
    // Another order of families than that of their ids and names.
    let earlier = snapshots.live(1, &gauge("c", None));
    catalog.acquire_plan(&earlier.snapshot);
    let pushed: Pushed = [("c", vec![1.0]), ("a", vec![2.0, 3.0]), ("b", vec![4.0])]
        .into_iter()
        .map(|(name, values)| (name.to_owned(), None, values))
        .collect();
    let snapshot = snapshots.live(2, &pushed).snapshot;
    let id = catalog.acquire_plan(&snapshot);
    let plan = catalog.plan(id);
    assert!(plan.sources.is_sorted_by_key(|&(family, _)| family));
    let mut shown: Vec<(&str, Vec<f64>)> = Vec::new();
    for (family, source) in &plan.sources {
        let name = &*catalog.family(*family).name;
        assert_eq!(catalog.family_of_source(plan, source).name(), name);
        assert!(plan.has(*family));
        if let ValueSource::Pushed { values, .. } = source {
            let values = snapshot.values[values.clone()].iter();
            shown.push((name, values.map(|&bits| f64::from_bits(bits)).collect()));
        }
    }
    shown.sort_by_key(|&(name, _)| name);
    assert_eq!(
        shown,
        [("a", vec![2.0, 3.0]), ("b", vec![4.0]), ("c", vec![1.0])]
    );
}

#[test]
fn a_family_lies_behind_the_own_families_with_names_up_to_its_name() {
    let mut catalog = Catalog::new(["go_b", "go_d"]);
    for (name, stretch, is_own) in [
        ("go_a", 0, false),
        ("go_b", 1, true),
        ("go_b_total", 1, false),
        ("go_c", 1, false),
        ("go_d", 2, true),
        ("z", 2, false),
        ("A", 0, false),
    ] {
        let id = catalog.add_family(name, MetricType::Gauge);
        let family = catalog.family(id);
        assert_eq!((family.stretch, family.is_own), (stretch, is_own), "{name}");
    }
}

/// The helps of the gateway's own families are not those of pushes.
#[test]
fn contradictions_of_helps_are_reported_but_for_own_families() {
    let mut catalog = Catalog::new(["own"]);
    let mut snapshots = Snapshots::default();
    let mut push = |name: &str, help: &str| snapshots.live(0, &gauge(name, Some(help))).snapshot;
    let helps = [("a", "second"), ("a", "first"), ("own", "x"), ("own", "y")];
    for (name, help) in helps {
        catalog.acquire_plan(&push(name, help));
    }
    let conflicts = catalog.update_headers().conflicts;
    let expected = HelpConflict {
        family: "a".to_owned(),
        exposed: "first".to_owned(),
        other: "second".to_owned(),
    };
    assert_eq!(conflicts, [expected]);
    assert_eq!(help_of(&catalog, "a"), Some("first"));
}

/// A plan that lost its groups in this round is still there, because its lines have to be removed.
/// Its helps do not count any more.
#[test]
fn helps_of_plans_without_groups_do_not_count() {
    let mut catalog = Catalog::new([]);
    let mut snapshots = Snapshots::default();
    let mut push = |help: &str| snapshots.live(0, &gauge("a", Some(help))).snapshot;
    let (first, second) = (push("1"), push("2"));
    let plan = catalog.acquire_plan(&first);
    catalog.update_headers();
    catalog.remove_unused();
    catalog.release_plan(plan);
    catalog.acquire_plan(&second);
    assert_eq!(catalog.update_headers().conflicts, []);
    assert_eq!(help_of(&catalog, "a"), Some("2"));
    catalog.remove_unused();
    assert_eq!(help_of(&catalog, "a"), Some("2"));
}

#[test]
fn a_plan_counts_the_lines_of_the_text_format() {
    let check = |text: &str, n_lines: u64| {
        let families = text::parse(text.as_bytes(), NameScheme::Legacy).unwrap();
        let key = Arc::new(GroupingKey::new([("job", "j")]).unwrap());
        let layout = Arc::new(Layout::new(families.skeleton, &key).unwrap());
        let snapshot = Snapshot::for_test(1, key, layout, families.values, 1);
        let mut catalog = Catalog::new([]);
        let id = catalog.acquire_plan(&snapshot);
        // Two lines of push times.
        assert_eq!(catalog.plan(id).n_samples, n_lines + 2, "{text}");
    };
    check("", 0);
    check(
        "# TYPE a counter\na 1\n# TYPE b gauge\nb{l=\"1\"} 1\nb{l=\"2\"} 1\nc 1\n",
        4,
    );
    check(
        "# TYPE s summary\ns{quantile=\"0.5\"} 1\ns{quantile=\"0.9\"} 2\ns_sum 1\ns_count 2\n",
        4,
    );
    // The text format adds a bucket for +Inf where it is missing.
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 1\nh_count 2\n",
        4,
    );
    check(
        "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 2\n",
        4,
    );
}
