//! A store that fails on demand, for finding out what a crash at any call leaves behind.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use stx_layout::{
    AliasEntry, AliasName, BuildDate, BuildId, BuildPath, BuildRecord, Catalog, Channel, Pin, Sums,
};

use crate::incoming::Entry;
use crate::index::PageId;
use crate::metadata::{CarriedRecord, Indexed};
use crate::seal::Sealed;
use crate::store::{
    Added, Audit, Capabilities, ChannelWriter, Depth, FileBody, Hold, Inspection, KnownFile,
    Leftover, MirrorRead, MirrorStore, OwedTags, PageWriter, Retired, Scope, StagedBuild,
    StoreError,
};
use crate::thinning::ThinnedSection;

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// That call does nothing; later ones work.
    Once,
    /// That call does what it should, but reports an error; later ones work.
    AfterEffect,
    /// That call and all later ones do nothing, as after the death of the process.
    FromThenOn,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Once, Self::AfterEffect, Self::FromThenOn];
}

/// Counts calls, and says which one fails; shared by all whose calls are counted together.
#[derive(Debug)]
pub struct Fuse {
    fault: Fault,
    at: usize,
    calls: AtomicUsize,
}

impl Fuse {
    /// Counts a call; `Err` before it, or `true` where it has to fail after its effect.
    pub fn call(&self) -> Result<bool, Failed> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let fails = match self.fault {
            Fault::Once => call == self.at,
            Fault::AfterEffect => return Ok(call == self.at),
            Fault::FromThenOn => call >= self.at,
        };
        if fails { Err(Failed(call)) } else { Ok(false) }
    }

    /// The result of a call, in the place of which an error is reported where it has to fail `after` its effect.
    pub fn wrap<T, E: From<Failed>>(&self, after: bool, result: Result<T, E>) -> Result<T, E> {
        if after {
            result.and_then(|_| Err(Failed(self.at).into()))
        } else {
            result
        }
    }
}

/// The call of that number failed.
#[derive(Debug)]
pub struct Failed(pub usize);

impl From<Failed> for StoreError {
    fn from(Failed(call): Failed) -> Self {
        Self::Io {
            op: "make",
            path: format!("call {call}"),
            source: io::Error::other("failed on demand"),
        }
    }
}

/// A store whose `n`th call fails; calls are counted from 0 over the store, its writers and its staged builds.
#[derive(Clone)]
pub struct FaultyStore<S> {
    inner: S,
    fuse: Arc<Fuse>,
}

impl<S> FaultyStore<S> {
    /// Makes the call `at` of `inner` fail.
    pub fn new(inner: S, fault: Fault, at: usize) -> Self {
        Self {
            inner,
            fuse: Arc::new(Fuse {
                fault,
                at,
                calls: AtomicUsize::new(0),
            }),
        }
    }

    /// The counter of this store's calls, so that other calls can be counted together with them.
    pub fn fuse(&self) -> Arc<Fuse> {
        Arc::clone(&self.fuse)
    }

    /// Whether the call that fails has been made.
    pub fn has_failed(&self) -> bool {
        self.fuse.calls.load(Ordering::SeqCst) > self.fuse.at
    }
}

impl<S: fmt::Debug> fmt::Debug for FaultyStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FaultyStore({:?}, {:?})", self.inner, self.fuse)
    }
}

#[derive(Debug)]
struct Faulty<T: ?Sized> {
    fuse: Arc<Fuse>,
    inner: Box<T>,
}

/// Makes one call of the inner store through the fuse.
macro_rules! through {
    ($fuse:expr, $call:expr) => {{
        let after = $fuse.call()?;
        let result = $call.await;
        $fuse.wrap(after, result)
    }};
}

#[async_trait]
impl<S: MirrorRead> MirrorRead for FaultyStore<S> {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        through!(self.fuse, self.inner.catalog(scope))
    }
    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        through!(self.fuse, self.inner.record(id))
    }
    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        through!(self.fuse, self.inner.sums(id))
    }
    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        through!(self.fuse, self.inner.alias(channel, alias))
    }
    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        through!(self.fuse, self.inner.read(id, path, from))
    }
    async fn read_part(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
        length: u64,
    ) -> Result<FileBody, StoreError> {
        through!(self.fuse, self.inner.read_part(id, path, from, length))
    }
    /// Its files are read by calls, which are counted.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            has_local_files: false,
            ..self.inner.capabilities()
        }
    }
    fn file(&self, _: &BuildId, _: &BuildPath) -> Option<Utf8PathBuf> {
        None
    }
    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        through!(self.fuse, self.inner.page(page))
    }
    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        through!(self.fuse, self.inner.inspect(id, depth))
    }
    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        through!(self.fuse, self.inner.hold(id))
    }
    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
        through!(self.fuse, self.inner.audit(id, run))
    }
}

#[async_trait]
impl<S: MirrorStore> MirrorStore for FaultyStore<S> {
    async fn lock(&self, channel: &Channel) -> Result<Box<dyn ChannelWriter>, StoreError> {
        let inner = through!(self.fuse, self.inner.lock(channel))?;
        Ok(Box::new(Faulty {
            fuse: Arc::clone(&self.fuse),
            inner,
        }))
    }
    async fn lock_pages(&self) -> Result<Box<dyn PageWriter>, StoreError> {
        let inner = through!(self.fuse, self.inner.lock_pages())?;
        Ok(Box::new(Faulty {
            fuse: Arc::clone(&self.fuse),
            inner,
        }))
    }
    async fn retired(&self) -> Result<Vec<Retired>, StoreError> {
        through!(self.fuse, self.inner.retired())
    }
    async fn leftovers(&self, scope: &Scope) -> Result<Vec<Leftover>, StoreError> {
        through!(self.fuse, self.inner.leftovers(scope))
    }
    async fn settle(&self, channel: &Channel) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.settle(channel))
    }
    async fn strays(&self) -> Result<Vec<String>, StoreError> {
        through!(self.fuse, self.inner.strays())
    }
    async fn pins(&self, scope: &Scope) -> Result<Vec<Pin>, StoreError> {
        through!(self.fuse, self.inner.pins(scope))
    }
    async fn owed(&self, scope: &Scope) -> Result<Vec<OwedTags>, StoreError> {
        through!(self.fuse, self.inner.owed(scope))
    }
    async fn in_use(&self, builds: &[BuildId]) -> Result<BTreeSet<BuildId>, StoreError> {
        through!(self.fuse, self.inner.in_use(builds))
    }
}

#[async_trait]
impl ChannelWriter for Faulty<dyn ChannelWriter> {
    fn channel(&self) -> &Channel {
        self.inner.channel()
    }
    async fn begin(&self, date: BuildDate) -> Result<Box<dyn StagedBuild>, StoreError> {
        let inner = through!(self.fuse, self.inner.begin(date))?;
        Ok(Box::new(Faulty {
            fuse: Arc::clone(&self.fuse),
            inner,
        }))
    }
    async fn point(
        &self,
        alias: &AliasName,
        expected: Option<&AliasEntry>,
        to: Option<BuildDate>,
    ) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.point(alias, expected, to))
    }
    async fn hold_alias(&self, alias: &AliasName, at: BuildDate) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.hold_alias(alias, at))
    }
    async fn retire(&self, date: BuildDate, now: DateTime<Utc>) -> Result<Retired, StoreError> {
        through!(self.fuse, self.inner.retire(date, now))
    }
    async fn thin(
        &self,
        date: BuildDate,
        sections: &[ThinnedSection],
    ) -> Result<Vec<Retired>, StoreError> {
        through!(self.fuse, self.inner.thin(date, sections))
    }
    async fn pin(&self, pin: &Pin) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.pin(pin))
    }
    async fn unpin(&self, date: BuildDate, author: &str) -> Result<Pin, StoreError> {
        through!(self.fuse, self.inner.unpin(date, author))
    }
    async fn owe(&self, owed: &OwedTags) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.owe(owed))
    }
    async fn restore(&self, retired: &Retired) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.restore(retired))
    }
    async fn purge(&self, retired: &Retired) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.purge(retired))
    }
    async fn sweep(&self) -> Result<Vec<Leftover>, StoreError> {
        through!(self.fuse, self.inner.sweep())
    }
}

#[async_trait]
impl PageWriter for Faulty<dyn PageWriter> {
    async fn write(&self, page: &PageId, bytes: Bytes) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.write(page, bytes))
    }
    async fn remove(&self, page: &PageId) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.remove(page))
    }
}

#[async_trait]
impl StagedBuild for Faulty<dyn StagedBuild> {
    fn id(&self) -> &BuildId {
        self.inner.id()
    }
    fn parallel(&self) -> usize {
        1
    }
    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        through!(self.fuse, self.inner.add(path, entry))
    }
    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError> {
        through!(self.fuse, self.inner.share(path, file))
    }
    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError> {
        through!(self.fuse, self.inner.index(dir, carried))
    }
    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        through!(self.fuse, self.inner.index_apt(dir))
    }
    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        through!(self.fuse, self.inner.commit(record))
    }
    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.commit_as(original))
    }
    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        through!(self.fuse, self.inner.discard())
    }
}
