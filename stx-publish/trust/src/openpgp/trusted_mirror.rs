//! A read-only mirror that returns only signed, current data.
//!
//! The sums of a build are trusted if `SHA256SUMS.asc` is good and the record that they name is that of this build. Its files are
//! trusted by comparison with the sums. The contents of the mirror, and the targets of its aliases, are read from the signed
//! `index.json` of the root and of the channel. [`SeenSerials`] remembers their serials, so that a mirror that goes back in time
//! is noticed; their `expires` reveals a mirror that is no longer updated.
//!
//! Index and signature are two files. The writer first puts a signature of both the old and the new index beside the old index,
//! so a reader finds a good pair whichever it reads first. A reader that is slower than two writers, or behind a cache, reads
//! again before it reports an attack.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use camino::Utf8PathBuf;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use stx_layout::{
    AliasEntry, AliasName, BuildId, BuildPath, BuildRecord, Catalog, Channel, RootAlias, RootEntry,
    Sums,
};

use super::{Keyring, TrustError, ValidSignature};
use stx_publish::incoming::digest_of;
use stx_publish::index::{ChannelIndex, PageId, PageName, RootIndex};
use stx_publish::seal::{signature_path, sums_path};
use stx_publish::store::{
    Audit, ByteRange, Capabilities, Depth, FileBody, Hold, Inspection, MirrorRead, Scope,
    StoreError, read_all, record_path,
};

/// The largest `SHA256SUMS` or signature of it, in bytes.
const LONGEST: u64 = 64 << 20;

/// The waits between reads of an index before its signature is considered wrong.
const READS: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1500),
];

/// The highest known serial of each index of a mirror, by the key that signed it and by its path.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SeenSerials {
    serials: BTreeMap<String, BTreeMap<String, u64>>,
}

impl SeenSerials {
    /// The highest serial of an index.
    pub fn serial(&self, key: &str, page: &str) -> Option<u64> {
        self.serials.get(key)?.get(page).copied()
    }

    /// Notes a serial, if it is higher.
    fn note(&mut self, key: &str, page: &str, serial: u64) {
        let pages = self.serials.entry(key.to_owned()).or_default();
        let known = pages.entry(page.to_owned()).or_default();
        *known = serial.max(*known);
    }

    /// Adds the serials of another memory.
    pub fn merge(&mut self, other: &Self) {
        for (key, pages) in &other.serials {
            for (page, serial) in pages {
                self.note(key, page, *serial);
            }
        }
    }
}

/// The reason that a signed index is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// A later version was seen before.
    #[error(
        "the mirror goes back in time: this is version {serial}, and version {seen} was seen before"
    )]
    Older {
        /// The serial of the present version.
        serial: u64,
        /// The highest known serial.
        seen: u64,
    },
    /// It should have been replaced by now.
    #[error(
        "the mirror is not kept up to date: this version was valid until {expires}, and it is now {now}"
    )]
    Expired {
        /// The time at which it expired.
        expires: DateTime<Utc>,
        /// The present time.
        now: DateTime<Utc>,
    },
    /// The mirror's root has no index.
    #[error("it is missing: the content of the mirror is not signed")]
    Missing,
    /// It has no serial, or no expiry.
    #[error("has no serial or no end")]
    Undated,
}

/// A mirror whose data is checked against a keyring.
///
/// Only the sums and the record of a build are checked when they are read. Other files are returned unchecked, for comparison
/// with [`MirrorRead::sums`].
#[derive(Debug)]
pub struct TrustedMirror {
    inner: Arc<dyn MirrorRead>,
    keyring: Keyring,
    now: DateTime<Utc>,
    stale: bool,
    known: SeenSerials,
    seen: Mutex<SeenSerials>,
    indexes: Mutex<HashMap<PageId, Bytes>>,
    sums: Mutex<HashMap<BuildId, (Bytes, Bytes)>>,
}

impl TrustedMirror {
    /// `inner`, checked with the serials of `known`. With `stale`, an index that is expired, or older than one that was seen, is
    /// trusted anyway.
    pub fn new(
        inner: Arc<dyn MirrorRead>,
        keyring: Keyring,
        known: SeenSerials,
        now: DateTime<Utc>,
        stale: bool,
    ) -> Self {
        Self {
            inner,
            keyring,
            now,
            stale,
            known,
            seen: Mutex::default(),
            indexes: Mutex::default(),
            sums: Mutex::default(),
        }
    }

    /// The serials of the trusted indexes, to be remembered.
    pub fn seen(&self) -> SeenSerials {
        lock(&self.seen).clone()
    }

    /// The bytes of a file that is checked before it is returned: the sums of a build, or their signature.
    async fn checked(&self, id: &BuildId, path: &BuildPath) -> Result<Option<Bytes>, StoreError> {
        let is_sums = *path == sums_path();
        if !is_sums && *path != signature_path() {
            return Ok(None);
        }
        let (sums, signature) = self.signed_sums(id).await?;
        Ok(Some(if is_sums { sums } else { signature }))
    }

    /// The sums of a build and their signature, after it was found good.
    async fn signed_sums(&self, id: &BuildId) -> Result<(Bytes, Bytes), StoreError> {
        if let Some(known) = lock(&self.sums).get(id) {
            return Ok(known.clone());
        }
        let read = async |path: BuildPath| {
            let read = read_all(&*self.inner, id, &path, LONGEST).await;
            read.map(Bytes::from)
        };
        let sums = read(sums_path()).await?;
        let signature = match read(signature_path()).await {
            Err(StoreError::NotFound { .. }) => Bytes::new(),
            signature => signature?,
        };
        let judged = self.keyring.verify(&sums, &signature, self.now);
        let what = || format!("{id}/{}", Sums::FILE_NAME);
        judged.map_err(|why| untrusted(what(), why))?;
        // A signature does not cover a name: the signed sums of an older build could be offered under a newer date.
        let record = self.record_text(id, &parse_sums(id, &sums)?).await?;
        let Named { id: found } = serde_json::from_slice(&record)
            .map_err(|error| damaged(&format!("{id}/{}", BuildRecord::FILE_NAME), error))?;
        if found != *id {
            return Err(untrusted(what(), OtherBuild { found }));
        }
        lock(&self.sums).insert(id.clone(), (sums.clone(), signature.clone()));
        Ok((sums, signature))
    }

    /// The text of a build's record, compared with its digest in the sums.
    async fn record_text(&self, id: &BuildId, sums: &Sums) -> Result<Vec<u8>, StoreError> {
        let text = read_all(&*self.inner, id, &record_path(), LONGEST).await?;
        if sums.get(&record_path()) != Some(digest_of(&text)) {
            let found = "it is not the one that SHA256SUMS names".to_owned();
            return Err(damaged(&format!("{id}/{}", BuildRecord::FILE_NAME), found));
        }
        Ok(text)
    }

    /// An index with a good signature that is neither too old nor expired.
    async fn index(&self, channel: Option<&Channel>) -> Result<Bytes, StoreError> {
        let page = PageId {
            channel: channel.cloned(),
            name: PageName::IndexJson,
        };
        if let Some(known) = lock(&self.indexes).get(&page) {
            return Ok(known.clone());
        }
        let path = page.path();
        let (text, good) = self.signed_index(&page).await?;
        let (serial, expires) = dates(&text).map_err(|error| damaged(&path, error))?;
        let (Some(serial), Some(expires)) = (serial, expires) else {
            return Err(untrusted(path, IndexError::Undated));
        };
        let seen = self.known.serial(&good.key, &path);
        let stale = match seen {
            Some(seen) if seen > serial => Some(IndexError::Older { serial, seen }),
            _ if expires <= self.now => Some(IndexError::Expired {
                expires,
                now: self.now,
            }),
            Some(_) | None => None,
        };
        if let Some(why) = stale.filter(|_| !self.stale) {
            return Err(StoreError::Stale {
                what: path,
                source: why.into(),
            });
        }
        lock(&self.seen).note(&good.key, &path, serial);
        lock(&self.indexes).insert(page, text.clone());
        Ok(text)
    }

    /// An index and its good signature. One that is being replaced is read again.
    async fn signed_index(&self, page: &PageId) -> Result<(Bytes, ValidSignature), StoreError> {
        let signature = PageId {
            channel: page.channel.clone(),
            name: PageName::IndexSignature,
        };
        let mut waits = READS.into_iter();
        loop {
            let text = self.inner.page(page).await?;
            let text = text.ok_or_else(|| match &page.channel {
                None => untrusted(page.path(), IndexError::Missing),
                Some(_) => StoreError::NotFound { what: page.path() },
            })?;
            let signature = self.inner.page(&signature).await?.unwrap_or_default();
            let why = match self.keyring.verify(&text, &signature, self.now) {
                Ok(good) => return Ok((text, good)),
                Err(why) => why,
            };
            let wait = match &why {
                TrustError::Bad { .. } | TrustError::Unreadable { .. } => waits.next(),
                _ => None,
            };
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(untrusted(page.path(), why)),
            }
        }
    }

    pub(super) async fn root(&self) -> Result<RootIndex, StoreError> {
        let text = self.index(None).await?;
        RootIndex::from_json(&text).map_err(|error| damaged("index.json", error))
    }

    /// The index of a channel, at least as new as the root states.
    pub(super) async fn channel(&self, channel: &Channel) -> Result<ChannelIndex, StoreError> {
        let root = self.root().await?;
        let text = self.index(Some(channel)).await?;
        let path = format!("{channel}/index.json");
        let index = ChannelIndex::from_json(&text).map_err(|error| damaged(&path, error))?;
        if index.channel != *channel {
            let found = format!("it belongs to {}", index.channel);
            return Err(damaged(&path, found));
        }
        let mut named = root.channels.iter();
        let named = named.find(|named| named.channel == *channel);
        if let (Some(serial), Some(seen)) = (index.serial, named.and_then(|named| named.serial))
            && serial < seen
            && !self.stale
        {
            return Err(StoreError::Stale {
                what: path,
                source: IndexError::Older { serial, seen }.into(),
            });
        }
        Ok(index)
    }
}

/// The serial and the expiry of an index.
type Dates = (Option<u64>, Option<DateTime<Utc>>);

fn dates(text: &[u8]) -> Result<Dates, serde_json::Error> {
    #[derive(Deserialize)]
    struct Dated {
        serial: Option<u64>,
        expires: Option<DateTime<Utc>>,
    }
    let dated: Dated = serde_json::from_slice(text)?;
    Ok((dated.serial, dated.expires))
}

/// The build that a record describes; the other fields may be those of a later version.
#[derive(Deserialize)]
struct Named {
    id: BuildId,
}

/// Signed sums that belong to another build.
#[derive(Debug, thiserror::Error)]
#[error("it is signed as that of {found}: the mirror shows another build under this name")]
struct OtherBuild {
    found: BuildId,
}

fn parse_sums(id: &BuildId, sums: &[u8]) -> Result<Sums, StoreError> {
    let what = format!("{id}/{}", Sums::FILE_NAME);
    let sums = str::from_utf8(sums).map_err(|error| damaged(&what, error))?;
    sums.parse()
        .map_err(|error: stx_layout::SumsError| damaged(&what, error))
}

fn untrusted(what: String, source: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Untrusted {
        what,
        source: Box::new(source),
    }
}

fn damaged(what: &str, source: impl Into<Box<dyn Error + Send + Sync>>) -> StoreError {
    StoreError::Damaged {
        what: what.to_owned(),
        source: source.into(),
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl MirrorRead for TrustedMirror {
    async fn catalog(&self, scope: &Scope) -> Result<Catalog, StoreError> {
        let channels = match scope {
            Scope::All => {
                let root = self.root().await?;
                let named = root.channels.into_iter();
                named.map(|named| named.channel).collect()
            }
            Scope::Channel(channel) => vec![channel.clone()],
            Scope::Build(id) => vec![id.channel.clone()],
        };
        let mut catalog = Catalog::default();
        for channel in channels {
            let mut entry = match self.channel(&channel).await {
                Err(StoreError::NotFound { .. }) => continue,
                index => index?.entry(),
            };
            if let Scope::Build(id) = scope {
                entry.builds.retain(|date, _| *date == id.date);
                entry.strays.clear();
            }
            catalog.channels.insert(channel, entry);
        }
        Ok(catalog)
    }

    async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let sums = self.sums(id).await?;
        let text = self.record_text(id, &sums).await?;
        let what = format!("{id}/{}", BuildRecord::FILE_NAME);
        let text = str::from_utf8(&text).map_err(|error| damaged(&what, error))?;
        let record = BuildRecord::from_json(text).map_err(|error| damaged(&what, error))?;
        stx_publish::store::check_record(id, &record)?;
        Ok(record)
    }

    async fn sums(&self, id: &BuildId) -> Result<Sums, StoreError> {
        let (sums, _) = self.signed_sums(id).await?;
        parse_sums(id, &sums)
    }

    async fn alias(
        &self,
        channel: &Channel,
        alias: &AliasName,
    ) -> Result<Option<AliasEntry>, StoreError> {
        let mut index = match self.channel(channel).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            index => index?,
        };
        Ok(index.aliases.remove(alias))
    }

    async fn root_aliases(&self) -> Result<BTreeMap<RootAlias, RootEntry>, StoreError> {
        Ok(self.root().await?.aliases)
    }

    async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
    ) -> Result<FileBody, StoreError> {
        match self.checked(id, path).await? {
            Some(bytes) => Ok(FileBody::of(&bytes, from)),
            None => self.inner.read(id, path, from).await,
        }
    }

    async fn read_ranges(
        &self,
        id: &BuildId,
        path: &BuildPath,
        ranges: &[ByteRange],
    ) -> Result<FileBody, StoreError> {
        match self.checked(id, path).await? {
            Some(bytes) => Ok(FileBody::in_memory(&bytes, ranges)),
            None => self.inner.read_ranges(id, path, ranges).await,
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn file(&self, id: &BuildId, path: &BuildPath) -> Option<Utf8PathBuf> {
        // The sums and their signature are checked, so they are only read through these methods.
        if *path == sums_path() || *path == signature_path() {
            return None;
        }
        self.inner.file(id, path)
    }

    async fn page(&self, page: &PageId) -> Result<Option<Bytes>, StoreError> {
        match page.name {
            PageName::IndexJson => match self.index(page.channel.as_ref()).await {
                Err(StoreError::NotFound { .. }) => Ok(None),
                index => index.map(Some),
            },
            PageName::IndexSignature
            | PageName::IndexHtml
            | PageName::Feed
            | PageName::Keys
            | PageName::AptSources
            | PageName::DnfRepo
            | PageName::AptSourcesOf(_)
            | PageName::DnfRepoOf(_)
            | PageName::HtmlOf(_) => self.inner.page(page).await,
        }
    }

    async fn inspect(&self, id: &BuildId, depth: Depth) -> Result<Inspection, StoreError> {
        self.inner.inspect(id, depth).await
    }

    async fn hold(&self, id: &BuildId) -> Result<Hold, StoreError> {
        self.inner.hold(id).await
    }

    async fn audit(&self, id: &BuildId, run: &Audit) -> Result<Inspection, StoreError> {
        self.inner.audit(id, run).await
    }
}
