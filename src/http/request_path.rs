//! Percent decoding of paths, and paths without detours.

use std::borrow::Cow;

/// Undoes percent encoding; none if a `%` is not followed by two hexadecimal digits.
pub(super) fn percent_decode(path: &str) -> Option<Cow<'_, [u8]>> {
    let bytes = path.as_bytes();
    let Some(first) = memchr::memchr(b'%', bytes) else {
        return Some(Cow::Borrowed(bytes));
    };
    let mut decoded = bytes[..first].to_vec();
    let mut rest = &bytes[first..];
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        decoded.push(
            u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?)
                .expect("two digits are a byte"),
        );
        rest = after;
    }
    Some(Cow::Owned(decoded))
}

/// The path without `//`, `.` and `..`, as the reference cleans it; a slash at its end stays.
pub(super) fn clean(path: &[u8]) -> Cow<'_, [u8]> {
    // The usual case, at one look for each slash: all that has to be cleaned begins with `//` or
    // `/.`.
    if path.starts_with(b"/")
        && memchr::memchr_iter(b'/', path).all(|at| !matches!(path.get(at + 1), Some(b'/' | b'.')))
    {
        return Cow::Borrowed(path);
    }
    let is_detour = |component: &[u8]| matches!(component, b"" | b"." | b"..");
    let Some(below) = path.strip_prefix(b"/") else {
        // Not a path but `*` or the like.
        return Cow::Borrowed(path);
    };
    let ends_with_slash = below.is_empty() || below.ends_with(b"/");
    let inner = below.strip_suffix(b"/").unwrap_or(below);
    if inner.is_empty() && below.len() <= 1 && path.len() <= 1
        || !inner.split(|&b| b == b'/').any(is_detour)
    {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in inner.split(|&b| b == b'/') {
        match component {
            b"" | b"." => {}
            b".." => {
                kept.pop();
            }
            component => kept.push(component),
        }
    }
    let mut clean = Vec::with_capacity(path.len());
    for component in &kept {
        clean.push(b'/');
        clean.extend_from_slice(component);
    }
    if clean.is_empty() || ends_with_slash {
        clean.push(b'/');
    }
    Cow::Owned(clean)
}
