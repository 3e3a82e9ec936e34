//! A mirror in a bucket of an object store that speaks S3.
//!
//! ```text
//! PREFIX/<channel>/<date>/build.json           makes the build visible: written last, deleted first
//! PREFIX/<channel>/<date>/…                    its files; a symlink to a file is a copy of that file
//! PREFIX/<channel>/latest_build/build.json     the record of the alias's build, for readers over plain HTTP
//! PREFIX/<channel>/outputs/…                   copies of the files of that build, if undated paths are offered
//! PREFIX/r2018.10/<rest>/latest_build/build.json   the same for a channel of the release that an alias points at
//! PREFIX/<channel>/index.json, …               derived pages
//! PREFIX/.stx/                                 private: readers over plain HTTP need none of it; no public policy covers it
//!     aliases/<channel>/latest_build/<n>       the alias itself; the newest generation counts
//!     root/<alias>/<n>                         the alias of a release, each `/` of it written `%2F`; the newest generation counts
//!     undated/<channel>/%2Estate               the build of which the undated files are copies
//!     held/<channel>/latest_build              a mark: the build at which the alias is held on purpose
//!     locks/<channel>/%2Elock/<n>              the holder of the channel's lock, and the end of the lease
//!     manifests/<channel>/<date>.json          symlinks, modes and times of a build's files
//!     marks/<channel>/<date>@<what>            a mark, by which the next writer recovers after a crash
//!     uploads/<channel>/<date>/<file>          the progress of a large file's upload; `/` is written `%2F`
//!     retired/<channel>/<date>@<retired at>    a retired build: its record and its manifest
//!     retired/<channel>/<date>@<retired at>@<section>   a retired section of a build that remains
//!     aside/<channel>/<date>@<retired at>/…    files of a retired build whose path another build has taken
//!     cache/<channel>/%2Einputs                digests of the files of the last publish, so that they are not read again
//!     owed/<channel>/<date>.json               image tags of a removed build that could not be removed yet
//!     pins/<channel>/<date>.json               the pins of a build
//!     verdicts/<channel>/<date>.json           the verdicts on a build
//!     probe/…                                  objects that test if the server honours conditional writes
//! ```
//!
//! The server must meet three requirements. A read returns an object as it was written last, also in listings. An object is
//! written as a whole. Of two objects that are created under one name, one is refused (`If-None-Match: *`). The last one is
//! tested before the first change. Nothing is renamed, and nothing is overwritten on condition.
//!
//! Differences from a directory: the files of a retired build or section keep their place until they are purged, so that a reader
//! over plain HTTP that knows their names can finish; [`hold`](MirrorRead::hold) holds nothing; the lock of a dead publisher ends
//! with its lease, not with its process.
//!
//! | module | is |
//! |---|---|
//! | `s3` | opens a mirror by its URL: [`BucketOptions`], [`BucketError`], [`Secret`] |
//! | `limits` | time limits for requests: [`Limits`] |
//! | `objects`, `failure`, `foreign`, `keys`, `generations`, `nonce`, `probe` | requests to the bucket, their errors, the names of objects, and the checks that keep writers apart |
//! | `lease`, `keeper` | locks that end by the clock, and the thread that keeps them |
//! | `list`, `read`, `alias`, `root`, `undated`, `manifest` | the reading half: catalog, records, files, aliases, paths without a date, symlinks and modes |
//! | `writer`, `known`, `retired`, `sections`, `pins`, `verdicts`, `owed`, `pages`, `marks` | the operations under the lock of a channel, and their leftovers after a crash |
//! | `staged`, `upload`, `shared`, `twins`, `shadow` | a build that is being staged, and repository metadata for it |
//!
//! The crate is a backend: all of it does I/O. It follows the rules of [`stx_publish::store::rules`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use futures_util::future::{join, join5, try_join};
use object_store::path::Path;
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Catalog, Channel, Pin, RootAlias,
    RootEntry, Sums, VerdictEntry,
};
use stx_publish::index::PageId;
use stx_publish::ingest::Hints;
use stx_publish::metadata::{RepoMetadata, Repodata};
use stx_publish::seal::Seal;
use stx_publish::store::{
    Audit, ByteRange, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection, Leftover,
    MirrorRead, MirrorStore, OwedTags, PageWriter, Retired, RootWriter, Scope, StoreError,
};

mod alias;
mod failure;
mod foreign;
mod generations;
mod keeper;
mod keys;
mod known;
mod large;
mod lease;
mod limits;
mod list;
mod manifest;
mod marks;
mod nonce;
mod objects;
mod owed;
mod pages;
mod parts;
mod pins;
mod probe;
mod read;
mod retired;
mod root;
mod s3;
mod sections;
mod shadow;
mod shared;
mod staged;
#[cfg(test)]
mod tests;
mod twins;
mod undated;
mod upload;
mod verdicts;
mod writer;

pub use failure::RequestFailure;
pub use lease::Clock;
pub use limits::Limits;
pub use parts::Backend;
pub use s3::{BucketError, BucketOptions, Secret};

use foreign::Foreign;
use keeper::{Keeper, Keepers};
use lease::{Lease, Terms};
use objects::Objects;
use shared::Shared;

/// The longest time that the lock of a dead publisher lasts, less [`MARGIN`](lease::MARGIN).
const LEASE: Duration = Duration::from_mins(1);

/// Connections that are opened before a publish, in addition to those of its first questions. The next round asks two questions
/// for each build of the channel, and a connection that is opened only then costs the round trips of a handshake.
const CONNECTIONS: usize = 16;

/// A mirror in a bucket. Clones are the same mirror.
#[derive(Debug, Clone)]
pub struct BucketStore {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    objects: Objects,
    terms: Terms,
    metadata: Arc<dyn RepoMetadata>,
    seal: Seal,
    /// The names that are left out of listings.
    foreign: Foreign,
    /// Files larger than this are sent in parts, each of at least this many bytes.
    large: u64,
    /// The object that the server refused to overwrite, and the result of the check that it did not.
    probed: Arc<tokio::sync::OnceCell<String>>,
    checked: Arc<tokio::sync::OnceCell<()>>,
    /// The findings for the lock that will be taken.
    expected: Arc<Mutex<Option<Expected>>>,
    /// The lock of the pages as it was found early, if it was free.
    expected_pages: Arc<Mutex<Option<lease::Look>>>,
    /// The thread that keeps locks, once one was taken; the next lock reuses its connections.
    keeper: Arc<OnceLock<Arc<Keeper>>>,
    /// Small objects that were read, by name and entity tag.
    texts: Arc<Mutex<HashMap<String, (String, Bytes)>>>,
    /// The sums of builds that were read, which never change.
    sums: Arc<Mutex<KnownSums>>,
}

/// Sums by build, and the entity tag of its record.
type KnownSums = HashMap<(BuildId, String), Arc<Sums>>;

/// The bytes that the bucket already has, and the files that were published last.
type Seen = (Shared, Hints);

/// The findings for the lock of a channel that will be taken.
struct Expected {
    channel: Channel,
    /// The lock, which was free.
    look: lease::Look,
    seen: Option<Seen>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

impl BucketStore {
    /// The mirror at `root` in a bucket. No request is made yet. `keepers` is the same bucket through separate connections, which
    /// the thread that keeps locks uses; `clock` decides when leases end.
    pub fn new(
        backend: Arc<dyn Backend>,
        keepers: Arc<dyn Backend>,
        root: Path,
        clock: Clock,
    ) -> Self {
        let keepers = Keepers::new(Objects::new(keepers, root.clone()));
        Self {
            inner: Arc::new(Inner {
                objects: Objects::new(backend, root),
                terms: Terms {
                    clock,
                    lasts: LEASE,
                    keepers,
                },
                metadata: Arc::new(Repodata),
                seal: Seal::default(),
                foreign: Foreign::default(),
                large: upload::LARGE,
                probed: Arc::default(),
                checked: Arc::default(),
                expected: Arc::default(),
                expected_pages: Arc::default(),
                keeper: Arc::default(),
                texts: Arc::default(),
                sums: Arc::default(),
            }),
        }
    }

    /// The same mirror with another generator of repository metadata; the default is [`Repodata`].
    #[must_use]
    pub fn with_metadata(self, metadata: Arc<dyn RepoMetadata>) -> Self {
        Self {
            inner: Arc::new(Inner {
                metadata,
                ..(*self.inner).clone()
            }),
        }
    }

    /// The same mirror, which seals builds this way; by default they are neither signed nor attested.
    #[must_use]
    pub fn with_seal(self, seal: Seal) -> Self {
        Self {
            inner: Arc::new(Inner {
                seal,
                ..(*self.inner).clone()
            }),
        }
    }

    /// The same mirror, whose bucket copies objects larger than `bytes` only part by part, with `parts`. The default is 5 GiB,
    /// with parts that pass through this machine unless the mirror was [opened](Self::open) by its URL.
    #[must_use]
    fn with_copies_above(self, bytes: u64, parts: Arc<dyn parts::CopyParts>) -> Self {
        let mut inner = (*self.inner).clone();
        inner.objects.largest_copy = bytes;
        inner.objects.parts = parts;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same mirror, with its name in errors, and with the names that are left out of its listings.
    #[must_use]
    fn at(self, place: objects::Place, foreign: Foreign) -> Self {
        let mut inner = (*self.inner).clone();
        inner.objects.place = place;
        inner.foreign = foreign;
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The name of a path of the mirror, for messages.
    pub fn place(&self, path: &str) -> String {
        format!("{:?}/{path}", self.inner.objects)
    }

    /// The record of a retired build.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] if the build was restored or deleted since; [`StoreError::Damaged`].
    pub async fn retired_record(&self, retired: &Retired) -> Result<BuildRecord, StoreError> {
        self.inner.retired_record(retired).await
    }
}

impl Inner {
    /// Takes the lock of that name; `None` if another publisher has it. `found` is an early finding of a free lock. Also returns
    /// the answer to `question`, which is asked under the lock; the answer is absent if the question must be asked again.
    async fn take<T>(
        &self,
        lock: String,
        found: Option<lease::Look>,
        question: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<Option<(Lease, Option<T>)>, StoreError> {
        let found = async {
            match found {
                Some(found) => Ok(found),
                None => lease::look(&self.objects, &lock).await,
            }
        };
        // Reading the lock changes nothing, so it need not wait for the answer of the probe.
        let (probe, found) = try_join(self.probed(), found).await?;
        let now = (self.terms.clock)();
        let taken = lease::take(
            &self.objects,
            (lock, found, now),
            self.terms.clone(),
            question,
        );
        // A server that refuses a second write but performs it anyway is detected here, before anything but the lock is written.
        let (taken, checked) = join(taken, self.checked(&probe)).await;
        let taken = taken?;
        checked?;
        if taken.is_some() {
            let keeper = self.terms.keepers.keeper()?;
            // The thread may be set already by another lock; it is the same thread.
            self.keeper.set(keeper).ok();
        }
        Ok(taken)
    }

    /// Takes the lock of a channel, with the early findings if they exist; `None` if another publisher has it. Also returns the
    /// leftovers of other publishers, and the bytes that the bucket already has.
    async fn take_channel(
        &self,
        channel: &Channel,
    ) -> Result<Option<(Lease, writer::Early)>, StoreError> {
        let lock = keys::lock(Some(channel));
        let expected = self.expected().take();
        if let Some(Expected {
            look: found, seen, ..
        }) = expected.filter(|it| it.channel == *channel)
        {
            let taken = self.take(lock.clone(), Some(found), self.left(channel));
            if let Some((lease, left)) = taken.await? {
                return Ok(Some((lease, (left, seen))));
            }
            // Another publisher took the lock after the early finding. It may have released the lock, and may have changed
            // anything.
        }
        let taken = self.take(lock, None, self.left(channel)).await?;
        Ok(taken.map(|(lease, left)| (lease, (left, None))))
    }

    /// Checks, once, that the server has kept an object that it refused to overwrite, and deletes the object.
    async fn checked(&self, probe: &str) -> Result<(), StoreError> {
        let checked = self
            .checked
            .get_or_try_init(|| probe::check(&self.objects, probe))
            .await;
        checked.copied()
    }

    fn expected(&self) -> MutexGuard<'_, Option<Expected>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn expected_pages(&self) -> MutexGuard<'_, Option<lease::Look>> {
        let expected = self.expected_pages.lock();
        expected.unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for all that the lock of a channel, a build of it and the lock of the pages will need, while the caller makes the
    /// plan. A free lock can only be taken as its next generation, which is created once, so an early finding cannot take a lock
    /// that another publisher has. Errors are left to the later steps that need the answers.
    async fn expect(&self, channel: &Channel) {
        let (lock, pages) = (keys::lock(Some(channel)), keys::lock(None));
        let ((), _, found, of_pages, seen) = join5(
            // The connections are opened first, so that they are idle when the other questions have their first answers.
            self.objects.connect(CONNECTIONS, &keys::inputs(channel)),
            self.probed(),
            lease::look(&self.objects, &lock),
            lease::look(&self.objects, &pages),
            self.seen(channel),
        )
        .await;
        *self.expected_pages() = of_pages.ok().filter(lease::is_free);
        let free = found.ok().filter(lease::is_free);
        *self.expected() = free.map(|look| Expected {
            channel: channel.clone(),
            look,
            seen: seen.ok(),
        });
    }

    /// The same mirror through the connections of the keeper, for tasks on its thread.
    fn by_keepers(&self) -> Self {
        let objects = self.terms.keepers.objects.clone();
        Self {
            objects: self.objects.by(objects.backend),
            // A reference here would keep the thread alive from within.
            keeper: Arc::default(),
            ..self.clone()
        }
    }

    /// Checks, once, that the server refuses to overwrite an object. Returns the object.
    async fn probed(&self) -> Result<String, StoreError> {
        let probed = self
            .probed
            .get_or_try_init(|| probe::probe(&self.objects))
            .await;
        probed.cloned()
    }

    /// Takes the lock of that name, and waits for it. An `early` finding saves a question.
    async fn take_in_turn(
        &self,
        lock: &str,
        mut early: Option<lease::Look>,
    ) -> Result<Lease, StoreError> {
        let mut wait = Duration::from_millis(50);
        loop {
            let found = early.take();
            let looked_early = found.is_some();
            let taken = self.take(lock.to_owned(), found, async { Ok(()) });
            if let Some((lease, _)) = taken.await? {
                return Ok(lease);
            }
            if looked_early {
                // Another publisher had the lock since, and may have released it.
                continue;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(2));
        }
    }
}

#[async_trait]
impl MirrorRead for BucketStore {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        self.inner.catalog(scope).await
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        self.inner.record(id).await
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        let sums = self.inner.sums(id).await?;
        Ok((*sums).clone())
    }

    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        self.inner.alias(channel, alias).await
    }

    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        self.inner.root_aliases().await
    }

    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        self.inner.read(id, path, from, None).await
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        let (inner, id, path) = (self.inner.clone(), id.clone(), path.clone());
        FileBody::of_ranges(ranges, move |range| {
            let (inner, id, path) = (inner.clone(), id.clone(), path.clone());
            async move { inner.read(&id, &path, range.from, Some(range.length)).await }
        })
        .await
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        let found = self.inner.objects.get(&page.path()).await?;
        Ok(found.map(|(bytes, _)| bytes))
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        self.inner.inspect(id, depth).await
    }

    /// Holds nothing: most readers use plain HTTP and cannot hold a build. A retired build can still be read during the grace
    /// period.
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        match self.inner.top(id).await? {
            Some(_) => Ok(Hold::nothing()),
            None => Err(StoreError::NotFound {
                what: id.to_string(),
            }),
        }
    }

    async fn audit(&self, id: &BuildId, _: &Audit) -> Result<Inspection, StoreError> {
        self.inspect(id, Depth::Digests).await
    }
}

#[async_trait]
impl MirrorStore for BucketStore {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
        match self.inner.take_channel(channel).await? {
            Some((lease, early)) => Ok(Box::new(writer::BucketWriter::new(
                Arc::clone(&self.inner),
                channel.clone(),
                (lease, early),
            ))),
            None => Err(StoreError::Busy {
                channel: Box::new(channel.clone()),
            }),
        }
    }

    async fn expect(&self, channel: &Channel) {
        self.inner.expect(channel).await;
    }

    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        let early = self.inner.expected_pages().take();
        let lease = self.inner.take_in_turn(&keys::lock(None), early).await?;
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(pages::BucketPages::new(inner, lease)))
    }

    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError> {
        let lease = self.inner.take_in_turn(&keys::aliases_lock(), None).await?;
        let inner = Arc::clone(&self.inner);
        Ok(Box::new(root::BucketRoot::new(inner, lease)))
    }

    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        self.inner.retired_builds().await
    }

    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        self.inner.leftovers(scope).await
    }

    /// Nothing to sync: a visible object is durable. Removes the traces of a lock that was expected and not taken: the early
    /// findings and the object of the probe.
    async fn settle(&self, _: &Channel) -> Result<(), StoreError> {
        drop(self.inner.expected().take());
        drop(self.inner.expected_pages().take());
        match self.inner.probed.get() {
            Some(probe) => self.inner.checked(probe).await,
            None => Ok(()),
        }
    }

    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        self.inner.strays().await
    }

    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        self.inner.pins(scope).await
    }

    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        self.inner.verdicts(scope).await
    }

    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        self.inner.owed(scope).await
    }

    /// Always empty: readers over plain HTTP cannot announce that they read, and others need not.
    async fn in_use(&self, _: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        Ok(BTreeSet::new())
    }
}
