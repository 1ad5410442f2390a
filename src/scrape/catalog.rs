//! What the assembler knows of families and layouts: the order, header and place of each family,
//! and for each layout in use where in the values of a snapshot a family's numbers are.
//!
//! Help: the first non-empty help of a family stays while the family is exposed. Of several that
//! arrive in one round the one of the oldest push counts.
//!
//! Invariants: a family has an id exactly as long as a plan names it; a plan exists exactly as long
//! as a group uses it, but both are kept until the end of the round in which that ends, because the
//! round still has to take their lines out.

use super::page::FamilyId;
use crate::model::{Families, FamiliesBuilder, Family, Metric, MetricFlags, MetricType};
use crate::store::{Layout, Snapshot};
use ahash::AHashMap;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

const PUSH_TIME: &str = "push_time_seconds";
const PUSH_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway succeeded.";
const PUSH_FAILURE_TIME: &str = "push_failure_time_seconds";
const PUSH_FAILURE_TIME_HELP: &str =
    "Last Unix time when changing this group in the Pushgateway failed.";

/// The assembler's number of a layout.
pub(super) type PlanId = u32;

/// A family that is exposed, or was at the start of the round.
pub(super) struct FamilyInfo {
    pub name: Arc<str>,
    pub metric_type: MetricType,
    pub help: Option<Box<str>>,
    /// How many of the gateway's own families come before it or are it: the stretch between own
    /// families that it lies in.
    pub stretch: usize,
    /// One of the gateway's own families has this name, so its header stands already.
    pub is_own: bool,
    n_plans: u32,
    help_differs: bool,
}

/// A family was pushed with another help than the one that is exposed. Told once while the family
/// is exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelpConflict {
    /// The family.
    pub family: String,
    /// The help that is exposed.
    pub exposed: String,
    /// The help that is not.
    pub pushed: String,
}

/// Where the numbers of one family of a snapshot come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    FailureTime,
    PushTime,
    Pushed {
        index: usize,
        values: Range<usize>,
        metrics: Range<usize>,
    },
}

impl Source {
    /// Whether both snapshots, which share a layout, show the same here.
    pub fn is_same(&self, a: &Snapshot, b: &Snapshot) -> bool {
        match self {
            Self::FailureTime => a.failure_time == b.failure_time,
            Self::PushTime => a.push_time == b.push_time,
            Self::Pushed { values, .. } => {
                a.values[values.clone()] == b.values[values.clone()]
                    && ((a.extras.is_empty() && b.extras.is_empty()) || a.extras == b.extras)
            }
        }
    }
}

/// What the assembler needs of a layout, looked up once for all groups that share it.
pub(super) struct Plan {
    pub layout: Arc<Layout>,
    /// The families of this layout and the two push times, by ascending id.
    pub sources: Box<[(FamilyId, Source)]>,
    /// Lines that a group with this layout exposes.
    pub n_samples: u64,
    n_groups: u64,
    /// The oldest version that came with it in this round.
    oldest: u64,
}

impl Plan {
    /// How many groups have the layout.
    pub fn n_groups(&self) -> usize {
        usize::try_from(self.n_groups).unwrap_or(usize::MAX)
    }

    pub fn has(&self, family: FamilyId) -> bool {
        self.sources
            .binary_search_by_key(&family, |&(id, _)| id)
            .is_ok()
    }
}

/// Families and plans in use.
pub(super) struct Catalog {
    own: Box<[Box<str>]>,
    families: Vec<Option<FamilyInfo>>,
    free_families: Vec<FamilyId>,
    by_name: AHashMap<Arc<str>, FamilyId>,
    plans: Vec<Option<Plan>>,
    free_plans: Vec<PlanId>,
    by_layout: AHashMap<u64, PlanId>,
    /// Plans that groups began or ceased to use in this round.
    used: Vec<PlanId>,
    /// The two push times as families, for their templates.
    push_times: Families,
}

impl Catalog {
    /// An empty one; `own` are the names of the gateway's own families, in ascending order.
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
            used: Vec::new(),
            push_times: push_times.finish().expect("two short names"),
        }
    }

    pub fn family(&self, id: FamilyId) -> &FamilyInfo {
        self.families[id as usize]
            .as_ref()
            .expect("a family lives as long as its pages")
    }

    pub fn plan(&self, id: PlanId) -> &Plan {
        self.plans[id as usize]
            .as_ref()
            .expect("a plan lives as long as its groups")
    }

    /// How many ids of families have been given out: each is below.
    pub fn n_family_ids(&self) -> usize {
        self.families.len()
    }

    /// How many families are exposed.
    pub fn n_families(&self) -> u64 {
        self.by_name.len() as u64
    }

    /// How many ids of plans have been given out: each is below.
    pub fn n_plan_ids(&self) -> usize {
        self.plans.len()
    }

    pub fn compare(&self, a: FamilyId, b: FamilyId) -> Ordering {
        self.family(a).name.cmp(&self.family(b).name)
    }

    /// The family of the layout that `source` is about.
    pub fn source_family<'a>(&'a self, plan: &'a Plan, source: &Source) -> Family<'a> {
        match source {
            Source::FailureTime => self.push_times.skeleton.family(0),
            Source::PushTime => self.push_times.skeleton.family(1),
            Source::Pushed { index, .. } => plan.layout.skeleton().family(*index),
        }
    }

    /// A group with this snapshot is exposed from now on.
    pub fn use_plan(&mut self, snapshot: &Snapshot) -> PlanId {
        let layout = snapshot.layout();
        let id = match self.by_layout.get(&layout.id()) {
            Some(&id) => id,
            None => self.add_plan(layout),
        };
        let plan = self.plans[id as usize].as_mut().expect("just looked up");
        if plan.oldest == u64::MAX {
            self.used.push(id);
        }
        plan.n_groups += 1;
        plan.oldest = plan.oldest.min(snapshot.version);
        id
    }

    /// A group with this plan is exposed no longer, or with another one.
    pub fn release_plan(&mut self, id: PlanId) {
        let plan = self.plans[id as usize]
            .as_mut()
            .expect("a plan lives as long as its groups");
        plan.n_groups -= 1;
        if plan.n_groups == 0 {
            self.used.push(id);
        }
    }

    fn add_plan(&mut self, layout: &Arc<Layout>) -> PlanId {
        let mut sources = vec![
            (
                self.add_family(PUSH_FAILURE_TIME, MetricType::Gauge),
                Source::FailureTime,
            ),
            (
                self.add_family(PUSH_TIME, MetricType::Gauge),
                Source::PushTime,
            ),
        ];
        for family in layout
            .families_by_name()
            .filter(|family| family.metrics().len() > 0)
        {
            let (values, metrics) = (family.value_range(), family.metric_range());
            let id = self.add_family(family.name(), family.metric_type());
            sources.push((
                id,
                Source::Pushed {
                    index: family.index(),
                    values,
                    metrics,
                },
            ));
        }
        sources.sort_by_key(|&(id, _)| id);
        let plan = Plan {
            layout: Arc::clone(layout),
            n_samples: 2 + layout
                .skeleton()
                .families()
                .flat_map(|f| f.metrics().map(move |m| n_samples(f, m)))
                .sum::<u64>(),
            sources: sources.into(),
            n_groups: 0,
            oldest: u64::MAX,
        };
        let id = insert(&mut self.plans, &mut self.free_plans, plan);
        self.by_layout.insert(layout.id(), id);
        id
    }

    fn add_family(&mut self, name: &str, metric_type: MetricType) -> FamilyId {
        if let Some(&id) = self.by_name.get(name) {
            self.families[id as usize].as_mut().expect("named").n_plans += 1;
            return id;
        }
        let stretch = self.own.partition_point(|own| &**own <= name);
        let is_own = stretch > 0 && &*self.own[stretch - 1] == name;
        let name: Arc<str> = name.into();
        let info = FamilyInfo {
            name: Arc::clone(&name),
            metric_type,
            help: None,
            stretch,
            is_own,
            n_plans: 1,
            help_differs: false,
        };
        let id = insert(&mut self.families, &mut self.free_families, info);
        self.by_name.insert(name, id);
        id
    }

    /// Settles types and helps of the families whose layouts came into use in this round.
    pub fn settle_headers(&mut self) -> Vec<HelpConflict> {
        let mut conflicts = Vec::new();
        let mut used: Vec<PlanId> = self
            .used
            .iter()
            .copied()
            .filter(|&id| self.plan(id).n_groups > 0)
            .collect();
        used.sort_by_key(|&id| self.plan(id).oldest);
        for plan_id in used {
            let plan = self.plans[plan_id as usize].as_mut().expect("in use");
            plan.oldest = u64::MAX;
            for (id, source) in &plan.sources {
                let family = match source {
                    Source::FailureTime => self.push_times.skeleton.family(0),
                    Source::PushTime => self.push_times.skeleton.family(1),
                    Source::Pushed { index, .. } => plan.layout.skeleton().family(*index),
                };
                let info = self.families[*id as usize]
                    .as_mut()
                    .expect("named by a plan");
                // All groups that still have it agree: the round is a cut.
                info.metric_type = family.metric_type();
                let Some(pushed) = family.help() else {
                    continue;
                };
                match info.help.as_deref() {
                    None => info.help = Some(pushed.into()),
                    Some("") if !pushed.is_empty() => info.help = Some(pushed.into()),
                    Some(exposed)
                        if exposed != pushed
                            && !pushed.is_empty()
                            && !info.help_differs
                            && !info.is_own =>
                    {
                        info.help_differs = true;
                        let (family, exposed) = (info.name.to_string(), exposed.to_owned());
                        conflicts.push(HelpConflict {
                            family,
                            exposed,
                            pushed: pushed.to_owned(),
                        });
                    }
                    Some(_) => {}
                }
            }
        }
        conflicts
    }

    /// Forgets what no group uses any more; returns the plans that are gone.
    pub fn end_round(&mut self) -> Vec<PlanId> {
        let mut gone = Vec::new();
        for id in std::mem::take(&mut self.used) {
            let Some(plan) = &mut self.plans[id as usize] else {
                continue;
            };
            plan.oldest = u64::MAX;
            if plan.n_groups > 0 {
                continue;
            }
            let plan = self.plans[id as usize].take().expect("just seen");
            self.by_layout.remove(&plan.layout.id());
            self.free_plans.push(id);
            gone.push(id);
            for &(family, _) in &plan.sources {
                let info = self.families[family as usize]
                    .as_mut()
                    .expect("named by a plan");
                info.n_plans -= 1;
                if info.n_plans == 0 {
                    self.by_name.remove(&*info.name);
                    self.families[family as usize] = None;
                    self.free_families.push(family);
                }
            }
        }
        gone
    }
}

fn insert<T>(slab: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(id) = free.pop() {
        slab[id as usize] = Some(value);
        return id;
    }
    slab.push(Some(value));
    u32::try_from(slab.len() - 1).expect("fewer than 2^32 families are exposed")
}

/// Lines of the text format that a metric takes.
fn n_samples(family: Family<'_>, metric: Metric<'_>) -> u64 {
    let n_bounds = metric.bounds_bits().len() as u64;
    match family.metric_type() {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => 1,
        MetricType::Summary => n_bounds + 2,
        MetricType::Histogram | MetricType::GaugeHistogram => {
            n_bounds + 2 + u64::from(!metric.bounds().any(|bound| bound == f64::INFINITY))
        }
    }
}
