//! The table that is printed.

use super::summary::{COLUMNS, TargetSummary, lateness, ratios};
use crate::measure::Measurement;

/// Prints the medians of each target, their ratios to the target `floor` (or to the last target),
/// and what went wrong.
pub fn print_table(rows: &[Measurement]) {
    if rows.is_empty() {
        return;
    }
    let summaries = TargetSummary::all(rows);
    let width = summaries
        .iter()
        .map(|summary| summary.name.len())
        .max()
        .unwrap_or(0)
        .max(6);
    println!(
        "\n{:width$}  {}",
        "target",
        COLUMNS.map(|(name, _)| format!("{name:>12}")).concat()
    );
    for summary in &summaries {
        println!(
            "{:width$}  {}",
            summary.name,
            COLUMNS
                .map(|(_, cell)| format!("{:>12}", cell(summary)))
                .concat()
        );
    }
    for (name, ratios) in ratios(&summaries) {
        println!("{name}: {ratios}");
    }
    for line in lateness(&summaries) {
        println!("{line}");
    }
    for row in rows {
        for violation in row.violations.iter().take(3) {
            println!("FAILED: {} round {}: {violation}", row.target, row.round);
        }
        for (kind, n) in &row.unanswered {
            println!(
                "FAILED: {} round {}: {n} pushes not answered: {kind}",
                row.target, row.round
            );
        }
        if row.is_generator_behind() {
            let busy = row.generator_busy * 100.0;
            println!(
                "{} round {}: the generator was behind its own schedule, busy or waiting for a core {busy:.0} % of the time: \
                 latencies are its own in part",
                row.target, row.round
            );
        }
        // The end of a run always cuts off up to one push per connection.
        if row.unsent > u64::from(row.connections) {
            println!(
                "{} round {}: {} pushes were due, and no connection was free for them",
                row.target, row.round, row.unsent
            );
        }
    }
}
