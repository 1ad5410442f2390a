//! Which format and encoding a scrape gets, chosen as the reference chooses.

use crate::model::Escaping;

/// A format a scrape may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Text,
    Delimited,
    /// Protobuf's text form, indented.
    ProtoText,
    /// Protobuf's text form, a family a line.
    CompactText,
}

impl Wanted {
    pub fn content_type(self, escaping: Escaping) -> String {
        let media = match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::Delimited => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::ProtoText => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text"
            }
            Self::CompactText => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=compact-text"
            }
        };
        format!("{media}; escaping={}", escaping.as_str())
    }
}

/// One media range of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';');
        let media = parts.next()?.trim();
        let (kind, subkind) = match media.split_once('/') {
            Some((kind, subkind)) if !subkind.contains('/') => (kind.trim(), subkind.trim()),
            None if media == "*" => ("*", "*"),
            _ => return None,
        };
        let mut range = Self {
            kind,
            subkind,
            quality: 1.0,
            parameters: Vec::new(),
        };
        for part in parts {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            match name.trim() {
                // What is no number is 0 for the reference.
                "q" => range.quality = value.trim().parse().unwrap_or(0.0),
                name => range.parameters.push((name, value.trim())),
            }
        }
        Some(range)
    }

    fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters
            .iter()
            .find_map(|&(known, value)| (known == name).then_some(value))
    }

    /// Not an order: a range without wildcards goes before one with them whatever their qualities,
    /// as the reference has it.
    fn goes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subkind != "*" && other.subkind == "*")
    }
}

/// The format and escaping for an `Accept` header.
pub(super) fn format(accept: &str) -> (Wanted, Escaping) {
    let mut ranges: Vec<Range<'_>> = Vec::new();
    for range in accept.split(',').filter_map(Range::parse) {
        let mut place = ranges.len();
        while place > 0 && range.goes_before(&ranges[place - 1]) {
            place -= 1;
        }
        ranges.insert(place, range);
    }
    let mut escaping = Escaping::Underscores;
    for range in &ranges {
        escaping = match range.parameter("escaping") {
            Some("allow-utf-8") => Escaping::AllowUtf8,
            Some("underscores") => Escaping::Underscores,
            Some("dots") => Escaping::Dots,
            Some("values") => Escaping::Values,
            _ => escaping,
        };
        let media = (range.kind, range.subkind);
        if media == ("application", "vnd.google.protobuf")
            && range.parameter("proto") == Some("io.prometheus.client.MetricFamily")
        {
            match range.parameter("encoding") {
                Some("delimited") => return (Wanted::Delimited, escaping),
                Some("text") => return (Wanted::ProtoText, escaping),
                Some("compact-text") => return (Wanted::CompactText, escaping),
                _ => {}
            }
        }
        if media == ("text", "plain")
            && matches!(range.parameter("version"), None | Some("" | "0.0.4"))
        {
            return (Wanted::Text, escaping);
        }
    }
    (Wanted::Text, escaping)
}

/// Whether an answer is compressed for this `Accept-Encoding` header: identity wins where both are
/// as good.
pub(super) fn wants_gzip(accept_encoding: &str) -> bool {
    let mut best = (-1.0, false);
    for is_gzip in [false, true] {
        for part in accept_encoding.split(',') {
            let mut parts = part.split(';');
            let name = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
            let quality = parts
                .find_map(|part| part.trim().strip_prefix("q=")?.trim().parse().ok())
                .unwrap_or(1.0);
            let is_meant = name == "*" || name == if is_gzip { "gzip" } else { "identity" };
            if is_meant && quality > best.0 {
                best = (quality, is_gzip);
            }
        }
    }
    best.1 && best.0 > 0.0
}

/// Whether a pushed body is delimited protobuf: the exact media type with exactly these parameters,
/// in any order and case of names.
pub(super) fn is_delimited_protobuf(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    if !parts.next().is_some_and(|media| {
        media
            .trim()
            .eq_ignore_ascii_case("application/vnd.google.protobuf")
    }) {
        return false;
    }
    let (mut encoding, mut proto) = (None, None);
    let mut rest = parts.peekable();
    while let Some(part) = rest.next() {
        // A semicolon at the end is no parameter.
        if part.trim().is_empty() && rest.peek().is_none() {
            break;
        }
        let Some((name, value)) = part.split_once('=') else {
            return false;
        };
        let value = value.trim();
        let value = value
            .strip_prefix('"')
            .and_then(|value| value.strip_suffix('"'))
            .unwrap_or(value);
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "encoding" => &mut encoding,
            "proto" => &mut proto,
            _ => continue,
        };
        // A repeated parameter makes the whole type invalid.
        if place.replace(value).is_some() {
            return false;
        }
    }
    encoding == Some("delimited") && proto == Some("io.prometheus.client.MetricFamily")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_chosen_as_the_reference_does() {
        const DELIMITED: &str = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
        for (accept, expected) in [
            ("", (Wanted::Text, Escaping::Underscores)),
            ("*/*", (Wanted::Text, Escaping::Underscores)),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8",
                (Wanted::Text, Escaping::AllowUtf8),
            ),
            (
                "application/json; escaping=values",
                (Wanted::Text, Escaping::Values),
            ),
            (DELIMITED, (Wanted::Delimited, Escaping::Underscores)),
            (
                &format!("text/plain, {DELIMITED}"),
                (Wanted::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.1, text/plain;q=0.9"),
                (Wanted::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"),
                (Wanted::Delimited, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=x, text/plain;q=0.5"),
                (Wanted::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.5, text/plain;q=x"),
                (Wanted::Delimited, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};escaping=dots"),
                (Wanted::Delimited, Escaping::Dots),
            ),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
    }

    #[test]
    fn gzip_is_chosen_as_the_reference_does() {
        for (accept, expected) in [
            ("", false),
            ("gzip", true),
            ("gzip, deflate", true),
            ("identity, gzip", false),
            ("identity;q=0.5, gzip;q=0.5", false),
            ("gzip;q=0.9, identity;q=0.1", true),
            ("deflate;q=1, gzip;q=0.2", true),
            ("gzip;q=0", false),
            ("*", false),
            ("*;q=0", false),
        ] {
            assert_eq!(wants_gzip(accept), expected, "{accept}");
        }
    }

    #[test]
    fn only_the_exact_media_type_is_protobuf() {
        for (content_type, expected) in [
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                true,
            ),
            (
                "Application/vnd.google.protobuf;Encoding=\"delimited\";proto=io.prometheus.client.MetricFamily;x=y",
                true,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily",
                false,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text",
                false,
            ),
            (
                "text/plain; proto=io.prometheus.client.MetricFamily; encoding=delimited",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(
                is_delimited_protobuf(content_type),
                expected,
                "{content_type}"
            );
        }
    }
}
