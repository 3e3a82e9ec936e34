//! The number of eligible builds that neither an ordinary day nor a pause explains.
//!
//! The number of eligible builds alone cannot distinguish a wrong clock from a builder that paused for ten days: in both cases
//! many builds of a channel have become old at once. The times at which they became eligible can. Under a policy that is applied
//! each day, no existing build has been eligible for long. After a pause, builds became eligible within the pause, and the builds
//! after it confirm that the time has really passed. A wrong clock has no such builds, and a changed policy makes builds eligible
//! that became old at many earlier times.

use chrono::{DateTime, TimeDelta, Utc};

/// A daily run finds only builds that became eligible within this time, even if the run before it was missed.
pub(crate) const DAILY: TimeDelta = TimeDelta::days(2);

/// Builds this far apart confirm the clock.
const CONFIRMED: TimeDelta = TimeDelta::hours(12);

/// The number of builds, eligible since these times, that count against the limit.
///
/// `dates` are those of the channel's known builds up to `now`, oldest first.
pub(crate) fn unexplained(
    dates: &[DateTime<Utc>],
    since: impl Iterator<Item = DateTime<Utc>>,
    now: DateTime<Utc>,
) -> u64 {
    let daily = before(now, DAILY);
    let mut backlog: Vec<_> = since.filter(|since| *since <= daily).collect();
    backlog.sort_unstable();
    let until = |time: &DateTime<Utc>| backlog.partition_point(|since| since <= time);
    let confirmed = dates.last().map(|newest| before(*newest, CONFIRMED));
    let pauses = dates.windows(2).filter_map(|pause| match pause {
        [begin, end] if Some(*end) <= confirmed => Some(until(end) - until(begin)),
        _ => None,
    });
    let explained = pauses.max().unwrap_or(0);
    (backlog.len() - explained) as u64
}

fn before(time: DateTime<Utc>, span: TimeDelta) -> DateTime<Utc> {
    time.checked_sub_signed(span)
        .unwrap_or(DateTime::<Utc>::MIN_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::hours(hours)
    }

    fn count(dates: &[i64], since: &[i64], now: i64) -> u64 {
        let dates: Vec<_> = dates.iter().copied().map(at).collect();
        unexplained(&dates, since.iter().copied().map(at), at(now))
    }

    #[test]
    fn the_window_of_two_days_covers_one_missed_daily_run() {
        assert_eq!(count(&[], &[100, 52, 53], 100), 1);
        assert_eq!(count(&[0], &[], 100), 0);
    }

    /// A pause from hour 0 to hour 200, in which three builds became eligible, and one in each hour after it.
    #[test]
    fn a_confirmed_pause_explains_the_builds_that_became_eligible_in_it() {
        let since = [0, 1, 100, 200, 201];
        assert_eq!(count(&[0], &since, 300), 5, "it has not ended");
        assert_eq!(count(&[0, 200], &since, 300), 5, "one build");
        assert_eq!(count(&[0, 200, 211], &since, 300), 5, "an hour early");
        assert_eq!(count(&[0, 200, 212], &since, 300), 2);
        assert_eq!(count(&[0, 200, 206, 212], &since, 300), 2);
    }

    #[test]
    fn only_the_pause_that_explains_most_counts() {
        let since = [10, 20, 110, 120, 130];
        assert_eq!(count(&[0, 50, 100, 150, 200], &since, 300), 2);
    }
}
