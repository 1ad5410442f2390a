//! What stays the same from one push of a job to the next, checked once and shared by groups.
//!
//! A layout is a skeleton (families with names, types, helps and the labels of their series)
//! together with the label names of the grouping keys that it is for. What depends only on these
//! two is checked when the layout is made (see `layout_check`). So a push whose layout exists
//! already needs no check at all, except for the size of its exposition.

use super::exposed_size::ExposedSize;
use super::layout_check::{ExposedName, LayoutError, LayoutIndex};
use crate::model::{BodyForm, Escaping, Family, GroupingKey, Metric, Skeleton, escape_label_name};
use crate::sync::UniqueIds;
use std::collections::HashSet;
use std::sync::OnceLock;

/// Families in order with names, types, helps and the labels of their series, for keys with given
/// label names.
#[derive(Debug)]
pub struct Layout {
    id: u64,
    skeleton: Skeleton,
    key_names: Box<[Box<str>]>,
    index: LayoutIndex,
    exposed: ExposedSize,
    /// How bodies of pushes with this layout were written: the next push in the same form is read
    /// along it, which is cheaper than parsing.
    forms: [OnceLock<BodyForm>; N_FORMS],
    /// See [`Layout::label_names`]; made at its first use.
    label_names: OnceLock<Box<[Box<str>]>>,
}

/// How many forms a layout keeps: clients in two languages may write the same families differently.
const N_FORMS: usize = 2;

impl Layout {
    /// A layout of `skeleton` for keys with the names of `key`.
    ///
    /// # Errors
    ///
    /// The first [`LayoutError`] in the order of families.
    pub(crate) fn new(skeleton: Skeleton, key: &GroupingKey) -> Result<Self, LayoutError> {
        let index = LayoutIndex::check(&skeleton, key)?;
        Ok(Self::of_checked(skeleton, index, key))
    }

    /// A layout of `skeleton` for keys with the names of `key`; `index` is the result of checking
    /// the two.
    pub(super) fn of_checked(skeleton: Skeleton, index: LayoutIndex, key: &GroupingKey) -> Self {
        static IDS: UniqueIds = UniqueIds::new();
        let id = IDS.next();
        let key_names = key.labels().iter().map(|(name, _)| name.into()).collect();
        let exposed = ExposedSize::new(&skeleton, key.labels());
        Self {
            id,
            skeleton,
            key_names,
            index,
            exposed,
            forms: Default::default(),
            label_names: OnceLock::new(),
        }
    }

    /// A number that no other layout has.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Families in order with names, types, helps and labels of series.
    pub fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The label names of the keys that the layout is for: as they were pushed, sorted.
    pub fn key_names(&self) -> &[Box<str>] {
        &self.key_names
    }

    /// The forms in which bodies with this layout were pushed.
    pub fn forms(&self) -> impl Iterator<Item = &BodyForm> {
        self.forms.iter().map_while(OnceLock::get)
    }

    /// Keeps the form of a body with exactly this layout, if there is room.
    ///
    /// If another thread keeps a form at the same moment, waits until it has stored it.
    pub fn learn_form(&self, mut form: BodyForm) {
        for place in &self.forms {
            // Another thread may have kept the same form first.
            match place.set(form) {
                Ok(()) => return,
                Err(back) if place.get() == Some(&back) => return,
                Err(back) => form = back,
            }
        }
    }

    /// The families in ascending order of their names.
    pub fn families_by_name(&self) -> impl ExactSizeIterator<Item = Family<'_>> {
        self.index
            .by_name
            .iter()
            .map(|&index| self.skeleton.family(index as usize))
    }

    /// The family called `name`.
    pub fn family_by_name(&self, name: &str) -> Option<Family<'_>> {
        let place = self
            .index
            .by_name
            .binary_search_by(|&index| self.skeleton.family(index as usize).name().cmp(name));
        place
            .ok()
            .map(|place| self.skeleton.family(self.index.by_name[place] as usize))
    }

    /// The names of all labels of all series, escaped with underscores and sorted. The first call
    /// looks at every label.
    pub(super) fn label_names(&self) -> &[Box<str>] {
        self.label_names.get_or_init(|| {
            let metrics = self.skeleton.families().flat_map(|f| f.metrics());
            let raw: HashSet<&str> = metrics
                .flat_map(|metric| metric.labels())
                .map(|(name, _)| name)
                .collect();
            let mut names: Vec<Box<str>> = raw
                .into_iter()
                .map(|name| escape_label_name(name, Escaping::Underscores).into())
                .collect();
            names.sort();
            names.into()
        })
    }

    /// Whether this is the layout of a push with this skeleton to a group with this key.
    pub(super) fn is_for(&self, skeleton: &Skeleton, key: &GroupingKey) -> bool {
        self.skeleton == *skeleton && self.has_names_of(key)
    }

    /// Whether the layout is for keys with the label names of `key`.
    pub(super) fn has_names_of(&self, key: &GroupingKey) -> bool {
        key.labels()
            .iter()
            .map(|(name, _)| name)
            .eq(self.key_names.iter().map(|name| &**name))
    }

    /// At most how many bytes of text a group with this layout and key is exposed with, if nothing
    /// has to be escaped. Escaping makes up to ten times as many.
    pub(crate) fn exposed_bytes(&self, key: &GroupingKey) -> u64 {
        self.exposed.with_key(key.labels())
    }

    /// The names that groups with this layout expose, sorted by their escaped form.
    pub(super) fn exposed_names(&self) -> &[ExposedName] {
        &self.index.exposed_names
    }

    /// The series of `family`, which is one of this layout, that has certain labels. `hash` is the
    /// `series_hash` of those labels that are not in the key; `is_same` compares a metric in full.
    pub(super) fn find_series(
        &self,
        family: Family<'_>,
        hash: u64,
        mut is_same: impl FnMut(Metric<'_>) -> bool,
    ) -> Option<Metric<'_>> {
        let series = &self.index.series[family.metric_range()];
        let start = series.partition_point(|&(other, _)| other < hash);
        series[start..]
            .iter()
            .take_while(|&&(other, _)| other == hash)
            .map(|&(_, metric)| self.skeleton.metric(metric as usize))
            .find(|&metric| is_same(metric))
    }
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::super::series_labels::{SeriesLabels, series_hash};
    use super::*;
    use crate::model::{FamiliesBuilder, MetricFlags, MetricType};
    use std::borrow::Cow;

    /// A layout of one gauge `g` with a metric for each of these label sets, for keys with the
    /// names `job` and `x`.
    fn layout_of_gauge(metrics: &[&[(&str, &str)]]) -> Layout {
        let mut builder = FamiliesBuilder::new();
        builder.family("g", MetricType::Gauge, None);
        for labels in metrics {
            labels
                .iter()
                .for_each(|(name, value)| builder.label(name, value));
            builder.value(0);
            builder.end_metric(MetricFlags::default());
        }
        let key = GroupingKey::new([("x", "1"), ("job", "j")]).unwrap();
        Layout::new(builder.finish().unwrap().skeleton, &key).unwrap()
    }

    #[test]
    fn a_layout_is_for_keys_with_its_names_only() {
        let layout = layout_of_gauge(&[&[("a", "1")]]);
        let key = |labels: [(&'static str, &'static str); 2]| GroupingKey::new(labels).unwrap();
        assert!(layout.is_for(
            &layout.skeleton().clone(),
            &key([("job", "other"), ("x", "2")])
        ));
        assert!(!layout.is_for(&layout.skeleton().clone(), &key([("job", "j"), ("y", "2")])));
    }

    #[test]
    fn a_series_is_found_by_its_own_labels() {
        let layout = layout_of_gauge(&[&[("a", "1"), ("x", "0")], &[("a", "2")]]);
        let family = layout.family_by_name("g").unwrap();
        let find = |labels: &[(&'static str, &'static str)]| {
            let labels: SeriesLabels<'_> = labels
                .iter()
                .map(|&(name, value)| (Cow::Borrowed(name), value))
                .collect();
            layout
                .find_series(family, series_hash(&labels), |_| true)
                .is_some()
        };
        assert!(find(&[("a", "1")]) && find(&[("a", "2")]));
        assert!(!find(&[]) && !find(&[("a", "1"), ("x", "0")]));
    }
}
