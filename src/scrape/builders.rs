//! The threads that build pages.

use rayon::prelude::*;

/// Below this many bytes, about, a second thread costs more than it saves.
const PARALLEL_BYTES_MIN: usize = 512 << 10;

/// After so many bytes of work, about, others have their turn.
pub(super) const YIELD_INTERVAL_BYTES: usize = 128 << 10;

/// Lets other threads run, where there are more than cores: a push that has just arrived would wait
/// for milliseconds, the scheduler's slice, until a thread that builds pages had its turn.
pub(super) fn yield_cpu() {
    std::thread::yield_now();
}

/// So many at a time are dropped by other threads.
const DROP_BATCH_ITEMS: usize = 4096;

/// The threads that build pages when much has changed. They live as long as the assembler, so that
/// what they allocate with, and compress with, is made once.
pub(super) struct Builders(Option<rayon::ThreadPool>);

impl Builders {
    /// So many threads; none if the system gives none, or one is asked for: then the caller's does
    /// the work.
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

    /// Has each of the threads, and the calling one, call `f`.
    pub fn run_on_each_thread(&self, f: impl Fn() + Sync) {
        if let Some(pool) = &self.0 {
            pool.broadcast(|_| f());
        }
        f();
    }

    /// Drops all of these; on the threads if there are many, while the caller goes on.
    pub fn drop_on_pool<T: Send + 'static>(&self, mut items: Vec<T>) {
        let Some(pool) = &self.0 else { return };
        while items.len() >= DROP_BATCH_ITEMS {
            let some = items.split_off(items.len() - DROP_BATCH_ITEMS);
            pool.spawn(move || drop(some));
        }
    }

    /// `f` of every item, in order, on all threads if `work_bytes` is worth it. Each
    /// thread takes neighbours in the order of `place`: items that look at the same groups find
    /// them in the cache.
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
