//! The requests that a bucket must support, and the one that its client library lacks: copies of parts of objects.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use object_store::aws::AmazonS3;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::signer::{HeaderName, HeaderValue, Method, SignedUrlOptions, Signer as _};
use object_store::{Error, GetOptions, GetRange, MultipartId, ObjectStore, PutPayload};
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, StatusCode};
use stx_layout::encode_path;

use stx_publish::net::{HttpOptions, is_transient, retry_after};

/// The largest object that a server copies in one request: 5 GiB.
pub(super) const LARGEST: u64 = 5 << 30;
/// The time for which the signature of a request is valid; the request is sent at once.
const SIGNED: Duration = Duration::from_mins(15);

/// The operations that a bucket must support.
pub trait Backend: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Backend for T {}

/// A part that the server is to copy from one object into an upload of another.
#[derive(Debug, Clone)]
pub(super) struct PartCopy<'a> {
    /// The object.
    pub(super) from: &'a Path,
    /// Its entity tag: an object that has changed since is not copied.
    pub(super) tag: Option<&'a str>,
    /// The range of its bytes.
    pub(super) range: Range<u64>,
    /// The name of the new object.
    pub(super) to: &'a Path,
    /// Its upload.
    pub(super) upload: &'a MultipartId,
    /// The number of the part, from 0.
    pub(super) number: usize,
}

/// Copies parts of objects within a bucket.
#[async_trait]
pub(super) trait CopyParts: fmt::Debug + Send + Sync {
    /// Copies a part, and returns the server's name for it.
    async fn copy_part(&self, part: PartCopy<'_>) -> object_store::Result<PartId>;
}

/// Copies the parts through this machine, for buckets without a request for it.
pub(super) struct ThroughHere(pub(super) Arc<dyn Backend>);

impl fmt::Debug for ThroughHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[async_trait]
impl CopyParts for ThroughHere {
    async fn copy_part(&self, part: PartCopy<'_>) -> object_store::Result<PartId> {
        let options = GetOptions {
            if_match: part.tag.map(ToOwned::to_owned),
            range: Some(GetRange::Bounded(part.range)),
            ..GetOptions::default()
        };
        let found = self.0.get_opts(part.from, options).await?;
        let payload = PutPayload::from_bytes(found.bytes().await?);
        self.0
            .put_part(part.to, part.upload, part.number, payload)
            .await
    }
}

/// Makes an S3 server copy parts. `object_store` has no request for that with a range.
#[derive(Debug)]
pub(super) struct ServerSide {
    pub(super) store: AmazonS3,
    pub(super) bucket: String,
    pub(super) client: Client,
    pub(super) options: HttpOptions,
}

impl ServerSide {
    /// One attempt; returns `Err` with a wait if another may follow.
    async fn attempt(
        &self,
        part: &PartCopy<'_>,
    ) -> Result<object_store::Result<PartId>, (Option<Duration>, Error)> {
        let Range { start, end } = part.range;
        let mut headers = vec![
            (
                "x-amz-copy-source",
                format!("{}/{}", self.bucket, encode_path(part.from.as_ref())),
            ),
            (
                "x-amz-copy-source-range",
                format!("bytes={start}-{}", end.saturating_sub(1)),
            ),
        ];
        if let Some(tag) = part.tag {
            headers.push(("x-amz-copy-source-if-match", tag.to_owned()));
        }
        let number = (part.number + 1).to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", part.upload)];
        let mut options = SignedUrlOptions::default().with_query(query);
        for (name, value) in &headers {
            match HeaderValue::from_str(value) {
                Ok(value) => {
                    options = options.with_signed_header(HeaderName::from_static(name), value);
                }
                Err(error) => return Ok(Err(generic(error))),
            }
        }
        // Signed for each attempt: credentials may have been renewed.
        let signed = self
            .store
            .signed_url_opts(Method::PUT, part.to, SIGNED, &options);
        let url = match signed.await {
            Ok(url) => url,
            Err(error) => return Ok(Err(error)),
        };
        let request = self.client.put(url).headers(options.signed_headers.clone());
        // Some servers refuse an empty body without a stated length.
        let request = request.header(CONTENT_LENGTH, 0);
        let transient = |error: reqwest::Error| (None, generic(error.without_url()));
        let response = request.send().await.map_err(transient)?;
        let (status, wait) = (response.status(), retry_after(response.headers()));
        let text = response.text().await.map_err(transient)?;
        // A server that answers before the copy is done has already sent status 200 when the copy fails; the error is in the body.
        let tag = element(&text, "ETag").filter(|_| status.is_success());
        if let Some(tag) = tag {
            let content_id = tag.replace("&quot;", "\"").replace("&#34;", "\"");
            return Ok(Ok(PartId { content_id }));
        }
        let path = part.from.to_string();
        let code = element(&text, "Code").unwrap_or_default();
        let source = format!(
            "the server says {status} {code}: {}",
            element(&text, "Message").unwrap_or_default()
        );
        let is_retried = ["InternalError", "SlowDown", "ServiceUnavailable"].contains(&code);
        Ok(Err(match status {
            _ if is_transient(status) || is_retried => return Err((wait, generic(source))),
            StatusCode::NOT_FOUND => Error::NotFound {
                path,
                source: source.into(),
            },
            StatusCode::PRECONDITION_FAILED => Error::Precondition {
                path,
                source: source.into(),
            },
            _ => generic(source),
        }))
    }
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic {
        store: "S3",
        source: source.into(),
    }
}

#[async_trait]
impl CopyParts for ServerSide {
    async fn copy_part(&self, part: PartCopy<'_>) -> object_store::Result<PartId> {
        let mut attempt = 0;
        loop {
            match self.attempt(&part).await {
                Ok(copied) => return copied,
                Err((wait, error)) => {
                    attempt += 1;
                    if attempt >= self.options.attempts {
                        return Err(error);
                    }
                    let wait = wait.unwrap_or_else(|| self.options.wait(attempt - 1));
                    tokio::time::sleep(wait.min(self.options.longest_wait)).await;
                }
            }
        }
    }
}

/// The text of the first element `name` in a server's answer, still escaped.
pub(super) fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (value, _) = rest.split_once(&format!("</{name}>"))?;
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests;
