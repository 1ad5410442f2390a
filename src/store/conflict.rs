//! The words for a name that is exposed as something else.

use super::candidate::Candidate;
use super::cell::{Cell, NameRole};
use super::claims::NameConflict;
use super::layout_check::ClaimedName;
use super::metric_text::show_metric;
use super::refusal::{NameOwner, Refusal};
use super::slots::Slots;
use crate::model::{Escaping, GroupingKey, MetricType, escape_name};
use crate::sync::Registry;

/// The refusal of a push because of `conflict`.
pub(super) fn refusal_of_conflict(
    conflict: NameConflict,
    candidate: &Candidate<'_>,
    cells: &Registry<Cell>,
    slots: &Slots,
) -> Refusal {
    let (layout, key) = (&*candidate.content.layout, candidate.key);
    let name = &layout.claims()[conflict.claim];
    let exposed = conflict.exposed_role;
    let owner = verified(slots, conflict.owner, name, exposed, key);
    let family = layout.skeleton().family(name.family as usize);
    if **conflict.exposed_raw != *name.raw {
        return Refusal::EscapedName {
            pushed: name.raw.to_string(),
            exposed: conflict.exposed_raw.to_string(),
            owner: Some(owner),
        };
    }
    match (name.role, exposed) {
        (NameRole::Family(pushed), NameRole::Family(exposed)) => {
            let of_owner = match &owner {
                NameOwner::Group(owner) => {
                    slots.group(owner.canonical().as_bytes()).and_then(|group| {
                        let metric = group
                            .fixed
                            .layout
                            .family_by_name(&name.raw)?
                            .metrics()
                            .next()?;
                        Some(show_metric(
                            group.fixed.layout.skeleton(),
                            &group.values,
                            metric,
                            group.fixed.key.labels(),
                        ))
                    })
                }
                NameOwner::Unknown | NameOwner::Gateway => None,
            };
            let owner = if of_owner.is_none() && owner != NameOwner::Gateway {
                NameOwner::Unknown
            } else {
                owner
            };
            let pushed_metric = || {
                let metric = family
                    .metrics()
                    .next()
                    .expect("a name is claimed for a metric");
                show_metric(
                    layout.skeleton(),
                    &candidate.content.values,
                    metric,
                    key.labels(),
                )
            };
            let metric = of_owner.unwrap_or_else(pushed_metric);
            Refusal::FamilyType {
                metric,
                family: family.name().to_owned(),
                pushed,
                exposed,
                owner,
            }
        }
        (NameRole::Suffix, _) => {
            let of = Some((family.metric_type(), family.name().to_owned()));
            Refusal::Suffix {
                name: name.raw.to_string(),
                of,
                owner: Some(owner),
                is_name_exposed: true,
            }
        }
        (NameRole::Family(_), NameRole::Suffix) => {
            let of = suffix_owner(cells, &name.raw);
            Refusal::Suffix {
                name: name.raw.to_string(),
                of,
                owner: Some(owner),
                is_name_exposed: false,
            }
        }
    }
}

/// Hints get old: a group is only named if it exposes the name in that way, and is not the one
/// that was pushed to.
fn verified(
    slots: &Slots,
    owner: NameOwner,
    name: &ClaimedName,
    role: NameRole,
    pushed_to: &GroupingKey,
) -> NameOwner {
    let NameOwner::Group(key) = owner else {
        return owner;
    };
    let exposes = slots
        .group(key.canonical().as_bytes())
        .is_some_and(|group| {
            let claims = group.fixed.layout.claims();
            let place = claims.binary_search_by(|claim| claim.escaped.cmp(&name.escaped));
            place.is_ok_and(|place| claims[place].role == role)
        });
    if exposes && *key != *pushed_to {
        NameOwner::Group(key)
    } else {
        NameOwner::Unknown
    }
}

/// The summary or histogram that exposes a name as a suffix of its own.
fn suffix_owner(cells: &Registry<Cell>, raw: &str) -> Option<(MetricType, String)> {
    let base = ["_bucket", "_count", "_sum"]
        .iter()
        .find_map(|suffix| raw.strip_suffix(suffix))?;
    let cell = cells.get(&*escape_name(base, Escaping::Underscores))?;
    match cell.counts().0 {
        NameRole::Family(metric_type) => Some((metric_type, base.to_owned())),
        NameRole::Suffix => None,
    }
}
