//! What is to be built, where, and who watches it: the input of a build, without the command line.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{BuildDate, Channel, ReleaseId};
use stx_pipeline::{Cancel, Event};

use crate::args;
use crate::commands::{Context, Mirror};
use crate::config::{absolute, anywhere};
use crate::exit::{Exit, Failure};

/// One build that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BuildOrder {
    /// Git branch or tag.
    pub(crate) branch: String,
    /// Where it is published, if that is not what the branch says.
    #[serde(default)]
    pub(crate) release: Option<ReleaseId>,
    /// The recipe file, absolute.
    pub(crate) recipe: Utf8PathBuf,
    /// The build date; the time when the source sync starts if not said.
    pub(crate) date: Option<BuildDate>,
    /// Why it is built; recorded.
    pub(crate) reason: String,
    /// Values that replace those of the recipe's variables.
    pub(crate) set: BTreeMap<String, String>,
    /// Whether it is built although nothing changed.
    pub(crate) force: bool,
    /// Whether sources that failed to build are taken for unchanged.
    #[serde(default)]
    pub(crate) skip_failed: bool,
    /// Whether `latest_build` may move back in time.
    pub(crate) force_alias: bool,
}

impl BuildOrder {
    /// The order that the arguments of `build` mean.
    pub(crate) fn new(context: &Context, args: &args::Build) -> Result<Self, Failure> {
        Ok(Self {
            branch: args.branch.clone(),
            release: None,
            recipe: absolute(&context.config.recipe(args.recipe.as_deref())?)?,
            date: args.date,
            reason: args.reason.clone(),
            set: args.set.iter().cloned().collect(),
            force: args.force,
            skip_failed: false,
            force_alias: args.force_alias,
        })
    }

    /// The directory of the recipe file.
    pub(crate) fn recipe_dir(&self) -> Utf8PathBuf {
        self.recipe
            .parent()
            .map(Utf8Path::to_owned)
            .unwrap_or_default()
    }
}

/// Where builds work and what they are published on.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    /// The mirror's root, absolute.
    pub(crate) mirror: Utf8PathBuf,
    /// The state of all channels, absolute.
    pub(crate) state: Utf8PathBuf,
    /// `--now`: the time that decisions go by instead of the clock's.
    pub(crate) now: Option<DateTime<Utc>>,
    /// Configuration and options, for publishing.
    pub(crate) context: Context,
}

impl Site {
    /// The site of the configuration.
    pub(crate) fn new(context: &Context) -> Result<Self, Failure> {
        let mirror = anywhere(&context.mirror()?)?;
        let state = absolute(&context.config.state(&mirror)?)?;
        Ok(Self {
            mirror,
            state,
            now: context.global.now,
            context: context.clone(),
        })
    }

    /// The mirror, if it is there.
    pub(crate) fn published(&self) -> Result<Option<Mirror>, Failure> {
        match Mirror::open(&self.context, &self.mirror) {
            Ok(mirror) => Ok(Some(mirror)),
            Err(failure) if failure.exit == Exit::NotFound => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The state of one channel.
    pub(crate) fn channel(&self, channel: &Channel) -> Utf8PathBuf {
        self.state.join(channel.to_string())
    }

    /// The time: `--now`, else the clock's.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        self.now.unwrap_or_else(Utc::now)
    }
}

/// Who watches a build, and can end it.
#[derive(Clone, Copy)]
pub(crate) struct Watch<'a> {
    /// Takes what happens to the phases.
    pub(crate) events: &'a (dyn Fn(&Event) + Sync),
    /// Takes what is said of the build as a whole, a line each.
    pub(crate) say: &'a (dyn Fn(&str) + Sync),
    /// Ends the build.
    pub(crate) cancel: &'a Cancel,
}
