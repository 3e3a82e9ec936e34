//! Sections that retention removed from a build before the build: the reason why a file is missing, and the next step.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use stx_layout::{BuildId, BuildPath};
use stx_publish::store::thinned;
use stx_publish::{MirrorRead, Thinned, ThinnedSection};

/// The time for which a retired build or section can be restored.
pub const GRACE: TimeDelta = TimeDelta::days(3);

/// A section that retention removed from a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Taken {
    /// The build.
    pub build: BuildId,
    /// The section, with the rule and the time.
    #[serde(flatten)]
    pub section: ThinnedSection,
}

/// The section with which a file was removed; `None` if its build must have the file.
pub(crate) async fn taken(store: &dyn MirrorRead, id: &BuildId, path: &BuildPath) -> Option<Taken> {
    // If the record cannot be read, no section counts as removed.
    Taken::of(id, &thinned(store, id).await.ok()?, path)
}

impl Taken {
    /// The section of a build that holds `path`, by the build's record.
    pub(crate) fn of(id: &BuildId, thinned: &Thinned, path: &BuildPath) -> Option<Self> {
        let section = thinned.covers(path)?.clone();
        let build = id.clone();
        Some(Self { build, section })
    }

    /// The next step.
    pub fn hint(&self) -> String {
        let until = self.section.at.time() + GRACE;
        format!(
            "until {}, `stx-builds undelete {}` restores it from the trash of the mirror; otherwise choose another build",
            minute(until),
            self.build
        )
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ThinnedSection { section, at, .. } = &self.section;
        let at = minute(at.time());
        write!(f, "retention took {section} from {} on {at}", self.build)
    }
}

fn minute(time: DateTime<Utc>) -> impl fmt::Display {
    time.format("%Y-%m-%d %H:%M UTC")
}
