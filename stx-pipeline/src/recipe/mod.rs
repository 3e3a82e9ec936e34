//! Recipes: the build of one distribution, as a file and the files that it includes.

mod files;
mod graph;
mod images;
mod preview;
mod read;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use stx_layout::config::ConfigErrors;
use stx_layout::{BuildPath, Channel, Distro, Layer, Platform, ReleaseId};

pub use files::RecipeFiles;
pub use graph::{Node, dot, edges, mermaid};
pub use images::PushedImages;
pub use preview::Preview;

/// The name under which the commands of [`Recipe::clean`] run, for the rules of places and in `PHASE`.
pub(crate) const CLEAN: &str = "clean";

/// The description of the build of one distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Its name.
    pub name: String,
    /// A one-line description of the distribution.
    pub description: Option<String>,
    /// The channel's distro.
    pub distro: Distro,
    /// The channel's codename and architecture.
    pub platform: Option<Platform>,
    /// The channel's layer.
    pub layer: Option<Layer>,
    /// The time limit of the whole build.
    pub timeout: Option<Duration>,
    /// The most phases that run at the same time.
    pub jobs: Option<usize>,
    /// The programs that the phases call, by name.
    pub tools: BTreeMap<String, Tool>,
    /// The variables that the caller's environment may replace.
    pub inherit: Vec<String>,
    /// Environment of every phase, not yet expanded.
    pub variables: BTreeMap<String, String>,
    /// Directories below `STATE_DIR` that exist when a build starts.
    pub state_dirs: Vec<String>,
    /// Commands that remove leftovers of an earlier build that the builder itself cannot remove; not yet expanded.
    pub clean: Vec<Vec<String>>,
    /// The files of finished phases that a running build offers, if any.
    pub preview: Option<Preview>,
    /// The container images that the phases push; `None` if the publisher sends the images.
    pub images: Option<PushedImages>,
    /// The phase that syncs the sources.
    pub source_phase: String,
    /// The directory that the paths of the work trees are relative to, not yet expanded; `MY_REPO_ROOT` if unset.
    pub source_root: Option<String>,
    /// Git work trees, as globs below the source root.
    pub repositories: Vec<String>,
    /// The phases, in the order of the file.
    pub phases: Vec<Phase>,
}

/// The packages that contain a program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "read::ToolForm")]
pub struct Tool {
    /// The Debian package.
    pub apt: String,
    /// The package of Fedora and related distributions.
    pub dnf: String,
}

/// One step of a recipe; texts are not yet expanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// The command that it runs.
    pub command: Command,
    /// The directory in which it runs; the workspace if unset.
    pub dir: Option<String>,
    /// The time limit of one attempt.
    pub timeout: Option<Duration>,
    /// The time between asking it to end and killing it.
    pub stop_grace: Option<Duration>,
    /// Attempts after the first.
    pub retries: u32,
    /// The pause before the second attempt; it doubles before each further one.
    pub backoff: Option<Duration>,
    /// The most bytes of output that an attempt adds to the log.
    pub log_limit: Option<u64>,
    /// Environment in addition to the recipe's variables.
    pub env: BTreeMap<String, String>,
    /// The phases that must end before it; the source phase is not listed.
    pub needs: Vec<String>,
    /// True if its failure fails the build.
    pub required: bool,
    /// True if it also runs after a failure, and when the build is cancelled.
    pub always: bool,
    /// A text whose expanded value decides whether it runs at all.
    pub condition: Option<String>,
    /// The files it publishes.
    pub publish: Vec<Publish>,
}

/// The command of a phase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Program and arguments.
    Run(Vec<String>),
    /// A script for `bash -euo pipefail -c`; the shell expands its variables.
    Script(String),
}

/// Files of a phase that are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// The glob.
    pub from: String,
    /// Globs of files to leave out.
    pub except: Vec<String>,
    /// The directory of the build that they are published to.
    pub to: BuildPath,
    /// The least number of files.
    pub min: usize,
    /// True if only the file names are kept, without the directories.
    pub flat: bool,
    /// A file that lists the names of the files to publish, of which none may be missing; not yet expanded.
    pub from_list: Option<String>,
    /// The result of the phase for which they are published.
    pub on: On,
}

/// The result of a phase for which the files of a rule are published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum On {
    /// If the phase succeeds.
    #[default]
    Success,
    /// If it ran and did not succeed.
    Failure,
}

impl Recipe {
    /// The version of the format that this crate reads.
    pub const SCHEMA: i64 = 1;

    /// Variables that the build sets and a recipe cannot.
    pub const RESERVED: [&'static str; 17] = [
        "AFTER_BUILD",
        "AFTER_URL",
        "BRANCH",
        "CHANNEL",
        "DISTRO",
        "JOBS",
        "MY_REPO_ROOT",
        "MY_WORKSPACE",
        "PHASE",
        Preview::URL,
        "PUBLISH_DISTRO_BASE",
        "PUBLISH_ROOT",
        "PUBLISH_TIMESTAMP",
        "RECIPE_DIR",
        "SOURCE_DATE_EPOCH",
        "STATE_DIR",
        "TIMESTAMP",
    ];

    /// Variables of every phase that a recipe may replace or extend.
    pub const INHERITED: [&'static str; 10] = [
        "ARCH",
        "CODENAME",
        "HOME",
        "LANG",
        "LAYER",
        "MUNGED_BRANCH",
        "PATH",
        "PROJECT",
        "TZ",
        "USER",
    ];

    /// Reads the text of a recipe that includes no file and asks for no value; use [`RecipeFiles`] for recipes that do.
    ///
    /// # Errors
    /// All mistakes in it, at once.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        RecipeFiles::of_text(text).read(&BTreeMap::new())
    }

    /// The channel of builds of `release`.
    pub fn channel(&self, release: ReleaseId) -> Channel {
        Channel {
            release,
            distro: self.distro.clone(),
            platform: self.platform.clone(),
            layer: self.layer.clone(),
        }
    }
}
