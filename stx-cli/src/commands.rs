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
pub(crate) mod mirror;
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

use std::io::ErrorKind;

use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_publish::{SignError, StoreError, WebPage};

pub(crate) use self::mirror::{Mirror, Reader};
use crate::args::{Format, Global};
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::users::denied;

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
        StoreError::NotFound { .. } | StoreError::NotAMirror { .. } => Exit::NotFound,
        StoreError::MissingTool { .. }
        | StoreError::Unsigned {
            source: SignError::MissingTool { .. },
            ..
        } => Exit::Usage,
        StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::NotDurable { .. }
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

/// What to do about a store's refusal, where that can be told from the refusal alone.
pub(crate) fn hint_of(error: &StoreError) -> Option<String> {
    match error {
        StoreError::Io { path, source, .. } => {
            (source.kind() == ErrorKind::PermissionDenied).then(|| denied(path.as_ref()))
        }
        StoreError::NotAMirror { instead, .. } => Some(match instead.as_slice() {
            [] => "the root of a mirror is what holds the channels, such as `master/centos`"
                .to_owned(),
            [one] => format!("the mirror is {one}"),
            several => format!("these are mirrors: {}", several.join(", ")),
        }),
        StoreError::Untrusted { .. } => Some(
            "nothing of it was taken; docs/signing.md says what has to be signed, and by whom"
                .to_owned(),
        ),
        StoreError::Stale { .. } => {
            Some("nothing was taken; `--allow-stale` accepts it".to_owned())
        }
        StoreError::NotDurable { .. } => {
            Some("the change can be seen; check the disk that the mirror lies on".to_owned())
        }
        StoreError::Busy { .. }
        | StoreError::NotFound { .. }
        | StoreError::MissingTool { .. }
        | StoreError::Unsigned { .. }
        | StoreError::AlreadyExists { .. }
        | StoreError::Conflict { .. }
        | StoreError::Refused { .. }
        | StoreError::Changed { .. }
        | StoreError::Tool { .. }
        | StoreError::Unsupported { .. } => None,
        StoreError::Damaged { source, .. } => source
            .is::<WebPage>()
            .then(|| "is it the URL of a mirror, and is no login or proxy in between?".to_owned()),
        StoreError::Network { .. } => {
            Some("is the URL right, and does this machine reach the server?".to_owned())
        }
    }
}

/// A store's refusal as a failure.
pub(crate) fn refused(error: StoreError) -> Failure {
    let hint = hint_of(&error);
    let failure = Failure::new(exit_of(&error), error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}
