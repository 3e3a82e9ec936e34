//! Reads whole files of a build into memory: any file, the seal, and the record of the sections that were removed.

use bytes::Bytes;
use futures_util::StreamExt as _;
use stx_layout::{BuildId, BuildPath, BuildRecord, Sums};

use super::{MirrorRead, StoreError};
use crate::seal::{Sealed, record_path, signature_path, sums_path, thinned_path};
use crate::thinning::{Thinned, parse_thinned};

/// The largest `build.json`, `SHA256SUMS` or signature, in bytes.
const LONGEST: u64 = 256 << 20;

/// The largest `THINNED.json`, in bytes.
const LONGEST_THINNED: u64 = 1 << 20;

/// Reads a file of a build into memory, at most `limit` bytes of it.
///
/// # Errors
/// [`StoreError::Refused`] for a file of more than `limit` bytes; otherwise those of [`MirrorRead::read`].
pub async fn read_all(
    store: &dyn MirrorRead,
    id: &BuildId,
    path: &BuildPath,
    limit: u64,
) -> Result<Vec<u8>, StoreError> {
    let mut body = store.read(id, path, 0).await?;
    if body.size > limit {
        return Err(StoreError::Refused {
            what: format!("{id}/{path}"),
            reason: format!(
                "{} bytes are more than the {limit} that were requested",
                body.size
            ),
        });
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = body.stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

/// The sections that were removed from a build on purpose; none if `THINNED.json` or the build does not exist.
///
/// # Errors
/// [`StoreError::Damaged`] if the file cannot be parsed; otherwise those of [`MirrorRead::read`].
pub async fn thinned(store: &dyn MirrorRead, id: &BuildId) -> Result<Thinned, StoreError> {
    let bytes = match read_all(store, id, &thinned_path(), LONGEST_THINNED).await {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(Thinned::default()),
        Err(error) => return Err(error),
    };
    parse_thinned(&format!("{id}/{}", Thinned::FILE_NAME), &bytes)
}

impl Sealed {
    /// Reads the seal of a published build, byte for byte, for a copy of the build.
    ///
    /// # Errors
    /// Those of [`MirrorRead::read`]; [`StoreError::Damaged`] for a file that cannot be parsed.
    pub async fn read(store: &dyn MirrorRead, id: &BuildId) -> Result<Self, StoreError> {
        let mut files = Vec::new();
        for (path, needed) in [
            (sums_path(), true),
            (signature_path(), false),
            (thinned_path(), false),
            (record_path(), true),
        ] {
            match read_all(store, id, &path, LONGEST).await {
                Ok(bytes) => files.push((path, Bytes::from(bytes))),
                Err(StoreError::NotFound { .. }) if !needed => {}
                Err(error) => return Err(error),
            }
        }
        let damaged = |name: &str, source: Box<dyn std::error::Error + Send + Sync>| {
            let what = format!("{id}/{name}");
            StoreError::Damaged { what, source }
        };
        let text = |path: &BuildPath| {
            let mut files = files.iter();
            let file = files.find(|(name, _)| name == path);
            let text = file.map(|(_, bytes)| str::from_utf8(bytes)).transpose();
            text.map_err(|error| damaged(path.as_str(), error.into()))
        };
        let sums = text(&sums_path())?.unwrap_or_default().parse::<Sums>();
        let record = BuildRecord::from_json(text(&record_path())?.unwrap_or_default());
        let thinned = text(&thinned_path())?.map(Thinned::from_json).transpose();
        let thinned = thinned
            .map_err(|error| damaged(Thinned::FILE_NAME, error.into()))?
            .unwrap_or_default();
        Ok(Self {
            sums: sums.map_err(|error| damaged(Sums::FILE_NAME, error.into()))?,
            record: record.map_err(|error| damaged(BuildRecord::FILE_NAME, error.into()))?,
            thinned,
            files,
        })
    }
}
