//! Writes groups as JSON for the query API, to the letter as the reference does with Go's
//! `encoding/json`: keys are sorted, `<`, `>` and `&` are escaped, numbers are strings.

use super::protobuf::native_buckets;
use super::text::write_float;
use crate::model::{
    Family, LabelSet, Metric, MetricExtra, MetricFlags, MetricType, exposed_labels,
};
use std::io::Write as _;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What the query API shows of a group. All times are nanoseconds since the Unix epoch.
pub(crate) struct ShownGroup<'a> {
    /// The labels of the grouping key, as they were pushed.
    pub(crate) labels: &'a LabelSet,
    /// The families in the order of their names, each with the time of its push.
    pub(crate) families: Vec<(Family<'a>, i64)>,
    /// The numbers of all families.
    pub(crate) values: &'a [u64],
    /// What the text format cannot carry, sorted by metric.
    pub(crate) extras: &'a [MetricExtra],
    /// The time of the last accepted push; 0 if there was none.
    pub(crate) push_time: i64,
    /// The time of the last refused push; 0 if there was none.
    pub(crate) failure_time: i64,
    /// The time of the first push.
    pub(crate) first_time: i64,
}

/// Appends a group to `out`: an object with the labels, whether the last push was accepted, the
/// times of pushes, and the families by name.
pub(crate) fn write_group(group: &ShownGroup<'_>, out: &mut Vec<u8>) {
    let mut members: Vec<(&str, Member<'_>)> = group
        .families
        .iter()
        .map(|&(family, pushed_at)| (family.name(), Member::Family(family, pushed_at)))
        .collect();
    // A family with one of these names takes the place of the member, as in the reference.
    members.extend([
        ("labels", Member::Labels),
        ("last_push_successful", Member::LastPush),
        (
            "push_failure_time_seconds",
            Member::Time(group.failure_time),
        ),
        ("push_time_seconds", Member::Time(group.push_time)),
    ]);
    members.sort_by_key(|&(name, _)| name);
    members.dedup_by(|later, earlier| later.0 == earlier.0);
    let mut separator = b'{';
    for (name, member) in members {
        out.push(separator);
        separator = b',';
        write_string(name, out);
        out.push(b':');
        match member {
            Member::Labels => write_object(group.labels.iter(), out),
            Member::LastPush => {
                let is_successful = group.push_time >= group.failure_time;
                out.extend_from_slice(if is_successful { b"true" } else { b"false" });
            }
            Member::Time(time) => write_push_time(group, name, time, out),
            Member::Family(family, pushed_at) => write_family(group, family, pushed_at, out),
        }
    }
    out.push(b'}');
}

/// A member of a group's object.
enum Member<'a> {
    /// A family, and the time of its push.
    Family(Family<'a>, i64),
    /// The labels of the grouping key.
    Labels,
    /// Whether the last push was accepted.
    LastPush,
    /// The time of the last accepted or the last refused push.
    Time(i64),
}

/// Appends a time of a push as the gateway's own family `name`.
fn write_push_time(group: &ShownGroup<'_>, name: &str, time: i64, out: &mut Vec<u8>) {
    let what = if name == "push_time_seconds" {
        "succeeded"
    } else {
        "failed"
    };
    // If there was no such push, the time stamp is that of the first push.
    write_head(
        if time == 0 { group.first_time } else { time },
        MetricType::Gauge,
        None,
        out,
    );
    let _ = write!(
        out,
        ",\"help\":\"Last Unix time when changing this group in the Pushgateway {what}.\""
    );
    out.extend_from_slice(b",\"metrics\":[{\"labels\":");
    write_object(
        exposed_labels(std::iter::empty(), group.labels).into_iter(),
        out,
    );
    out.extend_from_slice(b",\"value\":");
    write_number(time as f64 / 1e9, out);
    out.extend_from_slice(b"}]}");
}

fn write_family(group: &ShownGroup<'_>, family: Family<'_>, pushed_at: i64, out: &mut Vec<u8>) {
    write_head(pushed_at, family.metric_type(), family.help(), out);
    out.extend_from_slice(b",\"metrics\":[");
    for (n, metric) in family.metrics().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_metric(group, family.metric_type(), metric, out);
    }
    out.extend_from_slice(b"]}");
}

/// Appends the brace and the first members of a family's object.
fn write_head(pushed_at: i64, metric_type: MetricType, help: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time_stamp\":");
    write_time(pushed_at, out);
    // Writing to a vector cannot fail.
    let _ = write!(out, ",\"type\":\"{}\"", metric_type.as_proto_str());
    if let Some(help) = help.filter(|help| !help.is_empty()) {
        out.extend_from_slice(b",\"help\":");
        write_string(help, out);
    }
}

fn write_metric(
    group: &ShownGroup<'_>,
    metric_type: MetricType,
    metric: Metric<'_>,
    out: &mut Vec<u8>,
) {
    let values = &group.values[metric.value_range()];
    let count = |bits: u64, out: &mut Vec<u8>| {
        if metric.flags().has(MetricFlags::FLOAT_COUNTS) {
            write_number(f64::from_bits(bits), out);
        } else {
            let _ = write!(out, "\"{bits}\"");
        }
    };
    let labels = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"\"labels\":");
        write_object(
            exposed_labels(metric.labels(), group.labels).into_iter(),
            out,
        );
    };
    out.push(b'{');
    match metric_type {
        MetricType::Counter
        | MetricType::Gauge
        | MetricType::Untyped
        | MetricType::GaugeHistogram => {
            labels(out);
            out.extend_from_slice(b",\"value\":");
            // The query API of the reference does not know gauge histograms.
            write_number(
                if metric_type == MetricType::GaugeHistogram {
                    0.0
                } else {
                    f64::from_bits(values[0])
                },
                out,
            );
        }
        MetricType::Summary => {
            out.extend_from_slice(b"\"count\":");
            count(values[0], out);
            out.push(b',');
            labels(out);
            out.extend_from_slice(b",\"quantiles\":");
            let quantiles = metric.bounds().zip(&values[2..]);
            write_by_bound(
                quantiles.map(|(rank, &bits)| (rank, bits)),
                |bits, out| write_number(f64::from_bits(bits), out),
                out,
            );
            out.extend_from_slice(b",\"sum\":");
            write_number(f64::from_bits(values[1]), out);
        }
        MetricType::Histogram => {
            out.extend_from_slice(b"\"buckets\":");
            // A binary search, because thousands of metrics can have an extra each.
            let place = group
                .extras
                .binary_search_by_key(&metric.index(), |extra| extra.metric as usize);
            match place
                .ok()
                .and_then(|place| native_buckets(&group.extras[place].body))
            {
                Some(buckets) => {
                    out.push(b'[');
                    for (n, bucket) in buckets.iter().enumerate() {
                        // Which limits are in the bucket, as Prometheus' query API numbers it.
                        let rule = match (bucket.has_lower, bucket.has_upper) {
                            (false, true) => 0,
                            (true, false) => 1,
                            (false, false) => 2,
                            (true, true) => 3,
                        };
                        let _ = write!(out, "{}[{rule}", if n > 0 { "," } else { "" });
                        for number in [bucket.lower, bucket.upper, bucket.count] {
                            out.push(b',');
                            write_number(number, out);
                        }
                        out.push(b']');
                    }
                    out.push(b']');
                }
                None => {
                    write_by_bound(metric.bounds().zip(values[2..].iter().copied()), count, out)
                }
            }
            out.extend_from_slice(b",\"count\":");
            count(values[0], out);
            out.push(b',');
            labels(out);
            out.extend_from_slice(b",\"sum\":");
            write_number(f64::from_bits(values[1]), out);
        }
    }
    out.push(b'}');
}

/// Appends an object whose keys are bounds, sorted as text. Of equal bounds the last one counts.
fn write_by_bound(
    pairs: impl Iterator<Item = (f64, u64)>,
    value: impl Fn(u64, &mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    let mut sorted: Vec<(Vec<u8>, u64)> = pairs
        .map(|(bound, bits)| {
            let mut text = Vec::new();
            write_float(bound, &mut text);
            (text, bits)
        })
        .collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    out.push(b'{');
    let mut is_first = true;
    for (i, (bound, bits)) in sorted.iter().enumerate() {
        if sorted.get(i + 1).is_some_and(|(next, _)| next == bound) {
            continue;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        out.push(b'"');
        out.extend_from_slice(bound);
        out.extend_from_slice(b"\":");
        value(*bits, out);
    }
    out.push(b'}');
}

/// Appends an object with these names and strings to `out`, in the given order.
pub(crate) fn write_object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (n, (name, value)) in pairs.enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write_string(name, out);
        out.push(b':');
        write_string(value, out);
    }
    out.push(b'}');
}

fn write_number(value: f64, out: &mut Vec<u8>) {
    out.push(b'"');
    if value == 0.0 && value.is_sign_negative() {
        out.push(b'-');
    }
    write_float(value, out);
    out.push(b'"');
}

/// Appends a time to `out`, as a string in the form of RFC 3339, in UTC, with as many digits of the
/// second as needed. `nanoseconds` are counted from the Unix epoch.
pub(crate) fn write_time(nanoseconds: i64, out: &mut Vec<u8>) {
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds.into())
        .expect("64 bits of nanoseconds are less than 300 years");
    out.push(b'"');
    time.format_into(out, &Rfc3339)
        .expect("the year has four digits");
    out.push(b'"');
}

/// Appends a string to `out`, in quotes and escaped.
pub(crate) fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\x08' => out.extend_from_slice(b"\\b"),
            '\x0c' => out.extend_from_slice(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\x1f' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::text;
    use crate::model::{GroupingKey, NameScheme};

    #[test]
    fn a_group_is_written_to_the_letter_of_the_reference() {
        let body = "# HELP a <help>\n# TYPE a gauge\na{l=\"1\"} 1e6\n# TYPE h histogram\nh_bucket{le=\"10\"} 2\nh_bucket{le=\"2\"} 1\nh_count 3\nh_sum 4.5\n\
                    # TYPE s summary\ns{quantile=\"0.5\"} 2\ns_count 7\n";
        let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
        let key = GroupingKey::new([("job", "j")]).unwrap();
        let group = ShownGroup {
            labels: key.labels(),
            families: families
                .skeleton
                .families()
                .map(|family| (family, 1_500_000_000))
                .collect(),
            values: &families.values,
            extras: &[],
            push_time: 1_500_000_000,
            failure_time: 0,
            first_time: 1_000_000_000,
        };
        let mut out = Vec::new();
        write_group(&group, &mut out);
        let expected = r#"{"a":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE","help":"\u003chelp\u003e","metrics":[{"labels":{"instance":"","job":"j","l":"1"},"value":"1e+06"}]},
"h":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"HISTOGRAM","metrics":[{"buckets":{"10":"2","2":"1"},"count":"3","labels":{"instance":"","job":"j"},"sum":"4.5"}]},
"labels":{"job":"j"},"last_push_successful":true,
"push_failure_time_seconds":{"time_stamp":"1970-01-01T00:00:01Z","type":"GAUGE","help":"Last Unix time when changing this group in the Pushgateway failed.","metrics":[{"labels":{"instance":"","job":"j"},"value":"0"}]},
"push_time_seconds":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE","help":"Last Unix time when changing this group in the Pushgateway succeeded.","metrics":[{"labels":{"instance":"","job":"j"},"value":"1.5"}]},
"s":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"SUMMARY","metrics":[{"count":"7","labels":{"instance":"","job":"j"},"quantiles":{"0.5":"2"},"sum":"0"}]}}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected.replace('\n', ""));
    }

    #[test]
    fn each_native_histogram_is_shown_with_its_own_buckets() {
        // A native histogram with one bucket, up to 1, that has the count `n`: schema 0, a positive
        // span of length 1, a delta. Of three metrics, the second has no extra.
        let native = |n: u8| vec![0x28, 0, 0x62, 2, 0x10, 1, 0x6a, 1, 2 * n];
        let body =
            "# TYPE h histogram\nh_count{l=\"1\"} 1\nh_count{l=\"2\"} 2\nh_count{l=\"3\"} 3\n";
        let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
        let extras = [0, 2].map(|metric: u32| MetricExtra {
            metric,
            body: native(metric as u8 + 1).into(),
        });
        let key = GroupingKey::new([("job", "j")]).unwrap();
        let group = ShownGroup {
            labels: key.labels(),
            families: families
                .skeleton
                .families()
                .map(|family| (family, 0))
                .collect(),
            values: &families.values,
            extras: &extras,
            push_time: 0,
            failure_time: 0,
            first_time: 0,
        };
        let mut out = Vec::new();
        write_group(&group, &mut out);
        let text = String::from_utf8(out).unwrap();
        let buckets: Vec<&str> = text
            .split("\"buckets\":")
            .skip(1)
            .map(|rest| rest.split(",\"count\"").next().unwrap())
            .collect();
        assert_eq!(
            buckets,
            [r#"[[0,"0.5","1","1"]]"#, "{}", r#"[[0,"0.5","1","3"]]"#]
        );
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let mut out = Vec::new();
        write_string("a\"\\\n\x01<&>\u{2028}ü", &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            r#""a\"\\\n\u0001\u003c\u0026\u003e\u2028ü""#
        );
    }
}
