//! The two ways in which the bytes of a file get into a build: a copy that the server makes, or a transfer from this machine.
//!
//! ```text
//! file ─> hint, name ─> hashed? ─> the server has these bytes ─> copied
//!                                  otherwise ─────────────────> sent, small in one request, large in parts
//! ```

use std::fmt::Write as _;

use bytes::Bytes;
use camino::Utf8Path;
use chrono::{DateTime, Utc};
use stx_layout::{BuildPath, Sha256};
use tokio::sync::MutexGuard as Turn;

use super::{BucketStaged, control_of};
use crate::objects::Keep;
use crate::upload;
use stx_publish::ingest::{self, Stamp, blocking};
use stx_publish::store::{Added, StoreError};

/// A file that is now in the bucket.
pub(crate) struct Sent {
    pub(crate) added: Added,
    pub(crate) digest: Sha256,
    pub(crate) modified: Option<DateTime<Utc>>,
    /// Its control file, if one was requested and all bytes were read.
    pub(crate) control: Option<Vec<u8>>,
}

impl BucketStaged {
    /// An object with these bytes, in this build or in another.
    pub(super) fn find(&self, path: &BuildPath, digest: &Sha256) -> Option<String> {
        let name = path.file_name();
        let other = || self.shared.find(digest, name).map(str::to_owned);
        self.twins.find(digest, name).or_else(other)
    }

    /// Makes the server copy bytes that it has.
    pub(super) async fn copied(
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

    /// Makes the server copy an object into this build; `false` if it does not exist.
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

    /// True if an interrupted attempt has sent these very bytes, by the server's entity tag. The tag of an object that was sent
    /// in one request is its MD5, unless the server has a reason to choose another one.
    fn is_there(&self, path: &BuildPath, bytes: &[u8]) -> bool {
        let Some((size, Some(tag))) = self.before.get(path.as_str()) else {
            return false;
        };
        *size == bytes.len() as u64 && tag.trim_matches('"') == md5(bytes)
    }

    /// True if an interrupted attempt has sent a large file with this digest.
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
    pub(super) async fn send_bytes(
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
            // Of equal files that are added at the same time, only one is sent.
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

    /// Sends a file of the workspace. A file that has not changed since it was published last is not read if the server has it.
    pub(crate) async fn send_file(
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

    /// The digest that a file had when it was published last, if it has not changed since. Objects that an interrupted attempt
    /// has sent are examined first.
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
        // A file whose name suggests that the server has it is only hashed first, and read again if the server does not have it.
        // Of the files that an interrupted attempt may have sent, only large ones are hashed: small ones are compared by their
        // entity tags.
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
}

/// Notes that a large file of this size exists.
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
