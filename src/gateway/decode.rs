//! The bodies of pushes: how they are written, how large they may be, and how they are
//! decompressed.

use super::parse_pool::LARGE_BODY_BYTES;
use std::borrow::Cow;
use std::fmt;
use std::io::Read;

/// How large a body may be. The first two limits are at most 1 GiB: what of a body is exposed as it
/// came has to fit, with the rest of its family, into offsets of 32 bits.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// Bytes of a body as it is sent. Enforced by the code that receives a body, before it is in
    /// memory.
    pub body_bytes_max: u64,
    /// Bytes of a body after decompressing.
    pub decoded_bytes_max: u64,
    /// How many times its size a body may decompress to. What stays below 1 MiB is always allowed.
    pub decoded_ratio_max: u64,
}

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyEncoding {
    /// Not at all.
    Identity,
    /// By gzip, in one member or several.
    Gzip,
    /// By snappy, in its framing format.
    Snappy,
}

/// The syntax of a body, after decompressing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyFormat {
    /// The text format.
    Text,
    /// The text format; a body that does not parse is tried again as a URL-encoded form with the
    /// text in it, because `curl --data-urlencode` sends that.
    TextOrForm,
    /// Delimited protobuf.
    Protobuf,
}

/// How the bytes of a body are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyType {
    /// The syntax after decompressing.
    pub format: BodyFormat,
    /// How the body is compressed.
    pub encoding: BodyEncoding,
}

impl BodyType {
    /// Whether a body of `n_bytes` takes so long that it goes to
    /// [`Ingester::ingest_large`](super::ingest::Ingester::ingest_large).
    pub fn is_large(self, n_bytes: usize) -> bool {
        self.expected_bytes(n_bytes) >= LARGE_BODY_BYTES
    }

    /// How many bytes a body of `n_bytes` is expected to have once decompressed. The size of a
    /// compressed body says little about that; it is taken for an eighth.
    pub fn expected_bytes(self, n_bytes: usize) -> usize {
        if self.encoding == BodyEncoding::Identity {
            n_bytes
        } else {
            n_bytes.saturating_mul(8)
        }
    }
}

/// Why a body cannot be decompressed.
#[derive(Debug)]
pub(crate) enum DecodeError {
    /// The body decompresses to more bytes than the limit.
    TooLarge { bytes_max: u64 },
    /// The body decompresses to more than this many times its size.
    RatioTooLarge { ratio_max: u64 },
    /// The body is not compressed as it says. The text is the reference's.
    Corrupt(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes_max } => write!(
                f,
                "the body decompresses to more than {bytes_max} bytes, which is the limit"
            ),
            Self::RatioTooLarge { ratio_max } => write!(
                f,
                "the body decompresses to more than {ratio_max} times its size, which is the limit above 1 MiB"
            ),
            Self::Corrupt(what) => f.write_str(what),
        }
    }
}

/// Decompresses a body, or returns it as it is if it is not compressed.
///
/// # Errors
///
/// The body is not compressed in that way, or decompresses to more than the limits allow. Memory is
/// taken only up to the limits.
pub(crate) fn decode(
    body: &[u8],
    encoding: BodyEncoding,
    limits: BodyLimits,
) -> Result<Cow<'_, [u8]>, DecodeError> {
    let decoded = match encoding {
        BodyEncoding::Identity => return Ok(Cow::Borrowed(body)),
        BodyEncoding::Gzip => {
            check_gzip_header(body)?;
            read_all(
                flate2::bufread::MultiGzDecoder::new(body),
                body,
                limits,
                gzip_error,
            )
        }
        BodyEncoding::Snappy => read_all(
            snap::read::FrameDecoder::new(body),
            body,
            limits,
            |error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF",
                _ => "snappy: corrupt input",
            },
        ),
    };
    decoded.map(Cow::Owned)
}

/// Checks the first bytes of a body that says it is compressed by gzip: what the reference does as
/// soon as it looks at such a body.
///
/// # Errors
///
/// They are not the beginning of a gzip member.
pub(crate) fn check_gzip_header(body: &[u8]) -> Result<(), DecodeError> {
    match body {
        [] => Err(DecodeError::Corrupt("EOF")),
        _ if body.len() < 10 => Err(DecodeError::Corrupt("unexpected EOF")),
        [0x1f, 0x8b, 8, ..] => Ok(()),
        _ => Err(DecodeError::Corrupt("gzip: invalid header")),
    }
}

/// The reference's text for an error in a gzip body.
fn gzip_error(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => "unexpected EOF",
        std::io::ErrorKind::InvalidInput if error.to_string().contains("header") => {
            "gzip: invalid header"
        }
        std::io::ErrorKind::InvalidInput if error.to_string().contains("checksum") => {
            "gzip: invalid checksum"
        }
        _ => "flate: corrupt input",
    }
}

/// A body may always decompress to this many bytes, whatever its ratio.
const RATIO_FREE_BYTES: u64 = 1 << 20;

/// Reads all that `decoder` makes of `body`, within the limits; `corrupt` names its errors.
fn read_all(
    decoder: impl Read,
    body: &[u8],
    limits: BodyLimits,
    corrupt: impl Fn(&std::io::Error) -> &'static str,
) -> Result<Vec<u8>, DecodeError> {
    let by_ratio = (body.len() as u64)
        .saturating_mul(limits.decoded_ratio_max)
        .max(RATIO_FREE_BYTES);
    let bytes_max = limits.decoded_bytes_max.min(by_ratio);
    let mut decoded = Vec::with_capacity(body.len().saturating_mul(4).min(1 << 20));
    // One byte more than allowed, to see that there is more.
    let taken = bytes_max.saturating_add(1);
    decoder
        .take(taken)
        .read_to_end(&mut decoded)
        .map_err(|error| DecodeError::Corrupt(corrupt(&error)))?;
    match decoded.len() as u64 > bytes_max {
        false => Ok(decoded),
        true if bytes_max == limits.decoded_bytes_max => Err(DecodeError::TooLarge { bytes_max }),
        true => Err(DecodeError::RatioTooLarge {
            ratio_max: limits.decoded_ratio_max,
        }),
    }
}

/// The text in a body that was sent as a URL-encoded form, as `curl --data-urlencode` sends it. None
/// if the body is not such a form.
///
/// ```text
/// form  = field { "&" field }        each field is a line or several; a missing newline is added
/// field = [ name "=" ] value         both are parts of the text, with the "=" between them
/// value = one byte or more of A–Z a–z 0–9 - . _ ~ * + %, where "+" stands for a space and %XX for
///         any byte; at least one blank is among what the value stands for
/// name  = the same, but without the blank; or any text, which then stands for itself
/// ```
///
/// curl takes what comes before the first `=` for the name of a field and sends the name as it is:
/// `m{l="v"} 1` becomes `m{l=%22v%22%7D%201`. The text format has a blank between the labels and the
/// value of every sample, so a body without an encoded blank is not a form.
pub(crate) fn decode_urlencoded_form(body: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(body.len() + 1);
    for field in body.split(|&byte| byte == b'&') {
        let value = match memchr::memchr(b'=', field) {
            Some(end) => {
                let (name, value) = (&field[..end], &field[end + 1..]);
                if is_urlencoded(name) {
                    urldecode(name, &mut text);
                } else {
                    text.extend_from_slice(name);
                }
                text.push(b'=');
                value
            }
            None => field,
        };
        let start = text.len();
        if !is_urlencoded(value) {
            return None;
        }
        urldecode(value, &mut text);
        if !text[start..].iter().any(|byte| b" \t".contains(byte)) {
            return None;
        }
        if text.last() != Some(&b'\n') {
            text.push(b'\n');
        }
    }
    Some(text)
}

fn is_urlencoded(bytes: &[u8]) -> bool {
    let is_encoded = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~*+%".contains(&byte);
    bytes.iter().all(|&byte| is_encoded(byte))
}

fn urldecode(bytes: &[u8], text: &mut Vec<u8>) {
    let with_space = |&byte: &u8| if byte == b'+' { b' ' } else { byte };
    let spaced: Vec<u8> = bytes.iter().map(with_space).collect();
    text.extend(percent_encoding::percent_decode(&spaced));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LIMITS: BodyLimits = BodyLimits {
        body_bytes_max: 1 << 20,
        decoded_bytes_max: 1 << 21,
        decoded_ratio_max: 200,
    };

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decoded(body: &[u8], encoding: BodyEncoding) -> Result<Cow<'_, [u8]>, String> {
        decode(body, encoding, LIMITS).map_err(|error| error.to_string())
    }

    #[test]
    fn gzip_is_decompressed_and_its_errors_are_named_as_by_the_reference() {
        let body = gzip(b"x 1\n");
        assert_eq!(decoded(&body, BodyEncoding::Gzip), Ok(b"x 1\n"[..].into()));
        assert_eq!(
            decoded(&[body.clone(), body.clone()].concat(), BodyEncoding::Gzip),
            Ok(b"x 1\nx 1\n"[..].into())
        );
        let check = |body: &[u8], text: &str| {
            assert_eq!(decoded(body, BodyEncoding::Gzip), Err(text.to_owned()))
        };
        check(b"", "EOF");
        check(b"x 1\n", "unexpected EOF");
        check(b"# TYPE x gauge\n", "gzip: invalid header");
        check(&body[..body.len() - 9], "unexpected EOF");
        let mut bad = body.clone();
        let place = bad.len() - 8;
        bad[place] ^= 1;
        check(&bad, "gzip: invalid checksum");
        bad = body;
        bad[10] = 0xff;
        check(&bad, "flate: corrupt input");
    }

    #[test]
    fn snappy_bodies_are_in_the_framing_format() {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(b"x 1\n").unwrap();
        let body = encoder.into_inner().unwrap();
        assert_eq!(
            decoded(&body, BodyEncoding::Snappy),
            Ok(b"x 1\n"[..].into())
        );
        let raw = snap::raw::Encoder::new().compress_vec(b"x 1\n").unwrap();
        assert!(decoded(&raw, BodyEncoding::Snappy).is_err());
    }

    #[test]
    fn a_body_that_decompresses_to_too_much_is_refused() {
        const RATIO: Option<&str> = Some("times its size, which is the limit above 1 MiB");
        const SIZE: Option<&str> = Some("bytes, which is the limit");
        let check = |len: usize, limits: BodyLimits, end: Option<&str>| {
            let body = gzip(&vec![b'x'; len]);
            let error = decode(&body, BodyEncoding::Gzip, limits)
                .err()
                .map(|error| error.to_string());
            let ends_with = |end: &str| error.as_ref().is_some_and(|error| error.ends_with(end));
            assert!(end.map_or(error.is_none(), ends_with), "{error:?}");
        };
        // A run of one letter shrinks to about a thousandth of its size.
        check(1 << 20, LIMITS, None);
        check((1 << 20) + 1, LIMITS, RATIO);
        check(3 << 20, LIMITS, RATIO);
        check(
            3 << 20,
            BodyLimits {
                decoded_ratio_max: 2000,
                ..LIMITS
            },
            SIZE,
        );
        check(
            2 << 20,
            BodyLimits {
                decoded_ratio_max: 2000,
                ..LIMITS
            },
            None,
        );
        check(
            1 << 20,
            BodyLimits {
                decoded_bytes_max: 1000,
                ..LIMITS
            },
            SIZE,
        );
    }

    #[test]
    fn a_urlencoded_form_is_decoded_if_it_looks_like_one() {
        for (body, expected) in [
            ("nightly_success+1", Some("nightly_success 1\n")),
            ("x%7Ba%3D%22b%22%7D+1%0A", Some("x{a=\"b\"} 1\n")),
            // What curl sends of `m{l="v"} 1`, of `m{l="v",k="w x"} 1` and of two lines.
            ("m{l=%22v%22%7D%201", Some("m{l=\"v\"} 1\n")),
            (
                "m{l=%22v%22%2Ck%3D%22w%20x%22%7D%201",
                Some("m{l=\"v\",k=\"w x\"} 1\n"),
            ),
            ("a 1\nm{l=%22v%22%7D%202%0A", Some("a 1\nm{l=\"v\"} 2\n")),
            ("{\"a.b\",l=%22v%22%7D%201", Some("{\"a.b\",l=\"v\"} 1\n")),
            // The name is encoded, too; several fields.
            ("m%7Bl=%22v%22%7D+1", Some("m{l=\"v\"} 1\n")),
            ("a+1&m{l=%22v%22%7D+2", Some("a 1\nm{l=\"v\"} 2\n")),
            ("", None),
            ("x=1", None),
            ("x%3D1", None),
            ("a+1&", None),
            ("m{l=\"v\"}+1", None),
            // The text format, with an error somewhere.
            ("m{l=\"v\"} 1", None),
            ("a 1\n# HELP a b=c", None),
        ] {
            let decoded = decode_urlencoded_form(body.as_bytes());
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{body}");
        }
    }

    #[test]
    fn a_body_is_large_by_the_size_that_is_expected_after_decompressing() {
        let of = |encoding| BodyType {
            format: BodyFormat::Text,
            encoding,
        };
        let (text, gzip) = (of(BodyEncoding::Identity), of(BodyEncoding::Gzip));
        assert!(text.is_large(LARGE_BODY_BYTES) && !text.is_large(LARGE_BODY_BYTES - 1));
        assert!(gzip.is_large(LARGE_BODY_BYTES / 8) && !gzip.is_large(LARGE_BODY_BYTES / 8 - 1));
    }
}
