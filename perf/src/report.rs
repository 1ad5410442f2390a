//! What a reader gets: a table, lines of JSON, a page with plots.

use crate::measure::Row;
use crate::self_cost::{Cost, Cpu};
use plotters::prelude::*;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::OnceLock;

/// Medians of a target over its rounds.
struct Summary<'a> {
    name: &'a str,
    rows: Vec<&'a Row>,
}

impl<'a> Summary<'a> {
    fn all(rows: &'a [Row]) -> Vec<Self> {
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

    fn sorted(&self, value: impl Fn(&Row) -> f64) -> Vec<f64> {
        let mut values: Vec<f64> = self
            .rows
            .iter()
            .map(|row| value(row))
            .filter(|value| value.is_finite())
            .collect();
        values.sort_by(f64::total_cmp);
        values
    }

    fn median(&self, value: impl Fn(&Row) -> f64) -> f64 {
        let values = self.sorted(value);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Half the distance between the quartiles, of the median.
    fn spread_percent(&self, value: impl Fn(&Row) -> f64 + Copy) -> f64 {
        let values = self.sorted(value);
        if values.len() < 3 {
            return f64::NAN;
        }
        let quartile = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
        (quartile(0.75) - quartile(0.25)) / 2.0 / self.median(value) * 100.0
    }
}

fn percentile(row: &Row, rank: f64) -> f64 {
    row.latency_us
        .iter()
        .find(|(known, _)| *known == rank)
        .map_or(f64::NAN, |&(_, value)| value)
}

fn cpu(row: &Row) -> f64 {
    row.cpu_us.unwrap_or(f64::NAN)
}

fn last_byte_ms(row: &Row) -> f64 {
    let mut times: Vec<f64> = row
        .scrapes
        .iter()
        .map(|scrape| scrape.last_byte_seconds * 1e3)
        .collect();
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn resident_mb(row: &Row) -> f64 {
    row.usage
        .map_or(f64::NAN, |usage| usage.resident_bytes_max as f64 / 1e6)
}

type Column = (&'static str, fn(&Summary<'_>) -> String);

/// A number as the tables show it.
pub fn figure(value: f64) -> String {
    if value.is_nan() {
        "–".to_owned()
    } else if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

/// The value in the middle, NaN of none; of an even number the upper one.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

const COLUMNS: [Column; 11] = [
    ("pushes/s", |s| figure(s.median(|row| row.per_second))),
    ("±%", |s| figure(s.spread_percent(|row| row.per_second))),
    ("CPU µs", |s| figure(s.median(cpu))),
    ("±%", |s| figure(s.spread_percent(cpu))),
    ("p50 µs", |s| figure(s.median(|row| percentile(row, 50.0)))),
    ("p99 µs", |s| figure(s.median(|row| percentile(row, 99.0)))),
    ("p99.9 µs", |s| {
        figure(s.median(|row| percentile(row, 99.9)))
    }),
    ("scrape ms", |s| figure(s.median(last_byte_ms))),
    ("RSS MB", |s| figure(s.median(resident_mb))),
    ("generator µs", |s| {
        figure(s.median(|row| row.generator_cpu_us))
    }),
    ("truth", |s| {
        let n_lies: usize = s
            .rows
            .iter()
            .map(|row| row.lies.len() + row.lost.len())
            .sum();
        match (n_lies, s.rows.iter().all(|row| row.is_checked)) {
            (0, true) => "kept".to_owned(),
            (0, false) => "not checked".to_owned(),
            (n, _) => format!("FAILED ({n})"),
        }
    }),
];

/// Prints medians, ratios to the floor (or the last target), and what went wrong.
pub fn table(rows: &[Row]) {
    if rows.is_empty() {
        return;
    }
    let summaries = Summary::all(rows);
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
        for lie in row.lies.iter().take(3) {
            println!("FAILED: {} round {}: {lie}", row.target, row.round);
        }
        for (kind, n) in &row.lost {
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
        // One a connection is what the end of a run cuts off.
        if row.unsent > u64::from(row.connections) {
            println!(
                "{} round {}: {} pushes were due, and no connection was free for them",
                row.target, row.round, row.unsent
            );
        }
    }
}

/// How late pushes were sent, where they were due at a time.
fn lateness(summaries: &[Summary<'_>]) -> Vec<String> {
    let in_words = |summary: &Summary<'_>| {
        let worst = summary
            .rows
            .iter()
            .map(|row| row.generator_late_us)
            .fold(0.0, f64::max);
        let of_99 = summary.median(|row| row.generator_late_p99_us);
        let (of_99, worst) = (figure(of_99), figure(worst));
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

/// Two digits at least, however small.
fn ratio(value: f64) -> String {
    if value < 0.1 {
        format!("{value:.1e}")
    } else {
        format!("{value:.2}")
    }
}

fn ratios(summaries: &[Summary<'_>]) -> Vec<(String, String)> {
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

/// What the generator costs, once that was looked at.
pub static GENERATOR: OnceLock<Cost> = OnceLock::new();

/// What the figures were taken on and with.
#[derive(Serialize)]
struct Conditions {
    command: String,
    machine: String,
    cores: usize,
    kernel: String,
    version: &'static str,
    /// Of each request to a server that costs next to nothing.
    generator: Option<Cost>,
}

/// What the generator costs, in words.
pub fn generator_line() -> String {
    let Some(cost) = GENERATOR.get() else {
        return String::new();
    };
    let in_words = |cpu: Cpu| {
        format!(
            "{} µs ({} of them in the kernel)",
            figure(cpu.total_us()),
            figure(cpu.system_us)
        )
    };
    let wrk = cost.wrk.map_or("wrk is not installed".to_owned(), |wrk| {
        format!("wrk with the same load {}", in_words(wrk))
    });
    format!(
        "The generator takes {} of CPU for a request to a server that costs next to nothing; {wrk}; a bare loop of send and recv {}.",
        in_words(cost.generator),
        in_words(cost.bare_loop)
    )
}

fn conditions() -> Conditions {
    let first = |path: &str, start: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let line = text
            .lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_default()
            .to_owned();
        line.split_once(':')
            .map_or(line.clone(), |(_, value)| value.trim().to_owned())
    };
    let command: Vec<String> = std::env::args().skip(1).collect();
    Conditions {
        command: format!("pushgateway-bench {}", command.join(" ")),
        machine: first("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        kernel: first("/proc/sys/kernel/osrelease", ""),
        version: env!("CARGO_PKG_VERSION"),
        generator: GENERATOR.get().copied(),
    }
}

/// Raw figures, a line of JSON each, behind one that says what they were taken on and with. A line
/// is in the file as soon as it is written, so that an interrupted run keeps what it had.
pub struct JsonLines<'a>(Option<(&'a Path, std::fs::File)>);

impl<'a> JsonLines<'a> {
    /// Appends to this file, if there is one.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub fn open(path: Option<&'a Path>) -> Result<Self, String> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        let mut this = Self(Some((
            path,
            file.map_err(|error| format!("{}: {error}", path.display()))?,
        )));
        this.append(&conditions())?;
        Ok(this)
    }

    /// Writes a line.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn append<R: Serialize>(&mut self, row: &R) -> Result<(), String> {
        let Some((path, file)) = &mut self.0 else {
            return Ok(());
        };
        let line = serde_json::to_string(row).map_err(|error| error.to_string())?;
        writeln!(file, "{line}").map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// A point of a sweep.
pub struct Point {
    /// Where it is on the axis.
    pub value: f64,
    /// What was measured there.
    pub rows: Vec<Row>,
    /// What was not, and why.
    pub notes: Vec<String>,
}

/// What a point of a sweep has no rows for.
#[derive(Serialize)]
pub struct LeftOut<'a> {
    axis: &'a str,
    value: f64,
    left_out: &'a [String],
}

impl Point {
    /// Its notes, as a line of JSON.
    pub fn left_out<'a>(&'a self, axis: &'a str) -> LeftOut<'a> {
        LeftOut {
            axis,
            value: self.value,
            left_out: &self.notes,
        }
    }
}

/// Writes a page.
///
/// # Errors
///
/// The file cannot be written.
pub fn write(path: &Path, rows: &[Row], notes: &[String]) -> Result<(), String> {
    let summaries = Summary::all(rows);
    let plots = [latency_plot(&summaries)?, rounds_plot(&summaries)?].concat();
    write_page(path, &[(String::new(), rows, notes)], &plots)
}

/// Writes a page of a sweep.
///
/// # Errors
///
/// The file cannot be written.
pub fn write_sweep(path: &Path, points: &[Point], axis: &str) -> Result<(), String> {
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
    write_page(path, &sections, &plots.concat())
}

fn write_page(
    path: &Path,
    sections: &[(String, &[Row], &[String])],
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
        let summaries = Summary::all(rows);
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

const SIZE: (u32, u32) = (960, 480);
/// So many times the largest value an axis goes, for the legend to have room above the lines.
const LEGEND_ROOM: f64 = 20.0;

fn color(index: usize) -> RGBColor {
    const COLORS: [RGBColor; 6] = [
        RGBColor(0, 90, 181),
        RGBColor(220, 50, 32),
        RGBColor(26, 133, 85),
        RGBColor(212, 142, 21),
        RGBColor(93, 58, 155),
        RGBColor(90, 90, 90),
    ];
    COLORS[index % COLORS.len()]
}

/// Lines by name, on logarithmic axes if so wanted.
fn line_plot(
    title: &str,
    (x_title, y_title): (&str, &str),
    lines: &[(String, Vec<(f64, f64)>)],
    x_label: impl Fn(&f64) -> String,
) -> Result<String, String> {
    let points = || {
        lines
            .iter()
            .flat_map(|(_, points)| points)
            .filter(|(_, y)| y.is_finite() && *y > 0.0)
    };
    let range = |value: fn(&(f64, f64)) -> f64| {
        let (low, high) = points()
            .map(value)
            .fold((f64::MAX, f64::MIN), |(low, high), v| {
                (low.min(v), high.max(v))
            });
        (low, high)
    };
    if points().next().is_none() {
        return Ok(String::new());
    }
    let ((x_low, x_high), (y_low, y_high)) = (range(|p| p.0), range(|p| p.1));
    let mut svg = String::new();
    let failed = |error: &dyn std::fmt::Display| format!("cannot plot {title}: {error}");
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 22))
            .margin(16)
            // The last number of the axis is centred below its end.
            .margin_right(48)
            .x_label_area_size(44)
            .y_label_area_size(80)
            .build_cartesian_2d(
                (x_low..x_high.max(x_low * 1.01)).log_scale(),
                (y_low * 0.8..y_high * LEGEND_ROOM).log_scale(),
            )
            .map_err(|error| failed(&error))?;
        chart
            .configure_mesh()
            .x_desc(x_title)
            .y_desc(y_title)
            .x_label_formatter(&x_label)
            .y_label_formatter(&|value| figure(*value))
            .label_style(("sans-serif", 15))
            .light_line_style(WHITE)
            .draw()
            .map_err(|error| failed(&error))?;
        for (index, (name, points)) in lines.iter().enumerate() {
            let style = color(index).stroke_width(3);
            let points = points
                .iter()
                .copied()
                .filter(|(_, y)| y.is_finite() && *y > 0.0);
            chart
                .draw_series(LineSeries::new(points, style).point_size(3))
                .map_err(|error| failed(&error))?
                .label(name.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(RGBColor(200, 200, 200))
            .label_font(("sans-serif", 15))
            .draw()
            .map_err(|error| failed(&error))?;
        area.present().map_err(|error| failed(&error))?;
    }
    Ok(svg)
}

/// Latency by percentile: the further right, the rarer.
fn latency_plot(summaries: &[Summary<'_>]) -> Result<String, String> {
    let rarity = |rank: f64| 100.0 / (100.0 - rank.min(99.999));
    let lines: Vec<(String, Vec<(f64, f64)>)> = summaries
        .iter()
        .map(|summary| {
            let ranks: Vec<f64> = summary.rows[0]
                .latency_us
                .iter()
                .map(|&(rank, _)| rank)
                .collect();
            let points = ranks
                .into_iter()
                .map(|rank| (rarity(rank), summary.median(|row| percentile(row, rank))))
                .collect();
            (summary.name.to_owned(), points)
        })
        .collect();
    let label = |x: &f64| format!("{}%", ((100.0 - 100.0 / x) * 1e4).round() / 1e4);
    line_plot(
        "Latency of pushes by percentile",
        ("percentile", "µs"),
        &lines,
        label,
    )
}

fn rounds_plot(summaries: &[Summary<'_>]) -> Result<String, String> {
    let lines: Vec<(String, Vec<(f64, f64)>)> = summaries
        .iter()
        .map(|summary| {
            let points = summary
                .rows
                .iter()
                .map(|row| (f64::from(row.round), row.per_second))
                .collect();
            (summary.name.to_owned(), points)
        })
        .collect();
    line_plot(
        "Pushes a second, round by round",
        ("round", "pushes/s"),
        &lines,
        |x| format!("{x:.0}"),
    )
}

fn sweep_plot(
    points: &[Point],
    axis: &str,
    title: &str,
    value: impl Fn(&Summary<'_>) -> f64,
) -> Result<String, String> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    // Zero has no place on a logarithmic axis.
    for point in points.iter().filter(|point| point.value > 0.0) {
        for summary in Summary::all(&point.rows) {
            let place = (point.value, value(&summary));
            match lines.iter_mut().find(|(name, _)| name == summary.name) {
                Some((_, places)) => places.push(place),
                None => lines.push((summary.name.to_owned(), vec![place])),
            }
        }
    }
    line_plot(&format!("{title} by {axis}"), (axis, title), &lines, |x| {
        format!("{x}")
    })
}
