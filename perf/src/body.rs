//! The bodies of pushes. Their numbers are those of [`values`](crate::values).

use crate::values::{
    ValueKind, extra_counter, extra_gauge, fleet_numbers, write_integer, write_seven_digits,
};
use crate::workload::{Action, Encoding, N_FLEET_LINES, RequestSpec, Workload, WorkloadKind};
use std::io::Write;

/// Families of a push of the workload `big`, in addition to those of a fleet push.
const N_BIG_FAMILIES: u64 = 995;

/// Appends the body of a request to `out`, in the text format. A delete has an empty body.
pub fn write_text(
    workload: &Workload,
    RequestSpec { action, group, seq }: RequestSpec,
    out: &mut Vec<u8>,
) {
    let kind = workload.values;
    match action {
        Action::Delete => {}
        Action::Clash => {
            out.extend_from_slice(b"# TYPE batch_runs_total gauge\nbatch_runs_total 1\n")
        }
        Action::Push => {
            write_fleet(kind, group, seq, out);
            if workload.lines as usize > N_FLEET_LINES {
                write_extra_lines(
                    kind,
                    group,
                    seq,
                    workload.lines as usize - N_FLEET_LINES,
                    out,
                );
            }
            if workload.kind == WorkloadKind::Big {
                write_big(kind, group, seq, out);
            }
        }
    }
}

/// Appends `plain` to `out`, compressed as `encoding` says.
pub fn compress(encoding: Encoding, plain: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Identity => out.extend_from_slice(plain),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder
                .write_all(plain)
                .and_then(|()| encoder.finish())
                .expect("writing to a vector cannot fail");
        }
        Encoding::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(out);
            encoder
                .write_all(plain)
                .and_then(|()| encoder.flush())
                .expect("writing to a vector cannot fail");
        }
    }
}

/// Converts a body from the text format to delimited protobuf.
pub fn to_protobuf(text: &[u8]) -> Vec<u8> {
    use pushgateway::exposition::{protobuf, text};
    use pushgateway::model::{Escaping, LabelSet, NameScheme};
    let families = text::parse(text, NameScheme::Legacy).expect("this module wrote the text");
    let (key, mut out) = (
        protobuf::KeyFields::new(&LabelSet::default(), Escaping::AllowUtf8),
        Vec::new(),
    );
    for family in families.skeleton.families() {
        let template = protobuf::FamilyTemplate::new(family, &[], false, Escaping::AllowUtf8);
        let mut metrics = Vec::new();
        template.render(
            &key,
            &families.values[family.value_range()],
            &[],
            0,
            &mut metrics,
        );
        protobuf::write_header(
            family.name(),
            family.help(),
            family.metric_type(),
            Escaping::AllowUtf8,
            metrics.len(),
            &mut out,
        );
        out.extend_from_slice(&metrics);
    }
    out
}

/// A large body: `n_series` series of one family, as pushed by a client that keeps its whole state
/// in one group. About 80 bytes per line.
pub fn bulk_body(kind: ValueKind, n_series: u32, seq: u64) -> Vec<u8> {
    let mut body = b"# TYPE bulk_requests_total counter\n".to_vec();
    for series in 0..n_series {
        // Writing to a vector cannot fail.
        let _ = write!(
            body,
            "bulk_requests_total{{code=\"{}\",handler=\"/api/v1/handler/{series:06}\",method=\"GET\"}} ",
            200 + series % 7
        );
        extra_counter(kind, series, seq, 0, 1000).write(&mut body);
        body.push(b'\n');
    }
    body
}

/// The text in front of each number of a fleet push.
const FLEET_TEXTS: [&str; N_FLEET_LINES] = [
    "# HELP batch_runs_total Runs of the job.\n# TYPE batch_runs_total counter\nbatch_runs_total ",
    "# TYPE batch_records_total counter\nbatch_records_total{step=\"read\"} ",
    "batch_records_total{step=\"write\"} ",
    "# TYPE batch_workers gauge\nbatch_workers ",
    "# TYPE batch_queue_length gauge\nbatch_queue_length ",
    "# TYPE batch_memory_mebibytes gauge\nbatch_memory_mebibytes ",
    "# TYPE batch_last_start_seconds gauge\nbatch_last_start_seconds ",
    "# TYPE batch_last_end_seconds gauge\nbatch_last_end_seconds ",
    "# TYPE batch_step_seconds histogram\nbatch_step_seconds_bucket{le=\"0.5\"} ",
    "batch_step_seconds_bucket{le=\"+Inf\"} ",
    "batch_step_seconds_sum ",
    "batch_step_seconds_count ",
];

/// Appends the twelve lines of a fleet push.
fn write_fleet(kind: ValueKind, group: u32, seq: u64, out: &mut Vec<u8>) {
    for (text, number) in FLEET_TEXTS.iter().zip(fleet_numbers(kind, group, seq)) {
        out.extend_from_slice(text.as_bytes());
        number.write(out);
        out.push(b'\n');
    }
}

/// Appends `n` more lines, all of one family.
fn write_extra_lines(kind: ValueKind, group: u32, seq: u64, n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# TYPE part_seconds gauge\n");
    for part in 0..n as u64 {
        out.extend_from_slice(b"part_seconds{part=\"");
        write_seven_digits(part, out);
        out.extend_from_slice(b"\"} ");
        extra_gauge(kind, group, seq, 2000 + part).write(out);
        out.push(b'\n');
    }
}

/// Appends the additional families of the workload `big`.
fn write_big(kind: ValueKind, group: u32, seq: u64, out: &mut Vec<u8>) {
    for family in 0..N_BIG_FAMILIES {
        for text in [&b"# TYPE big_"[..], b"_total counter\nbig_"] {
            out.extend_from_slice(text);
            write_integer(family, out);
        }
        out.extend_from_slice(b"_total ");
        extra_counter(kind, group, seq, 100 + family, 17).write(out);
        out.push(b'\n');
    }
}

/// The values of the twelve fleet lines that a scrape shows for a group; NaN where a line is
/// missing.
pub type GroupValues = [f64; N_FLEET_LINES];

/// The values of push `seq` of a group, as a reader of the text parses them.
pub fn expected_values(kind: ValueKind, group: u32, seq: u64) -> GroupValues {
    let mut text = Vec::new();
    fleet_numbers(kind, group, seq).map(|number| {
        text.clear();
        number.write(&mut text);
        std::str::from_utf8(&text)
            .expect("digits")
            .parse()
            .expect("a number")
    })
}

/// Which of the twelve fleet lines a sample belongs to, judged by its name and, where several lines
/// have the same name, by a label. `None` if it belongs to none of them. The order is that of
/// [`FLEET_TEXTS`].
pub fn line_index(name: &str, labels: &str) -> Option<usize> {
    Some(match name {
        "batch_runs_total" => 0,
        "batch_records_total" => 1 + usize::from(labels.contains("step=\"write\"")),
        "batch_workers" => 3,
        "batch_queue_length" => 4,
        "batch_memory_mebibytes" => 5,
        "batch_last_start_seconds" => 6,
        "batch_last_end_seconds" => 7,
        "batch_step_seconds_bucket" => 8 + usize::from(labels.contains("le=\"+Inf\"")),
        "batch_step_seconds_sum" => 10,
        "batch_step_seconds_count" => 11,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_has_the_expected_values() {
        for kind in [ValueKind::Similar, ValueKind::Independent] {
            let mut body = Vec::new();
            write_fleet(kind, 7, 41, &mut body);
            let body = String::from_utf8(body).unwrap();
            let mut shown = [f64::NAN; N_FLEET_LINES];
            for line in body.lines().filter(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                shown[line_index(name, labels).unwrap()] = value.parse().unwrap();
            }
            assert_eq!(shown, expected_values(kind, 7, 41));
            assert_ne!(expected_values(kind, 7, 42), expected_values(kind, 8, 42));
        }
    }

    /// The size of the text of 500 groups after one push each, and its size compressed.
    fn sizes(kind: ValueKind) -> (usize, usize) {
        let (mut text, mut compressed) = (Vec::new(), Vec::new());
        for group in 0..500 {
            write_fleet(kind, group, 1, &mut text);
        }
        compress(Encoding::Gzip, &text, &mut compressed);
        (text.len(), compressed.len())
    }

    #[test]
    fn independent_values_compress_worse() {
        let (_, similar) = sizes(ValueKind::Similar);
        let (text, independent) = sizes(ValueKind::Independent);
        assert!(independent > similar * 3 / 2, "{independent} {similar}");
        assert!(independent < text / 2, "{independent} of {text}");
    }
}
