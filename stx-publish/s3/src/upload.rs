//! Sends files to the bucket, and hashes what is sent on the way.
//!
//! A small file is one request. A large one is sent in parts, several at once, and its journal records which of them arrived.
//! After a crash, the next publisher reads the file again, and sends the missing parts.

use std::io::{Read as _, Seek as _, SeekFrom};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use object_store::multipart::PartId;
use object_store::{PutMultipartOptions, PutPayload};
use serde::{Deserialize, Serialize};
use sha2::Digest as _;
use stx_layout::{BuildId, BuildPath, Sha256};

use super::Inner;
use super::keys;
use super::objects::{Keep, attributes};
use stx_publish::incoming::digest_of;
use stx_publish::ingest::blocking;
use stx_publish::ingest::{Source, Stamp};
use stx_publish::store::StoreError;
use stx_publish::store::rules::control_maker;
use stx_publish::zsync::Maker;

/// Files larger than this are sent in parts.
pub(super) const LARGE: u64 = 16 << 20;
/// The number of parts of one file in transfer at the same time.
const PARTS: usize = 4;
/// The largest number of parts of an upload; the protocol's own limit is 10,000.
const MOST_PARTS: u64 = 9_000;

/// The progress of a large file's upload.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Journal {
    schema: u32,
    /// The server's name for the upload.
    upload: String,
    /// The size of the file, in bytes.
    size: u64,
    /// The size of each part but the last, in bytes.
    part: u64,
    /// The parts that arrived, by number.
    parts: Vec<Option<Arrived>>,
    /// The digest of the whole file, once all of it has arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    whole: Option<Sha256>,
}

/// A part that the server has.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Arrived {
    /// The server's name for it.
    tag: String,
    /// The digest of its bytes.
    digest: Sha256,
}

/// A file of the workspace that was read.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    pub(super) digest: Sha256,
    pub(super) stamp: Stamp,
}

fn read_error(path: &Utf8Path) -> impl Fn(std::io::Error) -> StoreError + '_ {
    |source| StoreError::Io {
        op: "read",
        path: path.to_string(),
        source,
    }
}

fn changed(path: &Utf8Path) -> StoreError {
    StoreError::Changed {
        path: path.to_string(),
    }
}

/// Reads and hashes a small file.
pub(super) async fn read_whole(path: &Utf8Path, size: u64) -> Result<Whole, StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let mut source = Source::open(&path).map_err(read_error(&path))?;
        if source.stamp.size != size {
            return Err(changed(&path));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        source
            .file
            .read_to_end(&mut bytes)
            .map_err(read_error(&path))?;
        let is_same = source.is_unchanged().map_err(read_error(&path))?;
        if bytes.len() as u64 != size || !is_same {
            return Err(changed(&path));
        }
        Ok(Whole {
            digest: digest_of(&bytes),
            bytes: bytes.into(),
            stamp: source.stamp,
        })
    })
    .await
}

/// Hashes a file.
pub(super) async fn hash(path: &Utf8Path, size: u64) -> Result<(Sha256, Stamp), StoreError> {
    let path = path.to_owned();
    blocking(move || {
        let mut source = Source::open(&path).map_err(read_error(&path))?;
        let (digest, count) = source.hash(None).map_err(read_error(&path))?;
        if count != size || !source.is_unchanged().map_err(read_error(&path))? {
            return Err(changed(&path));
        }
        Ok((digest, source.stamp))
    })
    .await
}

/// The control file of a file whose bytes the bucket has, from its bytes.
pub(super) async fn read_control(
    path: BuildPath,
    from: Utf8PathBuf,
    size: u64,
    digest: Sha256,
) -> Result<Vec<u8>, StoreError> {
    blocking(move || {
        let mut source = Source::open(&from).map_err(read_error(&from))?;
        let hashed = source.hash_with_control(None, control_maker(&path, size));
        match hashed.map_err(read_error(&from))? {
            (found, _, Ok(made)) if found == digest => Ok(made),
            _ => Err(changed(&from)),
        }
    })
    .await
}

/// A file that is read part by part, and hashed on the way.
struct Parts {
    source: Source,
    hasher: sha2::Sha256,
    control: Option<Maker>,
    read: u64,
}

impl Parts {
    /// The next part, and its own digest if `digest` is set.
    fn next(&mut self, part: u64, digest: bool) -> std::io::Result<(Bytes, Option<Sha256>)> {
        let mut bytes = Vec::with_capacity(usize::try_from(part).unwrap_or_default());
        let count = (&mut self.source.file).take(part).read_to_end(&mut bytes)?;
        self.hasher.update(&bytes);
        if let Some(control) = &mut self.control {
            control.update(&bytes);
        }
        self.read += count as u64;
        let digest = digest.then(|| digest_of(&bytes));
        Ok((bytes.into(), digest))
    }
}

impl Inner {
    async fn journal(&self, name: &str, size: u64) -> Result<Option<Journal>, StoreError> {
        let Some((text, _)) = self.objects.get(name).await? else {
            return Ok(None);
        };
        // A journal that cannot be parsed does not help; its upload is left to the bucket's own rules.
        let journal: Option<Journal> = serde_json::from_slice(&text).ok();
        let fits = |journal: &Journal| {
            let count = journal.size.div_ceil(journal.part.max(1));
            journal.size == size && journal.parts.len() as u64 == count
        };
        Ok(journal.filter(fits))
    }

    async fn write_journal(&self, name: &str, journal: &Journal) -> Result<(), StoreError> {
        let text = serde_json::to_string(journal).expect("texts and numbers") + "\n";
        self.objects.put(name, text, Keep::Not).await
    }

    /// The size of the parts in which a file of `size` bytes is sent.
    fn sent_part(&self, size: u64) -> u64 {
        self.large.max(size.div_ceil(MOST_PARTS))
    }

    async fn begin_upload(&self, to: &str, size: u64) -> Result<Journal, StoreError> {
        let options = PutMultipartOptions {
            attributes: attributes(to, Keep::ForEver),
            ..PutMultipartOptions::default()
        };
        let path = self.objects.path(to)?;
        let upload = self.objects.backend.create_multipart_opts(&path, options);
        let upload = upload
            .await
            .map_err(|error| self.objects.failed(to, error))?;
        let part = self.sent_part(size);
        let parts = usize::try_from(size.div_ceil(part)).unwrap_or_default();
        Ok(Journal {
            schema: 1,
            upload,
            size,
            part,
            parts: vec![None; parts],
            whole: None,
        })
    }

    /// The digest of a large file that was completely sent for a build that is not committed yet.
    pub(super) async fn sent_large(
        &self,
        id: &BuildId,
        path: &BuildPath,
        size: u64,
    ) -> Result<Option<Sha256>, StoreError> {
        let journal = self.journal(&keys::upload(id, path), size).await?;
        Ok(journal.and_then(|journal| journal.whole))
    }

    /// Sends a large file in parts; resumes an interrupted upload. Returns the digest of the sent bytes, and the control file if
    /// one is requested.
    pub(super) async fn send_large(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: &Utf8Path,
        size: u64,
        control: bool,
    ) -> Result<(Sha256, Stamp, Option<Vec<u8>>), StoreError> {
        let maker = || control.then(|| control_maker(path, size));
        let (to, name) = (format!("{id}/{path}"), keys::upload(id, path));
        let journal = self.journal(&name, size).await?;
        match journal.filter(|journal| journal.whole.is_none()) {
            None => {}
            Some(journal) if journal.part == self.sent_part(size) => {
                let sent = self.send_parts(&to, &name, journal, from, (true, maker()));
                match sent.await {
                    // The server has forgotten the upload.
                    Err(StoreError::NotFound { .. } | StoreError::Network { .. }) => {}
                    sent => return sent,
                }
            }
            // The upload of an interrupted copy: several of its parts do not fit into memory.
            Some(_) => self.abort_upload(&to, &name).await?,
        }
        let journal = self.begin_upload(&to, size).await?;
        self.write_journal(&name, &journal).await?;
        let sent = self.send_parts(&to, &name, journal, from, (false, maker()));
        sent.await
    }

    /// Makes the server copy a large object into a build that is not committed yet; `false` if the object does not exist.
    /// `digest` is that of its bytes.
    pub(super) async fn copy_large(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: &str,
        size: u64,
        digest: Sha256,
    ) -> Result<bool, StoreError> {
        let (to, name) = (format!("{id}/{path}"), keys::upload(id, path));
        // An interrupted attempt may have copied parts into the upload; copying them again costs no transfer.
        self.abort_upload(&to, &name).await?;
        let part = self.objects.copied_part(size);
        let parts = usize::try_from(size.div_ceil(part)).unwrap_or_default();
        let journal = |upload: &str, whole| Journal {
            schema: 1,
            upload: upload.to_owned(),
            size,
            part,
            parts: vec![None; parts],
            whole,
        };
        let begun = async |upload: &String| self.write_journal(&name, &journal(upload, None)).await;
        if !self.objects.copy_in_parts(from, &to, size, begun).await? {
            return Ok(false);
        }
        // Kept until the build is committed: after a crash, the copy need not be repeated.
        self.write_journal(&name, &journal("", Some(digest)))
            .await?;
        Ok(true)
    }

    /// Aborts the upload that a journal names, if it is not complete.
    async fn abort_upload(&self, to: &str, journal: &str) -> Result<(), StoreError> {
        let text = self.objects.get(journal).await?;
        let journal = text.and_then(|(text, _)| serde_json::from_slice::<Journal>(&text).ok());
        let Some(journal) = journal.filter(|journal| journal.whole.is_none()) else {
            return Ok(());
        };
        let path = self.objects.path(to)?;
        let aborted = self.objects.backend.abort_multipart(&path, &journal.upload);
        match aborted
            .await
            .map_err(|error| self.objects.failed(to, error))
        {
            // Already completed or aborted.
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn send_parts(
        &self,
        to: &str,
        name: &str,
        mut journal: Journal,
        from: &Utf8Path,
        (again, control): (bool, Option<Maker>),
    ) -> Result<(Sha256, Stamp, Option<Vec<u8>>), StoreError> {
        let path = self.objects.path(to)?;
        let failed = |error| self.objects.failed(to, error);
        let opened = from.to_owned();
        let mut parts = blocking(move || {
            let mut source = Source::open(&opened).map_err(read_error(&opened))?;
            let start = source.file.seek(SeekFrom::Start(0));
            start.map_err(read_error(&opened))?;
            Ok(Parts {
                source,
                hasher: sha2::Sha256::new(),
                control,
                read: 0,
            })
        })
        .await?;
        if parts.source.stamp.size != journal.size {
            return Err(changed(from));
        }
        let mut running = FuturesUnordered::new();
        let mut arrived = 0;
        for number in 0..journal.parts.len() {
            let (part, opened) = (journal.part, from.to_owned());
            let (read, bytes, digest) = blocking(move || {
                let (bytes, digest) = parts.next(part, true).map_err(read_error(&opened))?;
                Ok((parts, bytes, digest))
            })
            .await?;
            parts = read;
            let digest = digest.unwrap_or_else(|| digest_of(&bytes));
            if again
                && let Some(known) = &journal.parts[number]
                && known.digest == digest
            {
                continue;
            }
            let (path, upload) = (path.clone(), journal.upload.clone());
            running.push(async move {
                let payload = PutPayload::from_bytes(bytes);
                let sent = self
                    .objects
                    .backend
                    .put_part(&path, &upload, number, payload);
                Ok::<_, object_store::Error>((number, digest, sent.await?))
            });
            while running.len() >= PARTS {
                let Some(sent) = running.next().await else {
                    break;
                };
                let (number, digest, sent) = sent.map_err(failed)?;
                let tag = sent.content_id;
                journal.parts[number] = Some(Arrived { tag, digest });
                arrived += 1;
                // Often enough that little is sent twice.
                if arrived % PARTS == 0 {
                    self.write_journal(name, &journal).await?;
                }
            }
        }
        while let Some(sent) = running.next().await {
            let (number, digest, sent) = sent.map_err(failed)?;
            let tag = sent.content_id;
            journal.parts[number] = Some(Arrived { tag, digest });
        }
        let unchanged = parts.source.is_unchanged().map_err(read_error(from))?;
        if parts.read != journal.size || !unchanged {
            return Err(changed(from));
        }
        self.write_journal(name, &journal).await?;
        let ids = journal.parts.iter().flatten().map(|part| PartId {
            content_id: part.tag.clone(),
        });
        let ids: Vec<_> = ids.collect();
        let backend = &self.objects.backend;
        let completed = backend
            .complete_multipart(&path, &journal.upload, ids)
            .await;
        drop(completed.map_err(failed)?);
        let digest = Sha256(parts.hasher.finalize().into());
        // Kept until the build is committed: after a crash, the file need not be sent again.
        journal.whole = Some(digest);
        self.write_journal(name, &journal).await?;
        // All bytes of the file were read, so this cannot fail.
        let control = parts.control.and_then(|control| control.finish().ok());
        Ok((digest, parts.source.stamp, control))
    }

    /// Aborts the uploads of a build that its journals name.
    pub(super) async fn abort_uploads(&self, id: &BuildId) -> Result<(), StoreError> {
        let prefix = keys::uploads(id);
        for listed in self.objects.list(&prefix).await? {
            let name = format!("{prefix}/{}", listed.name);
            let to = format!("{id}/{}", listed.name.replace("%2F", "/"));
            self.abort_upload(&to, &name).await?;
            self.objects.delete([name]).await?;
        }
        Ok(())
    }
}
