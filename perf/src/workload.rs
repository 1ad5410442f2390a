//! What is pushed: the fleets that gateways are run for.
//!
//! Every number of a push follows from its group and its sequence number, which is one of the
//! numbers. So whoever reads a scrape can say which push of a group it shows, and whether it shows
//! all of it. Values differ between groups and from push to push: text whose values are all alike
//! compresses far better than any real one.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::io::Write;

/// What a push looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The text format.
    Text,
    /// Delimited protobuf.
    Protobuf,
}

/// How a push is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// gzip.
    Gzip,
    /// snappy's framing format.
    Snappy,
}

/// A load by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Many jobs, each with a group of its own and 12 lines.
    Fleet,
    /// Pushes of 1,000 families.
    Big,
    /// Every push makes a group; the one before it is deleted.
    Churn,
    /// The same in eight jobs whose groups have two different sets of grouping labels.
    Mixed,
    /// Everybody pushes to a handful of groups.
    Hot,
    /// A fleet of which every tenth push contradicts the others.
    Clash,
}

/// What is pushed, by whom and how.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Its kind.
    pub kind: Kind,
    /// Groups of the fleet.
    #[serde(default = "default_groups")]
    pub groups: u32,
    /// Of a hundred pushes so many are POSTs.
    #[serde(default)]
    pub add_percent: u8,
    /// Text or protobuf.
    #[serde(default = "default_format")]
    pub format: Format,
    /// Compression.
    #[serde(default = "default_encoding")]
    pub encoding: Encoding,
    /// Lines with a number that a push has, at least 12.
    #[serde(default = "default_lines")]
    pub lines: u32,
}

fn default_groups() -> u32 {
    1000
}

fn default_format() -> Format {
    Format::Text
}

fn default_encoding() -> Encoding {
    Encoding::Identity
}

fn default_lines() -> u32 {
    N_LINES as u32
}

/// Samples of a push of the fleet that are compared with what scrapes show.
pub const N_LINES: usize = 12;
/// Families of a `big` push beside those of the fleet.
const N_BIG_FAMILIES: u64 = 995;
/// Groups that everybody pushes to in `hot`.
const N_HOT: u32 = 8;
/// Jobs of `mixed`.
const N_MIXED_JOBS: u32 = 8;
/// Every so many-th push of `clash` contradicts.
const CLASH_EVERY: u64 = 10;

/// What a push asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A push that has to be accepted.
    Push,
    /// A push that has to be refused.
    Clash,
    /// A delete.
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct What {
    /// What it asks for.
    pub action: Action,
    /// Of which group.
    pub group: u32,
    /// Which push of that group.
    pub seq: u64,
}

impl Workload {
    /// A fleet of so many groups that pushes plain text.
    pub fn fleet(groups: u32) -> Self {
        Self {
            kind: Kind::Fleet,
            groups,
            add_percent: 0,
            format: default_format(),
            encoding: default_encoding(),
            lines: default_lines(),
        }
    }

    /// How many groups are written to.
    pub fn n_groups(&self) -> u32 {
        if self.kind == Kind::Hot {
            self.groups.min(N_HOT)
        } else {
            self.groups
        }
    }

    /// Whether several connections push to one group at the same time.
    pub fn is_shared(&self) -> bool {
        self.kind == Kind::Hot
    }

    /// Whether groups go again.
    pub fn is_churning(&self) -> bool {
        matches!(self.kind, Kind::Churn | Kind::Mixed)
    }

    /// What the `n`th request of a connection does.
    pub fn action(&self, n: u64) -> Action {
        match self.kind {
            Kind::Clash if n % CLASH_EVERY == CLASH_EVERY - 1 => Action::Clash,
            Kind::Churn | Kind::Mixed if n % 2 == 1 => Action::Delete,
            _ => Action::Push,
        }
    }
}

/// Writes requests: what is the same in all of them is there beforehand.
pub struct Requests {
    workload: Workload,
    /// The path in front of `/instance/…`, where it is the same for all.
    path: Vec<u8>,
    clash_path: Vec<u8>,
    /// What stands between the path and the length of the body.
    fields: Vec<u8>,
    delete_fields: Vec<u8>,
    head: Vec<u8>,
    plain: Vec<u8>,
    /// The request that was written last; its head ends where `head_room` does.
    out: Vec<u8>,
    head_room: usize,
}

impl Requests {
    /// Of a workload. `prefix` is the path in front of `/job/…`.
    pub fn new(workload: &Workload, prefix: &str, keep_alive: bool) -> Self {
        let connection = if keep_alive {
            ""
        } else {
            "Connection: close\r\n"
        };
        let format = match workload.format {
            Format::Text => "",
            Format::Protobuf => {
                "Content-Type: application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited\r\n"
            }
        };
        let encoding = match workload.encoding {
            Encoding::Identity => "",
            Encoding::Gzip => "Content-Encoding: gzip\r\n",
            Encoding::Snappy => "Content-Encoding: snappy\r\n",
        };
        let start = format!(" HTTP/1.1\r\nHost: bench\r\n{connection}");
        let job = if workload.kind == Kind::Mixed {
            "fleet-"
        } else {
            "fleet"
        };
        let head_room = prefix.len() + 512;
        Self {
            workload: workload.clone(),
            path: format!(" {prefix}/job/{job}").into_bytes(),
            clash_path: format!(" {prefix}/job/clash").into_bytes(),
            fields: format!("{start}{format}{encoding}Content-Length: ").into_bytes(),
            delete_fields: format!("{start}Content-Length: ").into_bytes(),
            head: Vec::new(),
            plain: Vec::new(),
            out: vec![0; head_room],
            head_room,
        }
    }

    /// Writes a request; its bytes.
    pub fn write(&mut self, what: What) -> &[u8] {
        // The head says how long the body is, so it is put in front of it afterwards.
        self.out.truncate(self.head_room);
        if (self.workload.format, self.workload.encoding) == (Format::Text, Encoding::Identity) {
            self.workload.write_text(what, &mut self.out);
        } else if what.action != Action::Delete {
            self.plain.clear();
            self.workload.write_text(what, &mut self.plain);
            if self.workload.format == Format::Protobuf {
                self.plain = as_protobuf(&self.plain);
            }
            encode(self.workload.encoding, &self.plain, &mut self.out);
        }
        self.write_head(what);
        let start = self.head_room - self.head.len();
        self.out[start..self.head_room].copy_from_slice(&self.head);
        &self.out[start..]
    }

    /// The body of the request that was written last.
    pub fn body(&self) -> &[u8] {
        &self.out[self.head_room..]
    }

    fn write_head(&mut self, What { action, group, seq }: What) {
        let out = &mut self.head;
        out.clear();
        out.extend_from_slice(match action {
            Action::Delete => b"DELETE",
            _ if self.workload.add_percent > 0
                && (seq % 100) < u64::from(self.workload.add_percent) =>
            {
                b"POST"
            }
            _ => b"PUT",
        });
        let is_mixed = self.workload.kind == Kind::Mixed;
        out.extend_from_slice(if action == Action::Clash {
            &self.clash_path
        } else {
            &self.path
        });
        if is_mixed {
            write_number(u64::from(group % N_MIXED_JOBS), None, out);
        }
        out.extend_from_slice(b"/instance/node-");
        write_seven_digits(u64::from(group), out);
        if is_mixed && (group / N_MIXED_JOBS) % 2 == 1 {
            out.extend_from_slice(b"/zone/a");
        }
        out.extend_from_slice(if action == Action::Delete {
            &self.delete_fields
        } else {
            &self.fields
        });
        write_number((self.out.len() - self.head_room) as u64, None, out);
        out.extend_from_slice(b"\r\n\r\n");
    }
}

impl Workload {
    fn write_text(&self, What { action, group, seq }: What, out: &mut Vec<u8>) {
        match action {
            Action::Delete => {}
            Action::Clash => {
                out.extend_from_slice(b"# TYPE batch_runs_total gauge\nbatch_runs_total 1\n")
            }
            Action::Push => {
                write_fleet(group, seq, out);
                if self.lines as usize > N_LINES {
                    write_parts(group, seq, self.lines as usize - N_LINES, out);
                }
                if self.kind == Kind::Big {
                    write_big(group, seq, out);
                }
            }
        }
    }
}

fn encode(encoding: Encoding, plain: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Identity => out.extend_from_slice(plain),
        Encoding::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder
                .write_all(plain)
                .and_then(|()| encoder.finish())
                .expect("a vector takes everything");
        }
        Encoding::Snappy => {
            let mut encoder = snap::write::FrameEncoder::new(out);
            encoder
                .write_all(plain)
                .and_then(|()| encoder.flush())
                .expect("a vector takes everything");
        }
    }
}

fn as_protobuf(text: &[u8]) -> Vec<u8> {
    use pushgateway::exposition::{protobuf, text};
    use pushgateway::model::{Escaping, LabelSet, NameScheme};
    let families = text::parse(text, NameScheme::Legacy).expect("we wrote it");
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

/// A body of this many series of one family, all of whose numbers follow from `seq`: what a client
/// pushes that keeps its whole state in one group. Some 80 bytes a line.
pub fn bulk_body(n_series: u32, seq: u64) -> Vec<u8> {
    let mut body = b"# TYPE bulk_requests_total counter\n".to_vec();
    for series in 0..n_series {
        let value = seq * 1000 + mix(series, seq, 0) % 1000;
        // Writing to a vector cannot fail.
        let _ = writeln!(
            body,
            "bulk_requests_total{{code=\"{}\",handler=\"/api/v1/handler/{series:06}\",method=\"GET\"}} {value}",
            200 + series % 7
        );
    }
    body
}

/// A number that looks like chance and follows from group, push and line.
fn mix(group: u32, seq: u64, line: u64) -> u64 {
    let mut x = (u64::from(group) << 40) ^ (seq << 8) ^ line;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The lines of a push: text in front of the number, and the number as integer and seven digits
/// behind the point, if it has any.
fn lines(group: u32, seq: u64) -> [(&'static str, u64, Option<u64>); N_LINES] {
    let chance = |line| mix(group, seq, line);
    let seconds = |line| (1_795_000_000 + seq, Some(chance(line) % 10_000_000));
    let (fast, slow) = (seq * 3 + chance(8) % 3, chance(9) % 50);
    [
        (
            "# HELP batch_runs_total Runs of the job.\n# TYPE batch_runs_total counter\nbatch_runs_total ",
            seq,
            None,
        ),
        (
            "# TYPE batch_records_total counter\nbatch_records_total{step=\"read\"} ",
            seq * 731 + chance(1) % 700,
            None,
        ),
        (
            "batch_records_total{step=\"write\"} ",
            seq * 613 + chance(2) % 600,
            None,
        ),
        (
            "# TYPE batch_workers gauge\nbatch_workers ",
            100 + chance(3) % 900,
            None,
        ),
        (
            "# TYPE batch_queue_length gauge\nbatch_queue_length ",
            100 + chance(4) % 900,
            None,
        ),
        (
            "# TYPE batch_memory_mebibytes gauge\nbatch_memory_mebibytes ",
            100 + chance(5) % 900,
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
            Some(chance(10) % 10_000_000),
        ),
        ("batch_step_seconds_count ", fast + slow, None),
    ]
}

fn write_fleet(group: u32, seq: u64, out: &mut Vec<u8>) {
    for (text, integer, fraction) in lines(group, seq) {
        out.extend_from_slice(text.as_bytes());
        write_number(integer, fraction, out);
        out.push(b'\n');
    }
}

fn write_number(integer: u64, fraction: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    if let Some(fraction) = fraction {
        out.push(b'.');
        write_seven_digits(fraction, out);
    }
}

/// At least seven digits, with zeros in front where it has fewer.
fn write_seven_digits(number: u64, out: &mut Vec<u8>) {
    const SEVEN_DIGITS: u64 = 10_000_000;
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(match number {
        0..SEVEN_DIGITS => &buffer.format(SEVEN_DIGITS + number).as_bytes()[1..],
        _ => buffer.format(number).as_bytes(),
    });
}

/// So many more lines, of one family.
fn write_parts(group: u32, seq: u64, n: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"# TYPE part_seconds gauge\n");
    for part in 0..n as u64 {
        let chance = mix(group, seq, 2000 + part);
        out.extend_from_slice(b"part_seconds{part=\"");
        write_seven_digits(part, out);
        out.extend_from_slice(b"\"} ");
        write_number(chance % 1000, Some(chance / 1000 % 10_000_000), out);
        out.push(b'\n');
    }
}

fn write_big(group: u32, seq: u64, out: &mut Vec<u8>) {
    for family in 0..N_BIG_FAMILIES {
        for text in [&b"# TYPE big_"[..], b"_total counter\nbig_"] {
            out.extend_from_slice(text);
            write_number(family, None, out);
        }
        out.extend_from_slice(b"_total ");
        write_number(seq * 17 + mix(group, seq, 100 + family) % 17, None, out);
        out.push(b'\n');
    }
}

/// What a group shows of the fleet's lines; NaN for none.
pub type Shown = [f64; N_LINES];

/// The numbers that a push of a group has, as whoever reads them gets them.
pub fn expected(group: u32, seq: u64) -> Shown {
    let mut text = Vec::new();
    lines(group, seq).map(|(_, integer, fraction)| {
        text.clear();
        write_number(integer, fraction, &mut text);
        std::str::from_utf8(&text)
            .expect("digits")
            .parse()
            .expect("a number")
    })
}

/// Which of the fleet's lines a sample is, by its name and the label that tells lines of a name
/// apart.
pub fn line_of(name: &str, labels: &str) -> Option<usize> {
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
    fn a_push_has_the_numbers_that_are_expected_of_it() {
        let mut body = Vec::new();
        write_fleet(7, 41, &mut body);
        let body = String::from_utf8(body).unwrap();
        let mut shown = [f64::NAN; N_LINES];
        for line in body.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            shown[line_of(name, labels).unwrap()] = value.parse().unwrap();
        }
        assert_eq!(shown, expected(7, 41));
        assert_eq!(shown[0], 41.0);
        assert_ne!(expected(7, 42), expected(8, 42));
    }

    #[test]
    fn requests_are_whole() {
        let mixed = Workload {
            kind: Kind::Mixed,
            ..Workload::fleet(20)
        };
        for (group, path) in [
            (3, "fleet-3/instance/node-0000003"),
            (11, "fleet-3/instance/node-0000011/zone/a"),
        ] {
            let mut requests = Requests::new(&mixed, "/metrics", true);
            let request = requests.write(What {
                action: Action::Delete,
                group,
                seq: 1,
            });
            assert!(
                request.starts_with(format!("DELETE /metrics/job/{path} HTTP/1.1\r\n").as_bytes())
            );
            assert!(request.ends_with(b"\r\nContent-Length: 0\r\n\r\n"));
        }
        for (format, encoding) in [
            (Format::Text, Encoding::Identity),
            (Format::Protobuf, Encoding::Gzip),
            (Format::Text, Encoding::Snappy),
        ] {
            let mut requests = Requests::new(
                &Workload {
                    kind: Kind::Big,
                    format,
                    encoding,
                    ..Workload::fleet(2)
                },
                "/metrics",
                true,
            );
            // The second one is written over the first.
            for group in [0, 1] {
                let request = requests
                    .write(What {
                        action: Action::Push,
                        group,
                        seq: 2,
                    })
                    .to_vec();
                let head = String::from_utf8_lossy(&request)
                    .split("\r\n\r\n")
                    .next()
                    .unwrap()
                    .to_owned();
                assert!(
                    head.starts_with(&format!(
                        "PUT /metrics/job/fleet/instance/node-000000{group} HTTP/1.1\r\n"
                    )),
                    "{head}"
                );
                let body = requests.body();
                assert!(
                    head.contains(&format!("Content-Length: {}", body.len()))
                        && request.ends_with(body)
                );
            }
        }
    }

    #[test]
    fn bodies_have_as_many_lines_as_asked_for() {
        for lines in [12, 13, 1000] {
            let workload = Workload {
                lines,
                ..Workload::fleet(1)
            };
            let mut requests = Requests::new(&workload, "", true);
            requests.write(What {
                action: Action::Push,
                group: 0,
                seq: 1,
            });
            let body = std::str::from_utf8(requests.body()).unwrap();
            assert_eq!(
                body.lines().filter(|line| !line.starts_with('#')).count(),
                lines as usize
            );
        }
    }
}
