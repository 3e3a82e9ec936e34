//! A mirror as a store of builds.
//!
//! The traits work on builds, not on files: where a directory uses a rename, a bucket writes `build.json` last. [`MirrorRead`]
//! has the operations of every mirror, including a plain web server. [`MirrorStore`] adds the lock of a channel; its holder has a
//! [`ChannelWriter`], and a channel cannot be changed in any other way. The names above the channels have their own lock, with
//! a [`RootWriter`].
//!
//! ```text
//! MirrorStore::lock ─> ChannelWriter ─┬─ begin ─> StagedBuild ── add* ── index* ── commit
//!                                     ├─ hold_alias / point / offer
//!                                     ├─ pin / unpin
//!                                     ├─ owe
//!                                     └─ retire / thin / restore / purge / sweep
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::{Deserialize, Serialize};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Catalog, Channel, Pin,
    RootAlias, RootEntry, Section, Sha256, Sums, VerdictEntry,
};

use crate::incoming::Entry;
use crate::index::PageId;
use crate::metadata::{CarriedRecord, Indexed};
use crate::seal::Sealed;
use crate::thinning::{Thinned, ThinnedSection};

mod contents;
mod forward;
mod hold;
mod offer;
mod outline;
mod owed;
mod page_writer;
mod read;
mod root;
pub mod rows;
pub mod rules;

pub use crate::audit::{Audit, StoredFile};
pub use crate::error::StoreError;
pub use crate::seal::{check_record, record_path};
pub use contents::{Content, Contents};
pub use hold::Hold;
pub use offer::offer_latest;
pub use outline::Outline;
pub use owed::{OwedTag, OwedTags};
pub use page_writer::PageWriter;
pub use read::{read_all, thinned};
pub use root::RootWriter;

/// The bytes of a file, in order, in chunks that the store chooses.
pub type ByteStream = BoxStream<'static, Result<Bytes, StoreError>>;

/// A contiguous part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    /// The offset of the first byte.
    pub from: u64,
    /// The number of bytes.
    pub length: u64,
}

/// A file that is being read.
pub struct FileBody {
    /// The size of the whole file in bytes, not of the requested part.
    pub size: u64,
    /// The requested bytes: from an offset to the end, or those of the ranges.
    pub stream: ByteStream,
    /// True if ranges were requested and the server sends the whole file: the bytes outside the ranges are transferred and
    /// dropped.
    pub is_whole: bool,
}

impl fmt::Debug for FileBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileBody")
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl FileBody {
    /// A file in memory, from byte `from` on.
    pub fn of(bytes: &Bytes, from: u64) -> Self {
        let length = u64::MAX;
        Self::in_memory(bytes, &[ByteRange { from, length }])
    }

    /// The ranges of a file in memory, one after another.
    pub fn in_memory(bytes: &Bytes, ranges: &[ByteRange]) -> Self {
        let at =
            |offset: u64| usize::try_from(offset).map_or(bytes.len(), |it| it.min(bytes.len()));
        let ranges = ranges.iter().map(|range| {
            let end = range.from.saturating_add(range.length);
            Ok(bytes.slice(at(range.from)..at(end)))
        });
        let ranges: Vec<_> = ranges.collect();
        Self {
            size: bytes.len() as u64,
            stream: stream::iter(ranges).boxed(),
            is_whole: false,
        }
    }

    /// Reads ranges of a file one after another into one stream. `read` opens the file at the beginning of a range; it is called for
    /// the next range when the stream has reached the end of the one before.
    ///
    /// # Errors
    /// Those of `read` for the first range. Errors of later ranges are items of the stream.
    pub async fn of_ranges<R, F>(ranges: &[ByteRange], mut read: R) -> Result<Self, StoreError>
    where
        R: FnMut(ByteRange) -> F + Send + 'static,
        F: Future<Output = Result<Self, StoreError>> + Send + 'static,
    {
        let Some((&first, rest)) = ranges.split_first() else {
            let nothing = ByteRange { from: 0, length: 0 };
            return Ok(read(nothing).await?.cut(0));
        };
        let begun = read(first).await?.cut(first.length);
        if rest.is_empty() {
            return Ok(begun);
        }
        let rest = stream::iter(rest.to_vec()).then(move |range| {
            let body = read(range);
            async move { Ok::<_, StoreError>(body.await?.cut(range.length).stream) }
        });
        Ok(Self {
            stream: begun.stream.chain(rest.try_flatten()).boxed(),
            ..begun
        })
    }

    /// The same body with a stream that ends after `length` bytes.
    #[must_use]
    pub fn cut(self, length: u64) -> Self {
        let stream = stream::unfold((self.stream, length), |(mut rest, left)| async move {
            if left == 0 {
                return None;
            }
            let chunk = rest.next().await?.map(|mut chunk| {
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                chunk.truncate(most);
                chunk
            });
            let read = chunk.as_ref().map_or(left, |chunk| chunk.len() as u64);
            Some((chunk, (rest, left - read)))
        });
        Self {
            size: self.size,
            stream: stream.boxed(),
            is_whole: self.is_whole,
        }
    }
}

/// A part of a mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Scope {
    /// All of it.
    #[default]
    All,
    /// One channel.
    Channel(Channel),
    /// One build; the aliases of its channel belong to it.
    Build(BuildId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("the mirror"),
            Self::Channel(channel) => channel.fmt(f),
            Self::Build(id) => id.fmt(f),
        }
    }
}

/// The level of detail of [`MirrorRead::inspect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names, kinds, sizes and modes.
    Listing,
    /// Also the digest of every file, computed from its bytes.
    Digests,
}

/// The entry at a path of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its permission bits, if the store has them.
        mode: Option<u32>,
        /// Its time of modification, if the store keeps one.
        modified: Option<DateTime<Utc>>,
        /// Its digest, if requested; or the reason why it could not be read, in one line.
        digest: Option<Result<Sha256, String>>,
    },
    /// A symlink.
    Symlink {
        /// Its target, as written.
        target: String,
    },
    /// A directory whose permission bits are not `0755`.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// An entry that a build must not contain: a device, a FIFO, a socket.
    Other {
        /// The kind of file, in words: `FIFO`, `socket`.
        what: String,
    },
}

/// The real contents of a build on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The entries by path; directories only if something is wrong with them.
    pub found: BTreeMap<BuildPath, Found>,
    /// The entries that cannot be read, or whose name is not valid: path and reason.
    pub unreadable: Vec<(String, String)>,
    /// The sections that were removed from it on purpose.
    pub thinned: Thinned,
}

/// A build or a section of one in the trash, which can be restored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retired {
    /// The build.
    pub id: BuildId,
    /// The time of its retirement, in whole seconds.
    pub at: BuildDate,
    /// The section; absent if the whole build was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<BuildPath>,
}

impl Retired {
    /// True if it is the whole of this build.
    pub fn is_whole(&self, id: &BuildId) -> bool {
        self.section.is_none() && self.id == *id
    }
}

impl fmt::Display for Retired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let section = self.section.as_ref();
        self.id.fmt(f)?;
        section.map_or(Ok(()), |section| write!(f, "/{section}"))
    }
}

/// Something that a dead publisher left behind, invisible to readers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leftover {
    /// The channel whose lock protects it.
    pub channel: Channel,
    /// Its description for people: its path in the mirror, if it has one.
    pub what: String,
}

/// The abilities and limits in which mirrors differ. The conformance suite compares them with the mirror's behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Readers see only names and bytes of files, but no symlinks, modes and times.
    pub shows_files_only: bool,
    /// The files of a build are files of this machine, and [`MirrorRead::file`] returns their paths.
    pub has_local_files: bool,
    /// [`MirrorRead::hold`] keeps a build from being retired.
    pub holds: bool,
}

/// The reading half of a mirror.
///
/// No method has a default: a wrapper of a mirror would inherit it, and answer in place of the mirror. Pointers to a mirror
/// ([`Arc`](std::sync::Arc), [`Box`]) are that mirror.
///
/// # Contract
/// - **Atomicity.** A build is in the catalog, and its record, sums and files can be read, entirely or not at all.
/// - **Immutability.** The data of a build never changes while the build exists. A build may be retired at any time; then
///   [`StoreError::NotFound`] is returned, even in the middle of a [`FileBody`]. One exception: a section that retention
///   removes from a build is not found any more, and `THINNED.json` has recorded that before. [`hold`](Self::hold) prevents both.
/// - **Ordering.** A reader who has seen an alias point at a build finds that build, unless it was retired since.
/// - **No waiting.** Reading takes no lock and never returns [`StoreError::Busy`].
/// - **May vary.** The age of a catalog on a store with caches; the knowledge of permission bits; chunk sizes.
#[async_trait]
pub trait MirrorRead: fmt::Debug + Send + Sync {
    /// The contents of the mirror within `scope`. A channel or build that does not exist is absent from the catalog, without an error;
    /// a build whose record cannot be read is in it as [`BuildState::Unreadable`](stx_layout::BuildState::Unreadable).
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError>;

    /// The record of a build.
    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError>;

    /// The digests of a build's files.
    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError>;

    /// The target of an alias; `None` if the alias does not exist.
    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError>;

    /// The names that point to releases and channels, such as `r2018.10`.
    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError>;

    /// A file of a build from byte `from` on, with symlinks followed within the build; `build.json` and `SHA256SUMS` are files,
    /// too. At the end of the file or beyond, the stream is empty.
    async fn read(&self, id: &BuildId, path: &BuildPath, from: u64)
    -> Result<FileBody, StoreError>;

    /// Ranges of a file, one after another in one stream; otherwise like [`read`](Self::read). A range ends at the end of the file at
    /// the latest, and one that begins there or beyond is empty. A store transfers only the requested bytes, with one request if it
    /// can; [`FileBody::of_ranges`] reads one range at a time.
    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError>;

    /// A derived page; `None` if it does not exist.
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError>;

    /// The abilities and limits of this mirror.
    fn capabilities(&self) -> Capabilities;

    /// The path of a file of a build for programs on this machine, if the mirror [has such files](Capabilities::has_local_files);
    /// symlinks are not followed.
    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf>;

    /// The real contents of a build, without `SHA256SUMS`, its signature, and [`THINNED.json`](Thinned::FILE_NAME), which is returned
    /// in parsed form.
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError>;

    /// Holds a build as long as the guard lives: writers cannot retire or thin it. [`StoreError::NotFound`] for a build that does
    /// not exist. A mirror that cannot inform its writers, such as a plain web server, holds nothing.
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError>;

    /// Like [`inspect`](Self::inspect) with [`Depth::Digests`], as part of a run over many builds: bytes that builds share
    /// need to be read only once per run.
    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError>;
}

/// A mirror that can be written.
///
/// # Contract
/// - **Exclusion.** A channel has at most one [`ChannelWriter`] at a time, over all processes; a second [`lock`](Self::lock)
///   returns [`StoreError::Busy`] at once. The lock ends with its writer and all [`StagedBuild`]s begun with it, at the latest
///   with the process. On a store without kernel locks, such as a bucket, it ends soon after the process, and a writer that has
///   lost it gets an error before it changes anything that a reader sees. Channels do not wait for each other.
#[async_trait]
pub trait MirrorStore: MirrorRead {
    /// Takes the lock of a channel, which need not exist yet.
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError>;

    /// Announces that the channel will soon be locked, for a build. A distant store then requests the data that it needs while its
    /// caller makes the plan; readers see no change. If the lock is not taken after all, call [`settle`](Self::settle).
    async fn expect(&self, channel: &Channel) {
        let _ = channel;
    }

    /// Takes the lock of the derived pages; waits until it is free.
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError>;

    /// Takes the lock of the names that point to releases and channels; waits until it is free.
    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError>;

    /// The builds and sections that can be restored, by id, then by time of retirement.
    async fn retired(&self) -> Result<Vec<Retired>, StoreError>;

    /// The leftovers of dead publishers within `scope`, except in channels that are locked.
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError>;

    /// Makes everything durable that was visible in a channel before the call: its writer may have died before doing so. Does nothing
    /// in a store where visible data is always durable. Also ends an [expectation](Self::expect): no lock follows.
    async fn settle(&self, channel: &Channel) -> Result<(), StoreError>;

    /// Entries above the channels that belong to no channel, by path; empty for a store that contains only channels.
    async fn strays(&self) -> Result<Vec<String>, StoreError>;

    /// The pins within `scope`, by build, then by author; including those that have ended, and those of builds that do not exist.
    /// A stored pin that cannot be parsed counts as a pin, too: if unknown, the build is kept.
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError>;

    /// The verdicts on builds within `scope`, by build, those on one build oldest first. They are kept while their build is in the
    /// trash, and are removed when another build with its id is published.
    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError>;

    /// The tags within `scope` that are still on the registry although their builds are not on the mirror any more, by build.
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError>;

    /// The builds among these that a reader [holds](MirrorRead::hold). Empty for a store that cannot know.
    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError>;

    /// The outline of each channel, at a small part of the cost of the catalog; `None` from a store that would have to read the
    /// records for it.
    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
        Ok(None)
    }

    /// The last note that was kept [beside the pages](PageWriter::note). It may be lost at any time; a store without
    /// [outlines](Self::outlines) keeps none.
    async fn noted(&self) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}

/// The lock of a channel, and with it the right to change the channel.
///
/// # Contract
/// - **Atomicity.** Each call except [`purge`](Self::purge) and [`sweep`](Self::sweep) takes effect at one instant, or not at
///   all. After an error it may have taken effect, as after a crash; the mirror is consistent either way.
/// - **Durability.** The effect of a call is on stable storage when the call returns.
/// - **Idempotence.** A call that is repeated after an error or a crash succeeds, or its error shows that it is done:
///   [`StoreError::AlreadyExists`], [`StoreError::NotFound`], [`StoreError::Conflict`].
#[async_trait]
pub trait ChannelWriter: fmt::Debug + Send + Sync {
    /// The channel.
    fn channel(&self) -> &Channel;

    /// Begins a build; nothing of it is visible before [`StagedBuild::commit`]. Sweeps the leftovers of dead publishers in this channel
    /// first. [`StoreError::AlreadyExists`] for a build that exists.
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError>;

    /// Points `alias` at the build `to`, or removes it, if its current target is `expected` (`None`: it does not exist); otherwise
    /// returns [`StoreError::Conflict`]. A moved alias is never missing, not even for an instant. `to` must exist
    /// ([`StoreError::NotFound`]) and be a success ([`StoreError::Refused`]).
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError>;

    /// Notes that `alias` points to an older build on purpose: it is [`held`](stx_layout::ChannelEntry::held) in the catalog while it
    /// points at `at`, even if it does so only after this call. A later note replaces this one.
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError>;

    /// Offers exactly these sections of the build that `latest_build` points at under paths without a date: `CHANNEL/outputs/…`.
    /// From then on they follow `latest_build`; on a store without links, they do so when this is called again. Other entries with
    /// these names, such as the directories of an older publisher, are not changed. [`StoreError::NotFound`] if `latest_build` does
    /// not exist.
    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError>;

    /// Moves a build to the trash; `now` is kept in whole seconds. [`StoreError::Refused`] while an alias points at it, one of its
    /// pins is in force at `now`, or a reader [holds](MirrorRead::hold) it.
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError>;

    /// Moves sections of a build to the trash, each at one instant; each can be restored on its own. `THINNED.json` records all of
    /// them before the first one is moved. A section that was already moved is skipped. [`sweep`](Self::sweep) completes the work
    /// that a crash interrupted.
    ///
    /// [`StoreError::Refused`] as for [`retire`](Self::retire), for files that identify a build
    /// ([`check_section`](crate::thinning::check_section)), and for a section that a symlink in the rest of the build points into;
    /// [`StoreError::NotFound`] for one that does not exist.
    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError>;

    /// Pins a build that exists or is retired ([`StoreError::NotFound`]), and replaces an earlier pin of the same author. So a build
    /// can be pinned before it is restored. A pin does not keep a build in the trash from being purged.
    async fn pin(&self, pin: &Pin) -> Result<(), StoreError>;

    /// Removes an author's pin of a build, whether or not the build exists. [`StoreError::NotFound`] if the author has not pinned it.
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError>;

    /// Adds a verdict on a build that exists ([`StoreError::NotFound`]), in the order of time. Does nothing if the verdict is already
    /// recorded, or repeats the one before it in all but the time. Moves no alias; [`mark`](crate::verdicts::mark) also does that.
    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError>;

    /// Records the tags of a build that is removed, or about to be, and replaces earlier ones; without tags, removes the record.
    /// Only [`owed`](MirrorStore::owed) shows them.
    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError>;

    /// Restores a build or a section. [`StoreError::AlreadyExists`] if another one is now in its place, [`StoreError::Refused`] for
    /// a section that was not taken from the current build.
    async fn restore(&self, retired: &Retired) -> Result<(), StoreError>;

    /// Deletes a retired build or section for good. It cannot be restored any more as soon as the deletion begins.
    async fn purge(&self, retired: &Retired) -> Result<(), StoreError>;

    /// Removes the leftovers of dead publishers in this channel, and completes interrupted thinning and restoring.
    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError>;
}

/// A file that a mirror may already have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// The digest of its bytes.
    pub digest: Sha256,
    /// Its size in bytes, if known.
    pub size: Option<u64>,
    /// True if its owner may execute it.
    pub executable: bool,
    /// Its time of modification, for stores that keep one for each path.
    pub modified: Option<DateTime<Utc>>,
}

/// The way in which a file was added to a staged build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Its bytes were stored; the number of bytes.
    Stored(u64),
    /// Its bytes are shared with an equal file of the mirror or of this build; the number of bytes.
    Shared(u64),
    /// A symlink.
    Link,
}

/// A build that is being written, invisible to readers.
///
/// # Contract
/// - **Order.** Files in any order and in parallel, each path once ([`StoreError::AlreadyExists`]); then
///   [`index`](Self::index) and [`index_apt`](Self::index_apt); then [`commit`](Self::commit), the only call that makes anything visible.
/// - **Integrity.** The digests of the committed sums are those of the bytes that were stored. A source whose size or digest
///   differs from its entry, or that changes while it is read, is [`StoreError::Changed`].
/// - **Isolation.** Nothing is shared with a source: writing to it later changes no build.
/// - **Thrift.** The bytes of equal files, on the mirror or among the added ones, are stored once if the store can share them.
///   If several are added at the same time, each may count as the stored one.
/// - **Seal.** A commit adds what [`Seal::seal`](crate::Seal::seal) makes from the digests of the added files: the statements of
///   the store's attester, `build.json`, `SHA256SUMS` over all of these, and `SHA256SUMS.asc` if the store signs. A store that
///   signs also adds `repomd.xml.asc` to each `repodata/` that it makes, and `Release.gpg` and, if its signer can, `InRelease`
///   to each apt repository.
/// - **Abandoning.** A staged build that is dropped without a commit becomes at worst a [`Leftover`].
#[async_trait]
pub trait StagedBuild: fmt::Debug + Send + Sync {
    /// The build.
    fn id(&self) -> &BuildId;

    /// The number of [`add`](Self::add)s to run in parallel.
    fn parallel(&self) -> usize;

    /// Adds a file or a symlink.
    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError>;

    /// Adds a file like [`add`](Self::add), and beside it its zsync control file, which is [made](rules::control_maker) while the bytes
    /// are read. If the mirror already has the bytes with a control file beside them, that one is reused and nothing is read. Every
    /// store adds the same two files.
    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError>;

    /// Adds a file whose bytes the mirror, or this build, already has, and returns its size. `None` if there is no such file or the
    /// store cannot tell; then the file must be [added](Self::add).
    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError>;

    /// Makes the RPM repository metadata of a directory, in its `repodata/`, and signs it if the store signs. Adds the records of
    /// `carried`, whose files were added. Returns the packages that the metadata lists, and those that it does not.
    /// [`StoreError::MissingTool`] if the required program is not installed.
    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError>;

    /// Makes the metadata of a directory that is an apt repository in flat form, by [`rules::index_apt`], and adds it. Every store
    /// makes the same files.
    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError>;

    /// Makes the whole build visible at one instant and durably, with its `SHA256SUMS` and with `record`, whose `files` and `bytes`
    /// are counted here. Returns the record as written. [`StoreError::AlreadyExists`] if a build with that id exists by now,
    /// [`StoreError::Unsigned`] if it cannot be signed.
    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError>;

    /// Like [`commit`](Self::commit), for a copy: the seal is that of the original, byte for byte, and the store signs nothing. The
    /// statements of the original's attester may be added files, or part of the seal. [`StoreError::Refused`] if the seal does not
    /// match the added files.
    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError>;

    /// Removes the staged files.
    async fn discard(self: Box<Self>) -> Result<(), StoreError>;
}
