//! Which names are allowed, and how a name looks to a scraper that knows fewer.
//!
//! A legacy metric name is `[a-zA-Z_:][a-zA-Z0-9_:]*`, a legacy label name the same without the
//! colon. With UTF-8 names every non-empty UTF-8 string is a name. Escaping follows the escaping
//! schemes of Prometheus' content negotiation.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Which names a push may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NameScheme {
    /// Only legacy names: the default.
    #[default]
    Legacy,
    /// Any UTF-8 (`--push.enable-utf8-names`).
    Utf8,
}

/// How names that are not legacy names are written for a scraper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Escaping {
    /// `allow-utf-8`: as they are, quoted in text.
    AllowUtf8,
    /// `underscores`: each character that a legacy name may not have becomes `_`.
    #[default]
    Underscores,
    /// `dots`: `.` becomes `_dot_`, `_` becomes `__`, anything else that a legacy name may not have
    /// becomes `__`.
    Dots,
    /// `values`: `U__` before the name, and each character that a legacy name may not have as
    /// `_<hex>_`.
    Values,
}

impl Escaping {
    /// The schemes under which a name that is not a legacy name looks like one, and may look like
    /// another name.
    pub const LEGACY: [Self; 3] = [Self::Underscores, Self::Dots, Self::Values];

    /// The scheme's name in a content type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowUtf8 => "allow-utf-8",
            Self::Underscores => "underscores",
            Self::Dots => "dots",
            Self::Values => "values",
        }
    }
}

/// Whether `name` is `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub fn is_legacy_metric_name(name: &str) -> bool {
    is_legacy(name, true)
}

/// Whether `name` is `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_legacy_label_name(name: &str) -> bool {
    is_legacy(name, false)
}

fn is_legacy(name: &str, colon: bool) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|b| !b.is_ascii_digit())
        && bytes
            .iter()
            .all(|&b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'))
}

/// The name of a metric as a scraper sees it under `escaping`.
pub fn escape_name(name: &str, escaping: Escaping) -> Cow<'_, str> {
    escape(name, escaping, true)
}

/// The name of a label as a scraper sees it under `escaping`: as [`escape_name`], but that a legacy
/// label name has no colon. (The reference lets colons through, and no scraper that needs escaping
/// takes them.)
pub fn escape_label_name(name: &str, escaping: Escaping) -> Cow<'_, str> {
    escape(name, escaping, false)
}

/// `colon`: a legacy name may have colons.
fn escape(name: &str, escaping: Escaping, colon: bool) -> Cow<'_, str> {
    let is_legacy_char = |c: char, first: bool| {
        c.is_ascii_alphabetic() || c == '_' || (colon && c == ':') || (c.is_ascii_digit() && !first)
    };
    match escaping {
        Escaping::AllowUtf8 => Cow::Borrowed(name),
        // A legacy name stays as it is under every scheme.
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

/// Undoes [`Escaping::Values`]; a name that is not such an escape, or has one of more than five
/// digits, is returned as it is, as the reference does for names in a push's path.
pub fn unescape_name(name: &str) -> Cow<'_, str> {
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
    fn names_escape_as_each_scheme_says() {
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
    fn colons_are_for_metrics_alone() {
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
    fn what_is_no_escape_is_left_as_it_is() {
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
