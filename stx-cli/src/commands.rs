//! One module a command; what several of them need stands here.

pub(crate) mod asked;
pub(crate) mod build;
pub(crate) mod compare;
pub(crate) mod copy;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod fetch;
pub(crate) mod history;
pub(crate) mod images;
pub(crate) mod list;
pub(crate) mod manual;
mod mirror;
mod packages;
pub(crate) mod pages;
pub(crate) mod parse;
pub(crate) mod provenance;
pub(crate) mod publish;
pub(crate) mod recipe;
pub(crate) mod resume;
pub(crate) mod retention;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod signing;
pub(crate) mod since;
pub(crate) mod status;
pub(crate) mod trash;
pub(crate) mod trigger;
pub(crate) mod trust;
pub(crate) mod verify;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_publish::{SignError, StoreError};

pub(crate) use self::mirror::{Mirror, Reader};
use crate::args::{Format, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure};

/// What every command is given.
#[derive(Debug, Clone)]
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
    pub(crate) fn open(&self) -> Result<Mirror, Failure> {
        Mirror::open(self, &self.mirror()?)
    }

    /// The mirror for reading, which may also lie behind a web server.
    pub(crate) fn reader(&self) -> Result<Reader, Failure> {
        Reader::open(self, &self.mirror()?)
    }

    /// Says something on standard error, unless `--quiet` was given.
    pub(crate) fn say(&self, text: &str) {
        if !self.global.quiet {
            crate::output::note(text);
        }
    }
}

/// The exit code of a store's refusal.
pub(crate) fn exit_of(error: &StoreError) -> Exit {
    match error {
        StoreError::Busy { .. } => Exit::Busy,
        StoreError::NotFound { .. } => Exit::NotFound,
        StoreError::MissingTool { .. }
        | StoreError::Unsigned {
            source: SignError::MissingTool { .. },
            ..
        } => Exit::Usage,
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Refused { .. }
        | StoreError::Changed { .. }
        | StoreError::Tool { .. }
        | StoreError::Unsigned { .. }
        | StoreError::Untrusted { .. }
        | StoreError::Stale { .. }
        | StoreError::Unsupported { .. }
        | StoreError::Damaged { .. }
        | StoreError::Network { .. }
        | StoreError::Io { .. } => Exit::Mirror,
    }
}

/// A store's refusal as a failure.
pub(crate) fn refused(error: StoreError) -> Failure {
    let untrusted = matches!(error, StoreError::Untrusted { .. });
    let stale = matches!(error, StoreError::Stale { .. });
    let failure = Failure::new(exit_of(&error), error);
    if untrusted {
        return failure.hint(
            "nothing of it was taken; docs/signing.md says what has to be signed, and by whom",
        );
    }
    if stale {
        return failure.hint("nothing of it was taken; `--allow-stale` takes it all the same");
    }
    failure
}
