//! Claims of one push: what it may expose, decided name by name.
//!
//! Claims are made in the order of escaped names, and given back in reverse. On `Busy` everything
//! is given back, so `Busy` never cycles and somebody always proceeds.

use super::cell::{Cell, CellDenied, NameRole};
use super::layout::Layout;
use super::layout_check::ClaimedName;
use super::refusal::NameOwner;
use crate::model::GroupingKey;
use crate::sync::Registry;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::sync::Arc;

enum Claim {
    Take(Arc<Cell>),
    Drop(Arc<Cell>),
    Change {
        cell: Arc<Cell>,
        to: NameRole,
        raw: Box<str>,
    },
}

/// The claims that a push holds. Unless they are settled they are undone when they are dropped,
/// also by a panic.
pub(super) struct Claims<'a> {
    cells: &'a Registry<Cell>,
    by: &'a Arc<GroupingKey>,
    held: SmallVec<[Claim; 8]>,
}

/// Why a push does not get all its claims.
pub(super) enum ClaimDenied {
    /// Another push is about to decide about a name.
    Busy,
    /// A name is exposed in another role, or under another raw name.
    Conflict(NameConflict),
}

/// A name that a push claims and that is exposed otherwise.
pub(super) struct NameConflict {
    /// The index of the name among the claims of the pushed layout.
    pub claim: usize,
    /// The role in which the name is exposed.
    pub exposed_role: NameRole,
    /// The name before escaping, as it is exposed.
    pub exposed_raw: Arc<Box<str>>,
    /// Who exposes it; a group is a guess.
    pub owner: NameOwner,
}

impl<'a> Claims<'a> {
    pub fn new(cells: &'a Registry<Cell>, by: &'a Arc<GroupingKey>) -> Self {
        Self {
            cells,
            by,
            held: SmallVec::new(),
        }
    }

    /// Claims the difference between the names of `base` and those of `next`.
    pub fn claim(&mut self, base: &Layout, next: &Layout) -> Result<(), ClaimDenied> {
        let mut base = base.claims().iter().peekable();
        let mut next = next.claims().iter().enumerate().peekable();
        loop {
            let order = match (base.peek(), next.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(base), Some((_, next))) => base.escaped.cmp(&next.escaped),
            };
            match order {
                Ordering::Less => self.drop_name(base.next().expect("peeked"))?,
                Ordering::Greater => {
                    let (index, name) = next.next().expect("peeked");
                    self.take(index, name)?;
                }
                Ordering::Equal => {
                    let (base, (index, next)) =
                        (base.next().expect("peeked"), next.next().expect("peeked"));
                    if base.role != next.role || base.raw != next.raw {
                        self.change(base, index, next)?;
                    }
                }
            }
        }
    }

    fn take(&mut self, index: usize, name: &ClaimedName) -> Result<(), ClaimDenied> {
        loop {
            let make = || Cell::taken(&name.escaped, &name.raw, name.role, self.by);
            let (cell, is_mine) = self.cells.get_or_insert(&name.escaped, make);
            let granted = if is_mine {
                Ok(())
            } else {
                cell.try_take(name.role, &name.raw, self.by)
            };
            match granted {
                Ok(()) => {
                    self.held.push(Claim::Take(cell));
                    return Ok(());
                }
                Err(CellDenied::Dead) => self.cells.remove(&cell),
                Err(refused) => {
                    // Our doubt may have been the last claim on it.
                    remove_dead(self.cells, &cell);
                    return Err(match refused {
                        CellDenied::Conflict(role) => conflict(&cell, index, role),
                        CellDenied::Busy | CellDenied::Dead => ClaimDenied::Busy,
                    });
                }
            }
        }
    }

    fn drop_name(&mut self, name: &ClaimedName) -> Result<(), ClaimDenied> {
        // No cell: our view of the group is old, somebody else of it has dropped the name.
        let Some(cell) = self.cells.get(&name.escaped) else {
            return Err(ClaimDenied::Busy);
        };
        cell.try_drop().map_err(|_| ClaimDenied::Busy)?;
        self.held.push(Claim::Drop(cell));
        Ok(())
    }

    fn change(
        &mut self,
        base: &ClaimedName,
        index: usize,
        next: &ClaimedName,
    ) -> Result<(), ClaimDenied> {
        let Some(cell) = self.cells.get(&base.escaped) else {
            return Err(ClaimDenied::Busy);
        };
        match cell.try_change(base.role) {
            Ok(()) => {
                self.held.push(Claim::Change {
                    cell,
                    to: next.role,
                    raw: next.raw.clone(),
                });
                Ok(())
            }
            Err(CellDenied::Conflict(role)) => Err(conflict(&cell, index, role)),
            Err(CellDenied::Busy | CellDenied::Dead) => Err(ClaimDenied::Busy),
        }
    }

    /// The snapshot is published and marked.
    pub fn settle(mut self) {
        for claim in std::mem::take(&mut self.held) {
            match claim {
                Claim::Take(cell) => cell.settle_take(),
                Claim::Drop(cell) => {
                    cell.settle_drop(self.by);
                    remove_dead(self.cells, &cell);
                }
                Claim::Change { cell, to, raw } => cell.settle_change(to, &raw),
            }
        }
    }
}

impl Drop for Claims<'_> {
    /// Nothing was published.
    fn drop(&mut self) {
        for claim in std::mem::take(&mut self.held).into_iter().rev() {
            match claim {
                Claim::Take(cell) => {
                    cell.undo_take();
                    remove_dead(self.cells, &cell);
                }
                Claim::Drop(cell) => cell.undo_drop(),
                Claim::Change { cell, .. } => cell.undo_change(),
            }
        }
    }
}

fn remove_dead(cells: &Registry<Cell>, cell: &Arc<Cell>) {
    if cell.is_dead() {
        cells.remove(cell);
    }
}

fn conflict(cell: &Cell, claim: usize, exposed_role: NameRole) -> ClaimDenied {
    let owner = if cell.is_own() {
        NameOwner::Gateway
    } else {
        cell.hint().map_or(NameOwner::Unknown, NameOwner::Group)
    };
    ClaimDenied::Conflict(NameConflict {
        claim,
        exposed_role,
        exposed_raw: cell.raw(),
        owner,
    })
}
