//! Reads builds: their records, sums and files, and the objects that actually exist in them.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use futures_util::future::{try_join, try_join3};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::GetRange;
use sha2::Digest as _;
use stx_layout::{BuildId, BuildPath, BuildRecord, Sha256, Sums};

use super::Inner;
use super::keys;
use super::manifest::Manifest;
use super::objects::{Objects, PARALLEL};
use stx_publish::incoming::LinkEnd;
use stx_publish::seal::is_beyond_sums;
use stx_publish::store::{Depth, FileBody, Found, Inspection, StoreError};
use stx_publish::thinning::Thinned;
use stx_publish::verify::chain;

/// The number of sums that are remembered.
const MOST_SUMS: usize = 64;

/// The files at the top of a visible build.
#[derive(Debug, Clone)]
pub(super) struct Top {
    /// The entity tag of its record, if the server gives one.
    record: Option<String>,
    /// True if it has a `THINNED.json`.
    is_thinned: bool,
    /// The entity tag of its `THINNED.json`.
    thinned: Option<String>,
    /// True if it has a `KEEP` file.
    pub(super) keep_file: bool,
}

fn not_found(id: &BuildId) -> StoreError {
    StoreError::NotFound {
        what: id.to_string(),
    }
}

impl Inner {
    /// The files at the top of a build; `None` if the build does not exist.
    pub(super) async fn top(&self, id: &BuildId) -> Result<Option<Top>, StoreError> {
        let level = self.objects.level(&keys::build(id)).await?;
        let find = |name: &str| level.objects.iter().find(|it| it.name == name);
        let Some(record) = find(BuildRecord::FILE_NAME) else {
            return Ok(None);
        };
        Ok(Some(Top {
            record: record.tag.clone(),
            is_thinned: find(Thinned::FILE_NAME).is_some(),
            thinned: find(Thinned::FILE_NAME).and_then(|it| it.tag.clone()),
            keep_file: find("KEEP").is_some(),
        }))
    }

    /// A small object, from memory if its entity tag is unchanged.
    async fn text(&self, name: &str, tag: Option<&str>) -> Result<Option<Bytes>, StoreError> {
        if let Some(tag) = tag {
            let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((known, bytes)) = texts.get(name)
                && known == tag
            {
                return Ok(Some(bytes.clone()));
            }
        }
        let Some((bytes, tag)) = self.objects.get(name).await? else {
            return Ok(None);
        };
        self.remember(name, tag, &bytes);
        Ok(Some(bytes))
    }

    fn remember(&self, name: &str, tag: Option<String>, bytes: &Bytes) {
        if let Some(tag) = tag {
            let mut texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.insert(name.to_owned(), (tag, bytes.clone()));
        }
    }

    /// The files at the top of a build, and its record; `None` if the build does not exist. Both are requested at the same time
    /// if the record is not known by its entity tag. It never is if the server leaves the tags out of its listings.
    pub(super) async fn top_and_record(
        &self,
        id: &BuildId,
    ) -> Result<Option<(Top, Result<BuildRecord, StoreError>)>, StoreError> {
        let name = keys::record(id);
        let is_known = {
            let texts = self.texts.lock().unwrap_or_else(PoisonError::into_inner);
            texts.contains_key(&name)
        };
        let read = async {
            if is_known {
                return Ok(None);
            }
            self.objects.get(&name).await
        };
        let (top, read) = try_join(self.top(id), read).await?;
        let Some(top) = top else {
            return Ok(None);
        };
        let record = match read {
            Some((text, tag)) => {
                if top.record.is_some() {
                    self.remember(&name, tag, &text);
                }
                parse_record(id, &text)
            }
            None => self.record_of(id, &top).await,
        };
        Ok(Some((top, record)))
    }

    pub(super) async fn record_of(
        &self,
        id: &BuildId,
        top: &Top,
    ) -> Result<BuildRecord, StoreError> {
        let text = self.text(&keys::record(id), top.record.as_deref()).await?;
        parse_record(id, &text.ok_or_else(|| not_found(id))?)
    }

    pub(super) async fn record(&self, id: &BuildId) -> Result<BuildRecord, StoreError> {
        let text = self.objects.get(&keys::record(id)).await?;
        let (text, _) = text.ok_or_else(|| not_found(id))?;
        parse_record(id, &text)
    }

    pub(super) async fn sums(&self, id: &BuildId) -> Result<Arc<Sums>, StoreError> {
        let name = format!("{id}/{}", Sums::FILE_NAME);
        let is_read = {
            let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.keys().any(|(known, _)| known == id)
        };
        // Both at the same time if they were never read: the sums of an existing build do not change.
        let asked = async {
            if is_read {
                return Ok(None);
            }
            self.objects.get(&name).await
        };
        let (top, asked) = try_join(self.top(id), asked).await?;
        let top = top.ok_or_else(|| not_found(id))?;
        let known = top.record.clone().map(|tag| (id.clone(), tag));
        if let Some(known) = &known {
            let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sums) = sums.get(known) {
                return Ok(Arc::clone(sums));
            }
        }
        let text = match asked {
            Some(text) => Some(text),
            None => self.objects.get(&name).await?,
        };
        let (text, _) = text.ok_or_else(|| StoreError::NotFound { what: name.clone() })?;
        let damaged = |source| StoreError::Damaged { what: name, source };
        let sums = str::from_utf8(&text)
            .map_err(Into::into)
            .and_then(|text| text.parse::<Sums>().map_err(Into::into));
        let sums = Arc::new(sums.map_err(damaged)?);
        if let Some(known) = known {
            let mut all = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
            // Each may list thousands of files, and a service runs for months.
            if all.len() >= MOST_SUMS {
                all.clear();
            }
            all.insert(known, Arc::clone(&sums));
        }
        Ok(sums)
    }

    /// The sections that were retired from a visible build.
    pub(super) async fn thinned_of(&self, id: &BuildId, top: &Top) -> Result<Thinned, StoreError> {
        if !top.is_thinned {
            return Ok(Thinned::default());
        }
        let name = thinned_name(&keys::build(id));
        match self.text(&name, top.thinned.as_deref()).await? {
            None => Ok(Thinned::default()),
            Some(text) => parse_thinned(&name, &text),
        }
    }

    /// The sections that were retired from the build with its files below `prefix`.
    pub(super) async fn thinned_at(&self, prefix: &str) -> Result<Thinned, StoreError> {
        let name = thinned_name(prefix);
        match self.objects.get(&name).await? {
            None => Ok(Thinned::default()),
            Some((text, _)) => parse_thinned(&name, &text),
        }
    }

    pub(super) async fn read(
        &self,
        id: &BuildId,
        path: &BuildPath,
        from: u64,
        length: Option<u64>,
    ) -> Result<FileBody, StoreError> {
        let top = self.top(id).await?.ok_or_else(|| not_found(id))?;
        let gone = || StoreError::NotFound {
            what: format!("{id}/{path}"),
        };
        let thinned = self.thinned_of(id, &top).await?;
        if thinned.covers(path).is_some() {
            return Err(gone());
        }
        let name = format!("{id}/{path}");
        if let Some(body) = self.body(&name, from, length).await? {
            return Ok(body);
        }
        // By way of a symlink to a directory?
        let manifest = self.manifest(id).await?.unwrap_or_default();
        if manifest.links.is_empty() {
            return Err(gone());
        }
        let sums = self.sums(id).await?;
        let files = sums.lines().iter().map(|line| &line.path);
        let LinkEnd::File(end) = manifest.entries(files).resolve(path) else {
            return Err(gone());
        };
        if thinned.covers(&end).is_some() {
            return Err(gone());
        }
        let body = self.body(&format!("{id}/{end}"), from, length).await?;
        body.ok_or_else(gone)
    }

    /// Part of an object; `None` if it does not exist.
    async fn body(
        &self,
        name: &str,
        from: u64,
        length: Option<u64>,
    ) -> Result<Option<FileBody>, StoreError> {
        let mut range = None;
        if from > 0 || length.is_some() {
            // Servers disagree on requests for a range beyond the end.
            let Some(meta) = self.objects.head(name).await? else {
                return Ok(None);
            };
            let end = length.map_or(meta.size, |length| from.saturating_add(length));
            let end = end.min(meta.size);
            if from >= end {
                return Ok(Some(FileBody {
                    size: meta.size,
                    stream: stream::empty().boxed(),
                    is_whole: false,
                }));
            }
            range = Some(GetRange::Bounded(from..end));
        }
        let Some(found) = self.objects.open(name, range).await? else {
            return Ok(None);
        };
        let size = found.meta.size;
        let (objects, name) = (self.objects.clone(), name.to_owned());
        let stream = found
            .into_stream()
            .map_err(move |error| objects.failed(&name, error));
        Ok(Some(FileBody {
            size,
            stream: stream.boxed(),
            is_whole: false,
        }))
    }

    pub(super) async fn inspect(
        &self,
        id: &BuildId,
        depth: Depth,
    ) -> Result<Inspection, StoreError> {
        // The record is requested after the files: retirement removes it first.
        let files = async {
            let listed = self.objects.list(&keys::build(id)).await?;
            let record = self.objects.head(&keys::record(id)).await?;
            Ok(record.is_some().then_some(listed))
        };
        let manifest = async { Ok(self.manifest(id).await) };
        let (top, manifest, listed) = try_join3(self.top(id), manifest, files).await?;
        let top = top.ok_or_else(|| not_found(id))?;
        let listed = listed.ok_or_else(|| not_found(id))?;
        let mut inspection = Inspection::default();
        match self.thinned_of(id, &top).await {
            Ok(thinned) => inspection.thinned = thinned,
            Err(error @ StoreError::Damaged { .. }) => inspection
                .unreadable
                .push((Thinned::FILE_NAME.to_owned(), chain(&error))),
            Err(error) => return Err(error),
        }
        let manifest = match manifest {
            Ok(Some(manifest)) => manifest,
            Ok(None) => {
                let why = "missing: symlinks, modes and times are not known".to_owned();
                inspection.unreadable.push((keys::manifest(id), why));
                Manifest::default()
            }
            Err(error @ StoreError::Damaged { .. }) => {
                let unreadable = (keys::manifest(id), chain(&error));
                inspection.unreadable.push(unreadable);
                Manifest::default()
            }
            Err(error) => return Err(error),
        };
        let mut sizes = BTreeMap::new();
        for object in listed {
            if is_beyond_sums(&object.name) || object.name == Thinned::FILE_NAME {
                continue;
            }
            match object.name.parse::<BuildPath>() {
                Ok(path) if inspection.thinned.covers(&path).is_some() => {}
                Ok(path) => drop(sizes.insert(path, object.size)),
                Err(error) => {
                    let unreadable = (object.name, error.to_string());
                    inspection.unreadable.push(unreadable);
                }
            }
        }
        let digests = match depth {
            Depth::Listing => BTreeMap::new(),
            Depth::Digests => self.digests(id, sizes.keys().cloned().collect()).await,
        };
        check_copies(&manifest, &sizes, &digests, &mut inspection);
        for (path, size) in sizes {
            if manifest.links.contains_key(&path) {
                continue;
            }
            let mode = stx_publish::store::rules::file_mode(manifest.executable.contains(&path));
            let found = Found::File {
                size,
                mode: Some(mode),
                modified: manifest.modified.get(&path).copied(),
                digest: digests.get(&path).cloned(),
            };
            inspection.found.insert(path, found);
        }
        for (path, target) in manifest.links {
            if inspection.thinned.covers(&path).is_none() {
                let found = Found::Symlink { target };
                inspection.found.insert(path, found);
            }
        }
        Ok(inspection)
    }

    /// The digest of every file, computed from its bytes; or the reason why it could not be read, in one line.
    async fn digests(
        &self,
        id: &BuildId,
        paths: Vec<BuildPath>,
    ) -> BTreeMap<BuildPath, Result<Sha256, String>> {
        let read = paths.into_iter().map(|path| async move {
            let digest = digest(&self.objects, &format!("{id}/{path}")).await;
            (path, digest.map_err(|error| chain(&error)))
        });
        let read = stream::iter(read).buffer_unordered(PARALLEL);
        read.collect().await
    }
}

/// The digest of an object's bytes.
pub(super) async fn digest(objects: &Objects, name: &str) -> Result<Sha256, StoreError> {
    let found = objects.open(name, None).await?;
    let found = found.ok_or_else(|| StoreError::NotFound {
        what: name.to_owned(),
    })?;
    let mut bytes = found.into_stream();
    let mut hash = sha2::Sha256::new();
    while let Some(chunk) = bytes
        .try_next()
        .await
        .map_err(|error| objects.failed(name, error))?
    {
        hash.update(&chunk);
    }
    Ok(Sha256(hash.finalize().into()))
}

/// Names the copies for symlinks that differ from the symlinks' targets.
fn check_copies(
    manifest: &Manifest,
    sizes: &BTreeMap<BuildPath, u64>,
    digests: &BTreeMap<BuildPath, Result<Sha256, String>>,
    inspection: &mut Inspection,
) {
    for (path, end) in manifest.entries(sizes.keys()).links() {
        // The check of the symlinks reports those that dangle.
        let LinkEnd::File(end) = end else {
            continue;
        };
        if inspection.thinned.covers(&path).is_some() {
            continue;
        }
        let same = sizes.get(&path) == sizes.get(&end) && digests.get(&path) == digests.get(&end);
        if !same {
            let why = format!("its copy differs from the object at {end}");
            inspection.unreadable.push((path.to_string(), why));
        }
    }
}

fn thinned_name(prefix: &str) -> String {
    format!("{prefix}/{}", Thinned::FILE_NAME)
}

fn parse_thinned(name: &str, text: &[u8]) -> Result<Thinned, StoreError> {
    stx_publish::thinning::parse_thinned(name, text)
}

/// Reads the record of a build.
pub(super) fn parse_record(id: &BuildId, text: &[u8]) -> Result<BuildRecord, StoreError> {
    let damaged = |source| StoreError::Damaged {
        what: keys::record(id),
        source,
    };
    let text = str::from_utf8(text).map_err(|error| damaged(error.into()))?;
    let record = BuildRecord::from_json(text).map_err(|error| damaged(error.into()))?;
    if record.id != *id {
        return Err(damaged(format!("it belongs to {}", record.id).into()));
    }
    Ok(record)
}
