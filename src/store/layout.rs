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

use super::cell::Mode;
use crate::model::{
    BodyForm, Escaping, Family, GroupingKey, LabelSet, Metric, MetricType, Skeleton,
    escape_label_name, escape_name, exposed_labels, is_legacy_label_name, is_legacy_metric_name,
};
use crate::sync::hash_of;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Labels of a series as the store compares them: escaped, sorted by name, without an empty
/// `instance`.
pub type SeriesLabels<'a> = SmallVec<[(Cow<'a, str>, &'a str); 8]>;

/// A name that groups with this layout expose.
#[derive(Debug, PartialEq, Eq)]
pub struct ClaimedName {
    /// By this the name is compared.
    pub escaped: Box<str>,
    /// As it was pushed.
    pub raw: Box<str>,
    /// What it is used for.
    pub mode: Mode,
    /// The index of the family it comes from.
    pub family: u32,
}

/// What stays the same: families in order with name, type, help and label sets.
#[derive(Debug)]
pub struct Layout {
    id: u64,
    skeleton: Skeleton,
    key_names: Box<[Box<str>]>,
    parts: Checked,
    exposed: ExposedSize,
    /// How pushes with this skeleton were written: not part of the layout, but what makes reading
    /// the next one cheap.
    forms: [OnceLock<BodyForm>; N_FORMS],
}

/// Ways to write a layout that are kept: two clients may write the same families differently.
const N_FORMS: usize = 2;

/// What checking a skeleton finds out.
#[derive(Debug)]
pub struct Checked {
    /// Indices of the families, by name.
    by_name: Box<[u32]>,
    /// By escaped name.
    claims: Box<[ClaimedName]>,
    /// For each family, in the range of its metrics: hash of a metric's labels without those of the
    /// key, and which metric it is; sorted.
    series: Box<[(u64, u32)]>,
}

/// Why a skeleton cannot be exposed in any group with these names in its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A family has no name.
    NoName,
    /// This metric has the labels of an earlier one.
    DuplicateSeries {
        /// Index of the later metric.
        metric: usize,
    },
    /// This metric has a label name twice.
    LabelTwice {
        /// Index of the metric.
        metric: usize,
        /// The name.
        label: String,
    },
    /// This metric has a label whose name is empty or reserved (`__…`).
    LabelName {
        /// Index of the metric.
        metric: usize,
        /// The name.
        label: String,
    },
    /// Two families have the same name once escaped.
    SameEscapedName {
        /// Index of the later family.
        family: usize,
        /// The other family's name.
        other: String,
    },
    /// A family has the name of a suffix of a summary or histogram.
    Suffix {
        /// The name they share.
        name: String,
        /// The summary's or histogram's index.
        family: usize,
    },
}

impl Layout {
    /// A layout of `skeleton` for keys with the names of `key`.
    ///
    /// # Errors
    ///
    /// The first [`Flaw`] in the order of families.
    pub fn new(skeleton: Skeleton, key: &GroupingKey) -> Result<Self, Flaw> {
        let checked = Checked::new(&skeleton, key)?;
        Ok(Self::of_checked(skeleton, checked, key))
    }

    /// A layout of a skeleton that was checked with `key`.
    pub fn of_checked(skeleton: Skeleton, checked: Checked, key: &GroupingKey) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        // Relaxed: ids only have to differ.
        let id = NEXT_ID.fetch_add(1, Relaxed);
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

/// How long the exposition of a layout is but for the labels of a key.
#[derive(Clone, Copy, Debug, Default)]
struct ExposedSize {
    bytes: u64,
    n_lines: u64,
}

impl ExposedSize {
    /// `# HELP`, `# TYPE` and the longest type.
    const HEADER: u64 = 32;
    /// Braces, blank and newline, the longest number, and an empty `instance`.
    const LINE: u64 = 40;
    /// Equals sign, quotes and comma.
    const LABEL: u64 = 4;
    /// `quantile` or `le` with the longest number.
    const BOUND: u64 = 36;

    fn new(skeleton: &Skeleton, key: &LabelSet) -> Self {
        let mut size = Self::default();
        let len = |text: &str| text.len() as u64;
        for family in skeleton
            .families()
            .filter(|family| family.metrics().len() > 0)
        {
            let header = Self::HEADER + 2 * len(family.name()) + family.help().map_or(0, len);
            size.bytes = size.bytes.saturating_add(header);
            for metric in family.metrics() {
                let own = metric.labels().filter(|&(name, _)| key.get(name).is_none());
                let line = Self::LINE + len(family.name()) + own.map(Self::label).sum::<u64>();
                let n_bounds = metric.bounds_bits().len() as u64;
                match family.metric_type() {
                    MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
                        size.add(1, line)
                    }
                    MetricType::Summary => {
                        size.add(n_bounds, line + Self::BOUND);
                        size.add(2, line + len("_count"));
                    }
                    MetricType::Histogram | MetricType::GaugeHistogram => {
                        // `+Inf` comes on top where it was not pushed.
                        size.add(n_bounds + 1, line + len("_bucket") + Self::BOUND);
                        size.add(2, line + len("_count"));
                    }
                }
            }
        }
        size
    }

    fn add(&mut self, n_lines: u64, line: u64) {
        self.n_lines += n_lines;
        self.bytes = self.bytes.saturating_add(n_lines.saturating_mul(line));
    }

    fn label((name, value): (&str, &str)) -> u64 {
        (name.len() + value.len()) as u64 + Self::LABEL
    }

    fn with_key(self, key: &LabelSet) -> u64 {
        let labels: u64 = key.iter().map(Self::label).sum();
        self.bytes
            .saturating_add(self.n_lines.saturating_mul(labels))
    }
}

/// The labels that a metric exposes in a group with this key, as the store compares them.
pub fn series_labels<'a>(metric: Metric<'a>, key: &'a LabelSet) -> SeriesLabels<'a> {
    compared(exposed_labels(metric.labels(), key).into_iter())
}

fn compared<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> SeriesLabels<'a> {
    let kept = labels.filter(|&(name, value)| !(name == "instance" && value.is_empty()));
    let mut labels: SeriesLabels<'_> = kept
        .map(|(name, value)| (escape_label_name(name, Escaping::Underscores), value))
        .collect();
    labels.sort();
    labels
}

/// The hash by which a series is found among those of a family.
pub fn series_hash(labels: &[(Cow<'_, str>, &str)]) -> u64 {
    hash_of(labels)
}

impl Checked {
    /// Checks all that depends on the skeleton and the key's names.
    ///
    /// # Errors
    ///
    /// The first [`Flaw`].
    pub fn new(skeleton: &Skeleton, key: &GroupingKey) -> Result<Self, Flaw> {
        let mut by_name: Box<[u32]> = (0..skeleton.n_families()).map(index_u32).collect();
        by_name.sort_by_key(|&index| skeleton.family(index as usize).name());
        let claims = check_names(skeleton)?;
        let mut series = Vec::with_capacity(skeleton.n_metrics());
        for family in skeleton.families() {
            check_other_schemes(family, key.labels())?;
            for metric in family.metrics() {
                check_labels(family, metric, key.labels())?;
                series.push((
                    series_hash(&own_labels(metric, key.labels())),
                    index_u32(metric.index()),
                ));
            }
            let of_family = &mut series[family.metric_range()];
            of_family.sort_unstable();
            for same in of_family
                .chunk_by(|a, b| a.0 == b.0)
                .filter(|same| same.len() > 1)
            {
                // Equal hashes are compared in full: mostly the first two are the same series.
                let labels =
                    |metric: u32| own_labels(skeleton.metric(metric as usize), key.labels());
                for (earlier, &(_, metric)) in same.iter().enumerate().skip(1) {
                    if same[..earlier]
                        .iter()
                        .any(|&(_, other)| labels(other) == labels(metric))
                    {
                        return Err(Flaw::DuplicateSeries {
                            metric: metric as usize,
                        });
                    }
                }
            }
        }
        Ok(Self {
            by_name,
            claims,
            series: series.into(),
        })
    }
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a skeleton is indexed by 32 bits")
}

/// A metric's labels without those that the key overwrites.
fn own_labels<'a>(metric: Metric<'a>, key: &LabelSet) -> SeriesLabels<'a> {
    compared(metric.labels().filter(|&(name, _)| key.get(name).is_none()))
}

/// Names that differ under the first scheme may be the same under another: `l-m` and `l__m` under
/// `dots`.
fn check_other_schemes(family: Family<'_>, key: &LabelSet) -> Result<(), Flaw> {
    let mut names = family
        .metrics()
        .flat_map(|metric| metric.labels())
        .map(|(name, _)| name);
    if names.all(is_legacy_label_name) {
        return Ok(());
    }
    for escaping in [Escaping::Dots, Escaping::Values] {
        let labels = |metric: Metric<'_>| {
            let own = metric.labels().filter(|&(name, _)| key.get(name).is_none());
            let mut labels: Vec<_> = own
                .map(|(name, value)| {
                    (
                        escape_label_name(name, escaping).into_owned(),
                        value.to_owned(),
                    )
                })
                .collect();
            labels.sort();
            labels
        };
        let mut all: Vec<_> = family
            .metrics()
            .map(|metric| (labels(metric), metric.index()))
            .collect();
        all.sort();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Flaw::DuplicateSeries { metric: pair[1].1 });
        }
    }
    Ok(())
}

fn check_labels(family: Family<'_>, metric: Metric<'_>, key: &LabelSet) -> Result<(), Flaw> {
    let twice = |label: &str| {
        Err(Flaw::LabelTwice {
            metric: metric.index(),
            label: label.to_owned(),
        })
    };
    let mut before = None;
    for (name, _) in metric.labels() {
        if name.is_empty() || name.starts_with("__") {
            return Err(Flaw::LabelName {
                metric: metric.index(),
                label: name.to_owned(),
            });
        }
        if before == Some(name) {
            return twice(name);
        }
        before = Some(name);
    }
    let own = metric
        .labels()
        .map(|(name, _)| name)
        .filter(|name| key.get(name).is_none());
    let names = own.chain(key.iter().map(|(name, _)| name));
    let is_legacy = names.clone().all(is_legacy_label_name);
    // Legacy names are the same under every scheme.
    for escaping in &Escaping::LEGACY[..if is_legacy { 1 } else { 3 }] {
        let mut names: SmallVec<[Cow<'_, str>; 8]> = names
            .clone()
            .map(|name| escape_label_name(name, *escaping))
            .collect();
        if let Some(name) = names.iter().find(|name| *name == "__name__") {
            return Err(Flaw::LabelName {
                metric: metric.index(),
                label: name.to_string(),
            });
        }
        match family.metric_type() {
            MetricType::Summary => names.push("quantile".into()),
            MetricType::Histogram | MetricType::GaugeHistogram => names.push("le".into()),
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {}
        }
        names.sort();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return twice(&pair[0]);
        }
    }
    Ok(())
}

fn check_names(skeleton: &Skeleton) -> Result<Box<[ClaimedName]>, Flaw> {
    let mut claims = Vec::with_capacity(skeleton.n_families());
    for family in skeleton.families() {
        if family.name().is_empty() {
            return Err(Flaw::NoName);
        }
        if family.metrics().len() == 0 {
            continue;
        }
        let suffixes: &[&str] = match family.metric_type() {
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => &[],
            MetricType::Summary => &["_count", "_sum"],
            MetricType::Histogram | MetricType::GaugeHistogram => &["_bucket", "_count", "_sum"],
        };
        let name = family.name();
        let n_schemes = if is_legacy_metric_name(name) { 1 } else { 3 };
        for escaping in &Escaping::LEGACY[..n_schemes] {
            // The suffix is written behind the escaped name.
            let escaped = escape_name(name, *escaping);
            let mut add = |suffix: &str, mode| {
                let (escaped, raw) = (
                    format!("{escaped}{suffix}").into(),
                    format!("{name}{suffix}").into(),
                );
                claims.push(ClaimedName {
                    escaped,
                    raw,
                    mode,
                    family: index_u32(family.index()),
                });
            };
            add("", Mode::Family(family.metric_type()));
            suffixes
                .iter()
                .for_each(|suffix| add(suffix, Mode::Derived));
        }
    }
    // Stable: of equal names the earlier family's comes first.
    claims.sort_by(|a, b| a.escaped.cmp(&b.escaped));
    claims.dedup_by(|a, b| a.escaped == b.escaped && a.family == b.family && a.mode == b.mode);
    let Some(pair) = claims
        .windows(2)
        .find(|pair| pair[0].escaped == pair[1].escaped)
    else {
        return Ok(claims.into());
    };
    let (a, b) = (&pair[0], &pair[1]);
    Err(match (a.mode, b.mode) {
        (Mode::Family(_), Mode::Derived) => Flaw::Suffix {
            name: a.raw.to_string(),
            family: b.family as usize,
        },
        (Mode::Derived, Mode::Family(_)) => Flaw::Suffix {
            name: b.raw.to_string(),
            family: a.family as usize,
        },
        _ => Flaw::SameEscapedName {
            family: b.family as usize,
            other: skeleton.family(a.family as usize).name().to_owned(),
        },
    })
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;
    use crate::model::{FamiliesBuilder, MetricFlags};

    type Labels<'a> = &'a [(&'a str, &'a str)];

    /// Families as name, type and the labels of their metrics.
    fn layout(
        families: &[(&str, MetricType, &[Labels<'_>])],
        key: &[(&'static str, &'static str)],
    ) -> Result<Layout, Flaw> {
        let mut builder = FamiliesBuilder::new();
        for (name, metric_type, metrics) in families {
            builder.family(name, *metric_type, None);
            for labels in *metrics {
                labels
                    .iter()
                    .for_each(|(name, value)| builder.label(name, value));
                (0..metric_type.n_fixed_values()).for_each(|_| builder.value(0));
                builder.end_metric(MetricFlags::default());
            }
        }
        let key = GroupingKey::new(key.iter().copied().chain([("job", "j")])).unwrap();
        Layout::new(builder.finish().unwrap().skeleton, &key)
    }

    fn gauges(metrics: &[&[(&str, &str)]], key: &[(&'static str, &'static str)]) -> Option<Flaw> {
        layout(&[("g", MetricType::Gauge, metrics)], key).err()
    }

    #[test]
    fn a_series_stands_once_after_the_key_was_written_over() {
        assert_eq!(gauges(&[&[("a", "1")], &[("a", "2")]], &[]), None);
        assert_eq!(
            gauges(&[&[("a", "1")], &[("a", "2")]], &[("a", "3")]),
            Some(Flaw::DuplicateSeries { metric: 1 })
        );
        assert_eq!(
            gauges(&[&[], &[("instance", "")]], &[]),
            Some(Flaw::DuplicateSeries { metric: 1 })
        );
        assert_eq!(gauges(&[&[], &[("l", "")]], &[]), None);
    }

    #[test]
    fn a_label_name_stands_once_on_a_line() {
        let twice = |label: &str| {
            Some(Flaw::LabelTwice {
                metric: 0,
                label: label.to_owned(),
            })
        };
        assert_eq!(gauges(&[&[("a", "1"), ("a", "2")]], &[]), twice("a"));
        assert_eq!(gauges(&[&[("a.b", "1"), ("a_b", "2")]], &[]), twice("a_b"));
        assert_eq!(gauges(&[&[("a.b", "1")]], &[("a_b", "2")]), twice("a_b"));
        assert_eq!(
            gauges(&[&[("a.b", "1"), ("a_dot_b", "2")]], &[]),
            twice("a_dot_b")
        );
        assert_eq!(
            gauges(&[&[("a:b", "1")], &[("a.b", "1")]], &[]),
            Some(Flaw::DuplicateSeries { metric: 1 })
        );
        assert_eq!(
            gauges(&[&[("a-b", "1")], &[("a__b", "1")]], &[]),
            Some(Flaw::DuplicateSeries { metric: 1 })
        );
        let histogram = |labels, key| layout(&[("h", MetricType::Histogram, labels)], key).err();
        assert_eq!(histogram(&[&[("le", "1")]], &[]), twice("le"));
        assert_eq!(histogram(&[&[]], &[("le", "5")]), twice("le"));
        assert_eq!(
            layout(&[("s", MetricType::Summary, &[&[]])], &[("quantile", "5")]).err(),
            twice("quantile")
        );
        assert_eq!(gauges(&[&[("le", "1")]], &[]), None);
        let reserved = |label: &str| {
            Some(Flaw::LabelName {
                metric: 0,
                label: label.to_owned(),
            })
        };
        assert_eq!(gauges(&[&[("__a", "1")]], &[]), reserved("__a"));
        assert_eq!(gauges(&[&[("", "1")]], &[]), reserved(""));
        assert_eq!(gauges(&[&[("..name..", "1")]], &[]), reserved("__name__"));
    }

    #[test]
    fn names_collide_by_suffix_and_by_escaping() {
        let one: &[&[(&str, &str)]] = &[&[]];
        let flaw = |families: [(&str, MetricType); 2]| {
            layout(&families.map(|(name, t)| (name, t, one)), &[]).err()
        };
        let suffix = |family| {
            Some(Flaw::Suffix {
                name: "s_count".to_owned(),
                family,
            })
        };
        assert_eq!(
            flaw([("s", MetricType::Summary), ("s_count", MetricType::Gauge)]),
            suffix(0)
        );
        assert_eq!(
            flaw([("s_count", MetricType::Gauge), ("s", MetricType::Histogram)]),
            suffix(1)
        );
        assert_eq!(
            flaw([("s", MetricType::Counter), ("s_count", MetricType::Gauge)]),
            None
        );
        assert_eq!(
            flaw([("a.b", MetricType::Counter), ("a_b", MetricType::Counter)]),
            Some(Flaw::SameEscapedName {
                family: 1,
                other: "a.b".to_owned()
            })
        );
        assert_eq!(
            layout(
                &[
                    ("s", MetricType::Summary, &[]),
                    ("s_count", MetricType::Gauge, one)
                ],
                &[]
            )
            .err(),
            None
        );
        // Under `dots` and under `values`.
        for other in ["a_dot_b", "U__a_2e_b"] {
            assert_eq!(
                flaw([("a.b", MetricType::Counter), (other, MetricType::Counter)]),
                Some(Flaw::SameEscapedName {
                    family: 1,
                    other: "a.b".to_owned()
                })
            );
        }
        assert_eq!(
            flaw([
                ("s.t", MetricType::Summary),
                ("s_dot_t_sum", MetricType::Gauge)
            ]),
            Some(Flaw::Suffix {
                name: "s_dot_t_sum".to_owned(),
                family: 0
            })
        );
        assert_eq!(
            flaw([("a.b", MetricType::Counter), ("a_b_", MetricType::Counter)]),
            None
        );
    }

    #[test]
    fn a_layout_is_for_its_names_only() {
        let layout = layout(&[("g", MetricType::Gauge, &[&[("a", "1")]])], &[("x", "1")]).unwrap();
        let key = |labels: [(&'static str, &'static str); 2]| GroupingKey::new(labels).unwrap();
        assert!(layout.is_for(
            &layout.skeleton().clone(),
            &key([("job", "other"), ("x", "2")])
        ));
        assert!(!layout.is_for(&layout.skeleton().clone(), &key([("job", "j"), ("y", "2")])));
    }

    #[test]
    fn a_series_is_found_by_its_own_labels() {
        let layout = layout(
            &[(
                "g",
                MetricType::Gauge,
                &[&[("a", "1"), ("x", "0")], &[("a", "2")]],
            )],
            &[("x", "1")],
        )
        .unwrap();
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
