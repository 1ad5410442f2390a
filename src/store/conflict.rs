//! The refusal for a name that is exposed in another role or under another raw name.

use super::candidate::Candidate;
use super::cell::{Cell, NameRole};
use super::claims::NameConflict;
use super::layout_check::ExposedName;
use super::metric_text::show_metric;
use super::refusal::{NameOwner, Refusal};
use super::slots::Slots;
use crate::model::{Escaping, GroupingKey, MetricType, escape_name};
use crate::sync::Registry;

/// The refusal of the candidate because of `conflict`. Names who exposes the name, if that is
/// known.
pub(super) fn refusal_of_conflict(
    conflict: &NameConflict,
    candidate: &Candidate<'_>,
    cells: &Registry<Cell>,
    slots: &Slots,
) -> Refusal {
    let (layout, key) = (&*candidate.content.layout, candidate.key);
    let name = &layout.exposed_names()[conflict.name_index];
    let exposed = conflict.exposed_role;
    let owner = verified(slots, conflict.owner.clone(), name, exposed, key);
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
            let owners_metric = match &owner {
                NameOwner::Group(owner) => first_metric(owner, &name.raw, slots),
                NameOwner::Unknown | NameOwner::Gateway => None,
            };
            let owner = if owners_metric.is_none() && owner != NameOwner::Gateway {
                NameOwner::Unknown
            } else {
                owner
            };
            let pushed_metric = || {
                let metric = family.metrics().next();
                show_metric(
                    layout.skeleton(),
                    &candidate.content.values,
                    metric.expect("only names of families with metrics are claimed"),
                    key.labels(),
                )
            };
            Refusal::FamilyType {
                metric: owners_metric.unwrap_or_else(pushed_metric),
                family: family.name().to_owned(),
                pushed,
                exposed,
                owner,
            }
        }
        (NameRole::Suffix, _) => Refusal::Suffix {
            name: name.raw.to_string(),
            of: Some((family.metric_type(), family.name().to_owned())),
            owner: Some(owner),
            is_name_exposed: true,
        },
        (NameRole::Family(_), NameRole::Suffix) => Refusal::Suffix {
            name: name.raw.to_string(),
            of: suffix_owner(cells, &name.raw),
            owner: Some(owner),
            is_name_exposed: false,
        },
    }
}

/// The first metric of a family of a group, as protobuf's text form shows it.
fn first_metric(group: &GroupingKey, family: &str, slots: &Slots) -> Option<String> {
    let group = slots.group(group.canonical().as_bytes())?;
    let layout = group.layout();
    let metric = layout.family_by_name(family)?.metrics().next()?;
    Some(show_metric(
        layout.skeleton(),
        &group.values,
        metric,
        group.key().labels(),
    ))
}

/// The owner if it is right, else [`NameOwner::Unknown`]. A group is only a hint: it must still
/// expose the name in this role, and must not be the one that is pushed to.
fn verified(
    slots: &Slots,
    owner: NameOwner,
    name: &ExposedName,
    role: NameRole,
    pushed_to: &GroupingKey,
) -> NameOwner {
    let NameOwner::Group(key) = owner else {
        return owner;
    };
    let exposes = slots
        .group(key.canonical().as_bytes())
        .is_some_and(|group| {
            let claims = group.layout().exposed_names();
            let place = claims.binary_search_by(|claim| claim.escaped.cmp(&name.escaped));
            place.is_ok_and(|place| claims[place].role == role)
        });
    if exposes && *key != *pushed_to {
        NameOwner::Group(key)
    } else {
        NameOwner::Unknown
    }
}

/// The summary or histogram that exposes a name with a suffix: its type and its name.
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
