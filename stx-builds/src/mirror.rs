//! The mirror that a command works on: a directory, a bucket, or a mirror behind a web server.

use std::ops::Deref;
use std::sync::Arc;

use camino::Utf8Path;
use stx_layout::BuildRecord;
use stx_publish::metadata::{CreaterepoC, RepoMetadata, Repodata};
use stx_publish::{
    HttpOptions, HttpStore, LocalStore, MirrorRead, MirrorStore, Retired, Seal, StoreError,
};
use stx_publish_s3::{BucketError, BucketStore};

use crate::error::Error;
use crate::options::{Metadata, MirrorLocation};
use crate::site::clock;
use crate::trust::{TrustOptions, Trusted};
use crate::{Site, provenance, refused, signing};

mod known;

pub(crate) use known::{check_known, note_known};

/// A mirror that can be written.
#[derive(Debug, Clone)]
pub enum Mirror {
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
    /// The mirror in `root`, which must exist.
    pub fn open(site: &Site, root: &Utf8Path) -> Result<Self, Error> {
        match MirrorLocation::of(root) {
            MirrorLocation::Directory => {}
            MirrorLocation::Bucket => return bucket(site, root).map(Self::Bucket),
            MirrorLocation::Web => {
                let failure = Error::usage(format!(
                    "{root}: this needs a mirror that is not behind a web server"
                ));
                return Err(failure
                    .hint("a mirror behind a web server can only be read: by list, show, verify, fetch and copy"));
            }
        }
        let store = directory(root)?;
        Ok(Self::Directory(with_metadata(site, store)))
    }

    /// The mirror in `root`, created if it does not exist, for publishing: builds are sealed as configured.
    pub fn open_or_create(site: &Site, root: &Utf8Path) -> Result<Self, Error> {
        let seal = Seal {
            attester: provenance::attester(site)?,
            ..signing::seal(site)?
        };
        Ok(match MirrorLocation::of(root) {
            MirrorLocation::Directory => {
                Self::may_create(root)?;
                check_known(site, root)?;
                let store = LocalStore::create(root).map_err(refused)?;
                Self::Directory(with_metadata(site, store).with_seal(seal))
            }
            MirrorLocation::Bucket | MirrorLocation::Web => match Self::open(site, root)? {
                Self::Directory(store) => Self::Directory(store.with_seal(seal)),
                Self::Bucket(store) => Self::Bucket(store.with_seal(seal)),
            },
        })
    }

    /// Refuses to make a mirror in or around another one.
    pub fn may_create(root: &Utf8Path) -> Result<(), Error> {
        match MirrorLocation::of(root) {
            MirrorLocation::Directory => LocalStore::may_create(root).map_err(refused),
            MirrorLocation::Bucket | MirrorLocation::Web => Ok(()),
        }
    }

    /// The free bytes of its disk, if a limit is known.
    pub fn free_space(&self) -> Result<Option<u64>, StoreError> {
        match self {
            Self::Directory(store) => store.free_space().map(Some),
            Self::Bucket(_) => Ok(None),
        }
    }

    /// The record of a retired build.
    pub async fn retired_record(&self, retired: &Retired) -> Result<BuildRecord, StoreError> {
        match self {
            Self::Directory(store) => store.retired_record(retired).await,
            Self::Bucket(store) => store.retired_record(retired).await,
        }
    }
}

/// The mirror in a directory, which must be a mirror, or empty.
pub fn directory(root: &Utf8Path) -> Result<LocalStore, Error> {
    // An unknown scheme would otherwise be taken for a directory.
    if let Some((scheme, _)) = root.as_str().split_once("://") {
        return Err(
            Error::usage(format!("{root}: no mirror can be reached by {scheme}"))
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

/// The mirror in a bucket. Its locks use the clock, even with `--now`.
fn bucket(site: &Site, root: &Utf8Path) -> Result<BucketStore, Error> {
    let options = site.options.bucket();
    let opened = site.opened.get(root, &options);
    let store = opened.map_or_else(
        || BucketStore::open(root.as_str(), &options, Arc::new(clock)),
        Ok,
    );
    let store = store.map_err(|error| {
        let hint = match &error {
            BucketError::NoCredentials { .. } | BucketError::Settings { .. } => Some(
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give credentials in another form that AWS's tools read from the environment",
            ),
            // The other errors name the wrong option.
            _ => None,
        };
        let failure = Error::usage(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    })?;
    site.opened.keep(root, options, &store);
    Ok(match site.options.metadata.made_by() {
        Metadata::BuiltIn => store,
        Metadata::CreaterepoC => store.with_metadata(Arc::new(CreaterepoC::new())),
    })
}

fn with_metadata(site: &Site, store: LocalStore) -> LocalStore {
    store.with_metadata(metadata(site))
}

/// The program or library that makes the metadata of RPM repositories.
pub(crate) fn metadata(site: &Site) -> Arc<dyn RepoMetadata> {
    match site.options.metadata.made_by() {
        Metadata::BuiltIn => Arc::new(Repodata),
        Metadata::CreaterepoC => Arc::new(CreaterepoC::new()),
    }
}

/// A mirror for reading.
pub enum Reader {
    /// A mirror that can also be written: its pins, readers and the leftovers of dead publishers are known.
    Own(Mirror),
    /// Behind a web server.
    Http(HttpStore),
    /// Another mirror, restricted to the data that a keyring vouches for.
    Trusted(Box<Self>, Box<Trusted>),
}

impl Reader {
    /// The mirror at `root`.
    pub fn open(site: &Site, root: &Utf8Path) -> Result<Self, Error> {
        match MirrorLocation::of(root) {
            MirrorLocation::Directory | MirrorLocation::Bucket => {
                Mirror::open(site, root).map(Self::Own)
            }
            MirrorLocation::Web => {
                let store = HttpStore::new(root.as_str(), HttpOptions::default());
                store.map(Self::Http).map_err(Error::usage)
            }
        }
    }

    /// The store, for reading.
    pub fn store(&self) -> &dyn MirrorRead {
        match self {
            Self::Own(mirror) => &**mirror,
            Self::Http(store) => store,
            Self::Trusted(_, trusted) => trusted.store(),
        }
    }

    /// True if only data that a keyring vouches for is trusted.
    pub fn is_trusted(&self) -> bool {
        matches!(self, Self::Trusted(..))
    }

    /// The number of bytes received over the network so far, if they are counted.
    pub fn received(&self) -> Option<u64> {
        match self {
            Self::Own(Mirror::Directory(_) | Mirror::Bucket(_)) => None,
            Self::Http(store) => Some(store.received()),
            Self::Trusted(reader, _) => reader.received(),
        }
    }

    /// The location of a path of the mirror: a URL, or a file.
    pub fn place(&self, path: &str) -> String {
        match self {
            Self::Own(Mirror::Directory(store)) => store.root().join(path).into_string(),
            Self::Own(Mirror::Bucket(store)) => store.place(path),
            Self::Http(store) => store.url(path).into(),
            Self::Trusted(reader, _) => reader.place(path),
        }
    }

    /// Remembers the trusted state of a mirror that a keyring vouches for.
    pub fn remember(&self) -> Result<(), Error> {
        match self {
            Self::Trusted(_, trusted) => trusted.remember(),
            Self::Own(_) | Self::Http(_) => Ok(()),
        }
    }

    /// The store of this mirror as a shared value, without the checks of a keyring.
    pub fn shared(&self) -> Arc<dyn MirrorRead> {
        match self {
            Self::Own(Mirror::Directory(store)) => Arc::new(store.clone()),
            Self::Own(Mirror::Bucket(store)) => Arc::new(store.clone()),
            Self::Http(store) => Arc::new(store.clone()),
            Self::Trusted(reader, _) => reader.shared(),
        }
    }
}

impl Site {
    /// The mirror, which has to exist.
    pub fn mirror(&self) -> Result<Mirror, Error> {
        let root = self.root()?;
        check_known(self, &root)?;
        Mirror::open(self, &root)
    }

    /// The mirror for reading, which may also be behind a web server.
    pub fn reader(&self) -> Result<Reader, Error> {
        let root = self.root()?;
        check_known(self, &root)?;
        Reader::open(self, &root)
    }

    /// The mirror for reading; with a keyring, restricted to the data that it vouches for.
    pub fn trusted_reader(&self, trust: &TrustOptions) -> Result<Reader, Error> {
        self.trusted(self.reader()?, trust)
    }

    /// With a keyring, restricts a mirror to the data that it vouches for.
    pub fn trusted(&self, reader: Reader, trust: &TrustOptions) -> Result<Reader, Error> {
        let Some(keyring) = self.keyring(trust.keyring.as_deref())? else {
            return Ok(reader);
        };
        let trusted = Trusted::open(self, reader.shared(), &reader.place(""), keyring, trust)?;
        Ok(Reader::Trusted(Box::new(reader), Box::new(trusted)))
    }
}
