//! What the tests of the text parser share.

use super::parse::parse;
use crate::model::{Families, MetricFlags, NameScheme};

/// Parses `body` with legacy names and compares as [`check_with`] does.
pub(super) fn check(body: &str, expected: Result<&str, &str>) {
    check_with(body, NameScheme::Legacy, expected);
}

/// Parses `body` and compares the result with `expected`: the families as [`show`] shows them, or
/// the text of the error without the prefix "text format parsing error in line ".
pub(super) fn check_with(body: &str, names: NameScheme, expected: Result<&str, &str>) {
    let shown = parse(body.as_bytes(), names)
        .map(|families| show(&families))
        .map_err(|error| error.to_string());
    let prefix = "text format parsing error in line ";
    assert_eq!(
        shown
            .as_deref()
            .map_err(|text| text.strip_prefix(prefix).unwrap()),
        expected,
        "{body:?}"
    );
}

/// Shows each family as `name type "help" {labels} numbers @bounds`, with `#` before a number that
/// is kept as an integer; families are separated by semicolons. A body that breaks a rule ends with
/// `invalid`.
pub(super) fn show(families: &Families) -> String {
    let mut lines = Vec::new();
    for family in families.skeleton.families() {
        let mut line = format!(
            "{} {}",
            family.name(),
            family.metric_type().as_proto_str().to_lowercase()
        );
        if let Some(help) = family.help() {
            line += &format!(" {help:?}");
        }
        for metric in family.metrics() {
            let labels: Vec<String> = metric
                .labels()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let is_plain = family.metric_type().n_fixed_values() == 1;
            let is_float = metric.flags().has(MetricFlags::FLOAT_COUNTS);
            let numbers: Vec<String> = families
                .values_of(metric)
                .iter()
                .enumerate()
                .map(|(i, &bits)| {
                    let is_count =
                        i != 1 && !is_float && (family.metric_type().is_histogram() || i == 0);
                    if is_plain || !is_count {
                        f64::from_bits(bits).to_string()
                    } else {
                        format!("#{bits}")
                    }
                })
                .collect();
            let bounds: Vec<String> = metric.bounds().map(|bound| format!("@{bound}")).collect();
            line += &format!(
                " {{{}}} {}",
                labels.join(","),
                [numbers, bounds].concat().join(" ")
            );
        }
        lines.push(line);
    }
    if families.broken_rule.is_some() {
        lines.push("invalid".to_owned());
    }
    lines.join("; ")
}
