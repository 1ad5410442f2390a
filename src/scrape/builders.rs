//! The thread pool that builds and compresses pages.
//!
//! The pool knows nothing of pages: it runs functions over slices.

use rayon::prelude::*;

/// Estimated bytes of work below which a second thread costs more than it saves.
const PARALLEL_BYTES_MIN: usize = 512 << 10;

/// Estimated bytes of work after which a thread calls [`yield_cpu`].
pub(super) const YIELD_INTERVAL_BYTES: usize = 128 << 10;

/// Lets other threads run. Where more threads are ready than there are cores, a push that has just
/// arrived would otherwise wait for milliseconds, until the scheduler's time slice of a thread that
/// builds pages ends.
pub(super) fn yield_cpu() {
    std::thread::yield_now();
}

/// Batch size for freeing old pages and snapshots on the pool instead of on the assembler thread.
const DROP_BATCH_ITEMS: usize = 4096;

/// The threads that build pages when much has changed; none on a machine with one core, where the
/// calling thread does all the work.
///
/// The threads live as long as the assembler, so that their allocator heaps and compressors are
/// made once.
pub(super) struct Builders(Option<rayon::ThreadPool>);

impl Builders {
    /// Starts `n_threads` threads. Starts none if `n_threads` is 1 or the system refuses: then the
    /// calling thread does all the work.
    pub fn new(n_threads: usize) -> Self {
        let name = |_| "page-builder".to_owned();
        let pool = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(n_threads)
                .thread_name(name)
                .build()
                .ok()
        };
        Self((n_threads > 1).then(pool).flatten())
    }

    /// Calls `f` once on each thread of the pool and on the calling thread.
    pub fn run_on_each_thread(&self, f: impl Fn() + Sync) {
        if let Some(pool) = &self.0 {
            pool.broadcast(|_| f());
        }
        f();
    }

    /// Drops `items`; in batches on the pool if there are many, while the caller goes on.
    pub fn drop_on_pool<T: Send + 'static>(&self, mut items: Vec<T>) {
        let Some(pool) = &self.0 else { return };
        while items.len() >= DROP_BATCH_ITEMS {
            let some = items.split_off(items.len() - DROP_BATCH_ITEMS);
            pool.spawn(move || drop(some));
        }
    }

    /// Calls `f` with every item and returns the results in the order of `items`.
    ///
    /// `work_bytes` estimates the bytes that all calls together read and write; the pool is used if
    /// that is enough to gain from it. `place` orders the work: each thread takes items that are
    /// neighbours in this order. Items that read the same groups should have places close to each
    /// other, so that the groups are still in the cache.
    pub fn map<T: Sync, R: Send>(
        &self,
        items: &[T],
        work_bytes: usize,
        place: impl Fn(&T) -> u32,
        f: impl Fn(&T) -> R + Sync,
    ) -> Vec<R> {
        let pool = self.0.as_ref().filter(|_| work_bytes >= PARALLEL_BYTES_MIN);
        let yield_interval = (YIELD_INTERVAL_BYTES * items.len() / work_bytes.max(1)).max(1);
        let f = |(nth, item): (usize, &T)| {
            if nth.is_multiple_of(yield_interval) {
                yield_cpu();
            }
            f(item)
        };
        if items.is_sorted_by_key(&place) {
            return match pool {
                Some(pool) => pool.install(|| items.par_iter().enumerate().map(&f).collect()),
                None => items.iter().enumerate().map(f).collect(),
            };
        }
        let mut order: Vec<(u32, usize)> = items.iter().map(place).zip(0..).collect();
        order.sort_unstable();
        let of_place =
            |(nth, &(_, index)): (usize, &(u32, usize))| (index, f((nth, &items[index])));
        let mut done: Vec<(usize, R)> = match pool {
            Some(pool) => pool.install(|| order.par_iter().enumerate().map(of_place).collect()),
            None => order.iter().enumerate().map(of_place).collect(),
        };
        done.sort_unstable_by_key(|&(index, _)| index);
        done.into_iter().map(|(_, result)| result).collect()
    }
}
