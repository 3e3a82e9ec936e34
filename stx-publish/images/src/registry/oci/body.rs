//! The bytes of a blob as the body of a request.

use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt as _};

use crate::registry::{Blob, BlobSource, RegistryError};
use stx_publish::incoming::CHUNK;

/// Opens a blob; counts the bytes that are read from it in `taken`.
pub(super) async fn open(
    blob: &Blob,
    taken: Arc<AtomicU64>,
) -> Result<BoxStream<'static, io::Result<Bytes>>, RegistryError> {
    let (path, offset) = match &blob.source {
        BlobSource::Bytes(bytes) => {
            taken.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let bytes = bytes.clone();
            return Ok(stream::once(async move { Ok(bytes) }).boxed());
        }
        BlobSource::File { path, offset } => (path.clone(), *offset),
    };
    let opened = path.clone();
    let file = blocking(move || {
        let mut file = fs_err::File::open(&opened)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    });
    let file = file
        .await
        .map_err(|source| RegistryError::Io { path, source })?;
    let chunks = stream::try_unfold((file, blob.size), move |(mut file, left)| {
        let taken = Arc::clone(&taken);
        async move {
            if left == 0 {
                return Ok(None);
            }
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = blocking(move || {
                let mut chunk = vec![0; want];
                file.read_exact(&mut chunk)?;
                Ok((file, chunk))
            });
            let (file, chunk) = read.await?;
            let read = chunk.len() as u64;
            taken.fetch_add(read, Ordering::Relaxed);
            Ok(Some((Bytes::from(chunk), (file, left - read))))
        }
    });
    Ok(chunks.boxed())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}
