//! The formats of an exposition, and what renders a family of a layout in each.

use crate::exposition::{protobuf, text};
use crate::model::{Escaping, Family, LabelSet, MetricExtra, MetricType};

/// A format an exposition can be asked for in. Text 0.0.4 and 1.0.0 are the same bytes under every escaping but `allow-utf-8`,
/// which only 1.0.0 has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The text format.
    Text(Escaping),
    /// `io.prometheus.client.MetricFamily` messages, each behind its length.
    Protobuf(Escaping),
}

impl Format {
    /// The format that a plain scrape gets.
    pub const PLAIN: Self = Self::Text(Escaping::Underscores);
    /// How many formats there are.
    pub(super) const COUNT: usize = 8;

    /// A number below [`Format::COUNT`].
    pub(super) fn index(self) -> usize {
        match self {
            Self::Text(escaping) => escaping_index(escaping),
            Self::Protobuf(escaping) => 4 + escaping_index(escaping),
        }
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        let escapings = [Escaping::Underscores, Escaping::AllowUtf8, Escaping::Dots, Escaping::Values];
        escapings.map(Self::Text).into_iter().chain(escapings.map(Self::Protobuf))
    }

    /// Writes what precedes the metrics of a family. `metrics_len` is the length of those in this format.
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
            Self::Protobuf(escaping) => protobuf::write_header(name, help, metric_type, escaping, metrics_len, out),
        }
    }

    pub(super) fn template(self, family: Family<'_>, key_names: &[&str], add_instance: bool) -> Template {
        match self {
            Self::Text(escaping) => Template::Text(text::FamilyTemplate::new(family, key_names, add_instance, escaping)),
            Self::Protobuf(escaping) => {
                Template::Protobuf(protobuf::FamilyTemplate::new(family, key_names, add_instance, escaping))
            }
        }
    }

    pub(super) fn key(self, labels: &LabelSet) -> KeyForm {
        match self {
            Self::Text(_) => KeyForm::Text(text::KeyText::new(labels)),
            Self::Protobuf(escaping) => KeyForm::Protobuf(protobuf::KeyFields::new(labels, escaping)),
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

/// A family of a layout, rendered but for a group's labels and numbers.
pub(super) enum Template {
    Text(text::FamilyTemplate),
    Protobuf(protobuf::FamilyTemplate),
}

/// A grouping key as the templates of a format want it.
pub(super) enum KeyForm {
    Text(text::KeyText),
    Protobuf(protobuf::KeyFields),
}

impl Template {
    /// Writes a group's metrics. `extras` are those of the family, whose first metric has the index `first_metric`.
    pub fn render(&self, key: &KeyForm, values: &[u64], extras: &[MetricExtra], first_metric: usize, out: &mut Vec<u8>) {
        match (self, key) {
            (Self::Text(template), KeyForm::Text(key)) => template.render(key, values, out),
            (Self::Protobuf(template), KeyForm::Protobuf(key)) => template.render(key, values, extras, first_metric, out),
            _ => unreachable!("templates and keys of a view have its format"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_a_number_of_its_own() {
        let indices: Vec<usize> = Format::all().map(Format::index).collect();
        assert_eq!(indices, (0..Format::COUNT).collect::<Vec<_>>());
    }
}
