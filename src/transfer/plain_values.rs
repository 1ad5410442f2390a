//! Groups with the values that the query API shows, for a reference whose exposition cannot be read: it
//! has groups that contradict each other.
//!
//! ```text
//! value     = "value": number                                        counters, gauges, untyped metrics
//!           | "count": n, "sum": number, "quantiles": {q: number}    summaries
//!           | "count": n, "sum": number, "buckets": {bound: n}       histograms
//!           | "count": n, "sum": number, "buckets": [[rule, lower, upper, n], …]    native histograms
//! ```
//!
//! Numbers are strings. Gauge histograms are shown with the value 0, so they are left out. Of a native
//! histogram only the count and the sum can be read. Exemplars and created timestamps are not shown.

use super::listed_groups::{ListedFamily, ListedGroup, ListedMetric};
use crate::exposition::protobuf::{PlainValue, RawFamily, RawMetric};
use crate::model::MetricType;
use crate::persistence::reference_file::{ReferenceFamily, ReferenceGroup};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};

/// What the query API does not show of the groups that were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Families that were left out.
    pub gauge_histograms: BTreeSet<String>,
    /// Families whose buckets were left out.
    pub native_histograms: BTreeSet<String>,
}

/// Makes a group of what is listed.
///
/// # Errors
///
/// A value is not what the query API shows.
pub(super) fn plain_group(
    group: &ListedGroup<'_>,
    losses: &mut Losses,
) -> Result<ReferenceGroup, String> {
    let mut families = Vec::with_capacity(group.families.len());
    for family in &group.families {
        if family.metric_type == MetricType::GaugeHistogram {
            losses.gauge_histograms.insert(family.name.clone());
            continue;
        }
        let metrics: Result<Vec<_>, String> = family
            .metrics
            .iter()
            .map(|metric| plain_metric(family, *metric, losses))
            .collect();
        let message = RawFamily {
            name: &family.name,
            help: family.help.as_deref().map(Into::into),
            metric_type: family.metric_type,
            unit: None,
            metrics: metrics?,
        };
        families.push(ReferenceFamily {
            name: family.name.clone().into_bytes(),
            pushed_at: family.pushed_at,
            message: message.message(),
        });
    }
    let labels = group.labels.iter();
    Ok(ReferenceGroup {
        labels: labels
            .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
            .collect(),
        families,
    })
}

fn plain_metric(
    family: &ListedFamily<'_>,
    metric: ListedMetric<'_>,
    losses: &mut Losses,
) -> Result<RawMetric<'static>, String> {
    let members = Members {
        family: &family.name,
        members: metric.members()?,
    };
    let value = match family.metric_type {
        MetricType::Counter | MetricType::Gauge | MetricType::Untyped => {
            PlainValue::Number(members.number("value")?)
        }
        MetricType::Summary => PlainValue::Summary {
            count: members.number("count")? as u64,
            sum: members.number("sum")?,
            quantiles: members.pairs("quantiles")?.unwrap_or_default(),
        },
        MetricType::Histogram | MetricType::GaugeHistogram => PlainValue::Histogram {
            count: members.number("count")?,
            sum: members.number("sum")?,
            buckets: members.pairs("buckets")?.unwrap_or_else(|| {
                losses.native_histograms.insert(family.name.clone());
                Vec::new()
            }),
        },
    };
    let labels = metric.labels()?;
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    Ok(RawMetric::new(labels, family.metric_type, &value))
}

/// The members of a metric of a family.
struct Members<'f, 'a> {
    family: &'f str,
    members: BTreeMap<String, &'a RawValue>,
}

impl Members<'_, '_> {
    fn number(&self, name: &str) -> Result<f64, String> {
        let text = self.members.get(name).ok_or_else(|| self.broken(name))?;
        let text: String = serde_json::from_str(text.get()).map_err(|_| self.broken(name))?;
        text.parse().map_err(|_| self.broken(name))
    }

    /// The numbers of an object, sorted; `None` if there is a list instead.
    fn pairs(&self, name: &str) -> Result<Option<Vec<(f64, f64)>>, String> {
        let Some(object) = self.members.get(name).filter(|o| o.get() != "null") else {
            return Ok(Some(Vec::new()));
        };
        if object.get().starts_with('[') {
            return Ok(None);
        }
        let read: BTreeMap<String, String> =
            serde_json::from_str(object.get()).map_err(|_| self.broken(name))?;
        let pair = |(a, b): (&String, &String)| Some((a.parse().ok()?, b.parse().ok()?));
        let pairs: Option<Vec<(f64, f64)>> = read.iter().map(pair).collect();
        let mut pairs = pairs.ok_or_else(|| self.broken(name))?;
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(Some(pairs))
    }

    fn broken(&self, name: &str) -> String {
        format!(
            "the listed family {:?} has a metric whose {name} cannot be read",
            self.family
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::listed_groups::read_list;
    use super::*;
    use crate::exposition::protobuf;

    fn read(families: &str) -> Result<(ReferenceGroup, Losses), String> {
        let list = format!(r#"{{"data":[{{"labels":{{"job":"j"}},{families}}}]}}"#);
        let mut losses = Losses::default();
        let groups = read_list(list.as_bytes()).unwrap();
        let group = plain_group(&groups[0], &mut losses)?;
        Ok((group, losses))
    }

    fn values(group: &ReferenceGroup, name: &str) -> Vec<f64> {
        let family = group.families.iter().find(|f| f.name == name.as_bytes());
        let mut body = Vec::new();
        protobuf::write_delimited(&family.unwrap().message, &mut body);
        let families = protobuf::parse(&body).unwrap();
        assert_eq!(families.broken_rule, None);
        // Counts are integers, other numbers are floats.
        let number = |bits: &u64| {
            if *bits < 1 << 32 {
                *bits as f64
            } else {
                f64::from_bits(*bits)
            }
        };
        families.values.iter().map(number).collect()
    }

    #[test]
    fn every_type_is_read_and_what_is_not_shown_is_named() {
        let (group, losses) = read(
            r#""c":{"type":"COUNTER","metrics":[{"labels":{"job":"j"},"value":"+Inf"}]},
            "s":{"type":"SUMMARY","metrics":[{"count":"2","labels":{"job":"j"},"quantiles":{"0.5":"4"},"sum":"3"}]},
            "h":{"type":"HISTOGRAM","metrics":[{"buckets":{"10":"2","2":"1","+Inf":"2"},"count":"2","labels":{"job":"j"},"sum":"3"}]},
            "n":{"type":"HISTOGRAM","metrics":[{"buckets":[[0,"0.5","1","1"]],"count":"1","labels":{"job":"j"},"sum":"3"}]},
            "g":{"type":"GAUGE_HISTOGRAM","metrics":[{"labels":{"job":"j"},"value":"0"}]}"#,
        )
        .unwrap();
        assert_eq!(values(&group, "c"), [f64::INFINITY]);
        assert_eq!(values(&group, "s"), [2.0, 3.0, 4.0]);
        assert_eq!(values(&group, "h"), [2.0, 3.0, 1.0, 2.0, 2.0]);
        assert_eq!(values(&group, "n"), [1.0, 3.0]);
        assert_eq!(group.families.len(), 4);
        assert!(losses.gauge_histograms.contains("g") && losses.native_histograms.contains("n"));
    }

    #[test]
    fn a_value_that_cannot_be_read_is_an_error() {
        for metric in [
            r#"{"labels":{}}"#,
            r#"{"labels":{},"value":1}"#,
            r#"{"labels":{},"value":"x"}"#,
        ] {
            let error = read(&format!(r#""g":{{"type":"GAUGE","metrics":[{metric}]}}"#));
            assert!(error.unwrap_err().contains("\"g\""), "{metric}");
        }
    }
}
