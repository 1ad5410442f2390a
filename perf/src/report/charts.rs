//! Which plots a page has.

use super::plot::{Line, Plot};
use super::summary::{
    TargetSummary, cpu, last_answer_seconds, last_byte_ms, percentile, resident_mb,
};
use super::sweep::SweepPoint;
use crate::measurement::Measurement;
use crate::numbers::{format_seconds, format_short, group_digits};
use crate::workload::WorkloadKind;

/// The plots of one comparison.
pub(super) fn comparison(summaries: &[TargetSummary<'_>]) -> String {
    [latency(summaries), rounds(summaries)].concat()
}

/// How rare a latency above this percentile is: 1 / (1 − percentile). Rare latencies get more room.
fn rarity(rank: f64) -> f64 {
    100.0 / (100.0 - rank.min(99.999))
}

/// Latency by percentile.
fn latency(summaries: &[TargetSummary<'_>]) -> String {
    let lines = summaries.iter().enumerate().map(|(color, summary)| {
        let ranks = summary.rows.iter().flat_map(|row| &row.latency_us);
        let mut ranks: Vec<f64> = ranks.map(|(rank, _)| *rank).collect();
        // Those below would lie upon each other at the left end.
        ranks.retain(|rank| *rank >= 50.0);
        ranks.sort_by(f64::total_cmp);
        ranks.dedup();
        let point = |rank| {
            (
                rarity(rank),
                summary.median(|row| percentile(row, rank)) / 1e6,
            )
        };
        Line {
            name: summary.name.to_owned(),
            color,
            points: ranks.into_iter().map(point).collect(),
            gave_up: None,
        }
    });
    let is_herd = summaries
        .iter()
        .flat_map(|summary| &summary.rows)
        .any(|row| row.herd.is_some());
    let labels = [50.0, 90.0, 99.0, 99.9, 99.99].map(|rank| (rarity(rank), format!("{rank} %")));
    let last = (rarity(100.0), "all".to_owned());
    Plot {
        title: if is_herd {
            "Time until this share of the answers had come"
        } else {
            "Latency of pushes by percentile"
        },
        x_title: "share of the pushes",
        x_labels: labels.into_iter().chain([last]).collect(),
        write_y: format_seconds,
        lines: lines.collect(),
    }
    .draw()
}

/// The main figure by round, if there are several.
fn rounds(summaries: &[TargetSummary<'_>]) -> String {
    let rows = || summaries.iter().flat_map(|summary| &summary.rows);
    let n_rounds = rows().map(|row| row.round).max().unwrap_or(0);
    if n_rounds < 2 {
        return String::new();
    }
    let is_herd = rows().any(|row| row.herd.is_some());
    let lines = summaries.iter().enumerate().map(|(color, summary)| {
        let figure = |row: &&Measurement| {
            let y = if is_herd {
                last_answer_seconds(row)
            } else {
                row.per_second
            };
            (f64::from(row.round), y)
        };
        Line {
            name: summary.name.to_owned(),
            color,
            points: summary.rows.iter().map(figure).collect(),
            gave_up: None,
        }
    });
    Plot {
        title: if is_herd {
            "Last answer after, by round"
        } else {
            "Pushes a second by round"
        },
        x_title: "round",
        x_labels: (1..=n_rounds)
            .map(|round| (f64::from(round), round.to_string()))
            .collect(),
        write_y: if is_herd {
            format_seconds
        } else {
            format_short
        },
        lines: lines.collect(),
    }
    .draw()
}

/// A figure that is plotted over the axis of a sweep: its title, how its values are written, and its
/// value.
type SweepFigure = (
    &'static str,
    fn(f64) -> String,
    fn(&TargetSummary<'_>) -> f64,
);

const CPU: SweepFigure = ("CPU per push", format_seconds, |s| s.median(cpu) / 1e6);
const SCRAPE: SweepFigure = ("Scrape", format_seconds, |s| s.median(last_byte_ms) / 1e3);
const RESIDENT: SweepFigure = ("Highest memory, MB", format_short, |s| {
    s.median(resident_mb)
});

const FIGURES: [SweepFigure; 5] = [
    ("Pushes a second", format_short, |s| {
        s.median(|row| row.per_second)
    }),
    CPU,
    ("99th percentile of the latency", format_seconds, |s| {
        s.median(|row| percentile(row, 99.0)) / 1e6
    }),
    SCRAPE,
    RESIDENT,
];

const HERD_FIGURES: [SweepFigure; 5] = [
    ("Last answer after", format_seconds, |s| {
        s.median(last_answer_seconds)
    }),
    ("Answered pushes", format_short, |s| {
        s.median(|row| row.herd.map_or(f64::NAN, |herd| herd.answered as f64))
    }),
    CPU,
    SCRAPE,
    RESIDENT,
];

/// The plots of a sweep: figures by the value of the axis.
pub(super) fn sweep(points: &[SweepPoint], axis: &str) -> String {
    let mut rows = points.iter().flat_map(|point| &point.rows);
    let is_herd = rows.any(|row| row.workload.kind == WorkloadKind::Herd);
    let figures = if is_herd { HERD_FIGURES } else { FIGURES };
    figures
        .map(|figure| sweep_plot(points, axis, figure))
        .concat()
}

/// A value of an axis in words.
pub(super) fn axis_value(value: f64) -> String {
    if value.fract() == 0.0 {
        group_digits(&format!("{value:.0}"))
    } else {
        value.to_string()
    }
}

fn sweep_plot(points: &[SweepPoint], axis: &str, (title, write_y, figure): SweepFigure) -> String {
    let mut lines: Vec<Line> = Vec::new();
    for point in points {
        for summary in TargetSummary::all(&point.rows, &point.gave_up) {
            let n = lines
                .iter()
                .position(|line| line.name == summary.name)
                .unwrap_or_else(|| {
                    lines.push(Line {
                        name: summary.name.to_owned(),
                        color: lines.len(),
                        points: Vec::new(),
                        gave_up: None,
                    });
                    lines.len() - 1
                });
            if summary.rows.is_empty() {
                let place = (point.value, axis_value(point.value));
                lines[n].gave_up.get_or_insert(place);
            } else {
                lines[n].points.push((point.value, figure(&summary)));
            }
        }
    }
    Plot {
        title: &format!("{title}, by {axis}"),
        x_title: axis,
        x_labels: points
            .iter()
            .map(|point| (point.value, axis_value(point.value)))
            .collect(),
        write_y,
        lines,
    }
    .draw()
}

#[cfg(test)]
mod tests {
    use super::super::samples::{herd, measured};
    use super::*;

    #[test]
    fn the_latency_plot_has_times_with_their_units() {
        let rows = [measured("self", 1, 1000.0), measured("floor", 1, 10.0)];
        let plot = comparison(&TargetSummary::all(&rows, &[]));
        // From 1 ms to 500 ms.
        for label in [">1 ms<", ">10 ms<", ">100 ms<", ">50 %<", ">all<"] {
            assert!(plot.contains(label), "{label} in {plot}");
        }
        assert!(!plot.contains("min"), "{plot}");
    }

    #[test]
    fn rounds_are_plotted_only_if_there_are_several() {
        let rows = [measured("self", 1, 1000.0), measured("self", 2, 900.0)];
        let plots = |rows| comparison(&TargetSummary::all(rows, &[]));
        assert_eq!(plots(&rows[..1]).matches("<figure>").count(), 1);
        assert!(plots(&rows).contains("Pushes a second by round"));
        assert!(plots(&[herd("self", 9, 0)]).contains("share of the answers"));
    }
}
