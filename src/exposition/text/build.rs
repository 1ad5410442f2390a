//! Builds families from the lines of a body.
//!
//! The samples of a family are gathered from the whole body. A sample of a counter, gauge or
//! untyped family is a metric. The samples of a summary or histogram are grouped by their labels;
//! each group is a metric. A family without samples is left out.

use super::error::ParseError;
use super::float::to_u64_as_go_does;
use super::line_records::{LineRecords, SampleLine, SampleRole};
use super::token::to_u32;
use crate::model::{BrokenRule, Families, FamiliesBuilder, MetricFlags, MetricType, NumberKind};
use ahash::AHashMap;
use smallvec::SmallVec;

/// Which of the families' values a sample has become.
#[derive(Clone, Copy)]
pub(super) struct NumberPlace {
    /// The index of the value.
    pub(super) value: u32,
    /// What the number must be.
    pub(super) kind: NumberKind,
}

/// Names and values of a sample's labels, sorted by name.
type SortedLabels<'a> = SmallVec<[(&'a [u8], &'a [u8]); 4]>;

/// Builds families. Returns them with the place of each sample's number among their values: `None`
/// for a sample that a later one replaces, and for one whose place depends on its number.
///
/// # Errors
///
/// If the text of the families takes more than 4 GiB.
pub(super) fn build(
    lines: &LineRecords<'_>,
) -> Result<(Families, Vec<Option<NumberPlace>>), ParseError> {
    let mut build = LinesBuilder {
        lines,
        builder: FamiliesBuilder::with_capacity(lines.text.body.len()),
        places: vec![None; lines.samples.len()],
    };
    build.all_families();
    let families = build
        .builder
        .finish()
        .map_err(|too_large| ParseError::Line {
            line: lines.n_lines,
            message: too_large.to_string(),
        })?;
    Ok((families, build.places))
}

/// Builds families from `lines`.
struct LinesBuilder<'a> {
    lines: &'a LineRecords<'a>,
    builder: FamiliesBuilder,
    places: Vec<Option<NumberPlace>>,
}

impl<'a> LinesBuilder<'a> {
    /// Builds all families, in the order in which the lines named them first.
    fn all_families(&mut self) {
        if self.lines.has_timestamp {
            self.builder.note_broken_rule(BrokenRule::Timestamp);
        }
        let samples = &self.lines.samples;
        // In most bodies the samples of a family are adjacent, in the order of the families. Only
        // the other bodies need a list of sorted indices.
        let mut order: Vec<u32> = Vec::new();
        if !samples.is_sorted_by_key(|sample| sample.family) {
            order = (0..to_u32(samples.len())).collect();
            // Stable: the samples of a family keep the order of the lines.
            order.sort_by_key(|&i| samples[i as usize].family);
        }
        let sample = |i: usize| order.get(i).map_or(i, |&i| i as usize);
        let mut start = 0;
        while start < samples.len() {
            let family = samples[sample(start)].family;
            let end = (start..samples.len())
                .find(|&i| samples[sample(i)].family != family)
                .unwrap_or(samples.len());
            self.family(family, (start..end).map(sample));
            start = end;
        }
    }

    /// Builds a family from the samples with these indices.
    fn family(&mut self, family: u32, samples: impl Iterator<Item = usize>) {
        let header = &self.lines.families[family as usize];
        let metric_type = header.metric_type.unwrap_or(MetricType::Untyped);
        let text = &self.lines.text;
        let help = header
            .help
            .map(|help| String::from_utf8_lossy(text.bytes(help)));
        self.builder
            .family(text.checked_str(header.name), metric_type, help.as_deref());
        if matches!(metric_type, MetricType::Summary) || metric_type.is_histogram() {
            return self.compound_metrics(metric_type, samples);
        }
        for sample in samples {
            self.metric_labels(sample);
            self.value(
                Some(sample),
                self.lines.samples[sample].value.to_bits(),
                Some(NumberKind::Float),
            );
            self.builder.end_metric(MetricFlags::default());
        }
    }

    /// Builds the metrics of a summary or histogram. Each has several samples, which need not be
    /// adjacent.
    fn compound_metrics(&mut self, metric_type: MetricType, samples: impl Iterator<Item = usize>) {
        let mut metrics: Vec<SmallVec<[usize; 16]>> = Vec::new();
        let mut by_labels: AHashMap<SortedLabels<'_>, usize> = AHashMap::new();
        let mut last = None;
        for sample in samples {
            // Most samples have the labels of the one before, in the same order.
            if let Some((before, metric)) = last
                && self.lines.have_equal_labels(before, sample)
            {
                let samples: &mut SmallVec<_> = &mut metrics[metric];
                samples.push(sample);
                continue;
            }
            let text = &self.lines.text;
            let mut labels: SortedLabels<'_> = self
                .lines
                .labels_of(sample)
                .iter()
                .map(|label| (text.bytes(label.name), text.bytes(label.value)))
                .collect();
            labels.sort_unstable();
            let metric = *by_labels.entry(labels).or_insert(metrics.len());
            if metric == metrics.len() {
                metrics.push(SmallVec::new());
            }
            metrics[metric].push(sample);
            last = Some((sample, metric));
        }
        for samples in metrics {
            self.metric_labels(samples[0]);
            if metric_type == MetricType::Summary {
                self.summary_numbers(&samples);
            } else {
                self.histogram_numbers(&samples);
            }
        }
    }

    /// Builds the numbers of a summary: count, sum, then a value a quantile. Of several counts or
    /// sums the last one counts.
    fn summary_numbers(&mut self, samples: &[usize]) {
        let (count, sum) = (
            self.last(samples, SampleRole::Count),
            self.last(samples, SampleRole::Sum),
        );
        let count_bits = to_u64_as_go_does(self.number(count));
        self.value(count, count_bits, Some(NumberKind::SummaryCount));
        self.value(sum, self.number(sum).to_bits(), Some(NumberKind::Float));
        for (sample, SampleLine { bound, value, .. }) in self.bounded(samples) {
            self.builder.bound(bound);
            self.value(Some(sample), value.to_bits(), Some(NumberKind::Float));
        }
        self.builder
            .end_metric(MetricFlags::of_presence(count.is_some(), sum.is_some()));
    }

    /// Builds the numbers of a histogram: count, sum, then a count a bucket. Of several counts or
    /// sums the last one counts. If one of the counts is no integer, all are kept as floats.
    fn histogram_numbers(&mut self, samples: &[usize]) {
        let (count, sum) = (
            self.last(samples, SampleRole::Count),
            self.last(samples, SampleRole::Sum),
        );
        let is_integer =
            |value: f64| value.trunc() == value && value < 18_446_744_073_709_551_616.0;
        let are_integers = is_integer(self.number(count))
            && self
                .bounded(samples)
                .all(|(_, sample)| is_integer(sample.value));
        let count_bits = |count: f64| {
            if are_integers {
                count as u64
            } else {
                count.to_bits()
            }
        };
        // Whether counts are integers is part of the skeleton. So a count that is a float has no
        // fixed place: the next push may have an integer there, and then has another skeleton.
        let count_kind = are_integers.then_some(NumberKind::Count);
        self.value(count, count_bits(self.number(count)), count_kind);
        self.value(sum, self.number(sum).to_bits(), Some(NumberKind::Float));
        for (sample, SampleLine { bound, value, .. }) in self.bounded(samples) {
            self.builder.bound(bound);
            self.value(Some(sample), count_bits(value), count_kind);
        }
        let mut flags = MetricFlags::of_presence(count.is_some(), sum.is_some());
        if !are_integers {
            flags |= MetricFlags::FLOAT_COUNTS;
        }
        self.builder.end_metric(flags);
    }

    /// The last of `samples` that has this role.
    fn last(&self, samples: &[usize], role: SampleRole) -> Option<usize> {
        samples
            .iter()
            .copied()
            .rfind(|&sample| self.lines.samples[sample].role == role)
    }

    /// The quantiles or buckets among `samples`, with their indices.
    fn bounded<'s>(
        &self,
        samples: &'s [usize],
    ) -> impl Iterator<Item = (usize, SampleLine)> + use<'a, 's> {
        let lines = self.lines;
        samples
            .iter()
            .map(move |&sample| (sample, lines.samples[sample]))
            .filter(|(_, line)| line.role == SampleRole::Value && !line.bound.is_nan())
    }

    /// The number of a sample; 0 if there is no such sample.
    fn number(&self, sample: Option<usize>) -> f64 {
        sample.map_or(0.0, |sample| self.lines.samples[sample].value)
    }

    /// Adds a value to the metric. The value came from `sample`, if one is given, and a number at
    /// its place must be of this `kind`; without a kind, the number has no fixed place.
    #[inline]
    fn value(&mut self, sample: Option<usize>, bits: u64, kind: Option<NumberKind>) {
        if let Some(sample) = sample {
            let value = to_u32(self.builder.n_values());
            self.places[sample] = kind.map(|kind| NumberPlace { value, kind });
        }
        self.builder.value(bits);
    }

    /// Adds the labels of a sample to the metric.
    fn metric_labels(&mut self, sample: usize) {
        let text = &self.lines.text;
        for label in self.lines.labels_of(sample) {
            self.builder
                .label(text.checked_str(label.name), text.checked_str(label.value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;

    #[test]
    fn the_samples_of_a_summary_with_the_same_labels_make_one_metric() {
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
    fn the_samples_of_a_histogram_with_the_same_labels_make_one_metric() {
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
}
