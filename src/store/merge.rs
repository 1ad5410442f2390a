//! A POST to a group that exists: the pushed families replace those of the same name, the others
//! stay.

use super::refusal::Refusal;
use super::snapshot::{GroupContent, Snapshot};
use crate::model::{Families, FamiliesBuilder, MetricExtra, extras_of};
use std::sync::Arc;

/// The group at `base` with the values of the pushed families, if each of those has its layout in
/// the group already; else `None`. The group keeps its layout.
pub(super) fn merge_values(
    base: &Snapshot,
    pushed: &Families,
    received_at: i64,
) -> Option<GroupContent> {
    let layout = base.layout();
    let mut times: Box<[i64]> = (0..layout.skeleton().n_families())
        .map(|index| base.family_time(index))
        .collect();
    let mut values = base.values.clone();
    let mut pushed_as = vec![None; times.len()];
    for family in pushed.skeleton.families() {
        let known = layout
            .family_by_name(family.name())
            .filter(|known| known.same_layout(family))?;
        values[known.value_range()].copy_from_slice(&pushed.values[family.value_range()]);
        times[known.index()] = received_at;
        pushed_as[known.index()] = Some(family);
    }
    let mut extras = Vec::new();
    if !base.extras.is_empty() || !pushed.extras.is_empty() {
        for (known, family) in layout.skeleton().families().zip(pushed_as) {
            let to = known.metric_range().start;
            let (from, of_family) = match family {
                Some(family) => (
                    family.metric_range().start,
                    extras_of(&pushed.extras, family),
                ),
                None => (to, extras_of(&base.extras, known)),
            };
            extras.extend(of_family.iter().map(|extra| {
                let metric = extra.metric as usize - from + to;
                MetricExtra {
                    metric: u32::try_from(metric).expect("metrics are counted by 32 bits"),
                    body: extra.body.clone(),
                }
            }));
        }
    }
    let family_times = times
        .iter()
        .any(|&time| time != received_at)
        .then_some(times);
    Some(GroupContent {
        layout: Arc::clone(layout),
        values,
        extras: extras.into(),
        family_times,
    })
}

/// The families of the group at `base`, with the pushed ones in the place of those of the same name
/// and behind them those that are new; and when each of them was pushed.
///
/// # Errors
///
/// [`Refusal::TooLarge`] if the group would have more text than a skeleton can address.
pub(super) fn merge_families(
    base: &Snapshot,
    pushed: &Families,
    received_at: i64,
) -> Result<(Families, Box<[i64]>), Refusal> {
    let mut builder = FamiliesBuilder::new();
    let mut times = Vec::new();
    let skeleton = &pushed.skeleton;
    // Sorted by name, because a body may have thousands of families.
    let mut by_name: Vec<usize> = (0..skeleton.n_families()).collect();
    by_name.sort_by_key(|&index| skeleton.family(index).name());
    let find = |name: &str| {
        by_name
            .binary_search_by(|&index| skeleton.family(index).name().cmp(name))
            .ok()
    };
    let mut is_placed = vec![false; by_name.len()];
    for known in base.layout().skeleton().families() {
        if let Some(place) = find(known.name()) {
            builder.copy_family(pushed, skeleton.family(by_name[place]));
            is_placed[by_name[place]] = true;
            times.push(received_at);
        } else {
            builder.copy_parts(&base.values, &base.extras, known);
            times.push(base.family_time(known.index()));
        }
    }
    for family in skeleton
        .families()
        .filter(|family| !is_placed[family.index()])
    {
        builder.copy_family(pushed, family);
        times.push(received_at);
    }
    let families = builder.finish().map_err(|_| Refusal::TooLarge)?;
    Ok((families, times.into()))
}
