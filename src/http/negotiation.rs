//! Which format and encoding a body has, as the headers say: of a push, by its `Content-Type` and
//! `Content-Encoding`; of the answer to a scrape, by what it accepts. The reference's choices.

use crate::gateway::decode::{BodyEncoding, BodyFormat, BodyType};
use crate::model::Escaping;

/// A format that a scrape may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ScrapeFormat {
    /// The text format.
    Text,
    /// Delimited protobuf.
    Delimited,
    /// Protobuf's text form, indented.
    ProtoText,
    /// Protobuf's text form, with a family on each line.
    CompactText,
}

impl ScrapeFormat {
    /// The `Content-Type` of the answer.
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
struct MediaRange<'a> {
    kind: &'a str,
    subkind: &'a str,
    quality: f64,
    parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> MediaRange<'a> {
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
                // The reference takes a quality that is not a number for 0.
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

    /// Whether the reference sorts this range before `other`. This is not an order: a range without
    /// wildcards goes before one with wildcards, whatever their qualities.
    fn goes_before(&self, other: &Self) -> bool {
        self.quality > other.quality
            || (self.kind != "*" && other.kind == "*")
            || (self.subkind != "*" && other.subkind == "*")
    }
}

/// The format and escaping for an `Accept` header.
pub(super) fn scrape_format(accept: &str) -> (ScrapeFormat, Escaping) {
    let mut ranges: Vec<MediaRange<'_>> = Vec::new();
    for range in accept.split(',').filter_map(MediaRange::parse) {
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
                Some("delimited") => return (ScrapeFormat::Delimited, escaping),
                Some("text") => return (ScrapeFormat::ProtoText, escaping),
                Some("compact-text") => return (ScrapeFormat::CompactText, escaping),
                _ => {}
            }
        }
        if media == ("text", "plain")
            && matches!(range.parameter("version"), None | Some("" | "0.0.4"))
        {
            return (ScrapeFormat::Text, escaping);
        }
    }
    (ScrapeFormat::Text, escaping)
}

/// Whether an answer is compressed for this `Accept-Encoding` header. If the client wants gzip and
/// identity equally, the answer is not compressed.
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

/// How the body of a push is to be read, by its `Content-Type` and `Content-Encoding`: the first
/// headers with these names.
pub(super) fn body_type(content_type: Option<&[u8]>, content_encoding: Option<&[u8]>) -> BodyType {
    let is_visible = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~');
    let content_type = content_type
        .filter(|value| value.iter().all(is_visible))
        .unwrap_or_default();
    let content_type = std::str::from_utf8(content_type).expect("visible characters are ASCII");
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let format = if is_delimited_protobuf(content_type) {
        BodyFormat::Protobuf
    } else if media.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        BodyFormat::TextOrForm
    } else {
        BodyFormat::Text
    };
    BodyType {
        format,
        encoding: content_encoding.map_or(BodyEncoding::Identity, body_encoding),
    }
}

/// How a body is compressed. The reference takes any other encoding for none.
pub(super) fn body_encoding(content_encoding: &[u8]) -> BodyEncoding {
    if content_encoding.eq_ignore_ascii_case(b"gzip") {
        BodyEncoding::Gzip
    } else if content_encoding.eq_ignore_ascii_case(b"snappy") {
        BodyEncoding::Snappy
    } else {
        BodyEncoding::Identity
    }
}

/// Whether a `Content-Type` is that of delimited protobuf: this media type with these two
/// parameters, in any order, their names in any case; other parameters do not count.
fn is_delimited_protobuf(content_type: &str) -> bool {
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
        // After a semicolon at the end there is no parameter.
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
        // A parameter with two values makes the whole type invalid.
        if place.replace(value).is_some_and(|other| other != value) {
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
            ("", (ScrapeFormat::Text, Escaping::Underscores)),
            ("*/*", (ScrapeFormat::Text, Escaping::Underscores)),
            (
                "text/plain;version=1.0.0;escaping=allow-utf-8",
                (ScrapeFormat::Text, Escaping::AllowUtf8),
            ),
            (
                "application/json; escaping=values",
                (ScrapeFormat::Text, Escaping::Values),
            ),
            (DELIMITED, (ScrapeFormat::Delimited, Escaping::Underscores)),
            (
                &format!("text/plain, {DELIMITED}"),
                (ScrapeFormat::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.1, text/plain;q=0.9"),
                (ScrapeFormat::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"),
                (ScrapeFormat::Delimited, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=x, text/plain;q=0.5"),
                (ScrapeFormat::Text, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};q=0.5, text/plain;q=x"),
                (ScrapeFormat::Delimited, Escaping::Underscores),
            ),
            (
                &format!("{DELIMITED};escaping=dots"),
                (ScrapeFormat::Delimited, Escaping::Dots),
            ),
        ] {
            assert_eq!(scrape_format(accept), expected, "{accept}");
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
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; Encoding=\"delimited\"",
                true,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited; encoding=text",
                false,
            ),
            (
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=text; encoding=delimited",
                false,
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
