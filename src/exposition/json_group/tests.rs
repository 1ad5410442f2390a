//! Tests of the JSON of groups.

use super::*;
use crate::exposition::step_writer::{StepWriter, write_in_pieces};
use crate::exposition::text;
use crate::model::{GroupingKey, NameScheme};

struct OneGroup<'a>(&'a ShownGroup<'a>, GroupWriter);

impl StepWriter for OneGroup<'_> {
    fn write_step(&mut self, out: &mut Vec<u8>) -> bool {
        self.1.write_step(self.0, out)
    }
}

/// The group as one piece; pieces of other sizes make the same text.
fn written(group: &ShownGroup<'_>) -> Vec<u8> {
    let pieces = |bytes| write_in_pieces(OneGroup(group, GroupWriter::new(group)), bytes);
    let whole = pieces(1 << 20);
    for piece_bytes in (1..200).chain([500, whole.len() - 1, whole.len()]) {
        assert!(pieces(piece_bytes) == whole, "{piece_bytes} bytes");
    }
    whole
}

#[test]
fn no_step_of_a_large_histogram_is_long() {
    let buckets: String = (0..2000)
        .map(|n| format!("h_bucket{{le=\"{n}\"}} {n}\n"))
        .collect();
    let body = format!("# TYPE h histogram\n{buckets}h_count 2000\nh_sum 1\n");
    let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
    let key = GroupingKey::new([("job", "j")]).unwrap();
    let group = ShownGroup {
        labels: key.labels(),
        skeleton: &families.skeleton,
        family_times: Some(&[5]),
        values: &families.values,
        extras: &[],
        push_time: 0,
        failure_time: 0,
        first_time: 0,
    };
    let (mut writer, mut n_steps, mut step) = (GroupWriter::new(&group), 0, Vec::new());
    while writer.write_step(&group, &mut step) {
        assert!(step.len() < 300, "{} bytes", step.len());
        step.clear();
        n_steps += 1;
    }
    assert!(n_steps > 2000);
}

#[test]
fn a_group_is_written_to_the_letter_of_the_reference() {
    let body = "# HELP a <help>\n# TYPE a gauge\na{l=\"1\"} 1e6\n# TYPE h histogram\nh_bucket{le=\"10\"} 2\nh_bucket{le=\"2\"} 1\nh_count 3\nh_sum 4.5\n\
                # TYPE s summary\ns{quantile=\"0.5\"} 2\ns_count 7\n";
    let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
    let key = GroupingKey::new([("job", "j")]).unwrap();
    let group = ShownGroup {
        labels: key.labels(),
        skeleton: &families.skeleton,
        family_times: None,
        values: &families.values,
        extras: &[],
        push_time: 1_500_000_000,
        failure_time: 0,
        first_time: 1_000_000_000,
    };
    let out = written(&group);
    let expected = r#"{"a":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE","help":"\u003chelp\u003e","metrics":[{"labels":{"instance":"","job":"j","l":"1"},"value":"1e+06"}]},
"h":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"HISTOGRAM","metrics":[{"buckets":{"10":"2","2":"1"},"count":"3","labels":{"instance":"","job":"j"},"sum":"4.5"}]},
"labels":{"job":"j"},"last_push_successful":true,
"push_failure_time_seconds":{"time_stamp":"1970-01-01T00:00:01Z","type":"GAUGE","help":"Last Unix time when changing this group in the Pushgateway failed.","metrics":[{"labels":{"instance":"","job":"j"},"value":"0"}]},
"push_time_seconds":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"GAUGE","help":"Last Unix time when changing this group in the Pushgateway succeeded.","metrics":[{"labels":{"instance":"","job":"j"},"value":"1.5"}]},
"s":{"time_stamp":"1970-01-01T00:00:01.5Z","type":"SUMMARY","metrics":[{"count":"7","labels":{"instance":"","job":"j"},"quantiles":{"0.5":"2"},"sum":"0"}]}}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected.replace('\n', ""));
}

#[test]
fn counts_that_are_floats_are_shown_only_above_0() {
    for (count, shown) in [("NaN", "0"), ("1.5", "1.5"), ("+Inf", "+Inf"), ("0.0", "0")] {
        let body = format!(
            "# TYPE h histogram\nh_bucket{{le=\"1\"}} {count}\nh_bucket{{le=\"2\"}} 2.5\nh_sum 1\nh_count {count}\n"
        );
        let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
        let key = GroupingKey::new([("job", "j")]).unwrap();
        let group = ShownGroup {
            labels: key.labels(),
            skeleton: &families.skeleton,
            family_times: None,
            values: &families.values,
            extras: &[],
            push_time: 0,
            failure_time: 0,
            first_time: 0,
        };
        let text = String::from_utf8(written(&group)).unwrap();
        let expected =
            format!("{{\"buckets\":{{\"1\":\"{shown}\",\"2\":\"2.5\"}},\"count\":\"{shown}\",");
        assert!(text.contains(&expected), "{count}: {text}");
    }
}

#[test]
fn each_native_histogram_is_shown_with_its_own_buckets() {
    // A native histogram with one bucket, up to 1, that has the count `n`: schema 0, a positive
    // span of length 1, a delta. Of three metrics, the second has no extra.
    let native = |n: u8| vec![0x28, 0, 0x62, 2, 0x10, 1, 0x6a, 1, 2 * n];
    let body = "# TYPE h histogram\nh_count{l=\"1\"} 1\nh_count{l=\"2\"} 2\nh_count{l=\"3\"} 3\n";
    let families = text::parse(body.as_bytes(), NameScheme::Legacy).unwrap();
    let extras = [0, 2].map(|metric: u32| MetricExtra {
        metric,
        body: native(metric as u8 + 1).into(),
    });
    let key = GroupingKey::new([("job", "j")]).unwrap();
    let group = ShownGroup {
        labels: key.labels(),
        skeleton: &families.skeleton,
        family_times: None,
        values: &families.values,
        extras: &extras,
        push_time: 0,
        failure_time: 0,
        first_time: 0,
    };
    let text = String::from_utf8(written(&group)).unwrap();
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
