//! Which help text a family is exposed with, and which contradictions of helps are reported.
//!
//! Groups may have different helps for one family, and a family is exposed with one. It is the
//! bytewise smallest help that is not empty; an empty one only if there is no other. So the exposed
//! help follows from the groups that exist, whatever the order of pushes, rounds and deletions was.
//!
//! Helps are counted by render plan, not by group: a push of values alone changes no count.

use ahash::{AHashSet, RandomState};
use std::collections::BTreeMap;

/// How many pairs of helps are reported while the process lives. Each costs a few bytes of memory
/// and a line of the log, and a fleet can have a help of its own in every group.
const REPORTED_MAX: usize = 1000;
/// How many bytes of a help a report shows.
const SHOWN_BYTES_MAX: usize = 256;

/// The helps that the render plans in use have for one family.
#[derive(Default)]
pub(super) struct HelpTexts {
    /// The smallest help that is not empty, with the number of plans that have it.
    smallest: Option<(Box<str>, u32)>,
    /// The other helps that are not empty.
    others: BTreeMap<Box<str>, u32>,
    /// How many plans have an empty help.
    n_empty: u32,
}

impl HelpTexts {
    /// The help that is exposed.
    pub fn exposed(&self) -> Option<&str> {
        let smallest = self.smallest.as_ref().map(|(text, _)| &**text);
        smallest.or((self.n_empty > 0).then_some(""))
    }

    /// Counts a plan with this help. Returns whether the help is not empty and no plan had it.
    pub fn add(&mut self, text: &str) -> bool {
        if text.is_empty() {
            self.n_empty += 1;
            return false;
        }
        if let Some((smallest, n_plans)) = &mut self.smallest {
            if **smallest == *text {
                *n_plans += 1;
                return false;
            }
            if **smallest < *text {
                if let Some(n_plans) = self.others.get_mut(text) {
                    *n_plans += 1;
                    return false;
                }
                self.others.insert(text.into(), 1);
                return true;
            }
        }
        self.others.extend(self.smallest.replace((text.into(), 1)));
        true
    }

    /// Ends what [`HelpTexts::add`] began.
    pub fn remove(&mut self, text: &str) {
        if text.is_empty() {
            self.n_empty -= 1;
            return;
        }
        match &mut self.smallest {
            Some((smallest, n_plans)) if **smallest == *text => {
                *n_plans -= 1;
                if *n_plans == 0 {
                    self.smallest = self.others.pop_first();
                }
            }
            _ => {
                let n_plans = self.others.get_mut(text).expect("was added before");
                *n_plans -= 1;
                if *n_plans == 0 {
                    self.others.remove(text);
                }
            }
        }
    }

    /// The exposed help and another one, if there are two; `text` is one of them.
    fn conflict_with<'a>(&'a self, text: &'a str) -> Option<(&'a str, &'a str)> {
        let exposed = self.exposed()?;
        let other = if exposed == text {
            self.others.first_key_value().map(|(other, _)| &**other)?
        } else {
            text
        };
        Some((exposed, other))
    }
}

/// Groups have different helps for a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpConflict {
    /// The family.
    pub family: String,
    /// The help that is exposed; its first bytes if it is long.
    pub exposed: String,
    /// A help that is not exposed; its first bytes if it is long.
    pub other: String,
}

/// Remembers which pairs of helps were reported, so that each is reported once.
#[derive(Default)]
pub(super) struct ReportedConflicts {
    hasher: RandomState,
    /// Hashes of a family and two helps.
    pairs: AHashSet<u64>,
}

impl ReportedConflicts {
    /// The conflict that the help `text`, which is new among those of `family`, has brought. None if
    /// there is none, if the pair was reported before, or if [`REPORTED_MAX`] pairs were.
    pub fn report(&mut self, family: &str, texts: &HelpTexts, text: &str) -> Option<HelpConflict> {
        let (exposed, other) = texts.conflict_with(text)?;
        if self.pairs.len() >= REPORTED_MAX {
            return None;
        }
        // The exposed help is the smaller one, so a pair has one order.
        let pair = self.hasher.hash_one((family, exposed, other));
        self.pairs.insert(pair).then(|| HelpConflict {
            family: family.to_owned(),
            exposed: shown(exposed),
            other: shown(other),
        })
    }
}

fn shown(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random additions and removals, compared with a plain list.
    #[test]
    fn the_smallest_help_that_is_not_empty_is_exposed() {
        let mut random = fastrand::Rng::with_seed(16);
        for _ in 0..200 {
            let (mut texts, mut list) = (HelpTexts::default(), Vec::<&str>::new());
            for _ in 0..30 {
                if random.bool() || list.is_empty() {
                    let text = random.choice(["", "a", "ab", "b", "é", "z"]).expect("some");
                    let is_new = !text.is_empty() && !list.contains(&text);
                    assert_eq!(texts.add(text), is_new);
                    list.push(text);
                } else {
                    let text = list.swap_remove(random.usize(..list.len()));
                    texts.remove(text);
                }
                let filled = list.iter().filter(|text| !text.is_empty());
                let expected = filled.min().or(list.first()).copied();
                assert_eq!(texts.exposed(), expected, "{list:?}");
            }
        }
    }

    #[test]
    fn a_pair_of_helps_is_reported_once_for_each_family() {
        let mut reported = ReportedConflicts::default();
        let mut texts = HelpTexts::default();
        let mut add = |texts: &mut HelpTexts, family: &str, text: &str| {
            if !texts.add(text) {
                return None;
            }
            let conflict = reported.report(family, texts, text)?;
            Some((conflict.exposed, conflict.other))
        };
        let pair = |exposed: &str, other: &str| Some((exposed.to_owned(), other.to_owned()));
        assert_eq!(add(&mut texts, "f", "b"), None);
        assert_eq!(add(&mut texts, "f", "c"), pair("b", "c"));
        assert_eq!(add(&mut texts, "f", ""), None);
        // The new help is the smallest one.
        assert_eq!(add(&mut texts, "f", "a"), pair("a", "b"));
        // One that went and comes again.
        for text in ["a", "b"] {
            texts.remove(text);
        }
        assert_eq!(add(&mut texts, "f", "b"), None);
        assert_eq!(add(&mut texts, "other", "a"), pair("a", "b"));
    }

    #[test]
    fn reports_are_bounded_in_number_and_length() {
        let mut reported = ReportedConflicts::default();
        let mut texts = HelpTexts::default();
        texts.add("!");
        let mut n_reported = 0;
        for n in 0..2 * REPORTED_MAX {
            let text = format!("{n:04}{}", "é".repeat(1000));
            texts.add(&text);
            if let Some(conflict) = reported.report("f", &texts, &text) {
                assert!(conflict.other.len() <= SHOWN_BYTES_MAX);
                n_reported += 1;
            }
        }
        assert_eq!(n_reported, REPORTED_MAX);
    }
}
