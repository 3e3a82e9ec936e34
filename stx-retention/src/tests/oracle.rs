//! The rules a second time, stated as slowly and plainly as possible, without any of the library's code.

use stx_layout::Verdict;

use super::world::Made;

const DAY: i64 = 86_400;

/// The time for which successes are kept.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Days(i64),
    Forever,
    /// One release period, with the releases on these days (whole days of seconds).
    Releases(Vec<i64>),
}

/// The rules of one channel.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) kept: Kept,
    pub(super) newest: usize,
    /// The days for which failures are kept; `None` for ever.
    pub(super) failed: Option<i64>,
    /// The largest percentage of the channel that one run removes.
    pub(super) percent: usize,
    /// The days for which green and red builds are kept; `None` if there is no rule.
    pub(super) green: Option<i64>,
    pub(super) red: Option<i64>,
    pub(super) newest_green: usize,
}

/// Returns true for each build that expires; a build is given by its second and its kind.
pub(super) fn go(said: &Said, builds: &[(i64, Made)], alias: Option<usize>, now: i64) -> Vec<bool> {
    let eligible = |this: usize, at: i64| alias != Some(this) && goes(said, builds, this, at);
    let all = 0..builds.len();
    // "Those that became eligible in the last two days do not count."
    let old: Vec<usize> = all
        .clone()
        .filter(|this| eligible(*this, now - 2 * DAY))
        .collect();
    // "Nor those that became eligible during one pause, once builds at least twelve hours apart were made after it."
    let is_date = |(date, made): &&(i64, Made)| *made != Made::Unreadable && *date <= now;
    let dates: Vec<i64> = builds
        .iter()
        .filter(is_date)
        .map(|(date, _)| *date)
        .collect();
    let mut explained = 0;
    for begin in &dates {
        for end in &dates {
            let neighbours = begin < end && !dates.iter().any(|other| begin < other && other < end);
            let confirmed = dates.iter().any(|other| *other >= end + DAY / 2);
            if neighbours && confirmed {
                let became = |this: &&usize| !eligible(**this, *begin) && eligible(**this, *end);
                explained = explained.max(old.iter().filter(became).count());
            }
        }
    }
    if (old.len() - explained) * 100 > said.percent * builds.len() {
        return vec![false; builds.len()];
    }
    all.map(|this| eligible(this, now)).collect()
}

fn goes(said: &Said, builds: &[(i64, Made)], this: usize, now: i64) -> bool {
    let (date, made) = builds[this];
    // A build in the future is kept.
    if date > now {
        return false;
    }
    let newer = |wanted: &[Made]| {
        let newer = builds
            .iter()
            .filter(|(other, made)| wanted.contains(made) && *other > date && *other <= now);
        newer.count()
    };
    let successes = [
        Made::Success,
        Made::Marked(Verdict::Green),
        Made::Marked(Verdict::Yellow),
        Made::Marked(Verdict::Red),
    ];
    match made {
        // An unreadable build is kept.
        Made::Unreadable => false,
        // "The newest failure stays while it is newer than the newest success."
        Made::Failure => {
            let newest_failure = newer(&[Made::Failure]) == 0;
            let newer_than_any_success = newer(&successes) == 0;
            if newest_failure && newer_than_any_success {
                return false;
            }
            said.failed.is_some_and(|days| now >= date + days * DAY)
        }
        Made::Success | Made::Marked(_) => {
            // "Newest success and the one before it", "never fewer than N newest successes".
            if newer(&successes) < 2 || newer(&successes) < said.newest {
                return false;
            }
            // "The newest green build stays", "never fewer than N newest green builds".
            let newer_green = newer(&[Made::Marked(Verdict::Green)]);
            if made == Made::Marked(Verdict::Green) && newer_green < said.newest_green.max(1) {
                return false;
            }
            let is_over = match &said.kept {
                Kept::Forever => false,
                Kept::Days(days) => now >= date + days * DAY,
                Kept::Releases(days) => period_is_over(days, date, now),
            };
            let older = |days: i64| now >= date + days * DAY;
            match made {
                // "At least as long as its verdict says."
                Made::Marked(Verdict::Green) => is_over && said.green.is_none_or(older),
                // "In place of the plain rule."
                Made::Marked(Verdict::Red) => said.red.map_or(is_over, older),
                _ => is_over,
            }
        }
    }
}

/// Examines every two days that have no release between them.
fn period_is_over(releases: &[i64], date: i64, now: i64) -> bool {
    let introduced = date - date.rem_euclid(DAY);
    releases.iter().any(|begins| {
        releases.iter().any(|ends| {
            let neighbours = begins < ends
                && !releases
                    .iter()
                    .any(|between| begins < between && between < ends);
            neighbours && *begins >= introduced && now >= *ends
        })
    })
}
