//! A push on its way into the store, and what it makes of the group that it finds.
//!
//! An attempt to bring a push into effect can be lost to another push, or find the store busy. The
//! next attempt may find the group in another state, so a push keeps what it needs for that:
//!
//! | state     | entered by                           | what is kept                                  |
//! |-----------|--------------------------------------|-----------------------------------------------|
//! | `Pending` | a push that may be accepted          | the body; for a POST also what it merged last |
//! | `Made`    | a structural attempt of a PUT        | the content, which is right for every base    |
//! | `Refused` | a refusal, at once or by an attempt  | the refusal, until the failure is recorded    |
//!
//! One subject, so one file: the states of a push and what each of them makes of a group; half of the
//! lines are tests of that.

use super::early_series_check::EarlySeriesCheck;
use super::job_door::JobDoor;
use super::layout::Layout;
use super::layout_check::LayoutIndex;
use super::merge::{merge_families, merge_values};
use super::push_check::{
    check_exposed_bytes, refusal_of_flaws, refusal_of_invalid, refusal_of_key,
};
use super::refusal::Refusal;
use super::snapshot::{GroupContent, Snapshot};
use crate::model::{Families, FamiliesBuilder, GroupingKey};
use smallvec::SmallVec;
use std::sync::Arc;

/// What happens to the families that the group has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushMode {
    /// PUT: all of them are replaced.
    Replace,
    /// POST: those that the push has, too, are replaced. The others stay.
    Merge,
}

/// One push, parsed.
#[derive(Debug)]
pub struct Push {
    key: Arc<GroupingKey>,
    mode: PushMode,
    /// Nanoseconds since the epoch.
    received_at: i64,
    state: PushState,
    /// Only of a push that was [prepared](super::Store::prepare).
    early_check: Option<Box<EarlySeriesCheck>>,
}

/// How far a push has come.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a push lies on its caller's stack, and mostly stays in its largest state"
)]
enum PushState {
    /// No attempt has needed more of the push than its values; or it is a POST, which keeps its
    /// body.
    Pending {
        body: Body,
        /// What the last structural attempt of a POST made of its group.
        merged: Option<MergedContent>,
    },
    /// A PUT whose content is made. The body is used up.
    Made(GroupContent),
    /// The push will be answered with this refusal, once the group's failure time is recorded.
    Refused(Refusal),
}

/// What a push brings.
#[derive(Debug)]
enum Body {
    /// Families as the parser made them.
    Parsed(Families),
    /// A layout that the store knows, and the values in its order.
    OfLayout {
        layout: Arc<Layout>,
        values: SmallVec<[u64; 12]>,
    },
}

impl Body {
    /// The families, which replace a known layout.
    fn unpack(&mut self) -> &mut Families {
        if let Self::OfLayout { layout, values } = self {
            *self = Self::Parsed(Families {
                skeleton: layout.skeleton().clone(),
                values: values.to_vec(),
                ..Families::default()
            });
        }
        match self {
            Self::Parsed(families) => families,
            Self::OfLayout { .. } => unreachable!("replaced above"),
        }
    }
}

/// What a POST made of one state of its group.
#[derive(Debug)]
struct MergedContent {
    /// The version of that state; 0 if there was no group.
    base_version: u64,
    content: GroupContent,
}

/// The families that the gateway itself exposes for every group.
pub(super) const MARKERS: [&str; 2] = ["push_failure_time_seconds", "push_time_seconds"];

impl Push {
    /// A push of `families`, received at `received_at` nanoseconds since the epoch. Pushed families
    /// with the names of the gateway's own (`push_time_seconds`, `push_failure_time_seconds`) are
    /// left out.
    ///
    /// A push that is refused whatever groups there are (for a time stamp, say) goes to the store
    /// like every other one: the store records when the group's last push failed, and may have to
    /// be asked again to do so.
    pub fn new(
        key: Arc<GroupingKey>,
        families: Families,
        mode: PushMode,
        received_at: i64,
    ) -> Self {
        let refusal = refusal_of_key(&key).or_else(|| {
            let invalid = families.broken_rule.as_ref()?;
            Some(refusal_of_invalid(invalid, &families, key.labels()))
        });
        let state = match refusal {
            Some(refusal) => PushState::Refused(refusal),
            None => PushState::Pending {
                body: Body::Parsed(without_markers(families)),
                merged: None,
            },
        };
        Self {
            key,
            mode,
            received_at,
            state,
            early_check: None,
        }
    }

    /// A push that has a layout which the store knows, with these values in the layout's order, and
    /// nothing that the text format cannot carry.
    pub fn of_layout(
        key: Arc<GroupingKey>,
        layout: Arc<Layout>,
        values: SmallVec<[u64; 12]>,
        mode: PushMode,
        received_at: i64,
    ) -> Self {
        let state = match refusal_of_key(&key) {
            Some(refusal) => PushState::Refused(refusal),
            None => PushState::Pending {
                body: Body::OfLayout { layout, values },
                merged: None,
            },
        };
        Self {
            key,
            mode,
            received_at,
            state,
            early_check: None,
        }
    }

    /// The key of the group that is pushed to.
    pub fn key(&self) -> &Arc<GroupingKey> {
        &self.key
    }

    /// When the push was received, in nanoseconds since the epoch.
    pub(super) fn received_at(&self) -> i64 {
        self.received_at
    }

    /// Why the push is refused, if that is decided.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match &self.state {
            PushState::Refused(refusal) => Some(refusal),
            PushState::Pending { .. } | PushState::Made(_) => None,
        }
    }

    /// Compared before the push enters the door of its job, if it was.
    pub(super) fn early_check(&self) -> Option<&EarlySeriesCheck> {
        self.early_check.as_deref()
    }

    /// Keeps what was compared before the push enters the door of its job.
    pub(super) fn set_early_check(&mut self, early_check: Option<EarlySeriesCheck>) {
        self.early_check = early_check.map(Box::new);
    }

    /// Makes a PUT's content that was compared with the layout of `base` and has the same: the next
    /// attempt sees that at once.
    pub(super) fn keep_value_only(&mut self, content: GroupContent) {
        if self.mode == PushMode::Replace && content.layout.has_names_of(&self.key) {
            self.state = PushState::Made(content);
        }
    }

    /// Decides that the push is refused, and drops its content.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.state = PushState::Refused(refusal);
    }

    /// Whether what the push makes of the group depends on what the group has.
    pub(super) fn is_merge_into(&self, base: &Snapshot) -> bool {
        self.mode == PushMode::Merge && base.is_live()
    }

    /// What the group at `base` has after this push, if only values change.
    pub(super) fn value_only(&mut self, base: &Snapshot) -> Option<GroupContent> {
        let base_layout = base.layout();
        let body = match &mut self.state {
            PushState::Pending { body, .. } => body,
            PushState::Made(content) => {
                let is_same = Arc::ptr_eq(base_layout, &content.layout)
                    || base_layout.skeleton() == content.layout.skeleton();
                return is_same.then(|| GroupContent {
                    layout: Arc::clone(base_layout),
                    ..content.clone()
                });
            }
            PushState::Refused(_) => return None,
        };
        if let Body::OfLayout { layout, values } = body
            && (Arc::ptr_eq(layout, base_layout) || layout.skeleton() == base_layout.skeleton())
        {
            return Some(GroupContent::of_values(
                Arc::clone(base_layout),
                values.clone(),
            ));
        }
        let families = body.unpack();
        if *base_layout.skeleton() == families.skeleton {
            if let Some(form) = families.take_form() {
                base_layout.learn_form(form);
            }
            return Some(GroupContent {
                layout: Arc::clone(base_layout),
                values: SmallVec::from_slice(&families.values),
                extras: families.extras.as_slice().into(),
                family_times: None,
            });
        }
        match self.mode {
            PushMode::Replace => None,
            PushMode::Merge => merge_values(base, families, self.received_at),
        }
    }

    /// What the group at `base` has after this push. A layout that `door`, that of the push's job,
    /// remembers is shared.
    ///
    /// # Errors
    ///
    /// The push contradicts itself, or, for a POST, what stays of the group; or the group would be
    /// exposed with more than `exposition_bytes_max` bytes. A PUT has to be refused then: its body
    /// may be used up.
    pub(super) fn content(
        &mut self,
        base: &Snapshot,
        door: Option<&JobDoor>,
        exposition_bytes_max: u64,
    ) -> Result<GroupContent, Refusal> {
        let merges = self.is_merge_into(base);
        let base_version = if merges { base.version } else { 0 };
        let (body, merged) = match &mut self.state {
            PushState::Pending { body, merged } => (body, merged),
            PushState::Made(content) => return Ok(content.clone()),
            PushState::Refused(refusal) => return Err(refusal.clone()),
        };
        if let Some(merged) = merged
            && merged.base_version == base_version
        {
            return Ok(merged.content.clone());
        }
        // A POST may find another state of the group in its next attempt, and then needs its body.
        let is_body_kept = self.mode == PushMode::Merge;
        let content = match body {
            Body::OfLayout { layout, values } if !merges && layout.has_names_of(&self.key) => {
                let values = if is_body_kept {
                    values.clone()
                } else {
                    std::mem::take(values)
                };
                // The layout was checked when it was made, for every key with these names.
                GroupContent::of_values(Arc::clone(layout), values)
            }
            _ => {
                let pushed = body.unpack();
                let form = pushed.take_form();
                let (families, family_times) = if merges {
                    let (families, times) = merge_families(base, pushed, self.received_at)?;
                    (families, Some(times))
                } else if is_body_kept {
                    (pushed.clone(), None)
                } else {
                    (std::mem::take(pushed), None)
                };
                let Families {
                    skeleton,
                    values,
                    extras,
                    ..
                } = families;
                let layout = match door.and_then(|door| door.recent_layout(&skeleton, &self.key)) {
                    Some(layout) => {
                        // A layout that is new does not learn the form: many groups have a layout
                        // that no other group has, and are pushed once.
                        if let Some(form) = form.filter(|_| !merges) {
                            layout.learn_form(form);
                        }
                        layout
                    }
                    None => match LayoutIndex::check(&skeleton, &self.key) {
                        Ok(index) => Arc::new(Layout::of_checked(skeleton, index, &self.key)),
                        Err(error) => {
                            return Err(refusal_of_flaws(&error, &skeleton, &values, &self.key));
                        }
                    },
                };
                GroupContent {
                    layout,
                    values: values.into(),
                    extras: extras.into(),
                    family_times,
                }
            }
        };
        // Also of a layout that other groups have: this group's labels may be longer.
        check_exposed_bytes(&content.layout, &self.key, exposition_bytes_max)?;
        if is_body_kept {
            *merged = Some(MergedContent {
                base_version,
                content: content.clone(),
            });
        } else {
            self.state = PushState::Made(content.clone());
        }
        Ok(content)
    }
}

/// The families without those that only the gateway itself exposes.
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
    builder
        .finish()
        .expect("a part of the families is smaller than all of them")
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use crate::model::{MetricExtra, MetricFlags, MetricType};

    const BYTES_MAX: u64 = 1 << 20;

    fn key() -> Arc<GroupingKey> {
        Arc::new(GroupingKey::new([("job", "j")]).unwrap())
    }

    /// Gauges with one metric each.
    fn gauges(families: &[(&str, u64)]) -> Families {
        let mut builder = FamiliesBuilder::new();
        for (name, value) in families {
            builder.family(name, MetricType::Gauge, None);
            builder.value(*value);
            builder.end_metric(MetricFlags::default());
        }
        builder.finish().unwrap()
    }

    fn layout(families: &[(&str, u64)]) -> Arc<Layout> {
        Arc::new(Layout::new(gauges(families).skeleton, &key()).unwrap())
    }

    /// A group with these families, pushed at time 1.
    fn group(version: u64, families: &[(&str, u64)]) -> Snapshot {
        let values = gauges(families).values;
        Snapshot::for_test(version, key(), layout(families), values, 1)
    }

    fn no_group() -> Snapshot {
        Snapshot::without_group(0, key(), layout(&[]))
    }

    /// A push at time 2.
    fn push(mode: PushMode, families: &[(&str, u64)]) -> Push {
        Push::new(key(), gauges(families), mode, 2)
    }

    /// Families with their values, and when they were pushed if not all were now.
    fn shown(content: &GroupContent) -> (Vec<(&str, u64)>, Option<&[i64]>) {
        let names = content.layout.skeleton().families().map(|f| f.name());
        let families = names.zip(content.values.iter().copied()).collect();
        (families, content.family_times.as_deref())
    }

    #[test]
    fn a_put_brings_the_same_content_in_every_attempt() {
        let mut families = gauges(&[("a", 1)]);
        families.extras.push(MetricExtra {
            metric: 0,
            body: b"exemplar"[..].into(),
        });
        let mut push = Push::new(key(), families, PushMode::Replace, 2);
        let first = push.content(&no_group(), None, BYTES_MAX).unwrap();
        let again = push
            .content(&group(3, &[("b", 1)]), None, BYTES_MAX)
            .unwrap();
        let value_only = push.value_only(&group(4, &[("a", 5)])).unwrap();
        for content in [first, again, value_only] {
            assert_eq!(shown(&content), (vec![("a", 1)], None));
            assert_eq!(&*content.extras[0].body, b"exemplar");
        }
        assert!(push.value_only(&group(4, &[("b", 5)])).is_none());
    }

    #[test]
    fn a_post_is_merged_again_when_the_group_has_changed() {
        let mut push = push(PushMode::Merge, &[("b", 2)]);
        let mut content = |base: &Snapshot| push.content(base, None, BYTES_MAX).unwrap();
        assert_eq!(shown(&content(&no_group())), (vec![("b", 2)], None));
        assert_eq!(
            shown(&content(&group(1, &[("a", 1)]))),
            (vec![("a", 1), ("b", 2)], Some(&[1, 2][..]))
        );
        assert_eq!(
            shown(&content(&group(2, &[("c", 3)]))),
            (vec![("c", 3), ("b", 2)], Some(&[1, 2][..]))
        );
        let content = push.value_only(&group(3, &[("a", 1), ("b", 1)])).unwrap();
        assert_eq!(
            shown(&content),
            (vec![("a", 1), ("b", 2)], Some(&[1, 2][..]))
        );
    }

    #[test]
    fn a_push_of_a_known_layout_brings_what_its_families_would() {
        for mode in [PushMode::Replace, PushMode::Merge] {
            for base in [no_group(), group(1, &[("a", 1)]), group(1, &[("b", 1)])] {
                let known = layout(&[("b", 0)]);
                let values = SmallVec::from_slice(&[2]);
                let mut known = Push::of_layout(key(), known, values, mode, 2);
                let mut parsed = push(mode, &[("b", 2)]);
                let value_only = [&mut known, &mut parsed].map(|push| push.value_only(&base));
                assert_eq!(
                    value_only[0].as_ref().map(shown),
                    value_only[1].as_ref().map(shown)
                );
                let content = [&mut known, &mut parsed]
                    .map(|push| push.content(&base, None, BYTES_MAX).unwrap());
                assert_eq!(shown(&content[0]), shown(&content[1]));
            }
        }
    }

    #[test]
    fn a_group_that_would_be_exposed_with_too_many_bytes_is_refused() {
        let mut push = push(PushMode::Replace, &[("a", 1)]);
        let refused = push.content(&no_group(), None, 10);
        assert!(matches!(
            refused,
            Err(Refusal::ExpositionTooLarge { bytes_max: 10, .. })
        ));
    }

    #[test]
    fn an_invalid_push_is_refused_from_the_start() {
        let mut families = gauges(&[("a", 1)]);
        families.broken_rule = Some(crate::model::BrokenRule::Timestamp);
        let mut push = Push::new(key(), families, PushMode::Replace, 2);
        assert_eq!(push.refusal(), Some(&Refusal::Timestamps));
        assert!(push.value_only(&group(1, &[("a", 1)])).is_none());
        let reserved = Arc::new(GroupingKey::new([("job", "j"), ("__x", "1")]).unwrap());
        let push = Push::new(reserved, gauges(&[]), PushMode::Replace, 2);
        assert!(matches!(push.refusal(), Some(Refusal::KeyNames { .. })));
    }

    #[test]
    fn families_of_the_gateway_are_left_out() {
        let mut push = push(PushMode::Replace, &[("push_time_seconds", 1), ("a", 1)]);
        let content = push.content(&no_group(), None, BYTES_MAX).unwrap();
        assert_eq!(shown(&content), (vec![("a", 1)], None));
    }
}
