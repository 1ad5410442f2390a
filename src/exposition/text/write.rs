//! Writes families as text, in two steps: one for each layout, one for each group.
//!
//! A [`FamilyTemplate`] is the text of one family of a layout, with a hole for everything that
//! differs from group to group: the label values of the grouping key, and the numbers. [`KeyText`]
//! has the label values of one grouping key, escaped. This is a line of a template, with `•` for
//! each hole:
//!
//! ```text
//! name{a="1",instance="•",job="•"} •\n
//! ```

use super::float::write_float;
use crate::exposition::template_labels::{LabelValue, template_labels};
use crate::model::{
    Escaping, Family, LabelSet, Metric, MetricFlags, MetricType, escape_label_name, escape_name,
    exposed_order, is_legacy_label_name, is_legacy_metric_name,
};
use smallvec::SmallVec;
use std::borrow::Cow;

/// The label values of a grouping key, escaped as they are written between quotes.
#[derive(Debug)]
pub struct KeyText {
    text: Vec<u8>,
    /// Where each value ends in the text.
    ends: SmallVec<[u32; 4]>,
}

impl KeyText {
    /// Escapes the values of `labels`, in the order of their names.
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

/// What fills a hole of a template.
#[derive(Clone, Copy, Debug)]
enum Hole {
    /// The label value with this index in the grouping key.
    KeyValue(u32),
    /// The number with this index among the family's, kept as the bits of an `f64`.
    Float(u32),
    /// The number with this index among the family's, kept as an integer.
    Count(u32),
}

/// The lines of one family of one layout, without what differs from group to group.
///
/// # Examples
///
/// ```
/// use pushgateway::exposition::text::{self, FamilyTemplate, KeyText};
/// use pushgateway::model::{Escaping, LabelSet, NameScheme};
///
/// let body = b"# TYPE rows gauge\nrows{table=\"users\"} 42\n";
/// let families = text::parse(body, NameScheme::Legacy)?;
/// let family = families.skeleton.family(0);
/// let key = LabelSet::new([("job", "backup")]);
///
/// let mut out = Vec::new();
/// let escaping = Escaping::Underscores;
/// text::write_header(family.name(), family.help(), family.metric_type(), escaping, &mut out);
/// let template = FamilyTemplate::new(family, &["job"], true, escaping);
/// template.render(&KeyText::new(&key), &families.values[family.value_range()], &mut out);
/// assert_eq!(
///     String::from_utf8_lossy(&out),
///     "# TYPE rows gauge\nrows{instance=\"\",job=\"backup\",table=\"users\"} 42\n"
/// );
/// # Ok::<(), text::ParseError>(())
/// ```
#[derive(Debug)]
pub struct FamilyTemplate {
    text: Box<[u8]>,
    /// The holes, each with its place in the text.
    holes: Box<[(u32, Hole)]>,
}

impl FamilyTemplate {
    /// Makes the template of `family` for grouping keys with the label names `key_names`, which
    /// must be sorted. A label of the key replaces a label of the same name of a metric. With
    /// `add_instance`, a metric without an `instance` in its own labels or the key gets
    /// `instance=""`.
    pub fn new(
        family: Family<'_>,
        key_names: &[&str],
        add_instance: bool,
        escaping: Escaping,
    ) -> Self {
        Self::of_metrics(family, key_names, add_instance, escaping, |_| true)
    }

    /// As [`new`](Self::new), with those metrics of the family that `is_included`.
    pub(crate) fn of_metrics(
        family: Family<'_>,
        key_names: &[&str],
        add_instance: bool,
        escaping: Escaping,
        is_included: impl Fn(Metric<'_>) -> bool,
    ) -> Self {
        let mut builder = TemplateBuilder {
            key_names,
            add_instance,
            escaping,
            text: Vec::new(),
            holes: Vec::new(),
        };
        let metrics_in_order = exposed_order(family, key_names).into_iter();
        for metric in metrics_in_order.filter(|&metric| is_included(metric)) {
            builder.metric(family, metric);
        }
        Self {
            text: builder.text.into(),
            holes: builder.holes.into(),
        }
    }

    /// Appends the family's lines for a group to `out`. `key` has the group's grouping key,
    /// `values` the numbers of this family in the group.
    pub fn render(&self, key: &KeyText, values: &[u64], out: &mut Vec<u8>) {
        out.reserve(self.text.len() + self.holes.len() * 12);
        let mut at = 0;
        for &(place, hole) in &self.holes {
            out.extend_from_slice(&self.text[at..place as usize]);
            at = place as usize;
            match hole {
                Hole::KeyValue(index) => out.extend_from_slice(key.value(index as usize)),
                Hole::Float(index) => write_float(f64::from_bits(values[index as usize]), out),
                // The reference writes counts as floats, too.
                Hole::Count(index) => write_float(values[index as usize] as f64, out),
            }
        }
        out.extend_from_slice(&self.text[at..]);
    }
}

struct TemplateBuilder<'a> {
    key_names: &'a [&'a str],
    add_instance: bool,
    escaping: Escaping,
    text: Vec<u8>,
    holes: Vec<(u32, Hole)>,
}

impl TemplateBuilder<'_> {
    /// Appends all lines of a metric.
    fn metric(&mut self, family: Family<'_>, metric: Metric<'_>) {
        let labels: Vec<_> = template_labels(metric, self.key_names, self.add_instance)
            .into_iter()
            .map(|(name, value)| (escape_label_name(name, self.escaping), value))
            .collect();
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

    /// Appends a line. The names of `labels` are escaped. `bound` is a last label with a number for
    /// its value: `quantile` or `le`.
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
                LabelValue::Key(index) => self.hole(Hole::KeyValue(*index)),
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

/// Appends the header of a family to `out`: the `# HELP` line, if there is a help text, and the `#
/// TYPE` line.
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

    /// What a group with this key exposes after a push of `body`.
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
    fn labels_of_the_key_replace_labels_of_the_metric() {
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
    fn written_text_parses_back_to_the_same_families() {
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
