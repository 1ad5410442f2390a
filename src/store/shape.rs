//! The shape of a grouping key, with the number of groups of a job that have it.

use super::snapshot::GroupState;
use crate::model::LabelSet;
use crate::sync::Counter;

/// The label names of a grouping key in canonical form: escaped, and `instance` only if it has a
/// value.
///
/// The counters are ordered by the word of the job's door: every push changes them before it leaves
/// the door (release), and only a push that is alone behind the door (acquire) decides by them.
#[derive(Debug)]
pub(super) struct Shape {
    names: Box<[Box<str>]>,
    n_groups: Counter,
    /// How many of the groups have ever had an accepted push.
    n_accepted: Counter,
}

impl Shape {
    /// The shape of a canonical key; no group has it.
    pub fn new(key: &LabelSet) -> Self {
        Self {
            names: key.iter().map(|(name, _)| name.into()).collect(),
            n_groups: Counter::default(),
            n_accepted: Counter::default(),
        }
    }

    /// Whether a canonical key has this shape.
    pub fn is_of(&self, key: &LabelSet) -> bool {
        self.names
            .iter()
            .map(|name| &**name)
            .eq(key.iter().map(|(name, _)| name))
    }

    /// The label names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.names.iter().map(|name| &**name)
    }

    /// Whether a group has this shape.
    pub fn has_groups(&self) -> bool {
        self.n_groups.get() > 0
    }

    /// Whether a group has this shape that has ever had an accepted push.
    pub fn has_accepted_groups(&self) -> bool {
        self.n_accepted.get() > 0
    }

    /// Counts a group of this shape that was `was` and is `is` now.
    pub fn count_change(&self, was: GroupState, is: GroupState) {
        let exists = |state| state != GroupState::Absent;
        let is_accepted = |state| state == GroupState::Accepted;
        change_by_one(&self.n_groups, exists(was), exists(is));
        change_by_one(&self.n_accepted, is_accepted(was), is_accepted(is));
    }
}

/// One change at most, so that no other thread sees a number in between.
fn change_by_one(counter: &Counter, was_counted: bool, is_counted: bool) {
    match (was_counted, is_counted) {
        (false, true) => counter.add(1),
        (true, false) => counter.sub(1),
        (false, false) | (true, true) => {}
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use GroupState::{Absent, Accepted, OnlyRefused};

    #[test]
    fn a_shape_counts_its_groups_and_the_accepted_ones_among_them() {
        let shape = Shape::new(&LabelSet::new([("job", "j"), ("l", "v")]));
        assert!(shape.is_of(&LabelSet::new([("l", "w"), ("job", "k")])));
        assert!(!shape.is_of(&LabelSet::new([("job", "j")])));
        let check = |was, is, expected| {
            shape.count_change(was, is);
            let counted = (shape.has_groups(), shape.has_accepted_groups());
            assert_eq!(counted, expected, "{was:?} {is:?}");
        };
        check(Absent, OnlyRefused, (true, false));
        check(OnlyRefused, Accepted, (true, true));
        check(Absent, Accepted, (true, true));
        check(Accepted, Absent, (true, true));
        check(Accepted, Absent, (false, false));
    }
}
