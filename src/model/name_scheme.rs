//! Names of metrics and labels: which ones are allowed, and how they are escaped.
//!
//! A legacy metric name is `[a-zA-Z_:][a-zA-Z0-9_:]*`. A legacy label name is the same without
//! colons. Where UTF-8 names are allowed, every UTF-8 string that is not empty is a name. For
//! scrapers that only know legacy names, other names are escaped, with one of the escaping schemes
//! of Prometheus' content negotiation.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Which names a push may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Only legacy names. This is the default.
    #[default]
    Legacy,
    /// Any UTF-8 string that is not empty.
    Utf8,
}

/// How names that are not legacy names are written for a scraper. Legacy names stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Escaping {
    /// `allow-utf-8`: not escaped. The text format puts them in quotes.
    AllowUtf8,
    /// `underscores`: each character that is not allowed in a legacy name becomes `_`.
    #[default]
    Underscores,
    /// `dots`: `.` becomes `_dot_`. `_` and each other character that is not allowed in a legacy
    /// name become `__`.
    Dots,
    /// `values`: the name begins with `U__`, `_` becomes `__`, and each character that is not
    /// allowed in a legacy name becomes its hexadecimal code point between underscores: `_2e_`.
    Values,
}

impl Escaping {
    /// The schemes that make a legacy name of every name. The result can be the same as another
    /// name.
    pub(crate) const LEGACY: [Self; 3] = [Self::Underscores, Self::Dots, Self::Values];

    /// The name of the scheme in a content type.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(crate) fn is_legacy_metric_name(name: &str) -> bool {
    is_legacy(name, true)
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) fn is_legacy_label_name(name: &str) -> bool {
    is_legacy(name, false)
}

fn is_legacy(name: &str, colon: bool) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|b| !b.is_ascii_digit())
        && bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'))
}

/// Escapes the name of a metric.
pub(crate) fn escape_name(name: &str, escaping: Escaping) -> Cow<'_, str> {
    escape(name, escaping, true)
}

/// Escapes the name of a label. Differs from [`escape_name`] in that colons are escaped, too: they
/// are not allowed in legacy label names. (The reference does not escape colons in label names, and
/// scrapers that need escaping refuse the result.)
pub(crate) fn escape_label_name(name: &str, escaping: Escaping) -> Cow<'_, str> {
    escape(name, escaping, false)
}

/// `colon` says whether legacy names may have colons.
fn escape(name: &str, escaping: Escaping, colon: bool) -> Cow<'_, str> {
    let is_legacy_char = |c: char, first: bool| {
        c.is_ascii_alphabetic() || c == '_' || (colon && c == ':') || (c.is_ascii_digit() && !first)
    };
    match escaping {
        Escaping::AllowUtf8 => Cow::Borrowed(name),
        // Legacy names stay as they are under every scheme.
        _ if is_legacy(name, colon) || name.is_empty() => Cow::Borrowed(name),
        Escaping::Underscores => Cow::Owned(
            name.chars()
                .enumerate()
                .map(|(i, c)| if is_legacy_char(c, i == 0) { c } else { '_' })
                .collect(),
        ),
        Escaping::Dots => {
            let mut out = String::with_capacity(name.len() + 8);
            for (i, c) in name.chars().enumerate() {
                match c {
                    '_' => out.push_str("__"),
                    '.' => out.push_str("_dot_"),
                    c if is_legacy_char(c, i == 0) => out.push(c),
                    _ => out.push_str("__"),
                }
            }
            Cow::Owned(out)
        }
        Escaping::Values => {
            let mut out = String::from("U__");
            for (i, c) in name.chars().enumerate() {
                match c {
                    '_' => out.push_str("__"),
                    c if is_legacy_char(c, i == 0) => out.push(c),
                    c => write!(out, "_{:x}_", u32::from(c)).expect("a String takes everything"),
                }
            }
            Cow::Owned(out)
        }
    }
}

/// Decodes a name that was escaped with [`Escaping::Values`]. As in the reference, which decodes
/// the names in a push's path, a name that is not the result of this scheme, or that has a code
/// point with more than five digits, is returned as it is.
pub(crate) fn unescape_name(name: &str) -> Cow<'_, str> {
    let Some(escaped) = name.strip_prefix("U__") else {
        return Cow::Borrowed(name);
    };
    unescape(escaped).map_or(Cow::Borrowed(name), Cow::Owned)
}

fn unescape(escaped: &str) -> Option<String> {
    let mut out = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('_') {
            out.push('_');
            rest = after;
            continue;
        }
        let end = rest.find('_')?;
        let digits = &rest[..end];
        if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Some(out)
}

#[cfg(all(test, not(gateway_loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_scheme_escapes_names_in_its_way() {
        for (name, underscores, dots, values) in [
            ("up", "up", "up", "up"),
            ("a_b", "a_b", "a_b", "a_b"),
            ("a.b", "a_b", "a_dot_b", "U__a_2e_b"),
            ("a_ü b", "a___b", "a______b", "U__a___fc__20_b"),
            ("1a", "_a", "__a", "U___31_a"),
        ] {
            assert_eq!(
                escape_name(name, Escaping::Underscores),
                underscores,
                "{name}"
            );
            assert_eq!(escape_name(name, Escaping::Dots), dots, "{name}");
            assert_eq!(escape_name(name, Escaping::Values), values, "{name}");
            assert_eq!(unescape_name(&escape_name(name, Escaping::Values)), name);
        }
    }

    #[test]
    fn colons_are_kept_in_metric_names_and_escaped_in_label_names() {
        let both = |escaping| {
            (
                escape_name("a:b", escaping).into_owned(),
                escape_label_name("a:b", escaping).into_owned(),
            )
        };
        let is = |label: &str| ("a:b".to_owned(), label.to_owned());
        let labels = ["a_b", "a__b", "U__a_3a_b"];
        assert_eq!(Escaping::LEGACY.map(both), labels.map(is));
        assert_eq!(both(Escaping::AllowUtf8), is("a:b"));
    }

    #[test]
    fn a_name_that_is_not_escaped_is_returned_as_it_is() {
        for name in [
            "up",
            "U__a_",
            "U__a_zz_b",
            "U___10ffff_",
            "U__a_d800_",
            "U__a__b_",
        ] {
            assert_eq!(unescape_name(name), name);
        }
        assert_eq!(unescape_name("U__a__b"), "a_b");
    }
}
