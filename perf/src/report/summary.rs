//! Medians and spreads of a target over its rounds, and the columns that show them.

use crate::measure::Measurement;
use crate::numbers::format_figure;

/// All rows of one target.
pub(super) struct TargetSummary<'a> {
    pub(super) name: &'a str,
    pub(super) rows: Vec<&'a Measurement>,
}

impl<'a> TargetSummary<'a> {
    /// Groups rows by target, in the order in which targets first appear.
    pub(super) fn all(rows: &'a [Measurement]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for row in rows {
            match all.iter_mut().find(|summary| summary.name == row.target) {
                Some(summary) => summary.rows.push(row),
                None => all.push(Self {
                    name: &row.target,
                    rows: vec![row],
                }),
            }
        }
        all
    }

    /// The finite values of all rows, in ascending order.
    fn sorted(&self, value: impl Fn(&Measurement) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self
            .rows
            .iter()
            .map(|row| value(row))
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        values
    }

    /// The median over all rows; NaN if there is no value.
    pub(super) fn median(&self, value: impl Fn(&Measurement) -> f64) -> f64 {
        let values = self.sorted(value);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Half the distance between the quartiles, in per cent of the median; NaN for fewer than three
    /// values.
    fn spread_percent(&self, value: impl Fn(&Measurement) -> f64 + Copy) -> f64 {
        let values = self.sorted(value);
        if values.len() < 3 {
            return f64::NAN;
        }
        let quartile = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        (quartile(0.75) - quartile(0.25)) / 2.0 / self.median(value) * 100.0
    }
}

/// Latency at a percentile, in microseconds; NaN if the row does not have that percentile.
pub(super) fn percentile(row: &Measurement, rank: f64) -> f64 {
    row.latency_us
        .iter()
        .find(|(known, _)| *known == rank)
        .map_or(f64::NAN, |&(_, value)| value)
}

/// CPU of the target per answer, in microseconds; NaN if its process is not known.
pub(super) fn cpu(row: &Measurement) -> f64 {
    row.cpu_us.unwrap_or(f64::NAN)
}

/// Median time of the scrapes from the request to the last byte, in milliseconds; NaN without
/// scrapes.
pub(super) fn last_byte_ms(row: &Measurement) -> f64 {
    let mut times: Vec<f64> = row
        .scrapes
        .iter()
        .map(|scrape| scrape.last_byte_seconds * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Highest resident memory of the target, in megabytes; NaN if its process is not known.
pub(super) fn resident_mb(row: &Measurement) -> f64 {
    row.usage
        .map_or(f64::NAN, |usage| usage.resident_bytes_max as f64 / 1e6)
}

/// A column: its title, and how to make a cell from the rows of a target.
pub(super) type Column = (&'static str, fn(&TargetSummary<'_>) -> String);

/// The columns of the printed table and of the tables on the page.
pub(super) const COLUMNS: [Column; 11] = [
    ("pushes/s", |s| {
        format_figure(s.median(|row| row.per_second))
    }),
    ("±%", |s| {
        format_figure(s.spread_percent(|row| row.per_second))
    }),
    ("CPU µs", |s| format_figure(s.median(cpu))),
    ("±%", |s| format_figure(s.spread_percent(cpu))),
    ("p50 µs", |s| {
        format_figure(s.median(|row| percentile(row, 50.0)))
    }),
    ("p99 µs", |s| {
        format_figure(s.median(|row| percentile(row, 99.0)))
    }),
    ("p99.9 µs", |s| {
        format_figure(s.median(|row| percentile(row, 99.9)))
    }),
    ("scrape ms", |s| format_figure(s.median(last_byte_ms))),
    ("RSS MB", |s| format_figure(s.median(resident_mb))),
    ("generator µs", |s| {
        format_figure(s.median(|row| row.generator_cpu_us))
    }),
    ("truth", |s| {
        let n_failures: usize = s
            .rows
            .iter()
            .map(|row| row.violations.len() + row.unanswered.len())
            .sum();
        match (n_failures, s.rows.iter().all(|row| row.is_checked)) {
            (0, true) => "kept".to_owned(),
            (0, false) => "not checked".to_owned(),
            (n, _) => format!("FAILED ({n})"),
        }
    }),
];

/// For each target that was measured in an open loop: how late the generator sent its pushes, in
/// words.
pub(super) fn lateness(summaries: &[TargetSummary<'_>]) -> Vec<String> {
    let in_words = |summary: &TargetSummary<'_>| {
        let worst = summary
            .rows
            .iter()
            .map(|row| row.generator_late_us)
            .fold(0.0, f64::max);
        let of_99 = summary.median(|row| row.generator_late_p99_us);
        let (of_99, worst) = (format_figure(of_99), format_figure(worst));
        format!(
            "{}: the generator sent 99 % within {of_99} µs of when they were due, the worst after {worst} µs",
            summary.name
        )
    };
    summaries
        .iter()
        .filter(|summary| summary.rows[0].rate.is_some())
        .map(in_words)
        .collect()
}

/// Formats a ratio with at least two significant digits.
fn ratio(value: f64) -> String {
    if value < 0.1 {
        format!("{value:.1e}")
    } else {
        format!("{value:.2}")
    }
}

/// Ratios of each target to the target `floor`, or to the last one if `floor` was not measured:
/// pairs of "target / base" and the ratios in words.
pub(super) fn ratios(summaries: &[TargetSummary<'_>]) -> Vec<(String, String)> {
    let Some(base) = summaries
        .iter()
        .find(|summary| summary.name == "floor")
        .or(summaries.last())
    else {
        return Vec::new();
    };
    let others = summaries.iter().filter(|summary| summary.name != base.name);
    others
        .map(|summary| {
            let throughput =
                summary.median(|row| row.per_second) / base.median(|row| row.per_second);
            let cpu = summary.median(cpu) / base.median(cpu);
            let p99 = summary.median(|row| percentile(row, 99.0))
                / base.median(|row| percentile(row, 99.0));
            let [throughput, cpu, p99] = [throughput, cpu, p99].map(ratio);
            let text = format!("{throughput} × the throughput, {cpu} × the CPU, {p99} × the p99");
            (format!("{} / {}", summary.name, base.name), text)
        })
        .collect()
}
