//! The builds from one release to another, in the order in which their contents were made.
//!
//! ```text
//! release/11.0.0 ────────────────────> release/11.0.1 ──────────────> release/12.0.0
//!      │ promoted from                                                     │ promoted from
//! master/D1 ──> master/D2 ──> …        (built on a branch)            master/D9
//! ```
//!
//! Builds of releases are in the order of the releases. Between two builds that were promoted from one channel come the good
//! builds of that channel that are dated between the two origins.

use chrono::{DateTime, Utc};
use stx_layout::{BuildId, Catalog, Channel, Origin, ReleaseId, ReleaseOrder};

use crate::build_ref;
use crate::build_ref::pairs::{Pairs, belong_together};
use crate::error::Error;

/// The number of promotions to follow from a build back to its origin.
const DEEPEST: usize = 8;

/// A build of a line.
#[derive(Debug, Clone)]
struct Station {
    id: BuildId,
    /// The build whose bytes it has; the build itself if it was not promoted.
    base: BuildId,
    /// The time of its promotion, else of its build.
    introduced: DateTime<Utc>,
}

impl Station {
    fn of(catalog: &Catalog, id: &BuildId) -> Result<Self, Error> {
        let entry = catalog.build(id);
        let entry = entry.ok_or_else(|| build_ref::missing_build(catalog, id))?;
        let introduced = match entry.record().and_then(|record| record.origin.as_ref()) {
            Some(Origin::Promoted { at, .. }) => *at,
            Some(_) | None => id.date.time(),
        };
        Ok(Self {
            id: id.clone(),
            base: base(catalog, id),
            introduced,
        })
    }

    fn order(&self) -> Option<ReleaseOrder> {
        ReleaseOrder::of(&self.id.channel.release)
    }

    fn is_promoted(&self) -> bool {
        self.id != self.base
    }

    /// True if this build comes before `other` in a line.
    fn is_before(&self, other: &Self) -> bool {
        if self.id.channel == other.id.channel {
            return self.id.date < other.id.date;
        }
        match (self.order(), other.order()) {
            (Some(one), Some(other)) => one < other,
            (Some(_) | None, _) if self.base.channel == other.base.channel => {
                self.base.date <= other.base.date
            }
            (Some(_) | None, _) => self.introduced < other.introduced,
        }
    }
}

/// The two ends of a line; an error if several channels have builds of both releases.
pub(super) fn ends(found: Pairs) -> Result<(BuildId, BuildId), Error> {
    match <[_; 1]>::try_from(found.pairs) {
        Ok([pair]) => Ok(pair),
        Err(pairs) => {
            let channels: Vec<_> = pairs.iter().map(|(_, to)| to.channel.to_string()).collect();
            let error = format!("{} channels have builds of both releases", channels.len());
            Err(Error::usage(error).hint(format!("`--to` names one of {}", channels.join(", "))))
        }
    }
}

/// The good builds from `from` to `to`, including both.
pub(super) fn line(catalog: &Catalog, from: &BuildId, to: &BuildId) -> Result<Vec<BuildId>, Error> {
    let (from, to) = (Station::of(catalog, from)?, Station::of(catalog, to)?);
    if !from.is_before(&to) {
        let error = format!("{} is not older than {}", from.id, to.id);
        return Err(
            Error::usage(error).hint("`--from` names the older build, `--to` the newer one")
        );
    }
    let mut line = vec![from.id.clone()];
    let mut before = from.clone();
    for next in between(catalog, &from, &to)?.into_iter().chain([to]) {
        let is_complete =
            before.id.channel == next.id.channel && !before.is_promoted() && !next.is_promoted();
        if before.base.channel == next.base.channel && !is_complete {
            let ends = [&before.id, &before.base, &next.id, &next.base];
            let builds = good(catalog, |channel| *channel == next.base.channel);
            line.extend(builds.filter(|id| {
                let is_between = before.base.date < id.date && id.date < next.base.date;
                is_between && !ends.contains(&id)
            }));
        }
        line.push(next.id.clone());
        before = next;
    }
    Ok(line)
}

/// The build whose bytes a build has: its origin if it was promoted, even if the origin has expired.
pub(super) fn base(catalog: &Catalog, id: &BuildId) -> BuildId {
    let origin = |id: &BuildId| {
        let origin = catalog.build(id)?.record()?.origin.as_ref()?;
        origin.promoted_from().cloned()
    };
    let mut base = id.clone();
    for _ in 0..DEEPEST {
        match origin(&base) {
            Some(origin) => base = origin,
            None => break,
        }
    }
    base
}

/// The good builds of channels, by channel, oldest first.
fn good(catalog: &Catalog, of: impl Fn(&Channel) -> bool) -> impl Iterator<Item = BuildId> {
    let builds = catalog.builds();
    let good = builds.filter(move |(id, build)| of(&id.channel) && build.is_success());
    good.map(|(id, _)| id)
}

/// The builds of releases between two others, in order.
fn between(catalog: &Catalog, from: &Station, to: &Station) -> Result<Vec<Station>, Error> {
    let is_numbered = from.order().is_some() && to.order().is_some();
    let ends = [&from.id.channel, &to.id.channel];
    let may_hold = |channel: &Channel| {
        if ends[0] == ends[1] {
            return channel == ends[0];
        }
        let is_release = match &channel.release {
            ReleaseId::Release(_) => true,
            // Milestones are not numbered.
            ReleaseId::Milestone(_) => !is_numbered,
            ReleaseId::Master | ReleaseId::Feature(_) | ReleaseId::Rc(_) => false,
        };
        is_release && ends.iter().any(|end| belong_together(channel, end))
    };
    let mut found = Vec::new();
    for id in good(catalog, may_hold) {
        let station = Station::of(catalog, &id)?;
        let is_between = from.is_before(&station) && station.is_before(to);
        if is_between && (!is_numbered || station.order().is_some()) {
            found.push(station);
        }
    }
    found.sort_by_key(|station| {
        let order = station.order().filter(|_| is_numbered);
        let introduced = match order {
            // Builds of one release are sorted by date.
            Some(_) => station.id.date.time(),
            None => station.introduced,
        };
        (order, introduced, station.id.clone())
    });
    Ok(found)
}

#[cfg(test)]
mod tests;
