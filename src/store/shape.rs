//! The shape of a grouping key: its label names; and how many groups of a job have it.

use super::snapshot::GroupState;
use crate::model::LabelSet;
use crate::sync::Counter;

/// The names of a grouping key, as the store compares them: escaped, `instance` only if it is not
/// empty.
#[derive(Debug)]
pub struct Shape {
    names: Box<[Box<str>]>,
    /// Written by those who are inside; read by who is inside alone.
    n_groups: Counter,
    /// Of those the ones that a push was ever accepted for.
    n_accepted: Counter,
}

impl Shape {
    pub fn new(key: &LabelSet) -> Self {
        Self {
            names: key.iter().map(|(name, _)| name.into()).collect(),
            n_groups: Counter::default(),
            n_accepted: Counter::default(),
        }
    }

    pub fn is_of(&self, key: &LabelSet) -> bool {
        self.names
            .iter()
            .map(|name| &**name)
            .eq(key.iter().map(|(name, _)| name))
    }

    /// Its names, sorted.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        self.names.iter().map(|name| &**name)
    }

    /// Whether groups of this shape exist.
    pub fn is_live(&self) -> bool {
        self.n_groups.get() > 0
    }

    pub fn is_accepted(&self) -> bool {
        self.n_accepted.get() > 0
    }

    /// Counts a group that was one thing and has become another.
    pub fn count(&self, was: GroupState, is: GroupState) {
        // What it has become first: a shape that goes on having a group is never seen without.
        let counts = |of| (of != GroupState::Absent, of == GroupState::Accepted);
        for (counter, is, was) in [
            (&self.n_groups, counts(is).0, counts(was).0),
            (&self.n_accepted, counts(is).1, counts(was).1),
        ] {
            match (was, is) {
                (false, true) => counter.add(1),
                (true, false) => counter.sub(1),
                _ => {}
            }
        }
    }
}
