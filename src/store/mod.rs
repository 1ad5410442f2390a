//! Pushes become groups: admission, slots, snapshots.
//!
//! A push is one synchronous call without await, I/O or clock. It ends as `Done`, `Refused` or
//! `Busy`, and on `Busy` it holds nothing: the caller yields and calls again. A client that goes
//! away can therefore never leave a claim behind.
//!
//! 1. Find the slot; `base` is its snapshot.
//! 2. *Value-only*: the group has this layout already. Draw a version, swap base for next, mark.
//!    Nothing else is shared.
//! 3. *Structural*: enter the job's door, claim the names that come, go or change, look for series
//!    that groups of other shapes have, draw a version, swap, mark, settle, leave.
//!
//! The order at the end matters three times. The version is drawn after the last claim was granted:
//! whoever made room for this push has a lower one and is in the queue. The slot is marked before
//! the claims are settled, so that whoever is let in by that stands behind it in the queue. A
//! consumer repeats its taking until it has seen nothing newer than its own start (`take_cut`):
//! then it holds the state of all groups at one moment.
//!
//! A refusal rests on a firm claim or a published series, and counts only if the group is still at
//! `base` after that was seen.

mod admission;
mod candidate;
mod cell;
mod claims;
mod conflict;
mod consumer;
mod exposed_size;
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
mod series_check;
mod series_labels;
mod shape;
mod slot;
mod slots;
mod snapshot;

pub use cell::{Cell, CellDenied, NameRole};
pub use consumer::Consumer;
pub use groups::{Config, ExistingGroup, Outcome, Store};
pub use job_door::{DoorDenied, DoorEntry, JobDoor};
pub use layout::Layout;
pub use layout_check::{ClaimedName, LayoutError, LayoutIndex};
pub use mark::Mark;
pub use push::{Push, PushMode};
pub use refusal::{NameOwner, Refusal};
pub use slot::Slot;
pub use slots::MarkedSlot;
pub use snapshot::{GroupContent, GroupState, KeyAndLayout, Snapshot};
