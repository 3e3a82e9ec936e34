//! The mirror that a command works on: a directory, a bucket, or what lies behind a web server.

use std::ops::Deref;
use std::sync::Arc;

use camino::Utf8Path;
use chrono::Utc;
use stx_layout::BuildRecord;
use stx_publish::metadata::CreaterepoC;
use stx_publish::{
    BucketError, BucketStore, HttpOptions, HttpStore, LocalStore, MirrorRead, MirrorStore, Retired,
    Seal, StoreError,
};

use super::{Context, provenance, refused, signing, trust};
use crate::config::{Metadata, Place};
use crate::exit::Failure;

/// A mirror that can be written.
#[derive(Debug, Clone)]
pub(crate) enum Mirror {
    /// In a directory.
    Directory(LocalStore),
    /// In a bucket of an object store.
    Bucket(BucketStore),
}

impl Deref for Mirror {
    type Target = dyn MirrorStore;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Directory(store) => store,
            Self::Bucket(store) => store,
        }
    }
}

impl Mirror {
    /// The mirror in `root`, which has to be there.
    pub(crate) fn open(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        match Place::of(root) {
            Place::Directory => {}
            Place::Bucket => return bucket(context, root).map(Self::Bucket),
            Place::Web => {
                let failure = Failure::usage(format!(
                    "{root}: this needs a mirror that is not behind a web server"
                ));
                return Err(failure
                    .hint("what lies there can only be read: list, show, verify, fetch, copy"));
            }
        }
        let store = directory(root)?;
        Ok(Self::Directory(with_metadata(context, store)))
    }

    /// The mirror in `root`, made if it is not there, to publish to: what is published is sealed as the configuration says.
    pub(crate) fn open_or_create(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        let seal = Seal {
            attester: provenance::attester(context)?,
            ..signing::seal(context)?
        };
        Ok(match Place::of(root) {
            Place::Directory => {
                Self::may_create(root)?;
                let store = LocalStore::create(root).map_err(refused)?;
                Self::Directory(with_metadata(context, store).with_seal(seal))
            }
            Place::Bucket | Place::Web => match Self::open(context, root)? {
                Self::Directory(store) => Self::Directory(store.with_seal(seal)),
                Self::Bucket(store) => Self::Bucket(store.with_seal(seal)),
            },
        })
    }

    /// Refuses to make a mirror in or around another one.
    pub(crate) fn may_create(root: &Utf8Path) -> Result<(), Failure> {
        match Place::of(root) {
            Place::Directory => LocalStore::may_create(root).map_err(refused),
            Place::Bucket | Place::Web => Ok(()),
        }
    }

    /// Free bytes where it lies, where there is a limit that is known.
    pub(crate) fn free_space(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Directory(store) => store.free_space().map(Some),
            Self::Bucket(_) => Ok(None),
        }
    }

    /// The record of a build that was taken out of sight.
    pub(crate) async fn retired_record(
        &self,
        retired: &Retired,
    ) -> Result<BuildRecord, StoreError> {
        match self {
            Self::Directory(store) => store.retired_record(retired).await,
            Self::Bucket(store) => store.retired_record(retired).await,
        }
    }
}

/// The mirror in a directory, which has to be one, or empty.
pub(crate) fn directory(root: &Utf8Path) -> Result<LocalStore, Failure> {
    // A scheme that nothing here speaks would be looked for as a directory.
    if let Some((scheme, _)) = root.as_str().split_once("://") {
        return Err(
            Failure::usage(format!("{root}: no mirror can be reached by {scheme}"))
                .hint("a mirror is a directory, s3://BUCKET/PREFIX, or an http:// or https:// URL"),
        );
    }
    let store = LocalStore::open(root).map_err(|error| {
        let missing = matches!(error, StoreError::NotFound { .. });
        let failure = refused(error);
        if missing {
            failure.hint(format!(
                "is {root} the mirror's root? `publish` and `build` make a new one"
            ))
        } else {
            failure
        }
    })?;
    store.recognised().map_err(refused)
}

/// The mirror in a bucket. Its locks go by the clock, whatever `--now` asks.
fn bucket(context: &Context, root: &Utf8Path) -> Result<BucketStore, Failure> {
    let options = context.config.bucket();
    let store = BucketStore::open(root.as_str(), &options, Arc::new(Utc::now));
    let store = store.map_err(|error| {
        let hint = match &error {
            BucketError::NoCredentials { .. } => Some(
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what else of the kind AWS's tools read from the environment, say who asks",
            ),
            BucketError::Url { .. } | BucketError::Endpoint { .. } | BucketError::Settings { .. } => None,
        };
        let failure = Failure::usage(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    Ok(match context.config.metadata.made_by() {
        Metadata::BuiltIn => store,
        Metadata::CreaterepoC => store.with_metadata(Arc::new(CreaterepoC::new())),
    })
}

fn with_metadata(context: &Context, store: LocalStore) -> LocalStore {
    match context.config.metadata.made_by() {
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
    /// Another one, as far as a keyring vouches for it.
    Vouched(Box<Self>, Box<trust::Trusted>),
}

impl Reader {
    /// The mirror in or behind `root`.
    pub(crate) fn open(context: &Context, root: &Utf8Path) -> Result<Self, Failure> {
        match Place::of(root) {
            Place::Directory | Place::Bucket => Mirror::open(context, root).map(Self::Own),
            Place::Web => {
                let store = HttpStore::new(root.as_str(), HttpOptions::default());
                store.map(Self::Http).map_err(Failure::usage)
            }
        }
    }

    pub(crate) fn store(&self) -> &dyn MirrorRead {
        match self {
            Self::Own(mirror) => &**mirror,
            Self::Http(store) => store,
            Self::Vouched(_, trusted) => &trusted.mirror,
        }
    }

    /// The bytes that came over the network so far, where they are counted.
    pub(crate) fn received(&self) -> Option<u64> {
        match self {
            Self::Own(Mirror::Directory(_) | Mirror::Bucket(_)) => None,
            Self::Http(store) => Some(store.received()),
            Self::Vouched(reader, _) => reader.received(),
        }
    }

    /// Where a path of the mirror is: a URL, or a file.
    pub(crate) fn place(&self, path: &str) -> String {
        match self {
            Self::Own(Mirror::Directory(store)) => store.root().join(path).into_string(),
            Self::Own(Mirror::Bucket(store)) => store.place(path),
            Self::Http(store) => store.url(path).into(),
            Self::Vouched(reader, _) => reader.place(path),
        }
    }
}
