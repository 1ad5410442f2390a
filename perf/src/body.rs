//! The bodies of pushes.
//!
//! Every number in a body is a function of the group, the push's sequence number and the line. The
//! first number is the sequence number itself. So the values that a scrape shows for a group tell
//! which push they belong to ([`expected_values`]).

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
    match action {
        Action::Delete => {}
        Action::Clash => {
            out.extend_from_slice(b"# TYPE batch_runs_total gauge\nbatch_runs_total 1\n")
        }
        Action::Push => {
            write_fleet(group, seq, out);
            if workload.lines as usize > N_FLEET_LINES {
                write_extra_lines(group, seq, workload.lines as usize - N_FLEET_LINES, out);
            }
            if workload.kind == WorkloadKind::Big {
                write_big(group, seq, out);
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
/// in one group. About 80 bytes per line. All values are functions of `seq`.
pub fn bulk_body(n_series: u32, seq: u64) -> Vec<u8> {
    let mut body = b"# TYPE bulk_requests_total counter\n".to_vec();
    for series in 0..n_series {
        let value = seq * 1000 + pseudo_random(series, seq, 0) % 1000;
        // Writing to a vector cannot fail.
        let _ = writeln!(
            body,
            "bulk_requests_total{{code=\"{}\",handler=\"/api/v1/handler/{series:06}\",method=\"GET\"}} {value}",
            200 + series % 7
        );
    }
    body
}

/// A pseudo-random number that is a function of group, sequence number and line.
fn pseudo_random(group: u32, seq: u64, line: u64) -> u64 {
    let mut x = (u64::from(group) << 40) ^ (seq << 8) ^ line;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The twelve lines of a fleet push. For each line: the text in front of the number, the number's
/// integer part, and, if the number has a fraction, its seven decimal digits.
fn fleet_lines(group: u32, seq: u64) -> [(&'static str, u64, Option<u64>); N_FLEET_LINES] {
    let random = |line| pseudo_random(group, seq, line);
    let seconds = |line| (1_795_000_000 + seq, Some(random(line) % 10_000_000));
    let (fast, slow) = (seq * 3 + random(8) % 3, random(9) % 50);
    [
        (
            "# HELP batch_runs_total Runs of the job.\n# TYPE batch_runs_total counter\nbatch_runs_total ",
            seq,
            None,
        ),
        (
            "# TYPE batch_records_total counter\nbatch_records_total{step=\"read\"} ",
            seq * 731 + random(1) % 700,
            None,
        ),
        (
            "batch_records_total{step=\"write\"} ",
            seq * 613 + random(2) % 600,
            None,
        ),
        (
            "# TYPE batch_workers gauge\nbatch_workers ",
            100 + random(3) % 900,
            None,
        ),
        (
            "# TYPE batch_queue_length gauge\nbatch_queue_length ",
            100 + random(4) % 900,
            None,
        ),
        (
            "# TYPE batch_memory_mebibytes gauge\nbatch_memory_mebibytes ",
            100 + random(5) % 900,
            None,
        ),
        (
            "# TYPE batch_last_start_seconds gauge\nbatch_last_start_seconds ",
            seconds(6).0,
            seconds(6).1,
        ),
        (
            "# TYPE batch_last_end_seconds gauge\nbatch_last_end_seconds ",
            seconds(7).0,
            seconds(7).1,
        ),
        (
            "# TYPE batch_step_seconds histogram\nbatch_step_seconds_bucket{le=\"0.5\"} ",
            fast,
            None,
        ),
        ("batch_step_seconds_bucket{le=\"+Inf\"} ", fast + slow, None),
        (
            "batch_step_seconds_sum ",
            seq * 2,
            Some(random(10) % 10_000_000),
        ),
        ("batch_step_seconds_count ", fast + slow, None),
    ]
}

/// Appends the twelve lines of a fleet push.
fn write_fleet(group: u32, seq: u64, out: &mut Vec<u8>) {
    for (text, integer, fraction) in fleet_lines(group, seq) {
        out.extend_from_slice(text.as_bytes());
        write_number(integer, fraction, out);
        out.push(b'\n');
    }
}

/// Appends a decimal number. `fraction` holds the seven digits after the decimal point.
pub fn write_number(integer: u64, fraction: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    if let Some(fraction) = fraction {
        out.push(b'.');
        write_seven_digits(fraction, out);
    }
}

/// Appends a number with at least seven digits, filled up with leading zeros.
pub fn write_seven_digits(number: u64, out: &mut Vec<u8>) {
    const SEVEN_DIGITS: u64 = 10_000_000;
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(match number {
        0..SEVEN_DIGITS => &buffer.format(SEVEN_DIGITS + number).as_bytes()[1..],
        _ => buffer.format(number).as_bytes(),
    });
}

/// Appends `n` more lines, all of one family.
fn write_extra_lines(group: u32, seq: u64, n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# TYPE part_seconds gauge\n");
    for part in 0..n as u64 {
        let random = pseudo_random(group, seq, 2000 + part);
        out.extend_from_slice(b"part_seconds{part=\"");
        write_seven_digits(part, out);
        out.extend_from_slice(b"\"} ");
        write_number(random % 1000, Some(random / 1000 % 10_000_000), out);
        out.push(b'\n');
    }
}

/// Appends the additional families of the workload `big`.
fn write_big(group: u32, seq: u64, out: &mut Vec<u8>) {
    for family in 0..N_BIG_FAMILIES {
        for text in [&b"# TYPE big_"[..], b"_total counter\nbig_"] {
            out.extend_from_slice(text);
            write_number(family, None, out);
        }
        out.extend_from_slice(b"_total ");
        write_number(
            seq * 17 + pseudo_random(group, seq, 100 + family) % 17,
            None,
            out,
        );
        out.push(b'\n');
    }
}

/// The values of the twelve fleet lines that a scrape shows for a group; NaN where a line is
/// missing.
pub type GroupValues = [f64; N_FLEET_LINES];

/// The values of push `seq` of a group, as a reader of the text parses them.
pub fn expected_values(group: u32, seq: u64) -> GroupValues {
    let mut text = Vec::new();
    fleet_lines(group, seq).map(|(_, integer, fraction)| {
        text.clear();
        write_number(integer, fraction, &mut text);
        std::str::from_utf8(&text)
            .expect("digits")
            .parse()
            .expect("a number")
    })
}

/// Which of the twelve fleet lines a sample belongs to, judged by its name and, where several lines
/// have the same name, by a label. `None` if it belongs to none of them. The order is that of
/// [`fleet_lines`].
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
        let mut body = Vec::new();
        write_fleet(7, 41, &mut body);
        let body = String::from_utf8(body).unwrap();
        let mut shown = [f64::NAN; N_FLEET_LINES];
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            shown[line_index(name, labels).unwrap()] = value.parse().unwrap();
        }
        assert_eq!(shown, expected_values(7, 41));
        assert_eq!(shown[0], 41.0);
        assert_ne!(expected_values(7, 42), expected_values(8, 42));
    }
}
