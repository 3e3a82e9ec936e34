//! The forms of durations and numbers.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a duration; write a number and a unit, such as `14 days` or `90m`")]
pub struct DurationError {
    /// The text.
    pub text: String,
}

/// Reads a duration: numbers with units, from `ns` to `years`. A year has 365 days.
///
/// ```
/// # use std::time::Duration;
/// # use stx_layout::config::parse_duration;
/// assert_eq!(parse_duration("14 days"), Ok(Duration::from_hours(14 * 24)));
/// assert_eq!(parse_duration("1h 30m"), parse_duration("90m"));
/// assert_eq!(parse_duration("1 year"), parse_duration("365d"));
/// assert!(parse_duration("fourteen days").is_err());
/// ```
///
/// # Errors
/// A text that is not a duration, or that is longer than a [`Duration`] can be.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let read = || {
        let mut total = Duration::ZERO;
        let mut rest = text.trim();
        loop {
            let unit = rest.find(char::is_alphabetic)?;
            let end = rest[unit..].find(|other: char| !other.is_alphabetic());
            let (part, more) = rest.split_at(end.map_or(rest.len(), |end| unit + end));
            let part = match &part[unit..] {
                // The years of humantime have 365.25 days.
                "y" | "yr" | "yrs" | "year" | "years" => {
                    let years: u64 = part[..unit].trim_end().parse().ok()?;
                    Duration::from_secs(years.checked_mul(365 * 24 * 60 * 60)?)
                }
                _ => humantime::parse_duration(part).ok()?,
            };
            total = total.checked_add(part)?;
            rest = more.trim_start();
            if rest.is_empty() {
                return Some(total);
            }
        }
    };
    read().ok_or_else(|| DurationError {
        text: text.to_owned(),
    })
}

/// A duration of a configuration, greater than zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveDuration(Duration);

impl PositiveDuration {
    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for PositiveDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let duration =
            parse_duration(&String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        if duration.is_zero() {
            return Err(D::Error::custom("must be greater than zero"));
        }
        Ok(Self(duration))
    }
}

/// An integer of a configuration, from `LOW` to `HIGH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within<T, const LOW: u64, const HIGH: u64>(T);

impl<T, const LOW: u64, const HIGH: u64> Within<T, LOW, HIGH> {
    /// The number.
    pub fn get(self) -> T {
        self.0
    }
}

impl<'de, T: TryFrom<u64>, const LOW: u64, const HIGH: u64> Deserialize<'de>
    for Within<T, LOW, HIGH>
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u64::deserialize(deserializer)?;
        let within = Some(number).filter(|number| (LOW..=HIGH).contains(number));
        match within.and_then(|number| number.try_into().ok()) {
            Some(number) => Ok(Self(number)),
            None if HIGH >= u64::from(u32::MAX) => {
                Err(D::Error::custom(format!("must be at least {LOW}")))
            }
            None => Err(D::Error::custom(format!(
                "must be a number from {LOW} to {HIGH}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_durations_are_read() {
        let hours = |text| parse_duration(text).map(|duration| duration.as_secs() / 3600);
        for (text, expected) in [
            ("14 days", 336),
            ("2 weeks", 336),
            ("2w", 336),
            ("36h", 36),
            ("1 day 12 hours", 36),
            ("1year 2d", 367 * 24),
            ("1y", 365 * 24),
        ] {
            assert_eq!(hours(text), Ok(expected), "{text}");
        }
        for text in [
            "",
            "14",
            "days",
            "14 dayz",
            "-1 day",
            "2 days 3",
            "9999999999999 years",
        ] {
            let error = parse_duration(text).expect_err(text);
            assert_eq!(error.text, text);
        }
    }
}
