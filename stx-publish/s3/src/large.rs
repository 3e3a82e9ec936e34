//! Copies objects that are larger than a server copies in one request, part by part.
//!
//! `CopyObject` is limited to 5 GiB. A larger object is uploaded in parts that the server takes from the old object
//! (`UploadPartCopy`); none of its bytes pass through this machine. The entity tag of such a copy is not the MD5 of its bytes,
//! and no code reads it as one.

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{MultipartId, PutMultipartOptions};

use super::objects::{Keep, Objects, attributes};
use super::parts::PartCopy;
use stx_publish::store::StoreError;

/// The size of a part in bytes: large enough for few requests, small enough that no request takes minutes.
const PART: u64 = 512 << 20;
/// The largest number of parts of an upload; the protocol's own limit is 10,000.
const MOST_PARTS: u64 = 9_000;
/// The number of parts that the server copies at the same time.
const PARALLEL: usize = 8;

impl Objects {
    /// The size of the parts in which an object of `size` bytes is copied.
    pub(super) fn copied_part(&self, size: u64) -> u64 {
        let part = PART.min(self.largest_copy).max(1);
        part.max(size.div_ceil(MOST_PARTS))
    }

    /// Makes the server copy an object part by part; `false` if the object does not exist. `begun` receives the upload before the
    /// first part is copied, so that the upload can be aborted after a crash. After a failure, this function aborts it.
    pub(super) async fn copy_in_parts(
        &self,
        from: &str,
        to: &str,
        size: u64,
        begun: impl AsyncFnOnce(&MultipartId) -> Result<(), StoreError>,
    ) -> Result<bool, StoreError> {
        let Some(found) = self.head(from).await? else {
            return Ok(false);
        };
        if found.size != size {
            return Err(StoreError::Damaged {
                what: from.to_owned(),
                source: format!("it has {} bytes, not {size}", found.size).into(),
            });
        }
        let path = self.path(to)?;
        let options = PutMultipartOptions {
            attributes: attributes(to, Keep::ForEver),
            ..PutMultipartOptions::default()
        };
        let upload = self.backend.create_multipart_opts(&path, options);
        let upload = upload.await.map_err(|error| self.failed(to, error))?;
        let copied = async {
            begun(&upload).await?;
            let source = self.path(from)?;
            let ids = self.copy_ranges(&source, found.e_tag.as_deref(), size, (&path, &upload));
            let ids = ids.await.map_err(|error| self.failed(from, error))?;
            let completed = self.backend.complete_multipart(&path, &upload, ids);
            completed.await.map_err(|error| self.failed(to, error))
        };
        match copied.await {
            Ok(_) => Ok(true),
            Err(error) => {
                // The first error is the one to report. If the abort fails too, a later publisher aborts the upload by its
                // journal, or a lifecycle rule of the bucket does.
                self.backend.abort_multipart(&path, &upload).await.ok();
                Err(error)
            }
        }
    }

    async fn copy_ranges(
        &self,
        from: &Path,
        tag: Option<&str>,
        size: u64,
        (to, upload): (&Path, &MultipartId),
    ) -> object_store::Result<Vec<PartId>> {
        let part = self.copied_part(size);
        let starts = (0..size.div_ceil(part)).map(|number| number * part);
        let copies = starts.enumerate().map(|(number, start)| {
            self.parts.copy_part(PartCopy {
                from,
                tag,
                range: start..size.min(start + part),
                to,
                upload,
                number,
            })
        });
        stream::iter(copies).buffered(PARALLEL).try_collect().await
    }
}
