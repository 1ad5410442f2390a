//! The only place where the protocols between threads meet the primitives that they stand on.
//!
//! In the product these are the standard library, arc-swap, crossbeam and papaya (`product.rs`).
//! Under `cfg(gateway_loom)` they are stand-ins made of loom's atomics (`loom_stand_ins.rs`), so
//! that loom can explore every interleaving of the product's own code. A stand-in orders exactly as
//! much as the real type promises, and no more:
//!
//! | here          | what the real type promises                                          |
//! |---------------|----------------------------------------------------------------------|
//! | [`Word`]      | the orderings that its methods name                                  |
//! | [`Counter`]   | nothing (`Relaxed`): a [`Word`] beside it has to order it            |
//! | [`Published`] | arc-swap: "loads are at least `Acquire`, `store`, `swap` and         |
//! |               | `compare_and_swap` at least `AcqRel`"                                |
//! | [`Queue`]     | crossbeam's `SegQueue`: `pop` of an element acquires what its `push` |
//! |               | released; `is_empty` and `len` read both ends of the queue, `SeqCst` |
//! | [`Registry`]  | papaya: finding an entry acquires what its insertion released        |
//! | [`Flag`] etc. | [`Flag`], [`Parker`] and [`Notify`]: what `wake.rs` lists            |
//!
//! [`Statistic`], [`UniqueIds`] and [`Hint`] are always the standard library's: no decision depends
//! on a statistic or a hint, and unique numbers only have to differ.
//!
//! | file                              | what is in it                                       |
//! |-----------------------------------|-----------------------------------------------------|
//! | `word.rs`, `counters.rs`          | [`Word`]; [`Counter`], [`Statistic`], [`UniqueIds`] |
//! | `product.rs`, `loom_stand_ins.rs` | [`Published`], [`Queue`], [`Registry`]              |
//! | `wake.rs`, `wake_stand_ins.rs`    | [`Flag`], [`Parker`], [`Notify`]                    |
//! | `keyed.rs`                        | how a registry finds its entries                    |
//! | `hint.rs`                         | [`Hint`]                                            |
//!
//! # Reading for update
//!
//! Loom remembers one last access of each thread for each atomic. A load that is followed by a
//! compare-exchange of the same thread therefore hides an earlier load of another thread, and loom
//! skips the interleavings between the two. So reading a value in order to replace it is an
//! operation of its own ([`Word::load_for_update`], [`Published::load_for_update`]): a plain load
//! in the product, a compare-exchange that changes nothing under loom. The stand-ins for queues and
//! registries load and change several atomics in one operation. For the same reason each of their
//! operations first takes a *turn*: a compare-exchange on an atomic that is used for nothing else.
//!
//! # What "lock-free" means here
//!
//! No operation of this module takes a lock of the gateway's own and waits for it, and none waits
//! for I/O. What each type can wait for:
//!
//! - [`Word`], [`Counter`], [`Statistic`], [`UniqueIds`]: nothing. A failed compare-exchange is
//!   tried again, and means that another thread's succeeded.
//! - [`Published`]: nothing. Loads are wait-free. A replacement is lock-free and visits a record of
//!   every thread that has ever used arc-swap (12.5 ns for each, measured), so that only the
//!   runtime's workers and the consumers' threads should use it.
//! - [`Queue`]: `len` and `is_empty` nothing. `push` and `pop` can spin or yield until another
//!   thread has taken one step: linked the next block of 31 elements, or, for `pop`, written the
//!   element whose place it has reserved.
//! - [`Registry`]: `get` nothing. Insertions and removals can wait, parked, while a shard's table
//!   grows: for the thread that allocates the new table, or for the one that copies the entry
//!   concerned. `for_each` helps to copy a growing table and waits for the others that do.
//! - [`Hint`]: nothing. It uses `try_lock` only, and does without the value if that fails.
//!
//! Two things happen once: [`hash_of`] makes its seeds at the first call, and concurrent callers
//! wait for that; a thread's first use of a registry gets a number from papaya under a mutex. The
//! memory allocator is not covered: it may ask the kernel for pages.

mod counters;
mod hint;
mod keyed;
#[cfg(gateway_loom)]
mod loom_stand_ins;
#[cfg(not(gateway_loom))]
mod product;
#[cfg(not(gateway_loom))]
mod wake;
#[cfg(gateway_loom)]
mod wake_stand_ins;
mod word;

pub use counters::{Counter, Statistic, UniqueIds};
pub use hint::Hint;
pub use keyed::{Keyed, hash_of};
#[cfg(gateway_loom)]
pub use loom_stand_ins::{AtomicU64, Loaded, Published, Queue, Registry, fence};
#[cfg(not(gateway_loom))]
pub use product::{AtomicU64, Loaded, Published, Queue, Registry, fence};
#[cfg(not(gateway_loom))]
pub use wake::{Flag, Notify, Parker};
#[cfg(gateway_loom)]
pub use wake_stand_ins::{Flag, Notify, Parker};
pub use word::Word;
