//! Figures: medians, ratios, and how both are written.
//!
//! Ratios are computed in one way everywhere: a figure is divided by the other figure of the same
//! round, and the ratio of the two is the median of these quotients. So a machine whose speed
//! drifts from round to round does not change a ratio.
//!
//! A missing figure is NaN, and is written as a dash. It counts neither in medians nor in ratios.

/// The figures of a target, as pairs of round and value.
pub type ByRound = Vec<(u64, f64)>;

/// Writes a figure for a table: no decimals from 100 on, else two, or more if the first two are
/// zeros; groups of three digits; a dash for a missing figure.
pub fn format_figure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if value == 0.0 {
        "0".to_owned()
    } else if size >= 99.995 {
        group_digits(&format!("{value:.0}"))
    } else if size >= 0.01 {
        format!("{value:.2}")
    } else if size >= 1e-6 {
        // Two digits that are not zero.
        let decimals = (1.0 - size.log10().floor()) as usize;
        format!("{value:.decimals$}")
    } else {
        format!("{value:.1e}")
    }
}

/// Puts commas between groups of three digits of a whole number.
pub fn group_digits(number: &str) -> String {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", number),
    };
    let mut out = sign.to_owned();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes a number in few characters, with at most three significant digits: 950, 1.2k, 30M.
pub fn format_short(value: f64) -> String {
    let (scaled, unit) = match value.abs() {
        size if size >= 999.5e6 => (value / 1e9, "G"),
        size if size >= 999.5e3 => (value / 1e6, "M"),
        size if size >= 999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 99.95 || size == 0.0 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.1 => 2,
        size => (1.0 - size.log10().floor()) as usize,
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{unit}")
}

/// Writes how often something happens: by the second, or by the minute if it is rare.
pub fn format_rate(per_second: f64) -> String {
    match per_second {
        rate if !rate.is_finite() => "–".to_owned(),
        rate if rate >= 1.0 || rate == 0.0 => format!("{}/s", format_short(rate)),
        rate => format!("{}/min", format_short(rate * 60.0)),
    }
}

/// Writes a time in the unit that suits it: 85 µs, 1.3 ms, 42 s, 3 min 20 s, 2 h 5 min.
pub fn format_seconds(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".to_owned();
    }
    let whole = seconds.round() as u64;
    match seconds {
        _ if whole >= 3600 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ if whole >= 100 => format!("{} min {} s", whole / 60, whole % 60),
        0.0 => "0 s".to_owned(),
        _ if seconds >= 0.9995 => format!("{} s", format_short(seconds)),
        _ if seconds >= 0.999_5e-3 => format!("{} ms", format_short(seconds * 1e3)),
        _ => format!("{} µs", format_short(seconds * 1e6)),
    }
}

/// The median: the middle value, or the mean of the middle two; NaN if there are no values. Missing
/// values do not count.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The values of all rounds, without the rounds.
pub fn values(by_round: &[(u64, f64)]) -> Vec<f64> {
    by_round.iter().map(|&(_, value)| value).collect()
}

/// Divides figures by figures of the same round. Rounds that one side lacks, and quotients that are
/// no number, are left out.
pub fn ratios_by_round(of: &[(u64, f64)], to: &[(u64, f64)]) -> ByRound {
    let other = |round: u64| to.iter().find(|(other, _)| *other == round);
    of.iter()
        .filter_map(|&(round, value)| Some((round, value / other(round)?.1)))
        .filter(|(_, ratio)| ratio.is_finite())
        .collect()
}

/// Divides figures by figures of the same round, where both are in the order of their rounds. If
/// one side was measured several times a round, its figure of a round is the median of these.
pub fn ratios_in_order(of: &[f64], to: &[f64]) -> Vec<f64> {
    let n_rounds = of.len().min(to.len());
    let of_round = |all: &[f64], round: usize| {
        let each = all.len() / n_rounds;
        median(&all[round * each..(round + 1) * each])
    };
    (0..n_rounds)
        .map(|round| of_round(of, round) / of_round(to, round))
        .filter(|ratio| ratio.is_finite())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        for (values, expected) in [
            (&[3.0][..], 3.0),
            (&[4.0, 1.0], 2.5),
            (&[9.0, 1.0, 2.0], 2.0),
            (&[8.0, 1.0, 2.0, 4.0], 3.0),
            (&[f64::NAN, 1.0, 2.0, f64::INFINITY], 1.5),
        ] {
            assert_eq!(median(values), expected, "{values:?}");
        }
        assert!(median(&[]).is_nan() && median(&[f64::NAN]).is_nan());
    }

    #[test]
    fn a_missing_figure_is_a_dash_and_zero_is_zero() {
        for (value, text) in [
            (f64::NAN, "–"),
            (f64::INFINITY, "–"),
            (0.0, "0"),
            (0.004_21, "0.0042"),
            (3e-9, "3.0e-9"),
            (0.5, "0.50"),
            (12.345, "12.35"),
            (99.999, "100"),
            (164_230.4, "164,230"),
            (-1234.0, "-1,234"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(format_figure(value), text, "{value}");
        }
    }

    #[test]
    fn numbers_and_times_have_a_unit_that_suits_them() {
        for (value, text) in [
            (0.0, "0"),
            (0.05, "0.05"),
            (12.5, "12.5"),
            (999.0, "999"),
            (1000.0, "1k"),
            (164_230.0, "164k"),
            (999_999.0, "1M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(format_short(value), text, "{value}");
        }
        for (value, text) in [
            (f64::NAN, "–"),
            (0.0, "0/s"),
            (0.05, "3/min"),
            (1.0, "1/s"),
            (164_230.0, "164k/s"),
        ] {
            assert_eq!(format_rate(value), text, "{value}");
        }
        for (value, text) in [
            (f64::NAN, "–"),
            (0.0, "0 s"),
            (0.000_085, "85 µs"),
            (0.001_3, "1.3 ms"),
            (0.999_9, "1 s"),
            (42.0, "42 s"),
            (200.0, "3 min 20 s"),
            (7500.0, "2 h 5 min"),
        ] {
            assert_eq!(format_seconds(value), text, "{value}");
        }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_quotients_of_each_round() {
        // The third round ran on a machine that was ten times slower. The ratio of the medians
        // would be 2.5.
        let of = [(1, 10.0), (2, 25.0), (3, 300.0), (4, 9.0)];
        let to = [(3, 100.0), (1, 10.0), (2, 10.0), (4, f64::NAN)];
        let ratios = ratios_by_round(&of, &to);
        assert_eq!(ratios, [(1, 1.0), (2, 2.5), (3, 3.0)]);
        assert_eq!(median(&values(&ratios)), 2.5);
        assert!(ratios_by_round(&of, &[(1, 0.0)]).is_empty());
    }

    #[test]
    fn a_figure_that_was_measured_several_times_a_round_counts_with_its_median() {
        let at_rest = [1.0, 2.0, 9.0, 4.0, 4.0, 4.0];
        assert_eq!(ratios_in_order(&[4.0, 2.0], &at_rest), [2.0, 0.5]);
        assert_eq!(ratios_in_order(&[4.0, 2.0], &[1.0, 4.0]), [4.0, 0.5]);
        assert!(ratios_in_order(&[], &[1.0]).is_empty());
    }
}
