//! A metric in protobuf's text form, for the texts of refusals, as the reference shows it:
//! `"up" { label:{name:"job" value:"a"} gauge:{value:1}}`.

use crate::model::{
    Family, LabelSet, Metric, MetricFlags, MetricType, ShortText, Skeleton, exposed_labels,
};
use std::fmt::{self, Write as _};

/// A metric with the name of its family and the labels that it exposes in a group with this key.
/// Cut off after as many bytes as a `ShortText` has.
pub(super) fn show_metric(
    skeleton: &Skeleton,
    values: &[u64],
    metric: Metric<'_>,
    key: &LabelSet,
) -> String {
    show_with(skeleton, metric, key, |family, text| {
        show_value(family, metric, &values[metric.value_range()], text)
    })
}

/// As [`show_metric`], with the value as `show_value` writes it.
pub(super) fn show_with(
    skeleton: &Skeleton,
    metric: Metric<'_>,
    key: &LabelSet,
    show_value: impl FnOnce(Family<'_>, &mut ShortText) -> fmt::Result,
) -> String {
    let place = |family: &Family<'_>| family.metric_range().contains(&metric.index());
    let family = skeleton
        .families()
        .find(place)
        .expect("a metric belongs to a family");
    let mut text = ShortText::default();
    let show = |text: &mut ShortText| {
        write!(text, "{:?} {{ ", family.name())?;
        for (name, value) in exposed_labels(metric.labels(), key) {
            write!(text, "label:{{name:{name:?} value:{value:?}}} ")?;
        }
        show_value(family, text)?;
        text.write_char('}')
    };
    // An error means that the text is long enough.
    let _ = show(&mut text);
    text.into_string()
}

/// Writes the value of a metric: `gauge:{value:1}`.
fn show_value(
    family: Family<'_>,
    metric: Metric<'_>,
    values: &[u64],
    text: &mut ShortText,
) -> fmt::Result {
    let number = |bits: u64| f64::from_bits(bits);
    let is_summary = family.metric_type() == MetricType::Summary;
    let is_float = metric.flags().has(MetricFlags::FLOAT_COUNTS) && !is_summary;
    let count = |bits: u64| {
        if is_float {
            number(bits).to_string()
        } else {
            bits.to_string()
        }
    };
    let field = family.metric_type().as_str();
    if !matches!(
        family.metric_type(),
        MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram
    ) {
        return write!(text, "{field}:{{value:{}}}", number(values[0]));
    }
    write!(text, "{field}:{{")?;
    let mut separator = "";
    if metric.flags().has(MetricFlags::HAS_COUNT) {
        write!(text, "sample_count:{}", count(values[0]))?;
        separator = " ";
    }
    if metric.flags().has(MetricFlags::HAS_SUM) {
        write!(text, "{separator}sample_sum:{}", number(values[1]))?;
        separator = " ";
    }
    for (bound, &value) in metric.bounds().zip(&values[2..]) {
        if is_summary {
            write!(
                text,
                "{separator}quantile:{{quantile:{bound} value:{}}}",
                number(value)
            )?;
        } else {
            write!(
                text,
                "{separator}bucket:{{cumulative_count:{} upper_bound:{bound}}}",
                count(value)
            )?;
        }
        separator = " ";
    }
    text.write_char('}')
}
