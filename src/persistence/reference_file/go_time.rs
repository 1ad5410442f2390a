//! Points in time as Go's `time.Time` encodes them.
//!
//! ```text
//! time    = version seconds nanoseconds zone [zone-seconds]
//! version = 1, or 2 with zone-seconds
//! seconds = 8 bytes since 0001-01-01T00:00:00Z, nanoseconds = 4 bytes, zone = 2 bytes: minutes east of UTC, -1 for UTC
//! ```
//!
//! All numbers are big-endian and signed. The zone says where the clock hung and nothing about the point
//! in time, so it is not kept.

use std::fmt;

/// Seconds from 0001-01-01T00:00:00Z to 1970-01-01T00:00:00Z.
const SECONDS_TO_UNIX_EPOCH: i64 = 62_135_596_800;

/// A point in time. Go's zero time, 0001-01-01T00:00:00Z, stands for "never", and is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoTime {
    unix_seconds: i64,
    nanoseconds: u32,
}

/// Why bytes are no point in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeDefect {
    /// The version is neither 1 nor 2.
    Version(u8),
    /// There are too few or too many bytes for the version.
    Length(usize),
    /// The nanoseconds are not between 0 and 999,999,999.
    Nanoseconds(i32),
    /// The seconds since 1970 do not fit 64 bits.
    Seconds(i64),
}

impl fmt::Display for TimeDefect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "a time has the unknown version {version}"),
            Self::Length(n_bytes) => write!(f, "a time has {n_bytes} bytes"),
            Self::Nanoseconds(n) => write!(f, "a time has {n} nanoseconds within its second"),
            Self::Seconds(n) => write!(f, "a time is {n} seconds after year 1, out of range"),
        }
    }
}

impl Default for GoTime {
    fn default() -> Self {
        Self::ZERO
    }
}

impl GoTime {
    /// Go's zero time.
    pub const ZERO: Self = Self {
        unix_seconds: -SECONDS_TO_UNIX_EPOCH,
        nanoseconds: 0,
    };

    /// The point in time `unix_seconds` and `nanoseconds` after the Unix epoch. `None` if there are
    /// 10⁹ nanoseconds or more, or if Go cannot express the seconds.
    pub fn new(unix_seconds: i64, nanoseconds: u32) -> Option<Self> {
        let is_valid = nanoseconds < 1_000_000_000
            && unix_seconds.checked_add(SECONDS_TO_UNIX_EPOCH).is_some();
        is_valid.then_some(Self {
            unix_seconds,
            nanoseconds,
        })
    }

    /// The point in time `unix_ns` nanoseconds after the Unix epoch; [`ZERO`](Self::ZERO) for 0, which
    /// stands for "never" in this gateway.
    pub fn from_unix_ns(unix_ns: i64) -> Self {
        if unix_ns == 0 {
            return Self::ZERO;
        }
        let nanoseconds = unix_ns.rem_euclid(1_000_000_000);
        Self {
            unix_seconds: unix_ns.div_euclid(1_000_000_000),
            nanoseconds: u32::try_from(nanoseconds).expect("a remainder below 10⁹"),
        }
    }

    /// Nanoseconds after the Unix epoch, between 1 and `i64::MAX`: this gateway knows no earlier and no
    /// later times. `None` for [`ZERO`](Self::ZERO).
    pub fn unix_ns(self) -> Option<i64> {
        if self == Self::ZERO {
            return None;
        }
        let unix_ns = i128::from(self.unix_seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        Some(i64::try_from(unix_ns.max(1)).unwrap_or(i64::MAX))
    }

    /// Whole seconds after the Unix epoch, rounded down.
    pub fn unix_seconds(self) -> i64 {
        self.unix_seconds
    }

    /// Nanoseconds after the [seconds](Self::unix_seconds), fewer than 10⁹.
    pub fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// Reads an encoded time.
    ///
    /// # Errors
    ///
    /// The bytes are no time.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TimeDefect> {
        let (&version, rest) = bytes.split_first().ok_or(TimeDefect::Length(0))?;
        let n_bytes = match version {
            1 => 15,
            2 => 16,
            _ => return Err(TimeDefect::Version(version)),
        };
        let length = TimeDefect::Length(bytes.len());
        if bytes.len() != n_bytes {
            return Err(length);
        }
        let (seconds, rest) = rest.split_first_chunk().ok_or(length)?;
        let (nanoseconds, _) = rest.split_first_chunk().ok_or(length)?;
        let (seconds, nanoseconds) = (
            i64::from_be_bytes(*seconds),
            i32::from_be_bytes(*nanoseconds),
        );
        let unix_seconds = seconds
            .checked_sub(SECONDS_TO_UNIX_EPOCH)
            .ok_or(TimeDefect::Seconds(seconds))?;
        u32::try_from(nanoseconds)
            .ok()
            .and_then(|nanoseconds| Self::new(unix_seconds, nanoseconds))
            .ok_or(TimeDefect::Nanoseconds(nanoseconds))
    }

    /// The time as the reference encodes it where the local time is UTC: 0 minutes east of UTC.
    pub fn to_bytes(self) -> [u8; 15] {
        let mut bytes = [1; 15];
        bytes[1..9].copy_from_slice(&(self.unix_seconds + SECONDS_TO_UNIX_EPOCH).to_be_bytes());
        bytes[9..13].copy_from_slice(&self.nanoseconds.to_be_bytes());
        bytes[13..].fill(0);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect()
    }

    #[test]
    fn times_are_read_as_go_encoded_them() {
        for (hex, unix_seconds, nanoseconds) in [
            ("010000000e7791f70000000000ffff", 0, 0),
            ("010000000ee2957e4e2e38f297ffff", 1_795_393_358, 775_484_055),
            // 1900-01-01T00:00:00 at 1 h 17 s east of UTC.
            ("020000000df3e76a5f00000000003c11", -2_208_992_417, 0),
            // 2026-11-28T05:33:03.638822538+01:00.
            ("010000000ee29c507f2613a88a003c", 1_795_840_383, 638_822_538),
            ("010000000000000000" /* year 1 */, -62_135_596_800, 0),
        ] {
            let hex = format!("{hex:0<30}");
            let time = GoTime::from_bytes(&bytes(&hex)).unwrap();
            assert_eq!(Some(time), GoTime::new(unix_seconds, nanoseconds), "{hex}");
            assert_eq!(GoTime::from_bytes(&time.to_bytes()), Ok(time), "{hex}");
            assert_eq!(time.to_bytes()[1..13], bytes(&hex)[1..13], "{hex}");
        }
    }

    #[test]
    fn bytes_that_are_no_time_are_refused() {
        for (hex, defect) in [
            ("", TimeDefect::Length(0)),
            ("01", TimeDefect::Length(1)),
            ("010000000e7791f70000000000ff", TimeDefect::Length(14)),
            ("010000000e7791f70000000000ffff00", TimeDefect::Length(16)),
            ("020000000e7791f70000000000ffff", TimeDefect::Length(15)),
            ("030000000e7791f70000000000ffff", TimeDefect::Version(3)),
            (
                "010000000e7791f7003b9aca00ffff",
                TimeDefect::Nanoseconds(1_000_000_000),
            ),
            (
                "010000000e7791f700ffffffffffff",
                TimeDefect::Nanoseconds(-1),
            ),
            (
                "01800000000000000000000000ffff",
                TimeDefect::Seconds(i64::MIN),
            ),
        ] {
            assert_eq!(GoTime::from_bytes(&bytes(hex)), Err(defect), "{hex}");
        }
        assert_eq!(GoTime::new(i64::MAX, 0), None);
        assert_eq!(GoTime::new(0, 1_000_000_000), None);
    }

    #[test]
    fn times_out_of_the_range_of_this_gateway_become_the_nearest_in_range() {
        let unix_ns = |seconds, nanoseconds| GoTime::new(seconds, nanoseconds).unwrap().unix_ns();
        assert_eq!(unix_ns(1, 5), Some(1_000_000_005));
        assert_eq!((unix_ns(0, 0), unix_ns(-1, 5)), (Some(1), Some(1)));
        assert_eq!(unix_ns(i64::MAX / 1_000, 0), Some(i64::MAX));
        assert_eq!(GoTime::ZERO.unix_ns(), None);
        for unix_ns in [1, 999_999_999, 1_795_393_358_775_484_055, i64::MAX] {
            assert_eq!(GoTime::from_unix_ns(unix_ns).unix_ns(), Some(unix_ns));
        }
        assert_eq!(GoTime::from_unix_ns(0), GoTime::ZERO);
        assert_eq!(
            GoTime::from_unix_ns(-1),
            GoTime::new(-1, 999_999_999).unwrap()
        );
    }
}
