//! Medians and spreads of a target over its rounds, and the figures that tables show of them.

use crate::measurement::{GaveUp, Measurement};
use crate::numbers::{
    ByRound, format_figure, format_seconds, group_digits, median, ratios_by_round, values,
};
use crate::workload::WorkloadKind;

/// All rows of one target. There are none if it was left out.
pub(super) struct TargetSummary<'a> {
    pub(super) name: &'a str,
    pub(super) rows: Vec<&'a Measurement>,
    pub(super) gave_up: Option<&'a GaveUp>,
}

impl<'a> TargetSummary<'a> {
    /// Groups rows by target, in the order in which targets first appear, followed by those that
    /// were left out.
    pub(super) fn all(rows: &'a [Measurement], gave_up: &'a [GaveUp]) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for row in rows {
            match all.iter_mut().find(|summary| summary.name == row.target) {
                Some(summary) => summary.rows.push(row),
                None => all.push(Self {
                    name: &row.target,
                    rows: vec![row],
                    gave_up: None,
                }),
            }
        }
        for one in gave_up {
            match all.iter_mut().find(|summary| summary.name == one.target) {
                Some(summary) => summary.gave_up = Some(one),
                None => all.push(Self {
                    name: &one.target,
                    rows: Vec::new(),
                    gave_up: Some(one),
                }),
            }
        }
        all
    }

    /// A figure of all rows; NaN where it is missing.
    fn by_round(&self, value: impl Fn(&Measurement) -> f64) -> ByRound {
        self.rows
            .iter()
            .map(|row| (u64::from(row.round), value(row)))
            .collect()
    }

    /// The median over all rows; NaN if there is no value.
    pub(super) fn median(&self, value: impl Fn(&Measurement) -> f64) -> f64 {
        median(&values(&self.by_round(value)))
    }

    /// Half the distance between the quartiles, in per cent of the median; NaN for fewer than three
    /// values.
    fn spread_percent(&self, value: impl Fn(&Measurement) -> f64 + Copy) -> f64 {
        let mut values = values(&self.by_round(value));
        values.retain(|value| value.is_finite());
        values.sort_by(f64::total_cmp);
        if values.len() < 3 {
            return f64::NAN;
        }
        let quartile = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        (quartile(0.75) - quartile(0.25)) / 2.0 / self.median(value) * 100.0
    }

    /// The median with its spread, where `write` says how the median is written.
    fn figure(
        &self,
        write: fn(f64) -> String,
        value: impl Fn(&Measurement) -> f64 + Copy,
    ) -> String {
        let (median, spread) = (self.median(value), self.spread_percent(value));
        if spread.is_finite() {
            format!("{} ±{spread:.1} %", write(median))
        } else {
            write(median)
        }
    }

    /// What came of the checks.
    pub(super) fn verdict(&self) -> Verdict {
        if self.rows.is_empty() {
            Verdict::GaveUp
        } else if !self.rows.iter().all(|row| row.has_passed()) {
            Verdict::Failed
        } else if self.rows.iter().all(|row| row.is_checked) {
            Verdict::Passed
        } else {
            Verdict::Unchecked
        }
    }
}

/// What came of the checks of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    /// Everything was answered, and scrapes of this target do not show what was pushed.
    Unchecked,
    Failed,
    /// The target could not be preloaded, and was not measured.
    GaveUp,
}

impl Verdict {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Unchecked => "unchecked",
            Self::Failed => "FAILED",
            Self::GaveUp => "gave up",
        }
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
    let times = row.scrapes.iter().map(|scrape| scrape.last_byte_seconds);
    median(&times.map(|seconds| seconds * 1e3).collect::<Vec<f64>>())
}

/// Highest resident memory of the target, in megabytes; NaN if its process is not known.
pub(super) fn resident_mb(row: &Measurement) -> f64 {
    row.usage
        .map_or(f64::NAN, |usage| usage.resident_bytes_max as f64 / 1e6)
}

/// Seconds until the last answer of a herd; NaN if there was none.
pub(super) fn last_answer_seconds(row: &Measurement) -> f64 {
    row.herd
        .and_then(|herd| herd.last_answer_seconds)
        .unwrap_or(f64::NAN)
}

/// A line of a table: its title, and how to make the cell of a target.
pub(super) type Figure = (&'static str, fn(&TargetSummary<'_>) -> String);

/// A time that is given in microseconds.
fn time(microseconds: f64) -> String {
    format_seconds(microseconds / 1e6)
}

const RESULT: Figure = ("result", |s| s.verdict().text().to_owned());
const CPU: Figure = ("CPU per push", |s| s.figure(time, cpu));
const SCRAPE: Figure = ("scrape", |s| time(s.median(last_byte_ms) * 1e3));
const RESIDENT: Figure = ("highest memory, MB", |s| {
    format_figure(s.median(resident_mb))
});

const FIGURES: [Figure; 9] = [
    RESULT,
    ("pushes/s", |s| {
        s.figure(format_figure, |row| row.per_second)
    }),
    CPU,
    ("p50", |s| time(s.median(|row| percentile(row, 50.0)))),
    ("p99", |s| time(s.median(|row| percentile(row, 99.0)))),
    ("p99.9", |s| time(s.median(|row| percentile(row, 99.9)))),
    SCRAPE,
    RESIDENT,
    ("generator CPU per push", |s| {
        time(s.median(|row| row.generator_cpu_us.unwrap_or(f64::NAN)))
    }),
];

/// A count of a herd's pushes in the worst round, which is the one that `worse` picks.
fn count(
    s: &TargetSummary<'_>,
    worse: fn(f64, f64) -> f64,
    count: fn(&crate::load::HerdTotals) -> u64,
) -> String {
    let herds = s.rows.iter().filter_map(|row| row.herd);
    let counts = herds.map(|herd| count(&herd) as f64);
    format_figure(counts.reduce(worse).unwrap_or(f64::NAN))
}

/// The time by which this share of the answers of a herd had come.
fn answered_by(s: &TargetSummary<'_>, rank: f64) -> String {
    time(s.median(|row| percentile(row, rank)))
}

const HERD_FIGURES: [Figure; 13] = [
    RESULT,
    ("pushes at once", |s| {
        count(s, f64::max, |herd| herd.pushes.into())
    }),
    ("answered, worst round", |s| {
        count(s, f64::min, |herd| herd.answered)
    }),
    ("refused, worst round", |s| {
        count(s, f64::max, |herd| herd.refused)
    }),
    ("lost, worst round", |s| {
        count(s, f64::max, |herd| herd.lost)
    }),
    ("last answer after", |s| {
        format_seconds(s.median(last_answer_seconds))
    }),
    ("half of the answers by", |s| answered_by(s, 50.0)),
    ("90 % of the answers by", |s| answered_by(s, 90.0)),
    ("99 % of the answers by", |s| answered_by(s, 99.0)),
    ("all connections open by", |s| {
        format_seconds(s.median(|row| row.herd.map_or(f64::NAN, |herd| herd.sent_within_seconds)))
    }),
    CPU,
    SCRAPE,
    RESIDENT,
];

/// The lines of the tables, which depend on the workload.
pub(super) fn figures(summaries: &[TargetSummary<'_>]) -> &'static [Figure] {
    let mut rows = summaries.iter().flat_map(|summary| &summary.rows);
    if rows.any(|row| row.workload.kind == WorkloadKind::Herd) {
        &HERD_FIGURES
    } else {
        &FIGURES
    }
}

/// What was pushed and how, in words.
pub(super) fn load_in_words(row: &Measurement) -> String {
    let workload = &row.workload;
    let counted = |n: u32| group_digits(&n.to_string());
    let kind = format!("{:?}", workload.kind).to_lowercase();
    let how = if workload.kind == WorkloadKind::Herd {
        String::new()
    } else {
        let arrivals = match row.rate {
            Some(rate) => format!("open loop at {}/s", format_figure(rate)),
            None => "closed loop".to_owned(),
        };
        let kept = if row.keep_alive {
            ""
        } else {
            ", one for each push"
        };
        let scrapes = if row.scrape_interval > 0.0 {
            format!("a scrape every {}", format_seconds(row.scrape_interval))
        } else {
            "no scrapes beside".to_owned()
        };
        format!(
            ", {} connections{kept}, {arrivals}, {scrapes}",
            counted(row.connections)
        )
    };
    format!(
        "Workload {kind}: {} groups, {} lines a push, {} values{how}",
        counted(workload.n_groups()),
        counted(workload.lines),
        workload.values.name()
    )
}

/// What a reader should know about how pushes were sent, in words.
pub(super) fn remarks(summaries: &[TargetSummary<'_>]) -> Vec<String> {
    let mut remarks = Vec::new();
    let open = |summary: &&TargetSummary<'_>| summary.rows.iter().any(|row| row.rate.is_some());
    for summary in summaries.iter().filter(open) {
        let late = |row: &Measurement| row.generator_late_us.unwrap_or(f64::NAN);
        let worst = summary
            .rows
            .iter()
            .map(|row| late(row))
            .fold(f64::NAN, f64::max);
        let of_99 = summary.median(|row| row.generator_late_p99_us.unwrap_or(f64::NAN));
        remarks.push(format!(
            "{}: the generator sent 99 % within {} of when they were due, the worst after {}",
            summary.name,
            format_seconds(of_99 / 1e6),
            format_seconds(worst / 1e6)
        ));
    }
    for row in summaries.iter().flat_map(|summary| &summary.rows) {
        if row.is_generator_behind() {
            remarks.push(format!(
                "{} round {}: the generator was behind its own schedule, busy or waiting for a core {:.0} % of the \
                 time: latencies are its own in part",
                row.target,
                row.round,
                row.generator_busy * 100.0
            ));
        }
        // The end of a run always cuts off up to one push per connection.
        if row.unsent > u64::from(row.connections) {
            remarks.push(format!(
                "{} round {}: {} pushes were due, and no connection was free for them",
                row.target,
                row.round,
                group_digits(&row.unsent.to_string())
            ));
        }
    }
    remarks
}

/// Ratios of each target to the target `floor`, or to the last one if `floor` was not measured:
/// pairs of "target / base" and the ratios in words. Ratios are those of
/// [`numbers`](crate::numbers).
pub(super) fn ratios(summaries: &[TargetSummary<'_>]) -> Vec<(String, String)> {
    let measured = || summaries.iter().filter(|summary| !summary.rows.is_empty());
    let Some(base) = measured()
        .find(|summary| summary.name == "floor")
        .or(measured().next_back())
    else {
        return Vec::new();
    };
    let is_herd = base.rows.iter().any(|row| row.herd.is_some());
    let others = measured().filter(|summary| summary.name != base.name);
    others
        .map(|summary| {
            let ratio = |what: &str, value: fn(&Measurement) -> f64| {
                let ratios = ratios_by_round(&summary.by_round(value), &base.by_round(value));
                let ratio = median(&values(&ratios));
                ratio
                    .is_finite()
                    .then(|| format!("{} × the {what}", format_figure(ratio)))
            };
            let all = if is_herd {
                [
                    ratio("time to the last answer", last_answer_seconds),
                    ratio("CPU", cpu),
                    ratio("memory", resident_mb),
                ]
            } else {
                [
                    ratio("throughput", |row| row.per_second),
                    ratio("CPU", cpu),
                    ratio("p99", |row| percentile(row, 99.0)),
                ]
            };
            let text = all
                .into_iter()
                .flatten()
                .collect::<Vec<String>>()
                .join(", ");
            (format!("{} / {}", summary.name, base.name), text)
        })
        .collect()
}

/// Reasons that are shown of each target.
const REASONS_MAX: usize = 6;

/// One of the reasons of a failure, and others that differ from it in their numbers only.
struct Reason {
    text: String,
    rounds: Vec<u32>,
    n_alike: usize,
}

impl Reason {
    /// The reason in words. Rounds are named if there were several.
    fn in_words(&self, has_rounds: bool) -> String {
        let rounds: Vec<String> = self.rounds.iter().map(u32::to_string).collect();
        let rounds = match rounds.len() {
            _ if !has_rounds => String::new(),
            1 => format!("round {}: ", rounds[0]),
            _ => format!("rounds {}: ", rounds.join(", ")),
        };
        let alike = match self.n_alike {
            0 => String::new(),
            n => format!(" (and {n} like this)"),
        };
        format!("{rounds}{}{alike}", self.text)
    }
}

/// Whether two texts are the same but for their numbers.
fn are_alike(one: &str, other: &str) -> bool {
    let without_digits = |text: &str| text.replace(|c: char| c.is_ascii_digit() || c == ',', "");
    without_digits(one) == without_digits(other)
}

/// Why runs have failed: for each target that has, the reasons in its rounds. Of reasons that are
/// alike only the first one is shown.
pub(super) fn failures(summaries: &[TargetSummary<'_>]) -> Vec<(String, Vec<String>)> {
    let failed = |summary: &&TargetSummary<'_>| summary.verdict() == Verdict::Failed;
    summaries.iter().filter(failed).map(failures_of).collect()
}

fn failures_of(summary: &TargetSummary<'_>) -> (String, Vec<String>) {
    let mut reasons: Vec<Reason> = Vec::new();
    for row in &summary.rows {
        for text in row.failures() {
            match reasons
                .iter_mut()
                .find(|known| are_alike(&known.text, &text))
            {
                Some(known) => {
                    known.n_alike += usize::from(known.text != text);
                    if !known.rounds.contains(&row.round) {
                        known.rounds.push(row.round);
                    }
                }
                None => reasons.push(Reason {
                    text,
                    rounds: vec![row.round],
                    n_alike: 0,
                }),
            }
        }
    }
    let has_rounds = summary.rows.len() > 1;
    let shown = reasons.iter().take(REASONS_MAX);
    let mut shown: Vec<String> = shown.map(|reason| reason.in_words(has_rounds)).collect();
    if reasons.len() > REASONS_MAX {
        shown.push(format!("and {} more", reasons.len() - REASONS_MAX));
    }
    let n_failed = summary.rows.iter().filter(|row| !row.has_passed()).count();
    let rounds = if has_rounds {
        format!(" in {n_failed} of {} rounds", summary.rows.len())
    } else {
        String::new()
    };
    (format!("{}{rounds}", summary.name), shown)
}
