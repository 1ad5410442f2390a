//! The groups of a gateway or a reference as its query API lists them (`/api/v1/metrics`).
//!
//! ```text
//! list   = {"status": "success", "data": [group, …]}
//! group  = {"labels": {name: value, …}, "last_push_successful": bool, name of a family: family, …}
//! family = {"time_stamp": RFC 3339, "type": "GAUGE", "help": text, "metrics": [metric, …]}
//! metric = {"labels": {name: value, …}, value}      see `plain_values.rs` for the value
//! ```
//!
//! The times of pushes are families, too. A list may be large: metrics stay text until they are needed.

use crate::model::MetricType;
use crate::persistence::reference_file::GoTime;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A group in the list.
pub(super) struct ListedGroup<'a> {
    /// The labels of the grouping key.
    pub labels: Labels,
    /// The families, the times of pushes among them.
    pub families: Vec<ListedFamily<'a>>,
}

/// Names and values.
pub(super) type Labels = BTreeMap<String, String>;

/// A family in the list.
pub(super) struct ListedFamily<'a> {
    pub name: String,
    pub metric_type: MetricType,
    /// `None` also for an empty text.
    pub help: Option<String>,
    pub pushed_at: GoTime,
    pub metrics: Vec<ListedMetric<'a>>,
}

/// A metric in the list.
#[derive(Clone, Copy)]
pub(super) struct ListedMetric<'a>(&'a RawValue);

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// Reads the list.
///
/// # Errors
///
/// The text is not such a list.
pub(super) fn read_list(body: &[u8]) -> Result<Vec<ListedGroup<'_>>, String> {
    let broken = |error: serde_json::Error| format!("the list of groups cannot be read: {error}");
    let answer: Members<'_> = serde_json::from_slice(body).map_err(broken)?;
    let Some(data) = answer.get("data") else {
        return Err("the list of groups has no data".to_owned());
    };
    let groups: Option<Vec<&RawValue>> = serde_json::from_str(data.get()).map_err(broken)?;
    groups
        .unwrap_or_default()
        .into_iter()
        .map(read_group)
        .collect()
}

fn read_group(group: &RawValue) -> Result<ListedGroup<'_>, String> {
    let broken = |error: serde_json::Error| format!("a listed group cannot be read: {error}");
    let members: Members<'_> = serde_json::from_str(group.get()).map_err(broken)?;
    let mut labels = None;
    let mut families = Vec::with_capacity(members.len());
    for (name, member) in members {
        // A family may have the name of another member, which is then not in the list.
        match name.as_str() {
            "labels" if let Ok(read) = serde_json::from_str::<Labels>(member.get()) => {
                labels = Some(read);
            }
            "last_push_successful" if !member.get().starts_with('{') => {}
            _ => families.push(read_family(name, member)?),
        }
    }
    let labels = labels
        .or_else(|| labels_of_marker(&families))
        .ok_or("a listed group has no labels")?;
    Ok(ListedGroup { labels, families })
}

/// The labels of a group by those of the time of its last push: there are no others, except for an
/// empty `instance`.
fn labels_of_marker(families: &[ListedFamily<'_>]) -> Option<Labels> {
    let marker = families.iter().find(|f| f.name == "push_time_seconds")?;
    let mut labels = marker.metrics.first()?.labels().ok()?;
    labels.retain(|name, value| name != "instance" || !value.is_empty());
    Some(labels)
}

fn read_family(name: String, family: &RawValue) -> Result<ListedFamily<'_>, String> {
    let broken = |what: &dyn std::fmt::Display| format!("the listed family {name:?}: {what}");
    let members: Members<'_> =
        serde_json::from_str(family.get()).map_err(|error| broken(&error))?;
    let text = |member: &str| -> Result<Option<String>, String> {
        let text = members
            .get(member)
            .map(|text| serde_json::from_str(text.get()));
        text.transpose().map_err(|error| broken(&error))
    };
    let type_name = text("type")?.unwrap_or_default();
    let metric_type = (0..)
        .map_while(MetricType::from_number)
        .find(|known| known.as_proto_str() == type_name)
        .ok_or_else(|| broken(&format!("unknown type {type_name:?}")))?;
    let metrics: Option<Vec<&RawValue>> = match members.get("metrics") {
        Some(metrics) => serde_json::from_str(metrics.get()).map_err(|error| broken(&error))?,
        None => None,
    };
    Ok(ListedFamily {
        metric_type,
        help: text("help")?.filter(|help| !help.is_empty()),
        pushed_at: text("time_stamp")?.map_or(GoTime::ZERO, |time| go_time(&time)),
        metrics: metrics
            .unwrap_or_default()
            .into_iter()
            .map(ListedMetric)
            .collect(),
        name,
    })
}

/// A time of the list. What is out of the range of the gateway's times counts as never.
fn go_time(text: &str) -> GoTime {
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(|time| i64::try_from(time.unix_timestamp_nanos()).ok())
        .map_or(GoTime::ZERO, GoTime::from_unix_ns)
}

impl<'a> ListedMetric<'a> {
    /// The members of the metric.
    pub fn members(self) -> Result<BTreeMap<String, &'a RawValue>, String> {
        serde_json::from_str(self.0.get())
            .map_err(|error| format!("a listed metric cannot be read: {error}"))
    }

    /// The value, if it is a number.
    pub fn number(self) -> Option<f64> {
        let members = self.members().ok()?;
        let text: String = serde_json::from_str(members.get("value")?.get()).ok()?;
        text.parse().ok()
    }

    /// All labels, those of the grouping key among them.
    pub fn labels(self) -> Result<Labels, String> {
        match self.members()?.get("labels") {
            Some(labels) => serde_json::from_str(labels.get())
                .map_err(|error| format!("the labels of a listed metric: {error}")),
            None => Ok(Labels::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_read_with_labels_families_and_times() {
        let list = br#"{"status":"success","data":[{"c":{"time_stamp":"2026-11-28T06:09:55.122958269+01:00","type":"COUNTER","help":"\u003ca\u003e","metrics":[{"labels":{"a":"b","job":"a"},"value":"1e+09"}]},
            "labels":{"job":"a"},"last_push_successful":true,"push_time_seconds":{"time_stamp":"0001-01-01T00:00:00Z","type":"GAUGE","metrics":null}}]}"#;
        let groups = read_list(list).unwrap();
        let [group] = &groups[..] else {
            panic!("one group")
        };
        assert_eq!(group.labels["job"], "a");
        let [c, marker] = &group.families[..] else {
            panic!("two families")
        };
        assert_eq!((c.name.as_str(), c.metric_type), ("c", MetricType::Counter));
        assert_eq!(c.help.as_deref(), Some("<a>"));
        assert_eq!(c.pushed_at, GoTime::from_unix_ns(1_795_842_595_122_958_269));
        assert_eq!(c.metrics[0].labels().unwrap()["a"], "b");
        assert_eq!((marker.pushed_at, marker.metrics.len()), (GoTime::ZERO, 0));
    }

    #[test]
    fn a_family_may_have_the_name_of_another_member() {
        let family = |labels: &str| {
            format!(
                r#"{{"time_stamp":"","type":"GAUGE","metrics":[{{"labels":{labels},"value":"1"}}]}}"#
            )
        };
        let list = format!(
            r#"{{"data":[{{"labels":{0},"last_push_successful":{0},"push_time_seconds":{1}}}]}}"#,
            family(r#"{"job":"a","instance":"","x":"y"}"#),
            family(r#"{"job":"a","instance":""}"#),
        );
        let groups = read_list(list.as_bytes()).unwrap();
        let labels: Vec<_> = groups[0].labels.iter().collect();
        assert_eq!(labels, [(&"job".to_owned(), &"a".to_owned())]);
        assert_eq!(groups[0].families.len(), 3);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "<html>",
            "{}",
            r#"{"data":[{}]}"#,
            r#"{"data":[{"labels":{},"x":{"type":"NEW"}}]}"#,
            r#"{"data":[{"labels":{},"x":1}]}"#,
        ] {
            assert!(read_list(text.as_bytes()).is_err(), "{text}");
        }
        assert_eq!(read_list(br#"{"data":null}"#).unwrap().len(), 0);
    }
}
