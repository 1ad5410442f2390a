//! The HTML page with tables and plots.

use super::conditions::{conditions, generator_line};
use super::plot::{latency_plot, rounds_plot, sweep_plot};
use super::summary::{
    COLUMNS, TargetSummary, cpu, last_byte_ms, lateness, percentile, ratios, resident_mb,
};
use super::sweep::SweepPoint;
use crate::measure::Measurement;
use std::fmt::Write as _;
use std::path::Path;

/// Writes the page of one comparison. `notes` are printed below its table.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_page(path: &Path, rows: &[Measurement], notes: &[String]) -> Result<(), String> {
    let summaries = TargetSummary::all(rows);
    let plots = [latency_plot(&summaries)?, rounds_plot(&summaries)?].concat();
    write_sections(path, &[(String::new(), rows, notes)], &plots)
}

/// Writes the page of a sweep, with a table for each point. `axis` is the name of the axis.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_sweep_page(path: &Path, points: &[SweepPoint], axis: &str) -> Result<(), String> {
    let plots = [
        sweep_plot(points, axis, "pushes/s", |summary| {
            summary.median(|row| row.per_second)
        })?,
        sweep_plot(points, axis, "CPU µs a push", |summary| {
            summary.median(cpu)
        })?,
        sweep_plot(points, axis, "p99 µs", |summary| {
            summary.median(|row| percentile(row, 99.0))
        })?,
        sweep_plot(points, axis, "scrape ms", |summary| {
            summary.median(last_byte_ms)
        })?,
        sweep_plot(points, axis, "RSS MB", |summary| {
            summary.median(resident_mb)
        })?,
    ];
    let sections: Vec<_> = points
        .iter()
        .map(|point| {
            (
                format!("{axis} = {}", point.value),
                &point.rows[..],
                &point.notes[..],
            )
        })
        .collect();
    write_sections(path, &sections, &plots.concat())
}

/// Writes a page with a table for each section (title, rows and notes), and the plots, which are
/// SVG.
fn write_sections(
    path: &Path,
    sections: &[(String, &[Measurement], &[String])],
    plots: &str,
) -> Result<(), String> {
    let conditions = conditions();
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let mut tables = String::new();
    for (title, rows, notes) in sections {
        // Writing to a String cannot fail.
        let _ = write!(
            tables,
            "<h2>{}</h2><div class=wide><table><tr><th>target",
            escape(title)
        );
        COLUMNS
            .iter()
            .for_each(|(name, _)| tables.push_str(&format!("<th>{name}")));
        let summaries = TargetSummary::all(rows);
        for summary in &summaries {
            let _ = write!(tables, "<tr><th>{}", escape(summary.name));
            COLUMNS
                .iter()
                .for_each(|(_, cell)| tables.push_str(&format!("<td>{}", cell(summary))));
        }
        tables.push_str("</table></div><ul>");
        for line in lateness(&summaries) {
            let _ = write!(tables, "<li>{}", escape(&line));
        }
        for (name, text) in ratios(&summaries) {
            let _ = write!(tables, "<li>{}: {text}", escape(&name));
        }
        for note in *notes {
            let _ = write!(tables, "<li>{}", escape(note));
        }
        tables.push_str("</ul>");
    }
    let page = format!(
        "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>pushgateway-bench</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}}\
         table{{border-collapse:collapse}}th,td{{padding:.3rem .8rem;text-align:right;border-bottom:1px solid #ddd}}th:first-child{{text-align:left}}\
         .wide{{overflow-x:auto}}td,th{{white-space:nowrap}}svg{{max-width:100%;height:auto;margin:1rem 0}}code{{background:#f4f4f4;padding:.1rem .3rem}}</style>\n\
         <h1>pushgateway-bench</h1>\n<p><code>{}</code><p>{}, {} cores, Linux {}, version {}. Medians over rounds; ± is half the distance \
         between the quartiles. CPU is the target's, for each push, scrapes included; generator is this program's. {}\n{tables}\n{plots}\n",
        escape(&conditions.command),
        escape(&conditions.machine),
        conditions.cores,
        escape(&conditions.kernel),
        conditions.version,
        escape(&generator_line()),
    );
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}
