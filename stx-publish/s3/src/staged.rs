//! A build that is being put together: its files lie in their places, and nothing leads to them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8Path;
use chrono::{DateTime, Utc};
use futures_util::future::{join3, try_join_all, try_join3};
use stx_layout::{BuildId, BuildPath, BuildRecord, Sha256, counted};
use tokio::sync::{MutexGuard as Turn, Semaphore};

use super::Inner;
use super::keys::{self, Going};
use super::lease::Lease;
use super::manifest::Manifest;
use super::objects::Keep;
use super::shared::Shared;
use super::twins::Twins;
use super::upload;
use stx_publish::incoming::{Entry, Incoming, LinkEnd, digest_of};
use stx_publish::ingest::Stamp;
use stx_publish::ingest::blocking;
use stx_publish::ingest::{self, Hints};
use stx_publish::metadata::{CarriedRecord, Indexed};
use stx_publish::seal::Sealed;
use stx_publish::store::rules::{
    check_digest, control_maker, control_path, retaken_control, seal_copy, seal_staged, stored_file,
};
use stx_publish::store::{Added, KnownFile, StagedBuild, StoreError};

/// Files that are added side by side.
const ADDS: usize = 32;
/// Bytes of small files that are in memory at the same time, in MiB.
const MEMORY: usize = 128;

pub(super) struct BucketStaged {
    pub(super) inner: Arc<Inner>,
    lease: Arc<Lease>,
    pub(super) id: BuildId,
    shared: Shared,
    twins: Twins,
    /// The objects that were in the build's place at the beginning, left by an interrupted attempt: size and entity
    /// tag, by name.
    before: HashMap<String, (u64, Option<String>)>,
    hints: Hints,
    memory: Semaphore,
    added: Mutex<Files>,
}

/// The entries that were added to the build.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Their paths, also those of files that are still being sent.
    pub(super) taken: HashSet<BuildPath>,
    pub(super) incoming: Incoming,
    pub(super) modified: BTreeMap<BuildPath, DateTime<Utc>>,
}

/// A file that the bucket has now.
pub(super) struct Sent {
    pub(super) added: Added,
    pub(super) digest: Sha256,
    pub(super) modified: Option<DateTime<Utc>>,
    /// Its control file, where one was asked for and all bytes passed by.
    pub(super) control: Option<Vec<u8>>,
}

impl fmt::Debug for BucketStaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketStaged({})", self.id)
    }
}

impl BucketStaged {
    pub(super) async fn begin(
        inner: Arc<Inner>,
        lease: Arc<Lease>,
        id: BuildId,
    ) -> Result<Self, StoreError> {
        let files = keys::build(&id);
        let inputs = keys::inputs(&id.channel);
        let (shared, before, inputs) = try_join3(
            inner.shared(&id.channel),
            inner.objects.list(&files),
            inner.objects.get(&inputs),
        )
        .await?;
        Ok(Self {
            before: before
                .into_iter()
                .map(|it| (it.name, (it.size, it.tag)))
                .collect(),
            inner,
            lease,
            id,
            shared,
            twins: Twins::default(),
            hints: inputs.map_or_else(Hints::default, |(bytes, _)| Hints::parse(&bytes)),
            memory: Semaphore::new(MEMORY),
            added: Mutex::default(),
        })
    }

    pub(super) fn added(&self) -> MutexGuard<'_, Files> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, path: &BuildPath) -> String {
        format!("{}/{path}", self.id)
    }

    /// Where the bucket has these bytes, in this build or in another.
    fn find(&self, path: &BuildPath, digest: &Sha256) -> Option<String> {
        let name = path.file_name();
        let other = || self.shared.find(digest, name).map(str::to_owned);
        self.twins.find(digest, name).or_else(other)
    }

    /// Has the server copy bytes that it has.
    async fn copied(
        &self,
        path: &BuildPath,
        digest: &Sha256,
        size: u64,
    ) -> Result<bool, StoreError> {
        if size == 0 {
            return Ok(false);
        }
        let Some(from) = self.find(path, digest) else {
            return Ok(false);
        };
        let copied = self.copy(&from, path, digest, size).await?;
        if copied {
            self.twins.note(digest, self.name(path));
        }
        Ok(copied)
    }

    /// Has the server copy an object into this build; `false`: there is none.
    async fn copy(
        &self,
        from: &str,
        path: &BuildPath,
        digest: &Sha256,
        size: u64,
    ) -> Result<bool, StoreError> {
        let objects = &self.inner.objects;
        if size <= objects.largest_copy {
            return objects.copy(from, &self.name(path), size).await;
        }
        if self.is_there_large(path, digest, size).await? {
            return Ok(true);
        }
        let copied = self.inner.copy_large(&self.id, path, from, size, *digest);
        copied.await
    }

    /// Whether an attempt that broke off has sent these very bytes, as the server's entity tag says: that of an object that
    /// was sent in one request is its MD5, on every server that has no reason to make something else up.
    fn is_there(&self, path: &BuildPath, bytes: &[u8]) -> bool {
        let Some((size, Some(tag))) = self.before.get(path.as_str()) else {
            return false;
        };
        *size == bytes.len() as u64 && tag.trim_matches('"') == md5(bytes)
    }

    /// Whether an attempt that broke off has sent a large file with this digest.
    async fn is_there_large(
        &self,
        path: &BuildPath,
        digest: &Sha256,
        size: u64,
    ) -> Result<bool, StoreError> {
        if self
            .before
            .get(path.as_str())
            .is_none_or(|known| known.0 != size)
        {
            return Ok(false);
        }
        let sent = self.inner.sent_large(&self.id, path, size).await?;
        Ok(sent == Some(*digest))
    }

    /// Sends bytes whose digest is known.
    async fn send_bytes(
        &self,
        path: &BuildPath,
        bytes: Bytes,
        digest: Sha256,
    ) -> Result<Sent, StoreError> {
        let size = bytes.len() as u64;
        let name = self.name(path);
        let send = async || {
            let there = self.is_there(path, &bytes);
            if there || self.copied(path, &digest, size).await? {
                return Ok::<_, StoreError>(Added::Shared(size));
            }
            let objects = &self.inner.objects;
            objects.put(&name, bytes.clone(), Keep::ForEver).await?;
            Ok(Added::Stored(size))
        };
        let mut own = None;
        let added = if size == 0 {
            send().await?
        } else {
            // Of equal files that are added side by side one is sent.
            let slot = self.twins.slot(&digest, &name);
            let first = slot.get_or_try_init(async || {
                own = Some(send().await?);
                Ok::<_, StoreError>(name.clone())
            });
            let _: &String = first.await?;
            match own {
                Some(added) => added,
                None => send().await?,
            }
        };
        Ok(Sent {
            added,
            digest,
            modified: None,
            control: None,
        })
    }

    /// Sends a file of the workspace; one that is as it was when it was published last is not read, where the server has it.
    pub(super) async fn send_file(
        &self,
        path: &BuildPath,
        from: &Utf8Path,
        size: u64,
        control: bool,
    ) -> Result<Sent, StoreError> {
        let since = ingest::now();
        let (added, digest, stamp, control) = match self.hint(path, from, size).await? {
            Some((digest, stamp)) if self.copied(path, &digest, size).await? => {
                self.hints.keep(stamp, digest);
                (Added::Shared(size), digest, stamp, None)
            }
            Some(_) | None => {
                let (added, digest, stamp, control) =
                    self.read_and_send(path, from, size, control).await?;
                self.hints.remember(stamp, digest, since);
                (added, digest, stamp, control)
            }
        };
        Ok(Sent {
            added,
            digest,
            modified: stamp.modified(),
            control,
        })
    }

    /// The digest that a file had when it was published last, if it was not changed since. What an attempt that broke off
    /// has sent is looked at first.
    async fn hint(
        &self,
        path: &BuildPath,
        from: &Utf8Path,
        size: u64,
    ) -> Result<Option<(Sha256, Stamp)>, StoreError> {
        if self.before.contains_key(path.as_str()) {
            return Ok(None);
        }
        let from = from.to_owned();
        let stamp = blocking(move || Ok(Stamp::at(&from).ok())).await?;
        let stamp = stamp.filter(|stamp| stamp.size == size);
        Ok(stamp.and_then(|stamp| Some((self.hints.digest(&stamp)?, stamp))))
    }

    async fn read_and_send(
        &self,
        path: &BuildPath,
        from: &Utf8Path,
        size: u64,
        control: bool,
    ) -> Result<(Added, Sha256, Stamp, Option<Vec<u8>>), StoreError> {
        let before = self.before.contains_key(path.as_str());
        let is_large = size > self.inner.large;
        let turn = is_large.then(|| self.twins.turn(size));
        let turn = match &turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        let follows = turn.as_deref().is_some_and(|sent| *sent);
        // What is likely to be known, by its name, is only hashed at first, and read a second time if it is not. Of what an
        // attempt that broke off may have sent, only a large file is: a small one is compared by its entity tag.
        let is_hashed = if before || follows {
            is_large
        } else {
            self.shared.is_likely(path.file_name())
        };
        if is_hashed {
            let (digest, stamp) = upload::hash(from, size).await?;
            let there = is_large && self.is_there_large(path, &digest, size).await?;
            if there {
                self.twins.note(&digest, self.name(path));
            }
            if there || self.copied(path, &digest, size).await? {
                mark(turn);
                return Ok((Added::Shared(size), digest, stamp, None));
            }
        }
        if is_large {
            let sent = self.inner.send_large(&self.id, path, from, size, control);
            let (digest, stamp, control) = sent.await?;
            self.twins.note(&digest, self.name(path));
            mark(turn);
            return Ok((Added::Stored(size), digest, stamp, control));
        }
        let mebibytes = u32::try_from((size >> 20) + 1).unwrap_or(1);
        let permit = self.memory.acquire_many(mebibytes).await;
        let _permit = permit.expect("it is never closed");
        let whole = upload::read_whole(from, size).await?;
        let control = control.then(|| control_of(path, &whole.bytes));
        let sent = self.send_bytes(path, whole.bytes, whole.digest).await?;
        Ok((sent.added, whole.digest, whole.stamp, control))
    }

    /// Adds a file or a symlink, and of a file the control file where that is asked for.
    async fn add_entry(
        &self,
        path: &BuildPath,
        entry: &Entry,
        control: bool,
    ) -> Result<Added, StoreError> {
        let beside = control.then(|| control_path(path)).transpose()?;
        if !self.added().taken.insert(path.clone()) {
            return Err(StoreError::AlreadyExists {
                what: self.name(path),
            });
        }
        let (sent, stored) = match entry {
            Entry::Symlink { .. } => {
                let mut files = self.added();
                files.incoming.entries.insert(path.clone(), entry.clone());
                return Ok(Added::Link);
            }
            Entry::Generated(bytes) => {
                let digest = digest_of(bytes);
                let mut sent = self.send_bytes(path, bytes.clone(), digest).await?;
                sent.control = control.then(|| control_of(path, bytes));
                (sent, entry.clone())
            }
            Entry::File {
                source,
                size,
                executable,
                ..
            } => {
                let mut sent = self.send_file(path, source, *size, control).await?;
                check_digest(path, entry, &sent.digest)?;
                if control && sent.control.is_none() {
                    let found = self.find_control(path, &sent.digest, *size, source);
                    sent.control = Some(found.await?);
                }
                let stored = Entry::File {
                    source: source.clone(),
                    size: *size,
                    executable: *executable,
                    digest: Some(sent.digest),
                };
                (sent, stored)
            }
        };
        {
            let mut files = self.added();
            files.incoming.entries.insert(path.clone(), stored);
            let modified = sent.modified.map(|time| (path.clone(), time));
            files.modified.extend(modified);
        }
        if let (Some(beside), Some(made)) = (beside, sent.control) {
            self.add(&beside, &Entry::Generated(made.into())).await?;
        }
        Ok(sent.added)
    }

    /// The control file of a file whose bytes the bucket has: one that lies beside them, otherwise the file is read for it.
    async fn find_control(
        &self,
        path: &BuildPath,
        digest: &Sha256,
        size: u64,
        from: &Utf8Path,
    ) -> Result<Vec<u8>, StoreError> {
        if let Some((control, expected)) = self.shared.control(digest, path.file_name())
            && let Some((bytes, _)) = self.inner.objects.get(control).await?
            && let Some(retaken) = retaken_control(path, size, &bytes, &expected)
        {
            return Ok(retaken);
        }
        upload::read_control(path.clone(), from.to_owned(), size, *digest).await
    }

    /// Puts the symlinks to files as copies under their own paths, and says what there has to be.
    async fn put_links(&self, incoming: &Incoming) -> Result<HashMap<String, u64>, StoreError> {
        let mut expected = HashMap::new();
        let mut pairs = Vec::new();
        let links = incoming.links();
        for (path, entry) in &incoming.entries {
            let end = match links.get(path) {
                None => entry,
                Some(LinkEnd::File(end)) => match incoming.entries.get(end) {
                    Some(entry) => {
                        pairs.push((end, path, entry.size()));
                        entry
                    }
                    None => continue,
                },
                Some(LinkEnd::Directory | LinkEnd::Wrong(_)) => continue,
            };
            expected.insert(path.to_string(), end.size());
        }
        let pairs = pairs.into_iter();
        let pairs = pairs.map(|(from, to, size)| (self.name(from), self.name(to), size));
        let pairs: Vec<_> = pairs.collect();
        self.inner.objects.copy_all(pairs).await?;
        Ok(expected)
    }

    /// Compares what lies there with what was added, and removes what an attempt that broke off left.
    async fn check_objects(&self, expected: &HashMap<String, u64>) -> Result<(), StoreError> {
        let found = self.inner.objects.list(&keys::build(&self.id)).await?;
        let mut others = Vec::new();
        let mut right = 0;
        for object in found {
            match expected.get(&object.name) {
                None => others.push(format!("{}/{}", self.id, object.name)),
                Some(size) if *size == object.size => right += 1,
                Some(size) => {
                    return Err(StoreError::Refused {
                        what: format!("{}/{}", self.id, object.name),
                        reason: format!(
                            "the bucket says that it has {}, and {size} were sent",
                            counted(object.size, "byte")
                        ),
                    });
                }
            }
        }
        if right != expected.len() {
            return Err(StoreError::Refused {
                what: self.id.to_string(),
                reason: format!(
                    "the bucket lists {right} of {} sent",
                    counted(expected.len(), "file")
                ),
            });
        }
        self.inner.objects.delete(others).await
    }

    /// Makes the build visible with its seal.
    async fn finish(&self, mut sealed: Sealed) -> Result<BuildRecord, StoreError> {
        let incoming = self.added().incoming.clone();
        let expected = self.put_links(&incoming).await?;
        self.check_objects(&expected).await?;
        let objects = &self.inner.objects;
        // The record comes last: with it the build is there.
        let record = sealed.files.pop().map(|(_, bytes)| bytes);
        let files = sealed.files.into_iter().map(|(path, bytes)| {
            let name = self.name(&path);
            async move { objects.put(&name, bytes, Keep::ForEver).await }
        });
        let manifest = self.manifest();
        let manifest = self.inner.put_manifest(&self.id, &manifest);
        let verdicts = keys::verdicts(&self.id);
        let known = objects.head(&verdicts);
        let (_, (), known) = try_join3(try_join_all(files), manifest, known).await?;
        self.lease.check(objects).await?;
        if known.is_some() {
            // They are about an earlier build of this id, and tell nothing of this one.
            objects.delete([verdicts]).await?;
        }
        let record = record.unwrap_or_default();
        if !objects.create(&keys::record(&self.id), record).await? {
            return Err(StoreError::AlreadyExists {
                what: self.id.to_string(),
            });
        }
        // It is there. What cannot be removed now is swept later.
        let aborted = self.inner.abort_uploads(&self.id);
        let unmarked = self.inner.unmark(&self.id, Going::Publish);
        drop(join3(aborted, unmarked, self.put_hints()).await);
        Ok(sealed.record)
    }

    /// Writes down which files were published. What is not written down is read next time.
    async fn put_hints(&self) -> Result<(), StoreError> {
        let Some(bytes) = self.hints.bytes() else {
            return Ok(());
        };
        let name = keys::inputs(&self.id.channel);
        self.inner.objects.put(&name, bytes, Keep::Not).await
    }

    fn manifest(&self) -> Manifest {
        let files = self.added();
        let mut manifest = Manifest {
            modified: files.modified.clone(),
            ..Manifest::default()
        };
        for (path, entry) in &files.incoming.entries {
            match entry {
                Entry::Symlink { target } => {
                    manifest.links.insert(path.clone(), target.clone());
                }
                Entry::File {
                    executable: true, ..
                } => drop(manifest.executable.insert(path.clone())),
                Entry::File { .. } | Entry::Generated(_) => {}
            }
        }
        manifest
    }
}

/// The control file of bytes.
fn control_of(path: &BuildPath, bytes: &[u8]) -> Vec<u8> {
    let mut maker = control_maker(path, bytes.len() as u64);
    maker.update(bytes);
    maker.finish().expect("all of it, and nothing else")
}

/// Notes that a large file of its size is there.
fn mark(turn: Option<Turn<'_, bool>>) {
    if let Some(mut sent) = turn {
        *sent = true;
    }
}

/// The MD5 of bytes, in hexadecimal.
fn md5(bytes: &[u8]) -> String {
    use md5::Digest as _;
    let mut text = String::with_capacity(32);
    for byte in md5::Md5::digest(bytes) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[async_trait]
impl StagedBuild for BucketStaged {
    fn id(&self) -> &BuildId {
        &self.id
    }

    fn parallel(&self) -> usize {
        ADDS
    }

    async fn add(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        self.add_entry(path, entry, false).await
    }

    async fn add_with_control(&self, path: &BuildPath, entry: &Entry) -> Result<Added, StoreError> {
        self.add_entry(path, entry, true).await
    }

    async fn share(&self, path: &BuildPath, file: &KnownFile) -> Result<Option<u64>, StoreError> {
        let size = match (file.size, self.find(path, &file.digest)) {
            (_, None) => None,
            (Some(size), Some(_)) => Some(size),
            (None, Some(from)) => {
                let known = self.inner.objects.head(&from).await?;
                known.map(|meta| meta.size)
            }
        };
        let Some(size) = size else {
            return Ok(None);
        };
        if !self.copied(path, &file.digest, size).await? {
            return Ok(None);
        }
        let entry = stored_file(size, file.digest, file.executable);
        let mut files = self.added();
        files.taken.insert(path.clone());
        files.incoming.entries.insert(path.clone(), entry);
        let modified = file.modified.map(|time| (path.clone(), time));
        files.modified.extend(modified);
        Ok(Some(size))
    }

    async fn index(
        &self,
        dir: &BuildPath,
        carried: &[CarriedRecord],
    ) -> Result<Indexed, StoreError> {
        self.make_metadata(dir, carried).await
    }

    async fn index_apt(&self, dir: &BuildPath) -> Result<Indexed, StoreError> {
        self.make_apt_metadata(dir).await
    }

    async fn commit(self: Box<Self>, record: BuildRecord) -> Result<BuildRecord, StoreError> {
        let (seal, id) = (self.inner.seal.clone(), self.id.clone());
        let added = self.added().incoming.clone();
        let sealed = blocking(move || seal_staged(&seal, &id, &added, record)).await?;
        self.finish(sealed).await
    }

    async fn commit_as(self: Box<Self>, original: Sealed) -> Result<(), StoreError> {
        let sealed = seal_copy(&self.id, &self.added().incoming, original)?;
        self.finish(sealed).await.map(drop)
    }

    async fn discard(self: Box<Self>) -> Result<(), StoreError> {
        self.lease.check(&self.inner.objects).await?;
        self.inner.drop_staged(&self.id).await?;
        self.inner.unmark(&self.id, Going::Publish).await
    }
}
