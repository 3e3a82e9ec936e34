//! Times at which work is due by the clock: cron expressions in UTC.
//!
//! A [`Schedule`] only computes times. The caller remembers the *nominal* time of the last tick that was acted upon. So missed
//! ticks are made up once, however many they were, and a clock that is put back repeats no tick, unless it was ahead by several.

use std::fmt;
use std::str::FromStr as _;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;

/// A cron expression of five fields (minute, hour, day of month, month, day of week) in UTC, or six with the seconds first; and
/// a delay, so that not all schedules act at once.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Cron,
    text: String,
    delay: TimeDelta,
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, self.delay) == (&other.text, other.delay)
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text that is not a valid [`Schedule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// Not a cron expression.
    #[error("`{text}` is not a cron expression such as `0 6 * * *`: {reason}")]
    Malformed {
        /// The text.
        text: String,
        /// The reason that it is refused.
        reason: String,
    },
    /// No date ever matches.
    #[error("`{text}` never happens")]
    Never {
        /// The text.
        text: String,
    },
}

/// A tick to act upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its nominal time.
    pub at: DateTime<Utc>,
    /// True if earlier ticks were missed.
    pub missed: bool,
}

/// The action of a schedule at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    /// Nothing.
    Wait,
    /// Act, and remember [`Due::at`].
    Act(Due),
    /// Replace the remembered time with this one, and do nothing: there was none, or it is so far in the future that the clock
    /// was wrong at that time.
    Rebase(DateTime<Utc>),
}

impl Schedule {
    /// Reads an expression; `jitter` is the longest delay, `seed` determines the part of it that is used.
    ///
    /// # Errors
    /// Texts that are not an expression, and expressions that no time ever matches, such as February 30.
    pub fn new(text: &str, jitter: Duration, seed: &str) -> Result<Self, ScheduleError> {
        let cron = Cron::from_str(text).map_err(|error| ScheduleError::Malformed {
            text: text.to_owned(),
            reason: error.to_string(),
        })?;
        let schedule = Self {
            cron,
            text: text.to_owned(),
            delay: delay(jitter, seed),
        };
        // Any start works: the calendar repeats within the range of the search.
        let next = schedule.nominal_after(DateTime::UNIX_EPOCH);
        let Some(_) = next else {
            return Err(ScheduleError::Never {
                text: text.to_owned(),
            });
        };
        Ok(schedule)
    }

    fn nominal_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.cron.find_next_occurrence(&time, false).ok()
    }

    fn nominal_before(&self, time: DateTime<Utc>, inclusive: bool) -> Option<DateTime<Utc>> {
        self.cron.find_previous_occurrence(&time, inclusive).ok()
    }

    /// The action at `now`, where `last` is the nominal time of the last tick that was acted upon.
    pub fn tick(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Tick {
        let reached = now - self.delay;
        let Some(last) = last else {
            return Tick::Rebase(reached);
        };
        if last > reached {
            // A small step of the clock leaves the last tick one tick ahead; it was acted upon, and is not repeated. If it is several
            // ticks ahead, the next one may not have been acted upon: a clock that jumps ahead acts once for all that it passes.
            return match self.nominal_after(reached) {
                Some(next) if last > next => Tick::Rebase(reached),
                _ => Tick::Wait,
            };
        }
        match self.nominal_before(reached, true) {
            Some(at) if at > last => {
                let before = self.nominal_before(at, false);
                Tick::Act(Due {
                    at,
                    missed: before.is_some_and(|before| before > last),
                })
            }
            _ => Tick::Wait,
        }
    }

    /// The time at which the next tick after `last` is acted upon; `None` if none follows.
    pub fn next(&self, last: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.nominal_after(last)?.checked_add_signed(self.delay)
    }

    /// The time between the last tick before `now` and the next one.
    pub fn gap(&self, now: DateTime<Utc>) -> Option<TimeDelta> {
        Some(self.nominal_after(now)? - self.nominal_before(now, true)?)
    }
}

/// A part of `jitter` that depends on `seed` alone (FNV-1a of it), in whole milliseconds.
fn delay(jitter: Duration, seed: &str) -> TimeDelta {
    let hash = seed.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let limit = u64::try_from(jitter.as_millis())
        .unwrap_or(u64::MAX)
        .min(86_400_000 * 366);
    let millis = if limit == 0 { 0 } else { hash % limit };
    TimeDelta::milliseconds(i64::try_from(millis).unwrap_or(0))
}

#[cfg(test)]
mod tests;
