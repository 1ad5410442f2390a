//! The groups: how pushes and deletions take effect, and how consumers follow them.
//!
//! A push is one synchronous call ([`Store::push`]) without await, I/O or clock. It returns `Done`,
//! `Refused` or `Busy`. When it returns `Busy` it holds nothing: the caller yields and calls again
//! with the same push. So a client that goes away never leaves a claim behind.
//!
//! # The way of a push
//!
//! 1. Find the slot of the group. Its current snapshot is the *base* of the push.
//! 2. If the group has the layout of the push already, the push is *value-only*: draw a version,
//!    replace base by the next snapshot, mark the slot for every consumer.
//! 3. Otherwise the push is *structural*: enter the door of the job; claim the names that the group
//!    begins to expose, ceases to expose, or exposes in another role; if the job has several shapes
//!    of keys, compare the series with those of its other groups; draw a version, replace base,
//!    mark the slot, settle the claims, leave the door.
//!
//! # Why in this order
//!
//! A consumer must be able to take a *cut*: the state of all groups at one moment. Three rules
//! together ensure that:
//!
//! - A structural push draws its version after its last claim is granted. A push or deletion that
//!   made room for this one, by giving up a name, has a lower version and has marked its slot.
//! - A push marks its slot before it settles its claims. A push that gets its claims because of
//!   that marks its own slot later.
//! - A consumer takes the marked slots in passes, until a pass has taken no state with a version
//!   that was drawn after the pass began ([`Store::take_cut`]). If there is no such pass, because
//!   pushes come faster than the consumer takes them, it holds a moment (see `slots`).
//!
//! # What a refusal rests on
//!
//! On a firm claim or on a published series of another group; never on a push that may itself be
//! refused. A refusal counts only if base is still current after the conflict was seen. Otherwise
//! the conflict may have been with an older state of the push's own group, and the push is tried
//! again.
//!
//! # What "lock-free" means here
//!
//! No push, deletion or read takes a lock of the gateway's own, and none waits for I/O, for a
//! scrape or for a client. `sync` says what its types may wait for: single steps of other threads,
//! such as linking a block of a queue, and nothing else.
//!
//! - A *read* ([`Store::group`], [`Store::find`]) is one look-up and one load.
//! - A *value-only push* is one look-up, one `fetch_add` on the version counter, one
//!   compare-and-swap of the group's snapshot, and for each consumer one `fetch_or` on the slot's
//!   mark; the first mark after a consumer's look also pushes to its queue. If the compare-and-swap
//!   fails, another push or deletion of the same group has taken effect. After 16 such losses the
//!   push returns `Busy`, so that its thread does something else in between.
//! - A *structural push* never waits inside the store either. It returns `Busy` while a push in
//!   flight is about to decide about one of its names in another way, and, in a job with several
//!   shapes of keys, while another push is behind the door. In the strict sense it is therefore not
//!   lock-free: if the kernel suspends a thread between claim and settlement, pushes that
//!   contradict its push come back busy until it runs again. Pushes that agree with it do not.
//! - The first push of a body in a new form keeps that form in the layout (`Layout::learn_form`).
//!   If two threads do so at the same moment one waits until the other has stored it.
//!
//! # Files
//!
//! | file                     | subject                                                        |
//! |--------------------------|----------------------------------------------------------------|
//! | `groups`                 | the [`Store`]: pushes, deletions, reads                        |
//! | `config`                 | limits, the gateway's own families, the consumers              |
//! | `push`                   | a push on its way: from a body to the content of its group     |
//! | `push_check`             | what can be wrong with a push by itself                        |
//! | `restoring`              | how a group comes back with the times that it had              |
//! | `merge`                  | what a POST makes of the families that its group has           |
//! | `layout`                 | what stays the same from push to push, shared by groups        |
//! | `layout_check`           | checks that depend on a layout alone; tables for looking it up |
//! | `exposed_size`           | how many bytes a group is exposed with                         |
//! | `series_labels`          | labels of a series as they are compared                        |
//! | `snapshot`               | one state of a group                                           |
//! | `slot`, `mark`           | the place of a group; which consumers have yet to look at it   |
//! | `slots`                  | all slots: numbers, versions, cuts, retiring                   |
//! | `consumer`, `following`  | the threads that follow the state of all groups, and how       |
//! | `admission`              | whether a push may take effect: door, claims, series           |
//! | `candidate`              | the state that waits for admission                             |
//! | `job_door`, `shape`      | which pushes may change series, if a job has several shapes    |
//! | `cell`, `claims`         | which names are exposed in which role; what a push claims      |
//! | `series_check`           | whether another group of the job has a series                  |
//! | `early_series_check`     | the same for a large push, before it enters the door           |
//! | `shared_series`          | which series two groups of a job can share                     |
//! | `conflict`               | the refusal for a name that is exposed in another role          |
//! | `refusal_list`           | all that a push contradicts, up to a limit                      |
//! | `refusal`, `metric_text` | reasons of refusals, and their texts                           |

mod admission;
mod candidate;
mod cell;
mod claims;
mod config;
mod conflict;
mod consumer;
mod early_series_check;
mod exposed_size;
mod following;
mod groups;
mod job_door;
mod layout;
mod layout_check;
mod mark;
mod merge;
mod metric_text;
mod push;
mod push_check;
mod refusal;
mod refusal_list;
mod restoring;
mod series_check;
mod series_labels;
mod shape;
mod shared_series;
mod slot;
mod slots;
mod snapshot;

pub use config::Config;
pub use consumer::Consumer;
pub use groups::{Outcome, Store};
pub use job_door::{DoorDenied, DoorEntry, JobDoor};
pub use layout::Layout;
pub use mark::Mark;
pub use push::{Push, PushMode};
pub use push_check::{check_families, check_key};
pub use refusal::{NameOwner, Refusal};
pub use restoring::{RestoreOutcome, RestoredGroup};
pub use slot::ExistingGroup;
pub use slots::MarkedSlot;
pub use snapshot::{GroupState, GroupTimes, Snapshot};
