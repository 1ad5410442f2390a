//! The HTML page with tables and plots.

use super::charts;
use super::conditions::{conditions, generator_line};
use super::plot::escape;
use super::summary::{TargetSummary, Verdict, failures, figures, load_in_words, ratios, remarks};
use super::sweep::SweepPoint;
use crate::measurement::{GaveUp, Measurement};
use std::fmt::Write as _;
use std::path::Path;

/// A table of a page, with what is written above and below.
struct Section<'a> {
    /// Empty if the page has only this section.
    title: String,
    rows: &'a [Measurement],
    gave_up: &'a [GaveUp],
    notes: &'a [String],
}

/// Writes the page of one comparison.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_page(
    path: &Path,
    rows: &[Measurement],
    gave_up: &[GaveUp],
    notes: &[String],
) -> Result<(), String> {
    let section = Section {
        title: String::new(),
        rows,
        gave_up,
        notes,
    };
    let charts = charts::comparison(&TargetSummary::all(rows, gave_up));
    let page = page(&[section], &charts, "");
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes the page of a sweep, with a table for each point. `axis` is the name of the axis.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_sweep_page(path: &Path, points: &[SweepPoint], axis: &str) -> Result<(), String> {
    let sections: Vec<Section<'_>> = points
        .iter()
        .map(|point| Section {
            title: format!("{axis} = {}", charts::axis_value(point.value)),
            rows: &point.rows,
            gave_up: &point.gave_up,
            notes: &point.notes,
        })
        .collect();
    let page = page(&sections, "", &charts::sweep(points, axis));
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}

/// The whole page. `beside` are plots beside the tables, `above` plots above them.
fn page(sections: &[Section<'_>], beside: &str, above: &str) -> String {
    let conditions = conditions();
    let verdict = verdict(sections);
    let first = sections.iter().find_map(|section| section.rows.first());
    let mut load = first.map_or(String::new(), load_in_words);
    if sections.len() > 1 && !load.is_empty() {
        load = format!("First point: {load}");
    }
    let charts = |plots: &str| match plots {
        "" => String::new(),
        plots => format!("<div class=charts>\n{plots}</div>\n"),
    };
    let tables: String = sections.iter().map(section_html).collect();
    let title = if verdict.contains("class='verdict failed'") {
        "FAILED – pushgateway-bench"
    } else {
        "pushgateway-bench"
    };
    format!(
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<meta name=viewport content='width=device-width, initial-scale=1'>\n\
         <title>{title}</title>\n<style>\n{}</style>\n<h1>pushgateway-bench</h1>\n{verdict}\
         <code>{}</code>\n<p class=conditions>{}\n<p class=conditions>{}, {} cores, Linux {}, version {}. {}\n{}\
         <div class=points>\n{tables}{}</div>\n\
         <p class=conditions>Figures are medians over rounds; ± is half the distance between the quartiles. A ratio is the median of \
         the ratios of each round. CPU is the target's, scrapes included, divided by the number of answers.</p>\n",
        include_str!("style.css"),
        escape(&conditions.command),
        escape(&load),
        escape(&conditions.machine),
        conditions.cores,
        escape(&conditions.kernel),
        conditions.version,
        escape(&generator_line()),
        charts(above),
        charts(beside),
    )
}

/// The box at the top of the page: whether all checks passed, and why not.
fn verdict(sections: &[Section<'_>]) -> String {
    let (mut reasons, mut gave_up) = (String::new(), String::new());
    let mut unchecked: Vec<&str> = Vec::new();
    let mut is_measured = false;
    for section in sections {
        let summaries = TargetSummary::all(section.rows, section.gave_up);
        is_measured |= !section.rows.is_empty();
        for (target, why) in failures(&summaries) {
            let at = if section.title.is_empty() {
                String::new()
            } else {
                format!(", {}", section.title)
            };
            let _ = write!(reasons, "<p>{}{}</p><ul>", escape(&target), escape(&at));
            for reason in why {
                let _ = write!(reasons, "<li>{}", escape(&reason));
            }
            reasons.push_str("</ul>");
        }
        for one in section.gave_up {
            let _ = write!(gave_up, "<p>{}</p>", escape(&one.to_string()));
        }
        for summary in &summaries {
            if summary.verdict() == Verdict::Unchecked && !unchecked.contains(&summary.name) {
                unchecked.push(summary.name);
            }
        }
    }
    let not_checked = if unchecked.is_empty() {
        String::new()
    } else {
        format!(
            "<p>Scrapes do not show what was pushed, so they are not checked: {}.</p>",
            escape(&unchecked.join(", "))
        )
    };
    let (class, title) = match (reasons.is_empty(), is_measured) {
        (false, _) => ("failed", "FAILED"),
        (true, true) => ("passed", "Passed"),
        (true, false) => ("", "Not measured"),
    };
    format!("<div class='verdict {class}'><h2>{title}</h2>{reasons}{gave_up}{not_checked}</div>\n")
}

/// A table and its notes.
fn section_html(section: &Section<'_>) -> String {
    let summaries = TargetSummary::all(section.rows, section.gave_up);
    let mut html = "<section class=point>".to_owned();
    if !section.title.is_empty() {
        let _ = write!(html, "<h2>{}</h2>", escape(&section.title));
    }
    html.push_str("<div class=wide><table><thead><tr><th>target");
    for summary in &summaries {
        let name = summary.name.trim_start_matches("http://");
        let _ = write!(html, "<th>{}", escape(name));
    }
    html.push_str("<tbody>");
    for (title, cell) in figures(&summaries) {
        let _ = write!(html, "<tr><th>{title}");
        for summary in &summaries {
            let text = cell(summary);
            let class = match text.as_str() {
                "FAILED" => " class=failed",
                "passed" => " class=passed",
                _ => "",
            };
            let text = match text.split_once(" ±") {
                Some((median, spread)) => format!("{median} <small>±{spread}</small>"),
                None => text,
            };
            let _ = write!(html, "<td{class}>{text}");
        }
    }
    html.push_str("</table></div><ul class=notes>");
    let gave_up = section.gave_up.iter().map(ToString::to_string);
    let ratios = ratios(&summaries).into_iter();
    let notes = gave_up
        .chain(ratios.map(|(name, text)| format!("{name}: {text}")))
        .chain(remarks(&summaries))
        .chain(section.notes.iter().cloned());
    for note in notes {
        let _ = write!(html, "<li>{}", escape(&note));
    }
    html.push_str("</ul></section>\n");
    html
}

#[cfg(test)]
mod tests {
    use super::super::samples::{failed, gave_up, measured};
    use super::*;

    fn comparison(rows: &[Measurement], gave_up: &[GaveUp]) -> String {
        let section = Section {
            title: String::new(),
            rows,
            gave_up,
            notes: &[],
        };
        page(
            &[section],
            &charts::comparison(&TargetSummary::all(rows, gave_up)),
            "",
        )
    }

    #[test]
    fn a_failed_run_says_so_and_why_at_the_top_of_the_page() {
        let page = comparison(&[measured("floor", 1, 1000.0), failed("<self>")], &[]);
        assert!(page.contains("<title>FAILED"));
        let top = &page[page.find("</h1>").unwrap()..page.find("<code>").unwrap()];
        assert_eq!(
            top,
            "</h1>\n<div class='verdict failed'><h2>FAILED</h2><p>&lt;self></p><ul><li>nothing was answered\
             <li>1,234 requests were not answered: connection refused\
             <li>the last scrape failed: connection refused</ul></div>\n"
        );
        assert!(page.contains("<tr><th>result<td class=passed>passed<td class=failed>FAILED"));
        assert!(page.contains("<tr><th>p50<td>1 ms<td>–"));
    }

    #[test]
    fn a_run_that_passed_says_so_and_names_the_targets_that_are_not_checked() {
        let floor = Measurement {
            is_checked: false,
            ..measured("floor", 1, 1000.0)
        };
        let page = comparison(&[measured("self", 1, 1000.0), floor], &[]);
        assert!(page.contains("<div class='verdict passed'><h2>Passed</h2><p>Scrapes do not show what was pushed, so they are not checked: floor.</p>"));
        assert!(page.contains("<title>pushgateway-bench"));
        assert!(page.contains("similar values"));
    }

    #[test]
    fn a_page_follows_the_colors_of_the_screen() {
        let page = comparison(&[measured("self", 1, 1000.0)], &[]);
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("<meta name=viewport"));
    }

    #[test]
    fn a_sweep_shows_where_a_target_gave_up() {
        let points: Vec<SweepPoint> = [(1000.0, false), (100_000.0, true)]
            .map(|(value, is_too_much)| SweepPoint {
                value,
                rows: if is_too_much {
                    vec![measured("self", 1, 900.0)]
                } else {
                    vec![measured("self", 1, 1000.0), measured("reference", 1, 10.0)]
                },
                gave_up: if is_too_much {
                    vec![gave_up("reference")]
                } else {
                    Vec::new()
                },
                notes: Vec::new(),
            })
            .into();
        let charts = charts::sweep(&points, "groups");
        assert_eq!(
            charts.matches("reference (✕ gave up at 100,000)").count(),
            5,
            "{charts}"
        );
        let sections: Vec<Section<'_>> = points
            .iter()
            .map(|point| Section {
                title: point.value.to_string(),
                rows: &point.rows,
                gave_up: &point.gave_up,
                notes: &point.notes,
            })
            .collect();
        let page = page(&sections, "", &charts);
        assert!(page.contains("<tr><th>result<td class=passed>passed<td>gave up"));
        assert!(page.contains(
            "reference: gave up after 90 s with 4,893 of 100,000 groups; not measured here"
        ));
    }
}
