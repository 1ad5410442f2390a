//! Families to text, in two steps: once for a layout, then for each group.
//!
//! A [`FamilyTemplate`] is the text of one family of a layout with holes for what differs from
//! group to group: the values of the grouping key, escaped once in a [`KeyText`], and the numbers.
//!
//! ```text
//! name{a="1",instance="•",job="•"} •\n
//! ```

use super::float::write_float;
use crate::model::{
    Escaping, Family, LabelSet, Metric, MetricFlags, MetricType, escape_label_name, escape_name,
    exposed_order, is_legacy_label_name, is_legacy_metric_name,
};
use smallvec::SmallVec;
use std::borrow::Cow;

/// The values of a grouping key as they stand between quotes.
#[derive(Debug)]
pub struct KeyText {
    text: Vec<u8>,
    ends: SmallVec<[u32; 4]>,
}

impl KeyText {
    /// The values of `labels` in the order of their names.
    pub fn new(labels: &LabelSet) -> Self {
        let len = labels.iter().map(|(_, value)| value.len()).sum();
        let mut this = Self {
            text: Vec::with_capacity(len),
            ends: SmallVec::new(),
        };
        for (_, value) in labels.iter() {
            write_escaped(value, true, &mut this.text);
            this.ends
                .push(u32::try_from(this.text.len()).expect("a key is far below 4 GiB"));
        }
        this
    }

    fn value(&self, index: usize) -> &[u8] {
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.text[start..self.ends[index] as usize]
    }
}

/// What fills a hole.
#[derive(Clone, Copy, Debug)]
enum Hole {
    /// The value of this label of the key.
    Key(u32),
    /// This number of the family: the bits of an `f64`.
    Float(u32),
    /// This number of the family: an integer.
    Count(u32),
}

/// The lines of one family of one layout.
#[derive(Debug)]
pub struct FamilyTemplate {
    text: Box<[u8]>,
    /// Where in the text each hole is.
    holes: Box<[(u32, Hole)]>,
}

impl FamilyTemplate {
    /// A template of `family` for keys with the sorted label names `key_names`, which are written
    /// over those of the metrics; with `instance=""` where neither has one, if `add_instance`.
    pub fn new(
        family: Family<'_>,
        key_names: &[&str],
        add_instance: bool,
        escaping: Escaping,
    ) -> Self {
        let mut builder = Builder {
            key_names,
            add_instance,
            escaping,
            text: Vec::new(),
            holes: Vec::new(),
        };
        for metric in exposed_order(family, key_names) {
            builder.metric(family, metric);
        }
        Self {
            text: builder.text.into(),
            holes: builder.holes.into(),
        }
    }

    /// Writes the family's lines of the group `key`; `values` are the family's numbers there.
    pub fn render(&self, key: &KeyText, values: &[u64], out: &mut Vec<u8>) {
        out.reserve(self.text.len() + self.holes.len() * 12);
        let mut at = 0;
        for &(place, hole) in &self.holes {
            out.extend_from_slice(&self.text[at..place as usize]);
            at = place as usize;
            match hole {
                Hole::Key(index) => out.extend_from_slice(key.value(index as usize)),
                Hole::Float(index) => write_float(f64::from_bits(values[index as usize]), out),
                // As the reference does: counts are written as floats.
                Hole::Count(index) => write_float(values[index as usize] as f64, out),
            }
        }
        out.extend_from_slice(&self.text[at..]);
    }
}

struct Builder<'a> {
    key_names: &'a [&'a str],
    add_instance: bool,
    escaping: Escaping,
    text: Vec<u8>,
    holes: Vec<(u32, Hole)>,
}

/// A value on a line.
enum LabelValue<'a> {
    Own(&'a str),
    Key(u32),
}

impl Builder<'_> {
    fn metric(&mut self, family: Family<'_>, metric: Metric<'_>) {
        let labels = self.labels(metric);
        let first = u32::try_from(metric.value_range().start - family.value_range().start)
            .expect("a layout has 32 bits");
        let count = |index| {
            if metric.flags().has(MetricFlags::FLOAT_COUNTS) {
                Hole::Float(index)
            } else {
                Hole::Count(index)
            }
        };
        let name = family.name();
        match family.metric_type() {
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
                self.line(name, "", &labels, None, Hole::Float(first))
            }
            MetricType::Summary => {
                for (index, rank) in (first + 2..).zip(metric.bounds()) {
                    self.line(
                        name,
                        "",
                        &labels,
                        Some(("quantile", rank)),
                        Hole::Float(index),
                    );
                }
                self.line(name, "_sum", &labels, None, Hole::Float(first + 1));
                self.line(name, "_count", &labels, None, count(first));
            }
            MetricType::Histogram | MetricType::GaugeHistogram => {
                for (index, bound) in (first + 2..).zip(metric.bounds()) {
                    self.line(name, "_bucket", &labels, Some(("le", bound)), count(index));
                }
                if !metric.bounds().any(|bound| bound == f64::INFINITY) {
                    self.line(
                        name,
                        "_bucket",
                        &labels,
                        Some(("le", f64::INFINITY)),
                        count(first),
                    );
                }
                self.line(name, "_sum", &labels, None, Hole::Float(first + 1));
                self.line(name, "_count", &labels, None, count(first));
            }
        }
    }

    fn labels<'b>(&self, metric: Metric<'b>) -> Vec<(Cow<'b, str>, LabelValue<'b>)>
    where
        Self: 'b,
    {
        let own = metric
            .labels()
            .filter(|(name, _)| self.key_names.binary_search(name).is_err());
        let mut labels: Vec<(String, LabelValue<'b>)> = own
            .map(|(name, value)| (name.to_owned(), LabelValue::Own(value)))
            .collect();
        labels.extend(
            (0..)
                .zip(self.key_names)
                .map(|(index, name)| ((*name).to_owned(), LabelValue::Key(index))),
        );
        if self.add_instance && !labels.iter().any(|(name, _)| name == "instance") {
            labels.push(("instance".to_owned(), LabelValue::Own("")));
        }
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        let escaped = labels.into_iter().map(|(name, value)| {
            (
                Cow::Owned(escape_label_name(&name, self.escaping).into_owned()),
                value,
            )
        });
        escaped.collect()
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: &[(Cow<'_, str>, LabelValue<'_>)],
        bound: Option<(&str, f64)>,
        number: Hole,
    ) {
        let name = escape_name(name, self.escaping);
        let mut separator = b'{';
        if is_legacy_metric_name(&name) {
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(suffix.as_bytes());
        } else {
            self.text.push(b'{');
            write_quoted(&format!("{name}{suffix}"), &mut self.text);
            separator = b',';
        }
        for (name, value) in labels {
            self.text.push(separator);
            separator = b',';
            if is_legacy_label_name(name) {
                self.text.extend_from_slice(name.as_bytes());
            } else {
                write_quoted(name, &mut self.text);
            }
            self.text.extend_from_slice(b"=\"");
            match value {
                LabelValue::Own(value) => write_escaped(value, true, &mut self.text),
                LabelValue::Key(index) => self.hole(Hole::Key(*index)),
            }
            self.text.push(b'"');
        }
        if let Some((name, bound)) = bound {
            self.text.push(separator);
            separator = b',';
            self.text.extend_from_slice(name.as_bytes());
            self.text.extend_from_slice(b"=\"");
            write_float(bound, &mut self.text);
            self.text.push(b'"');
        }
        self.text
            .extend_from_slice(if separator == b',' { b"} " } else { b" " });
        self.hole(number);
        self.text.push(b'\n');
    }

    fn hole(&mut self, hole: Hole) {
        let place = u32::try_from(self.text.len()).expect("a layout has 32 bits");
        self.holes.push((place, hole));
    }
}

/// Writes `# HELP` (if there is one to show) and `# TYPE` of a family.
pub fn write_header(
    name: &str,
    help: Option<&str>,
    metric_type: MetricType,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    let name = escape_name(name, escaping);
    let write_name = |out: &mut Vec<u8>| {
        if is_legacy_metric_name(&name) {
            out.extend_from_slice(name.as_bytes())
        } else {
            write_quoted(&name, out)
        }
    };
    if let Some(help) = help {
        out.extend_from_slice(b"# HELP ");
        write_name(out);
        out.push(b' ');
        write_escaped(help, false, out);
        out.push(b'\n');
    }
    out.extend_from_slice(b"# TYPE ");
    write_name(out);
    out.push(b' ');
    out.extend_from_slice(metric_type.as_str().as_bytes());
    out.push(b'\n');
}

fn write_quoted(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, true, out);
    out.push(b'"');
}

fn write_escaped(text: &str, escape_quotes: bool, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    let is_special = |b: &u8| matches!(b, b'\\' | b'\n') || (escape_quotes && *b == b'"');
    while let Some(at) = rest.iter().position(is_special) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            _ => b"\\\"",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::model::NameScheme;

    /// All families of `body` as a group with this key exposes them.
    fn exposed(body: &str, key: &[(&str, &str)], escaping: Escaping) -> String {
        let families = parse(body.as_bytes(), NameScheme::Utf8).unwrap();
        let key = LabelSet::new(key.iter().copied());
        let names: Vec<&str> = key.iter().map(|(name, _)| name).collect();
        let mut out = Vec::new();
        for family in families.skeleton.families() {
            write_header(
                family.name(),
                family.help(),
                family.metric_type(),
                escaping,
                &mut out,
            );
            let template = FamilyTemplate::new(family, &names, true, escaping);
            template.render(
                &KeyText::new(&key),
                &families.values[family.value_range()],
                &mut out,
            );
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_line_carries_the_key_over_its_own_labels() {
        assert_eq!(
            exposed(
                "x{a=\"1\",job=\"own\",z=\"q\\\"\\\\\\n\"} 7.3\n",
                &[("job", "j\"k")],
                Escaping::Underscores
            ),
            "# TYPE x untyped\nx{a=\"1\",instance=\"\",job=\"j\\\"k\",z=\"q\\\"\\\\\\n\"} 7.3\n"
        );
    }

    #[test]
    fn histograms_and_summaries_get_all_their_lines() {
        assert_eq!(
            exposed(
                "# HELP h a\\nb\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_count 3\nh_sum 4.5\n",
                &[("job", "j")],
                Escaping::Underscores
            ),
            "# HELP h a\\nb\n# TYPE h histogram\nh_bucket{instance=\"\",job=\"j\",le=\"1\"} 2\nh_bucket{instance=\"\",job=\"j\",le=\"+Inf\"} 3\n\
             h_sum{instance=\"\",job=\"j\"} 4.5\nh_count{instance=\"\",job=\"j\"} 3\n"
        );
        assert_eq!(
            exposed(
                "# TYPE s summary\ns{quantile=\"0.5\"} 2\ns_sum 4.5\n",
                &[("instance", "i"), ("job", "j")],
                Escaping::Underscores
            ),
            "# TYPE s summary\ns{instance=\"i\",job=\"j\",quantile=\"0.5\"} 2\ns_sum{instance=\"i\",job=\"j\"} 4.5\n\
             s_count{instance=\"i\",job=\"j\"} 0\n"
        );
    }

    #[test]
    fn names_are_escaped_or_quoted() {
        let body = "# TYPE \"a.b\" gauge\n{\"a.b\",\"l.m\"=\"v\"} 1\n";
        let key = [("g.l", "k"), ("instance", "i"), ("job", "j")];
        assert_eq!(
            exposed(body, &key, Escaping::Underscores),
            "# TYPE a_b gauge\na_b{g_l=\"k\",instance=\"i\",job=\"j\",l_m=\"v\"} 1\n"
        );
        assert_eq!(
            exposed(body, &key, Escaping::AllowUtf8),
            "# TYPE \"a.b\" gauge\n{\"a.b\",\"g.l\"=\"k\",instance=\"i\",job=\"j\",\"l.m\"=\"v\"} 1\n"
        );
    }

    #[test]
    fn what_is_written_parses_back_to_the_same() {
        let body = "# HELP h h\\\\elp\n# TYPE h histogram\nh_bucket{instance=\"\",job=\"j\",le=\"0.5\"} 1\n\
                    h_bucket{instance=\"\",job=\"j\",le=\"+Inf\"} 2\nh_sum{instance=\"\",job=\"j\"} 3\nh_count{instance=\"\",job=\"j\"} 2\n\
                    # TYPE x untyped\nx{instance=\"\",job=\"j\"} -1e-07\nx{a=\"ü\",instance=\"\",job=\"j\"} NaN\n";
        assert_eq!(
            exposed(
                body,
                &[("instance", ""), ("job", "j")],
                Escaping::Underscores
            ),
            body
        );
    }
}
