//! Plots as SVG.

use super::summary::{TargetSummary, percentile};
use super::sweep::SweepPoint;
use crate::numbers::format_figure;
use plotters::prelude::*;

/// Width and height of a plot in pixels.
const SIZE: (u32, u32) = (960, 480);
/// The y axis ends at this many times the largest value, so that the legend has room above the
/// lines.
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

/// Plots named lines on logarithmic axes. Points that are not finite and positive are left out.
/// Returns an empty text if no point is left.
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
            // The last label of the x axis is centred below the end of the axis and needs this
            // room.
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
            .y_label_formatter(&|value| format_figure(*value))
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

/// Latency by percentile. The x axis is 1 / (1 − percentile), so rare latencies get more room to
/// the right.
pub(super) fn latency_plot(summaries: &[TargetSummary<'_>]) -> Result<String, String> {
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

/// Throughput by round.
pub(super) fn rounds_plot(summaries: &[TargetSummary<'_>]) -> Result<String, String> {
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

/// The figure `value` by the value of the axis.
pub(super) fn sweep_plot(
    points: &[SweepPoint],
    axis: &str,
    title: &str,
    value: impl Fn(&TargetSummary<'_>) -> f64,
) -> Result<String, String> {
    let mut lines: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    // A logarithmic axis cannot show zero.
    for point in points.iter().filter(|point| point.value > 0.0) {
        for summary in TargetSummary::all(&point.rows) {
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
