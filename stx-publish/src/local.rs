//! A mirror in a directory, on Linux.
//!
//! ```text
//! ROOT/<channel>/<date>/                       a build
//! ROOT/<channel>/latest_build -> <date>        an alias
//! ROOT/<channel>/outputs -> latest_build/outputs   an undated section; likewise `inputs` and `logs`
//! ROOT/release/latest_release -> 2018.10       an alias of a release; `ROOT/r2018.10 -> release/2018.10` is one, too
//! ROOT/.stx/                                   mode 0700, private: readers need none of it
//!     staging/<channel>/<date>/                a build that is being written
//!     trash/<channel>/<date>@<retired at>/     a retired build
//!     trash/<channel>/<date>@<retired at>@<section>   a retired section of a build that remains; `/` is written `%2F`
//!     held/<channel>/latest_build -> <date>    a mark: the alias is held at this build on purpose
//!     aliases/                                 the lock of the aliases of releases
//!     pages/                                   derived pages while they are written, and their lock
//!     owed/<channel>/<date>.json               image tags of a removed build that could not be removed yet
//!     pins/<channel>/<date>.json               the pins of a build
//!     verdicts/<channel>/<date>.json           the verdicts on a build
//!     locks/<channel>/%2Elock                  the lock of a channel
//!     cache/                                   data that can be recomputed; may be removed at any time
//! ```
//!
//! Entries of those directories that are not dates begin with `%2E`, which no name of a channel does. Files are published
//! with mode 0644, those that their owner may execute with 0755, directories with 0755, independently of the umask; times of
//! modification are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use fs_err as fs;
use futures_util::StreamExt as _;
use futures_util::stream;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Catalog, Channel, Pin, RootAlias,
    RootEntry, Sums, VerdictEntry,
};

use crate::incoming::CHUNK;
use crate::index::PageId;
use crate::ingest::blocking;
use crate::metadata::{RepoMetadata, Repodata};
use crate::seal::Seal;
use crate::store::{
    Audit, ByteRange, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection, Leftover,
    MirrorRead, MirrorStore, Outline, OwedTags, PageWriter, Retired, RootWriter, Scope, StoreError,
};

mod adopt;
mod disk;
mod hold;
mod index;
mod inspect;
mod list;
mod locked;
mod owed;
mod pages;
mod pins;
mod private;
mod recognise;
mod root;
mod shared;
mod staged;
mod strays;
#[cfg(test)]
mod tests;
mod thinning;
mod trash;
mod twins;
mod verdicts;
mod writer;

pub use adopt::{Adopter, Kept};
pub(crate) use disk::io_error;
use recognise::Likeness;

/// A mirror in a directory. Clones are the same mirror.
#[derive(Debug, Clone)]
pub struct LocalStore {
    inner: Arc<Inner>,
}

/// Called with the name of a step before the step; an error stops the operation there, as a crash would.
pub(crate) type CrashPoint = Arc<dyn Fn(&'static str) -> io::Result<()> + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Inner {
    root: Utf8PathBuf,
    metadata: Arc<dyn RepoMetadata>,
    seal: Seal,
    crash_point: Option<CrashPoint>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStore")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// A step of a change; a test can simulate a crash before it.
    fn step(&self, name: &'static str) -> Result<(), StoreError> {
        self.crash(name).map_err(io_error("take the step", name))
    }

    fn crash(&self, name: &'static str) -> io::Result<()> {
        self.crash_point
            .as_ref()
            .map_or(Ok(()), |crash| crash(name))
    }
}

impl LocalStore {
    /// Opens the mirror in `root`, which must exist. Nothing is written before the first [`lock`](MirrorStore::lock).
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the directory does not exist.
    pub fn open(root: impl Into<Utf8PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        match fs::metadata(&root) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                return Err(StoreError::Refused {
                    what: root.into_string(),
                    reason: "not a directory".to_owned(),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::NotFound {
                    what: root.into_string(),
                });
            }
            Err(source) => return Err(io_error("open", root)(source)),
        }
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                metadata: Arc::new(Repodata),
                seal: Seal::default(),
                crash_point: None,
            }),
        })
    }

    /// The same mirror, if the directory is one, or is empty and can become one.
    ///
    /// # Errors
    /// [`StoreError::NotAMirror`] if it contains something else, or is part of a mirror; the errors of the file system.
    pub fn recognised(self) -> Result<Self, StoreError> {
        let root = self.root();
        let found = recognise::likeness(root).map_err(io_error("list", root))?;
        match not_a_mirror(root, &found) {
            None => Ok(self),
            Some(error) => Err(error),
        }
    }

    /// True if the directory `root` is a mirror; false if it does not exist, is empty or contains something else.
    ///
    /// # Errors
    /// The errors of the file system, if the directory exists and cannot be read.
    pub fn is_there(root: &Utf8Path) -> Result<bool, StoreError> {
        match recognise::likeness(root) {
            Ok(found) => Ok(found == Likeness::Mirror),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(io_error("list", root)(error)),
        }
    }

    /// Refuses to make a mirror in `root` if it would be inside another mirror, contain one, or share a directory with unrelated files.
    ///
    /// # Errors
    /// [`StoreError::NotAMirror`], which names the other one.
    pub fn may_create(root: impl AsRef<Utf8Path>) -> Result<(), StoreError> {
        let root = root.as_ref();
        let there = root.ancestors().find_map(|dir| {
            let dir = if dir == "" { Utf8Path::new(".") } else { dir };
            Some((dir, recognise::likeness(dir).ok()?))
        });
        let error = match there {
            Some((dir, Likeness::Mirror)) if dir != root => {
                not_a_mirror(root, &Likeness::Within(dir.to_owned()))
            }
            Some((_, found @ Likeness::Within(_))) => not_a_mirror(root, &found),
            Some((dir, found @ Likeness::Above(_))) if dir == root => not_a_mirror(root, &found),
            Some((dir, found @ Likeness::Other)) if dir == root && recognise::holds_files(root) => {
                not_a_mirror(root, &found)
            }
            // Other directories above do not concern the mirror.
            Some((
                _,
                Likeness::Mirror | Likeness::Above(_) | Likeness::Empty | Likeness::Other,
            ))
            | None => None,
        };
        error.map_or(Ok(()), Err)
    }

    /// Opens the mirror in `root`; makes the directory, with mode 0755, its parents and the private area if they do not exist. The
    /// first commit makes them durable.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn create(root: impl Into<Utf8PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        // All users may read it, independently of the umask; the modes of existing directories are the operator's choice.
        let is_missing = |dir: &&Utf8Path| !dir.as_str().is_empty() && !dir.exists();
        let missing: Vec<_> = root.ancestors().take_while(is_missing).collect();
        for dir in missing.into_iter().rev() {
            let parent = dir.parent().unwrap_or(Utf8Path::new(""));
            let name = dir.file_name().unwrap_or_default();
            disk::make_dirs(parent, Utf8Path::new(name), 0o755)?;
        }
        // A name with `..` is left to the file system.
        fs::create_dir_all(&root).map_err(io_error("make", &root))?;
        let store = Self::open(root)?;
        store.inner.make_private()?;
        Ok(store)
    }

    /// The same mirror with another maker of repository metadata; the default is [`Repodata`].
    #[must_use]
    pub fn with_metadata(self, metadata: Arc<dyn RepoMetadata>) -> Self {
        Self {
            inner: Arc::new(Inner {
                metadata,
                ..(*self.inner).clone()
            }),
        }
    }

    /// The same mirror, which seals its builds with `seal` from now on; the default is a [`Seal`] without a signature.
    #[must_use]
    pub fn with_seal(self, seal: Seal) -> Self {
        Self {
            inner: Arc::new(Inner {
                seal,
                ..(*self.inner).clone()
            }),
        }
    }

    /// The same mirror with a function that is called before each step of a change, for tests.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn with_crash_point(self, crash_point: CrashPoint) -> Self {
        Self {
            inner: Arc::new(Inner {
                crash_point: Some(crash_point),
                ..(*self.inner).clone()
            }),
        }
    }

    /// The free bytes of its file system that this user may use.
    ///
    /// # Errors
    /// The errors of the file system.
    pub fn free_space(&self) -> Result<u64, StoreError> {
        let root = self.root();
        let found = rustix::fs::statvfs(root.as_str())
            .map_err(|error| io_error("ask for the free space of", root)(error.into()))?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// The directory.
    pub fn root(&self) -> &Utf8Path {
        &self.inner.root
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || work(&inner)).await
    }
}

/// The reason why a directory is not a mirror; `None` if it is one, or can become one.
fn not_a_mirror(root: &Utf8Path, found: &Likeness) -> Option<StoreError> {
    let (why, instead) = match found {
        Likeness::Mirror | Likeness::Empty => return None,
        Likeness::Within(above) => (format!("it is within the mirror {above}"), vec![above]),
        Likeness::Above(below) => (
            "it holds neither `.stx` nor a channel, but a mirror is below it".to_owned(),
            below.iter().collect(),
        ),
        Likeness::Other => (
            "it holds neither `.stx` nor a channel".to_owned(),
            Vec::new(),
        ),
    };
    Some(StoreError::NotAMirror {
        what: root.to_string(),
        why,
        instead: instead.into_iter().map(ToString::to_string).collect(),
    })
}

#[async_trait]
impl MirrorRead for LocalStore {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let scope = scope.clone();
        self.blocking(move |inner| inner.catalog(&scope)).await
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let id = id.clone();
        self.blocking(move |inner| inner.record(&id)).await
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        let id = id.clone();
        self.blocking(move |inner| inner.sums(&id)).await
    }

    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        let (channel, alias) = (channel.clone(), alias.clone());
        self.blocking(move |inner| inner.alias(&channel, &alias))
            .await
    }

    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        self.blocking(Inner::root_aliases).await
    }

    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        let (id, path) = (id.clone(), path.clone());
        self.blocking(move |inner| {
            let what = format!("{id}/{path}");
            let (file, size) = open_beneath(&inner.build_dir(&id), &path, &what)?;
            let body = stream::try_unfold((file, from), move |(file, at)| {
                let what = what.clone();
                blocking(move || {
                    let mut buffer = vec![0; CHUNK];
                    let count = std::os::unix::fs::FileExt::read_at(&file, &mut buffer, at)
                        .map_err(io_error("read", what))?;
                    buffer.truncate(count);
                    Ok((count > 0).then(|| (Bytes::from(buffer), (file, at + count as u64))))
                })
            });
            Ok(FileBody {
                size,
                stream: body.boxed(),
                is_whole: false,
            })
        })
        .await
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        let (store, id, path) = (self.clone(), id.clone(), path.clone());
        FileBody::of_ranges(ranges, move |range| {
            let (store, id, path) = (store.clone(), id.clone(), path.clone());
            async move { store.read(&id, &path, range.from).await }
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_local_files: true,
            holds: true,
            ..Capabilities::default()
        }
    }

    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf> {
        Some(self.inner.build_dir(id).join(path.as_path()))
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        let page = page.clone();
        self.blocking(move |inner| inner.page(&page)).await
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        let id = id.clone();
        self.blocking(move |inner| match depth {
            Depth::Listing => inner.inspect(&id, None),
            Depth::Digests => inner.inspect(&id, Some(&Audit::default())),
        })
        .await
    }

    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
        let (id, run) = (id.clone(), run.clone());
        self.blocking(move |inner| inner.inspect(&id, Some(&run)))
            .await
    }

    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        let id = id.clone();
        let held = self.blocking(move |inner| inner.hold(&id)).await?;
        Ok(Hold::until_dropped(held))
    }
}

/// Opens a file of a build; refuses symlinks that lead out of the build's directory.
fn open_beneath(
    dir: &Utf8Path,
    path: &BuildPath,
    what: &str,
) -> Result<(std::fs::File, u64), StoreError> {
    use rustix::io::Errno;
    let fail = |error: Errno| match error {
        Errno::NOENT | Errno::NOTDIR => StoreError::NotFound {
            what: what.to_owned(),
        },
        Errno::XDEV | Errno::LOOP => StoreError::Refused {
            what: what.to_owned(),
            reason: "it points outside of the build".to_owned(),
        },
        error => io_error("open", what)(error.into()),
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let dir = rustix::fs::open(
        dir.as_str(),
        flags | OFlags::DIRECTORY | OFlags::NOFOLLOW,
        Mode::empty(),
    )
    .map_err(fail)?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file =
        rustix::fs::openat2(&dir, path.as_str(), flags, Mode::empty(), resolve).map_err(fail)?;
    let file = std::fs::File::from(file);
    let metadata = file.metadata().map_err(io_error("look at", what))?;
    if !metadata.is_file() {
        return Err(StoreError::NotFound {
            what: what.to_owned(),
        });
    }
    Ok((file, metadata.len()))
}

#[async_trait]
impl MirrorStore for LocalStore {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
        let channel = channel.clone();
        let inner = Arc::clone(&self.inner);
        let lock = blocking(move || inner.lock(&channel)).await?;
        Ok(Box::new(writer::LocalWriter::new(
            Arc::clone(&self.inner),
            lock,
        )))
    }

    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let lock = blocking(move || inner.lock_pages()).await?;
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(pages::LocalPages::new(inner, lock)))
    }

    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError> {
        let inner = Arc::clone(&self.inner);
        let lock = blocking(move || inner.lock_aliases()).await?;
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(root::LocalRoot::new(inner, lock)))
    }

    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        self.blocking(Inner::retired).await
    }

    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        let scope = scope.clone();
        self.blocking(move |inner| inner.leftovers(&scope)).await
    }

    async fn settle(&self, channel: &Channel) -> Result<(), StoreError> {
        let dir = self.inner.root.join(channel.to_string());
        blocking(move || disk::sync_dir(&dir)).await
    }

    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        self.blocking(Inner::strays).await
    }

    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        let scope = scope.clone();
        self.blocking(move |inner| inner.pins(&scope)).await
    }

    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        let scope = scope.clone();
        self.blocking(move |inner| inner.verdicts(&scope)).await
    }

    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        let scope = scope.clone();
        self.blocking(move |inner| inner.owed(&scope)).await
    }

    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        let builds = builds.to_vec();
        self.blocking(move |inner| inner.in_use(&builds)).await
    }

    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
        self.blocking(Inner::outlines).await.map(Some)
    }

    async fn noted(&self) -> Result<Option<Bytes>, StoreError> {
        self.blocking(|inner| Ok(inner.noted())).await
    }
}
