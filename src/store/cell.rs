//! The role in which a name is exposed: a family of one type, or a suffix of a histogram or
//! summary.
//!
//! There is one cell for each name that is exposed; names are compared in their escaped form. A
//! group that exposes the name holds a *firm* claim on the cell. A push that is about to add the
//! name to its group, or to drop it, holds a *doubt* until its snapshot is published. A claim in
//! another role than the cell's is a conflict if a group holds the cell firmly. If there are only
//! doubts the push has to wait (`Busy`), because the pushes that hold them may still be refused.
//!
//! | field  | written by                     | read by                  | what it carries         |
//! |--------|--------------------------------|--------------------------|-------------------------|
//! | `word` | every operation, AcqRel        | the same, Acquire        | role, changing, firm,   |
//! |        |                                |                          | doubt                   |
//! | `raw`  | `settle_change`, before `word` | `try_take`, after `word` | name before escaping    |
//! | `hint` | `try_take`, `settle_drop`      | texts of refusals        | a guess at a holder     |
//!
//! Invariant: the role and the raw name stay as they are while any push or group holds a claim,
//! except for a change by the only holder, which excludes all others. A cell that loses its last
//! claim is dead and stays so: a push that finds a dead cell removes it and looks the name up
//! again.

use crate::model::{GroupingKey, MetricType};
use crate::sync::{Hint, Keyed, Published, Word};
use std::sync::Arc;

/// What a name stands for in an exposition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameRole {
    /// A family of this type.
    Family(MetricType),
    /// `_bucket`, `_sum` or `_count` of a histogram or summary.
    Suffix,
}

/// The role's bits of a suffix; those of a family are the number of its type.
const SUFFIX: u64 = 14;
/// The role's bits of a dead cell.
const DEAD: u64 = 15;

/// The suffixes under which a family of this type is exposed, beside its own name.
pub(super) fn suffixes_of(metric_type: MetricType) -> &'static [&'static str] {
    match metric_type {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => &[],
        MetricType::Summary => &["_count", "_sum"],
        MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum"],
    }
}

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

/// The word of a cell: role (4 bits), changing (1), number of firm claims (28), number of doubts
/// (28).
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

    /// The word; or, if no claim is left, that of a dead cell.
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
pub(super) enum CellDenied {
    /// Other groups expose the name in this role, or under another raw name.
    Conflict(NameRole),
    /// Another push is about to add, drop or change the name: the caller gives back all its claims
    /// and tries again.
    Busy,
    /// The cell is dead: look the name up again.
    Dead,
}

/// Who exposes one name, and in which role.
#[derive(Debug)]
pub(super) struct Cell {
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
    /// A new cell for a push of the group `by`, which holds a doubt on it as after
    /// [`Cell::try_take`].
    pub fn taken(escaped: &str, raw: &str, role: NameRole, by: &Arc<GroupingKey>) -> Self {
        Self::with(CellState(role.bits() | DOUBT), escaped, raw, Some(by))
    }

    /// A cell of a name that the gateway itself exposes. Its role never changes.
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

    /// Lets a group begin to expose the name: grants a doubt, which has to be settled or undone.
    ///
    /// # Errors
    ///
    /// Why the name is denied; the caller then holds no claim.
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
        // Acquired by the update above: the raw name that `settle_change` stored before it released
        // the cell. From here on the doubt keeps the name as it is: it is only changed by the sole
        // holder.
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

    /// The role in which groups expose the name, if a group could not begin to expose it as `role`
    /// of `raw`. If `own` is true, one of these groups is the one that asks, and that one does not
    /// count. Claims nothing: another push may change the answer at any time.
    pub fn conflict_with(&self, role: NameRole, raw: &str, own: bool) -> Option<NameRole> {
        let state = CellState(self.word.load());
        let is_other = state.role() != role.bits() || ***self.raw.load() != *raw;
        (!state.is_dead() && state.firm() > u64::from(own) && is_other)
            .then(|| NameRole::from_bits(state.role()))
    }

    /// Makes a doubt of `try_take` firm: the group's snapshot is published.
    pub fn settle_take(&self) {
        self.must_update(|state| {
            debug_assert!(state.doubt() > 0);
            state.0 - DOUBT + FIRM
        });
    }

    /// Gives back a doubt of `try_take`.
    pub fn undo_take(&self) {
        self.must_update(|state| {
            debug_assert!(state.doubt() > 0);
            CellState(state.0 - DOUBT).or_dead()
        });
    }

    /// Lets a group cease to expose the name: its firm claim becomes a doubt, which has to be
    /// settled or undone. Until then pushes in another role have to wait, and are not refused.
    ///
    /// # Errors
    ///
    /// [`CellDenied::Busy`]; the cell is as before. Also for a dead cell: the base of the push is
    /// out of date then.
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

    /// Gives up the doubt of `try_drop`: the snapshot of the group `by` is published.
    pub fn settle_drop(&self, by: &GroupingKey) {
        self.hint.change(|hint| hint.filter(|key| **key != *by));
        self.undo_take();
    }

    /// Makes the doubt of `try_drop` firm again.
    pub fn undo_drop(&self) {
        self.must_update(|state| state.0 - DOUBT + FIRM);
    }

    /// Lets the only group that exposes the name change its role or raw name. No other claim is
    /// granted until the change is settled or undone.
    ///
    /// # Errors
    ///
    /// [`CellDenied::Conflict`] if other groups expose the name, too; [`CellDenied::Busy`] if other
    /// pushes hold doubts, or if `from` is not the role. The cell is as before.
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

    /// Ends a change: the group's snapshot is published.
    pub fn settle_change(&self, to: NameRole, raw: &str) {
        // Before the update below, whose release pairs with the acquire of `try_take`.
        if ***self.raw.load() != *raw {
            self.raw.store(Arc::new(raw.into()));
        }
        self.must_update(|state| {
            debug_assert!(state.is_changing() && state.firm() == 1 && state.doubt() == 0);
            to.bits() | FIRM
        });
    }

    /// Gives up a change.
    pub fn undo_change(&self) {
        self.must_update(|state| state.0 & !CHANGING);
    }

    fn must_update(&self, next: impl Fn(CellState) -> u64) {
        let Ok(_) = self
            .word
            .update::<std::convert::Infallible>(|word| Ok(next(CellState(word))));
    }

    /// Whether the last claim is gone.
    pub fn is_dead(&self) -> bool {
        CellState(self.word.load()).is_dead()
    }

    /// The name before escaping. It may change unless the caller or a group holds a claim.
    pub fn raw(&self) -> Arc<Box<str>> {
        Arc::clone(&self.raw.load())
    }

    /// Whether the gateway itself exposes the name.
    pub fn is_own(&self) -> bool {
        self.is_own
    }

    /// A guess at a group that exposes the name.
    pub fn hint(&self) -> Option<Arc<GroupingKey>> {
        self.hint.get()
    }

    /// The role, the number of firm claims and the number of doubts.
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
    fn a_sole_holder_changes_role_and_raw_name() {
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
