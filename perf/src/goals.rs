//! The performance goals of the gateway, compared with the figures that `perf/record` left in a
//! folder.
//!
//! Ratios are those of [`numbers`](crate::numbers): quotients within each round. The table shows
//! their median, the smallest and the largest of them.

use crate::numbers::{
    ByRound, format_figure, median, ratios_by_round, ratios_in_order, values as without_rounds,
};
use crate::results::{RecordedResults, cpu, p99, per_second};
use serde_json::Value;
use std::path::Path;

/// The largest or smallest value that meets a goal.
#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A row of the table: a goal, and the values that were measured.
struct Goal {
    what: &'static str,
    bound: Bound,
    unit: &'static str,
    values: Vec<f64>,
}

impl Goal {
    /// The cells of the row: what, goal, median, range, and whether the median meets the goal.
    fn cells(&self) -> [String; 5] {
        let Self {
            what,
            bound,
            unit,
            values,
        } = self;
        let (sign, limit) = match *bound {
            Bound::AtMost(limit) => ("≤", limit),
            Bound::AtLeast(limit) => ("≥", limit),
        };
        let limit_text = if limit.fract() == 0.0 {
            format!("{limit:.0}")
        } else {
            format!("{limit}")
        };
        let bound = format!("{sign} {limit_text} {unit}");
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let (Some(&least), Some(&greatest)) = (sorted.first(), sorted.last()) else {
            return [
                (*what).to_owned(),
                bound,
                "not measured".to_owned(),
                String::new(),
                String::new(),
            ];
        };
        let median = median(&sorted);
        let is_met = match *self {
            Goal {
                bound: Bound::AtMost(limit),
                ..
            } => median <= limit,
            Goal {
                bound: Bound::AtLeast(limit),
                ..
            } => median >= limit,
        };
        let spread = if sorted.len() > 1 {
            format!("{} – {}", format_figure(least), format_figure(greatest))
        } else {
            String::new()
        };
        [
            (*what).to_owned(),
            bound,
            format!("{} {unit}", format_figure(median)),
            spread,
            if is_met { "yes" } else { "**no**" }.to_owned(),
        ]
    }
}

/// All goals, in the order of the table.
fn goals(results: &RecordedResults) -> Vec<Goal> {
    let row = |what, bound, unit, values| Goal {
        what,
        bound,
        unit,
        values,
    };
    let most = |limit, what, values| row(what, Bound::AtMost(limit), "×", values);
    let least = |limit, what, values| row(what, Bound::AtLeast(limit), "×", values);
    let most_of = |limit, unit, what, values| row(what, Bound::AtMost(limit), unit, values);
    let grown = |groups| {
        ratios_by_round(
            &results.figures_of("p2-ends", "self", Some(groups), cpu),
            &results.figures_of("p2-ends", "floor", Some(groups), cpu),
        )
    };
    let ratio = |name, target, figure: fn(&Value) -> Option<f64>| {
        without_rounds(&results.ratios_to(name, target, figure))
    };
    let between = |of: &ByRound, to: &ByRound| without_rounds(&ratios_by_round(of, to));
    let rate = |name, target| ratio(name, target, per_second);
    let p99_beside_bulk = between(
        &results.figures_of("p11-bulk", "self", None, p99),
        &results.figures_of("p11-alone", "self", None, p99),
    );
    let p99_beside_others = between(
        &results.figures_of("p11-bulk", "self", None, p99),
        &results.figures_of("p11-elsewhere", "self", None, p99),
    );
    let bulk = results.figures_of("p11-bulk", "self", None, |line| {
        Some(line["bulk"]["bytes_per_second"].as_f64()? / 1e6)
    });
    // The machine's speed drifts from run to run. So each workload is first compared with bare
    // hyper in the same run, and then these ratios are compared.
    let fleet = results.ratios_to("p13-fleet", "floor", cpu);
    let structural = |name| between(&results.ratios_to(name, "floor", cpu), &fleet);
    let scraped = |name| results.scrape_figures("scrape", name);
    let after_some = ratios_in_order(
        &scraped("1 % pushed, plain: last byte"),
        &scraped("at rest, plain: last byte"),
    );
    let [idle, of_floor] =
        ["self", "floor"].map(|target| Vec::from_iter(results.idle_bytes(target)));
    vec![
        most(
            1.15,
            "CPU a push, 10,000 groups, gzip scrapes beside, against bare hyper",
            ratio("p1-fleet", "floor", cpu),
        ),
        least(0.9, "throughput of the same", rate("p1-fleet", "floor")),
        most(
            1.25,
            "the same CPU at 1,000,000 groups, against 1,000",
            between(&grown(1_000_000), &grown(1_000)),
        ),
        least(
            0.95,
            "a connection for each push: throughput against bare hyper",
            rate("p3-reconnect", "floor"),
        ),
        most(
            1.3,
            "p99 of an open loop at half of what drives bare hyper, against it",
            ratio("p4-open", "floor", p99),
        ),
        most(
            1.6,
            "the same with a gzip scrape each second",
            ratio("p4-open-scraped", "floor", p99),
        ),
        most(
            1.1,
            "scrape at rest, 100,000 groups, plain, against nginx",
            scraped("at rest / nginx, plain"),
        ),
        most(
            1.1,
            "the same against bare hyper with as many bytes",
            scraped("at rest / bare hyper, plain"),
        ),
        most(
            1.1,
            "scrape at rest, gzip, against nginx",
            scraped("at rest / nginx, gzip"),
        ),
        most(
            1.1,
            "the same against bare hyper with as many bytes",
            scraped("at rest / bare hyper, gzip"),
        ),
        most(
            1.15,
            "size of gzip at rest, against `gzip -1`",
            scraped("size, gzip, at rest / gzip -1"),
        ),
        most(
            2.0,
            "scrape at once after 1 % were pushed, plain, against one at rest",
            after_some,
        ),
        most_of(
            60.0,
            "ms",
            "the same, gzip",
            scraped("1 % pushed, gzip: last byte"),
        ),
        most_of(
            150.0,
            "ms",
            "scrape at once after all were pushed, gzip",
            scraped("all pushed, gzip: last byte"),
        ),
        most_of(
            150.0,
            "ms",
            "the same where it is expected",
            scraped("all pushed, expected, gzip: last byte"),
        ),
        most(
            2.2,
            "memory once scraped plain and gzip, of the exposition's bytes",
            scraped("resident, scraped plain and gzip / size, plain"),
        ),
        most(
            2.2,
            "memory at rest after all has been pushed many times",
            scraped("resident, at rest after all that / size, plain"),
        ),
        most(
            4.0,
            "highest beside pushes of all groups and scrapes",
            scraped("resident, highest beside pushes and scrapes / size, plain"),
        ),
        most_of(12.0, "MB", "idle process", scraped("resident, idle")),
        most_of(
            60.0,
            "MB",
            "30 s after 1,000,000 groups came, were scraped and went",
            results.scrape_figures("p9-delete", "resident, 30 s later"),
        ),
        least(
            2.0,
            "pushes/s, 1,000 groups, against VictoriaMetrics' import",
            rate("all-1000", "victoria-metrics"),
        ),
        least(
            5.0,
            "against the reference without its check",
            rate("all-1000", "reference-unchecked"),
        ),
        least(
            500.0,
            "against the reference",
            rate("all-1000", "reference"),
        ),
        row(
            "bodies of 100,000 series, one client",
            Bound::AtLeast(150.0),
            "MB/s",
            bulk.iter().map(|&(_, rate)| rate).collect(),
        ),
        most(
            2.0,
            "p99 of other pushers meanwhile, against undisturbed",
            p99_beside_bulk,
        ),
        most(
            2.0,
            "the same against where another process takes the bodies",
            p99_beside_others,
        ),
        most(
            1.0,
            "the same against bare hyper that throws the bodies away",
            ratio("p11-bulk", "floor", p99),
        ),
        most(
            1.05,
            "9,900 connections that pushed once: memory against bare hyper",
            ratios_in_order(&idle, &of_floor),
        ),
        most_of(
            100.0,
            "MB",
            "the same in all",
            idle.iter().map(|bytes| bytes / 1e6).collect(),
        ),
        most(
            1.5,
            "CPU of pushes that make groups, against new numbers, each against bare hyper",
            structural("p13-churn"),
        ),
        most(
            1.5,
            "the same in jobs that mix two sets of grouping labels",
            structural("p13-mixed"),
        ),
        most_of(
            6.0,
            "µs",
            "the generator's CPU a request",
            results.generator_costs("generator"),
        ),
        most(
            1.0,
            "the same against wrk",
            ratios_in_order(
                &results.generator_costs("generator"),
                &results.generator_costs("wrk"),
            ),
        ),
        most(
            1.2,
            "the same against a bare loop of send and recv",
            ratios_in_order(
                &results.generator_costs("generator"),
                &results.generator_costs("bare_loop"),
            ),
        ),
    ]
}

/// Makes the table in Markdown from the figures in `folder`. Goals without figures are shown as not
/// measured.
///
/// # Errors
///
/// The folder does not exist.
pub fn table(folder: &Path) -> Result<String, String> {
    if !folder.is_dir() {
        return Err(format!("{}: no such folder", folder.display()));
    }
    let head = ["what", "aim", "median", "least – greatest", "met"].map(str::to_owned);
    let rows: Vec<[String; 5]> = goals(&RecordedResults(folder.to_owned()))
        .iter()
        .map(Goal::cells)
        .collect();
    let widths: [usize; 5] = std::array::from_fn(|i| {
        rows.iter()
            .chain([&head])
            .map(|row| row[i].chars().count())
            .max()
            .unwrap_or(0)
    });
    let line = |row: &[String; 5]| {
        let cells = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("| {cell:width$} "));
        format!("{}|\n", cells.collect::<String>())
    };
    let rule = widths.map(|width| "-".repeat(width));
    let rule = rule
        .iter()
        .map(|dashes| format!("|-{dashes}-"))
        .collect::<String>();
    Ok(format!(
        "{}{rule}|\n{}",
        line(&head),
        rows.iter().map(line).collect::<String>()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_computed_within_a_round_and_missed_goals_are_marked() {
        let folder =
            std::env::temp_dir().join(format!("pushgateway-bench-targets-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let line = |target: &str, round: u64, cpu: f64| {
            format!("{{\"target\":\"{target}\",\"round\":{round},\"cpu_us\":{cpu}}}\n")
        };
        let lines = [
            ("self", 1, 12.0),
            ("floor", 1, 10.0),
            ("floor", 2, 20.0),
            ("self", 2, 20.0),
            ("self", 3, 13.0),
            ("floor", 3, 10.0),
        ];
        let text: String = lines
            .iter()
            .map(|&(target, round, cpu)| line(target, round, cpu))
            .collect();
        std::fs::write(folder.join("p1-fleet.jsonl"), text).unwrap();
        let table = table(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        let row = |start: &str| {
            let line = table
                .lines()
                .find(|line| line.starts_with(start))
                .unwrap_or_else(|| panic!("{start} in {table}"));
            line.split('|')
                .map(|cell| cell.trim().to_owned())
                .filter(|cell| !cell.is_empty())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            row("| CPU a push")[1..],
            ["≤ 1.15 ×", "1.20 ×", "1.00 – 1.30", "**no**"]
        );
        assert_eq!(
            row("| throughput of the same")[1..],
            ["≥ 0.9 ×", "not measured"]
        );
        assert!(super::table(&folder).is_err());
    }
}
