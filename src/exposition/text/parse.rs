//! Parses a body in the text format 0.0.4, with quoted names. Accepts and refuses what the
//! reference accepts and refuses, with the same error texts.
//!
//! ```text
//! body     = { line newline }                 the last line, too, ends with a newline, unless it is empty
//! line     = "" | comment | sample            blanks (space, tab) may come first
//! comment  = "#" any bytes                    skipped, unless it is one of the following two:
//!          | "#" "HELP" name help             once a family
//!          | "#" "TYPE" name type             once a family, before its samples; any case of letters
//! sample   = series value [ timestamp ]
//! series   = name [ "{" labels "}" ]
//!          | "{" labels "}"                   one of the labels is a name without a value: the metric's
//! labels   = [ label { "," label } [ "," ] ]
//! label    = name "=" quote value quote
//! ```
//!
//! Samples whose names end with `_count`, `_sum` or `_bucket` belong to the summary or histogram
//! whose TYPE line came before. The value of such a family's `quantile` or `le` label is a number,
//! not a label value. A family without samples is dropped.
//!
//! A body is parsed in two steps. *Reading* (`scanner`, `series`, `lines`) turns it into flat lists
//! of family headers, samples and labels (`line_records`). *Building* (`build`) makes families from
//! the lists, because a body may go back to a family that it has left. The cost is linear in the
//! length of the body.

use super::build::build;
use super::error::ParseError;
use super::lines::read_lines;
use crate::exposition::limits::ParseLimits;
use crate::model::{BodyForm, Families, NameScheme};

/// Parses a body whose sender is trusted not to send too much: there are no limits.
///
/// # Errors
///
/// The first line that does not follow the grammar.
///
/// # Examples
///
/// ```
/// use pushgateway::exposition::text;
/// use pushgateway::model::{MetricType, NameScheme};
///
/// let body = b"# TYPE rows gauge\nrows{table=\"users\"} 42\n";
/// let families = text::parse(body, NameScheme::Legacy)?;
/// let family = families.skeleton.family(0);
/// assert_eq!((family.name(), family.metric_type()), ("rows", MetricType::Gauge));
/// let metric = family.metrics().next().expect("one line");
/// assert_eq!(metric.labels().collect::<Vec<_>>(), [("table", "users")]);
/// assert_eq!(families.values_of(metric), [42f64.to_bits()]);
///
/// let error = text::parse(b"rows many\n", NameScheme::Legacy).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "text format parsing error in line 1: expected float as value, got \"many\""
/// );
/// # Ok::<(), text::ParseError>(())
/// ```
pub fn parse(body: &[u8], names: NameScheme) -> Result<Families, ParseError> {
    parse_within(body, names, ParseLimits::NONE)
}

/// Parses a pushed body within limits.
///
/// # Errors
///
/// The first line that does not follow the grammar or that exceeds `limits`.
pub(crate) fn parse_within(
    body: &[u8],
    names: NameScheme,
    limits: ParseLimits,
) -> Result<Families, ParseError> {
    let lines = read_lines(body, names, limits)?;
    let (families, _) = build(&lines)?;
    Ok(families)
}

/// Parses a pushed body within limits and keeps the form of the body, so that the next body can be
/// read with [`parse_along`](super::parse_along). A body whose numbers have no fixed place each has
/// no form: a body with timestamps, for example.
///
/// # Errors
///
/// The first line that does not follow the grammar or that exceeds `limits`.
pub fn parse_with_form(
    body: &[u8],
    names: NameScheme,
    limits: ParseLimits,
) -> Result<Families, ParseError> {
    let lines = read_lines(body, names, limits)?;
    let (mut families, places) = build(&lines)?;
    if !lines.has_timestamp && places.iter().all(Option::is_some) {
        let numbers = lines
            .samples
            .iter()
            .zip(places.into_iter().flatten())
            .map(|(sample, place)| (sample.number.range(), place.value, place.kind));
        families.form = BodyForm::new(body, &families.skeleton, numbers).map(Box::new);
    }
    Ok(families)
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::*;

    #[test]
    fn samples_are_parsed() {
        check("x 1\n", Ok("x untyped {} 1"));
        check("x{} 1\n", Ok("x untyped {} 1"));
        check(
            " \tx { b = \"1\" ,a=\"2\", }\t1e3\n",
            Ok("x untyped {a=2,b=1} 1000"),
        );
        check("x{a=\"b\"}1\n", Ok("x untyped {a=b} 1"));
        check(
            "x{a=\"q\\\"b\\\\n\\n\"} 1\n",
            Ok("x untyped {a=q\"b\\n\n} 1"),
        );
        check(
            "x 1\ny 2\nx{a=\"1\"} 3\n",
            Ok("x untyped {} 1 {a=1} 3; y untyped {} 2"),
        );
        check("", Ok(""));
        check("\n\n# \n#\n#x y\n  ", Ok(""));
    }

    #[test]
    fn reading_stops_at_the_limits() {
        let limits = ParseLimits {
            series_max: 3,
            labels_max: 2,
        };
        let check = |body: &str, expected: Result<(), &str>| {
            let shown = parse_within(body.as_bytes(), NameScheme::Legacy, limits)
                .map(|_| ())
                .map_err(|error| error.to_string());
            assert_eq!(
                shown.as_ref().copied().map_err(String::as_str),
                expected,
                "{body}"
            );
        };
        let too_many = Err("the push has more than 3 series or families, which is the limit");
        check("a 1\na 2\nb 3\n", Ok(()));
        // Nothing after the limit is read: the last line would be an error in the grammar.
        check("a 1\na 2\nb 3\nb 4\n-", too_many);
        check(
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"2\"} 1\nh_sum 1\nh_count 1\n",
            too_many,
        );
        check("# HELP a t\n# HELP b t\n# HELP c t\n", Ok(()));
        check("# HELP a t\n# HELP b t\n# HELP c t\n# HELP d t\n", too_many);
        check(
            "x{a=\"1\",b=\"1\"} 1\n# TYPE h histogram\nh_bucket{a=\"1\",b=\"1\",le=\"1\"} 1\n",
            Ok(()),
        );
        let labels = "a metric has more than 2 labels, which is the limit";
        check(
            "x 1\nx{a=\"1\",b=\"1\",c=\"1\"} 1\n",
            Err(&format!("text format parsing error in line 2: {labels}")),
        );
    }

    #[test]
    fn random_bodies_do_not_panic() {
        let seeds = [
            "# HELP x a\\nb\n# TYPE x summary\nx{a=\"b\",quantile=\"0.5\"} 1\nx_sum 2 3\n{\"y\",\"z\"=\"\\\"\"} 1\n",
        ];
        let alphabet = b"#{}\"\\\n\t =,x_:1.eHELPTYPE\xff\xc3";
        let mut random = fastrand::Rng::with_seed(7);
        let mut n_parsed = 0;
        for _ in 0..200_000 {
            let mut body = seeds[0].as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(..body.len());
                match random.u8(..3) {
                    0 => body[at] = alphabet[random.usize(..alphabet.len())],
                    1 => body.truncate(at.max(1)),
                    _ => body.insert(at, alphabet[random.usize(..alphabet.len())]),
                }
            }
            n_parsed += usize::from(parse(&body, NameScheme::Utf8).is_ok());
        }
        assert!(
            n_parsed > 1000,
            "too few of the random bodies are valid: {n_parsed}"
        );
    }
}
