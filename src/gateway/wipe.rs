//! Deletes all groups, some at a time, so that the thread that does so can admit pushes in between.

use crate::store::{Outcome, Snapshot, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokio::sync::oneshot;

/// How many groups are deleted before pushes have their turn.
const GROUPS_PER_STEP: usize = 256;

/// A bug has ended a wipe before all groups were deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WipeFailed;

/// A wipe. If this is dropped before it is complete, the wipe has failed.
pub(super) struct Wipe {
    /// The groups that are left of those that existed at the first step; none before that.
    groups: Option<Vec<Arc<Snapshot>>>,
    done: oneshot::Sender<()>,
}

/// What a step of a wipe has done.
pub(super) enum WipeStep {
    /// All groups are deleted, and the client will be told.
    Complete,
    /// Some groups were deleted.
    Deleted(Wipe),
    /// A push is in the way of the next deletion, and nothing was deleted.
    Busy(Wipe),
}

impl Wipe {
    /// A wipe of the groups that exist at its first step. `done` gets a message when they are
    /// deleted.
    pub fn new(done: oneshot::Sender<()>) -> Self {
        Self { groups: None, done }
    }

    /// Deletes some groups. None if a bug has ended that.
    pub fn step(mut self, store: &Store) -> Option<WipeStep> {
        let delete_some = || {
            let groups = self.groups.get_or_insert_with(|| store.groups());
            for n_deleted in 0..GROUPS_PER_STEP {
                let Some(group) = groups.last() else {
                    return (n_deleted, true);
                };
                if store.delete(group.key()) == Outcome::Busy {
                    return (n_deleted, false);
                }
                groups.pop();
            }
            (GROUPS_PER_STEP, groups.is_empty())
        };
        let (n_deleted, is_complete) = catch_unwind(AssertUnwindSafe(delete_some)).ok()?;
        if is_complete {
            // An error says that the client has gone.
            let _ = self.done.send(());
            return Some(WipeStep::Complete);
        }
        Some(if n_deleted > 0 {
            WipeStep::Deleted(self)
        } else {
            WipeStep::Busy(self)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text;
    use crate::model::{GroupingKey, NameScheme};
    use crate::store::{Config, Push, PushMode};

    fn push(store: &Store, instance: usize) {
        let instance = instance.to_string();
        let key = GroupingKey::new([("job", "j"), ("instance", instance.as_str())]);
        let families = text::parse(b"x 1\n", NameScheme::Legacy).expect("valid");
        let mut push = Push::new(
            Arc::new(key.expect("valid")),
            families,
            PushMode::Replace,
            1,
        );
        assert_eq!(store.push(&mut push), Outcome::Done);
    }

    #[test]
    fn a_step_deletes_a_bounded_number_of_groups() {
        let store = Store::new(Config::default());
        (0..GROUPS_PER_STEP * 2 + 1).for_each(|n| push(&store, n));
        let (done, mut is_done) = oneshot::channel();
        let mut wipe = Wipe::new(done);
        for n_left in [GROUPS_PER_STEP + 1, 1] {
            wipe = match wipe.step(&store) {
                Some(WipeStep::Deleted(wipe)) => wipe,
                _ => panic!("there are groups left"),
            };
            assert_eq!(store.n_groups(), n_left as u64);
            assert!(is_done.try_recv().is_err());
        }
        // Pushes to groups that may be deleted already. These stay then.
        push(&store, GROUPS_PER_STEP * 2);
        push(&store, 0);
        assert!(matches!(wipe.step(&store), Some(WipeStep::Complete)));
        assert!(store.n_groups() <= 2);
        assert_eq!(is_done.try_recv(), Ok(()));
    }
}
