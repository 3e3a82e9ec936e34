//! A staged build: its files are in place, and nothing leads to them.
//!
//! ```text
//! begin ─> add, share ──send──> objects ─> index, index_apt ─> finish: symlinks, seal, the record last
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use camino::Utf8Path;
use chrono::{DateTime, Utc};
use futures_util::future::{join, join_all, join3, try_join};
use stx_layout::{BuildId, BuildPath, BuildRecord, Channel, Sha256, counted};
use tokio::sync::Semaphore;

use super::Inner;
use super::keys::{self, Going};
use super::known::Known;
use super::lease::Lease;
use super::manifest::Manifest;
use super::objects::{Keep, Listed};
use super::shared::Shared;
use super::twins::Twins;
use super::upload;
use stx_publish::incoming::{Entry, Incoming, LinkEnd, digest_of};
use stx_publish::ingest::Hints;
use stx_publish::ingest::blocking;
use stx_publish::metadata::{CarriedRecord, Indexed};
use stx_publish::seal::Sealed;
use stx_publish::store::rules::{
    check_digest, control_maker, control_path, retaken_control, seal_copy, seal_staged, stored_file,
};
use stx_publish::store::{Added, KnownFile, StagedBuild, StoreError};

/// The number of files that are added at the same time.
const ADDS: usize = 64;
/// The limit for the bytes of small files in memory, in MiB.
const MEMORY: usize = 128;

mod send;

pub(super) struct BucketStaged {
    pub(super) inner: Arc<Inner>,
    lease: Arc<Lease>,
    known: Arc<Known>,
    pub(super) id: BuildId,
    shared: Shared,
    twins: Twins,
    /// The objects that were in the build's place at the start, left by an interrupted attempt: size and entity tag, by name.
    before: HashMap<String, (u64, Option<String>)>,
    hints: Hints,
    memory: Semaphore,
    added: Mutex<Files>,
}

/// The entries that were added to the build.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Their paths, including files that are still being sent.
    pub(super) taken: HashSet<BuildPath>,
    pub(super) incoming: Incoming,
    pub(super) modified: BTreeMap<BuildPath, DateTime<Utc>>,
}

impl fmt::Debug for BucketStaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketStaged({})", self.id)
    }
}

impl BucketStaged {
    /// A build without entries; of its objects, only `before` exist.
    pub(super) fn begin(
        inner: Arc<Inner>,
        (lease, known): (Arc<Lease>, Arc<Known>),
        id: BuildId,
        before: Vec<Listed>,
        (shared, hints): (Shared, Hints),
    ) -> Self {
        let before = before.into_iter().map(|it| (it.name, (it.size, it.tag)));
        Self {
            before: before.collect(),
            inner,
            lease,
            known,
            id,
            shared,
            twins: Twins::default(),
            hints,
            memory: Semaphore::new(MEMORY),
            added: Mutex::default(),
        }
    }

    pub(super) fn added(&self) -> MutexGuard<'_, Files> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn name(&self, path: &BuildPath) -> String {
        format!("{}/{path}", self.id)
    }

    /// Adds a file or a symlink, and the control file of a file if it is requested.
    async fn add_entry(
        &self,
        path: &BuildPath,
        entry: &Entry,
        control: bool,
    ) -> Result<Added, StoreError> {
        let beside = control.then(|| control_path(path)).transpose()?;
        // Another publisher may have published a build with this id since, which this file would change.
        self.lease.check_if_ended(&self.inner.objects).await?;
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

    /// The control file of a file whose bytes the bucket has: the one beside them if it exists; otherwise it is made from the
    /// file.
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

    /// Writes the symlinks to files as copies under their own paths, and returns the objects that must exist.
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

    /// Compares the existing objects with the entries that were added, and removes leftovers of an interrupted attempt. The files
    /// of the seal may exist or not: they are being sent.
    async fn check_objects(
        &self,
        expected: &HashMap<String, u64>,
        seal: &HashSet<String>,
    ) -> Result<(), StoreError> {
        let found = self.inner.objects.list(&keys::build(&self.id)).await?;
        let mut others = Vec::new();
        let mut right = 0;
        for object in found {
            match expected.get(&object.name) {
                None if seal.contains(&object.name) => {}
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
        let objects = &self.inner.objects;
        // Without the lock, the seal could overwrite that of another publisher's build with this id.
        self.lease.check_lately(objects).await?;
        // The record is written last: it makes the build visible. Everything before it is invisible, so it is sent and checked in
        // any order.
        let record = sealed.files.pop().map(|(_, bytes)| bytes);
        let seal = sealed.files.iter().map(|(path, _)| path.to_string());
        let seal: HashSet<_> = seal.collect();
        let files = sealed.files.into_iter().map(|(path, bytes)| {
            let name = self.name(&path);
            async move { objects.put(&name, bytes, Keep::ForEver).await }
        });
        let right = async {
            // The list must include the copies.
            let expected = self.put_links(&incoming).await?;
            self.check_objects(&expected, &seal).await
        };
        let manifest = self.manifest();
        let manifest = self.inner.put_manifest(&self.id, &manifest);
        let verdicts = keys::verdicts(&self.id);
        // All requests are awaited, even after an error, so that none arrives after the build was discarded.
        let sent = join3(right, join_all(files), manifest);
        let asked = join(objects.head(&verdicts), self.lease.check(objects));
        let ((right, files, manifest), (known, ours)) = join(sent, asked).await;
        right?;
        files.into_iter().collect::<Result<(), StoreError>>()?;
        manifest?;
        ours?;
        if known?.is_some() {
            // These are about an earlier build with this id, not about this one. They are deleted before this build becomes
            // visible.
            objects.delete([verdicts]).await?;
        }
        // The confirmation of the lock may be old by now.
        self.lease.check_lately(objects).await?;
        let record = record.unwrap_or_default();
        let name = keys::record(&self.id);
        if !objects.create(&name, record.clone()).await? {
            return Err(StoreError::AlreadyExists {
                what: self.id.to_string(),
            });
        }
        self.known.commit(sealed.record.clone(), record);
        // The build is visible. Objects that cannot be removed now are swept later. The lock is released when this task has
        // ended.
        let inner = self.inner.by_keepers();
        let (id, hints) = (self.id.clone(), self.hints.bytes());
        self.lease.meanwhile(async move {
            let aborted = inner.abort_uploads(&id);
            let unmarked = inner.unmark(&id, Going::Publish);
            let noted = inner.put_hints(&id.channel, hints);
            drop(join3(aborted, unmarked, noted).await);
        });
        Ok(sealed.record)
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

impl Inner {
    /// The bytes that the bucket already has, and the files that were published last.
    pub(super) async fn seen(&self, channel: &Channel) -> Result<(Shared, Hints), StoreError> {
        let inputs = keys::inputs(channel);
        let (shared, inputs) = try_join(self.shared(channel), self.objects.get(&inputs)).await?;
        let hints = inputs.map_or_else(Hints::default, |(bytes, _)| Hints::parse(&bytes));
        Ok((shared, hints))
    }

    /// Records which files were published. Files that are not recorded are read at the next publish.
    async fn put_hints(&self, channel: &Channel, hints: Option<Vec<u8>>) -> Result<(), StoreError> {
        let Some(bytes) = hints else {
            return Ok(());
        };
        let name = keys::inputs(channel);
        self.objects.put(&name, bytes, Keep::Not).await
    }
}

/// The control file of these bytes.
fn control_of(path: &BuildPath, bytes: &[u8]) -> Vec<u8> {
    let mut maker = control_maker(path, bytes.len() as u64);
    maker.update(bytes);
    maker.finish().expect("all of it, and nothing else")
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
        self.lease.check_if_ended(&self.inner.objects).await?;
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
