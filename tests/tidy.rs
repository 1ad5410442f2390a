//! Rules of the code that a reader relies on.

use std::path::{Path, PathBuf};

/// Rust files below these directories, with their text.
fn sources(dirs: &[&str]) -> Vec<(PathBuf, String)> {
    fn collect(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    collect(&path, found);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("UTF-8");
                found.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for dir in dirs {
        let path = root.join(dir);
        if path.is_file() {
            found.push((path.clone(), std::fs::read_to_string(path).expect("UTF-8")));
        } else {
            collect(&path, &mut found);
        }
    }
    assert!(!found.is_empty(), "{dirs:?}");
    found
}

/// The part of a file that is not its tests.
fn product(text: &str) -> &str {
    text.split("mod tests {").next().expect("a first part")
}

#[test]
fn core_modules_do_no_io_and_read_no_clock() {
    for (path, text) in sources(&["src/model", "src/exposition", "src/store", "src/scrape"]) {
        for forbidden in [
            "tokio::",
            "hyper::",
            "std::fs",
            "std::net",
            "SystemTime",
            "Instant",
            "async fn",
            ".await",
        ] {
            assert!(
                !product(&text).contains(forbidden),
                "{}: {forbidden}",
                path.display()
            );
        }
    }
}

/// Which module may use which: the arrows of the README's map.
#[test]
fn modules_use_only_what_the_map_shows() {
    let arrows: [(&str, &[&str]); 10] = [
        ("model", &["model"]),
        ("exposition", &["exposition", "model"]),
        ("store", &["store", "model", "sync"]),
        (
            "scrape",
            &["scrape", "store", "exposition", "model", "sync"],
        ),
        (
            "telemetry",
            &["telemetry", "scrape", "store", "model", "sync"],
        ),
        (
            "gateway",
            &[
                "gateway",
                "scrape",
                "store",
                "exposition",
                "telemetry",
                "model",
                "sync",
            ],
        ),
        ("ui", &["ui", "gateway", "model"]),
        (
            "http",
            &[
                "http",
                "gateway",
                "ui",
                "telemetry",
                "scrape",
                "exposition",
                "model",
            ],
        ),
        ("cli", &["cli", "telemetry"]),
        ("sync", &["sync"]),
    ];
    for (module, allowed) in arrows {
        for (path, text) in sources(&[&format!("src/{module}")]) {
            for (_, used) in product(&text)
                .match_indices("crate::")
                .map(|(at, found)| (at, &text[at + found.len()..]))
            {
                let used: &str = used
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next()
                    .unwrap_or_default();
                assert!(allowed.contains(&used), "{}: uses {used}", path.display());
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources(&["src", "tests", "benches", "loom-tests", "perf"]) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn no_test_is_passed_over() {
    let ignored = concat!("#[", "ignore");
    for (path, text) in sources(&["src", "tests", "benches", "loom-tests", "perf"]) {
        assert!(!text.contains(ignored), "{}", path.display());
    }
}

/// `SeqCst` loads and stores are not what loom takes them for: where it matters, pairs of fences
/// are used.
#[test]
fn sequential_consistency_stands_in_fences_alone() {
    for (path, text) in sources(&["src"]) {
        for line in product(&text)
            .lines()
            .filter(|line| line.contains("SeqCst") && !line.trim_start().starts_with("//"))
        {
            assert!(
                line.contains("fence(SeqCst)") || line.starts_with("use "),
                "{}: {line}",
                path.display()
            );
        }
    }
}

/// Protocols choose no orderings: the types of `sync.rs` own them.
#[test]
fn the_store_chooses_no_orderings() {
    for (path, text) in sources(&["src/store"]) {
        if path.ends_with("layout.rs") {
            // A counter of ids, Relaxed.
            continue;
        }
        for ordering in [
            "Relaxed",
            "AcqRel",
            "Ordering::Acquire",
            "Ordering::Release",
        ] {
            let is_code = |line: &&str| !line.trim_start().starts_with("//");
            assert!(
                !product(&text)
                    .lines()
                    .filter(is_code)
                    .any(|line| line.contains(ordering)),
                "{}: {ordering}",
                path.display()
            );
        }
    }
}

/// Each test file and each bench compiles its own copy of `common` and uses a part of it, so the
/// compiler cannot tell what nobody uses.
#[test]
fn what_tests_and_benches_share_is_used() {
    for dir in ["tests", "benches"] {
        let files = sources(&[dir]);
        let (_, shared) = files
            .iter()
            .find(|(path, _)| path.ends_with("common/mod.rs"))
            .expect("they share something");
        for line in shared.lines().map(str::trim_start) {
            let Some(item) = ["pub fn ", "pub struct ", "pub const "]
                .iter()
                .find_map(|kind| line.strip_prefix(kind))
            else {
                continue;
            };
            let name = item
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .expect("a name");
            let n_in = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric() && c != '_')
                    .filter(|word| *word == name)
                    .count()
            };
            let n_uses: usize = files.iter().map(|(_, text)| n_in(text)).sum();
            assert!(n_uses > 1, "{dir}: nobody uses {name}");
        }
    }
}
