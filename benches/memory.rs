//! How many bytes on the heap a group of a fleet takes: after it was pushed, scraped as plain text,
//! scraped compressed, pushed again, and deleted. Prints a table; nothing is timed.

mod common;

use common::{families, fleet_body, key, put, store_of};
use pushgateway::scrape::{Assembler, Effort, Format, PageSizes, Rendezvous};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system's allocator, which counts the bytes in use.
struct CountingAllocator;

/// Bytes in use.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
/// The most bytes that were in use at once since the last line of the table.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

#[expect(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one only counts"
)]
// SAFETY: every call is passed to the system's allocator unchanged.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // Relaxed: statistics; no decision depends on them.
        HIGHEST.fetch_max(
            IN_USE.fetch_add(layout.size(), Relaxed) + layout.size(),
            Relaxed,
        );
        // SAFETY: the caller keeps the contract of this function, which is that of the call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller keeps the contract of this function, which is that of the call.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() {
    const N_GROUPS: u64 = 20_000;
    println!("{:32} {:>10} {:>10}", "bytes a group", "in use", "highest");
    let start = IN_USE.load(Relaxed);
    let print = |what: &str| {
        let each = |bytes: usize| (bytes - start) as u64 / N_GROUPS;
        println!(
            "{what:32} {:>10} {:>10}",
            each(IN_USE.load(Relaxed)),
            each(HIGHEST.swap(IN_USE.load(Relaxed), Relaxed))
        );
    };
    let store = store_of(N_GROUPS);
    print("pushed");
    let (rendezvous, mut assembler) = (
        Rendezvous::new(),
        Assembler::new(
            [],
            PageSizes {
                page_bytes: 6 << 10,
            },
            2,
        ),
    );
    rendezvous.request_format(Format::PLAIN, false, 1);
    assembler.run_round(&store, &rendezvous, 1, Effort::Usual, || ());
    print("scraped plain");
    println!(
        "{:32} {:>10}",
        "of that exposition",
        rendezvous.current(false).len_of(Format::PLAIN).unwrap_or(0) / N_GROUPS
    );
    rendezvous.request_format(Format::PLAIN, true, 1);
    assembler.run_round(&store, &rendezvous, 1, Effort::Usual, || ());
    print("scraped gzip");
    for n in 0..N_GROUPS {
        put(&store, &key(n), families(&fleet_body(n + 7)));
    }
    print("pushed again");
    assembler.run_round(&store, &rendezvous, 1, Effort::Usual, || ());
    print("scraped again");
    for n in 0..N_GROUPS {
        store.delete(&key(n));
    }
    print("deleted");
    assembler.run_round(&store, &rendezvous, 1, Effort::Usual, || ());
    print("scraped after that");
}
