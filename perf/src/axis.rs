//! The axis of a sweep: the setting that varies from point to point.

use crate::measure::LoadSettings;
use crate::workload::N_FLEET_LINES;
use clap::ValueEnum;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Axis {
    /// Number of groups.
    Groups,
    /// Number of connections.
    Connections,
    /// Lines with a value in each push.
    Lines,
    /// Seconds between scrapes during the run; 0 for no scrapes.
    ScrapeInterval,
}

impl Axis {
    /// The name, as `--axis` accepts it and as reports show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Connections => "connections",
            Self::Lines => "lines",
            Self::ScrapeInterval => "scrape-interval",
        }
    }

    /// The values of a sweep without `--points`.
    pub fn default_values(self) -> &'static [f64] {
        match self {
            Self::Groups => &[100.0, 1000.0, 10_000.0, 100_000.0],
            Self::Connections => &[1.0, 8.0, 64.0, 512.0],
            Self::Lines => &[12.0, 100.0, 1000.0, 10_000.0],
            Self::ScrapeInterval => &[0.5, 1.0, 5.0, 15.0],
        }
    }

    /// Changes the setting of this axis to a value.
    ///
    /// # Errors
    ///
    /// The value is out of range.
    pub fn set(self, value: f64, settings: &mut LoadSettings) -> Result<(), String> {
        let whole = |least: u32| {
            let is_one =
                value.fract() == 0.0 && (f64::from(least)..=f64::from(u32::MAX)).contains(&value);
            let name = self.name();
            if is_one {
                Ok(value as u32)
            } else {
                Err(format!(
                    "--points: {name} are whole numbers from {least} on, not {value}"
                ))
            }
        };
        match self {
            Self::Groups => settings.workload.groups = whole(1)?,
            Self::Connections => settings.connections = whole(1)?,
            Self::Lines => settings.workload.lines = whole(N_FLEET_LINES as u32)?,
            Self::ScrapeInterval => settings.scrape_interval = interval("--points", value)?,
        }
        Ok(())
    }
}

/// Converts seconds to a duration. `name` is named in the error.
pub fn interval(name: &str, seconds: f64) -> Result<Duration, String> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| format!("{name}: {seconds} is no number of seconds"))
}
