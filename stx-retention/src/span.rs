//! Durations in the form of policies.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use stx_layout::config::{DurationError, PositiveDuration, parse_duration};

/// A duration: `14 days`, `36 hours`, `2 weeks`, `1 year` (365 days).
///
/// The text form is that of [`parse_duration`], in whole seconds. `Display` writes the largest unit of seconds, minutes, hours
/// and days that needs no fraction. `Ord` is by length.
///
/// ```
/// # use stx_retention::Span;
/// assert_eq!("2 weeks".parse::<Span>()?, Span::days(14));
/// assert_eq!(Span::hours(36).to_string(), "36 hours");
/// assert!("fourteen days".parse::<Span>().is_err());
/// # Ok::<(), stx_layout::config::DurationError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    seconds: u64,
}

/// The units in which a span is written, and their seconds.
const UNITS: [(&str, u64); 4] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
];

impl Span {
    /// A number of seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self { seconds }
    }

    /// A number of days of 24 hours.
    pub const fn days(days: u32) -> Self {
        Self {
            seconds: days as u64 * 86_400,
        }
    }

    /// A number of hours.
    pub const fn hours(hours: u32) -> Self {
        Self {
            seconds: hours as u64 * 3_600,
        }
    }

    /// The length in seconds.
    pub const fn as_seconds(self) -> u64 {
        self.seconds
    }

    /// The time this long after `time`; `None` if no date can express it.
    pub fn after(self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let delta = TimeDelta::try_seconds(i64::try_from(self.seconds).ok()?)?;
        time.checked_add_signed(delta)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS
            .iter()
            .rev()
            .find(|(_, unit)| self.seconds.is_multiple_of(*unit))
            .unwrap_or(&UNITS[0]);
        let count = self.seconds / unit;
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {name}{plural}")
    }
}

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let duration = parse_duration(text)?;
        if duration.subsec_nanos() != 0 {
            return Err(DurationError {
                text: text.to_owned(),
            });
        }
        Ok(Self::seconds(duration.as_secs()))
    }
}

impl From<PositiveDuration> for Span {
    /// In whole seconds; a fraction of a second is rounded up.
    fn from(duration: PositiveDuration) -> Self {
        let duration = duration.get();
        let part = u64::from(duration.subsec_nanos() != 0);
        Self::seconds(duration.as_secs().saturating_add(part))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
