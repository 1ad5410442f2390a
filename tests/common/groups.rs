//! Groups with everything that can be pushed, and what a gateway or a reference shows of its groups.

use super::{Response, TIMEOUT, read_response};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as URL_SAFE_NO_PAD;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};

const PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Sends one request on a new connection.
pub fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut stream = TcpStream::connect(address).expect("a gateway listens");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).expect("the request is read");
    read_response(&mut BufReader::new(stream), false).expect("an answer")
}

/// Pushes groups of several jobs and shapes, with metrics of every type, at different times. Names in
/// UTF-8 have to be enabled. If pushes are checked, some are refused, which is noted in their groups.
pub fn push_everything(address: SocketAddr, n_groups: usize, is_checked: bool) {
    let accepted = if is_checked { 200 } else { 202 };
    let push = |method: &str, path: &str, headers: &[(&str, &str)], body: &[u8], expected: u16| {
        let response = request(address, method, path, headers, body);
        assert_eq!(response.status, expected, "{path}: {response:?}");
    };
    const CONTRADICTION: &[u8] = b"# TYPE last counter\nlast 1\n";
    let text = |n: usize| {
        format!(
            "# HELP rows_total Rows \\\\ read.\n# TYPE rows_total counter\nrows_total{{disk=\"{n}\\\"<&\u{e4}\"}} {n}e3\nrows_total{{disk=\"b\"}} 1\n\
             # TYPE last gauge\nlast NaN\n\
             # HELP untyped_one <b>\nuntyped_one{{x=\"1\"}} -Inf\nuntyped_one{{x=\"0\"}} 3\n\
             # TYPE seconds summary\nseconds{{quantile=\"0.5\"}} {n}.25\nseconds{{quantile=\"0.99\"}} +Inf\nseconds_sum 7\nseconds_count {n}\n\
             # TYPE bytes histogram\nbytes_bucket{{le=\"0.1\"}} 1\nbytes_bucket{{le=\"10\"}} 2\nbytes_bucket{{le=\"+Inf\"}} 3\nbytes_sum 1e9\nbytes_count 3\n\
             {{\"metric.with.dots\",\"label with spaces\"=\"v\"}} 1\n"
        )
    };
    for n in 0..n_groups {
        let path = match n % 4 {
            0 => format!("/metrics/job/job{}/instance/i{n}", n % 7),
            1 => format!("/metrics/job/job{}/zone/z{n}/instance/i", n % 7),
            2 => format!("/metrics/job/alone{n}"),
            _ => {
                let instance = URL_SAFE_NO_PAD.encode(format!("/a \"{n}\u{e4}"));
                format!("/metrics/job/job{}/instance@base64/{instance}", n % 7)
            }
        };
        push("PUT", &path, &[], text(n).as_bytes(), accepted);
        if n % 5 == 0 {
            push(
                "POST",
                &path,
                &[],
                b"# HELP last_of_post Later.\nlast_of_post 1\n",
                accepted,
            );
        }
        if is_checked && n > 0 && n % 6 == 0 {
            push("PUT", &path, &[], CONTRADICTION, 400);
        }
    }
    // Series whose labels fit two groups.
    push(
        "PUT",
        "/metrics/job/two",
        &[],
        b"fits{zone=\"z\"} 1\n",
        accepted,
    );
    push(
        "PUT",
        "/metrics/job/two/zone/z",
        &[],
        b"fits_not 1\n",
        accepted,
    );
    // A group that was only refused.
    if is_checked {
        push("PUT", "/metrics/job/refused", &[], CONTRADICTION, 400);
    }
    let protobuf = [("Content-Type", PROTOBUF)];
    push(
        "PUT",
        "/metrics/job/protobuf",
        &protobuf,
        &protobuf_families(),
        accepted,
    );
}

/// Native histograms of integers and floats, a gauge histogram, exemplars and created timestamps.
fn protobuf_families() -> Vec<u8> {
    let time = |seconds: u64| message(|out| varint_field(1, seconds, out));
    let exemplar = message(|out| {
        bytes_field(1, &label("trace", "abc"), out);
        double_field(2, 0.5, out);
        bytes_field(3, &time(1_700_000_000), out);
    });
    let bucket = |bound: f64, count: u64, exemplar: Option<&[u8]>| {
        message(|out| {
            varint_field(1, count, out);
            double_field(2, bound, out);
            if let Some(exemplar) = exemplar {
                bytes_field(3, exemplar, out);
            }
        })
    };
    let classic = message(|out| {
        varint_field(1, 3, out);
        double_field(2, 1.5, out);
        bytes_field(3, &bucket(1.0, 2, Some(&exemplar)), out);
        bytes_field(3, &bucket(f64::INFINITY, 3, None), out);
        bytes_field(15, &time(1_600_000_000), out);
    });
    let span = message(|out| {
        varint_field(1, 2, out);
        varint_field(2, 2, out);
    });
    let native = message(|out| {
        varint_field(1, 5, out);
        double_field(2, 4.5, out);
        varint_field(5, 6, out);
        double_field(6, 0.001, out);
        varint_field(7, 1, out);
        bytes_field(12, &span, out);
        bytes_field(13, &[4, 0], out);
        bytes_field(16, &exemplar, out);
    });
    let float = message(|out| {
        double_field(4, 2.5, out);
        double_field(2, 4.5, out);
        varint_field(5, 6, out);
        double_field(6, 0.001, out);
        bytes_field(12, &span, out);
        let counts: Vec<u8> = [1.5f64, 1.0].iter().flat_map(|n| n.to_le_bytes()).collect();
        bytes_field(14, &counts, out);
    });
    let counter = message(|out| {
        double_field(1, 7.0, out);
        bytes_field(2, &exemplar, out);
        bytes_field(3, &time(1_600_000_000), out);
    });
    let mut body = Vec::new();
    for (name, metric_type, field, value) in [
        ("p_classic_seconds", 4, 7, &classic),
        ("p_counter_total", 0, 3, &counter),
        ("p_float_seconds", 4, 7, &float),
        ("p_gauge_histogram", 5, 7, &classic),
        ("p_native_seconds", 4, 7, &native),
    ] {
        let family = message(|out| {
            bytes_field(1, name.as_bytes(), out);
            bytes_field(2, b"From protobuf.", out);
            varint_field(3, metric_type, out);
            for label_value in ["a", "b"] {
                let metric = message(|out| {
                    bytes_field(1, &label("l", label_value), out);
                    bytes_field(field, value, out);
                });
                bytes_field(4, &metric, out);
            }
        });
        varint(family.len() as u64, &mut body);
        body.extend_from_slice(&family);
    }
    body
}

fn label(name: &str, value: &str) -> Vec<u8> {
    message(|out| {
        bytes_field(1, name.as_bytes(), out);
        bytes_field(2, value.as_bytes(), out);
    })
}

fn message(fields: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fields(&mut out);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_field(field: u64, value: u64, out: &mut Vec<u8>) {
    varint(field << 3, out);
    varint(value, out);
}

fn double_field(field: u64, value: f64, out: &mut Vec<u8>) {
    varint(field << 3 | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes_field(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// All groups as the query API shows them, by their labels; the metrics of a family by theirs.
pub fn listed(address: SocketAddr) -> BTreeMap<String, Value> {
    let response = request(address, "GET", "/api/v1/metrics", &[], b"");
    assert_eq!(response.status, 200);
    let mut answer: Value = serde_json::from_slice(&response.body).expect("JSON");
    let groups = answer["data"].as_array_mut().expect("a list of groups");
    let by_labels = groups.iter_mut().map(|group| {
        for member in group.as_object_mut().expect("a group").values_mut() {
            if let Some(metrics) = member.get_mut("metrics").and_then(Value::as_array_mut) {
                metrics.sort_by_key(|metric| metric["labels"].to_string());
            }
        }
        (group["labels"].to_string(), group.take())
    });
    by_labels.collect()
}

/// A series by its family, type and labels.
type SeriesName = (String, u64, BTreeMap<Vec<u8>, Vec<u8>>);

/// The series of all groups with their values, as protobuf has them.
pub fn exposed(address: SocketAddr) -> BTreeMap<SeriesName, BTreeMap<u64, Vec<Vec<u8>>>> {
    let accept = format!("{PROTOBUF};escaping=allow-utf-8");
    let response = request(address, "GET", "/metrics", &[("Accept", &accept)], b"");
    assert_eq!(
        response.status,
        200,
        "{}",
        String::from_utf8_lossy(&response.body)
    );
    let mut body = &response.body[..];
    let mut series = BTreeMap::new();
    while !body.is_empty() {
        let (family, rest) = take_bytes(body);
        body = rest;
        let mut family = fields(family);
        let name = String::from_utf8(family[&1][0].clone()).expect("UTF-8");
        let metric_type = family.get(&3).map_or(0, |value| u64::from(value[0][0]));
        for metric in family.remove(&4).unwrap_or_default() {
            let mut metric = fields(&metric);
            let labels = metric
                .remove(&1)
                .unwrap_or_default()
                .into_iter()
                .map(|label| {
                    let mut label = fields(&label);
                    let mut part = |n| {
                        label
                            .remove(&n)
                            .map_or(Vec::new(), |mut part| part.remove(0))
                    };
                    (part(1), part(2))
                });
            let labels: BTreeMap<_, _> = labels.collect();
            if labels.contains_key(&b"job"[..]) {
                let before = series.insert((name.clone(), metric_type, labels), metric);
                assert!(before.is_none(), "{name} has a series twice");
            }
        }
    }
    series
}

/// The fields of a message by number; those with a number as its bytes.
fn fields(mut message: &[u8]) -> BTreeMap<u64, Vec<Vec<u8>>> {
    let mut fields = BTreeMap::<u64, Vec<Vec<u8>>>::new();
    while !message.is_empty() {
        let (tag, rest) = take_varint(message);
        let (value, rest) = match tag & 7 {
            0 => rest.split_at(rest.len() - take_varint(rest).1.len()),
            1 => rest.split_at(8),
            2 => take_bytes(rest),
            _ => panic!("wire type of {tag}"),
        };
        fields.entry(tag >> 3).or_default().push(value.to_vec());
        message = rest;
    }
    fields
}

fn take_varint(bytes: &[u8]) -> (u64, &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| byte & 0x80 == 0)
        .expect("an end");
    let digits = bytes[..=end].iter().rev();
    let value = digits.fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    (value, &bytes[end + 1..])
}

fn take_bytes(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (len, rest) = take_varint(bytes);
    rest.split_at(len as usize)
}
