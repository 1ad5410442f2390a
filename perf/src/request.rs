//! RequestWriter, as bytes.

use crate::body::{compress, to_protobuf, write_number, write_seven_digits};
use crate::workload::{
    Action, Encoding, Format, N_MIXED_JOBS, RequestSpec, Workload, WorkloadKind,
};

/// Writes requests: what is the same in all of them is there beforehand.
pub struct RequestWriter {
    workload: Workload,
    /// The path in front of `/instance/…`, where it is the same for all.
    path: Vec<u8>,
    clash_path: Vec<u8>,
    /// What stands between the path and the length of the body.
    push_fields: Vec<u8>,
    delete_fields: Vec<u8>,
    head: Vec<u8>,
    uncompressed: Vec<u8>,
    /// The request that was written last; its head ends where `head_room_bytes` does.
    buffer: Vec<u8>,
    head_room_bytes: usize,
}

impl RequestWriter {
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
        let job = if workload.kind == WorkloadKind::Mixed {
            "fleet-"
        } else {
            "fleet"
        };
        let head_room_bytes = prefix.len() + 512;
        Self {
            workload: workload.clone(),
            path: format!(" {prefix}/job/{job}").into_bytes(),
            clash_path: format!(" {prefix}/job/clash").into_bytes(),
            push_fields: format!("{start}{format}{encoding}Content-Length: ").into_bytes(),
            delete_fields: format!("{start}Content-Length: ").into_bytes(),
            head: Vec::new(),
            uncompressed: Vec::new(),
            buffer: vec![0; head_room_bytes],
            head_room_bytes,
        }
    }

    /// Writes a request; its bytes.
    pub fn write(&mut self, what: RequestSpec) -> &[u8] {
        // The head says how long the body is, so it is put in front of it afterwards.
        self.buffer.truncate(self.head_room_bytes);
        if (self.workload.format, self.workload.encoding) == (Format::Text, Encoding::Identity) {
            self.workload.write_text(what, &mut self.buffer);
        } else if what.action != Action::Delete {
            self.uncompressed.clear();
            self.workload.write_text(what, &mut self.uncompressed);
            if self.workload.format == Format::Protobuf {
                self.uncompressed = to_protobuf(&self.uncompressed);
            }
            compress(self.workload.encoding, &self.uncompressed, &mut self.buffer);
        }
        self.write_head(what);
        let start = self.head_room_bytes - self.head.len();
        self.buffer[start..self.head_room_bytes].copy_from_slice(&self.head);
        &self.buffer[start..]
    }

    /// The body of the request that was written last.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head_room_bytes..]
    }

    fn write_head(&mut self, RequestSpec { action, group, seq }: RequestSpec) {
        let buffer = &mut self.head;
        buffer.clear();
        buffer.extend_from_slice(match action {
            Action::Delete => b"DELETE",
            _ if self.workload.add_percent > 0
                && (seq % 100) < u64::from(self.workload.add_percent) =>
            {
                b"POST"
            }
            _ => b"PUT",
        });
        let is_mixed = self.workload.kind == WorkloadKind::Mixed;
        buffer.extend_from_slice(if action == Action::Clash {
            &self.clash_path
        } else {
            &self.path
        });
        if is_mixed {
            write_number(u64::from(group % N_MIXED_JOBS), None, buffer);
        }
        buffer.extend_from_slice(b"/instance/node-");
        write_seven_digits(u64::from(group), buffer);
        if is_mixed && (group / N_MIXED_JOBS) % 2 == 1 {
            buffer.extend_from_slice(b"/zone/a");
        }
        buffer.extend_from_slice(if action == Action::Delete {
            &self.delete_fields
        } else {
            &self.push_fields
        });
        write_number(
            (self.buffer.len() - self.head_room_bytes) as u64,
            None,
            buffer,
        );
        buffer.extend_from_slice(b"\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_whole() {
        let mixed = Workload {
            kind: WorkloadKind::Mixed,
            ..Workload::fleet(20)
        };
        for (group, path) in [
            (3, "fleet-3/instance/node-0000003"),
            (11, "fleet-3/instance/node-0000011/zone/a"),
        ] {
            let mut requests = RequestWriter::new(&mixed, "/metrics", true);
            let request = requests.write(RequestSpec {
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
            let mut requests = RequestWriter::new(
                &Workload {
                    kind: WorkloadKind::Big,
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
                    .write(RequestSpec {
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
            let mut requests = RequestWriter::new(&workload, "", true);
            requests.write(RequestSpec {
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
