//! Reads the series of a sample: the metric name and the labels.
//!
//! ```text
//! series = name [ "{" labels "}" ]
//!        | "{" labels "}"                   exactly one of the labels is a name without a value: the metric's
//! labels = [ label { "," label } [ "," ] ]  blanks are allowed between all tokens
//! label  = name "=" quote value quote
//! ```
//!
//! The label `quantile` of a summary and the label `le` of a histogram are not kept as labels.
//! Their values are numbers: the rank of a quantile, the upper bound of a bucket.

use super::error::ParseError;
use super::family_index::FamilyIndex;
use super::float::parse_float;
use super::line_records::LabelTokens;
use super::scanner::{NameKind, Scanner};
use super::token::Token;
use crate::exposition::go_quote::{quote, quote_byte};
use crate::exposition::limits::{ParseLimits, TooManyLabels};
use crate::model::{MetricType, NameScheme, is_legacy_label_name};
use ahash::AHashSet;

/// Label names of one sample are compared with each other up to this number, and looked up in a set
/// from there on: a line with a hundred thousand labels must not take quadratic time.
const COMPARED_NAMES_MAX: usize = 16;

/// A scanner that knows the families and labels that it has read.
pub(super) struct SeriesReader<'a> {
    pub(super) scanner: Scanner<'a>,
    pub(super) families: FamilyIndex<'a>,
    /// The labels of all samples, one sample after the other.
    pub(super) labels: Vec<LabelTokens>,
    names: NameScheme,
    limits: ParseLimits,
}

impl<'a> SeriesReader<'a> {
    /// A reader in front of the first line of `body`.
    ///
    /// # Errors
    ///
    /// If the body is too long.
    pub(super) fn new(
        body: &'a [u8],
        names: NameScheme,
        limits: ParseLimits,
    ) -> Result<Self, ParseError> {
        Ok(Self {
            scanner: Scanner::new(body)?,
            families: FamilyIndex::new(body.len() / 128, names, limits),
            labels: Vec::with_capacity(body.len() / 64),
            names,
            limits,
        })
    }

    /// Reads a series that begins with its metric name. Returns the bound: the rank of a quantile
    /// or the upper bound of a bucket, NaN if there is none.
    #[inline]
    pub(super) fn series(&mut self) -> Result<f64, ParseError> {
        let name = self.scanner.name(NameKind::Metric)?;
        if name.is_empty() {
            return self.scanner.error("invalid metric name");
        }
        self.set_sample_name(name)?;
        self.scanner.skip_blanks();
        let mut bound = f64::NAN;
        if self.scanner.peek()? == b'{' {
            self.scanner.skip_byte();
            bound = self.labels(false)?;
            self.scanner.skip_blanks();
        }
        Ok(bound)
    }

    /// Reads a series that has its metric name in braces. The opening brace was read. Returns the
    /// bound as [`SeriesReader::series`] does.
    #[inline]
    pub(super) fn series_in_braces(&mut self) -> Result<f64, ParseError> {
        let bound = self.labels(true)?;
        self.scanner.skip_blanks();
        Ok(bound)
    }

    /// Makes the family of a sample's name the current one. A family that has a sample has a type.
    #[inline]
    fn set_sample_name(&mut self, name: Token) -> Result<(), ParseError> {
        self.families.set_current(name, &self.scanner)?;
        self.families
            .current_header()
            .metric_type
            .get_or_insert(MetricType::Untyped);
        Ok(())
    }

    /// Reads labels up to the closing brace, with the metric's name among them if
    /// `is_name_in_braces`. Returns the bound.
    fn labels(&mut self, is_name_in_braces: bool) -> Result<f64, ParseError> {
        let first = self.labels.len();
        let mut known_names = None;
        let mut bound = f64::NAN;
        let mut has_name = !is_name_in_braces;
        loop {
            self.scanner.skip_blanks();
            if self.scanner.peek()? == b'}' {
                break;
            }
            let name = self.scanner.name(NameKind::Label)?;
            if name.is_empty() {
                let family = if has_name {
                    self.families.quoted_current(&self.scanner)
                } else {
                    quote(b"")
                };
                return self
                    .scanner
                    .error(format!("invalid label name for metric {family}"));
            }
            self.scanner.skip_blanks();
            match self.scanner.peek()? {
                b'=' => self.scanner.skip_byte(),
                next => {
                    self.check_name_in_braces(is_name_in_braces, has_name, next)?;
                    self.set_sample_name(name)?;
                    has_name = true;
                    if next == b'}' {
                        break;
                    }
                    self.scanner.skip_byte();
                    continue;
                }
            }
            let is_bound = self.check_label_name(name, first, &mut known_names)?;
            self.scanner.skip_blanks();
            let quote = self.scanner.peek()?;
            if quote != b'"' {
                return self.scanner.error(format!(
                    "expected '\"' at start of label value, found {}",
                    quote_byte(quote)
                ));
            }
            self.scanner.skip_byte();
            let value = self.scanner.label_value()?;
            if is_bound {
                bound = self.bound(name, value)?;
            } else {
                self.push_label(name, value, first)?;
            }
            self.scanner.skip_blanks();
            match self.scanner.peek()? {
                b',' => self.scanner.skip_byte(),
                b'}' => break,
                _ => {
                    return self.scanner.error(format!(
                        "unexpected end of label value {}",
                        self.scanner.text().quoted(value)
                    ));
                }
            }
        }
        if !has_name {
            return self.scanner.error("invalid metric name");
        }
        self.scanner.skip_byte();
        Ok(bound)
    }

    /// Checks that a name in braces that is not followed by `=` may be the name of the metric.
    /// `next` is the byte after the name.
    fn check_name_in_braces(
        &self,
        is_name_in_braces: bool,
        has_name: bool,
        next: u8,
    ) -> Result<(), ParseError> {
        if !is_name_in_braces {
            return self.scanner.error(format!(
                "expected '=' after label name, found {}",
                quote_byte(next)
            ));
        }
        if has_name {
            return self.scanner.error(format!(
                "multiple metric names for metric {}",
                self.families.quoted_current(&self.scanner)
            ));
        }
        if !matches!(next, b',' | b'}') {
            return self.scanner.error(format!(
                "unexpected end of metric name {}",
                quote_byte(next)
            ));
        }
        Ok(())
    }

    /// Checks a label's name. Returns whether the label is the rank of a quantile or the bound of a
    /// bucket. `first` is the index of the sample's first label; `known_names` keeps the names of a
    /// sample that has many labels, from call to call.
    #[inline]
    fn check_label_name(
        &self,
        name: Token,
        first: usize,
        known_names: &mut Option<AHashSet<Box<[u8]>>>,
    ) -> Result<bool, ParseError> {
        let text = self.scanner.text();
        let bytes = text.bytes(name);
        if bytes == b"__name__" {
            return self.scanner.error("label name \"__name__\" is reserved");
        }
        // The scanner lets only legacy characters into names that it did not unescape.
        if name.is_unescaped() {
            let is_valid = match self.names {
                NameScheme::Legacy => text.str(name).is_some_and(is_legacy_label_name),
                NameScheme::Utf8 => text.str(name).is_some(),
            };
            if !is_valid {
                return self
                    .scanner
                    .error(format!("invalid label name {}", quote(bytes)));
            }
        }
        let is_bound = match self.families.current_type() {
            Some(MetricType::Summary) => bytes == b"quantile",
            Some(MetricType::Histogram | MetricType::GaugeHistogram) => bytes == b"le",
            _ => false,
        };
        if is_bound {
            return Ok(true);
        }
        let before = &self.labels[first..];
        let is_repeated = if before.len() < COMPARED_NAMES_MAX {
            before.iter().any(|label| text.bytes(label.name) == bytes)
        } else {
            let names_before = || {
                before
                    .iter()
                    .map(|label| text.bytes(label.name).into())
                    .collect()
            };
            !known_names
                .get_or_insert_with(names_before)
                .insert(bytes.into())
        };
        if is_repeated {
            return self.scanner.error(format!(
                "duplicate label names for metric {}",
                self.families.quoted_current(&self.scanner)
            ));
        }
        Ok(false)
    }

    /// The number that the value of a `quantile` or `le` label spells.
    fn bound(&self, name: Token, value: Token) -> Result<f64, ParseError> {
        let text = self.scanner.text();
        match parse_float(text.bytes(value)) {
            Some(bound) => Ok(bound),
            None => self.scanner.error(format!(
                "expected float as value for '{}' label, got {}",
                String::from_utf8_lossy(text.bytes(name)),
                text.quoted(value)
            )),
        }
    }

    /// Keeps a label of the sample whose first label has the index `first`.
    #[inline]
    fn push_label(&mut self, name: Token, value: Token, first: usize) -> Result<(), ParseError> {
        let text = self.scanner.text();
        if text.str(value).is_none() {
            return self
                .scanner
                .error(format!("invalid label value {}", text.quoted(value)));
        }
        let labels_max = self.limits.labels_max;
        if self.labels.len() - first >= labels_max {
            return Err(ParseError::TooManyLabels {
                line: self.scanner.line(),
                too_many: TooManyLabels { labels_max },
            });
        }
        self.labels.push(LabelTokens { name, value });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse::parse;
    use super::super::testing::{check, check_with, show};
    use crate::model::NameScheme;

    #[test]
    fn names_may_be_quoted_and_contain_any_utf8_if_the_scheme_allows_utf8() {
        check(
            "{\"x\"} 1\n{a=\"1\",\"x\"} 2\n{x,b=\"3\",} 3\n",
            Ok("x untyped {} 1 {a=1} 2 {b=3} 3"),
        );
        check("\"x\" 1\nx{\"a\"=\"b\"} 2\n", Ok("x untyped {} 1 {a=b} 2"));
        check("{\"x.y\"} 1\n", Err("1: invalid metric name \"x.y\""));
        check("x{\"l m\"=\"v\"} 1\n", Err("1: invalid label name \"l m\""));
        check(
            "{\"x\",\"y\"} 1\n",
            Err("1: multiple metric names for metric \"x\""),
        );
        check(
            "{\"x\"a=\"b\"} 1\n",
            Err("1: unexpected end of metric name 'a'"),
        );
        check(
            "{\"x\ny\"} 1\n",
            Err("1: label name \"x\" contains unescaped new-line"),
        );
        check_with(
            "# TYPE \"x.y\" gauge\n{\"x.y\",\"ü\"=\"v\"} 1\n",
            NameScheme::Utf8,
            Ok("x.y gauge {ü=v} 1"),
        );
        check_with(
            "{\"x\\\"\\\\\\n\"} 1\n",
            NameScheme::Utf8,
            Ok("x\"\\\n untyped {} 1"),
        );
        check_with(
            "{\"\"} 1\n",
            NameScheme::Utf8,
            Err("1: invalid label name for metric \"\""),
        );
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_in_names_and_labels_and_replaced_in_help() {
        let parse = |body: &[u8]| {
            parse(body, NameScheme::Utf8)
                .map(|families| show(&families))
                .map_err(|error| error.to_string())
        };
        let error = |message: &str| Err(format!("text format parsing error in line 1: {message}"));
        assert_eq!(
            parse(b"x{a=\"\xff\"} 1\n"),
            error("invalid label value \"\\xff\"")
        );
        assert_eq!(
            parse(b"{\"x\xff\"} 1\n"),
            error("invalid metric name \"x\\xff\"")
        );
        assert_eq!(
            parse(b"# HELP x a\xffb\nx{a=\"\xc3\xbc\"} 1\n"),
            Ok("x untyped \"a\u{fffd}b\" {a=ü} 1".to_owned())
        );
    }

    #[test]
    fn a_repeated_name_is_found_among_a_thousand_labels() {
        let labels: Vec<String> = (0..1000).map(|i| format!("l{i}=\"v\"")).collect();
        assert!(
            parse(
                format!("x{{{}}} 1\n", labels.join(",")).as_bytes(),
                NameScheme::Legacy
            )
            .is_ok()
        );
        check(
            &format!("x{{{},l7=\"w\"}} 1\n", labels.join(",")),
            Err("1: duplicate label names for metric \"x\""),
        );
    }
}
