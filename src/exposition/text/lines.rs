//! Reads a body in the text format line by line. The grammar is at the head of `parse.rs`.

use super::error::ParseError;
use super::float::parse_float;
use super::line_records::{LineRecords, SampleLine, SampleRole};
use super::scanner::NameKind;
use super::series::SeriesReader;
use super::token::to_u32;
use crate::exposition::go_quote::quote;
use crate::exposition::limits::ParseLimits;
use crate::model::{MetricType, NameScheme};

/// Reads all lines of `body`.
///
/// # Errors
///
/// The first line that does not follow the grammar or that exceeds `limits`.
pub(super) fn read_lines(
    body: &[u8],
    names: NameScheme,
    limits: ParseLimits,
) -> Result<LineRecords<'_>, ParseError> {
    let mut reader = LineReader {
        series: SeriesReader::new(body, names, limits)?,
        samples: Vec::with_capacity(body.len() / 64),
        has_timestamp: false,
        limits,
    };
    reader.read_all()?;
    let SeriesReader {
        scanner,
        families,
        labels,
        ..
    } = reader.series;
    let (text, n_lines) = scanner.into_text();
    Ok(LineRecords {
        text,
        families: families.into_families(),
        samples: reader.samples,
        labels,
        has_timestamp: reader.has_timestamp,
        n_lines,
    })
}

struct LineReader<'a> {
    series: SeriesReader<'a>,
    samples: Vec<SampleLine>,
    has_timestamp: bool,
    limits: ParseLimits,
}

impl LineReader<'_> {
    fn read_all(&mut self) -> Result<(), ParseError> {
        while let Some(byte) = self.series.scanner.begin_line() {
            match byte {
                b'#' => self.comment()?,
                b'\n' => self.series.scanner.skip_byte(),
                b'{' => {
                    self.series.scanner.skip_byte();
                    let bound = self.series.series_in_braces()?;
                    self.value(bound)?;
                }
                _ => {
                    let bound = self.series.series()?;
                    self.value(bound)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a line that begins with `#`.
    fn comment(&mut self) -> Result<(), ParseError> {
        let scanner = &mut self.series.scanner;
        scanner.skip_byte();
        scanner.skip_blanks();
        let keyword = scanner.token_to_blank()?;
        let is_help = match scanner.text().bytes(keyword) {
            b"HELP" => true,
            b"TYPE" => false,
            _ => return scanner.skip_line(),
        };
        scanner.skip_blanks();
        let name = scanner.name(NameKind::Metric)?;
        match scanner.peek()? {
            b'\n' => return scanner.skip_line(),
            b' ' | b'\t' => {}
            _ => return scanner.error("invalid metric name in comment"),
        }
        self.series.families.set_current(name, scanner)?;
        scanner.skip_blanks();
        if scanner.peek()? == b'\n' {
            return scanner.skip_line();
        }
        if is_help {
            self.help()
        } else {
            self.metric_type()
        }
    }

    /// Reads the text of a HELP line.
    fn help(&mut self) -> Result<(), ParseError> {
        let SeriesReader {
            scanner, families, ..
        } = &mut self.series;
        if families.current_header().help.is_some() {
            let name = families.quoted_current(scanner);
            return scanner.error(format!("second HELP line for metric name {name}"));
        }
        families.current_header().help = Some(scanner.help()?);
        Ok(())
    }

    /// Reads the type of a TYPE line, in any case of letters.
    fn metric_type(&mut self) -> Result<(), ParseError> {
        let SeriesReader {
            scanner, families, ..
        } = &mut self.series;
        if families.current_header().metric_type.is_some() {
            let name = families.quoted_current(scanner);
            return scanner.error(format!(
                "second TYPE line for metric name {name}, or TYPE reported after samples"
            ));
        }
        let spelled = scanner.rest_of_line()?;
        let metric_type = match spelled.to_ascii_uppercase().as_slice() {
            b"COUNTER" => MetricType::Counter,
            b"GAUGE" => MetricType::Gauge,
            b"SUMMARY" => MetricType::Summary,
            b"UNTYPED" => MetricType::Untyped,
            b"HISTOGRAM" => MetricType::Histogram,
            b"GAUGE_HISTOGRAM" | b"GAUGEHISTOGRAM" => MetricType::GaugeHistogram,
            _ => return scanner.error(format!("unknown metric type {}", quote(&spelled))),
        };
        families.current_header().metric_type = Some(metric_type);
        Ok(())
    }

    /// Reads the value of a sample and what follows the value. `bound` is that of the series.
    fn value(&mut self, bound: f64) -> Result<(), ParseError> {
        let number = self.series.scanner.token_to_blank()?;
        let text = self.series.scanner.text();
        let Some(value) = parse_float(text.bytes(number)) else {
            return self.series.scanner.error(format!(
                "expected float as value, got {}",
                text.quoted(number)
            ));
        };
        let (family, role) = self.series.families.current();
        self.check_sign(role, bound, value)?;
        self.limits.check_room(self.samples.len())?;
        self.samples.push(SampleLine {
            family,
            labels_end: to_u32(self.series.labels.len()),
            role,
            bound,
            value,
            number,
        });
        if self.series.scanner.peek()? == b'\n' {
            self.series.scanner.skip_byte();
            return Ok(());
        }
        self.timestamp()
    }

    /// Refuses negative counts and buckets of a histogram.
    #[inline]
    fn check_sign(&self, role: SampleRole, bound: f64, value: f64) -> Result<(), ParseError> {
        let families = &self.series.families;
        let is_histogram = families
            .current_type()
            .is_some_and(MetricType::is_histogram);
        let is_negative = value < 0.0;
        if !is_histogram || !is_negative {
            return Ok(());
        }
        let what = match role {
            SampleRole::Count => "count",
            SampleRole::Value if !bound.is_nan() => "bucket population",
            SampleRole::Value | SampleRole::Sum => return Ok(()),
        };
        let scanner = &self.series.scanner;
        let name = families.quoted_current(scanner);
        scanner.error(format!("negative {what} for histogram {name}"))
    }

    /// Reads a timestamp, an integer, and the end of the line. The value of the timestamp is not
    /// kept: the gateway refuses every push that has one.
    fn timestamp(&mut self) -> Result<(), ParseError> {
        let scanner = &mut self.series.scanner;
        scanner.skip_blanks();
        let token = scanner.token_to_blank()?;
        if !is_integer(scanner.text().bytes(token)) {
            return scanner.error(format!(
                "expected integer as timestamp, got {}",
                scanner.text().quoted(token)
            ));
        }
        let rest = scanner.rest_of_line()?;
        if !rest.is_empty() {
            return scanner.error(format!("spurious string after timestamp: {}", quote(&rest)));
        }
        self.has_timestamp = true;
        Ok(())
    }
}

/// Whether `token` spells a 64-bit integer.
fn is_integer(token: &[u8]) -> bool {
    std::str::from_utf8(token).is_ok_and(|text| text.parse::<i64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn help_and_type_lines_describe_the_samples_after_them() {
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
    fn a_line_that_is_no_sample_is_refused_with_its_number() {
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
    fn a_timestamp_is_parsed_and_makes_the_push_invalid() {
        check("x 1 -5\n", Ok("x untyped {} 1; invalid"));
        check("x 1 +5\n", Ok("x untyped {} 1; invalid"));
        check(
            "x 1 1_0\n",
            Err("1: expected integer as timestamp, got \"1_0\""),
        );
    }
}
