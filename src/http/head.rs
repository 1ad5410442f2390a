//! Checks and sizes of a request's head, the same on the fast path and behind hyper.

use std::time::Duration;

/// How long a client may take to send the head of a request, and how long a connection may be idle
/// before the next one: hyper has one timer for both. Clients keep idle connections for up to 90 s.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(150);

/// Whether every byte of a `Host` header may stand in the name of a host, with a port.
pub(super) fn is_host(value: &[u8]) -> bool {
    const HOST_BYTES: [bool; 256] = alphanumeric_and(b"!$%&'()*+,-.:;=[]_~");
    value.iter().all(|&byte| HOST_BYTES[usize::from(byte)])
}

/// A table of the bytes that are ASCII letters, digits or one of `others`.
pub(super) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut is_member = [false; 256];
    let mut byte = 0;
    while byte < is_member.len() {
        is_member[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < others.len() {
        is_member[others[i] as usize] = true;
        i += 1;
    }
    is_member
}

/// What the request line adds to the size of a request, as the reference counts it, in bytes.
pub(super) fn head_size(method: &str, target_len: usize) -> u64 {
    (method.len() + target_len + "HTTP/1.1".len()) as u64
}

/// What a header adds to the size of a request, as the reference counts it, in bytes.
pub(super) fn header_size(name: &str, value: &[u8]) -> u64 {
    let name_len = match name {
        // Go keeps these two apart from the other headers: the name of the first does not count,
        // and the second does not count at all.
        _ if name.eq_ignore_ascii_case("host") => 0,
        _ if name.eq_ignore_ascii_case("transfer-encoding") => return 0,
        name => name.len(),
    };
    (name_len + value.len()) as u64
}
