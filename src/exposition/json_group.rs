//! Writes a group as JSON for the query API, step by step, as the reference shows it: keys are
//! sorted.

use super::json::{write_number, write_object, write_string, write_time};
use super::protobuf::{NativeBucket, native_buckets};
use super::text::write_float;
use crate::model::{
    LabelSet, Metric, MetricExtra, MetricFlags, MetricType, Skeleton, exposed_labels,
};
use std::io::Write as _;
use std::ops::Range;

/// What the query API shows of a group. All times are nanoseconds since the Unix epoch.
pub(crate) struct ShownGroup<'a> {
    /// The labels of the grouping key, as they were pushed.
    pub(crate) labels: &'a LabelSet,
    /// The families of the group.
    pub(crate) skeleton: &'a Skeleton,
    /// When each family was pushed, in the order of `skeleton`; none if all were at `push_time`.
    pub(crate) family_times: Option<&'a [i64]>,
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

/// Writes a group step by step: an object with the labels, whether the last push was accepted, the
/// times of pushes, and the families by name. A step is a metric without its buckets or quantiles,
/// or a bucket, or another member of the object.
///
/// Keeps only its position, so that nothing borrows from the group between two steps.
pub(crate) struct GroupWriter {
    /// The members of the object, in the order of their names.
    members: Vec<GroupMember>,
    /// The index of the member that is written next, or of the family whose metrics are written.
    member: usize,
    /// The metrics of the current family that are not complete; none if it has not begun.
    metrics: Option<Range<usize>>,
    /// What is left of the list in the middle of a metric; none if the metric has not begun.
    list: Option<MetricList>,
}

/// A member of a group's object.
#[derive(Clone, Copy)]
enum GroupMember {
    /// The family with this index in the skeleton.
    Family(u32),
    /// The labels of the grouping key.
    Labels,
    /// Whether the last push was accepted.
    LastPush,
    /// The time of the last refused push.
    FailureTime,
    /// The time of the last accepted push.
    PushTime,
}

impl GroupMember {
    fn name<'a>(self, group: &ShownGroup<'a>) -> &'a str {
        match self {
            Self::Family(index) => group.skeleton.family(index as usize).name(),
            Self::Labels => "labels",
            Self::LastPush => "last_push_successful",
            Self::FailureTime => "push_failure_time_seconds",
            Self::PushTime => "push_time_seconds",
        }
    }
}

/// The buckets or quantiles of a metric that are being written.
struct MetricList {
    items: ListItems,
    /// The index of the item that is written next.
    next: usize,
}

enum ListItems {
    /// An object whose keys are bounds, sorted as text: the indices of the bounds in this order.
    /// Of equal bounds only the last one is among them.
    Bounds(Vec<u32>),
    /// An array of the buckets of a native histogram.
    Native(Vec<NativeBucket>),
}

impl GroupWriter {
    /// A writer at the beginning of `group`.
    pub(crate) fn new(group: &ShownGroup<'_>) -> Self {
        let n_families = u32::try_from(group.skeleton.n_families());
        let families = 0..n_families.expect("a push has fewer than 2^32 families");
        let mut members: Vec<GroupMember> = families.map(GroupMember::Family).collect();
        members.extend([
            GroupMember::Labels,
            GroupMember::LastPush,
            GroupMember::FailureTime,
            GroupMember::PushTime,
        ]);
        // A family with one of these names takes the place of the member, as in the reference.
        members.sort_by_key(|member| member.name(group));
        members.dedup_by(|later, earlier| later.name(group) == earlier.name(group));
        Self {
            members,
            member: 0,
            metrics: None,
            list: None,
        }
    }

    /// Appends the next step to `out`. Returns false, and appends nothing, once the group is
    /// complete. `group` is the same for all steps.
    pub(crate) fn write_step(&mut self, group: &ShownGroup<'_>, out: &mut Vec<u8>) -> bool {
        let Some(&member) = self.members.get(self.member) else {
            return false;
        };
        if let (GroupMember::Family(index), Some(metrics)) = (member, &mut self.metrics) {
            let family = group.skeleton.family(index as usize);
            if metrics.start == metrics.end {
                out.extend_from_slice(b"]}");
                self.metrics = None;
                self.end_member(out);
            } else {
                let metric = group.skeleton.metric(metrics.start);
                let is_first = metrics.start == family.metric_range().start;
                let metric_type = family.metric_type();
                if write_metric_step(group, metric_type, metric, is_first, &mut self.list, out) {
                    metrics.start += 1;
                }
            }
            return true;
        }
        out.push(if self.member == 0 { b'{' } else { b',' });
        let name = member.name(group);
        write_string(name, out);
        out.push(b':');
        match member {
            GroupMember::Family(index) => {
                let family = group.skeleton.family(index as usize);
                let times = group.family_times;
                let pushed_at = times.map_or(group.push_time, |times| times[family.index()]);
                write_head(pushed_at, family.metric_type(), family.help(), out);
                out.extend_from_slice(b",\"metrics\":[");
                self.metrics = Some(family.metric_range());
                return true;
            }
            GroupMember::Labels => write_object(group.labels.iter(), out),
            GroupMember::LastPush => {
                let is_successful = group.push_time >= group.failure_time;
                out.extend_from_slice(if is_successful { b"true" } else { b"false" });
            }
            GroupMember::FailureTime => {
                write_push_time(group, "failed", group.failure_time, out);
            }
            GroupMember::PushTime => {
                write_push_time(group, "succeeded", group.push_time, out);
            }
        }
        self.end_member(out);
        true
    }

    /// Goes on to the next member. After the last one the object ends.
    fn end_member(&mut self, out: &mut Vec<u8>) {
        self.member += 1;
        if self.member == self.members.len() {
            out.push(b'}');
        }
    }
}

/// Appends a time of a push as one of the gateway's own families.
fn write_push_time(group: &ShownGroup<'_>, what: &str, time: i64, out: &mut Vec<u8>) {
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

/// Appends the next step of a metric. Returns whether the metric is complete. `list` is none before
/// the metric's first step and after its last one.
fn write_metric_step(
    group: &ShownGroup<'_>,
    metric_type: MetricType,
    metric: Metric<'_>,
    is_first: bool,
    list: &mut Option<MetricList>,
    out: &mut Vec<u8>,
) -> bool {
    let values = &group.values[metric.value_range()];
    let write_labels = |out: &mut Vec<u8>| {
        out.extend_from_slice(b"\"labels\":");
        write_object(
            exposed_labels(metric.labels(), group.labels).into_iter(),
            out,
        );
    };
    let is_histogram = match metric_type {
        MetricType::Counter
        | MetricType::Gauge
        | MetricType::Untyped
        | MetricType::GaugeHistogram => {
            out.extend_from_slice(if is_first { b"{" } else { b",{" });
            write_labels(out);
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
            out.push(b'}');
            return true;
        }
        MetricType::Summary => false,
        MetricType::Histogram => true,
    };
    let Some(begun) = list else {
        out.extend_from_slice(if is_first { b"{" } else { b",{" });
        let items = if is_histogram {
            out.extend_from_slice(b"\"buckets\":");
            histogram_items(group, metric)
        } else {
            out.extend_from_slice(b"\"count\":");
            write_count(metric, values[0], out);
            out.push(b',');
            write_labels(out);
            out.extend_from_slice(b",\"quantiles\":");
            sorted_bounds(metric)
        };
        out.push(match items {
            ListItems::Bounds(_) => b'{',
            ListItems::Native(_) => b'[',
        });
        *list = Some(MetricList { items, next: 0 });
        return false;
    };
    if write_item(metric, values, is_histogram, begun, out) {
        return false;
    }
    out.push(match begun.items {
        ListItems::Bounds(_) => b'}',
        ListItems::Native(_) => b']',
    });
    *list = None;
    if is_histogram {
        out.extend_from_slice(b",\"count\":");
        write_count(metric, values[0], out);
        out.push(b',');
        write_labels(out);
    }
    out.extend_from_slice(b",\"sum\":");
    write_number(f64::from_bits(values[1]), out);
    out.push(b'}');
    true
}

/// The buckets of a histogram: those of the native histogram if there is one.
fn histogram_items(group: &ShownGroup<'_>, metric: Metric<'_>) -> ListItems {
    // A binary search, because thousands of metrics can have an extra each.
    let place = group
        .extras
        .binary_search_by_key(&metric.index(), |extra| extra.metric as usize);
    match place
        .ok()
        .and_then(|place| native_buckets(&group.extras[place].body))
    {
        Some(buckets) => ListItems::Native(buckets),
        None => sorted_bounds(metric),
    }
}

/// The bounds of a metric sorted as text, the last one of equal bounds.
fn sorted_bounds(metric: Metric<'_>) -> ListItems {
    let text = |index: u32| {
        let mut text = Vec::new();
        let bits = metric.bounds_bits()[index as usize];
        write_float(f64::from_bits(bits), &mut text);
        text
    };
    let n_bounds = u32::try_from(metric.bounds_bits().len());
    let mut sorted: Vec<_> = (0..n_bounds.expect("a push has fewer than 2^32 bounds"))
        .map(|index| (text(index), index))
        .collect();
    // Equal bounds with the last one first, because `dedup_by` keeps the first.
    sorted.sort_unstable_by(|(a, index_a), (b, index_b)| a.cmp(b).then(index_b.cmp(index_a)));
    sorted.dedup_by(|later, earlier| later.0 == earlier.0);
    ListItems::Bounds(sorted.into_iter().map(|(_, index)| index).collect())
}

/// Appends the next bucket or quantile of a metric. Returns false, and appends nothing, if there is
/// none left.
fn write_item(
    metric: Metric<'_>,
    values: &[u64],
    is_histogram: bool,
    list: &mut MetricList,
    out: &mut Vec<u8>,
) -> bool {
    let n_items = match &list.items {
        ListItems::Bounds(bounds) => bounds.len(),
        ListItems::Native(buckets) => buckets.len(),
    };
    if list.next == n_items {
        return false;
    }
    if list.next > 0 {
        out.push(b',');
    }
    match &list.items {
        ListItems::Bounds(bounds) => {
            let index = bounds[list.next] as usize;
            out.push(b'"');
            write_float(f64::from_bits(metric.bounds_bits()[index]), out);
            out.extend_from_slice(b"\":");
            if is_histogram {
                write_count(metric, values[2 + index], out);
            } else {
                write_number(f64::from_bits(values[2 + index]), out);
            }
        }
        ListItems::Native(buckets) => {
            let bucket = buckets[list.next];
            // Which limits are in the bucket, as Prometheus' query API numbers it.
            let rule = match (bucket.has_lower, bucket.has_upper) {
                (false, true) => 0,
                (true, false) => 1,
                (false, false) => 2,
                (true, true) => 3,
            };
            let _ = write!(out, "[{rule}");
            for number in [bucket.lower, bucket.upper, bucket.count] {
                out.push(b',');
                write_number(number, out);
            }
            out.push(b']');
        }
    }
    list.next += 1;
    true
}

/// Appends a count of observations. As in the reference's query API, a float that is not above 0 is
/// not shown: the integer counts then, and there is none.
fn write_count(metric: Metric<'_>, bits: u64, out: &mut Vec<u8>) {
    if metric.flags().has(MetricFlags::FLOAT_COUNTS) {
        let count = f64::from_bits(bits);
        write_number(if count > 0.0 { count } else { 0.0 }, out);
    } else {
        let _ = write!(out, "\"{bits}\"");
    }
}

#[cfg(test)]
mod tests;
