//! Two consumers, the assembler and the disk writer: each has one mark in every slot, and one
//! queue.

use loom_tests::store::{Consumer, MarkedSlot, Store};
use loom_tests::{delete, explore, key, put, shown, store_with_disk_writer};
use std::collections::BTreeMap;
use std::sync::Arc;

const CONSUMERS: [Consumer; 2] = [Consumer::Assembler, Consumer::DiskWriter];

/// What a consumer knows of the groups: what each of them exposes, as `a=gauge 1`, by the value of
/// its `job` label.
#[derive(Default)]
struct Known(BTreeMap<String, String>);

impl Known {
    /// Takes a cut and returns what was taken.
    fn take(&mut self, store: &Store, consumer: Consumer) -> Vec<MarkedSlot> {
        let mut taken = Vec::new();
        store.take_cut(consumer, &mut taken);
        for MarkedSlot { snapshot, .. } in &taken {
            let job = snapshot.key().job().to_owned();
            if snapshot.is_live() {
                let families = snapshot.layout().families_by_name();
                let shown = families
                    .map(|family| format!("{}={}", family.name(), family.metric_type().as_str()))
                    .collect::<Vec<_>>()
                    .join(" ");
                self.0
                    .insert(job, format!("{shown} {}", snapshot.values[0]));
            } else {
                self.0.remove(&job);
            }
        }
        taken
    }

    /// Takes a cut and passes the tombstones in it.
    fn take_and_pass(&mut self, store: &Store, consumer: Consumer) {
        for taken in self.take(store, consumer) {
            if !taken.snapshot.is_live() {
                store.pass_tombstones(consumer, &[taken.snapshot]);
            }
        }
    }

    fn of(&self, job: &str) -> &str {
        self.0.get(job).map_or("", String::as_str)
    }
}

/// Fails if a push marks the slot for the first consumer only, if both consumers share a mark or a
/// queue, or if a mark releases nothing.
#[test]
fn two_consumers_each_see_every_answered_push() {
    const OUTCOMES: [&str; 4] = [
        "both at once",
        "the assembler at once",
        "the disk writer at once",
        "both later",
    ];
    explore(2, &OUTCOMES, || {
        let store = store_with_disk_writer();
        let (pushed_to, written_from) = (Arc::clone(&store), Arc::clone(&store));
        let pusher = loom::thread::spawn(move || {
            assert!(put(&pushed_to, &key("job=1"), "a=gauge", 1));
            assert!(put(&pushed_to, &key("job=1"), "a=gauge", 2));
        });
        let writer = loom::thread::spawn(move || {
            let mut known = Known::default();
            known.take(&written_from, Consumer::DiskWriter);
            known
        });
        let mut assembler = Known::default();
        assembler.take(&store, Consumer::Assembler);
        pusher.join().unwrap();
        let mut writer = writer.join().unwrap();
        let at_once = [&assembler, &writer].map(|known| known.of("1") == "a=gauge 2");
        assembler.take(&store, Consumer::Assembler);
        writer.take(&store, Consumer::DiskWriter);
        for known in [assembler, writer] {
            assert_eq!(known.of("1"), "a=gauge 2", "an answered push is missing");
        }
        match at_once {
            [true, true] => OUTCOMES[0],
            [true, false] => OUTCOMES[1],
            [false, true] => OUTCOMES[2],
            [false, false] => OUTCOMES[3],
        }
    });
}

/// Fails if a slot is retired when one consumer has passed its tombstone: the other one would find
/// it dead, and never hear of the deletion. Fails as well if the note of who has passed is lost
/// when both pass at the same moment: the slot would stay for ever.
#[test]
fn a_tombstone_stays_until_both_consumers_have_passed_it() {
    explore(4, &["the number again", "another number"], || {
        let store = store_with_disk_writer();
        let mut known = [Known::default(), Known::default()];
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        for (known, consumer) in known.iter_mut().zip(CONSUMERS) {
            known.take(&store, consumer);
        }
        delete(&store, &key("job=1"));
        let [mut assembler, mut writer] = known;
        let other = Arc::clone(&store);
        let writer = loom::thread::spawn(move || {
            writer.take_and_pass(&other, Consumer::DiskWriter);
            writer
        });
        assembler.take_and_pass(&store, Consumer::Assembler);
        assert!(put(&store, &key("job=2"), "b=gauge", 1));
        let mut writer = writer.join().unwrap();
        let number = assembler.take(&store, Consumer::Assembler)[0].slot;
        writer.take_and_pass(&store, Consumer::DiskWriter);
        for known in [&assembler, &writer] {
            assert_eq!(known.of("1"), "", "an answered delete is missing");
            assert_eq!(known.of("2"), "b=gauge 1", "an answered push is missing");
        }
        // Both have passed: of two numbers none is lost, and none is given out twice.
        assert!(put(&store, &key("job=3"), "b=gauge", 1));
        let next = assembler.take(&store, Consumer::Assembler)[0].slot;
        assert!(
            [number, next] == [0, 1] || [number, next] == [1, 0],
            "a slot was left behind: {number}, {next}"
        );
        if number == 0 {
            "the number again"
        } else {
            "another number"
        }
    });
}

/// Both consumers pass a tombstone, while a push brings the group again. Fails if a slot is retired
/// under a push, and as the model above does.
#[test]
fn a_push_is_not_lost_in_a_slot_that_two_consumers_pass() {
    explore(2, &["met the retiring", "did not meet it"], || {
        let store = store_with_disk_writer();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        delete(&store, &key("job=1"));
        let (written_from, pushed_to) = (Arc::clone(&store), Arc::clone(&store));
        let writer = loom::thread::spawn(move || {
            let mut known = Known::default();
            known.take_and_pass(&written_from, Consumer::DiskWriter);
            known
        });
        let pusher =
            loom::thread::spawn(move || assert!(put(&pushed_to, &key("job=1"), "b=gauge", 2)));
        let mut assembler = Known::default();
        assembler.take_and_pass(&store, Consumer::Assembler);
        pusher.join().unwrap();
        let mut writer = writer.join().unwrap();
        assembler.take(&store, Consumer::Assembler);
        writer.take(&store, Consumer::DiskWriter);
        for known in [assembler, writer] {
            assert_eq!(known.of("1"), "b=gauge 2", "an answered push is missing");
        }
        assert_eq!(shown(&store, &key("job=1")), "b=gauge");
        // The versions of the push, the deletion and the second push; one more for an exchange that
        // failed because the slot was retired first.
        let has_met = store.group(&key("job=1")).unwrap().version > 3;
        // The next group has another number.
        assert!(put(&store, &key("job=1"), "b=gauge", 3));
        assert!(put(&store, &key("job=2"), "b=gauge", 3));
        let numbers: Vec<u32> = Known::default()
            .take(&store, Consumer::DiskWriter)
            .iter()
            .map(|taken| taken.slot)
            .collect();
        assert!(
            numbers.len() == 2 && numbers[0] != numbers[1],
            "two groups have one number: {numbers:?}"
        );
        if has_met {
            "met the retiring"
        } else {
            "did not meet it"
        }
    });
}

/// The first group drops `a`, then the second one adds it with another type, while the disk writer
/// takes what is marked: its batch is the state of all groups at one moment. Fails if claims are
/// settled before the slot is marked for the second consumer, or if `take_cut` is a single pass.
#[test]
fn a_batch_of_the_disk_writer_is_a_cut() {
    explore(2, &["before", "between", "after"], || {
        let store = store_with_disk_writer();
        assert!(put(&store, &key("job=1"), "a=gauge", 1));
        assert!(put(&store, &key("job=2"), "b=gauge", 1));
        let mut known = Known::default();
        known.take(&store, Consumer::DiskWriter);
        assert!(put(&store, &key("job=2"), "b=gauge", 2));
        let (first, second) = (Arc::clone(&store), Arc::clone(&store));
        let first = loom::thread::spawn(move || delete(&first, &key("job=1")));
        let second =
            loom::thread::spawn(move || put(&second, &key("job=2"), "a=counter b=gauge", 3));
        known.take(&store, Consumer::DiskWriter);
        let outcome = match (known.of("1"), known.of("2")) {
            ("a=gauge 1", "b=gauge 2") => "before",
            ("", "b=gauge 2") => "between",
            ("", "a=counter b=gauge 3") => "after",
            other => panic!("batch with two types: {other:?}"),
        };
        first.join().unwrap();
        let is_accepted = second.join().unwrap();
        known.take(&store, Consumer::DiskWriter);
        assert_eq!(known.of("1"), "", "an answered delete is missing");
        assert_eq!(
            known.of("2") == "a=counter b=gauge 3",
            is_accepted,
            "an answered push is missing"
        );
        outcome
    });
}
