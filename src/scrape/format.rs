//! The formats of an exposition, and the templates that render metrics in each of them.

use super::family_part::FamilyPart;
use crate::exposition::{protobuf, text};
use crate::model::{Escaping, Family, LabelSet, Metric, MetricExtra, MetricType};

/// A format in which an exposition can be asked for.
///
/// The text formats 0.0.4 and 1.0.0 are one format here: they have the same bytes under every
/// escaping scheme but `allow-utf-8`, which only 1.0.0 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format.
    Text(Escaping),
    /// `io.prometheus.client.MetricFamily` messages, each behind its length.
    Protobuf(Escaping),
}

impl Format {
    /// The format of a scrape that asks for nothing special: text, names escaped with underscores.
    pub const PLAIN: Self = Self::Text(Escaping::Underscores);
    /// How many formats there are.
    pub(super) const COUNT: usize = 8;

    /// The number of this format, below [`Format::COUNT`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Text(escaping) => escaping_index(escaping),
            Self::Protobuf(escaping) => 4 + escaping_index(escaping),
        }
    }

    /// All formats, in the order of [`Format::index`].
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let escapings = [
            Escaping::Underscores,
            Escaping::AllowUtf8,
            Escaping::Dots,
            Escaping::Values,
        ];
        escapings
            .map(Self::Text)
            .into_iter()
            .chain(escapings.map(Self::Protobuf))
    }

    /// Whether both parts of a family have a header; else only the first one has.
    pub(super) fn repeats_header(self) -> bool {
        matches!(self, Self::Protobuf(_))
    }

    /// Appends to `out` what precedes the metrics of a family. `metrics_len` is how many bytes the
    /// metrics have in this format.
    pub(super) fn write_header(
        self,
        name: &str,
        help: Option<&str>,
        metric_type: MetricType,
        metrics_len: usize,
        out: &mut Vec<u8>,
    ) {
        match self {
            Self::Text(escaping) => text::write_header(name, help, metric_type, escaping, out),
            Self::Protobuf(escaping) => {
                protobuf::write_header(name, help, metric_type, escaping, metrics_len, out)
            }
        }
    }

    /// A template for the metrics of one part of a family. `key_names` are the names of the grouping labels,
    /// which are written over the family's own; with `add_instance` a metric without the label
    /// `instance` gets an empty one.
    pub(super) fn template(
        self,
        family: Family<'_>,
        part: FamilyPart,
        key_names: &[&str],
        add_instance: bool,
    ) -> Template {
        let is_in_part = |metric: Metric<'_>| FamilyPart::of(metric) == part;
        match self {
            Self::Text(escaping) => Template::Text(text::FamilyTemplate::of_metrics(
                family,
                key_names,
                add_instance,
                escaping,
                is_in_part,
            )),
            Self::Protobuf(escaping) => Template::Protobuf(protobuf::FamilyTemplate::of_metrics(
                family,
                key_names,
                add_instance,
                escaping,
                is_in_part,
            )),
        }
    }

    /// Renders a grouping key for the templates of this format.
    pub(super) fn render_key(self, labels: &LabelSet) -> RenderedKey {
        match self {
            Self::Text(_) => RenderedKey::Text(text::KeyText::new(labels)),
            Self::Protobuf(escaping) => {
                RenderedKey::Protobuf(protobuf::KeyFields::new(labels, escaping))
            }
        }
    }
}

fn escaping_index(escaping: Escaping) -> usize {
    match escaping {
        Escaping::Underscores => 0,
        Escaping::AllowUtf8 => 1,
        Escaping::Dots => 2,
        Escaping::Values => 3,
    }
}

/// The metrics of a family in one format, rendered except for a group's labels and numbers.
pub(super) enum Template {
    Text(text::FamilyTemplate),
    Protobuf(protobuf::FamilyTemplate),
}

/// A grouping key rendered for the templates of one format.
pub(super) enum RenderedKey {
    Text(text::KeyText),
    Protobuf(protobuf::KeyFields),
}

impl Template {
    /// Appends the metrics of one group to `out`. `values` and `extras` are the group's for this
    /// family. `first_metric` is the index of the family's first metric in the layout; `extras`
    /// name their metrics by such indices.
    pub fn render(
        &self,
        key: &RenderedKey,
        values: &[u64],
        extras: &[MetricExtra],
        first_metric: usize,
        out: &mut Vec<u8>,
    ) {
        match (self, key) {
            (Self::Text(template), RenderedKey::Text(key)) => template.render(key, values, out),
            (Self::Protobuf(template), RenderedKey::Protobuf(key)) => {
                template.render(key, values, extras, first_metric, out)
            }
            _ => unreachable!("templates and keys of a view have its format"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GroupingKey, NameScheme};
    use crate::store::Layout;

    /// Renders the families of `text` in a group: how many bytes they have, headers included, and
    /// how many the layout estimates.
    fn rendered(text: &str, key: &[(&str, &str)], format: Format) -> (u64, u64) {
        let families = text::parse(text.as_bytes(), NameScheme::Utf8).unwrap();
        let key = GroupingKey::new(key.iter().copied()).unwrap();
        let names: Vec<&str> = key.labels().iter().map(|(name, _)| name).collect();
        let layout = Layout::new(families.skeleton.clone(), &key).unwrap();
        let mut out = Vec::new();
        for family in layout.skeleton().families() {
            let mut lines = Vec::new();
            let template = format.template(family, FamilyPart::Main, &names, true);
            let values = &families.values[family.value_range()];
            template.render(
                &format.render_key(key.labels()),
                values,
                &[],
                family.metric_range().start,
                &mut lines,
            );
            format.write_header(
                family.name(),
                family.help(),
                family.metric_type(),
                lines.len(),
                &mut out,
            );
            out.append(&mut lines);
        }
        (out.len() as u64, layout.exposed_bytes(&key))
    }

    const NUMBER: &str = "-2.2250738585072014e-308";

    /// Families of every type with extreme numbers. `label` returns the label name for a number.
    fn families_of_all_types(label: impl Fn(usize) -> String) -> String {
        let labels: String = (0..5)
            .map(|i| format!("{}=\"{}\",", label(i), "v".repeat(i * 7)))
            .collect();
        let bounds = |name: &str, bound: &str| {
            (1..9)
                .map(|i| format!("{name}{{{labels}{bound}=\"-{i}.2250738585072014e-299\"}} 18446744073709549568\n"))
                .collect::<String>()
        };
        format!(
            "# HELP g some help\n# TYPE g gauge\ng{{{labels}}} {NUMBER}\ng {NUMBER}\n# TYPE u untyped\nu {NUMBER}\n\
             # TYPE s summary\n{}s_sum{{{labels}}} {NUMBER}\ns_count {NUMBER}\n\
             # TYPE h histogram\n{}h_sum{{{labels}}} {NUMBER}\n# TYPE i histogram\ni_bucket{{le=\"+Inf\"}} 1\ni_sum {NUMBER}\n\
             # TYPE gh gaugehistogram\n{}gh_count 18446744073709549568\n",
            bounds("s", "quantile"),
            bounds("h_bucket", "le"),
            bounds("gh_bucket", "le"),
        )
    }

    #[test]
    fn text_of_legacy_names_is_at_most_as_long_as_estimated_and_more_than_half() {
        let text = families_of_all_types(|i| format!("label{i}"));
        for key in [
            &[("job", "j")][..],
            &[("job", "j"), ("instance", "i")],
            &[("job", "j"), ("label3", "x"), ("z", &"z".repeat(5000))],
        ] {
            for format in Format::all().filter(|format| matches!(format, Format::Text(_))) {
                let (bytes, estimated) = rendered(&text, key, format);
                assert!(
                    bytes <= estimated && estimated < 2 * bytes,
                    "{format:?}: {bytes}, {estimated}"
                );
            }
        }
        assert!(rendered("u 1\n", &[("job", "j")], Format::PLAIN).1 < 150);
    }

    /// Guards the offsets of pages, which have 32 bits: ten times the bytes that a group may be
    /// exposed with, and what a body may bring on top, have to stay below 4 GiB.
    #[test]
    fn no_format_takes_more_than_ten_times_the_estimate() {
        for label in ["l", "..........", "\u{10ffff}\u{10ffff}", "\\\"\\\""] {
            let text = families_of_all_types(|i| format!("\"{label}{i}\""));
            let key = [("job", "\\\n\""), ("k.\u{10ffff}", "\n")];
            for format in Format::all() {
                let (bytes, estimated) = rendered(&text, &key, format);
                assert!(
                    bytes < 10 * estimated,
                    "{label} {format:?}: {bytes}, {estimated}"
                );
            }
        }
    }

    #[test]
    fn every_format_has_another_number() {
        let indices: Vec<usize> = Format::all().map(Format::index).collect();
        assert_eq!(indices, (0..Format::COUNT).collect::<Vec<_>>());
    }
}
