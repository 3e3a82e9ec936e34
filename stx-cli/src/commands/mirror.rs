//! The mirror that a command works on: a directory, or what lies behind a URL.

use std::ops::Deref;
use std::sync::Arc;

use camino::Utf8Path;
use stx_layout::BuildRecord;
use stx_publish::metadata::CreaterepoC;
use stx_publish::{
    HttpOptions, HttpStore, LocalStore, MirrorRead, MirrorStore, Retired, StoreError,
};

use super::{Context, refused};
use crate::config::{Metadata, is_url};
use crate::exit::{Exit, Failure};

/// A mirror that can be written.
#[derive(Debug, Clone)]
pub(crate) enum Mirror {
    /// In a directory.
    Directory(LocalStore),
}

impl Deref for Mirror {
    type Target = dyn MirrorStore;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Directory(store) => store,
        }
    }
}

impl Mirror {
    /// The mirror in `root`, which has to be there.
    pub(crate) fn open(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        if is_url(root) {
            return Err(
                Failure::usage(format!("{root}: this needs a mirror in a directory"))
                    .hint("what lies behind a URL can only be read: list, show, verify, fetch"),
            );
        }
        let store = LocalStore::open(root).map_err(|error| {
            let failure = refused(error);
            match failure.exit {
                Exit::NotFound => failure.hint(format!(
                    "is {root} the mirror's root? `publish` and `build` make a new one"
                )),
                _ => failure,
            }
        })?;
        Ok(Self::Directory(with_metadata(context, store)))
    }

    /// The mirror in `root`, made if it is not there.
    pub(crate) fn open_or_create(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        if is_url(root) {
            return Self::open(context, root);
        }
        let store = LocalStore::create(root).map_err(refused)?;
        Ok(Self::Directory(with_metadata(context, store)))
    }

    /// Free bytes where it lies, where there is a limit that is known.
    pub(crate) fn free_space(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Directory(store) => store.free_space().map(Some),
        }
    }

    /// The record of a build that was taken out of sight.
    pub(crate) async fn retired_record(
        &self,
        retired: &Retired,
    ) -> Result<BuildRecord, StoreError> {
        match self {
            Self::Directory(store) => store.retired_record(retired).await,
        }
    }
}

fn with_metadata(context: &Context, store: LocalStore) -> LocalStore {
    match context.config.metadata {
        Metadata::BuiltIn => store,
        Metadata::CreaterepoC => store.with_metadata(Arc::new(CreaterepoC::new())),
    }
}

/// A mirror for reading.
pub(crate) enum Reader {
    /// One that could be written, too: of its own it knows pins, readers and what dead publishers left.
    Own(Mirror),
    /// Behind a web server.
    Http(HttpStore),
}

impl Reader {
    /// The mirror in or behind `root`.
    pub(crate) fn open(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        if is_url(root) {
            let store = HttpStore::new(root.as_str(), HttpOptions::default());
            return store.map(Self::Http).map_err(Failure::usage);
        }
        Mirror::open(context, root).map(Self::Own)
    }

    pub(crate) fn store(&self) -> &dyn MirrorRead {
        match self {
            Self::Own(mirror) => &**mirror,
            Self::Http(store) => store,
        }
    }

    /// The bytes that came over the network so far; `None` for a directory.
    pub(crate) fn received(&self) -> Option<u64> {
        match self {
            Self::Own(Mirror::Directory(_)) => None,
            Self::Http(store) => Some(store.received()),
        }
    }

    /// Where a path of the mirror is: a URL, or a file.
    pub(crate) fn place(&self, path: &str) -> String {
        match self {
            Self::Own(Mirror::Directory(store)) => store.root().join(path).into_string(),
            Self::Http(store) => store.url(path).into(),
        }
    }
}
