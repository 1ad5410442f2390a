//! The claims of one push: the right to begin to expose a name, to cease to expose it, or to expose
//! it in another role.
//!
//! A push claims names in the order of their escaped form, and gives claims back in reverse order.
//! A push that meets a busy name gives back all its claims. So pushes never wait for each other in
//! a circle, and of several pushes that contradict each other one always proceeds.

use super::cell::{Cell, CellDenied, NameRole};
use super::layout::Layout;
use super::layout_check::ExposedName;
use super::refusal::NameOwner;
use crate::model::GroupingKey;
use crate::sync::Registry;
use smallvec::SmallVec;
use std::cmp::Ordering;
use std::sync::Arc;

/// A claim that was granted and is not settled yet.
enum Claim {
    /// The group begins to expose the name.
    Take(Arc<Cell>),
    /// The group ceases to expose the name.
    Drop(Arc<Cell>),
    /// The group changes the role in which it exposes the name, or the raw name (before escaping).
    Change {
        cell: Arc<Cell>,
        to: NameRole,
        raw: Box<str>,
    },
}

/// The claims that a push or deletion holds. If this is dropped before it is
/// [settled](Claims::settle), even by a panic, the claims are undone.
pub(super) struct Claims<'a> {
    cells: &'a Registry<Cell>,
    /// The key of the group that claims.
    by: &'a Arc<GroupingKey>,
    held: SmallVec<[Claim; 8]>,
}

/// Why a push does not get all its claims.
pub(super) enum ClaimDenied {
    /// Another push in flight is about to decide whether a name is exposed, and how.
    Busy,
    /// A name is exposed in another role, or under another raw name.
    Conflict(NameConflict),
}

/// A name that a push claims, and that other groups or the gateway expose in another way.
pub(super) struct NameConflict {
    /// The index of the name in `Layout::exposed_names` of the pushed layout.
    pub name_index: usize,
    /// The role in which the name is exposed.
    pub exposed_role: NameRole,
    /// The name before escaping, as it is exposed.
    pub exposed_raw: Arc<Box<str>>,
    /// Who exposes the name. If that is a group, it is a guess: see `Cell::hint`.
    pub owner: NameOwner,
}

impl<'a> Claims<'a> {
    /// The claims of the group with the key `by`; none so far.
    pub fn new(cells: &'a Registry<Cell>, by: &'a Arc<GroupingKey>) -> Self {
        Self {
            cells,
            by,
            held: SmallVec::new(),
        }
    }

    /// Claims the difference between the names that `base` exposes and those that `next` exposes.
    ///
    /// # Errors
    ///
    /// The first name that is denied, in the order of escaped names. The claims that were granted
    /// before are held until this is dropped.
    pub fn claim(&mut self, base: &Layout, next: &Layout) -> Result<(), ClaimDenied> {
        let mut base = base.exposed_names().iter().peekable();
        let mut next = next.exposed_names().iter().enumerate().peekable();
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

    fn take(&mut self, index: usize, name: &ExposedName) -> Result<(), ClaimDenied> {
        loop {
            let make = || Cell::taken(&name.escaped, &name.raw, name.role, self.by);
            let (cell, is_made) = self.cells.get_or_insert(&name.escaped, make);
            let granted = if is_made {
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
                Err(denied) => {
                    // `try_take` may have taken a claim and given it back, and that may have been
                    // the last claim on the cell.
                    remove_dead(self.cells, &cell);
                    return Err(match denied {
                        CellDenied::Conflict(role) => {
                            ClaimDenied::Conflict(conflict(&cell, index, role))
                        }
                        CellDenied::Busy | CellDenied::Dead => ClaimDenied::Busy,
                    });
                }
            }
        }
    }

    fn drop_name(&mut self, name: &ExposedName) -> Result<(), ClaimDenied> {
        // If there is no cell, another push to the group has dropped the name, and the base of this
        // push is out of date.
        let Some(cell) = self.cells.get(&name.escaped) else {
            return Err(ClaimDenied::Busy);
        };
        cell.try_drop().map_err(|_| ClaimDenied::Busy)?;
        self.held.push(Claim::Drop(cell));
        Ok(())
    }

    fn change(
        &mut self,
        base: &ExposedName,
        index: usize,
        next: &ExposedName,
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
            Err(CellDenied::Conflict(role)) => {
                Err(ClaimDenied::Conflict(conflict(&cell, index, role)))
            }
            Err(CellDenied::Busy | CellDenied::Dead) => Err(ClaimDenied::Busy),
        }
    }

    /// The conflicts of `next` after the one with the name `after`, as they are at this moment; for
    /// the text of a refusal. Looks at no
    /// more than `names_max` names.
    pub fn conflicts_after(
        &self,
        after: usize,
        base: &Layout,
        next: &Layout,
        names_max: usize,
    ) -> impl Iterator<Item = NameConflict> {
        let base = base.exposed_names();
        let names = next.exposed_names().iter().enumerate().skip(after + 1);
        names.take(names_max).filter_map(move |(index, name)| {
            let cell = self.cells.get(&name.escaped)?;
            let own = base.binary_search_by(|base| base.escaped.cmp(&name.escaped));
            let role = cell.conflict_with(name.role, &name.raw, own.is_ok())?;
            Some(conflict(&cell, index, role))
        })
    }

    /// Makes the claims take effect: names that were taken are held firmly, names that were dropped
    /// are given up. To be called when the snapshot is published and its slot is marked.
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
    /// Undoes the claims that are not settled: nothing was published.
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

/// Removes the cell if its last claim is gone, so that the next push makes another one.
fn remove_dead(cells: &Registry<Cell>, cell: &Arc<Cell>) {
    if cell.is_dead() {
        cells.remove(cell);
    }
}

fn conflict(cell: &Cell, name_index: usize, exposed_role: NameRole) -> NameConflict {
    let owner = if cell.is_own() {
        NameOwner::Gateway
    } else {
        cell.hint().map_or(NameOwner::Unknown, NameOwner::Group)
    };
    NameConflict {
        name_index,
        exposed_role,
        exposed_raw: cell.raw(),
        owner,
    }
}
