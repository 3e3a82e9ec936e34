//! The few bucket requests that the mirror needs; names are relative to the mirror's root.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, Error, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMode, PutMultipartOptions, PutOptions, PutPayload, WriteMultipart,
};

use super::failure::RequestFailure;
use super::parts::{Backend, CopyParts, LARGEST, ThroughHere};
use stx_layout::media_type;
use stx_publish::store::StoreError;

/// The number of requests in flight at the same time.
pub(super) const PARALLEL: usize = 48;

/// The size of a part of an object that is copied through this machine, in bytes; a smaller object is sent in one request.
const PART: u64 = 16 << 20;
/// The number of parts in flight at the same time.
const PARTS: usize = 4;
/// The largest number of parts of an upload; the protocol's own limit is 10,000.
const MOST_PARTS: u64 = 9_000;

/// The objects below one prefix of a bucket.
#[derive(Clone)]
pub(super) struct Objects {
    pub(super) backend: Arc<dyn Backend>,
    /// Copies parts of objects that are larger than `largest_copy`.
    pub(super) parts: Arc<dyn CopyParts>,
    /// The largest object that the server copies in one request, in bytes.
    pub(super) largest_copy: u64,
    root: Path,
    pub(super) place: Place,
}

/// The names of the mirror and of its server in errors.
#[derive(Clone)]
pub(super) struct Place {
    /// The mirror's URL.
    pub(super) mirror: String,
    /// The server's URL.
    pub(super) endpoint: String,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place.mirror)
    }
}

/// An object that was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name, relative to the listed prefix.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) tag: Option<String>,
}

/// The objects and prefixes directly below a prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Level {
    pub(super) objects: Vec<Listed>,
    /// The names of the prefixes.
    pub(super) prefixes: Vec<String>,
}

/// The time for which readers and caches may keep an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// For ever: the object never changes.
    ForEver,
    /// Not at all: the object must be requested anew each time.
    Not,
}

impl Keep {
    fn cache_control(self) -> &'static str {
        match self {
            Self::ForEver => "public, max-age=31536000, immutable",
            Self::Not => "no-cache",
        }
    }
}

/// The attributes of an object of that name.
pub(super) fn attributes(name: &str, keep: Keep) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, media_type(name).into());
    attributes.insert(Attribute::CacheControl, keep.cache_control().into());
    attributes
}

impl Objects {
    pub(super) fn new(backend: Arc<dyn Backend>, root: Path) -> Self {
        Self {
            parts: Arc::new(ThroughHere(Arc::clone(&backend))),
            largest_copy: LARGEST,
            place: Place {
                mirror: format!("{backend}/{root}"),
                endpoint: backend.to_string(),
            },
            backend,
            root,
        }
    }

    /// The prefix of the mirror in the bucket.
    pub(super) fn root(&self) -> &str {
        self.root.as_ref()
    }

    /// The same objects through other connections.
    pub(super) fn by(&self, backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            ..self.clone()
        }
    }

    /// The full name of an object.
    pub(super) fn path(&self, name: &str) -> Result<Path, StoreError> {
        let whole = if self.root.as_ref().is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.root)
        };
        Path::parse(&whole).map_err(|error| StoreError::Damaged {
            what: whole,
            source: error.into(),
        })
    }

    /// The error of a failed request for an object.
    pub(super) fn failed(&self, name: &str, error: Error) -> StoreError {
        match error {
            Error::NotFound { .. } => StoreError::NotFound {
                what: name.to_owned(),
            },
            Error::AlreadyExists { .. } => StoreError::AlreadyExists {
                what: name.to_owned(),
            },
            error => {
                let failure = RequestFailure::new(&self.place.endpoint, error);
                if failure.is_missing_bucket() {
                    let what = format!("{self:?}: no such bucket");
                    return StoreError::NotFound { what };
                }
                StoreError::Network {
                    url: format!("{self:?}/{name}"),
                    source: failure.into(),
                }
            }
        }
    }

    /// A whole object, with its entity tag; `None` if it does not exist.
    pub(super) async fn get(
        &self,
        name: &str,
    ) -> Result<Option<(Bytes, Option<String>)>, StoreError> {
        let found = match self.backend.get(&self.path(name)?).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(|error| self.failed(name, error))?,
        };
        let tag = found.meta.e_tag.clone();
        let bytes = found.bytes().await;
        Ok(Some((
            bytes.map_err(|error| self.failed(name, error))?,
            tag,
        )))
    }

    /// An object to be read; `None` if it does not exist.
    pub(super) async fn open(
        &self,
        name: &str,
        range: Option<GetRange>,
    ) -> Result<Option<GetResult>, StoreError> {
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        match self.backend.get_opts(&self.path(name)?, options).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// The size, time and entity tag of an object; `None` if it does not exist.
    pub(super) async fn head(&self, name: &str) -> Result<Option<ObjectMeta>, StoreError> {
        match self.backend.head(&self.path(name)?).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// Opens connections, which stay open for later requests. A client opens one for each request that finds none idle, so many
    /// requests are made at the same time. Answers and errors are ignored.
    pub(super) async fn connect(&self, count: usize, name: &str) {
        let asked = (0..count).map(|_| self.head(name));
        drop(join_all(asked).await);
    }

    async fn put_as(
        &self,
        name: &str,
        bytes: Bytes,
        keep: Keep,
        mode: PutMode,
    ) -> Result<(), Error> {
        let path = self.path(name).map_err(|error| Error::Generic {
            store: "mirror",
            source: error.into(),
        })?;
        let options = PutOptions {
            mode,
            attributes: attributes(name, keep),
            ..PutOptions::default()
        };
        let payload = PutPayload::from_bytes(bytes);
        self.backend.put_opts(&path, payload, options).await?;
        Ok(())
    }

    /// Writes an object, and replaces an existing one.
    pub(super) async fn put(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
        keep: Keep,
    ) -> Result<(), StoreError> {
        let put = self.put_as(name, bytes.into(), keep, PutMode::Overwrite);
        put.await.map_err(|error| self.failed(name, error))
    }

    /// Asks the server to write an object only if it does not exist, once.
    pub(super) async fn create_once(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<(), Error> {
        let put = self.put_as(name, bytes.into(), Keep::Not, PutMode::Create);
        put.await
    }

    /// Writes an object only if it does not exist; `false` if another one exists.
    ///
    /// A request whose answer was lost is repeated, and the server then answers that the object exists. An existing object with
    /// the very same bytes therefore counts as written.
    pub(super) async fn create(
        &self,
        name: &str,
        bytes: impl Into<Bytes>,
    ) -> Result<bool, StoreError> {
        let bytes = bytes.into();
        match self.create_once(name, bytes.clone()).await {
            Ok(()) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => {
                let found = self.get(name).await?;
                Ok(found.is_some_and(|(found, _)| found == bytes))
            }
            Err(error) => Err(self.failed(name, error)),
        }
    }

    /// Makes the server copy an object of `size` bytes; `false` if it does not exist.
    pub(super) async fn copy(&self, from: &str, to: &str, size: u64) -> Result<bool, StoreError> {
        if size > self.largest_copy {
            return self.copy_in_parts(from, to, size, async |_| Ok(())).await;
        }
        self.copy_small(from, to).await
    }

    /// Makes the server copy a small object such as a record; `false` if it does not exist.
    pub(super) async fn copy_small(&self, from: &str, to: &str) -> Result<bool, StoreError> {
        match self.backend.copy(&self.path(from)?, &self.path(to)?).await {
            Ok(()) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(self.failed(from, error)),
        }
    }

    /// Copies an object of `size` bytes through this machine, with the attributes of its new name.
    pub(super) async fn copy_anew(
        &self,
        from: &str,
        to: &str,
        keep: Keep,
        size: u64,
    ) -> Result<(), StoreError> {
        let Some(found) = self.open(from, None).await? else {
            return Err(StoreError::NotFound {
                what: from.to_owned(),
            });
        };
        if size <= PART {
            let bytes = found.bytes().await;
            let bytes = bytes.map_err(|error| self.failed(from, error))?;
            return self.put(to, bytes, keep).await;
        }
        let options = PutMultipartOptions {
            attributes: attributes(to, keep),
            ..PutMultipartOptions::default()
        };
        let path = self.path(to)?;
        let upload = self.backend.put_multipart_opts(&path, options);
        let upload = upload.await.map_err(|error| self.failed(to, error))?;
        let part = PART.max(size / MOST_PARTS + 1);
        let part = usize::try_from(part).unwrap_or(usize::MAX);
        let mut upload = WriteMultipart::new_with_chunk_size(upload, part);
        let mut chunks = found.into_stream();
        let sent = async {
            while let Some(chunk) = chunks.try_next().await? {
                upload.wait_for_capacity(PARTS).await?;
                upload.put(chunk);
            }
            Ok(())
        };
        match sent.await {
            Ok(()) => {
                let finished = upload.finish().await;
                finished.map(drop).map_err(|error| self.failed(to, error))
            }
            Err(error) => {
                // The first error is the one to report; a lifecycle rule of the bucket aborts uploads that are left.
                upload.abort().await.ok();
                Err(self.failed(from, error))
            }
        }
    }

    /// Makes the server copy many objects, which must exist: from a name to a name, each with its size.
    pub(super) async fn copy_all(
        &self,
        pairs: impl IntoIterator<Item = (String, String, u64)>,
    ) -> Result<(), StoreError> {
        let mut copies = Vec::new();
        for (from, to, size) in pairs {
            copies.push(async move {
                match self.copy(&from, &to, size).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(StoreError::NotFound { what: from }),
                    Err(error) => Err(error),
                }
            });
        }
        let mut running = stream::iter(copies).buffer_unordered(PARALLEL);
        while let Some(copied) = running.next().await {
            copied?;
        }
        Ok(())
    }

    /// Deletes objects; a missing object is not an error.
    pub(super) async fn delete(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<(), StoreError> {
        let mut paths = Vec::new();
        for name in names {
            paths.push(Ok(self.path(&name)?));
        }
        if paths.is_empty() {
            return Ok(());
        }
        let paths = stream::iter(paths).boxed();
        let mut deleted = self.backend.delete_stream(paths);
        while let Some(deleted) = deleted.next().await {
            match deleted {
                Ok(_) | Err(Error::NotFound { .. }) => {}
                // The answer is about several objects.
                Err(error) => return Err(self.failed("", error)),
            }
        }
        Ok(())
    }

    /// Deletes everything below a prefix.
    pub(super) async fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        let listed = self.list(prefix).await?;
        let names = listed
            .iter()
            .map(|object| format!("{prefix}/{}", object.name));
        self.delete(names.collect::<Vec<_>>()).await
    }

    /// Everything below a prefix, by name.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let path = self.path(prefix)?;
        let mut found = Vec::new();
        let mut objects = self.backend.list(Some(&path));
        while let Some(meta) = objects
            .try_next()
            .await
            .map_err(|error| self.failed(prefix, error))?
        {
            found.extend(listed(&path, meta));
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    /// The objects and prefixes directly below a prefix, sorted by name.
    pub(super) async fn level(&self, prefix: &str) -> Result<Level, StoreError> {
        let path = if prefix.is_empty() {
            self.root.clone()
        } else {
            self.path(prefix)?
        };
        let found = self.backend.list_with_delimiter(Some(&path)).await;
        let found = found.map_err(|error| self.failed(prefix, error))?;
        let objects = found.objects.into_iter();
        let mut level = Level {
            objects: objects.filter_map(|meta| listed(&path, meta)).collect(),
            prefixes: found
                .common_prefixes
                .iter()
                .filter_map(|prefix| below(&path, prefix))
                .collect(),
        };
        level.objects.sort_by(|a, b| a.name.cmp(&b.name));
        level.prefixes.sort();
        Ok(level)
    }
}

fn listed(prefix: &Path, meta: ObjectMeta) -> Option<Listed> {
    Some(Listed {
        name: below(prefix, &meta.location)?,
        size: meta.size,
        tag: meta.e_tag,
    })
}

/// The name of `path` relative to `prefix`.
fn below(prefix: &Path, path: &Path) -> Option<String> {
    let rest = path.as_ref().strip_prefix(prefix.as_ref())?;
    let rest = rest.strip_prefix('/').unwrap_or(rest);
    (!rest.is_empty()).then(|| rest.to_owned())
}
