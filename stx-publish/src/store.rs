//! A mirror as a store of builds.
//!
//! The traits speak of builds, not of files: what a directory does with a rename, a bucket does by writing `build.json`
//! last. [`MirrorRead`] is what every mirror can do, a plain web server too. [`MirrorStore`] adds one thing, the lock of a
//! channel; whoever holds it has a [`ChannelWriter`], and there is no other way to change a channel. The names above the
//! channels have a lock of their own, with a [`RootWriter`].
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

/// The bytes of a file, in order, in chunks of the store's choice.
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
    /// Size of the whole file in bytes, not of the requested part.
    pub size: u64,
    /// The requested bytes: from an offset to the end, or those of the ranges.
    pub stream: ByteStream,
    /// True if ranges were requested and the server sends the whole file: the bytes outside of the ranges are transferred and
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

    /// The same body, whose stream ends after `length` bytes.
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

/// The part of a mirror that is meant.
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

/// How closely [`MirrorRead::inspect`] looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Names, kinds, sizes and modes.
    Listing,
    /// The digest of every file as well, from its bytes.
    Digests,
}

/// The entry at a path of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A regular file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its permission bits, where the store has them.
        mode: Option<u32>,
        /// Its time of modification, where the store keeps one.
        modified: Option<DateTime<Utc>>,
        /// Its digest, where it was asked for; or why it could not be read, in a line.
        digest: Option<Result<Sha256, String>>,
    },
    /// A symlink, with its text.
    Symlink {
        /// Where it points, as it stands.
        target: String,
    },
    /// A directory whose permission bits are not `0755`.
    Directory {
        /// Its permission bits.
        mode: u32,
    },
    /// Something that has no place in a build: a device, a FIFO, a socket.
    Other {
        /// The kind of file, in words: `FIFO`, `socket`.
        what: String,
    },
}

/// The contents of a build, as they really are on the mirror.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// By path; directories only where something is wrong with them.
    pub found: BTreeMap<BuildPath, Found>,
    /// The entries that cannot be read, or whose name the grammar refuses: path and reason.
    pub unreadable: Vec<(String, String)>,
    /// The sections that were taken from it on purpose.
    pub thinned: Thinned,
}

/// A build, or a section of one, that was taken out of sight and can be brought back.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Retired {
    /// The build.
    pub id: BuildId,
    /// When, in whole seconds.
    pub at: BuildDate,
    /// The section, where the build itself stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<BuildPath>,
}

impl Retired {
    /// Whether it is all of this build.
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

/// Something that a dead publisher left behind, out of every reader's sight.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Leftover {
    /// The channel whose lock protects it.
    pub channel: Channel,
    /// Its description for people: its path in the mirror, where it has one.
    pub what: String,
}

/// The abilities and limits of a mirror in which mirrors differ. The conformance suite compares them with the mirror's
/// behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Only names and bytes of files can be seen of a build: no symlinks, modes and times.
    pub shows_files_only: bool,
    /// The files of a build are files of this machine, and [`MirrorRead::file`] says where.
    pub has_local_files: bool,
    /// [`MirrorRead::hold`] keeps a build where it is.
    pub holds: bool,
}

/// The reading half of a mirror.
///
/// No method has a default: whoever wraps a mirror would inherit it, and answer for itself in place of the mirror. Pointers
/// to a mirror ([`Arc`](std::sync::Arc), [`Box`]) are that mirror.
///
/// # Contract
/// - **Atomicity.** A build is in the catalog, and its record, sums and files can be read, entirely or not at all.
/// - **Immutability.** What is read of a build never changes while the build is there. It may be retired at any time; then
///   [`StoreError::NotFound`] is returned, also in the middle of a [`FileBody`]. The one exception: a section that retention
///   takes from a build is not found any more, and `THINNED.json` has said so before. [`hold`](Self::hold) rules out both.
/// - **Ordering.** Whoever has seen an alias point at a build finds that build, unless it was retired since.
/// - **No waiting.** Reading takes no lock and is never [`StoreError::Busy`].
/// - **May vary.** How old a catalog may be on a store with caches; whether permission bits are known; chunk sizes.
#[async_trait]
pub trait MirrorRead: fmt::Debug + Send + Sync {
    /// The contents of the mirror within `scope`. A channel or build that is not there is absent from the catalog, no error;
    /// a build whose record cannot be read is in it as [`BuildState::Unreadable`](stx_layout::BuildState::Unreadable).
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError>;

    /// The record of a build.
    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError>;

    /// The digests of a build's files.
    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError>;

    /// The target of an alias; `None` where there is no such alias.
    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError>;

    /// The names that point at releases and channels, such as `r2018.10`.
    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError>;

    /// A file of a build from byte `from` on, symlinks followed within the build; `build.json` and `SHA256SUMS` are files
    /// too. From the end of the file or beyond, the stream is empty.
    async fn read(&self, id: &BuildId, path: &BuildPath, from: u64)
    -> Result<FileBody, StoreError>;

    /// Ranges of a file, one after another in one stream; otherwise as [`read`](Self::read). A range ends at the end of the file at
    /// the latest, and one that begins there or beyond is empty. A store transfers the requested bytes only, with one request if it
    /// can; [`FileBody::of_ranges`] reads one range at a time.
    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError>;

    /// A derived page; `None` where there is none.
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError>;

    /// The abilities and limits of this mirror.
    fn capabilities(&self) -> Capabilities;

    /// Where a file of a build lies for programs of this machine, if the mirror [has such](Capabilities::has_local_files);
    /// symlinks are not followed.
    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf>;

    /// The real contents of a build, except `SHA256SUMS`, its signature, and [`THINNED.json`](Thinned::FILE_NAME), which is
    /// read.
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError>;

    /// Holds a build for as long as the guard lives: no writer retires or thins it meanwhile. [`StoreError::NotFound`] for
    /// a build that is not there. A mirror that cannot tell its writers, such as a plain web server, holds nothing.
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError>;

    /// As [`inspect`](Self::inspect) with [`Depth::Digests`], as part of a run over many builds: bytes that builds share
    /// need be read only once a run.
    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError>;
}

/// A mirror that can be written.
///
/// # Contract
/// - **Exclusion.** One [`ChannelWriter`] a channel exists at a time, over all processes; a second
///   [`lock`](Self::lock) is [`StoreError::Busy`] at once. The lock ends with its writer and all [`StagedBuild`]s begun
///   with it, at the latest with the process; where no kernel is asked, as on a bucket, soon after the process, and whoever
///   has lost it meanwhile is told so before anything that a reader sees. Channels do not wait for each other.
#[async_trait]
pub trait MirrorStore: MirrorRead {
    /// Takes the lock of a channel, which need not exist yet.
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError>;

    /// Announces that the channel will soon be locked, for a build. A store that is far away asks for what it needs then while its
    /// caller makes the plan; readers see no change. [`settle`](Self::settle) follows where the lock is not taken after all.
    async fn expect(&self, channel: &Channel) {
        let _ = channel;
    }

    /// Takes the lock of the derived pages; waits for it.
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError>;

    /// Takes the lock of the names that point at releases and channels; waits for it.
    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError>;

    /// The builds and sections that can be restored, by id, then by time of retirement.
    async fn retired(&self) -> Result<Vec<Retired>, StoreError>;

    /// The leftovers of dead publishers within `scope`, without those of channels that are locked.
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError>;

    /// Makes durable what was seen of a channel before the call: its writer may have died before doing so. A store in which
    /// nothing can be seen that is not durable has nothing to do. Ends an [expectation](Self::expect), too: no lock follows.
    async fn settle(&self, channel: &Channel) -> Result<(), StoreError>;

    /// Entries above the channels that belong to none, by path; a store that holds channels only has nothing there.
    async fn strays(&self) -> Result<Vec<String>, StoreError>;

    /// The pins within `scope`, by build, then by author; also those that have ended, and those of builds that are not
    /// there. What is stored of a build's pins and cannot be understood is a pin too: unknown means keep.
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError>;

    /// The verdicts on builds within `scope`, by build, those on one build oldest first. They stay while their build is in the
    /// trash, and are gone when another build of its id is published.
    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError>;

    /// The tags within `scope` that the registry has longer than the mirror has their builds, by build.
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError>;

    /// Which of these builds somebody [holds](MirrorRead::hold). A store that cannot know says none.
    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError>;

    /// The outline of each channel of the catalog, which costs a small part of the catalog; `None` from a store that would have to read
    /// the records for it.
    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
        Ok(None)
    }
}

/// The lock of a channel, and with it the right to change the channel.
///
/// # Contract
/// - **Atomicity.** Each call but [`purge`](Self::purge) and [`sweep`](Self::sweep) takes effect at one instant, or not at
///   all. After an error it may have taken effect, as after a crash; the mirror is consistent either way.
/// - **Durability.** What a call did is on stable storage when the call returns.
/// - **Idempotence.** A call repeated after an error or a crash succeeds, or says by its error that it is done:
///   [`StoreError::AlreadyExists`], [`StoreError::NotFound`], [`StoreError::Conflict`].
#[async_trait]
pub trait ChannelWriter: fmt::Debug + Send + Sync {
    /// The channel.
    fn channel(&self) -> &Channel;

    /// Begins a build; nothing of it can be seen before [`StagedBuild::commit`]. What a dead publisher left in this channel
    /// is swept first. [`StoreError::AlreadyExists`] for a build that is there.
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError>;

    /// Points `alias` at the build `to`, or removes it, if it is now what `expected` says (`None`: not there); otherwise
    /// [`StoreError::Conflict`]. There is no instant at which a moved alias is missing. `to` has to be
    /// there ([`StoreError::NotFound`]) and a success ([`StoreError::Refused`]).
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError>;

    /// Notes that `alias` shows an older build on purpose: it is [`held`](stx_layout::ChannelEntry::held) in the catalog
    /// while it points at `at`, also if it does so only after this call. A later note replaces this one.
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError>;

    /// Offers these sections of the build that `latest_build` points at, and no others, under paths without a date:
    /// `CHANNEL/outputs/…`. They follow `latest_build` from then on, or, on a store without links, when it is called again.
    /// Anything else of these names, such as the directories of an older publisher, is left alone. [`StoreError::NotFound`] where
    /// there is no `latest_build`.
    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError>;

    /// Takes a build out of sight; `now` is kept in whole seconds. [`StoreError::Refused`] while an alias points at it, a
    /// pin of it holds at `now`, or somebody [holds](MirrorRead::hold) it.
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError>;

    /// Takes sections of a build out of sight, each at one instant and each to be restored on its own; `THINNED.json` has
    /// recorded all of them before the first one goes. One that has gone already is passed over. What a crash leaves half
    /// done, [`sweep`](Self::sweep) finishes.
    ///
    /// [`StoreError::Refused`] as for [`retire`](Self::retire), for what a build is known by
    /// ([`check_section`](crate::thinning::check_section)), and for a section that a symlink of the rest leads into;
    /// [`StoreError::NotFound`] for one that is not there.
    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError>;

    /// Pins a build that is there or retired ([`StoreError::NotFound`]), in place of an earlier pin of the same author. So a build
    /// can be pinned before it is restored. Of one that stays retired a pin keeps nothing.
    async fn pin(&self, pin: &Pin) -> Result<(), StoreError>;

    /// Takes away an author's pin of a build, whether or not the build is there. [`StoreError::NotFound`] if there is none.
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError>;

    /// Adds a verdict on a build that is there ([`StoreError::NotFound`]), in the order of time; nothing, if it is there or
    /// repeats the one before it in all but the time. No alias moves: [`mark`](crate::verdicts::mark) does that too.
    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError>;

    /// Remembers the tags of a build that is gone, or about to go, in place of what was remembered of it; without any,
    /// forgets it. Nothing but [`owed`](MirrorStore::owed) tells of them.
    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError>;

    /// Brings a build or a section back. [`StoreError::AlreadyExists`] if another one is in its place by now,
    /// [`StoreError::Refused`] for a section that was not taken from the build that is there.
    async fn restore(&self, retired: &Retired) -> Result<(), StoreError>;

    /// Deletes a retired build or section for good. From the first instant on it cannot be restored any more.
    async fn purge(&self, retired: &Retired) -> Result<(), StoreError>;

    /// Removes what dead publishers left behind in this channel, and finishes what they were thinning or restoring.
    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError>;
}

/// A file that a mirror may have already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// The digest of its bytes.
    pub digest: Sha256,
    /// Its size in bytes, where that is known.
    pub size: Option<u64>,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Its time of modification, for stores that keep one for each path.
    pub modified: Option<DateTime<Utc>>,
}

/// How a file came into a staged build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// Its bytes were stored; their number.
    Stored(u64),
    /// The mirror had them already, or an equal file of this build has them, and they are shared; their number.
    Shared(u64),
    /// A symlink.
    Link,
}

/// A build that is being put together, out of every reader's sight.
///
/// # Contract
/// - **Order.** Files in any order and side by side, each path once ([`StoreError::AlreadyExists`]); then
///   [`index`](Self::index) and [`index_apt`](Self::index_apt); then [`commit`](Self::commit), which is the only call that makes anything visible.
/// - **Integrity.** The digests of the committed sums are those of the bytes that were stored. A source that is not the
///   size that its entry says, or has another digest than its entry says, or changes while it is read, is
///   [`StoreError::Changed`].
/// - **Isolation.** Nothing is shared with a source: writing to it later changes no build.
/// - **Thrift.** Of equal files, on the mirror or among those added, the bytes are stored once where the store can share them.
///   Of several that are added at the same time, each may count as the one that was stored.
/// - **Seal.** A commit adds what [`Seal::seal`](crate::Seal::seal) makes of the digests of the added files: the statements of
///   the store's attester, `build.json`, `SHA256SUMS` over all of these, and `SHA256SUMS.asc` where the store signs. A store
///   that signs also adds `repomd.xml.asc` to each `repodata/` that it makes, and `Release.gpg` and, where its signer can,
///   `InRelease` to each apt repository.
/// - **Abandoning.** Dropped without a commit, it is a [`Leftover`] at worst.
#[async_trait]
pub trait StagedBuild: fmt::Debug + Send + Sync {
    /// The build.
    fn id(&self) -> &BuildId;

    /// How many [`add`](Self::add)s to run side by side.
    fn parallel(&self) -> usize;

    /// Adds a file or a symlink.
    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError>;

    /// Adds a file as [`add`](Self::add) does, and its zsync control file beside it, which is [made](rules::control_maker) of the
    /// bytes as they pass by. Where the mirror has the bytes already and a control file beside them, that one is taken over,
    /// and nothing is read for it. Every store adds the same two files.
    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError>;

    /// Adds a file whose bytes the mirror has already, or one that was added, and returns its size; `None`: there is none, or
    /// the store cannot tell, and it has to be [added](Self::add).
    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError>;

    /// Makes the RPM repository metadata of a directory, in its `repodata/`, and signs it where the store signs. The
    /// records of `carried`, whose files were added, are added to it. Says what the metadata lists, and what it does not.
    /// [`StoreError::MissingTool`] where the program for that is not installed.
    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError>;

    /// Makes the metadata of a directory that is an apt repository in flat form, by
    /// [`rules::index_apt`], and adds it. Every store makes the same files.
    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError>;

    /// Makes the build visible, all of it at one instant and durably, with its `SHA256SUMS` and with `record`, whose
    /// `files` and `bytes` are counted here. Returns the record as written. [`StoreError::AlreadyExists`] if there is a
    /// build of that id by now, [`StoreError::Unsigned`] if it cannot be signed.
    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError>;

    /// As [`commit`](Self::commit), with the seal of the build that this one is a copy of, byte for byte; the store signs
    /// nothing. What the original's attester stated may be added, or be in the seal. [`StoreError::Refused`] if the seal is
    /// not that of the added files.
    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError>;

    /// Removes what was staged.
    async fn discard(self: Box<Self>) -> Result<(), StoreError>;
}
