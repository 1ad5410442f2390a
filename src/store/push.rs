//! A push on its way into the store: what it makes of the group it finds.

use super::job_door::JobDoor;
use super::layout::Layout;
use super::layout_check::LayoutIndex;
use super::push_check::{bad_key_name, check_exposed_bytes, of_flaw, of_invalid};
use super::refusal::Refusal;
use super::snapshot::{GroupContent, Snapshot};
use crate::model::{Families, FamiliesBuilder, GroupingKey, MetricExtra, Skeleton, extras_of};
use smallvec::SmallVec;
use std::sync::Arc;

/// What becomes of the families that the group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    /// PUT: they go.
    Replace,
    /// POST: those of the same name go.
    Merge,
}

/// One push, parsed.
#[derive(Debug)]
pub struct Push {
    pub(super) key: Arc<GroupingKey>,
    families: Families,
    /// A layout that the push has, with its numbers, instead of families.
    known: Option<(Arc<Layout>, SmallVec<[u64; 12]>)>,
    mode: PushMode,
    /// Nanoseconds since the epoch.
    pub(super) received_at: i64,
    /// Why it is refused, once that is decided.
    pub(super) refusal: Option<Refusal>,
    /// What a structural attempt made, with the version of the snapshot that was merged into: 0 for
    /// none.
    made: Option<(u64, GroupContent)>,
}

/// The families that the gateway itself keeps for every group.
pub(super) const MARKERS: [&str; 2] = ["push_failure_time_seconds", "push_time_seconds"];

impl Push {
    /// A push of `families`, received at `received_at` nanoseconds since the epoch. Pushed families
    /// with the names of the push times are left out: those are the gateway's.
    pub fn new(
        key: Arc<GroupingKey>,
        families: Families,
        mode: PushMode,
        received_at: i64,
    ) -> Self {
        let refusal = bad_key_name(&key).or_else(|| {
            let invalid = families.invalid.as_ref()?;
            Some(of_invalid(invalid, &families, key.labels()))
        });
        let families = without_markers(families);
        Self {
            key,
            families,
            known: None,
            mode,
            received_at,
            refusal,
            made: None,
        }
    }

    /// A push that has a layout which the store knows, with these numbers and nothing that the text
    /// format cannot carry.
    pub fn of_layout(
        key: Arc<GroupingKey>,
        layout: Arc<Layout>,
        values: SmallVec<[u64; 12]>,
        mode: PushMode,
        received_at: i64,
    ) -> Self {
        let refusal = bad_key_name(&key);
        Self {
            key,
            families: Families::default(),
            known: Some((layout, values)),
            mode,
            received_at,
            refusal,
            made: None,
        }
    }

    /// Whether what it makes of a group rests on what the group has.
    pub(super) fn is_merge_into(&self, base: &Snapshot) -> bool {
        self.mode == PushMode::Merge && base.is_live()
    }

    /// Has families from here on, also if a layout was known.
    fn unpack(&mut self) {
        if let Some((layout, values)) = self.known.take() {
            self.families = Families {
                skeleton: layout.skeleton().clone(),
                values: values.to_vec(),
                ..Families::default()
            };
        }
    }

    /// The key of the group it goes to.
    pub fn key(&self) -> &Arc<GroupingKey> {
        &self.key
    }

    fn skeleton(&self) -> &Skeleton {
        match (&self.made, self.mode) {
            (Some((_, made)), PushMode::Replace) => made.layout.skeleton(),
            _ => &self.families.skeleton,
        }
    }

    /// What the group has after this push, if only numbers change.
    pub(super) fn value_only(&mut self, base: &Snapshot) -> Option<GroupContent> {
        if let Some((layout, values)) = &self.known
            && (Arc::ptr_eq(layout, &base.fixed.layout)
                || layout.skeleton() == base.fixed.layout.skeleton())
        {
            let layout = Arc::clone(&base.fixed.layout);
            return Some(GroupContent {
                layout,
                values: values.clone(),
                extras: Box::default(),
                family_times: None,
            });
        }
        self.unpack();
        if base.fixed.layout.skeleton() == self.skeleton() {
            let (values, extras) = match &self.made {
                Some((_, made)) if self.mode == PushMode::Replace => {
                    (made.values.clone(), made.extras.clone())
                }
                _ => (
                    SmallVec::from_slice(&self.families.values),
                    self.families.extras.as_slice().into(),
                ),
            };
            if let Some(form) = self.families.take_form() {
                base.fixed.layout.learn_form(form);
            }
            let layout = Arc::clone(&base.fixed.layout);
            return Some(GroupContent {
                layout,
                values,
                extras,
                family_times: None,
            });
        }
        match self.mode {
            PushMode::Replace => None,
            PushMode::Merge => self.patched(base),
        }
    }

    /// The group with the numbers of the pushed families, where each of those has its layout there
    /// already.
    fn patched(&self, base: &Snapshot) -> Option<GroupContent> {
        let mut times: Box<[i64]> = (0..base.fixed.layout.skeleton().n_families())
            .map(|index| base.family_time(index))
            .collect();
        let mut values = base.values.clone();
        let mut pushed_as = vec![None; times.len()];
        for pushed in self.families.skeleton.families() {
            let known = base
                .fixed
                .layout
                .family_by_name(pushed.name())
                .filter(|known| known.same_layout(pushed))?;
            values[known.value_range()]
                .copy_from_slice(&self.families.values[pushed.value_range()]);
            times[known.index()] = self.received_at;
            pushed_as[known.index()] = Some(pushed);
        }
        let mut extras = Vec::new();
        if !base.extras.is_empty() || !self.families.extras.is_empty() {
            for (known, pushed) in base.fixed.layout.skeleton().families().zip(pushed_as) {
                let to = known.metric_range().start;
                let (from, of_family) = match pushed {
                    Some(pushed) => (
                        pushed.metric_range().start,
                        extras_of(&self.families.extras, pushed),
                    ),
                    None => (to, extras_of(&base.extras, known)),
                };
                extras.extend(of_family.iter().map(|extra| {
                    let metric = extra.metric as usize - from + to;
                    MetricExtra {
                        metric: u32::try_from(metric).expect("metrics have 32 bits"),
                        body: extra.body.clone(),
                    }
                }));
            }
        }
        let family_times = times
            .iter()
            .any(|&time| time != self.received_at)
            .then_some(times);
        Some(GroupContent {
            layout: Arc::clone(&base.fixed.layout),
            values,
            extras: extras.into(),
            family_times,
        })
    }

    /// What the group has after this push, whatever it had. A layout that the job knows is shared.
    ///
    /// # Errors
    ///
    /// The push contradicts itself, or for a merge what it leaves of the group; or the group would
    /// be exposed with more than `exposition_bytes_max`.
    pub(super) fn content(
        &mut self,
        base: &Snapshot,
        door: Option<&JobDoor>,
        exposition_bytes_max: u64,
    ) -> Result<GroupContent, Refusal> {
        let merged_into = if self.is_merge_into(base) {
            base.version
        } else {
            0
        };
        if let Some((version, made)) = &self.made
            && *version == merged_into
        {
            return Ok(made.clone());
        }
        if merged_into == 0
            && let Some((layout, values)) = self
                .known
                .take_if(|(layout, _)| layout.has_names_of(&self.key))
        {
            // It was checked when it was made, for any key with these names; but the values of this
            // one may be longer.
            check_exposed_bytes(&layout, &self.key, exposition_bytes_max)?;
            let content = GroupContent {
                layout,
                values,
                extras: Box::default(),
                family_times: None,
            };
            if self.mode == PushMode::Merge {
                // A merge may find a group in its next attempt, and then needs its families.
                self.known = Some((Arc::clone(&content.layout), content.values.clone()));
            }
            self.made = Some((0, content.clone()));
            return Ok(content);
        }
        self.unpack();
        let form = self.families.take_form().filter(|_| merged_into == 0);
        let (families, family_times) = if merged_into == 0 {
            // A merge may find a group in its next attempt, and then needs its families again.
            let families = match self.mode {
                PushMode::Replace => std::mem::take(&mut self.families),
                PushMode::Merge => self.families.clone(),
            };
            (families, None)
        } else {
            let (families, times) = self.merged(base)?;
            (families, Some(times))
        };
        let Families {
            skeleton,
            values,
            extras,
            ..
        } = families;
        let layout = match door.and_then(|door| door.recent_layout(&skeleton, &self.key)) {
            Some(layout) => {
                // Not for a layout that is new: many a group has one of its own and is pushed once.
                if let Some(form) = form {
                    layout.learn_form(form);
                }
                layout
            }
            None => match LayoutIndex::check(&skeleton, &self.key) {
                Ok(checked) => Arc::new(Layout::of_checked(skeleton, checked, &self.key)),
                Err(flaw) => return Err(of_flaw(&flaw, &skeleton, &values, &self.key)),
            },
        };
        check_exposed_bytes(&layout, &self.key, exposition_bytes_max)?;
        let content = GroupContent {
            layout,
            values: values.into(),
            extras: extras.into(),
            family_times,
        };
        self.made = Some((merged_into, content.clone()));
        Ok(content)
    }

    /// The group's families with those of the same name replaced, and when each was pushed.
    fn merged(&self, base: &Snapshot) -> Result<(Families, Box<[i64]>), Refusal> {
        let mut builder = FamiliesBuilder::new();
        let mut times = Vec::new();
        let pushed = &self.families.skeleton;
        // By name: a body may have thousands of families.
        let mut by_name: Vec<usize> = (0..pushed.n_families()).collect();
        by_name.sort_by_key(|&index| pushed.family(index).name());
        let find = |name: &str| {
            by_name
                .binary_search_by(|&index| pushed.family(index).name().cmp(name))
                .ok()
        };
        let mut is_placed = vec![false; by_name.len()];
        for known in base.fixed.layout.skeleton().families() {
            if let Some(place) = find(known.name()) {
                builder.copy_family(&self.families, pushed.family(by_name[place]));
                is_placed[by_name[place]] = true;
                times.push(self.received_at);
            } else {
                builder.copy_parts(&base.values, &base.extras, known);
                times.push(base.family_time(known.index()));
            }
        }
        for family in pushed
            .families()
            .filter(|family| !is_placed[family.index()])
        {
            builder.copy_family(&self.families, family);
            times.push(self.received_at);
        }
        let families = builder.finish().map_err(|_| Refusal::TooLarge)?;
        Ok((families, times.into()))
    }
}

fn without_markers(families: Families) -> Families {
    if !families
        .skeleton
        .families()
        .any(|family| MARKERS.contains(&family.name()))
    {
        return families;
    }
    let mut builder = FamiliesBuilder::new();
    for family in families
        .skeleton
        .families()
        .filter(|family| !MARKERS.contains(&family.name()))
    {
        builder.copy_family(&families, family);
    }
    builder.finish().expect("it is less than before")
}
