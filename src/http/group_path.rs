//! The part of a path that names a group.
//!
//! ```text
//! group  = "/metrics/job/" job labels | "/metrics/job@base64/" base64 labels
//! labels = { "/" name "/" value | "/" name "@base64/" base64 } [ "/" ]
//! ```
//!
//! The path is percent-decoded before it is taken apart, so an encoded slash separates components,
//! too. A value with a slash in it, and an empty one, is written in base64. Texts of errors are
//! those of the reference.

use crate::exposition::go_quote::quote;
use crate::gateway::grouping_labels::{GroupingLabels, LabelList};
use crate::model::{NameScheme, is_legacy_label_name, unescape_name};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use std::borrow::Cow;

/// The part of a path that names a group, percent-decoded and not parsed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupPath<'a> {
    pub job: Cow<'a, [u8]>,
    pub job_is_base64: bool,
    /// What follows the job, with its first slash; may be empty.
    pub labels: Cow<'a, [u8]>,
}

impl<'a> GroupPath<'a> {
    /// The group of a path in which the job begins at `job_start`.
    pub fn new(path: &Cow<'a, [u8]>, job_start: usize, job_is_base64: bool) -> Self {
        let job_end =
            memchr::memchr(b'/', &path[job_start..]).map_or(path.len(), |len| job_start + len);
        let (job, labels) = match path {
            Cow::Borrowed(path) => (
                Cow::Borrowed(&path[job_start..job_end]),
                Cow::Borrowed(&path[job_end..]),
            ),
            Cow::Owned(path) => (
                Cow::Owned(path[job_start..job_end].to_vec()),
                Cow::Owned(path[job_end..].to_vec()),
            ),
        };
        Self {
            job,
            job_is_base64,
            labels,
        }
    }
}

/// The grouping labels that a path names.
///
/// # Errors
///
/// The path names no group; the error is the text for the client.
pub(super) fn grouping_labels<'a>(
    path: &'a GroupPath<'_>,
    names: NameScheme,
) -> Result<GroupingLabels<'a>, String> {
    let job = if path.job_is_base64 {
        Cow::Owned(
            decode_base64(&path.job)
                .map_err(|what| format!("invalid base64 encoding in job name \"\": {what}"))?,
        )
    } else {
        Cow::Borrowed(&*path.job)
    };
    // The error about a value that is not UTF-8: returned only if nothing else is wrong with the
    // path.
    let mut not_utf8 = None;
    let mut text_of = |name: &str, value: Cow<'a, [u8]>| {
        into_text(value).unwrap_or_else(|value| {
            not_utf8.get_or_insert_with(|| {
                format!(
                    "the value of label {name:?} is not UTF-8: {}",
                    quote(&value)
                )
            });
            Cow::Borrowed("")
        })
    };
    let mut labels = LabelList::new();
    if let Some(mut below) = path.labels.get(1..).filter(|below| !below.is_empty()) {
        let n_slashes = memchr::memchr_iter(b'/', below).count();
        if n_slashes.is_multiple_of(2) {
            return Err(format!(
                "odd number of components in label string {}",
                quote(&path.labels)
            ));
        }
        for _ in 0..n_slashes / 2 + 1 {
            let name = take_component(&mut below);
            let value = take_component(&mut below);
            let (name, is_base64) = match name.strip_suffix(b"@base64") {
                Some(name) => (name, true),
                None => (name, false),
            };
            let unescaped = label_name(name, names)
                .ok_or_else(|| format!("improper label name {}", quote(name)))?;
            let value = if is_base64 {
                let invalid = |what| {
                    format!(
                        "invalid base64 encoding for label {}={}: {what}",
                        String::from_utf8_lossy(name),
                        quote(value)
                    )
                };
                Cow::Owned(decode_base64(value).map_err(invalid)?)
            } else {
                Cow::Borrowed(value)
            };
            let value = text_of(&unescaped, value);
            labels.push((unescaped, value));
        }
    }
    if job.is_empty() {
        return Err("job name is required".to_owned());
    }
    let job = text_of("job", job);
    match not_utf8 {
        None => Ok(GroupingLabels::new(labels, job)),
        Some(text) => Err(text),
    }
}

/// `value` as text.
///
/// # Errors
///
/// `value` itself, if it is not UTF-8.
fn into_text(value: Cow<'_, [u8]>) -> Result<Cow<'_, str>, Cow<'_, [u8]>> {
    match value {
        Cow::Borrowed(value) => std::str::from_utf8(value)
            .map(Cow::Borrowed)
            .map_err(|_| Cow::Borrowed(value)),
        Cow::Owned(value) => String::from_utf8(value)
            .map(Cow::Owned)
            .map_err(|error| Cow::Owned(error.into_bytes())),
    }
}

/// Takes the component before the next slash off `path`, and the slash.
fn take_component<'a>(path: &mut &'a [u8]) -> &'a [u8] {
    let end = memchr::memchr(b'/', path).unwrap_or(path.len());
    let (component, rest) = path.split_at(end);
    *path = rest.get(1..).unwrap_or_default();
    component
}

/// The name of a label as the group has it; none if a label may not have this name.
///
/// A name that looks reserved (`__…`) is refused both as it is written and as it is meant, after
/// unescaping. The reference only does the former, and then every push and every scrape fails.
fn label_name(name: &[u8], names: NameScheme) -> Option<Cow<'_, str>> {
    let name = std::str::from_utf8(name).ok()?;
    let meant = match names {
        NameScheme::Legacy => is_legacy_label_name(name).then_some(Cow::Borrowed(name)),
        NameScheme::Utf8 => Some(unescape_name(name)),
    };
    meant.filter(|meant| !meant.is_empty() && !meant.starts_with("__") && !name.starts_with("__"))
}

/// Decodes base64 as the reference does: in the URL alphabet, padded or not; line breaks do not
/// count.
///
/// # Errors
///
/// The text for the client.
fn decode_base64(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let config = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::URL_SAFE, config);
    let end = encoded
        .iter()
        .rposition(|&byte| byte != b'=')
        .map_or(0, |last| last + 1);
    let joined: Vec<u8> = encoded[..end]
        .iter()
        .copied()
        .filter(|byte| !matches!(byte, b'\r' | b'\n'))
        .collect();
    let illegal = |at: usize| format!("illegal base64 data at input byte {at}");
    engine.decode(&joined).map_err(|error| match error {
        base64::DecodeError::InvalidByte(at, _) => illegal(at),
        base64::DecodeError::InvalidLength(len) => illegal(len - 1),
        // These do not occur with trailing bits allowed and the padding taken off.
        base64::DecodeError::InvalidLastSymbol { .. } | base64::DecodeError::InvalidPadding => {
            illegal(joined.len())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(path: &GroupPath<'_>, names: NameScheme) -> Result<String, String> {
        grouping_labels(path, names).map(|labels| labels.key().to_string())
    }

    fn check(job: &str, labels: &str, expected: Result<&str, &str>) {
        let (job, job_is_base64) = job
            .strip_prefix("base64:")
            .map_or((job, false), |job| (job, true));
        let path = GroupPath {
            job: job.as_bytes().into(),
            job_is_base64,
            labels: labels.as_bytes().into(),
        };
        let key = key_of(&path, NameScheme::Legacy);
        assert_eq!(
            key.as_deref().map_err(String::as_str),
            expected,
            "{job} {labels}"
        );
    }

    #[test]
    fn a_path_names_a_group_as_by_the_reference() {
        check("a", "", Ok(r#"{job="a"}"#));
        check("a", "/", Ok(r#"{job="a"}"#));
        check("a", "/b/", Ok(r#"{b="",job="a"}"#));
        check("a", "/l/v/l/w", Ok(r#"{job="a",l="w"}"#));
        check("a", "/job/b", Ok(r#"{job="a"}"#));
        check(
            "base64:dGVzdC9qb2I",
            "/l@base64/YQ==/m@base64/=",
            Ok(r#"{job="test/job",l="a",m=""}"#),
        );
        check("base64:Y\r\nQ", "", Ok(r#"{job="a"}"#));
    }

    #[test]
    fn what_is_no_group_is_refused_in_the_references_words() {
        check(
            "a",
            "/b",
            Err("odd number of components in label string \"/b\""),
        );
        check(
            "a",
            "/b/c/",
            Err("odd number of components in label string \"/b/c/\""),
        );
        check("a", "/1x/b", Err("improper label name \"1x\""));
        check("a", "/__x/b", Err("improper label name \"__x\""));
        check("a", "/@base64/YQ", Err("improper label name \"\""));
        check("base64:=", "", Err("job name is required"));
        check(
            "base64:YW.j",
            "",
            Err("invalid base64 encoding in job name \"\": illegal base64 data at input byte 2"),
        );
        check(
            "base64:_-8+",
            "",
            Err("invalid base64 encoding in job name \"\": illegal base64 data at input byte 3"),
        );
        check(
            "a",
            "/l@base64/!",
            Err("invalid base64 encoding for label l=\"!\": illegal base64 data at input byte 0"),
        );
        check(
            "a",
            "/l@base64/_w",
            Err("the value of label \"l\" is not UTF-8: \"\\xff\""),
        );
    }

    #[test]
    fn escaped_names_are_unescaped_if_any_name_may_come() {
        let path = GroupPath {
            job: b"a".into(),
            job_is_base64: false,
            labels: b"/U__x_2e_y/1".into(),
        };
        let key = |names| key_of(&path, names).unwrap();
        assert_eq!(key(NameScheme::Legacy), r#"{U__x_2e_y="1",job="a"}"#);
        assert_eq!(key(NameScheme::Utf8), r#"{job="a",x.y="1"}"#);
        for refused in ["U__", "U______x", "U___5f__5f_x", "__x", ""] {
            let labels = format!("/{refused}/v");
            let path = GroupPath {
                job: b"a".into(),
                job_is_base64: false,
                labels: labels.as_bytes().into(),
            };
            assert_eq!(
                key_of(&path, NameScheme::Utf8),
                Err(format!("improper label name {refused:?}"))
            );
        }
        // One underscore is not reserved; nor is what only looks like an escape.
        for (labels, shown) in [
            ("/U____x/v", r#"{_x="v",job="a"}"#),
            ("/U__a_/v", r#"{U__a_="v",job="a"}"#),
        ] {
            let path = GroupPath {
                job: b"a".into(),
                job_is_base64: false,
                labels: labels.as_bytes().into(),
            };
            assert_eq!(key_of(&path, NameScheme::Utf8).unwrap(), shown);
        }
    }
}
