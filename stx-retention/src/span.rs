//! Lengths of time, as policies write them.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time: `14 days`, `36 hours`, `2 weeks`, `1 year` (365 days).
///
/// The text is a whole number, one space and a unit: second, minute, hour, day, week or year, with or without `s`.
/// `Display` writes the largest of seconds, minutes, hours and days that needs no fraction. `Ord` is by length.
///
/// ```
/// # use stx_retention::Span;
/// assert_eq!("2 weeks".parse::<Span>()?, Span::days(14));
/// assert_eq!(Span::hours(36).to_string(), "36 hours");
/// assert!("fourteen days".parse::<Span>().is_err());
/// # Ok::<(), stx_retention::SpanError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    seconds: u64,
}

/// A text that is no [`Span`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a number and a unit, such as `14 days`")]
pub struct SpanError {
    /// The text.
    pub text: String,
}

/// The units a span is read in, and their seconds.
const UNITS: [(&str, u64); 6] = [
    ("second", 1),
    ("minute", 60),
    ("hour", 3_600),
    ("day", 86_400),
    ("week", 604_800),
    ("year", 31_536_000),
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

    /// The instant this long after `time`; `None` where the calendar ends before it.
    pub fn after(self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let delta = TimeDelta::try_seconds(i64::try_from(self.seconds).ok()?)?;
        time.checked_add_signed(delta)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, unit) = UNITS[..4]
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
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, SpanError> {
        let read = || {
            let (count, unit) = text.split_once(' ')?;
            let digits = count.bytes().all(|byte| byte.is_ascii_digit());
            let count = count.parse::<u64>().ok().filter(|_| digits)?;
            let singular = unit.strip_suffix('s').unwrap_or(unit);
            let (_, seconds) = UNITS.iter().find(|(name, _)| *name == singular)?;
            count.checked_mul(*seconds)
        };
        match read() {
            Some(seconds) => Ok(Self { seconds }),
            None => Err(SpanError {
                text: text.to_owned(),
            }),
        }
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
