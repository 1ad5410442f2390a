//! The numbers by which a push finds out whether it is on disk.

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom_tests::batches::Batches;
use loom_tests::store::{Consumer, MarkedSlot, Store};
use loom_tests::{explore, key, put, store_with_disk_writer};
use std::sync::Arc;

/// What the disk writer shares with a push, and the number that it has written last.
struct Disk {
    store: Arc<Store>,
    batches: Batches,
    written: AtomicU64,
}

impl Disk {
    /// Takes a cut, writes it, and commits the batch.
    fn write_batch(&self) {
        let batch = self.batches.begin();
        let mut taken = Vec::new();
        self.store.take_cut(Consumer::DiskWriter, &mut taken);
        for MarkedSlot { snapshot, .. } in taken {
            // Relaxed: the commit orders it.
            self.written.store(snapshot.values[0], Relaxed);
        }
        self.batches.commit(batch);
    }
}

/// A push asks for the batch that has it, while the writer commits two. Fails if `Batches::next` only
/// loads, if a batch begins after its cut, or if it counts a batch that has begun already.
#[test]
fn a_push_is_on_disk_when_its_batch_is_committed() {
    const OUTCOMES: [&str; 3] = ["the first", "the second", "none of both"];
    explore(3, &OUTCOMES, || {
        let disk = Arc::new(Disk {
            store: store_with_disk_writer(),
            batches: Batches::new(),
            written: AtomicU64::new(0),
        });
        assert!(put(&disk.store, &key("job=1"), "a=gauge", 1));
        let mut before = Vec::new();
        disk.store.take_cut(Consumer::DiskWriter, &mut before);
        let written_to = Arc::clone(&disk);
        let writer = loom::thread::spawn(move || {
            written_to.write_batch();
            written_to.write_batch();
        });
        assert!(put(&disk.store, &key("job=1"), "a=gauge", 2));
        let batch = disk.batches.next();
        if disk.batches.is_committed(batch) {
            // Relaxed: the look at the commit orders it.
            assert_eq!(disk.written.load(Relaxed), 2, "a push is missing on disk");
        }
        writer.join().unwrap();
        if disk.batches.is_committed(batch) {
            assert_eq!(disk.written.load(Relaxed), 2, "a push is missing on disk");
        }
        OUTCOMES[batch as usize - 1]
    });
}
