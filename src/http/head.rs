//! What is looked at in the head of every request, whoever reads it.

use std::time::Duration;

/// Time for a head; also for an idle connection, because hyper has one timer for both: clients keep
/// theirs for up to 90 s.
pub(super) const HEAD_TIMEOUT: Duration = Duration::from_secs(150);

/// Whether no byte of a `Host` ends a header or names nothing.
pub(super) fn is_host(value: &[u8]) -> bool {
    const HOST_BYTES: [bool; 256] = alphanumeric_and(b"!$%&'()*+,-.:;=[]_~");
    value.iter().all(|&byte| HOST_BYTES[usize::from(byte)])
}

/// Which bytes are ASCII letters, digits or one of `others`: every request has them looked at.
pub(super) const fn alphanumeric_and(others: &[u8]) -> [bool; 256] {
    let mut is_one = [false; 256];
    let mut byte = 0;
    while byte < is_one.len() {
        is_one[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut i = 0;
    while i < others.len() {
        is_one[others[i] as usize] = true;
        i += 1;
    }
    is_one
}

/// The share of a request line in that size.
pub(super) fn head_size(method: &str, target_len: usize) -> u64 {
    (method.len() + target_len + "HTTP/1.1".len()) as u64
}

/// The share of a header in that size.
pub(super) fn header_size(name: &str, value: &[u8]) -> u64 {
    let name_len = match name {
        // Go keeps these two apart from the others: the first counts without its name, the second
        // not at all.
        _ if name.eq_ignore_ascii_case("host") => 0,
        _ if name.eq_ignore_ascii_case("transfer-encoding") => return 0,
        name => name.len(),
    };
    (name_len + value.len()) as u64
}
