//! Implements every method of the store traits; each call passes through the fuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildOutcome, BuildPath, BuildRecord, Catalog,
    Channel, Pin, RootAlias, RootEntry, RootTarget, Section, Sums, VerdictEntry,
};

use super::{FaultyStore, Fuse};
use crate::incoming::Entry;
use crate::index::PageId;
use crate::metadata::{CarriedRecord, Indexed};
use crate::seal::Sealed;
use crate::store::rules::retired_at;
use crate::store::{
    Added, Audit, ByteRange, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection,
    KnownFile, Leftover, MirrorRead, MirrorStore, Outline, OwedTags, PageWriter, Retired,
    RootWriter, Scope, StagedBuild, StoreError,
};
use crate::thinning::ThinnedSection;

/// The methods of [`MirrorRead`], [`MirrorStore`], [`ChannelWriter`], [`PageWriter`], [`RootWriter`] and [`StagedBuild`], in their order.
pub const METHODS: [&str; 54] = [
    "catalog",
    "record",
    "sums",
    "alias",
    "root_aliases",
    "read",
    "read_ranges",
    "capabilities",
    "file",
    "page",
    "inspect",
    "hold",
    "audit",
    "lock",
    "lock_pages",
    "lock_aliases",
    "retired",
    "leftovers",
    "settle",
    "strays",
    "pins",
    "verdicts",
    "owed",
    "in_use",
    "outlines",
    "channel",
    "begin",
    "point",
    "hold_alias",
    "offer",
    "retire",
    "thin",
    "pin",
    "unpin",
    "mark",
    "owe",
    "restore",
    "purge",
    "sweep",
    "write",
    "remove",
    "noted",
    "note",
    "link",
    "id",
    "parallel",
    "add",
    "add_with_control",
    "share",
    "index",
    "index_apt",
    "commit",
    "commit_as",
    "discard",
];

/// A writer or a staged build. Without an inner one, because the call that gets it was left out, it does nothing.
#[derive(Debug)]
struct Faulty<T: ?Sized> {
    fuse: Arc<Fuse>,
    /// The id of the staged build; for a writer, an id with its channel.
    id: BuildId,
    inner: Option<Box<T>>,
}

impl<T: ?Sized> Faulty<T> {
    /// A writer of `channel`.
    fn of(fuse: &Arc<Fuse>, channel: &Channel, inner: Option<Box<T>>) -> Self {
        Self {
            fuse: Arc::clone(fuse),
            id: BuildId::new(channel.clone(), ELSEWHERE.date),
            inner,
        }
    }
}

/// The build that a left-out call names in place of the real one.
static ELSEWHERE: LazyLock<BuildId> = LazyLock::new(|| {
    let id = "master/elsewhere/20000101T000000Z".parse();
    id.expect("a build")
});

/// Makes one call of the inner store through the fuse; `else` is the result of a call that is left out.
macro_rules! through {
    ($self:ident.$method:ident($($argument:expr),*) else $nothing:expr) => {
        through!($self, &$self.inner, $method($($argument),*), $nothing)
    };
    ($self:ident, $inner:expr, $method:ident($($argument:expr),*), $nothing:expr) => {{
        if $self.fuse.forgets(stringify!($method)) {
            Ok($nothing)
        } else {
            let after = $self.fuse.call()?;
            let result = $inner.$method($($argument),*).await;
            $self.fuse.wrap(after, result)
        }
    }};
}

/// Gets a writer or a staged build; `None` if the call is left out.
macro_rules! got {
    ($self:ident, $inner:expr, $method:ident($($argument:expr),*)) => {
        if $self.fuse.forgets(stringify!($method)) {
            None
        } else {
            let after = $self.fuse.call()?;
            let result = $inner.$method($($argument),*).await;
            Some($self.fuse.wrap(after, result)?)
        }
    };
}

/// The same for a method of a writer or a staged build, which may have no inner one.
macro_rules! behind {
    ($self:ident.$method:ident($($argument:expr),*) else $nothing:expr) => {
        match $self.inner {
            Some(ref inner) => through!($self, inner, $method($($argument),*), $nothing),
            None => Ok($nothing),
        }
    };
}

/// The same for a call that ends a staged build.
macro_rules! at_the_end {
    ($self:ident.$method:ident($($argument:expr),*) else $nothing:expr) => {
        match $self.inner {
            Some(inner) => through!($self, inner, $method($($argument),*), $nothing),
            None => Ok($nothing),
        }
    };
}

#[async_trait]
impl<S: MirrorRead> MirrorRead for FaultyStore<S> {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        through!(self.catalog(scope) else Catalog::default())
    }
    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        through!(self.record(id) else BuildRecord::new(id.clone(), BuildOutcome::Success))
    }
    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        through!(self.sums(id) else Sums::default())
    }
    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        through!(self.alias(channel, alias) else None)
    }
    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        through!(self.root_aliases() else BTreeMap::new())
    }
    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        through!(self.read(id, path, from) else FileBody::of(&Bytes::new(), 0))
    }
    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        through!(self.read_ranges(id, path, ranges) else FileBody::of(&Bytes::new(), 0))
    }
    /// If calls fail, files are read by calls, which are counted.
    fn capabilities(&self) -> Capabilities {
        if self.fuse.forgets("capabilities") {
            return Capabilities::default();
        }
        let inner = self.inner.capabilities();
        Capabilities {
            has_local_files: inner.has_local_files && !self.fuse.is_faulty(),
            ..inner
        }
    }
    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf> {
        if self.fuse.forgets("file") || self.fuse.is_faulty() {
            return None;
        }
        self.inner.file(id, path)
    }
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        through!(self.page(page) else None)
    }
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        through!(self.inspect(id, depth) else Inspection::default())
    }
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        through!(self.hold(id) else Hold::nothing())
    }
    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
        through!(self.audit(id, run) else Inspection::default())
    }
}

#[async_trait]
impl<S: MirrorStore> MirrorStore for FaultyStore<S> {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
        let inner = got!(self, self.inner, lock(channel));
        Ok(Box::new(Faulty::of(&self.fuse, channel, inner)))
    }
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        let inner = got!(self, self.inner, lock_pages());
        Ok(Box::new(Faulty::of(&self.fuse, &ELSEWHERE.channel, inner)))
    }
    async fn lock_aliases(&self) -> Result<Box<dyn RootWriter>, StoreError> {
        let inner = got!(self, self.inner, lock_aliases());
        Ok(Box::new(Faulty::of(&self.fuse, &ELSEWHERE.channel, inner)))
    }
    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        through!(self.retired() else Vec::new())
    }
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        through!(self.leftovers(scope) else Vec::new())
    }
    async fn settle(&self, channel: &Channel) -> Result<(), StoreError> {
        through!(self.settle(channel) else ())
    }
    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        through!(self.strays() else Vec::new())
    }
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        through!(self.pins(scope) else Vec::new())
    }
    async fn verdicts(&self, scope: &Scope) -> Result<Vec<VerdictEntry>, StoreError> {
        through!(self.verdicts(scope) else Vec::new())
    }
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        through!(self.owed(scope) else Vec::new())
    }
    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        through!(self.in_use(builds) else BTreeSet::new())
    }
    async fn outlines(&self) -> Result<Option<BTreeMap<Channel, Outline>>, StoreError> {
        through!(self.outlines() else None)
    }
    async fn noted(&self) -> Result<Option<Bytes>, StoreError> {
        through!(self.noted() else None)
    }
}

#[async_trait]
impl ChannelWriter for Faulty<dyn ChannelWriter> {
    fn channel(&self) -> &Channel {
        if self.fuse.forgets("channel") {
            return &ELSEWHERE.channel;
        }
        match &self.inner {
            Some(inner) => inner.channel(),
            None => &self.id.channel,
        }
    }
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError> {
        let id = BuildId::new(self.id.channel.clone(), date);
        let inner = match &self.inner {
            Some(inner) => got!(self, inner, begin(date)),
            None => None,
        };
        Ok(Box::new(Faulty {
            id,
            ..Faulty::of(&self.fuse, &self.id.channel, inner)
        }))
    }
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        behind!(self.point(alias, expected, to) else ())
    }
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError> {
        behind!(self.hold_alias(alias, at) else ())
    }
    async fn offer(&self, sections: &BTreeSet<Section>) -> Result<(), StoreError> {
        behind!(self.offer(sections) else ())
    }
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError> {
        behind!(self.retire(date, now) else retired_at(&BuildId::new(self.id.channel.clone(), date), now)?)
    }
    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        behind!(self.thin(date, sections) else Vec::new())
    }
    async fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        behind!(self.pin(pin) else ())
    }
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError> {
        behind!(self.unpin(date, author) else Pin {
            build: BuildId::new(self.id.channel.clone(), date),
            reason: String::new(),
            author: author.to_owned(),
            until: None,
        })
    }
    async fn mark(&self, entry: &VerdictEntry) -> Result<(), StoreError> {
        behind!(self.mark(entry) else ())
    }
    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        behind!(self.owe(owed) else ())
    }
    async fn restore(&self, retired: &Retired) -> Result<(), StoreError> {
        behind!(self.restore(retired) else ())
    }
    async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        behind!(self.purge(retired) else ())
    }
    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        behind!(self.sweep() else Vec::new())
    }
}

#[async_trait]
impl PageWriter for Faulty<dyn PageWriter> {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError> {
        behind!(self.write(page, bytes) else ())
    }
    async fn remove(&self, page: &PageId) -> Result<(), StoreError> {
        behind!(self.remove(page) else ())
    }
    async fn note(&self, note: Option<Bytes>) -> Result<(), StoreError> {
        behind!(self.note(note) else ())
    }
}

#[async_trait]
impl RootWriter for Faulty<dyn RootWriter> {
    async fn link(
        &self,
        alias: &RootAlias,
        expected: Option<&RootEntry>,
        to: Option<&RootTarget>,
    ) -> Result<(), StoreError> {
        behind!(self.link(alias, expected, to) else ())
    }
}

#[async_trait]
impl StagedBuild for Faulty<dyn StagedBuild> {
    fn id(&self) -> &BuildId {
        if self.fuse.forgets("id") {
            return &ELSEWHERE;
        }
        match &self.inner {
            Some(inner) => inner.id(),
            None => &self.id,
        }
    }
    /// One at a time if calls are counted, so that they have the same order in each run.
    fn parallel(&self) -> usize {
        let inner = self.inner.as_ref();
        match inner.filter(|_| !self.fuse.forgets("parallel")) {
            None => 0,
            Some(_) if self.fuse.is_faulty() => 1,
            Some(inner) => inner.parallel(),
        }
    }
    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        behind!(self.add(path, entry) else Added::Stored(entry.size()))
    }
    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        behind!(self.add_with_control(path, entry) else Added::Stored(entry.size()))
    }
    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError> {
        behind!(self.share(path, file) else None)
    }
    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError> {
        behind!(self.index(dir, carried) else Indexed::default())
    }
    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        behind!(self.index_apt(dir) else Indexed::default())
    }
    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        at_the_end!(self.commit(record.clone()) else record)
    }
    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError> {
        at_the_end!(self.commit_as(original) else ())
    }
    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        at_the_end!(self.discard() else ())
    }
}
