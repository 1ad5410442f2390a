//! Rules of the code that a reader relies on.

use std::collections::{BTreeMap, BTreeSet};
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

/// Which module may use which: the arrows of `ARCHITECTURE.md`.
#[test]
fn modules_use_only_what_the_map_shows() {
    let arrows: [(&str, &[&str]); 12] = [
        ("sync", &["sync"]),
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
        (
            "persistence",
            &[
                "persistence",
                "gateway",
                "store",
                "exposition",
                "model",
                "sync",
            ],
        ),
        (
            "transfer",
            &["transfer", "persistence", "gateway", "exposition", "model"],
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
    ];
    let modules = modules_below_src();
    let mut n_checked = 0;
    for (name, text) in modules.iter().filter(|(name, _)| !name.is_empty()) {
        let (_, allowed) = arrows
            .iter()
            .find(|(module, _)| name[0] == *module)
            .unwrap_or_else(|| panic!("{} has no arrows", name[0]));
        for used in used_modules(&modules, name, text) {
            let used = used.first().map_or("lib.rs", |used| used);
            assert!(allowed.contains(&used), "{} uses {used}", name.join("::"));
            n_checked += 1;
        }
    }
    assert!(n_checked > 100, "only {n_checked} imports were found");
}

/// The Rust files below `dir`, by module path: `src/http/push.rs` is `http::push`, `src/http/mod.rs`
/// is `http`.
fn modules_below_src() -> BTreeMap<Vec<String>, String> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = BTreeMap::new();
    for (path, text) in sources(&["src"]) {
        let relative = path
            .strip_prefix(&src)
            .expect("below src")
            .with_extension("");
        let mut names: Vec<String> = relative
            .iter()
            .map(|name| name.to_str().expect("UTF-8").to_owned())
            .collect();
        if names
            .last()
            .is_some_and(|name| ["mod", "lib"].contains(&name.as_str()))
        {
            names.pop();
        }
        // The program wires everything: it is no module. Files of tests may use what they test.
        let is_test = names
            .last()
            .is_some_and(|name| name == "tests" || name == "testing");
        if names != ["main"] && !is_test {
            modules.insert(names, text);
        }
    }
    modules
}

/// The modules that have a file of their own and that `text`, the file of module `from`, names by a path.
///
/// Reads `use` trees and paths in code that begin with `crate`, `super` or `self`. Lines that only
/// declare or re-export (`mod a;`, `pub use a::B;`) are no use of `a`.
fn used_modules(
    modules: &BTreeMap<Vec<String>, String>,
    from: &[String],
    text: &str,
) -> BTreeSet<Vec<String>> {
    let mut used = BTreeSet::new();
    for statement in statements(text) {
        if statement.starts_with("pub") && statement.contains(" use ") {
            continue;
        }
        for root in ["crate::", "super::", "self::"] {
            for (at, _) in statement.match_indices(root) {
                if statement[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
                {
                    continue;
                }
                let mut module = if root == "crate::" {
                    Vec::new()
                } else {
                    from.to_vec()
                };
                let mut rest = &statement[at..];
                while let Some(after) = rest.strip_prefix("super::") {
                    module.pop();
                    rest = after;
                }
                rest = rest
                    .strip_prefix("crate::")
                    .or(rest.strip_prefix("self::"))
                    .unwrap_or(rest);
                resolve(modules, module, rest, &mut used);
            }
        }
    }
    used.remove(from);
    used
}

/// Adds the modules that the rest of a path names: `push::Push`, or `{push::Push, slot, Store}`.
fn resolve(
    modules: &BTreeMap<Vec<String>, String>,
    mut module: Vec<String>,
    rest: &str,
    used: &mut BTreeSet<Vec<String>>,
) {
    let mut rest = rest;
    loop {
        if let Some(group) = rest.strip_prefix('{') {
            for member in split_group(group) {
                resolve(modules, module.clone(), member, used);
            }
            return;
        }
        let end = rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        module.push(rest[..end].to_owned());
        if !modules.contains_key(&module) {
            // A type, a function or a macro: what counts is the file that it is named in.
            module.pop();
            used.insert(module);
            return;
        }
        match rest[end..].strip_prefix("::") {
            Some(after) => rest = after,
            None => {
                used.insert(module);
                return;
            }
        }
    }
}

/// The members of a `use` group, of which `group` is what follows the opening brace.
fn split_group(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut begin) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(group[begin..at].trim());
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(group[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.is_empty());
    members
}

/// The product's code without comments and tests, cut at semicolons.
fn statements(text: &str) -> Vec<String> {
    let code: String = product(text)
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line.trim(), " "])
        .collect();
    code.split(';')
        .map(|statement| statement.trim().to_owned())
        .collect()
}

#[test]
fn no_two_files_use_each_other() {
    let modules = modules_below_src();
    let used: BTreeMap<&Vec<String>, BTreeSet<Vec<String>>> = modules
        .iter()
        .map(|(name, text)| (name, used_modules(&modules, name, text)))
        .collect();
    assert!(
        used.values().map(BTreeSet::len).sum::<usize>() > 100,
        "the imports are not read: {used:?}"
    );
    for (name, uses) in &used {
        for other in uses {
            let is_mutual = used.get(other).is_some_and(|back| back.contains(*name));
            assert!(
                !is_mutual,
                "{} and {} use each other",
                name.join("::"),
                other.join("::")
            );
        }
    }
}

#[test]
fn imports_are_read_from_every_form_of_a_path() {
    let modules: BTreeMap<Vec<String>, String> =
        [&["a"][..], &["a", "b"], &["a", "c"], &["d"], &[]]
            .iter()
            .map(|names| {
                (
                    names.iter().map(|name| (*name).to_owned()).collect(),
                    String::new(),
                )
            })
            .collect();
    let check = |text: &str, expected: &[&str]| {
        let from = ["a".to_owned(), "b".to_owned()];
        let used: Vec<String> = used_modules(&modules, &from, text)
            .iter()
            .map(|name| name.join("::"))
            .collect();
        assert_eq!(used, expected, "{text}");
    };
    check("use super::c::Thing;", &["a::c"]);
    check("use super::{c::{self, Thing}, Other};", &["a", "a::c"]);
    check("use crate::{\n    a::c,\n    d::Thing,\n};", &["a::c", "d"]);
    check("fn f() { super::c::f(); crate::d::g() }", &["a::c", "d"]);
    check("pub use super::c::Thing;", &[]);
    check("// super::c::Thing", &[]);
    check("use std::fmt; mod tests { use crate::d; }", &[]);
}

/// A reader can keep 500 lines in mind. A longer file says why it is one subject.
#[test]
fn long_files_say_why_they_are_one_subject() {
    const LINES_MAX: usize = 500;
    for (path, text) in sources(&["src"]) {
        let head: String = text
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .map(|line| &line[3..])
            .collect();
        assert!(
            text.lines().count() <= LINES_MAX || head.contains("One subject, so one file:"),
            "{}: more than {LINES_MAX} lines, and its head does not say why",
            path.display()
        );
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources(&["src", "tests", "benches", "loom-tests", "perf"]) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn no_test_is_ignored() {
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

/// Protocols choose no orderings: the types of `src/sync` own them.
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
/// compiler cannot tell which parts are not used at all.
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
