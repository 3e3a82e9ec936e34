//! Pushes a blob to a registry: skipped if it exists, mounted if possible, otherwise sent in one request.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Body, Method, Response, StatusCode, Url};
use stx_layout::ImageName;

use super::auth::Access;
use super::{
    Again, Attempt, Blob, OciRegistry, Pushed, RegistryError, body, by_digest, repository,
};

/// The longest wait for an answer after the last byte was sent, as a multiple of the idle time: the registry computes a digest
/// meanwhile.
const PATIENCE: u32 = 5;

impl OciRegistry {
    /// Pushes a blob; starts again if an upload is interrupted, unless the blob exists by then.
    pub(super) async fn upload(
        &self,
        name: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
    ) -> Result<Pushed, RegistryError> {
        let what = by_digest(name, blob.digest);
        let mut tries = self.tries();
        let mut sent = false;
        loop {
            if self.has(name, blob, &what).await? {
                // It was sent, but the answer was lost.
                return Ok(if sent {
                    Pushed::Sent(blob.size)
                } else {
                    Pushed::There
                });
            }
            let begun = self.begin(name, blob, from, &what).await?;
            if begun.status() == StatusCode::CREATED {
                return Ok(Pushed::Mounted);
            }
            self.uploads.fetch_add(1, Ordering::Relaxed);
            sent = true;
            let location = self.location(&begun, &what)?;
            match self.transfer(name, blob, location, &what).await? {
                Attempt::Done(()) => return Ok(Pushed::Sent(blob.size)),
                Attempt::Again(again) => tries.again(again).await?,
            }
        }
    }

    /// True if the registry has the blob, in its full size.
    async fn has(&self, name: &ImageName, blob: &Blob, what: &str) -> Result<bool, RegistryError> {
        let url = self.url(name, &format!("blobs/sha256:{}", blob.digest));
        let access = Access::push(name);
        let response = self
            .send(Method::HEAD, &url, access, what, &[], None)
            .await?;
        match response.status() {
            StatusCode::NOT_FOUND => return Ok(false),
            status if status.is_success() => {}
            _ => return Err(self.refused(response, what).await),
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
        Ok(length.is_none_or(|length: u64| length == blob.size))
    }

    /// Begins an upload, or makes the registry mount the blob from another of its repositories.
    async fn begin(
        &self,
        name: &ImageName,
        blob: &Blob,
        from: Option<&ImageName>,
        what: &str,
    ) -> Result<Response, RegistryError> {
        let mut url = self.url(name, "blobs/uploads/");
        if let Some(from) = from {
            url.query_pairs_mut()
                .append_pair("mount", &format!("sha256:{}", blob.digest))
                .append_pair("from", &repository(from));
        }
        let length = [(CONTENT_LENGTH, HeaderValue::from_static("0"))];
        let access = Access::push(name);
        let response = self
            .send(Method::POST, &url, access, what, &length, None)
            .await?;
        match response.status() {
            StatusCode::ACCEPTED => Ok(response),
            StatusCode::CREATED if from.is_some() => Ok(response),
            // The request did not name an existing object, so the project does not exist, or this is not a registry.
            StatusCode::NOT_FOUND => Err(RegistryError::Refused {
                what: self.shown(what),
                reason: "the registry takes no uploads to this repository (404 Not Found)"
                    .to_owned(),
            }),
            _ => Err(self.refused(response, what).await),
        }
    }

    /// The URL to which an upload is sent.
    fn location(&self, begun: &Response, what: &str) -> Result<Url, RegistryError> {
        let refused = |reason: &str| RegistryError::Refused {
            what: self.shown(what),
            reason: reason.to_owned(),
        };
        let location = begun.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.ok_or_else(|| refused("the registry gives no upload location"))?;
        let location = begun
            .url()
            .join(location)
            .map_err(|_| refused("the upload location is not a URL"))?;
        match (self.base.scheme(), location.scheme()) {
            (_, "https") | ("http", "http") => Ok(location),
            _ => Err(refused("the upload location is not safe")),
        }
    }

    async fn transfer(
        &self,
        name: &ImageName,
        blob: &Blob,
        mut location: Url,
        what: &str,
    ) -> Result<Attempt<()>, RegistryError> {
        location
            .query_pairs_mut()
            .append_pair("digest", &format!("sha256:{}", blob.digest));
        let taken = Arc::new(AtomicU64::new(0));
        let stream = body::open(blob, Arc::clone(&taken)).await?;
        let mut request = self
            .patient
            .put(location.clone())
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, blob.size)
            .body(Body::wrap_stream(stream));
        if let Some(token) = self.auth.header(&location, Access::push(name)) {
            request = request.header(reqwest::header::AUTHORIZATION, token);
        }
        let again = |reason: &str| {
            Attempt::Again(Again {
                wait: None,
                error: RegistryError::Network {
                    what: self.shown(what),
                    source: reason.into(),
                },
            })
        };
        let idle = self.options.http.idle;
        let Some(sent) = unless_idle(request.send(), &taken, blob.size, idle).await else {
            return Ok(again("no data was accepted for too long"));
        };
        let response = match self.outcome(sent, what) {
            Attempt::Done(response) => response,
            Attempt::Again(again) => return Ok(Attempt::Again(again)),
        };
        match response.status() {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(Attempt::Done(())),
            // The registry has forgotten the upload, or received it out of order.
            StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE => {
                Ok(again("the registry lost the upload"))
            }
            // The token expired during the upload; the next attempt gets another one.
            StatusCode::UNAUTHORIZED => Ok(again("the registry denies access")),
            _ => Err(self.refused(response, what).await),
        }
    }
}

/// The result of `future`; `None` if no byte was read for the time `idle`, or if no answer arrived long after the last byte.
async fn unless_idle<T>(
    future: impl Future<Output = T>,
    taken: &AtomicU64,
    size: u64,
    idle: Duration,
) -> Option<T> {
    let mut future = pin!(future);
    let mut before = taken.load(Ordering::Relaxed);
    loop {
        let wait = if before == size {
            idle * PATIENCE
        } else {
            idle
        };
        if let Ok(done) = tokio::time::timeout(wait, &mut future).await {
            return Some(done);
        }
        let now = taken.load(Ordering::Relaxed);
        if now == before {
            return None;
        }
        before = now;
    }
}
