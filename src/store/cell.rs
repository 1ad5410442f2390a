//! A name has one role: which type a family is exposed with, or that it is a suffix of another one.
//!
//! Names are compared as they look after underscore escaping, and a cell belongs to one such name.
//! Whoever exposes the name holds a *firm* claim on its cell, whoever is about to, or about to
//! cease to, a *doubt*. A firm claim of another role is a conflict; mere doubts make others wait,
//! because they may come to nothing.
//!
//! | field  | written by                    | read by              | what it carries                                       |
//! |--------|-------------------------------|----------------------|-------------------------------------------------------|
//! | `word` | every operation, AcqRel       | every one, Acquire   | role, changing, firm, doubt                           |
//! | `raw`  | `settle_change`, in a change  | `try_take`, with a   | the name before escaping; all who hold a claim have it |
//! |        |                               | claim of its own     |                                                       |
//! | `hint` | takers and droppers           | texts of refusals    | nothing: a guess who holds it                         |
//!
//! A cell without any claim is dead, for good: whoever finds it dead removes it and looks the name
//! up again.

use crate::model::{GroupingKey, MetricType};
use crate::sync::{Hint, Keyed, Published, Word};
use std::sync::Arc;

/// What a name is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRole {
    /// A family of this type.
    Family(MetricType),
    /// `_bucket`, `_sum` or `_count` of a histogram or summary.
    Suffix,
}

const SUFFIX: u64 = 14;
const DEAD: u64 = 15;

impl NameRole {
    fn bits(self) -> u64 {
        match self {
            Self::Family(metric_type) => metric_type as u64,
            Self::Suffix => SUFFIX,
        }
    }

    fn from_bits(bits: u64) -> Self {
        MetricType::from_number(bits).map_or(Self::Suffix, Self::Family)
    }
}

/// A cell's word: role (4 bits), changing (1), firm (28), doubt (28).
#[derive(Clone, Copy, PartialEq, Eq)]
struct CellState(u64);

const CHANGING: u64 = 1 << 4;
const FIRM: u64 = 1 << 5;
const DOUBT: u64 = 1 << 33;
const COUNT_MASK: u64 = (1 << 28) - 1;

impl CellState {
    fn role(self) -> u64 {
        self.0 & 15
    }

    fn is_changing(self) -> bool {
        self.0 & CHANGING != 0
    }

    fn is_dead(self) -> bool {
        self.role() == DEAD
    }

    fn firm(self) -> u64 {
        (self.0 / FIRM) & COUNT_MASK
    }

    fn doubt(self) -> u64 {
        (self.0 / DOUBT) & COUNT_MASK
    }

    /// The word, or that of a dead cell if nobody has a claim any more.
    fn or_dead(self) -> u64 {
        if self.firm() == 0 && self.doubt() == 0 {
            DEAD
        } else {
            self.0
        }
    }
}

/// Why a claim was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellDenied {
    /// Others expose the name, with this role or with another raw name.
    Conflict(NameRole),
    /// Somebody is about to begin or to cease exposing it: the caller gives everything back and
    /// comes again.
    Busy,
    /// The cell is dead: look the name up again.
    Dead,
}

/// The place of one escaped name.
#[derive(Debug)]
pub struct Cell {
    word: Word,
    escaped: Box<str>,
    raw: Published<Box<str>>,
    hint: Hint<GroupingKey>,
    is_own: bool,
}

impl Keyed for Cell {
    type Key = str;

    fn key(&self) -> &str {
        &self.escaped
    }
}

impl Cell {
    /// A cell that its maker has taken, not settled.
    pub fn taken(escaped: &str, raw: &str, role: NameRole, by: &Arc<GroupingKey>) -> Self {
        Self::with(CellState(role.bits() | DOUBT), escaped, raw, Some(by))
    }

    /// A cell of the gateway's own: its role stays for ever.
    pub fn pinned(name: &str, role: NameRole) -> Self {
        Self::with(CellState(role.bits() | FIRM), name, name, None)
    }

    fn with(state: CellState, escaped: &str, raw: &str, by: Option<&Arc<GroupingKey>>) -> Self {
        Self {
            word: Word::new(state.0),
            escaped: escaped.into(),
            raw: Published::new(Arc::new(raw.into())),
            hint: Hint::new(by.cloned()),
            is_own: by.is_none(),
        }
    }

    /// A group begins to expose the name: a doubt until it is settled or undone.
    ///
    /// # Errors
    ///
    /// [`CellDenied`], and the cell is as before.
    pub fn try_take(
        &self,
        role: NameRole,
        raw: &str,
        by: &Arc<GroupingKey>,
    ) -> Result<(), CellDenied> {
        let before = self.word.update(|word| {
            let state = CellState(word);
            if state.is_dead() {
                Err(CellDenied::Dead)
            } else if state.is_changing() {
                Err(CellDenied::Busy)
            } else if state.role() == role.bits() {
                Ok(word + DOUBT)
            } else if state.firm() > 0 {
                Err(CellDenied::Conflict(NameRole::from_bits(state.role())))
            } else {
                Err(CellDenied::Busy)
            }
        })?;
        // The raw name stays as long as we hold a claim: who changes it holds the only one.
        if ***self.raw.load() != *raw {
            self.undo_take();
            return Err(if CellState(before).firm() > 0 {
                CellDenied::Conflict(role)
            } else {
                CellDenied::Busy
            });
        }
        self.hint
            .change(|hint| hint.or_else(|| Some(Arc::clone(by))));
        Ok(())
    }

    /// The taker's snapshot is published.
    pub fn settle_take(&self) {
        self.must_update(|state| {
            debug_assert!(state.doubt() > 0);
            state.0 - DOUBT + FIRM
        });
    }

    /// The taker gives up.
    pub fn undo_take(&self) {
        self.must_update(|state| {
            debug_assert!(state.doubt() > 0);
            CellState(state.0 - DOUBT).or_dead()
        });
    }

    /// A group ceases to expose the name: others wait, rather than are refused, until it is settled
    /// or undone.
    ///
    /// # Errors
    ///
    /// [`CellDenied::Busy`], and the cell is as before. A dead cell is busy too: the caller's view
    /// of its group is old.
    pub fn try_drop(&self) -> Result<(), CellDenied> {
        self.word.update(|word| {
            let state = CellState(word);
            let is_granted = !state.is_dead() && !state.is_changing() && state.firm() > 0;
            if is_granted {
                Ok(word - FIRM + DOUBT)
            } else {
                Err(CellDenied::Busy)
            }
        })?;
        Ok(())
    }

    /// The dropper's snapshot is published.
    pub fn settle_drop(&self, by: &GroupingKey) {
        self.hint.change(|hint| hint.filter(|key| **key != *by));
        self.undo_take();
    }

    /// The dropper gives up.
    pub fn undo_drop(&self) {
        self.must_update(|state| state.0 - DOUBT + FIRM);
    }

    /// The only group that exposes the name changes its role or its raw name: nobody else is
    /// granted anything until that is settled or undone.
    ///
    /// # Errors
    ///
    /// [`CellDenied::Conflict`] if others expose it, too; else [`CellDenied::Busy`]. The cell is as
    /// before.
    pub fn try_change(&self, from: NameRole) -> Result<(), CellDenied> {
        self.word.update(|word| {
            let state = CellState(word);
            if state.is_dead()
                || state.is_changing()
                || state.role() != from.bits()
                || state.firm() == 0
                || state.doubt() > 0
            {
                Err(CellDenied::Busy)
            } else if state.firm() > 1 {
                Err(CellDenied::Conflict(from))
            } else {
                Ok(word | CHANGING)
            }
        })?;
        Ok(())
    }

    /// The changer's snapshot is published.
    pub fn settle_change(&self, to: NameRole, raw: &str) {
        if ***self.raw.load() != *raw {
            self.raw.store(Arc::new(raw.into()));
        }
        self.must_update(|state| {
            debug_assert!(state.is_changing() && state.firm() == 1 && state.doubt() == 0);
            to.bits() | FIRM
        });
    }

    /// The changer gives up.
    pub fn undo_change(&self) {
        self.must_update(|state| state.0 & !CHANGING);
    }

    fn must_update(&self, next: impl Fn(CellState) -> u64) {
        let Ok(_) = self
            .word
            .update::<std::convert::Infallible>(|word| Ok(next(CellState(word))));
    }

    /// Whether nobody has a claim on it.
    pub fn is_dead(&self) -> bool {
        CellState(self.word.load()).is_dead()
    }

    /// The name before escaping, while the caller or a firm claim keeps it.
    pub fn raw(&self) -> Arc<Box<str>> {
        Arc::clone(&self.raw.load())
    }

    /// Whether the gateway itself exposes it.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// A guess at a group that exposes the name.
    pub fn hint(&self) -> Option<Arc<GroupingKey>> {
        self.hint.get()
    }

    /// NameRole, firm claims and doubts.
    pub fn counts(&self) -> (NameRole, u64, u64) {
        let state = CellState(self.word.load());
        (
            NameRole::from_bits(state.role()),
            state.firm(),
            state.doubt(),
        )
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    const GAUGE: NameRole = NameRole::Family(MetricType::Gauge);
    const COUNTER: NameRole = NameRole::Family(MetricType::Counter);

    fn key() -> Arc<GroupingKey> {
        Arc::new(GroupingKey::new([("job", "j")]).unwrap())
    }

    fn gauge() -> Cell {
        Cell::taken("a", "a", GAUGE, &key())
    }

    #[test]
    fn a_doubt_makes_others_wait_and_a_firm_claim_refuses_them() {
        let cell = gauge();
        assert_eq!(cell.try_take(COUNTER, "a", &key()), Err(CellDenied::Busy));
        assert_eq!(cell.try_take(GAUGE, "a", &key()), Ok(()));
        cell.settle_take();
        assert_eq!(
            cell.try_take(COUNTER, "a", &key()),
            Err(CellDenied::Conflict(GAUGE))
        );
        assert_eq!(cell.counts(), (GAUGE, 1, 1));
    }

    #[test]
    fn another_raw_name_is_a_conflict() {
        let cell = Cell::taken("a_b", "a.b", GAUGE, &key());
        assert_eq!(cell.try_take(GAUGE, "a_b", &key()), Err(CellDenied::Busy));
        cell.settle_take();
        assert_eq!(
            cell.try_take(GAUGE, "a_b", &key()),
            Err(CellDenied::Conflict(GAUGE))
        );
        assert_eq!(cell.counts(), (GAUGE, 1, 0));
    }

    #[test]
    fn a_sole_holder_changes_mode_and_raw_name() {
        let cell = Cell::taken("a_b", "a.b", GAUGE, &key());
        assert_eq!(cell.try_change(GAUGE), Err(CellDenied::Busy));
        cell.settle_take();
        assert_eq!(cell.try_change(GAUGE), Ok(()));
        assert_eq!(cell.try_take(GAUGE, "a.b", &key()), Err(CellDenied::Busy));
        assert_eq!(cell.try_drop(), Err(CellDenied::Busy));
        cell.settle_change(COUNTER, "a_b");
        assert_eq!(cell.try_take(COUNTER, "a_b", &key()), Ok(()));
        cell.settle_take();
        assert_eq!(cell.try_change(COUNTER), Err(CellDenied::Conflict(COUNTER)));
    }

    #[test]
    fn a_cell_dies_with_its_last_claim_and_stays_dead() {
        let cell = gauge();
        cell.settle_take();
        assert_eq!(cell.try_drop(), Ok(()));
        assert_eq!(cell.try_take(COUNTER, "a", &key()), Err(CellDenied::Busy));
        cell.undo_drop();
        assert_eq!(cell.counts(), (GAUGE, 1, 0));
        assert_eq!(cell.try_drop(), Ok(()));
        cell.settle_drop(&key());
        assert!(cell.is_dead());
        assert_eq!(cell.try_take(GAUGE, "a", &key()), Err(CellDenied::Dead));
        assert_eq!(cell.try_drop(), Err(CellDenied::Busy));
    }

    #[test]
    fn the_hint_names_a_holder_and_goes_with_it() {
        let cell = gauge();
        let other = Arc::new(GroupingKey::new([("job", "other")]).unwrap());
        cell.settle_take();
        cell.try_take(GAUGE, "a", &other).unwrap();
        cell.settle_take();
        assert_eq!(cell.hint(), Some(key()));
        cell.try_drop().unwrap();
        cell.settle_drop(&key());
        assert_eq!(cell.hint(), None);
    }
}
