//! Renders requests as bytes.

use crate::body::{compress, to_protobuf, write_text};
use crate::values::{write_integer, write_seven_digits};
use crate::workload::{
    Action, Encoding, Format, N_MIXED_JOBS, RequestSpec, Workload, WorkloadKind,
};

/// The path of the group of one of the clients that push large bodies.
pub fn bulk_path(prefix: &str, client: u32) -> String {
    format!("{prefix}/job/bulk/instance/client-{client}")
}

/// The path of the group that a push which has to be refused would make.
pub fn clash_path(prefix: &str, group: u32) -> String {
    format!("{prefix}/job/clash/instance/node-{group:07}")
}

/// Writes the requests of a workload into one buffer. The parts that are the same in all requests
/// are prepared in advance.
pub struct RequestWriter {
    workload: Workload,
    /// The part of the path in front of the job's number (workload `mixed`) or of `/instance/…`.
    path: Vec<u8>,
    /// The same for pushes that have to be refused.
    clash_path: Vec<u8>,
    /// Everything between the path and the value of Content-Length.
    push_fields: Vec<u8>,
    delete_fields: Vec<u8>,
    /// The head of the last request.
    head: Vec<u8>,
    /// The body of the last request before conversion and compression. Unused for plain text.
    uncompressed: Vec<u8>,
    /// The last request. The body starts at `head_room_bytes`, and the head ends there.
    buffer: Vec<u8>,
    head_room_bytes: usize,
}

impl RequestWriter {
    /// Prepares for the requests of a workload. `prefix` is the path in front of `/job/…`. Without
    /// `keep_alive`, requests ask the server to close the connection.
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

    /// Writes a request and returns its bytes.
    pub fn write(&mut self, spec: RequestSpec) -> &[u8] {
        // The head contains the length of the body, so the body is written first and the head is
        // put in front of it.
        self.buffer.truncate(self.head_room_bytes);
        if (self.workload.format, self.workload.encoding) == (Format::Text, Encoding::Identity) {
            write_text(&self.workload, spec, &mut self.buffer);
        } else if spec.action != Action::Delete {
            self.uncompressed.clear();
            write_text(&self.workload, spec, &mut self.uncompressed);
            if self.workload.format == Format::Protobuf {
                self.uncompressed = to_protobuf(&self.uncompressed);
            }
            compress(self.workload.encoding, &self.uncompressed, &mut self.buffer);
        }
        self.write_head(spec);
        let start = self.head_room_bytes - self.head.len();
        self.buffer[start..self.head_room_bytes].copy_from_slice(&self.head);
        &self.buffer[start..]
    }

    /// The body of the request that was written last.
    pub fn body(&self) -> &[u8] {
        &self.buffer[self.head_room_bytes..]
    }

    /// Writes the head into `head`. The body must have been written before.
    fn write_head(&mut self, RequestSpec { action, group, seq }: RequestSpec) {
        let head = &mut self.head;
        head.clear();
        head.extend_from_slice(match action {
            Action::Delete => b"DELETE",
            _ if self.workload.add_percent > 0
                && (seq % 100) < u64::from(self.workload.add_percent) =>
            {
                b"POST"
            }
            _ => b"PUT",
        });
        let is_mixed = self.workload.kind == WorkloadKind::Mixed;
        head.extend_from_slice(if action == Action::Clash {
            &self.clash_path
        } else {
            &self.path
        });
        if is_mixed {
            write_integer(u64::from(group % N_MIXED_JOBS), head);
        }
        head.extend_from_slice(b"/instance/node-");
        write_seven_digits(u64::from(group), head);
        if is_mixed && (group / N_MIXED_JOBS) % 2 == 1 {
            head.extend_from_slice(b"/zone/a");
        }
        head.extend_from_slice(if action == Action::Delete {
            &self.delete_fields
        } else {
            &self.push_fields
        });
        write_integer((self.buffer.len() - self.head_room_bytes) as u64, head);
        head.extend_from_slice(b"\r\n\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_the_right_path_and_length() {
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
            // The second request overwrites the first one.
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
    fn a_body_has_the_requested_number_of_lines() {
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
