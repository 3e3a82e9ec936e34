//! Release calendars, and release periods.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, NaiveDate, Utc};
use stx_layout::{BuildId, Catalog, Channel, Name, ReleaseId};

use crate::bearing::{Bearing, bearings};

/// The part of a policy with the past and planned days of releases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// The day of each release, by its name (`2018.10`), past and planned.
    pub releases: BTreeMap<Name, NaiveDate>,
    /// True if other releases are learned from the mirror's `release/` channels.
    pub learn: bool,
}

impl Default for Calendar {
    fn default() -> Self {
        Self {
            releases: BTreeMap::new(),
            learn: true,
        }
    }
}

/// The past and future release days, as known at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Releases {
    days: BTreeSet<NaiveDate>,
    /// The builds from which the days were learned.
    learned_of: BTreeSet<BuildId>,
}

/// The first whole release period that begins on or after a build's introduction.
///
/// *Introduction* is the UTC day of the build's own date; for a promoted build, the day of the promotion. A *release period*
/// lasts from one release day of the calendar to the next one; several releases on one day are one release day. *One release
/// period past its introduction* ends when the first period that begins on or after the introduction ends, at 00:00 UTC of the
/// release day that ends it:
///
/// ```text
///            R1            R2            R3
///  ──────────┼─────────────┼─────────────┼────────────> time
///     a      b      c            d             e
///
///  a  before the first known release    [R1, R2)   kept until R2
///  b  on the day of R1                  [R1, R2)   kept until R2
///  c  between R1 and R2                 [R2, R3)   kept until R3
///  d  between R2 and the last known     [R3, ?)    kept: no release after R3 is known   (Unended)
///  e  after the last known release      [?, ?)     kept: no release after it is known   (Unbegun)
///  calendar empty                                  kept: there is no calendar           (NoCalendar)
/// ```
///
/// So a milestone is kept for at least one complete period, never for a remainder of one. Properties, each a test: *whole*: the
/// period is bounded by two neighbouring release days, neither of them before the introduction; *ordered*: a later introduction
/// never has an earlier end; *sooner*: one more release never moves an end later; *unknown keeps*: without an end there is no
/// expiry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "case", rename_all = "kebab-case")]
pub enum Period {
    /// Begins and ends with a known release.
    Whole {
        /// The release day with which it begins.
        begins: NaiveDate,
        /// The release day with which it ends.
        ends: NaiveDate,
    },
    /// Begins with the last known release.
    Unended {
        /// The release day with which it begins.
        begins: NaiveDate,
    },
    /// No release on or after the introduction is known.
    Unbegun,
    /// No release is known.
    NoCalendar,
}

impl Period {
    /// The time at which it ends, if it is known.
    pub fn end(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Whole { ends, .. } => Some(ends.and_time(chrono::NaiveTime::MIN).and_utc()),
            Self::Unended { .. } | Self::Unbegun | Self::NoCalendar => None,
        }
    }
}

impl Releases {
    /// Releases on these days.
    pub fn on(days: impl IntoIterator<Item = NaiveDate>) -> Self {
        Self {
            days: days.into_iter().collect(),
            learned_of: BTreeSet::new(),
        }
    }

    /// The releases of a calendar and, if it learns, those of the catalog that it does not name.
    ///
    /// The learned day of a release is the day on which the first success in any of its channels was introduced, except for those
    /// that were introduced after `now`. Without that build, the learned day would be too late, and the release period of a
    /// milestone that was introduced in between would change: [`learned_of`](Self::learned_of) identifies the build, so that it
    /// is kept.
    pub fn known(catalog: &Catalog, calendar: &Calendar, now: DateTime<Utc>) -> Self {
        Self::of(&bearings(catalog, &BTreeMap::new(), now), calendar)
    }

    /// Like [`known`](Self::known), from the facts of all channels.
    pub fn of(bearings: &BTreeMap<Channel, Bearing>, calendar: &Calendar) -> Self {
        let mut learned = BTreeMap::<&Name, (DateTime<Utc>, BuildId)>::new();
        for (channel, bearing) in bearings.iter().filter(|_| calendar.learn) {
            let name = match &channel.release {
                ReleaseId::Release(name) if !calendar.releases.contains_key(name) => name,
                ReleaseId::Release(_)
                | ReleaseId::Master
                | ReleaseId::Feature(_)
                | ReleaseId::Milestone(_)
                | ReleaseId::Rc(_) => continue,
            };
            if let Some((introduced, date)) = bearing.introduced {
                let first = (introduced, BuildId::new(channel.clone(), date));
                match learned.get(name) {
                    Some(known) if *known <= first => {}
                    Some(_) | None => {
                        learned.insert(name, first);
                    }
                }
            }
        }
        let days = learned.values().map(|(first, _)| first.date_naive());
        Self {
            days: calendar.releases.values().copied().chain(days).collect(),
            learned_of: learned.into_values().map(|(_, build)| build).collect(),
        }
    }

    /// True if the day of a release was learned from this build.
    pub fn learned_of(&self, build: &BuildId) -> bool {
        self.learned_of.contains(build)
    }

    /// The release days, in order.
    pub fn days(&self) -> impl Iterator<Item = NaiveDate> {
        self.days.iter().copied()
    }

    /// The release period past an introduction.
    pub fn period_past(&self, introduced: DateTime<Utc>) -> Period {
        let mut after = self.days.range(introduced.date_naive()..);
        match (after.next(), after.next()) {
            (Some(&begins), Some(&ends)) => Period::Whole { begins, ends },
            (Some(&begins), None) => Period::Unended { begins },
            (None, _) if self.days.is_empty() => Period::NoCalendar,
            (None, _) => Period::Unbegun,
        }
    }
}
