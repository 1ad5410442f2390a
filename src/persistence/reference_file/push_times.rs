//! The times of pushes to a group.
//!
//! The reference keeps them as two gauges among the families of the group. The value of a gauge is the
//! time of the last push, in seconds, rounded to some 200 ns; 0 stands for "never". The time stamp of the
//! family is that of the same push, exactly; beside the value 0 it is that of the group's first push.

use super::group::{ReferenceFamily, ReferenceGroup};
use crate::exposition::protobuf;

/// The family with the time of the last accepted push, and its help text.
pub(super) const PUSH_TIME: (&str, &str) = (
    "push_time_seconds",
    "Last Unix time when changing this group in the Pushgateway succeeded.",
);
/// The family with the time of the last refused push, and its help text.
pub(super) const FAILURE_TIME: (&str, &str) = (
    "push_failure_time_seconds",
    "Last Unix time when changing this group in the Pushgateway failed.",
);

/// The times of pushes to a group, in nanoseconds after the Unix epoch; 0 for "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushTimes {
    /// The last push that was accepted.
    pub last_push: i64,
    /// The last push that was refused.
    pub last_failure: i64,
    /// The first push, accepted or refused. The reference forgets this time when there were both; then
    /// this is the earliest time that is known.
    pub first: i64,
}

impl PushTimes {
    /// The times of pushes to a group of the reference. If the group has families but no time of a push,
    /// it was pushed with the newest of them. All times are 0 if the group has nothing.
    pub fn of(group: &ReferenceGroup) -> Self {
        let marker = |(name, _): (&str, &str)| {
            let family = group.families.iter().find(|f| f.name == name.as_bytes());
            family.map_or((0, None), marker_times)
        };
        let (mut last_push, first_by_push) = marker(PUSH_TIME);
        let (last_failure, first_by_failure) = marker(FAILURE_TIME);
        let content = group.families.iter().filter(|family| !is_marker(family));
        if last_push == 0 && content.clone().next().is_some() {
            let newest = content.filter_map(|f| f.pushed_at.unix_ns()).max();
            last_push = newest.or(first_by_push).unwrap_or(1);
        }
        let earliest = [last_push, last_failure].into_iter().filter(|&t| t != 0);
        Self {
            last_push,
            last_failure,
            first: first_by_push
                .or(first_by_failure)
                .or(earliest.min())
                .unwrap_or(0),
        }
    }
}

/// Whether a family has the time of a push.
pub(super) fn is_marker(family: &ReferenceFamily) -> bool {
    [PUSH_TIME, FAILURE_TIME]
        .iter()
        .any(|(name, _)| family.name == name.as_bytes())
}

/// The time in one of the two gauges, and if it is 0, the time of the first push, if known.
fn marker_times(family: &ReferenceFamily) -> (i64, Option<i64>) {
    let time_stamp = family.pushed_at.unix_ns();
    let mut delimited = Vec::new();
    protobuf::write_delimited(&family.message, &mut delimited);
    let value = protobuf::parse(&delimited)
        .ok()
        .and_then(|families| families.values.first().map(|&bits| f64::from_bits(bits)));
    match (value, time_stamp) {
        (Some(0.0), _) => (0, time_stamp),
        (Some(seconds), Some(unix_ns)) if (seconds - unix_ns as f64 / 1e9).abs() < 1e-6 => {
            (unix_ns, None)
        }
        // Converting saturates, and makes 0 of what is not a number.
        (Some(seconds), _) if !seconds.is_nan() => (((seconds * 1e9) as i64).max(1), None),
        _ => (time_stamp.unwrap_or(0), None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::go_time::GoTime;
    use super::*;

    /// A gauge with this value, or something that is none.
    fn family((name, _): (&str, &str), value: Option<f64>, unix_ns: i64) -> ReferenceFamily {
        let mut message = vec![0x0a, name.len() as u8];
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(b"\x18\x01\x22\x0b\x12\x09\x09");
        match value {
            Some(value) => message.extend_from_slice(&value.to_le_bytes()),
            None => message.truncate(5),
        }
        ReferenceFamily {
            name: name.as_bytes().to_vec(),
            pushed_at: GoTime::from_unix_ns(unix_ns),
            message,
        }
    }

    #[test]
    fn times_are_those_of_the_stamps_where_the_values_agree() {
        const NS: i64 = 1_795_393_358_775_484_055;
        let seconds = Some(NS as f64 / 1e9);
        let (pushed, failed) = (PUSH_TIME, FAILURE_TIME);
        let other = ("up", "");
        for (families, times) in [
            (vec![], [0, 0, 0]),
            (vec![family(pushed, seconds, NS)], [NS, 0, NS]),
            (
                vec![family(pushed, seconds, NS), family(failed, Some(0.0), 7)],
                [NS, 0, 7],
            ),
            (
                vec![family(pushed, Some(0.0), 7), family(failed, seconds, NS)],
                [0, NS, 7],
            ),
            (
                vec![
                    family(pushed, Some(5.0), 5_000_000_000),
                    family(failed, seconds, NS),
                ],
                [5_000_000_000, NS, 5_000_000_000],
            ),
            // The value is what was exposed.
            (
                vec![family(pushed, Some(5.0), 7_000_000_000)],
                [5_000_000_000, 0, 5_000_000_000],
            ),
            (vec![family(pushed, Some(-5.0), 7)], [1, 0, 1]),
            (
                vec![family(pushed, Some(1e300), 7)],
                [i64::MAX, 0, i64::MAX],
            ),
            (vec![family(pushed, Some(f64::NAN), 7)], [7, 0, 7]),
            (vec![family(pushed, None, 7)], [7, 0, 7]),
            // A version of the reference that kept no times.
            (
                vec![family(other, Some(1.0), 8), family(("b", ""), Some(1.0), 9)],
                [9, 0, 9],
            ),
            (vec![family(other, Some(1.0), 0)], [1, 0, 1]),
        ] {
            let group = ReferenceGroup {
                labels: Vec::new(),
                families,
            };
            let PushTimes {
                last_push,
                last_failure,
                first,
            } = PushTimes::of(&group);
            assert_eq!([last_push, last_failure, first], times, "{group:?}");
        }
    }
}
