//! One module a command; what several of them need stands here.

pub(crate) mod asked;
pub(crate) mod build;
pub(crate) mod compare;
pub(crate) mod daemon;
pub(crate) mod demo;
pub(crate) mod fetch;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod manual;
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

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use chrono::{DateTime, Utc};
use stx_publish::metadata::CreaterepoC;
use stx_publish::{HttpOptions, HttpStore, LocalStore, MirrorRead, Seal, SignError, StoreError};

use crate::args::{Format, Global};
use crate::config::{Config, Metadata, is_url};
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
    pub(crate) fn open(&self) -> Result<LocalStore, Failure> {
        let root = self.mirror()?;
        if is_url(&root) {
            return Err(
                Failure::usage(format!("{root}: this needs a mirror in a directory"))
                    .hint("what lies behind a URL can only be read: list, show, verify, fetch"),
            );
        }
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

    /// The mirror for reading, in a directory or behind a URL.
    pub(crate) fn reader(&self) -> Result<Reader, Failure> {
        let root = self.mirror()?;
        if is_url(&root) {
            let store = HttpStore::new(root.as_str(), HttpOptions::default());
            return store.map(Reader::Http).map_err(Failure::usage);
        }
        self.open().map(Reader::Local)
    }

    /// Says something on standard error, unless `--quiet` was given.
    pub(crate) fn say(&self, text: &str) {
        if !self.global.quiet {
            eprintln!("{}", crate::output::printable(text));
        }
    }
}

/// A mirror for reading.
pub(crate) enum Reader {
    Local(LocalStore),
    Http(HttpStore),
    /// Another one, as far as a keyring vouches for it.
    Vouched(Box<Self>, Box<trust::Trusted>),
}

impl Reader {
    pub(crate) fn store(&self) -> &dyn MirrorRead {
        match self {
            Self::Local(store) => store,
            Self::Http(store) => store,
            Self::Vouched(_, trusted) => &trusted.mirror,
        }
    }

    /// The bytes that came over the network so far; `None` for a directory.
    pub(crate) fn received(&self) -> Option<u64> {
        match self {
            Self::Local(_) => None,
            Self::Http(store) => Some(store.received()),
            Self::Vouched(reader, _) => reader.received(),
        }
    }

    /// Where a path of the mirror is: a URL, or a file.
    pub(crate) fn place(&self, path: &str) -> String {
        match self {
            Self::Local(store) => store.root().join(path).into_string(),
            Self::Http(store) => store.url(path).into(),
            Self::Vouched(reader, _) => reader.place(path),
        }
    }
}

/// The mirror in `root`, made if it is not there.
pub(crate) fn open_or_create(context: &Context, root: &Utf8Path) -> Result<LocalStore, Failure> {
    let seal = Seal {
        attester: provenance::attester(context)?,
        ..signing::seal(context)?
    };
    let store = LocalStore::create(root).map_err(refused)?.with_seal(seal);
    Ok(match context.config.metadata {
        Metadata::BuiltIn => store,
        Metadata::CreaterepoC => store.with_metadata(Arc::new(CreaterepoC::new())),
    })
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
