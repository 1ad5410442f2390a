//! Writes families as delimited messages, in two steps: one for each layout, one for each group.
//!
//! A message is a length, a header (name, help, type) and `metric` fields one after the other. So
//! the `metric` fields of many groups can follow the same header. A [`FamilyTemplate`] has the
//! label fields of a family's metrics, encoded. [`KeyFields`] has the label fields of one grouping
//! key, encoded; they are inserted between the labels of each metric.

use super::wire::{varint_len, write_bytes, write_double, write_varint, write_varint_field};
use crate::exposition::template_labels::{LabelValue, template_labels};
use crate::model::{
    Escaping, Family, LabelSet, Metric, MetricExtra, MetricFlags, MetricType, escape_label_name,
    escape_name, exposed_order,
};

/// The labels of a grouping key, each encoded as a `label` field of a metric.
#[derive(Debug)]
pub struct KeyFields {
    fields: Vec<u8>,
    /// Where each field ends.
    ends: Vec<u32>,
}

impl KeyFields {
    /// Encodes `labels`, in the order of their names.
    pub fn new(labels: &LabelSet, escaping: Escaping) -> Self {
        let mut this = Self {
            fields: Vec::new(),
            ends: Vec::with_capacity(labels.len()),
        };
        for (name, value) in labels.iter() {
            write_label(&escape_label_name(name, escaping), value, &mut this.fields);
            this.ends.push(offset(this.fields.len()));
        }
        this
    }

    fn field(&self, index: usize) -> &[u8] {
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.fields[start..self.ends[index] as usize]
    }
}

/// Where the next label field of a metric comes from.
#[derive(Clone, Copy, Debug)]
enum LabelSource {
    /// The metric's own fields, from the last place up to this one.
    Own(u32),
    /// The grouping key's field with this index.
    Key(u32),
}

/// A metric of a template. Its labels and bounds begin where those of the metric before end.
#[derive(Debug)]
struct MetricTemplate {
    labels_end: u32,
    bounds_end: u32,
    /// The index of the metric's first number among those of the family.
    first_value: u32,
    /// The index of the metric in the family, in the order of the push.
    index: u32,
    flags: MetricFlags,
}

/// The `metric` fields of one family of one layout, without what differs from group to group.
///
/// # Examples
///
/// ```
/// use pushgateway::exposition::{protobuf, text};
/// use pushgateway::model::{Escaping, LabelSet, NameScheme};
///
/// let families = text::parse(b"# TYPE rows gauge\nrows 42\n", NameScheme::Legacy)?;
/// let (family, escaping) = (families.skeleton.family(0), Escaping::Underscores);
/// let key = protobuf::KeyFields::new(&LabelSet::new([("job", "backup")]), escaping);
///
/// let template = protobuf::FamilyTemplate::new(family, &["job"], false, escaping);
/// let (mut metrics, mut out) = (Vec::new(), Vec::new());
/// template.render(&key, &families.values[family.value_range()], &[], 0, &mut metrics);
/// protobuf::write_header(
///     family.name(),
///     family.help(),
///     family.metric_type(),
///     escaping,
///     metrics.len(),
///     &mut out,
/// );
/// out.extend_from_slice(&metrics);
///
/// let exposed = protobuf::parse(&out).expect("a valid message");
/// let metric = exposed.skeleton.metric(0);
/// assert_eq!(metric.labels().collect::<Vec<_>>(), [("job", "backup")]);
/// assert_eq!(exposed.values, [42f64.to_bits()]);
/// # Ok::<(), text::ParseError>(())
/// ```
#[derive(Debug)]
pub struct FamilyTemplate {
    metric_type: MetricType,
    /// The label fields of all metrics, without those of the grouping key.
    own_labels: Box<[u8]>,
    labels: Box<[LabelSource]>,
    bounds: Box<[u64]>,
    /// The metrics in the order in which they are exposed.
    metrics: Box<[MetricTemplate]>,
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
        let (mut own_labels, mut labels, mut bounds, mut metrics) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let metrics_in_order = exposed_order(family, key_names).into_iter();
        for metric in metrics_in_order.filter(|&metric| is_included(metric)) {
            for (name, value) in template_labels(metric, key_names, add_instance) {
                match value {
                    LabelValue::Own(value) => {
                        write_label(&escape_label_name(name, escaping), value, &mut own_labels);
                        labels.push(LabelSource::Own(offset(own_labels.len())));
                    }
                    LabelValue::Key(index) => labels.push(LabelSource::Key(index)),
                }
            }
            bounds.extend_from_slice(metric.bounds_bits());
            let (labels_end, bounds_end) = (offset(labels.len()), offset(bounds.len()));
            metrics.push(MetricTemplate {
                labels_end,
                bounds_end,
                first_value: offset(metric.value_range().start - family.value_range().start),
                index: offset(metric.index() - family.metric_range().start),
                flags: metric.flags(),
            });
        }
        let metric_type = family.metric_type();
        Self {
            metric_type,
            own_labels: own_labels.into(),
            labels: labels.into(),
            bounds: bounds.into(),
            metrics: metrics.into(),
        }
    }

    /// Appends the family's `metric` fields for a group to `out`. `key` has the group's grouping
    /// key, `values` the numbers of this family in the group. `extras` are those of the family's
    /// metrics. Their metric indices count from the start of the layout, where the family's first
    /// metric has the index `first_metric`.
    pub fn render(
        &self,
        key: &KeyFields,
        values: &[u64],
        extras: &[MetricExtra],
        first_metric: usize,
        out: &mut Vec<u8>,
    ) {
        let (mut labels_at, mut own_at, mut bounds_at) = (0, 0, 0);
        let mut body = Vec::new();
        for metric in &self.metrics {
            let labels = &self.labels[labels_at..metric.labels_end as usize];
            let bounds = &self.bounds[bounds_at..metric.bounds_end as usize];
            let n_values = self.metric_type.n_fixed_values() + bounds.len();
            body.clear();
            let index = first_metric + metric.index as usize;
            let first_value = metric.first_value as usize;
            let values = &values[first_value..first_value + n_values];
            match extras.binary_search_by_key(&index, |extra| extra.metric as usize) {
                Ok(extra) => body.extend_from_slice(&extras[extra].body),
                Err(_) => self.write_value(metric.flags, bounds, values, &mut body),
            }
            let first_own = own_at;
            let labels_len: usize = labels
                .iter()
                .map(|label| match *label {
                    LabelSource::Own(end) => {
                        end as usize - std::mem::replace(&mut own_at, end as usize)
                    }
                    LabelSource::Key(index) => key.field(index as usize).len(),
                })
                .sum();
            let len = labels_len + 1 + varint_len(body.len() as u64) + body.len();
            out.push(4 << 3 | 2);
            write_varint(len as u64, out);
            let mut own_from = first_own;
            for label in labels {
                match *label {
                    LabelSource::Own(end) => {
                        out.extend_from_slice(&self.own_labels[own_from..end as usize]);
                        own_from = end as usize;
                    }
                    LabelSource::Key(index) => out.extend_from_slice(key.field(index as usize)),
                }
            }
            let field = match self.metric_type {
                MetricType::Gauge => 2,
                MetricType::Counter => 3,
                MetricType::Summary => 4,
                MetricType::Untyped => 5,
                MetricType::Histogram | MetricType::GaugeHistogram => 7,
            };
            write_bytes(field, &body, out);
            labels_at = metric.labels_end as usize;
            bounds_at = metric.bounds_end as usize;
        }
    }

    /// Writes the value field of a metric: the message in `gauge`, `counter`, `summary`, `untyped`
    /// or `histogram`.
    fn write_value(&self, flags: MetricFlags, bounds: &[u64], values: &[u64], out: &mut Vec<u8>) {
        let count = |bits: u64, out: &mut Vec<u8>| {
            if flags.has(MetricFlags::FLOAT_COUNTS) {
                write_double(4, bits, out)
            } else {
                write_varint_field(1, bits, out)
            }
        };
        let mut item = Vec::new();
        match self.metric_type {
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
                write_double(1, values[0], out)
            }
            MetricType::Summary => {
                if flags.has(MetricFlags::HAS_COUNT) {
                    write_varint_field(1, values[0], out);
                }
                if flags.has(MetricFlags::HAS_SUM) {
                    write_double(2, values[1], out);
                }
                for (&rank, &value) in bounds.iter().zip(&values[2..]) {
                    item.clear();
                    write_double(1, rank, &mut item);
                    write_double(2, value, &mut item);
                    write_bytes(3, &item, out);
                }
            }
            MetricType::Histogram | MetricType::GaugeHistogram => {
                if flags.has(MetricFlags::HAS_COUNT) {
                    count(values[0], out);
                }
                if flags.has(MetricFlags::HAS_SUM) {
                    write_double(2, values[1], out);
                }
                for (&bound, &value) in bounds.iter().zip(&values[2..]) {
                    item.clear();
                    count(value, &mut item);
                    write_double(2, bound, &mut item);
                    write_bytes(3, &item, out);
                }
            }
        }
    }
}

/// Appends the length and the header of a family to `out`. The `metric` fields, which the caller
/// appends afterwards, take `metrics_len` bytes.
pub fn write_header(
    name: &str,
    help: Option<&str>,
    metric_type: MetricType,
    escaping: Escaping,
    metrics_len: usize,
    out: &mut Vec<u8>,
) {
    let mut header = Vec::with_capacity(name.len() + 32);
    write_family_fields(name, help, metric_type, escaping, &mut header);
    write_varint((header.len() + metrics_len) as u64, out);
    out.extend_from_slice(&header);
}

/// Appends the header of a family to `out`: name, help and type, without a length.
pub(crate) fn write_family_fields(
    name: &str,
    help: Option<&str>,
    metric_type: MetricType,
    escaping: Escaping,
    out: &mut Vec<u8>,
) {
    write_bytes(1, escape_name(name, escaping).as_bytes(), out);
    if let Some(help) = help {
        write_bytes(2, help.as_bytes(), out);
    }
    write_varint_field(3, metric_type as u64, out);
}

/// Appends a message with its length in front.
pub(crate) fn write_delimited(message: &[u8], out: &mut Vec<u8>) {
    write_varint(message.len() as u64, out);
    out.extend_from_slice(message);
}

/// Appends a `label` field.
pub(super) fn write_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let mut pair = Vec::with_capacity(name.len() + value.len() + 8);
    write_bytes(1, name.as_bytes(), &mut pair);
    write_bytes(2, value.as_bytes(), &mut pair);
    write_bytes(1, &pair, out);
}

fn offset(offset: usize) -> u32 {
    u32::try_from(offset).expect("a layout has 32 bits")
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::exposition::text;
    use crate::model::{Families, NameScheme};

    fn exposed(families: &Families, key: &LabelSet, escaping: Escaping) -> Vec<u8> {
        let names: Vec<&str> = key.iter().map(|(name, _)| name).collect();
        let mut out = Vec::new();
        for family in families.skeleton.families() {
            let template = FamilyTemplate::new(family, &names, true, escaping);
            let (mut metrics, metric_range) = (Vec::new(), family.metric_range());
            let of_family = |extra: &&MetricExtra| metric_range.contains(&(extra.metric as usize));
            let extras: Vec<MetricExtra> =
                families.extras.iter().filter(of_family).cloned().collect();
            let values = &families.values[family.value_range()];
            template.render(
                &KeyFields::new(key, escaping),
                values,
                &extras,
                metric_range.start,
                &mut metrics,
            );
            write_header(
                family.name(),
                family.help(),
                family.metric_type(),
                escaping,
                metrics.len(),
                &mut out,
            );
            out.extend_from_slice(&metrics);
        }
        out
    }

    #[test]
    fn written_messages_parse_back_with_the_labels_of_the_group() {
        let body = "# HELP h help\n# TYPE h histogram\nh_bucket{a=\"1\",le=\"1\"} 2\nh_count{a=\"1\"} 3\nh_sum{a=\"1\"} 4.5\nh_count{a=\"2\"} 1.5\n\
                    # TYPE s summary\ns{quantile=\"0.5\",job=\"own\"} 2\n# TYPE g gauge\ng{a=\"b\"} -0.5\ng{z=\"v\"} 7.3\nu 1\n# TYPE c counter\nc 2\n";
        let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
        let key = LabelSet::new([("job", "j"), ("k", "\"")]);
        let back = parse(&exposed(&families, &key, Escaping::Underscores)).unwrap();
        let values = |families: &Families| families.values.clone();
        assert_eq!(values(&back), values(&families));
        for (back, family) in back.skeleton.families().zip(families.skeleton.families()) {
            assert_eq!(back.metric_type(), family.metric_type());
            assert_eq!((back.name(), back.help()), (family.name(), family.help()));
            for (back, metric) in back.metrics().zip(family.metrics()) {
                let expected = crate::model::exposed_labels(metric.labels(), &key);
                assert_eq!(back.labels().collect::<Vec<_>>(), expected.to_vec());
                assert_eq!(back.bounds_bits(), metric.bounds_bits());
            }
        }
        assert_eq!(back.skeleton.n_metrics(), families.skeleton.n_metrics());
    }

    #[test]
    fn fields_that_text_cannot_carry_are_written_as_they_were_pushed() {
        // The values of two gauges. The first has a field 9, which is unknown.
        let (with_extra, plain) = (
            [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x48, 7],
            [9, 0, 0, 0, 0, 0, 0, 0, 0x40],
        );
        let mut family = Vec::new();
        write_bytes(1, b"g", &mut family);
        write_varint_field(3, 1, &mut family);
        for (n, body) in [("1", &plain[..]), ("2", &with_extra)] {
            let mut metric = Vec::new();
            let mut pair = Vec::new();
            write_bytes(1, b"n", &mut pair);
            write_bytes(2, n.as_bytes(), &mut pair);
            write_bytes(1, &pair, &mut metric);
            write_bytes(2, body, &mut metric);
            write_bytes(4, &metric, &mut family);
        }
        let mut body = Vec::new();
        write_varint(family.len() as u64, &mut body);
        body.extend_from_slice(&family);
        let families = parse(&body).unwrap();
        let back = parse(&exposed(
            &families,
            &LabelSet::new([("job", "j")]),
            Escaping::Underscores,
        ))
        .unwrap();
        assert_eq!(
            (back.extras.len(), &*back.extras[0].body),
            (1, &with_extra[..])
        );
        assert_eq!(back.extras, families.extras);
    }

    #[test]
    fn names_are_escaped() {
        let families = text::parse(b"{\"a.b\",\"l.m\"=\"v\"} 1\n", NameScheme::Utf8).unwrap();
        let key = LabelSet::new([("g.h", "x"), ("instance", "i"), ("job", "j")]);
        let names = |escaping| {
            let back = parse(&exposed(&families, &key, escaping)).unwrap();
            let labels: Vec<String> = back
                .skeleton
                .metric(0)
                .labels()
                .map(|(name, _)| name.to_owned())
                .collect();
            format!("{} {}", back.skeleton.family(0).name(), labels.join(" "))
        };
        assert_eq!(names(Escaping::Underscores), "a_b g_h instance job l_m");
        assert_eq!(names(Escaping::AllowUtf8), "a.b g.h instance job l.m");
    }
}
