//! One module a command; what several of them need stands here.

pub(crate) mod build;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod parse;
pub(crate) mod publish;
pub(crate) mod recipe;
pub(crate) mod resume;
pub(crate) mod retention;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod trigger;
pub(crate) mod verify;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use stx_publish::{LocalStore, StoreError};

use crate::args::{Format, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure};

/// What every command is given.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) global: Global,
    /// The time that decisions go by: `--now`, else when the program started.
    pub(crate) now: DateTime<Utc>,
}

impl Context {
    pub(crate) fn format(&self) -> Format {
        self.global.format
    }

    /// The mirror's root.
    pub(crate) fn mirror(&self) -> Result<Utf8PathBuf, Failure> {
        self.config.mirror(&self.global)
    }

    /// The mirror, which has to be there.
    pub(crate) fn open(&self) -> Result<LocalStore, Failure> {
        let root = self.mirror()?;
        LocalStore::open(&root).map_err(|error| {
            let failure = refused(error);
            match failure.exit {
                Exit::NotFound => failure.hint(format!(
                    "is {root} the mirror's root? `publish` and `build` make a new one"
                )),
                _ => failure,
            }
        })
    }

    /// Says something on standard error, unless `--quiet` was given.
    pub(crate) fn say(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{text}");
        }
    }
}

/// The mirror in `root`, made if it is not there.
pub(crate) fn open_or_create(root: &Utf8Path) -> Result<LocalStore, Failure> {
    LocalStore::create(root).map_err(refused)
}

/// The exit code of a store's refusal.
pub(crate) fn exit_of(error: &StoreError) -> Exit {
    match error {
        StoreError::Busy { .. } => Exit::Busy,
        StoreError::NotFound { .. } => Exit::NotFound,
        StoreError::MissingTool { .. } => Exit::Usage,
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Refused { .. }
        | StoreError::Changed { .. }
        | StoreError::Tool { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Damaged { .. }
        | StoreError::Io { .. } => Exit::Mirror,
    }
}

/// A store's refusal as a failure.
pub(crate) fn refused(error: StoreError) -> Failure {
    Failure::new(exit_of(&error), error)
}
