//! What stays the same from one push of a job to the next, judged once.
//!
//! A layout is a skeleton together with the names of the grouping key that is written over it.
//! Everything that only depends on those two is checked when the layout is made, so a push that
//! finds its layout ready has nothing to check at all:
//!
//! - no series stands twice in a push, and no label name twice on a line, as they look after
//!   escaping (`le` of a histogram and `quantile` of a summary are labels too); none is empty or
//!   reserved;
//! - no name is that of a family and a suffix of another one.
//!
//! A name that is not a legacy name looks different under each escaping scheme, and is claimed as
//! it looks under each of them.
//!
//! How long the exposition of a group with this layout is gets reckoned up here as well: a bucket
//! is a few bytes of a push, but a line with all labels of its metric and its group.

use super::exposed_size::ExposedSize;
use super::layout_check::{ClaimedName, LayoutError, LayoutIndex};
use crate::model::{BodyForm, Family, GroupingKey, Metric, Skeleton};
use crate::sync::UniqueIds;
use std::sync::OnceLock;

/// What stays the same: families in order with name, type, help and label sets.
#[derive(Debug)]
pub struct Layout {
    id: u64,
    skeleton: Skeleton,
    key_names: Box<[Box<str>]>,
    parts: LayoutIndex,
    exposed: ExposedSize,
    /// How pushes with this skeleton were written: not part of the layout, but what makes reading
    /// the next one cheap.
    forms: [OnceLock<BodyForm>; N_FORMS],
}

/// Ways to write a layout that are kept: two clients may write the same families differently.
const N_FORMS: usize = 2;

impl Layout {
    /// A layout of `skeleton` for keys with the names of `key`.
    ///
    /// # Errors
    ///
    /// The first [`LayoutError`] in the order of families.
    pub fn new(skeleton: Skeleton, key: &GroupingKey) -> Result<Self, LayoutError> {
        let checked = LayoutIndex::check(&skeleton, key)?;
        Ok(Self::of_checked(skeleton, checked, key))
    }

    /// A layout of a skeleton that was checked with `key`.
    pub fn of_checked(skeleton: Skeleton, checked: LayoutIndex, key: &GroupingKey) -> Self {
        static IDS: UniqueIds = UniqueIds::new();
        let id = IDS.next();
        let key_names = key.labels().iter().map(|(name, _)| name.into()).collect();
        let exposed = ExposedSize::new(&skeleton, key.labels());
        Self {
            id,
            skeleton,
            key_names,
            parts: checked,
            exposed,
            forms: Default::default(),
        }
    }

    /// No other layout has this number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Families, names, types, helps and own labels.
    pub fn skeleton(&self) -> &Skeleton {
        &self.skeleton
    }

    /// The literal names of the keys it was made for, sorted.
    pub fn key_names(&self) -> &[Box<str>] {
        &self.key_names
    }

    /// The forms in which it was pushed.
    pub fn forms(&self) -> impl Iterator<Item = &BodyForm> {
        self.forms.iter().map_while(OnceLock::get)
    }

    /// Keeps how a push with exactly this skeleton was written, if there is room.
    pub fn learn_form(&self, mut form: BodyForm) {
        for place in &self.forms {
            // Whoever was faster may have brought the same.
            match place.set(form) {
                Ok(()) => return,
                Err(back) if place.get() == Some(&back) => return,
                Err(back) => form = back,
            }
        }
    }

    /// Its families in ascending order of their names.
    pub fn families_by_name(&self) -> impl ExactSizeIterator<Item = Family<'_>> {
        self.parts
            .by_name
            .iter()
            .map(|&index| self.skeleton.family(index as usize))
    }

    /// The family called `name`.
    pub fn family_by_name(&self, name: &str) -> Option<Family<'_>> {
        let place = self
            .parts
            .by_name
            .binary_search_by(|&index| self.skeleton.family(index as usize).name().cmp(name));
        place
            .ok()
            .map(|place| self.skeleton.family(self.parts.by_name[place] as usize))
    }

    /// Whether this is the layout of a push with this skeleton to a group with this key.
    pub fn is_for(&self, skeleton: &Skeleton, key: &GroupingKey) -> bool {
        self.skeleton == *skeleton && self.has_names_of(key)
    }

    /// Whether it was made for keys with the names of `key`.
    pub fn has_names_of(&self, key: &GroupingKey) -> bool {
        key.labels()
            .iter()
            .map(|(name, _)| name)
            .eq(self.key_names.iter().map(|name| &**name))
    }

    /// Bytes of text that a group with this layout and key is exposed with, at most, where nothing
    /// has to be escaped. With escapes it may be up to ten times as many.
    pub fn exposed_bytes(&self, key: &GroupingKey) -> u64 {
        self.exposed.with_key(key.labels())
    }

    /// The names it exposes, by escaped name.
    pub fn claims(&self) -> &[ClaimedName] {
        &self.parts.claims
    }

    /// Whether a metric of `family` (one of this layout's) has exactly these labels beside those of
    /// the key, given by their hash and `is_same`.
    pub fn find_series(
        &self,
        family: Family<'_>,
        hash: u64,
        mut is_same: impl FnMut(Metric<'_>) -> bool,
    ) -> bool {
        let series = &self.parts.series[family.metric_range()];
        let start = series.partition_point(|&(other, _)| other < hash);
        series[start..]
            .iter()
            .take_while(|&&(other, _)| other == hash)
            .any(|&(_, m)| is_same(self.skeleton.metric(m as usize)))
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
    fn a_layout_is_for_its_names_only() {
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
            layout.find_series(family, series_hash(&labels), |_| true)
        };
        assert!(find(&[("a", "1")]) && find(&[("a", "2")]));
        assert!(!find(&[]) && !find(&[("a", "1"), ("x", "0")]));
    }
}
