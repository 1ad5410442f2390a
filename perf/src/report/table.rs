//! The table that is printed.

use super::summary::{TargetSummary, failures, figures, load_in_words, ratios, remarks};
use crate::measurement::{GaveUp, Measurement};
use std::fmt::Write as _;

/// Prints why the run has failed, if it has, the medians of each target, and their ratios to the
/// target `floor` (or to the last target).
pub fn print_table(rows: &[Measurement], gave_up: &[GaveUp]) {
    print!("{}", table(rows, gave_up));
}

fn table(rows: &[Measurement], gave_up: &[GaveUp]) -> String {
    let summaries = TargetSummary::all(rows, gave_up);
    let mut out = "\n".to_owned();
    // Writing to a String cannot fail.
    for (target, reasons) in failures(&summaries) {
        let _ = writeln!(out, "FAILED: {target}");
        for reason in reasons {
            let _ = writeln!(out, "    {reason}");
        }
    }
    for one in gave_up {
        let _ = writeln!(out, "{one}");
    }
    let Some(first) = rows.first() else {
        return out;
    };
    let _ = writeln!(out, "{}", load_in_words(first));
    let figures = figures(&summaries);
    let width_of = |text: &str| text.chars().count();
    let title_width = figures.iter().map(|(title, _)| width_of(title)).max();
    let title_width = title_width.unwrap_or(0);
    let columns: Vec<Vec<String>> = summaries
        .iter()
        .map(|summary| {
            let cells = figures.iter().map(|(_, cell)| cell(summary));
            [summary.name.to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    let titles = ["target"]
        .into_iter()
        .chain(figures.iter().map(|(title, _)| *title));
    for (line, title) in titles.enumerate() {
        let _ = write!(out, "{title:title_width$}");
        for column in &columns {
            let width = column.iter().map(|cell| width_of(cell)).max().unwrap_or(0);
            let _ = write!(out, "  {:>width$}", column[line]);
        }
        out.push('\n');
    }
    for (name, ratios) in ratios(&summaries) {
        let _ = writeln!(out, "{name}: {ratios}");
    }
    for remark in remarks(&summaries) {
        let _ = writeln!(out, "{remark}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::samples::{failed, gave_up, herd, measured};
    use super::*;

    #[test]
    fn a_failed_run_says_so_and_why_at_the_top() {
        let table = table(&[measured("floor", 1, 1000.0), failed("self")], &[]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[1..5],
            [
                "FAILED: self",
                "    nothing was answered",
                "    1,234 requests were not answered: connection refused",
                "    the last scrape failed: connection refused",
            ],
            "{table}"
        );
        let result = lines
            .iter()
            .find(|line| line.starts_with("result"))
            .unwrap();
        assert_eq!(
            result.split_whitespace().collect::<Vec<_>>(),
            ["result", "passed", "FAILED"]
        );
    }

    #[test]
    fn a_missing_figure_is_a_dash() {
        let table = table(&[failed("self")], &[]);
        for title in [
            "CPU per push",
            "p50",
            "p99",
            "p99.9",
            "scrape",
            "highest memory",
            "generator CPU",
        ] {
            let line = table.lines().find(|line| line.starts_with(title)).unwrap();
            assert!(line.ends_with(" –"), "{line}");
        }
        let line = table
            .lines()
            .find(|line| line.starts_with("pushes/s"))
            .unwrap();
        assert!(line.ends_with(" 0"), "{line}");
    }

    #[test]
    fn reasons_are_counted_over_rounds_and_cut_off() {
        let with = |round: u32, violations: &[&str]| Measurement {
            violations: violations.iter().map(ToString::to_string).collect(),
            ..measured("self", round, 1000.0)
        };
        let rows = [
            with(1, &["group 1 is missing", "group 2 is missing", "b"]),
            with(2, &["group 1 is missing", "c", "d", "e", "f", "g", "h"]),
            with(3, &[]),
        ];
        let table = table(&rows, &[]);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[1..9],
            [
                "FAILED: self in 2 of 3 rounds",
                "    rounds 1, 2: group 1 is missing (and 1 like this)",
                "    round 1: b",
                "    round 2: c",
                "    round 2: d",
                "    round 2: e",
                "    round 2: f",
                "    and 2 more",
            ]
        );
    }

    #[test]
    fn a_ratio_to_a_missing_figure_is_left_out() {
        let without_cpu = Measurement {
            cpu_us: None,
            ..measured("self", 1, 1000.0)
        };
        let table = table(&[without_cpu, measured("floor", 1, 500.0)], &[]);
        let expected = "self / floor: 2.00 × the throughput, 0.50 × the p99\n";
        assert!(table.contains(expected), "{table}");
    }

    #[test]
    fn ratios_of_a_table_are_medians_of_the_ratios_of_each_round() {
        let rows = [
            measured("self", 1, 1000.0),
            measured("floor", 1, 1000.0),
            measured("self", 2, 300.0),
            measured("floor", 2, 100.0),
        ];
        let table = table(&rows, &[]);
        assert!(
            table.contains("self / floor: 2.00 × the throughput, "),
            "{table}"
        );
        assert!(
            table
                .lines()
                .any(|line| line.starts_with("pushes/s") && line.contains("650")),
            "{table}"
        );
    }

    #[test]
    fn a_target_that_gave_up_has_a_column_of_dashes() {
        let table = table(&[measured("self", 1, 1000.0)], &[gave_up("reference")]);
        assert!(
            table.starts_with(
                "\nreference: gave up after 90 s with 4,893 of 100,000 groups; not measured here\n"
            ),
            "{table}"
        );
        let line = |title: &str| {
            let line = table.lines().find(|line| line.starts_with(title)).unwrap();
            line.split_whitespace().last().unwrap().to_owned()
        };
        assert_eq!([line("target"), line("pushes/s")], ["reference", "–"]);
        assert!(table.contains("gave up\n"));
    }

    #[test]
    fn the_kind_of_values_is_named() {
        let table = table(&[measured("self", 1, 1000.0)], &[]);
        assert!(
            table.contains(
                "Workload fleet: 1,000 groups, 12 lines a push, similar values, 64 connections, closed loop, \
                 a scrape every 5 s"
            ),
            "{table}"
        );
    }

    #[test]
    fn a_herd_shows_what_became_of_its_pushes() {
        let table = table(
            &[
                herd("self", 9000, 0),
                herd("reference", 9000, 0),
                Measurement {
                    round: 2,
                    ..herd("reference", 4893, 4107)
                },
            ],
            &[],
        );
        let line = |title: &str| {
            let line = table.lines().find(|line| line.starts_with(title)).unwrap();
            line[title.len()..]
                .split("  ")
                .filter(|cell| !cell.is_empty())
                .map(|cell| cell.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(line("result"), ["passed", "FAILED"]);
        assert_eq!(line("answered, worst round"), ["9,000", "4,893"]);
        assert_eq!(line("lost, worst round"), ["0", "4,107"]);
        assert_eq!(line("last answer after"), ["500 ms", "500 ms"]);
        assert!(
            table.contains("FAILED: reference in 1 of 2 rounds\n    round 2: 4,107 requests were not answered: timed out\n"),
            "{table}"
        );
    }
}
