//! The build to make, its place, and its observer: the input of a build, without the command line.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, Channel, ReleaseId};
use stx_pipeline::{Cancel, Event};

use crate::error::{Error, ErrorKind};
use crate::mirror::{check_known, note_known};
use crate::options::{absolute, anywhere};
use crate::site::clock;
use crate::{Mirror, Site};

/// A build to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrder {
    /// Git branch or tag.
    pub branch: String,
    /// The release identifier to publish under; the branch's identifier if absent.
    #[serde(default)]
    pub release: Option<ReleaseId>,
    /// The recipe file, absolute.
    pub recipe: Utf8PathBuf,
    /// Globs of the changed files that count as a change; see [`PathRules`](stx_pipeline::PathRules).
    #[serde(default)]
    pub paths: Vec<String>,
    /// The channel on whose newest success the build is based.
    #[serde(default)]
    pub after: Option<Channel>,
    /// The build date; the start of the source sync if absent.
    pub date: Option<BuildDate>,
    /// The reason, as recorded in `build.json`.
    pub reason: String,
    /// Values that replace those of the recipe's variables.
    pub set: BTreeMap<String, String>,
    /// Build even if no commit changed since the last success.
    pub force: bool,
    /// Skip the build if its commits are those of the last build, even a failed one.
    #[serde(default)]
    pub skip_failed: bool,
    /// Move `latest_build` even if it points at a newer build.
    pub force_alias: bool,
}

impl BuildOrder {
    /// A build of a branch or tag by a recipe.
    pub fn new(branch: impl Into<String>, recipe: &Utf8Path) -> Result<Self, Error> {
        Ok(Self {
            branch: branch.into(),
            release: None,
            recipe: absolute(recipe)?,
            paths: Vec::new(),
            after: None,
            date: None,
            reason: "manual".to_owned(),
            set: BTreeMap::new(),
            force: false,
            skip_failed: false,
            force_alias: false,
        })
    }

    /// The directory of the recipe file.
    pub fn recipe_dir(&self) -> Utf8PathBuf {
        self.recipe
            .parent()
            .map(Utf8Path::to_owned)
            .unwrap_or_default()
    }
}

/// The directories in which builds work, and the mirror to which they are published.
#[derive(Debug, Clone)]
pub struct BuildArea {
    /// The mirror's root, absolute.
    pub mirror: Utf8PathBuf,
    /// The state of all channels, absolute.
    pub state: Utf8PathBuf,
    /// The fixed time for decisions, instead of the clock.
    pub now: Option<DateTime<Utc>>,
    /// Configuration and options, for publishing.
    pub site: Site,
}

impl BuildArea {
    /// The area of the configuration.
    pub fn new(site: &Site) -> Result<Self, Error> {
        let mirror = anywhere(&site.root()?)?;
        let state = absolute(&site.options.state(&mirror)?)?;
        Ok(Self {
            mirror,
            state,
            now: site.fixed,
            site: site.clone(),
        })
    }

    /// The mirror, if it exists.
    pub fn published(&self) -> Result<Option<Mirror>, Error> {
        match Mirror::open(&self.site, &self.mirror) {
            Ok(mirror) => Ok(Some(mirror)),
            Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The mirror; creates it if it does not exist. Refuses a mirror that has disappeared.
    pub fn create(&self) -> Result<Mirror, Error> {
        let mirror = Mirror::open_or_create(&self.site, &self.mirror)?;
        note_known(&self.site, &self.mirror)?;
        Ok(mirror)
    }

    /// Refuses a mirror that existed before and has disappeared.
    pub(crate) fn check_known(&self) -> Result<(), Error> {
        check_known(&self.site, &self.mirror)
    }

    /// The state of one channel.
    pub fn channel(&self, channel: &Channel) -> Utf8PathBuf {
        self.state.join(channel.to_string())
    }

    /// The time: the fixed one, else the clock's.
    pub fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(clock)
    }
}

/// The observer of a build, which can also cancel it.
#[derive(Clone, Copy)]
pub struct Watch<'a> {
    /// Receives the events of the phases.
    pub events: &'a (dyn Fn(&Event) + Sync),
    /// Receives notes about the build as a whole, one line each.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// Cancels the build.
    pub cancel: &'a Cancel,
}
