//! Plots as SVG. Colors are those of the page's style sheet, which has them for light and for dark
//! screens.

use std::fmt::Write as _;

/// Number of colors in the style sheet: the classes `t0`, `t1`, ….
pub(super) const N_COLORS: usize = 6;

/// Width and height of a plot in its own units. The page scales plots to between 0.75 and 1.2 of
/// that.
const SIZE: (f64, f64) = (480.0, 300.0);
/// Room above and below the area of the lines.
const MARGIN: (f64, f64) = (12.0, 46.0);
/// Room at the left of that area; more if the labels need it. Plots side by side look better with
/// the same room.
const LEFT_MARGIN_MIN: f64 = 62.0;
/// Height of a line of text, and an upper bound of the mean width of its characters.
const TEXT_SIZE: (f64, f64) = (16.0, 7.2);
/// An axis is logarithmic if its largest value is more than this many times the smallest.
const LINEAR_RANGE_MAX: f64 = 10.0;

/// A line of a plot: the figures of one target.
pub(super) struct Line {
    pub(super) name: String,
    /// Which of the colors.
    pub(super) color: usize,
    /// Pairs of x and y, in the order of x. Missing figures are NaN.
    pub(super) points: Vec<(f64, f64)>,
    /// The x at which the target gave up, and that x in words.
    pub(super) gave_up: Option<(f64, String)>,
}

/// A plot of several lines over one axis.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) x_title: &'a str,
    /// Places on the x axis that have a label, in ascending order.
    pub(super) x_labels: Vec<(f64, String)>,
    /// How a value of the y axis is written.
    pub(super) write_y: fn(f64) -> String,
    pub(super) lines: Vec<Line>,
}

/// An axis: the values at its ends, and how they are spread in between.
#[derive(Clone, Copy, Debug)]
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Axis {
    /// An axis that begins and ends at the data, with a little room if `has_room`.
    fn around(values: impl Iterator<Item = f64>, has_room: bool) -> Self {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| {
            (low.min(v), high.max(v))
        });
        let is_log = low > 0.0 && high / low > LINEAR_RANGE_MAX;
        match (is_log, has_room) {
            (true, true) => Self {
                low: low / 1.15,
                high: high * 1.15,
                is_log,
            },
            // Lengths can only be compared if the axis begins at zero.
            (false, true) => Self {
                low: 0.0,
                high: high * 1.05,
                is_log,
            },
            (_, false) => Self { low, high, is_log },
        }
    }

    /// The place of a value: 0 at the low end of the axis, 1 at the high end.
    fn place(self, value: f64) -> f64 {
        let scale = |v: f64| if self.is_log { v.ln() } else { v };
        let span = scale(self.high) - scale(self.low);
        if span > 0.0 {
            (scale(value) - scale(self.low)) / span
        } else {
            0.5
        }
    }

    /// Round values on the axis, for labels: about five.
    fn round_values(self) -> Vec<f64> {
        if !self.is_log {
            let rough = (self.high - self.low) / 5.0;
            let power = 10_f64.powf(rough.log10().floor());
            let factor = [1.0, 2.0, 2.5, 5.0, 10.0];
            let step = factor.map(|factor| factor * power).into_iter();
            let step = step.into_iter().find(|step| *step >= rough * 0.999);
            let step = step.unwrap_or(power * 10.0);
            let first = (self.low / step).ceil() as i64;
            let last = (self.high / step).floor() as i64;
            return (first..=last).map(|n| n as f64 * step).collect();
        }
        let decades = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let with = |factors: &[f64]| -> Vec<f64> {
            let all = decades.clone().flat_map(|power| {
                factors
                    .iter()
                    .map(move |factor| factor * 10_f64.powi(power))
            });
            all.filter(|v| (self.low..=self.high).contains(v)).collect()
        };
        let powers = with(&[1.0]);
        match powers.len() {
            0..=1 => with(&[1.0, 2.0, 5.0]),
            2 => with(&[1.0, 3.0]),
            3..=6 => powers,
            n => powers.into_iter().step_by(n.div_ceil(6)).collect(),
        }
    }
}

/// Leaves out labels that would overlap with others. The last one stays.
fn without_overlaps(labels: &[(f64, String)]) -> Vec<&(f64, String)> {
    let mut kept: Vec<&(f64, String)> = Vec::new();
    let mut free_until = f64::MAX;
    for label in labels.iter().rev() {
        let half = text_width(&label.1) / 2.0;
        if label.0 + half <= free_until {
            free_until = label.0 - half - TEXT_SIZE.1;
            kept.push(label);
        }
    }
    kept.reverse();
    kept
}

fn text_width(text: &str) -> f64 {
    text.chars().count() as f64 * TEXT_SIZE.1
}

/// Makes text safe in HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

impl Plot<'_> {
    /// Draws the plot, with title and legend. Points that are not positive numbers are left out.
    /// Returns an empty text if no point is left.
    pub(super) fn draw(&self) -> String {
        let is_shown = |y: f64| y.is_finite() && y > 0.0;
        let points = || {
            let all = self.lines.iter().flat_map(|line| &line.points);
            all.filter(|(_, y)| is_shown(*y))
        };
        if points().next().is_none() {
            return String::new();
        }
        let gave_up = self.lines.iter().filter_map(|line| line.gave_up.as_ref());
        let x_values = points().map(|p| p.0).chain(gave_up.map(|(x, _)| *x));
        let (x_axis, y_axis) = (
            Axis::around(x_values, false),
            Axis::around(points().map(|p| p.1), true),
        );
        // The last label of the x axis stands below the end of the axis, half of it beyond.
        let last_label = self
            .x_labels
            .last()
            .map_or(0.0, |(_, text)| text_width(text));
        let y_labels: Vec<(f64, String)> = y_axis
            .round_values()
            .into_iter()
            .map(|y| (y, (self.write_y)(y)))
            .collect();
        let widest = y_labels.iter().map(|(_, text)| text_width(text));
        let left = widest.fold(LEFT_MARGIN_MIN, |left, width| left.max(width + 12.0));
        let (top, bottom) = MARGIN;
        let (right, floor) = (SIZE.0 - (last_label / 2.0).max(12.0), SIZE.1 - bottom);
        let x_of = |x: f64| left + (right - left) * x_axis.place(x);
        let y_of = |y: f64| floor - (floor - top) * y_axis.place(y);

        let mut svg = String::new();
        // Writing to a String cannot fail.
        for (y, text) in &y_labels {
            let at = y_of(*y);
            let _ = write!(
                svg,
                "<path class=grid d='M{left:.1} {at:.1}H{right:.1}'/><text class=y x='{:.1}' y='{:.1}'>{text}</text>",
                left - 8.0,
                at + 4.0
            );
        }
        let labels: Vec<(f64, String)> = self
            .x_labels
            .iter()
            .filter(|(x, _)| (x_axis.low..=x_axis.high).contains(x))
            .map(|(x, text)| (x_of(*x), text.clone()))
            .collect();
        for (at, text) in without_overlaps(&labels) {
            let _ = write!(
                svg,
                "<path class=tick d='M{at:.1} {floor:.1}v5'/><text class=x x='{at:.1}' y='{:.1}'>{}</text>",
                floor + 5.0 + TEXT_SIZE.0,
                escape(text)
            );
        }
        let _ = write!(
            svg,
            "<path class=axis d='M{left:.1} {floor:.1}H{right:.1}'/><text class=x x='{:.1}' y='{:.1}'>{}</text>",
            f64::midpoint(left, right),
            SIZE.1 - 6.0,
            escape(self.x_title)
        );
        for line in &self.lines {
            let shown = line.points.iter().filter(|(_, y)| is_shown(*y));
            let places: Vec<(f64, f64)> = shown.map(|&(x, y)| (x_of(x), y_of(y))).collect();
            let path: Vec<String> = places
                .iter()
                .map(|(x, y)| format!("{x:.1} {y:.1}"))
                .collect();
            let _ = write!(svg, "<g class=t{}>", line.color % N_COLORS);
            if places.len() > 1 {
                let _ = write!(svg, "<path class=line d='M{}'/>", path.join("L"));
            }
            for (x, y) in &places {
                let _ = write!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r=3.5 />");
            }
            if let Some((x, _)) = &line.gave_up {
                let at = x_of(*x);
                let height = places.last().map_or(floor - 8.0, |(_, y)| *y);
                if let Some((last, _)) = places.last() {
                    let _ = write!(svg, "<path class=lost d='M{last:.1} {height:.1}H{at:.1}'/>");
                }
                let _ = write!(
                    svg,
                    "<path class=line d='M{:.1} {:.1}l10 10m0 -10l-10 10'/>",
                    at - 5.0,
                    height - 5.0
                );
            }
            svg.push_str("</g>");
        }
        format!(
            "<figure><figcaption>{}</figcaption><p class=legend>{}</p><svg viewBox='0 0 {} {}' role=img aria-label='{}'>{svg}</svg></figure>\n",
            escape(self.title),
            self.legend(),
            SIZE.0,
            SIZE.1,
            escape(self.title).replace('\'', "&#39;")
        )
    }

    /// The names of all lines in their colors, and where targets gave up.
    fn legend(&self) -> String {
        let entry = |line: &Line| {
            let gave_up = line.gave_up.as_ref();
            let gave_up = gave_up.map_or(String::new(), |(_, at)| format!(" (✕ gave up at {at})"));
            format!(
                "<span class=t{}>{}{}</span> ",
                line.color % N_COLORS,
                escape(&line.name),
                escape(&gave_up)
            )
        };
        self.lines.iter().map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(points: &[(f64, f64)]) -> Line {
        Line {
            name: "self".to_owned(),
            color: 0,
            points: points.to_vec(),
            gave_up: None,
        }
    }

    fn plot(lines: Vec<Line>, x_labels: &[(f64, &str)]) -> String {
        let x_labels = x_labels.iter().map(|(x, text)| (*x, (*text).to_owned()));
        Plot {
            title: "pushes/s by groups",
            x_title: "groups",
            x_labels: x_labels.collect(),
            write_y: crate::numbers::format_short,
            lines,
        }
        .draw()
    }

    #[test]
    fn axes_end_near_the_data() {
        for values in [
            &[3.0, 4.0][..],
            &[0.02, 0.5, 900.0],
            &[150.0, 164_000.0],
            &[7.0],
        ] {
            let axis = Axis::around(values.iter().copied(), true);
            let max = values.iter().copied().fold(f64::MIN, f64::max);
            assert!(
                axis.high > max && axis.high < max * 1.2,
                "{values:?} {axis:?}"
            );
            let labels = axis.round_values();
            assert!((2..=8).contains(&labels.len()), "{values:?} {labels:?}");
            assert!(labels.iter().all(|&v| v >= axis.low && v <= axis.high));
        }
    }

    #[test]
    fn labels_that_would_overlap_are_left_out() {
        let labels = |places: &[f64]| {
            let labels: Vec<_> = places
                .iter()
                .map(|&at| (at, "100,000".to_owned()))
                .collect();
            without_overlaps(&labels)
                .iter()
                .map(|label| label.0)
                .collect::<Vec<f64>>()
        };
        assert_eq!(labels(&[0.0, 100.0, 200.0]), [0.0, 100.0, 200.0]);
        assert_eq!(labels(&[0.0, 10.0, 150.0, 190.0, 200.0]), [10.0, 200.0]);
    }

    #[test]
    fn missing_figures_are_not_drawn() {
        let points = [(1.0, 5.0), (2.0, f64::NAN), (3.0, 0.0), (4.0, 6.0)];
        assert_eq!(plot(vec![line(&points)], &[]).matches("<circle").count(), 2);
        assert_eq!(plot(vec![line(&[(1.0, f64::NAN)])], &[]), "");
        // A single point has no line, and still a place.
        let single = plot(vec![line(&[(1.0, 5.0)])], &[(1.0, "1")]);
        assert!(
            single.contains("<circle") && !single.contains("class=line") && !single.contains("NaN")
        );
    }

    #[test]
    fn a_plot_shows_where_a_target_gave_up() {
        let gave_up = |points: &[(f64, f64)]| Line {
            gave_up: Some((1e5, "100,000".to_owned())),
            ..line(points)
        };
        let both = plot(
            vec![gave_up(&[(1e3, 9.0), (1e4, 5.0)]), line(&[(1e5, 9.0)])],
            &[],
        );
        assert!(both.contains("self (✕ gave up at 100,000)"), "{both}");
        assert!(both.contains("class=lost"), "{both}");
        let never_measured = plot(vec![gave_up(&[]), line(&[(1e5, 9.0)])], &[]);
        assert!(
            never_measured.contains("l10 10m0 -10l-10 10")
                && !never_measured.contains("class=lost")
        );
    }
}
