//! The catalog: what the assembler knows of the exposed families and of the layouts in use.
//!
//! Of each family it knows the name, the header and the stretch. Of each layout it knows which
//! families a group with this layout exposes, and where in a snapshot their numbers are: the
//! layout's [`RenderPlan`].
//!
//! Invariants:
//!
//! - A render plan exists as long as a group uses it, a family as long as a render plan names it.
//! - Both also exist until the end of the round in which their last user goes
//!   ([`Catalog::remove_unused`]), because the round still has to remove their lines.
//! - After [`Catalog::update_headers`], the type and the helps of a family are those of the plans
//!   that groups use.
//! - A family of native histograms has a main part as well, which may have no metrics: it is the one
//!   that is found by its name, and has the type and the helps of both parts.

use super::family_part::FamilyPart;
use super::help_texts::{HelpConflict, HelpTexts, ReportedConflicts};
use super::page::FamilyId;
use super::render_plan::{RenderPlan, RenderPlanId, ValueSource, n_samples};
use crate::model::{Families, FamiliesBuilder, Family, MetricFlags, MetricType};
use crate::store::{Layout, Snapshot};
use ahash::AHashMap;
use std::cmp::Ordering;
use std::sync::Arc;

const PUSH_TIME: &str = "push_time_seconds";
const PUSH_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway succeeded.";
const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";
const PUSH_FAILURE_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway failed.";

/// A family, or one of its two parts, that is exposed or was exposed when the round began.
pub(super) struct FamilyInfo {
    pub name: Arc<str>,
    pub part: FamilyPart,
    /// The other part, if there is one.
    other_part: Option<FamilyId>,
    /// The type and the helps of the main part are those of the family.
    metric_type: MetricType,
    helps: HelpTexts,
    /// The index of the stretch that the family is in: how many of the gateway's own families have
    /// a name up to this one's.
    pub stretch: usize,
    /// One of the gateway's own families has this name, so the pages hold no header for it. None of
    /// them is a histogram.
    pub is_own: bool,
    /// How many render plans name the family, or its native part.
    n_plans: u32,
    /// How many of the plans that groups use have metrics of the family.
    n_plans_in_headers: u32,
}

/// What precedes the metrics of a family in an exposition.
pub(super) struct FamilyHeader<'a> {
    pub name: &'a str,
    pub metric_type: MetricType,
    /// The help that is exposed.
    pub help: Option<&'a str>,
    /// The main part precedes this native one.
    pub follows_main_part: bool,
}

/// What [`Catalog::update_headers`] has changed.
#[derive(Default)]
pub(super) struct HeaderUpdate {
    /// The new contradictions between helps.
    pub conflicts: Vec<HelpConflict>,
    /// Families whose header may be another one although none of their lines has changed: their
    /// other part has changed.
    pub other_parts: Vec<FamilyId>,
}

/// The families and render plans in use.
pub(super) struct Catalog {
    /// Names of the gateway's own families, in ascending order.
    own: Box<[Box<str>]>,
    /// By id.
    families: Vec<Option<FamilyInfo>>,
    free_families: Vec<FamilyId>,
    by_name: AHashMap<Arc<str>, FamilyId>,
    /// By id.
    plans: Vec<Option<RenderPlan>>,
    free_plans: Vec<RenderPlanId>,
    /// By [`Layout::id`].
    by_layout: AHashMap<u64, RenderPlanId>,
    /// Plans that got their first group in this round, or lost their last one.
    touched_plans: Vec<RenderPlanId>,
    reported_conflicts: ReportedConflicts,
    /// The families of the two push times, for their templates: first the failure time.
    push_times: Families,
}

impl Catalog {
    /// An empty catalog. `own` are the names of the gateway's own families, in ascending order.
    pub fn new<'a>(own: impl IntoIterator<Item = &'a str>) -> Self {
        let own: Box<[Box<str>]> = own.into_iter().map(Box::from).collect();
        assert!(own.is_sorted(), "own families are sorted by name");
        let mut push_times = FamiliesBuilder::new();
        for (name, help) in [
            (PUSH_FAILURE_TIME, PUSH_FAILURE_TIME_HELP),
            (PUSH_TIME, PUSH_TIME_HELP),
        ] {
            push_times.family(name, MetricType::Gauge, Some(help));
            push_times.value(0);
            push_times.end_metric(MetricFlags::default());
        }
        Self {
            own,
            families: Vec::new(),
            free_families: Vec::new(),
            by_name: AHashMap::new(),
            plans: Vec::new(),
            free_plans: Vec::new(),
            by_layout: AHashMap::new(),
            touched_plans: Vec::new(),
            reported_conflicts: ReportedConflicts::default(),
            push_times: push_times
                .finish()
                .expect("two short names are below every limit"),
        }
    }

    /// The family with this id.
    pub fn family(&self, id: FamilyId) -> &FamilyInfo {
        self.families[id as usize]
            .as_ref()
            .expect("a family is kept while pages hold it")
    }

    /// The render plan with this id.
    pub fn plan(&self, id: RenderPlanId) -> &RenderPlan {
        self.plans[id as usize]
            .as_ref()
            .expect("a plan is kept while groups use it")
    }

    /// Upper bound of family ids: each id is below this number.
    pub fn n_family_ids(&self) -> usize {
        self.families.len()
    }

    /// What precedes the metrics of the family.
    pub fn header_of(&self, id: FamilyId) -> FamilyHeader<'_> {
        let info = self.family(id);
        let main = match (info.part, info.other_part) {
            (FamilyPart::Native, Some(main)) => self.family(main),
            _ => info,
        };
        FamilyHeader {
            name: &info.name,
            metric_type: main.metric_type,
            help: main.helps.exposed(),
            follows_main_part: info.part == FamilyPart::Native && main.n_plans_in_headers > 0,
        }
    }

    /// How many families are exposed; two parts are one family.
    pub fn n_families(&self) -> u64 {
        self.by_name.len() as u64
    }

    /// Upper bound of render plan ids: each id is below this number.
    pub fn n_plan_ids(&self) -> usize {
        self.plans.len()
    }

    /// Compares two families by name, and the parts of one family.
    pub fn compare(&self, a: FamilyId, b: FamilyId) -> Ordering {
        let (a, b) = (self.family(a), self.family(b));
        a.name.cmp(&b.name).then(a.part.cmp(&b.part))
    }

    /// The family of the plan's layout, or of the push times, that `source` stands for.
    pub fn family_of_source<'a>(
        &'a self,
        plan: &'a RenderPlan,
        source: &ValueSource,
    ) -> Family<'a> {
        family_of_source(&self.push_times, &plan.layout, source)
    }

    /// Counts a group with this snapshot as a user of the render plan of its layout, and returns
    /// the plan's id. Makes the plan if this is the first group with the layout.
    pub fn acquire_plan(&mut self, snapshot: &Snapshot) -> RenderPlanId {
        let layout = snapshot.layout();
        let id = match self.by_layout.get(&layout.id()) {
            Some(&id) => id,
            None => self.add_plan(layout),
        };
        let plan = self.plans[id as usize]
            .as_mut()
            .expect("found or added above");
        if plan.n_groups == 0 && !std::mem::replace(&mut plan.is_touched, true) {
            self.touched_plans.push(id);
        }
        plan.n_groups += 1;
        id
    }

    /// Ends what [`Catalog::acquire_plan`] began: the group is not exposed any more, or has another
    /// layout.
    pub fn release_plan(&mut self, id: RenderPlanId) {
        let plan = self.plans[id as usize]
            .as_mut()
            .expect("a plan is kept while groups use it");
        plan.n_groups -= 1;
        if plan.n_groups == 0 && !std::mem::replace(&mut plan.is_touched, true) {
            self.touched_plans.push(id);
        }
    }

    fn add_plan(&mut self, layout: &Arc<Layout>) -> RenderPlanId {
        let mut sources = vec![
            (
                self.add_family(PUSH_FAILURE_TIME, MetricType::Gauge),
                ValueSource::FailureTime,
            ),
            (
                self.add_family(PUSH_TIME, MetricType::Gauge),
                ValueSource::PushTime,
            ),
        ];
        for family in layout
            .families_by_name()
            .filter(|family| family.metrics().len() > 0)
        {
            for part in [FamilyPart::Main, FamilyPart::Native] {
                if family
                    .metrics()
                    .any(|metric| FamilyPart::of(metric) == part)
                {
                    let id = match part {
                        FamilyPart::Main => self.add_family(family.name(), family.metric_type()),
                        FamilyPart::Native => {
                            self.add_native_part(family.name(), family.metric_type())
                        }
                    };
                    let source = ValueSource::Pushed {
                        index: family.index(),
                        values: family.value_range(),
                        metrics: family.metric_range(),
                    };
                    sources.push((id, source));
                }
            }
        }
        sources.sort_by_key(|&(id, _)| id);
        let plan = RenderPlan {
            layout: Arc::clone(layout),
            n_samples: 2 + layout
                .skeleton()
                .families()
                .flat_map(|f| f.metrics().map(move |m| n_samples(f, m)))
                .sum::<u64>(),
            sources: sources.into(),
            n_groups: 0,
            is_touched: false,
            is_in_headers: false,
        };
        let id = insert(&mut self.plans, &mut self.free_plans, plan);
        self.by_layout.insert(layout.id(), id);
        id
    }

    /// Counts a render plan as a user of the family with this name.
    fn add_family(&mut self, name: &str, metric_type: MetricType) -> FamilyId {
        if let Some(&id) = self.by_name.get(name) {
            self.families[id as usize]
                .as_mut()
                .expect("a family with a name is in use")
                .n_plans += 1;
            return id;
        }
        let stretch = self.own.partition_point(|own| &**own <= name);
        let is_own = stretch > 0 && &*self.own[stretch - 1] == name;
        let name: Arc<str> = name.into();
        let info = FamilyInfo {
            name: Arc::clone(&name),
            part: FamilyPart::Main,
            other_part: None,
            metric_type,
            helps: HelpTexts::default(),
            stretch,
            is_own,
            n_plans: 1,
            n_plans_in_headers: 0,
        };
        let id = insert(&mut self.families, &mut self.free_families, info);
        self.by_name.insert(name, id);
        id
    }

    /// Counts a render plan as a user of the native part of the family with this name, and of its
    /// main part. Returns the id of the native part.
    fn add_native_part(&mut self, name: &str, metric_type: MetricType) -> FamilyId {
        let main_id = self.add_family(name, metric_type);
        let main = self.family(main_id);
        if let Some(id) = main.other_part {
            self.family_mut(id).n_plans += 1;
            return id;
        }
        let info = FamilyInfo {
            name: Arc::clone(&main.name),
            part: FamilyPart::Native,
            other_part: Some(main_id),
            metric_type,
            helps: HelpTexts::default(),
            stretch: main.stretch,
            is_own: false,
            n_plans: 1,
            n_plans_in_headers: 0,
        };
        let id = insert(&mut self.families, &mut self.free_families, info);
        self.family_mut(main_id).other_part = Some(id);
        id
    }

    fn family_mut(&mut self, id: FamilyId) -> &mut FamilyInfo {
        self.families[id as usize]
            .as_mut()
            .expect("a family is kept while a plan names it")
    }

    /// Ends what [`Catalog::add_family`] or [`Catalog::add_native_part`] began.
    fn remove_family(&mut self, id: FamilyId) {
        let info = self.family_mut(id);
        info.n_plans -= 1;
        let (is_gone, part, other_part) = (info.n_plans == 0, info.part, info.other_part);
        if is_gone {
            let info = self.families[id as usize].take().expect("used above");
            self.free_families.push(id);
            match part {
                // Its native part is gone: each plan of that is one of the main part as well.
                FamilyPart::Main => drop(self.by_name.remove(&*info.name)),
                FamilyPart::Native => {
                    let main = other_part.expect("a native part has a main part");
                    self.family_mut(main).other_part = None;
                }
            }
        }
        if let (FamilyPart::Native, Some(main)) = (part, other_part) {
            self.remove_family(main);
        }
    }

    /// Brings the types and helps of the families in line with the plans that groups use now.
    pub fn update_headers(&mut self) -> HeaderUpdate {
        let mut update = HeaderUpdate::default();
        // A help that was not counted before, by the source of a plan.
        let mut new_helps: Vec<(RenderPlanId, usize)> = Vec::new();
        for &plan_id in &self.touched_plans {
            let plan = self.plans[plan_id as usize]
                .as_mut()
                .expect("a touched plan is kept until the end of the round");
            let is_used = plan.n_groups > 0;
            if std::mem::replace(&mut plan.is_in_headers, is_used) == is_used {
                continue;
            }
            for (index, (id, source)) in plan.sources.iter().enumerate() {
                let family = family_of_source(&self.push_times, &plan.layout, source);
                let mut info = self.families[*id as usize]
                    .as_mut()
                    .expect("a family is kept while a plan names it");
                if is_used {
                    info.n_plans_in_headers += 1;
                } else {
                    info.n_plans_in_headers -= 1;
                }
                update.other_parts.extend(info.other_part);
                if let (FamilyPart::Native, Some(main)) = (info.part, info.other_part) {
                    info = self.families[main as usize]
                        .as_mut()
                        .expect("a main part is kept while there is a native one");
                }
                if is_used {
                    // All groups that have the family agree on its type, because a round takes the
                    // state of all groups at one moment (a cut, see `Store::take_cut`).
                    info.metric_type = family.metric_type();
                }
                let Some(help) = family.help() else { continue };
                if !is_used {
                    info.helps.remove(help);
                } else if info.helps.add(help) && !info.is_own {
                    new_helps.push((plan_id, index));
                }
            }
        }
        for (plan_id, index) in new_helps {
            let plan = self.plans[plan_id as usize]
                .as_ref()
                .expect("a touched plan is kept until the end of the round");
            let (id, source) = &plan.sources[index];
            let family = family_of_source(&self.push_times, &plan.layout, source);
            let mut info = self.families[*id as usize]
                .as_ref()
                .expect("a family is kept while a plan names it");
            if let (FamilyPart::Native, Some(main)) = (info.part, info.other_part) {
                info = self.families[main as usize]
                    .as_ref()
                    .expect("a main part is kept while there is a native one");
            }
            let help = family.help().expect("noted because of its help");
            let reported = &mut self.reported_conflicts;
            update
                .conflicts
                .extend(reported.report(&info.name, &info.helps, help));
        }
        let is_exposed = |id: &FamilyId| self.family(*id).n_plans_in_headers > 0;
        update.other_parts.retain(is_exposed);
        update.other_parts.sort_unstable();
        update.other_parts.dedup();
        update
    }

    /// Ends the round: removes the plans that no group uses and the families that no plan names.
    /// Returns the ids of the removed plans.
    pub fn remove_unused(&mut self) -> Vec<RenderPlanId> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.touched_plans) {
            let plan = self.plans[id as usize]
                .as_mut()
                .expect("a touched plan is kept until the end of the round");
            plan.is_touched = false;
            if plan.n_groups > 0 {
                continue;
            }
            let plan = self.plans[id as usize].take().expect("checked above");
            self.by_layout.remove(&plan.layout.id());
            self.free_plans.push(id);
            gone.push(id);
            for &(family, _) in &plan.sources {
                self.remove_family(family);
            }
        }
        gone
    }
}

/// See [`Catalog::family_of_source`].
fn family_of_source<'a>(
    push_times: &'a Families,
    layout: &'a Layout,
    source: &ValueSource,
) -> Family<'a> {
    match source {
        ValueSource::FailureTime => push_times.skeleton.family(0),
        ValueSource::PushTime => push_times.skeleton.family(1),
        ValueSource::Pushed { index, .. } => layout.skeleton().family(*index),
    }
}

/// Puts `value` into a free place of `slab`, or a new one, and returns its index.
fn insert<T>(slab: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(id) = free.pop() {
        slab[id as usize] = Some(value);
        return id;
    }
    slab.push(Some(value));
    u32::try_from(slab.len() - 1).expect("fewer than 2^32 families are exposed")
}

#[cfg(test)]
mod tests;
