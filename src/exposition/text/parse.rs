//! The text format 0.0.4, with quoted names, as the reference takes and refuses it.
//!
//! ```text
//! body     = { line "\n" }                      the last newline must be there; blanks (space, tab) may precede a line
//! line     = "" | comment | sample
//! comment  = "#" …                              HELP and TYPE are taken, everything else is passed over
//!          | "#" "HELP" name text               once a family; "\\", "\n" and "\"" are unescaped
//!          | "#" "TYPE" name type               once a family, before its samples; any case of letters
//! sample   = name [ "{" labels "}" ] value [ time stamp ]
//!          | "{" labels "}" value [ time stamp ]    one of the labels is a name without value: that of the metric
//! labels   = [ label { "," label } [ "," ] ]
//! label    = name "=" "\"" value "\""           "\\", "\n" and "\"" are unescaped
//! ```
//!
//! `_count`, `_sum` and `_bucket` of a summary or histogram whose TYPE came before belong to it;
//! its `quantile` or `le` is a number and not a label. A family without samples is dropped.
//!
//! The parser keeps flat lists of samples and labels, spans of the body, and builds the families
//! from them at the end, because a body may go back to a family it has left. Cost: linear in the
//! body.

use super::float::parse_float;
use crate::exposition::go_quote::{quote, quote_byte};
use crate::exposition::{ParseLimits, TooManyLabels, TooManySeries};
use crate::model::{
    BodyForm, Families, FamiliesBuilder, Invalid, MetricFlags, MetricType, NameScheme, NumberKind,
    is_legacy_label_name, is_legacy_metric_name,
};
use ahash::{AHashMap, AHashSet};
use smallvec::SmallVec;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// Why a body is not taken for the text format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// A line is not in the format.
    Line {
        /// Which one, from 1.
        line: u32,
        /// What is wrong, in the reference's words.
        message: String,
    },
    /// A line has more labels than a metric may have.
    TooManyLabels {
        /// The line's number, counted from 1.
        line: u32,
        /// The limit.
        too_many: TooManyLabels,
    },
    /// There is more than a push may hold.
    TooManySeries(TooManySeries),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { line, message } => {
                write!(f, "text format parsing error in line {line}: {message}")
            }
            Self::TooManyLabels { line, too_many } => {
                write!(f, "text format parsing error in line {line}: {too_many}")
            }
            Self::TooManySeries(too_many) => too_many.fmt(f),
        }
    }
}

impl std::error::Error for ParseError {}

/// Parses a body from somebody who is trusted not to send too much.
///
/// # Errors
///
/// The first line that is not in the format.
pub fn parse(body: &[u8], names: NameScheme) -> Result<Families, ParseError> {
    parse_within(body, names, ParseLimits::NONE)
}

/// Parses a pushed body.
///
/// # Errors
///
/// The first line that is not in the format, or with which there is more than `limits` allow.
pub fn parse_within(
    body: &[u8],
    names: NameScheme,
    limits: ParseLimits,
) -> Result<Families, ParseError> {
    let mut parser = Parser::new(body, names, limits);
    parser.lines()?;
    Ok(parser.build()?.0)
}

/// Parses a pushed body and keeps its form, if it has one, for [`parse_along`](super::parse_along).
///
/// # Errors
///
/// The first line that is not in the format, or with which there is more than `limits` allow.
pub fn parse_with_form(
    body: &[u8],
    names: NameScheme,
    limits: ParseLimits,
) -> Result<Families, ParseError> {
    let mut parser = Parser::new(body, names, limits);
    parser.lines()?;
    let numbers: Vec<Range<usize>> = parser
        .samples
        .iter()
        .map(|sample| parser.range(sample.number))
        .collect();
    let has_timestamp = parser.has_timestamp;
    let (mut families, places) = parser.build()?;
    let places: Option<Vec<(u32, NumberKind)>> = places.into_iter().collect();
    if let Some(places) = places.filter(|_| !has_timestamp) {
        let numbers = numbers
            .into_iter()
            .zip(places)
            .map(|(range, (value, kind))| (range, value, kind));
        families.form = BodyForm::new(body, &families.skeleton, numbers).map(Box::new);
    }
    Ok(families)
}

/// A stretch of the body, or of what was unescaped.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
}

const UNESCAPED: u32 = 1 << 31;

struct FamilyState {
    name: Span,
    help: Option<Span>,
    metric_type: Option<MetricType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Whole,
    Count,
    Sum,
}

#[derive(Clone, Copy)]
struct Sample {
    family: u32,
    labels_end: u32,
    part: Part,
    /// Of a quantile or bucket; NaN for none.
    bound: f64,
    value: f64,
    /// Where the value stands.
    number: Span,
}

/// Which of the values a sample became, and what it has to be there; none for a sample that another
/// one replaces, or whose place depends on its value.
type Place = Option<(u32, NumberKind)>;

#[derive(Clone, Copy)]
struct Label {
    name: Span,
    value: Span,
}

struct Parser<'a> {
    body: &'a [u8],
    /// The body, if it is UTF-8 throughout: then no part of it has to be looked at again.
    text: Option<&'a str>,
    at: usize,
    line: u32,
    names: NameScheme,
    limits: ParseLimits,
    unescaped: Vec<u8>,
    families: Vec<FamilyState>,
    by_name: AHashMap<Cow<'a, [u8]>, u32>,
    samples: Vec<Sample>,
    labels: Vec<Label>,
    /// The family of the last name, which part of it that was, and the name.
    current: Option<(u32, Part, Span)>,
    has_timestamp: bool,
}

type Parsed<T> = Result<T, ParseError>;

/// Names and values of a metric's labels, sorted.
type SortedLabels<'a> = SmallVec<[(&'a [u8], &'a [u8]); 4]>;

impl<'a> Parser<'a> {
    fn new(body: &'a [u8], names: NameScheme, limits: ParseLimits) -> Self {
        Self {
            body,
            text: std::str::from_utf8(body).ok(),
            at: 0,
            line: 0,
            names,
            limits,
            unescaped: Vec::new(),
            families: Vec::with_capacity(body.len() / 128),
            by_name: AHashMap::with_capacity(body.len() / 128),
            samples: Vec::with_capacity(body.len() / 64),
            labels: Vec::with_capacity(body.len() / 64),
            current: None,
            has_timestamp: false,
        }
    }

    fn error<T>(&self, message: impl Into<String>) -> Parsed<T> {
        Err(ParseError::Line {
            line: self.line,
            message: message.into(),
        })
    }

    /// Whether one more may come where there are `n` samples or families.
    fn check_series(&self, n: usize) -> Parsed<()> {
        let series_max = self.limits.series_max;
        if n < series_max {
            Ok(())
        } else {
            Err(ParseError::TooManySeries(TooManySeries { series_max }))
        }
    }

    /// The byte at the reading position.
    fn peek(&self) -> Parsed<u8> {
        match self.body.get(self.at) {
            Some(&byte) => Ok(byte),
            None => self.error("unexpected end of input stream"),
        }
    }

    fn range(&self, span: Span) -> Range<usize> {
        let start = (span.start & !UNESCAPED) as usize;
        start..start + span.len as usize
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let range = self.range(span);
        if span.start & UNESCAPED == 0 {
            &self.body[range]
        } else {
            &self.unescaped[range]
        }
    }

    fn str(&self, span: Span) -> Option<&str> {
        match self.text {
            Some(text) if span.start & UNESCAPED == 0 => {
                Some(&text[span.start as usize..(span.start + span.len) as usize])
            }
            _ => std::str::from_utf8(self.bytes(span)).ok(),
        }
    }

    fn span_from(&self, start: usize) -> Span {
        Span {
            start: index(start),
            len: index(self.at - start),
        }
    }

    fn unescaped_from(&self, start: usize) -> Span {
        Span {
            start: index(start) | UNESCAPED,
            len: index(self.unescaped.len() - start),
        }
    }

    fn quoted(&self, span: Span) -> String {
        quote(self.bytes(span))
    }

    fn quoted_family(&self) -> String {
        self.current.map_or_else(
            || quote(b""),
            |(family, ..)| self.quoted(self.families[family as usize].name),
        )
    }

    fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.body.get(self.at) {
            self.at += 1;
        }
    }

    fn lines(&mut self) -> Parsed<()> {
        if self.body.len() >= UNESCAPED as usize {
            self.line = 1;
            return self.error("a body of the text format must be below 2 GiB");
        }
        loop {
            self.line = self.line.saturating_add(1);
            self.skip_blanks();
            match self.body.get(self.at) {
                None => return Ok(()),
                Some(b'#') => self.comment()?,
                Some(b'\n') => self.at += 1,
                Some(b'{') => {
                    self.at += 1;
                    self.sample_in_braces()?;
                }
                Some(_) => self.sample()?,
            }
        }
    }

    fn comment(&mut self) -> Parsed<()> {
        self.at += 1;
        self.skip_blanks();
        let keyword = self.token()?;
        let is_help = match self.bytes(keyword) {
            b"HELP" => true,
            b"TYPE" => false,
            _ => return self.skip_line(),
        };
        self.skip_blanks();
        let name = self.name(METRIC_START, "metric")?;
        match self.peek()? {
            b'\n' => return self.skip_line(),
            b' ' | b'\t' => {}
            _ => return self.error("invalid metric name in comment"),
        }
        self.set_current(name)?;
        self.skip_blanks();
        if self.peek()? == b'\n' {
            return self.skip_line();
        }
        if is_help {
            self.help()
        } else {
            self.metric_type()
        }
    }

    fn skip_line(&mut self) -> Parsed<()> {
        match memchr::memchr(b'\n', &self.body[self.at..]) {
            Some(len) => {
                self.at += len + 1;
                Ok(())
            }
            None => {
                self.at = self.body.len();
                self.peek().map(|_| ())
            }
        }
    }

    fn current_family(&mut self) -> &mut FamilyState {
        let (family, ..) = self.current.expect("a name was read");
        &mut self.families[family as usize]
    }

    fn help(&mut self) -> Parsed<()> {
        if self.current_family().help.is_some() {
            let message = format!("second HELP line for metric name {}", self.quoted_family());
            return self.error(message);
        }
        let start = self.at;
        self.at +=
            memchr::memchr2(b'\n', b'\\', &self.body[start..]).unwrap_or(self.body.len() - start);
        let mut help = self.span_from(start);
        if self.peek()? == b'\\' {
            let from = self.unescaped.len();
            self.unescaped.extend_from_slice(&self.body[start..self.at]);
            loop {
                match self.peek()? {
                    b'\n' => break,
                    b'\\' => self.escape()?,
                    byte => self.unescaped.push(byte),
                }
                self.at += 1;
            }
            help = self.unescaped_from(from);
        }
        self.at += 1;
        self.current_family().help = Some(help);
        Ok(())
    }

    /// Reads the second byte of an escape sequence; leaves the position on it.
    fn escape(&mut self) -> Parsed<()> {
        self.at += 1;
        match self.peek()? {
            byte @ (b'\\' | b'"') => self.unescaped.push(byte),
            b'n' => self.unescaped.push(b'\n'),
            byte => return self.error(format!("invalid escape sequence '\\{}'", char::from(byte))),
        }
        Ok(())
    }

    fn metric_type(&mut self) -> Parsed<()> {
        if self.current_family().metric_type.is_some() {
            let name = self.quoted_family();
            return self.error(format!(
                "second TYPE line for metric name {name}, or TYPE reported after samples"
            ));
        }
        let start = self.at;
        self.at += memchr::memchr(b'\n', &self.body[start..]).unwrap_or(self.body.len() - start);
        self.peek()?;
        let spelled = without_backslashes(&self.body[start..self.at]);
        let metric_type = match spelled.to_ascii_uppercase().as_slice() {
            b"COUNTER" => MetricType::Counter,
            b"GAUGE" => MetricType::Gauge,
            b"SUMMARY" => MetricType::Summary,
            b"UNTYPED" => MetricType::Untyped,
            b"HISTOGRAM" => MetricType::Histogram,
            b"GAUGE_HISTOGRAM" | b"GAUGEHISTOGRAM" => MetricType::GaugeHistogram,
            _ => return self.error(format!("unknown metric type {}", quote(&spelled))),
        };
        self.at += 1;
        self.current_family().metric_type = Some(metric_type);
        Ok(())
    }

    fn sample(&mut self) -> Parsed<()> {
        let name = self.name(METRIC_START, "metric")?;
        if name.len == 0 {
            return self.error("invalid metric name");
        }
        self.set_current(name)?;
        self.current_family()
            .metric_type
            .get_or_insert(MetricType::Untyped);
        self.skip_blanks();
        let mut bound = f64::NAN;
        if self.peek()? == b'{' {
            self.at += 1;
            self.labels(false, &mut bound)?;
            self.skip_blanks();
        }
        self.value(bound)
    }

    fn sample_in_braces(&mut self) -> Parsed<()> {
        let mut bound = f64::NAN;
        self.labels(true, &mut bound)?;
        self.skip_blanks();
        self.value(bound)
    }

    /// Reads labels up to the closing brace. `in_braces`: the metric's name is among them.
    fn labels(&mut self, in_braces: bool, bound: &mut f64) -> Parsed<()> {
        let first = self.labels.len();
        let mut seen = None;
        let mut has_name = !in_braces;
        loop {
            self.skip_blanks();
            if self.peek()? == b'}' {
                break;
            }
            let name = self.name(LABEL_START, "label")?;
            if name.len == 0 {
                let family = if has_name {
                    self.quoted_family()
                } else {
                    quote(b"")
                };
                return self.error(format!("invalid label name for metric {family}"));
            }
            self.skip_blanks();
            match self.peek()? {
                b'=' => self.at += 1,
                byte if !in_braces => {
                    return self.error(format!(
                        "expected '=' after label name, found {}",
                        quote_byte(byte)
                    ));
                }
                _ if has_name => {
                    return self.error(format!(
                        "multiple metric names for metric {}",
                        self.quoted_family()
                    ));
                }
                byte @ (b',' | b'}') => {
                    self.set_current(name)?;
                    self.current_family()
                        .metric_type
                        .get_or_insert(MetricType::Untyped);
                    has_name = true;
                    if byte == b'}' {
                        break;
                    }
                    self.at += 1;
                    continue;
                }
                byte => {
                    return self.error(format!(
                        "unexpected end of metric name {}",
                        quote_byte(byte)
                    ));
                }
            }
            let is_special = self.check_label_name(name, first, &mut seen)?;
            self.skip_blanks();
            let byte = self.peek()?;
            if byte != b'"' {
                return self.error(format!(
                    "expected '\"' at start of label value, found {}",
                    quote_byte(byte)
                ));
            }
            self.at += 1;
            let value = self.label_value()?;
            if is_special {
                let Some(number) = parse_float(self.bytes(value)) else {
                    let name = String::from_utf8_lossy(self.bytes(name));
                    return self.error(format!(
                        "expected float as value for '{name}' label, got {}",
                        self.quoted(value)
                    ));
                };
                *bound = number;
            } else {
                if self.str(value).is_none() {
                    return self.error(format!("invalid label value {}", self.quoted(value)));
                }
                let labels_max = self.limits.labels_max;
                if self.labels.len() - first >= labels_max {
                    return Err(ParseError::TooManyLabels {
                        line: self.line,
                        too_many: TooManyLabels { labels_max },
                    });
                }
                self.labels.push(Label { name, value });
            }
            self.skip_blanks();
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => {
                    return self.error(format!(
                        "unexpected end of label value {}",
                        self.quoted(value)
                    ));
                }
            }
        }
        if !has_name {
            return self.error("invalid metric name");
        }
        self.at += 1;
        Ok(())
    }

    /// Checks a label's name; returns whether it is the rank of a quantile or the bound of a
    /// bucket.
    fn check_label_name(
        &self,
        name: Span,
        first: usize,
        seen: &mut Option<AHashSet<Box<[u8]>>>,
    ) -> Parsed<bool> {
        let bytes = self.bytes(name);
        if bytes == b"__name__" {
            return self.error("label name \"__name__\" is reserved");
        }
        // Only a name with quotes in it has been unescaped.
        if name.start & UNESCAPED != 0 {
            let is_valid = match self.names {
                NameScheme::Legacy => self.str(name).is_some_and(is_legacy_label_name),
                NameScheme::Utf8 => self.str(name).is_some(),
            };
            if !is_valid {
                return self.error(format!("invalid label name {}", quote(bytes)));
            }
        }
        let of = self
            .current
            .and_then(|(family, ..)| self.families[family as usize].metric_type);
        let is_special = match of {
            Some(MetricType::Summary) => bytes == b"quantile",
            Some(MetricType::Histogram | MetricType::GaugeHistogram) => bytes == b"le",
            _ => false,
        };
        if is_special {
            return Ok(true);
        }
        let before = &self.labels[first..];
        // A line with a hundred thousand labels must not take their square.
        let is_repeated = if before.len() < 16 {
            before.iter().any(|label| self.bytes(label.name) == bytes)
        } else {
            let known = || {
                before
                    .iter()
                    .map(|label| self.bytes(label.name).into())
                    .collect()
            };
            !seen.get_or_insert_with(known).insert(bytes.into())
        };
        if is_repeated {
            return self.error(format!(
                "duplicate label names for metric {}",
                self.quoted_family()
            ));
        }
        Ok(false)
    }

    /// Reads up to the closing quote, whose opening one was read.
    fn label_value(&mut self) -> Parsed<Span> {
        let start = self.at;
        self.at += memchr::memchr3(b'"', b'\\', b'\n', &self.body[start..])
            .unwrap_or(self.body.len() - start);
        let mut value = self.span_from(start);
        match self.peek()? {
            b'"' => {}
            b'\n' => {
                return self.error(format!(
                    "label value {} contains unescaped new-line",
                    self.quoted(value)
                ));
            }
            _ => {
                let from = self.unescaped.len();
                self.unescaped.extend_from_slice(&self.body[start..self.at]);
                loop {
                    match self.peek()? {
                        b'"' => break,
                        b'\n' => {
                            let value = self.unescaped_from(from);
                            return self.error(format!(
                                "label value {} contains unescaped new-line",
                                self.quoted(value)
                            ));
                        }
                        b'\\' => self.escape()?,
                        byte => self.unescaped.push(byte),
                    }
                    self.at += 1;
                }
                value = self.unescaped_from(from);
            }
        }
        self.at += 1;
        Ok(value)
    }

    /// Reads the value and what follows it.
    fn value(&mut self, bound: f64) -> Parsed<()> {
        let token = self.token()?;
        let Some(value) = parse_float(self.bytes(token)) else {
            return self.error(format!(
                "expected float as value, got {}",
                self.quoted(token)
            ));
        };
        let (family, part, _) = self.current.expect("a name was read");
        let is_histogram = self.families[family as usize]
            .metric_type
            .is_some_and(MetricType::is_histogram);
        if is_histogram
            && value < 0.0
            && (part == Part::Count || (part == Part::Whole && !bound.is_nan()))
        {
            let what = if part == Part::Count {
                "count"
            } else {
                "bucket population"
            };
            return self.error(format!(
                "negative {what} for histogram {}",
                self.quoted_family()
            ));
        }
        self.check_series(self.samples.len())?;
        self.samples.push(Sample {
            family,
            labels_end: index(self.labels.len()),
            part,
            bound,
            value,
            number: token,
        });
        if self.peek()? == b'\n' {
            self.at += 1;
            return Ok(());
        }
        self.skip_blanks();
        let token = self.token()?;
        if std::str::from_utf8(self.bytes(token))
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .is_none()
        {
            return self.error(format!(
                "expected integer as timestamp, got {}",
                self.quoted(token)
            ));
        }
        let start = self.at;
        self.skip_line()?;
        let rest = without_backslashes(&self.body[start..self.at - 1]);
        if !rest.is_empty() {
            return self.error(format!("spurious string after timestamp: {}", quote(&rest)));
        }
        self.has_timestamp = true;
        Ok(())
    }

    /// Reads up to the next blank or newline, which has to be there.
    fn token(&mut self) -> Parsed<Span> {
        let start = self.at;
        let is_end = |&byte: &u8| matches!(byte, b' ' | b'\t' | b'\n');
        self.at = self.body[start..]
            .iter()
            .position(is_end)
            .map_or(self.body.len(), |len| start + len);
        self.peek()?;
        Ok(self.span_from(start))
    }

    /// Reads a name, which may be empty, quoted or quoted in part. `start` says which bytes begin
    /// it.
    fn name(&mut self, start: u8, kind: &str) -> Parsed<Span> {
        let from = self.at;
        let rest = &self.body[from..];
        if rest
            .first()
            .is_some_and(|&byte| BYTES[byte as usize] & start != 0)
        {
            let is_end = |&byte: &u8| BYTES[byte as usize] & (start | DIGIT) == 0 || byte == b'"';
            self.at = rest
                .iter()
                .position(is_end)
                .map_or(self.body.len(), |len| from + len);
            if self.body.get(self.at) == Some(&b'"') {
                return self.quoted_name(from, start, kind);
            }
        }
        self.peek()?;
        Ok(self.span_from(from))
    }

    /// Goes on with a name at its first quote.
    fn quoted_name(&mut self, from_byte: usize, start: u8, kind: &str) -> Parsed<Span> {
        let from = self.unescaped.len();
        self.unescaped
            .extend_from_slice(&self.body[from_byte..self.at]);
        let mut is_inside = false;
        loop {
            match self.peek()? {
                b'"' if is_inside => {
                    self.at += 1;
                    self.peek()?;
                    return Ok(self.unescaped_from(from));
                }
                b'"' => is_inside = true,
                b'\n' => {
                    let name = self.unescaped_from(from);
                    return self.error(format!(
                        "{kind} name {} contains unescaped new-line",
                        self.quoted(name)
                    ));
                }
                b'\\' => self.escape()?,
                byte => self.unescaped.push(byte),
            }
            self.at += 1;
            let byte = self.peek()?;
            if !is_inside && BYTES[byte as usize] & (start | DIGIT) == 0 {
                return Ok(self.unescaped_from(from));
            }
        }
    }

    /// Finds the family that a name belongs to, or makes it.
    fn set_current(&mut self, name: Span) -> Parsed<()> {
        if let Some((.., before)) = self.current
            && self.bytes(before) == self.bytes(name)
        {
            return Ok(());
        }
        if name.start & UNESCAPED != 0 {
            let is_valid = match self.names {
                NameScheme::Legacy => self.str(name).is_some_and(is_legacy_metric_name),
                NameScheme::Utf8 => self.str(name).is_some() && name.len > 0,
            };
            if !is_valid {
                return self.error(format!("invalid metric name {}", self.quoted(name)));
            }
        }
        let (family, part) = match self.find_family(self.bytes(name)) {
            Some(found) => found,
            None => {
                self.check_series(self.families.len())?;
                let family = index(self.families.len());
                self.families.push(FamilyState {
                    name,
                    help: None,
                    metric_type: None,
                });
                let key = if name.start & UNESCAPED == 0 {
                    Cow::Borrowed(&self.body[name.start as usize..(name.start + name.len) as usize])
                } else {
                    Cow::Owned(self.bytes(name).to_vec())
                };
                self.by_name.insert(key, family);
                (family, Part::Whole)
            }
        };
        self.current = Some((family, part, name));
        Ok(())
    }

    fn find_family(&self, name: &[u8]) -> Option<(u32, Part)> {
        if let Some(&family) = self.by_name.get(name) {
            return Some((family, Part::Whole));
        }
        let (base, part) = if let Some(base) = name.strip_suffix(b"_count") {
            (base, Part::Count)
        } else if let Some(base) = name.strip_suffix(b"_sum") {
            (base, Part::Sum)
        } else {
            (name.strip_suffix(b"_bucket")?, Part::Whole)
        };
        let &family = self.by_name.get(base)?;
        let is_part = match self.families[family as usize].metric_type? {
            MetricType::Summary => part != Part::Whole,
            MetricType::Histogram | MetricType::GaugeHistogram => true,
            MetricType::Counter | MetricType::Gauge | MetricType::Untyped => false,
        };
        is_part.then_some((family, part))
    }

    fn build(self) -> Parsed<(Families, Vec<Place>)> {
        let mut builder = FamiliesBuilder::with_capacity(self.body.len());
        let mut places = vec![None; self.samples.len()];
        if self.has_timestamp {
            builder.invalid(Invalid::Timestamp);
        }
        // Mostly the samples of a family lie together, and families come one after the other.
        let mut order: Vec<u32> = Vec::new();
        let family_of = |sample: &Sample| sample.family;
        if !self.samples.is_sorted_by_key(family_of) {
            order = (0..index(self.samples.len())).collect();
            order.sort_by_key(|&i| self.samples[i as usize].family);
        }
        let sample = |i: usize| order.get(i).map_or(i, |&i| i as usize);
        let mut at = 0;
        while at < self.samples.len() {
            let family = self.samples[sample(at)].family;
            let end = (at..self.samples.len())
                .find(|&i| self.samples[sample(i)].family != family)
                .unwrap_or(self.samples.len());
            self.build_family(&mut builder, &mut places, family, (at..end).map(sample));
            at = end;
        }
        let families = builder.finish().map_err(|too_large| ParseError::Line {
            line: self.line,
            message: too_large.to_string(),
        })?;
        Ok((families, places))
    }

    fn build_family(
        &self,
        builder: &mut FamiliesBuilder,
        places: &mut [Place],
        family: u32,
        samples: impl Iterator<Item = usize>,
    ) {
        let state = &self.families[family as usize];
        let metric_type = state.metric_type.unwrap_or(MetricType::Untyped);
        let help = state
            .help
            .map(|help| String::from_utf8_lossy(self.bytes(help)));
        builder.family(self.must_str(state.name), metric_type, help.as_deref());
        if matches!(metric_type, MetricType::Summary) || metric_type.is_histogram() {
            return self.build_compound(builder, places, metric_type, samples);
        }
        for i in samples {
            self.build_labels(builder, i);
            places[i] = Some((index(builder.n_values()), NumberKind::Float));
            builder.value(self.samples[i].value.to_bits());
            builder.end_metric(MetricFlags::default());
        }
    }

    /// Builds a summary or histogram, whose metrics have several samples each, perhaps far apart.
    fn build_compound(
        &self,
        builder: &mut FamiliesBuilder,
        places: &mut [Place],
        metric_type: MetricType,
        samples: impl Iterator<Item = usize>,
    ) {
        let mut metrics: Vec<SmallVec<[usize; 16]>> = Vec::new();
        let mut by_labels: AHashMap<SortedLabels<'_>, usize> = AHashMap::new();
        let mut last = None;
        for i in samples {
            if let Some((before, metric)) = last
                && self.has_same_labels(before, i)
            {
                let samples: &mut SmallVec<_> = &mut metrics[metric];
                samples.push(i);
                continue;
            }
            let mut labels: SmallVec<_> = self
                .labels_of(i)
                .iter()
                .map(|label| (self.bytes(label.name), self.bytes(label.value)))
                .collect();
            labels.sort_unstable();
            let metric = *by_labels.entry(labels).or_insert(metrics.len());
            if metric == metrics.len() {
                metrics.push(SmallVec::new());
            }
            metrics[metric].push(i);
            last = Some((i, metric));
        }
        for samples in metrics {
            self.build_labels(builder, samples[0]);
            self.build_numbers(builder, places, metric_type, &samples);
        }
    }

    fn build_numbers(
        &self,
        builder: &mut FamiliesBuilder,
        places: &mut [Place],
        metric_type: MetricType,
        samples: &[usize],
    ) {
        let last = |part| {
            samples
                .iter()
                .copied()
                .rfind(|&i| self.samples[i].part == part)
        };
        let bounds = || {
            samples
                .iter()
                .copied()
                .filter(|&i| self.samples[i].part == Part::Whole && !self.samples[i].bound.is_nan())
        };
        let (count, sum) = (last(Part::Count), last(Part::Sum));
        let mut flags = MetricFlags::default();
        if count.is_some() {
            flags |= MetricFlags::HAS_COUNT;
        }
        if sum.is_some() {
            flags |= MetricFlags::HAS_SUM;
        }
        let value = |i: Option<usize>| i.map_or(0.0, |i| self.samples[i].value);
        let is_integer =
            |value: f64| value.trunc() == value && value < 18_446_744_073_709_551_616.0;
        let is_summary = metric_type == MetricType::Summary;
        let has_fraction =
            || !is_integer(value(count)) || bounds().any(|i| !is_integer(self.samples[i].value));
        let is_float = !is_summary && has_fraction();
        if is_float {
            flags |= MetricFlags::FLOAT_COUNTS;
        }
        let mut place = |i: usize, at: usize, kind: Option<NumberKind>| {
            places[i] = kind.map(|kind| (index(at), kind))
        };
        // Whether counts are integers is part of the skeleton, so where they are not, a number has
        // no place of its own.
        let count_kind = (!is_float).then_some(NumberKind::Count);
        if let Some(i) = count {
            place(
                i,
                builder.n_values(),
                if is_summary {
                    Some(NumberKind::SummaryCount)
                } else {
                    count_kind
                },
            );
        }
        builder.value(match value(count) {
            count if is_summary => to_u64_as_go_does(count),
            count if is_float => count.to_bits(),
            count => count as u64,
        });
        if let Some(i) = sum {
            place(i, builder.n_values(), Some(NumberKind::Float));
        }
        builder.value(value(sum).to_bits());
        for i in bounds() {
            let Sample { bound, value, .. } = self.samples[i];
            place(
                i,
                builder.n_values(),
                if is_summary {
                    Some(NumberKind::Float)
                } else {
                    count_kind
                },
            );
            builder.bound(bound);
            builder.value(if is_summary || is_float {
                value.to_bits()
            } else {
                value as u64
            });
        }
        builder.end_metric(flags);
    }

    fn labels_of(&self, sample: usize) -> &[Label] {
        let start = sample
            .checked_sub(1)
            .map_or(0, |before| self.samples[before].labels_end as usize);
        &self.labels[start..self.samples[sample].labels_end as usize]
    }

    fn has_same_labels(&self, a: usize, b: usize) -> bool {
        let text = |label: &Label| (self.bytes(label.name), self.bytes(label.value));
        self.labels_of(a)
            .iter()
            .map(text)
            .eq(self.labels_of(b).iter().map(text))
    }

    fn build_labels(&self, builder: &mut FamiliesBuilder, sample: usize) {
        for label in self.labels_of(sample) {
            builder.label(self.must_str(label.name), self.must_str(label.value));
        }
    }

    fn must_str(&self, span: Span) -> &str {
        self.str(span)
            .expect("names and label values were checked when they were read")
    }
}

/// The reference passes over backslashes where it reads to the end of a line that knows no escapes.
fn without_backslashes(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .copied()
        .filter(|&byte| byte != b'\\')
        .collect()
}

fn index(index: usize) -> u32 {
    u32::try_from(index).expect("bodies are below 2 GiB")
}

/// A letter, an underscore or a quote.
const LABEL_START: u8 = 1;
const COLON: u8 = 2;
const DIGIT: u8 = 4;
const METRIC_START: u8 = LABEL_START | COLON;

/// What each byte can be in a name.
static BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let byte = i as u8;
        if byte.is_ascii_alphabetic() || byte == b'_' || byte == b'"' {
            table[i] = LABEL_START;
        } else if byte == b':' {
            table[i] = COLON;
        } else if byte.is_ascii_digit() {
            table[i] = DIGIT;
        }
        i += 1;
    }
    table
};

/// A float as an integer the way the reference's counts come about: what is out of range is what
/// amd64 makes of it.
pub(super) fn to_u64_as_go_does(value: f64) -> u64 {
    if value < 9_223_372_036_854_775_808.0 {
        if value < -9_223_372_036_854_775_808.0 {
            1 << 63
        } else {
            (value as i64).cast_unsigned()
        }
    } else if value < 18_446_744_073_709_551_616.0 {
        value as u64
    } else {
        1 << 63
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, expected: Result<&str, &str>) {
        check_with(body, NameScheme::Legacy, expected);
    }

    /// Families are shown as `name type help {labels} numbers …`.
    fn check_with(body: &str, names: NameScheme, expected: Result<&str, &str>) {
        let shown = parse(body.as_bytes(), names)
            .map(|families| show(&families))
            .map_err(|error| error.to_string());
        let prefix = "text format parsing error in line ";
        assert_eq!(
            shown
                .as_deref()
                .map_err(|text| text.strip_prefix(prefix).unwrap()),
            expected,
            "{body:?}"
        );
    }

    fn show(families: &Families) -> String {
        let mut lines = Vec::new();
        for family in families.skeleton.families() {
            let mut line = format!(
                "{} {}",
                family.name(),
                family.metric_type().as_proto_str().to_lowercase()
            );
            if let Some(help) = family.help() {
                line += &format!(" {help:?}");
            }
            for metric in family.metrics() {
                let labels: Vec<String> = metric
                    .labels()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                let is_plain = family.metric_type().n_fixed_values() == 1;
                let is_float = metric.flags().has(MetricFlags::FLOAT_COUNTS);
                let numbers: Vec<String> = families
                    .values_of(metric)
                    .iter()
                    .enumerate()
                    .map(|(i, &bits)| {
                        let is_count =
                            i != 1 && !is_float && (family.metric_type().is_histogram() || i == 0);
                        if is_plain || !is_count {
                            f64::from_bits(bits).to_string()
                        } else {
                            format!("#{bits}")
                        }
                    })
                    .collect();
                let bounds: Vec<String> =
                    metric.bounds().map(|bound| format!("@{bound}")).collect();
                line += &format!(
                    " {{{}}} {}",
                    labels.join(","),
                    [numbers, bounds].concat().join(" ")
                );
            }
            lines.push(line);
        }
        if families.invalid.is_some() {
            lines.push("invalid".to_owned());
        }
        lines.join("; ")
    }

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
    fn help_and_type_belong_to_the_next_samples() {
        check(
            "# HELP x a\\nb\\\\\\\"c\n# TYPE x Gauge\nx 1\n",
            Ok("x gauge \"a\\nb\\\\\\\"c\" {} 1"),
        );
        check("x 1\n# HELP x late\n", Ok("x untyped \"late\" {} 1"));
        check("# TYPE x gauge\n", Ok(""));
        check(
            "# HELP x\n# HELP x two\nx 1\n",
            Ok("x untyped \"two\" {} 1"),
        );
        check("# TYPE x: gauge\nx 1\n", Ok("x untyped {} 1"));
        check(
            "# HELP x one\n# HELP x one\n",
            Err("2: second HELP line for metric name \"x\""),
        );
        check(
            "x 1\n# TYPE x gauge\n",
            Err("2: second TYPE line for metric name \"x\", or TYPE reported after samples"),
        );
        check(
            "# TYPE x stateset\n",
            Err("1: unknown metric type \"stateset\""),
        );
        check(
            "# HELP x-y text\n",
            Err("1: invalid metric name in comment"),
        );
        check("# HELP x a\\tb\n", Err("1: invalid escape sequence '\\t'"));
        check("x 1\n# comment", Err("2: unexpected end of input stream"));
    }

    #[test]
    fn what_is_no_sample_is_refused_with_its_line() {
        check("x 1", Err("1: unexpected end of input stream"));
        check("x", Err("1: unexpected end of input stream"));
        check("a 1\nx\n", Err("2: expected float as value, got \"\""));
        check("x 1\r\n", Err("1: expected float as value, got \"1\\r\""));
        check("x-y 1\n", Err("1: expected float as value, got \"-y\""));
        check("1x 1\n", Err("1: invalid metric name"));
        check("x 1 \n", Err("1: expected integer as timestamp, got \"\""));
        check(
            "x 1 2 3\n",
            Err("1: spurious string after timestamp: \" 3\""),
        );
        check("x{a=\"b\"\n", Err("1: unexpected end of label value \"b\""));
        check(
            "x{a=\"b\n\"} 1\n",
            Err("1: label value \"b\" contains unescaped new-line"),
        );
        check(
            "x{a=\"b\\\"} 1\n",
            Err("1: label value \"b\\\"} 1\" contains unescaped new-line"),
        );
        check(
            "x{a=b} 1\n",
            Err("1: expected '\"' at start of label value, found 'b'"),
        );
        check(
            "x{a} 1\n",
            Err("1: expected '=' after label name, found '}'"),
        );
        check(
            "x{1a=\"b\"} 1\n",
            Err("1: invalid label name for metric \"x\""),
        );
        check(
            "x{__name__=\"y\"} 1\n",
            Err("1: label name \"__name__\" is reserved"),
        );
        check(
            "x{a=\"1\",b=\"2\",a=\"3\"} 1\n",
            Err("1: duplicate label names for metric \"x\""),
        );
        check("{} 1\n", Err("1: invalid metric name"));
    }

    #[test]
    fn a_time_stamp_is_parsed_and_marks_the_push_invalid() {
        check("x 1 -5\n", Ok("x untyped {} 1; invalid"));
        check("x 1 +5\n", Ok("x untyped {} 1; invalid"));
        check(
            "x 1 1_0\n",
            Err("1: expected integer as timestamp, got \"1_0\""),
        );
    }

    #[test]
    fn a_summary_takes_its_parts_together() {
        check(
            "# TYPE s summary\ns_count 4\ns{quantile=\"0.5\"} 1\ny 1\ns_sum 3\n",
            Ok("s summary {} #4 3 1 @0.5; y untyped {} 1"),
        );
        check(
            "s_count 4\n# TYPE s summary\ns_sum 3\n",
            Ok("s_count untyped {} 4; s summary {} #0 3"),
        );
        check(
            "# TYPE s summary\ns{a=\"1\",quantile=\"0.5\"} 1\ns_sum{a=\"2\"} 3\ns_count{a=\"1\"} 4\n",
            Ok("s summary {a=1} #4 0 1 @0.5 {a=2} #0 3"),
        );
        check(
            "# TYPE s summary\ns_count 1e30\n",
            Ok("s summary {} #9223372036854775808 0"),
        );
        check(
            "# TYPE s summary\ns_count -1\n",
            Ok("s summary {} #18446744073709551615 0"),
        );
        check(
            "# TYPE s summary\ns{quantile=\"x\"} 1\n",
            Err("2: expected float as value for 'quantile' label, got \"x\""),
        );
        check(
            "# TYPE s summary\ns{quantile=\"0.5\",quantile=\"0.9\"} 1\n",
            Ok("s summary {} #0 0 1 @0.9"),
        );
    }

    #[test]
    fn a_histogram_takes_its_parts_together() {
        check(
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n",
            Ok("h histogram {} #2 3 #1 #2 @1 @inf"),
        );
        check(
            "# TYPE h histogram\nh_bucket{le=\"1\"} 1.5\nh_count 2\n",
            Ok("h histogram {} 2 0 1.5 @1"),
        );
        check(
            "# TYPE h histogram\nh_bucket{a=\"b\"} 5\n",
            Ok("h histogram {a=b} #0 0"),
        );
        check(
            "# TYPE h gaugehistogram\nh_gcount 1\nh_count 2\n",
            Ok("h gauge_histogram {} #2 0; h_gcount untyped {} 1"),
        );
        check(
            "# TYPE h histogram\nh_count -2\n",
            Err("2: negative count for histogram \"h\""),
        );
        check(
            "# TYPE h histogram\nh_bucket{le=\"x\"} 1\n",
            Err("2: expected float as value for 'le' label, got \"x\""),
        );
        check(
            "# TYPE h histogram\n# TYPE h_bucket counter\n",
            Err("2: second TYPE line for metric name \"h\", or TYPE reported after samples"),
        );
        check(
            "# TYPE h histogram\n{le=\"1\",\"h_bucket\"} 1\n",
            Ok("h histogram {} #0 0 #1 @1"),
        );
    }

    #[test]
    fn names_may_be_quoted_and_any_utf8_if_that_is_on() {
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
    fn what_is_not_utf8_is_refused_in_labels_and_mended_in_help() {
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
    fn many_labels_are_checked_for_repetition() {
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

    #[test]
    fn no_more_is_read_than_a_push_may_hold() {
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
        // Behind the limit nothing is looked at.
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
            "the mutations leave too little: {n_parsed}"
        );
    }
}
