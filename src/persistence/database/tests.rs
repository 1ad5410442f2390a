//! Tests of the state file.

use super::*;
use std::borrow::Cow;

/// A directory that is removed at the end of a test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let name = format!("pushgateway-database-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("state.db")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn put(id: i64, value: &[u8]) -> Change<'_> {
    Change::Put {
        id,
        key: Cow::Owned(format!("key {id}")),
        value: Cow::Borrowed(value),
    }
}

/// Ids and values.
type Rows = Vec<(i64, Vec<u8>)>;

/// Opens a file and returns it with its rows.
fn open(path: &Path) -> Result<(Database, Rows), OpenError> {
    let mut rows = Vec::new();
    let database = Database::open(path, |row| {
        assert_eq!(row.key, format!("key {}", row.id));
        rows.push((row.id, row.value.to_vec()));
        Ok(())
    })?;
    Ok((database, rows))
}

fn rows(path: &Path) -> Rows {
    open(path).unwrap().1
}

#[test]
fn what_was_written_is_there_after_closing_and_after_dying() {
    let directory = Directory::new("written");
    let path = directory.file();
    for closes in [true, false] {
        let (mut database, _) = open(&path).unwrap();
        database
            .write([put(1, b"a"), put(2, b"b"), put(3, b"c")])
            .unwrap();
        let name = Change::SetNamedValue {
            name: Cow::Borrowed("n"),
            value: Cow::Borrowed(b"v"),
        };
        database
            .write([put(2, b"bb"), Change::Delete { id: 3 }, name])
            .unwrap();
        if closes {
            database.close().unwrap();
        } else {
            // As a process does that is killed: the descriptors are closed, and nothing else.
            std::mem::forget(database);
            let copy = directory.0.join("copy.db");
            for suffix in ["", "-wal"] {
                let with = |path: &Path| {
                    let mut name = path.as_os_str().to_owned();
                    name.push(suffix);
                    PathBuf::from(name)
                };
                std::fs::copy(with(&path), with(&copy)).unwrap();
            }
            let (database, found) = open(&copy).unwrap();
            assert_eq!(found, [(1, b"a".to_vec()), (2, b"bb".to_vec())]);
            assert_eq!(database.named_value("n").unwrap(), b"v");
            return;
        }
        let (database, found) = open(&path).unwrap();
        assert_eq!(found, [(1, b"a".to_vec()), (2, b"bb".to_vec())]);
        assert_eq!(database.named_value("n").unwrap(), b"v");
        assert_eq!(database.named_value("other"), None);
    }
}

#[test]
fn one_at_a_time_has_the_file() {
    let directory = Directory::new("once");
    let path = directory.file();
    let (database, _) = open(&path).unwrap();
    assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
    drop(database);
    assert!(open(&path).is_ok());
}

#[test]
fn a_damaged_file_is_refused_or_read_correctly_and_stays_as_it_is() {
    let directory = Directory::new("damaged");
    let path = directory.file();
    let expected: Rows = (0..40).map(|id| (id, vec![id as u8; 300])).collect();
    let (mut database, _) = open(&path).unwrap();
    database
        .write(expected.iter().map(|(id, value)| put(*id, value)))
        .unwrap();
    database.close().unwrap();
    let good = std::fs::read(&path).unwrap();
    let mut n_refused = 0;
    let mut check = |damaged: &[u8], what: &str| {
        let _ = std::fs::remove_file(path.with_extension("db-wal"));
        std::fs::write(&path, damaged).unwrap();
        match open(&path) {
            Ok((_, found)) => assert_eq!(found, expected, "{what}"),
            Err(error) => {
                n_refused += 1;
                assert!(error.to_string().contains("state.db"), "{what}: {error}");
                let after = std::fs::read(&path).unwrap();
                let first_change = after.iter().zip(damaged).position(|(a, b)| a != b);
                assert_eq!(
                    (after.len(), first_change),
                    (damaged.len(), None),
                    "{what}: {error}"
                );
            }
        }
    };
    for n in (0..good.len()).step_by(97) {
        let mut damaged = good.clone();
        damaged[n] ^= 1 << (n % 8);
        check(&damaged, &format!("bit {} of byte {n}", n % 8));
    }
    for n in (0..good.len()).step_by(509) {
        check(&good[..n], &format!("the first {n} bytes"));
    }
    check(b"push_time_seconds 1\n", "another file");
    assert!(n_refused > 50, "{n_refused}");
}

#[test]
fn files_of_newer_versions_and_other_programs_are_refused() {
    let directory = Directory::new("newer");
    let path = directory.file();
    drop(open(&path).unwrap());
    let set = |pragma: &str, value: u32| {
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, pragma, value).unwrap();
    };
    set("user_version", 2);
    assert!(matches!(
        open(&path),
        Err(OpenError::NewerVersion { found: 2, .. })
    ));
    set("user_version", 1);
    set("application_id", 5);
    assert!(matches!(
        open(&path),
        Err(OpenError::OtherProgram {
            application_id: 5,
            ..
        })
    ));
}

#[test]
fn a_missing_directory_is_named() {
    let directory = Directory::new("missing");
    let error = open(&directory.0.join("no/state.db")).unwrap_err();
    assert!(
        matches!(error, OpenError::DirectoryMissing { .. }),
        "{error}"
    );
}

#[test]
fn a_log_without_its_database_is_refused() {
    let directory = Directory::new("log");
    let path = directory.file();
    std::fs::write(path.with_extension("db-wal"), b"x").unwrap();
    let error = open(&path).unwrap_err();
    assert!(
        matches!(error, OpenError::LogWithoutDatabase { .. }),
        "{error}"
    );
}

#[test]
fn a_replaced_file_has_the_new_rows_only() {
    let directory = Directory::new("replaced");
    let path = directory.file();
    let (mut database, _) = open(&path).unwrap();
    let named = |name: &'static str, value: &'static [u8]| Change::SetNamedValue {
        name: name.into(),
        value: value.into(),
    };
    database
        .write([put(1, b"old"), put(2, b"old"), named("kept", b"k")])
        .unwrap();
    database.write([named("set again", b"1")]).unwrap();
    // As after a failed sync.
    database.connection = None;
    assert!(database.is_in_doubt());
    assert!(matches!(
        database.write([put(3, b"x")]),
        Err(WriteError::Untrusted { .. })
    ));
    assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
    database
        .replace_all([put(7, b"new"), named("set again", b"2")])
        .unwrap();
    assert!(matches!(open(&path), Err(OpenError::InUse { .. })));
    database.write([put(8, b"newer")]).unwrap();
    drop(database);
    let (database, rows) = open(&path).unwrap();
    assert_eq!(rows, [(7, b"new".to_vec()), (8, b"newer".to_vec())]);
    assert_eq!(database.named_value("kept").unwrap(), b"k");
    assert_eq!(database.named_value("set again").unwrap(), b"2");
}

#[test]
fn an_interrupted_replacement_is_finished_or_forgotten() {
    let directory = Directory::new("interrupted");
    let path = directory.file();
    let (mut database, _) = open(&path).unwrap();
    database.write([put(1, b"old")]).unwrap();
    database.close().unwrap();
    let other = directory.0.join("other.db");
    let (mut database, _) = open(&other).unwrap();
    database.write([put(2, b"new")]).unwrap();
    database.close().unwrap();
    std::fs::copy(&other, path.with_extension("db.partial")).unwrap();
    assert_eq!(rows(&path), [(1, b"old".to_vec())]);
    assert!(!path.with_extension("db.partial").exists());
    std::fs::copy(&other, path.with_extension("db.new")).unwrap();
    assert_eq!(rows(&path), [(2, b"new".to_vec())]);
}

#[test]
fn the_file_is_for_its_owner_only_and_shrinks() {
    use std::os::unix::fs::MetadataExt;
    let directory = Directory::new("shrinks");
    let path = directory.file();
    let (mut database, _) = open(&path).unwrap();
    let value = vec![7; 1000];
    database.write((0..5000).map(|id| put(id, &value))).unwrap();
    for suffix in ["db", "db-wal"] {
        let mode = std::fs::metadata(path.with_extension(suffix))
            .unwrap()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
    database
        .write((0..5000).map(|id| Change::Delete { id }))
        .unwrap();
    for _ in 0..20 {
        database.write([put(1, b"x")]).unwrap();
    }
    database.close().unwrap();
    let size = std::fs::metadata(&path).unwrap().size();
    assert!(size < 2_000_000, "{size} bytes for one row");
    assert_eq!(rows(&path), [(1, b"x".to_vec())]);
}

/// The file and its log, as a process leaves them that is killed: the descriptors are closed, and nothing
/// else.
fn killed(database: Database, path: &Path) -> [Vec<u8>; 2] {
    let files = [path.to_owned(), path.with_extension("db-wal")];
    let content = files.clone().map(|file| std::fs::read(file).unwrap());
    drop(database);
    for (file, content) in files.iter().zip(&content) {
        std::fs::write(file, content).unwrap();
    }
    content
}

#[test]
fn the_log_of_a_damaged_file_is_not_written_back_to_it() {
    let directory = Directory::new("damaged-log");
    let path = directory.file();
    let (mut database, _) = open(&path).unwrap();
    let value = [7; 3000];
    database.write((0..40).map(|id| put(id, &value))).unwrap();
    database.close().unwrap();
    let (mut database, _) = open(&path).unwrap();
    database.write([put(0, b"later")]).unwrap();
    let [mut file, log] = killed(database, &path);
    assert!(!log.is_empty());
    let place = file
        .windows(3000)
        .rposition(|bytes| bytes == value)
        .unwrap();
    file[place] = 8;
    std::fs::write(&path, &file).unwrap();
    for _ in 0..2 {
        assert!(matches!(open(&path), Err(OpenError::Damaged { .. })));
        assert!(
            std::fs::read(&path).unwrap() == file,
            "the file has changed"
        );
        assert!(std::fs::read(path.with_extension("db-wal")).unwrap() == log);
    }
}

#[test]
fn a_file_that_is_refused_before_its_rows_are_read_stays_as_it_is_with_its_log() {
    let directory = Directory::new("refused-early");
    let path = directory.file();
    let value = [7; 3000];
    let (mut database, _) = open(&path).unwrap();
    database.write((0..40).map(|id| put(id, &value))).unwrap();
    database.close().unwrap();
    let (mut database, _) = open(&path).unwrap();
    database.write([put(0, b"later")]).unwrap();
    let [good, log] = killed(database, &path);
    let log_path = path.with_extension("db-wal");
    let mut n_refused = 0;
    let mut check = |damaged: &[u8], what: &str| {
        std::fs::write(&path, damaged).unwrap();
        std::fs::write(&log_path, &log).unwrap();
        match open(&path) {
            Ok((_, found)) => assert_eq!(found.len(), 40, "{what}"),
            Err(error) => {
                n_refused += 1;
                let file = std::fs::read(&path).unwrap();
                assert!(file == damaged, "the file has changed: {what}: {error}");
                let log_now = std::fs::read(&log_path).unwrap();
                assert!(log_now == log, "the log has changed: {what}: {error}");
            }
        }
    };
    // The header, the list of tables at the end of the first page, and sizes within that page.
    for n in (0..120).chain((3700..4096).step_by(5)) {
        for bit in [0, 4, 7] {
            let mut damaged = good.clone();
            damaged[n] ^= 1 << bit;
            check(&damaged, &format!("bit {bit} of byte {n}"));
        }
    }
    for n in (1..8192).step_by(509) {
        check(&good[..n], &format!("the first {n} bytes"));
    }
    assert!(n_refused > 100, "{n_refused}");
}

#[test]
fn a_clean_close_gives_all_free_space_back() {
    use std::os::unix::fs::MetadataExt;
    let directory = Directory::new("close-shrinks");
    let path = directory.file();
    let value = vec![7; 1000];
    let (mut database, _) = open(&path).unwrap();
    database.write((0..5000).map(|id| put(id, &value))).unwrap();
    let deletes = (1..5000).map(|id| Change::Delete { id });
    database.write(deletes).unwrap();
    database.close().unwrap();
    let size = std::fs::metadata(&path).unwrap().size();
    assert!(size < 100_000, "{size} bytes for one row");
    assert_eq!(rows(&path), [(0, value)]);
}

/// A database at `path`, and a replacement of it that has not taken its place yet.
fn interrupted_replacement(path: &Path) -> PathBuf {
    let replacement = path.with_extension("db.new");
    for (file, id) in [(path, 1), (&replacement, 2)] {
        let (mut database, _) = open(file).unwrap();
        database.write([put(id, b"value")]).unwrap();
        database.close().unwrap();
    }
    replacement
}

#[test]
fn a_file_that_is_set_aside_includes_its_interrupted_replacement() {
    let directory = Directory::new("aside");
    let path = directory.file();
    interrupted_replacement(&path);
    let old = Database::move_to_old(&path).unwrap();
    assert_eq!(rows(&path), []);
    assert_eq!(rows(&old), [(2, b"value".to_vec())]);
}

#[test]
fn a_damaged_replacement_does_not_take_the_place_of_the_file() {
    let directory = Directory::new("damaged-replacement");
    let path = directory.file();
    let replacement = interrupted_replacement(&path);
    let file = std::fs::read(&path).unwrap();
    let good = std::fs::read(&replacement).unwrap();
    let mut damaged = good.clone();
    let place = good.windows(5).rposition(|bytes| bytes == b"value");
    damaged[place.unwrap()] = b'w';
    for content in [&damaged, &good[..4096], b""] {
        std::fs::write(&replacement, content).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains("state.db.new"), "{error}");
        assert!(std::fs::read(&path).unwrap() == file);
        assert!(std::fs::read(&replacement).unwrap() == content);
    }
    std::fs::remove_file(&replacement).unwrap();
    assert_eq!(rows(&path), [(1, b"value".to_vec())]);
}
